"""The names of attention blocks, as options take them."""

import re

from typer import BadParameter

_BLOCK = re.compile(r"(?:[EAD]:)?0*[1-9][0-9]*|[EAD]")


def block_names(text: str | None) -> tuple[str, ...] | None:
    """`"3, 1"` as `("1", "3")`, in order; `E:1` or `E` in an encoder-decoder."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(_BLOCK.fullmatch(part) for part in parts):
        raise BadParameter(
            f"'--blocks' must be layer numbers from 1, comma-separated, e.g. 1,3; got {text!r}. In an "
            "encoder-decoder: E:1,A:3, or a letter for all of its kind."
        )
    return tuple(sorted(set(parts), key=lambda part: (part[:1].isalpha(), len(part), part)))
