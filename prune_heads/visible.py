"""Makes texts of others safe to show: control characters are written out and passwords are hidden."""

import re
import reprlib
import unicodedata

_HIDDEN = re.compile(r"[^ -~]")
_JOINERS = "\u200c\u200d"
"""Invisible, and letters of Persian or emoji are wrong without them."""
_URL = re.compile(r"""(://|(?<=\w):/(?=[^/\s:@]*:))([^/\s"'?#]*@)?([^\s"'?]*)(\?[^\s"',;)]*)?""")
"""Also with one slash alone, which is what a path makes of a URL."""

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


def visible(text: str) -> str:
    r"""The text in one line: control characters, escape sequences, marks of direction and the like as `\x1b`.

    User and password of a URL and its query become `***`.
    """
    return _HIDDEN.sub(_written, masked(text))


def masked(text: str) -> str:
    """The text without user, password and query in URLs, which may be secret."""
    return _URL.sub(_without_secrets, text)


def brief(value: object) -> str:
    """As Python writes it, but not pages of it."""
    return _BRIEF.repr(value)


def _without_secrets(url: re.Match[str]) -> str:
    return f"{url[1]}{'***@' if url[2] else ''}{url[3]}{'?***' if url[4] else ''}"


def _written(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _JOINERS:
        return character.encode("unicode_escape").decode()
    return character
