"""Makes texts of others safe to show: control characters are written out, passwords are hidden, no markup is obeyed."""

import csv
import io
import re
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

_HIDDEN = re.compile(r"[^ -~]")
_JOINERS = "\u200c\u200d"  # invisible, and letters of Persian or emoji are wrong without them
_URL = re.compile(r"""(://|(?<=\w):/(?=[^/\s:@]*:))([^/\s"'?#]*@)?([^\s"'?]*)(\?[^\s"',;)]*)?""")
"""Also with one slash alone, which is what a path makes of a URL."""

_MARKUP = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "*": "$^{*}$",
    **{character: f"${character}$" for character in "<>|"},
    **{character: f"\\{character}" for character in "&%$#_{}"},
}

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


def visible(text: str) -> str:
    r"""The text in one line: control characters, escape sequences, marks of direction and the like as `\x1b`.

    User and password of a URL and its query become `***`.
    """
    return _HIDDEN.sub(_written, masked(text))


def masked(text: str) -> str:
    """The text without user, password and query in URLs, which may be secret."""
    return _URL.sub(lambda url: f"{url[1]}{'***@' if url[2] else ''}{url[3]}{'?***' if url[4] else ''}", text)


def brief(value: object) -> str:
    """As Python writes it, but not pages of it."""
    return _BRIEF.repr(value)


def in_markdown(text: str) -> str:
    """The text without what Markdown would take for HTML."""
    return _MARKUP.sub(lambda begins: {"<": "&lt;", "&": "&amp;"}[begins[0]], visible(text))


def in_html(text: str) -> str:
    """The text with every character that HTML would read as a command made into one that it shows."""
    return escape(visible(text))


def in_latex(text: str) -> str:
    """The text with every character that LaTeX would read as a command made into one that it prints."""
    return "".join(_LATEX.get(character, character) for character in visible(text))


def csv_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Objects of the same keys as CSV; numbers as `repr` writes them, to be read back exactly; None as nothing."""
    every, target = list(rows), io.StringIO()
    lines: list[Iterable[Any]] = [*every[:1], *(row.values() for row in every)]
    csv.writer(target, lineterminator="\n").writerows(map(_harmless, line) for line in lines)
    return target.getvalue()


def _harmless(cell: Any) -> Any:
    """A text in one line; one that a spreadsheet would compute, `=1+1`, is quoted as a text."""
    if not isinstance(cell, str):
        return cell
    text = visible(cell)
    try:
        float(text)
    except ValueError:
        return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
    return text


def _written(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS:
        return character.encode("unicode_escape").decode()
    return character
