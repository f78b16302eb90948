"""`prune-heads report`: one HTML file that shows the heads of a model, from the records of its runs.

The file asks nothing of any other place. `page.html.j2` is its text, made by Jinja2, which escapes what others wrote;
`page.css` and the files of `script/` are its looks and its script; what the script draws is one block of JSON,
compressed.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prune_heads.errors import RunError
from prune_heads.files import write_bytes, writing_into
from prune_heads.reporting.page.data import about_runs, page_data
from prune_heads.reporting.page.runs import Run, read_runs
from prune_heads.tables import Table
from prune_heads.visible import visible

_HERE = Path(__file__).parent
MOST_BYTES = 3_000_000
_MAPS = (5, 2, 1, 0)  # maps of attention a head on examples, of which a large model has fewer


def write_page(paths: Sequence[Path], target: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write the page of these runs, and say what is in it.

    Returns:
        `output`, `bytes`, `model`, `runs` (their folders), `columns` (their titles), `n_orders`, and `missing`, a list
        of `{"what", "how"}`: what the page could show, and the command that measures it.

    Raises:
        RunError: If a run cannot be read or is of another model, or the file cannot be written.
    """
    if target.is_dir() or (target.exists() and not overwrite):
        cure = "name a file in it" if target.is_dir() else "name another --output, or replace it with --overwrite"
        what = "a folder" if target.is_dir() else "there"
        raise RunError(f"the output must be a new file; {target} is {what}: {cure}")
    runs = read_runs(paths)
    text, data = page_of(runs)
    with writing_into("the folder of the page", target.parent):
        write_bytes(target, text.encode(errors="backslashreplace"))
    return {
        "output": str(target),
        "bytes": target.stat().st_size,
        "model": data["model"]["name"],
        "runs": [run.source for run in runs],
        "columns": [column["title"] for column in data["columns"]],
        "n_orders": len(data["orders"]),
        "missing": data["missing"],
    }


def page_of(runs: Sequence[Run]) -> tuple[str, dict[str, Any]]:
    """The HTML, and what its script draws: as many maps of attention as fit into `MOST_BYTES`."""
    data, about = page_data(runs), about_runs(runs)
    for most in _MAPS:
        for each in data["examples"]:
            each["heads"] = [[cell and _with_maps(cell, most) for cell in row] for row in each["heads"]]
        text = _filled(data, about)
        if len(text) < MOST_BYTES:
            break
    return text, data


def _with_maps(cell: Sequence[Any], most: int) -> list[Any]:
    return [each if i < most else {**each, "map": None} for i, each in enumerate(cell)]


def _filled(data: dict[str, Any], about: Sequence[dict[str, Any]]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    packed = zlib.compress(json.dumps(data, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace"), 9)
    jinja = Environment(
        autoescape=True,
        loader=FileSystemLoader(_HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    script = "\n".join(_source(jinja, name) for name in jinja.list_templates(extensions=["js"]))
    return jinja.get_template("page.html.j2").render(
        data=data,
        runs=[
            {**run, "tables": [Markup(part.to_html()) if isinstance(part, Table) else part for part in run["tables"]]}
            for run in about
        ],
        packed=Markup(base64.b64encode(packed).decode()),
        style=Markup(_source(jinja, "page.css")),
        script=Markup(script),
        # The browser runs this script and no other, whatever a text of others may hold.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _source(jinja: Any, name: str) -> str:
    """A file beside the template, as it is."""
    return jinja.loader.get_source(jinja, name)[0]
