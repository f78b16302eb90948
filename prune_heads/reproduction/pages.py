"""Tables on pages that people write: between two markers stands what a file beside the page says.

    <!-- table: michel2019/figure6 -->
    ...
    <!-- end -->

It is the first table of `michel2019/figure6.md`; `figure6 2` names the second one.
"""

import re
from pathlib import Path

from prune_heads.errors import RunError
from prune_heads.files import write_text
from prune_heads.reading import read_bytes, text_of

_MARKED = re.compile(r"(<!-- table: ([^\s>]+)(?: (\d+))? -->\n).*?(?=<!-- end -->)", re.S)
_TABLE = re.compile(r"(?:^\|.*\n?)+", re.M)


def fill(page: Path) -> None:
    """Write the tables of a page anew; those that are in no file stay as they are, and so does a page without markers.

    Raises:
        RunError: If a file that it names cannot be read.
        OSError: If it cannot be written.
    """
    if not page.is_file():
        return
    try:
        text = _text(page)
    except RunError:  # no text, so that it has no markers either
        return
    filled = _MARKED.sub(lambda found: _marked(page.parent, found), text)
    if filled != text:
        write_text(page, filled)


def _marked(folder: Path, found: re.Match[str]) -> str:
    file, number = folder / f"{found[2]}.md", int(found[3] or 1)
    tables = _TABLE.findall(_text(file)) if file.is_file() else []
    return f"{found[1]}\n{tables[number - 1].rstrip()}\n\n" if len(tables) >= number else found[0]


def _text(file: Path) -> str:
    return text_of(read_bytes(file, "a page with tables"), file.name)
