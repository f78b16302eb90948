"""`prune_heads/guide/api.md` from the docstrings of the public names: `python -m tests.api_page` writes it anew."""

import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import prune_heads

PAGE = Path(prune_heads.__file__).parent / "guide" / "api.md"

GROUPS = {
    "Evaluate": ("Evaluator", "Evaluation", "Scores", "Ablations", "Curve", "Comparison"),
    "Find heads": ("attention_blocks", "AttentionBlock", "describe_attention"),
    "Name and choose heads": ("HeadMask", "HeadScores", "select"),
    "Mask heads": ("gated", "gates_of", "prove_gates"),
    "Prune heads": ("zero_heads", "remove_heads", "save_pruned", "load_pruned"),
    "Verify": ("verify",),
    "Score heads": ("gate_gradients", "ESTIMATORS", "CRITERIA", "Examples"),
    "Tasks and objectives": ("load_task", "OBJECTIVES", "Objective"),
    "Errors": ("PruneHeadsError",),
}
"""Every public name, in the order of the page."""

INTRODUCTION = """# Python API

These names are imported from `prune_heads`. They are stable: a name or a signature is not taken away without a line in
the changelog. This page is generated from the docstrings.
"""


def api_page() -> str:
    """The page as Markdown."""
    assert {name for names in GROUPS.values() for name in names} == set(prune_heads.__all__)
    parts = [INTRODUCTION]
    for title, names in GROUPS.items():
        parts += [f"## {title}\n", *(part for name in names for part in _described(name))]
    return "\n".join(parts).rstrip() + "\n"


def _described(name: str) -> Iterator[str]:
    thing = getattr(prune_heads, name)
    if isinstance(thing, Mapping):
        keys = ", ".join(f"`{key}`" for key in thing)
        yield f"### `{name}`\n\nA mapping from names to rows, the first of which is the default: {keys}.\n"
        return
    yield f"### `{name}{_signature(thing)}`\n\n{_markdown(inspect.getdoc(thing) or '')}\n"
    if not inspect.isclass(thing) or issubclass(thing, Exception):
        return
    for attribute, member in vars(thing).items():
        if attribute.startswith("_"):
            continue
        function = next((getattr(member, at) for at in ("__func__", "fget", "func") if hasattr(member, at)), member)
        if inspect.isfunction(function):
            call = "" if isinstance(member, property | cached_property) else _signature(getattr(thing, attribute))
            yield f"#### `{name}.{attribute}{call}`\n\n{_markdown(inspect.getdoc(function) or '')}\n"


def _signature(thing: Any) -> str:
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return ""
    signature = inspect.signature(thing)
    names = []
    for parameter in signature.parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in names:
            names.append("*")
        default = parameter.default
        shown = "" if default is inspect.Parameter.empty else f"={default!r}"
        names.append(parameter.name + (shown if len(shown) < 30 else "=..."))
    return f"({', '.join(names)})"


def _markdown(docstring: str) -> str:
    """Google's sections as lists; the rest as it is written."""
    lines: list[str] = []
    in_section = False
    for line in docstring.splitlines():
        if heading := re.fullmatch(r"(Args|Returns|Raises|Yields):", line):
            lines += [f"**{heading[1]}**", ""]
            in_section = True
        elif in_section and (entry := re.fullmatch(r"    (\*?\w+): (.*)", line)):
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif in_section and line.startswith("    "):
            lines.append(("  " if lines[-1].startswith(("- ", "  ")) else "") + line.strip())
        else:
            in_section = in_section and not line.strip()
            lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(api_page(), encoding="utf-8")
