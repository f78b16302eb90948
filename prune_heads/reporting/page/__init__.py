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
from prune_heads.reporting.curves import correlation_page, curve_page
from prune_heads.reporting.fitting import fit_page
from prune_heads.reporting.page.data import page_data
from prune_heads.reporting.page.runs import Run, command_line, read_runs
from prune_heads.reporting.terminal import bench_page, evaluation_table, run_page
from prune_heads.tables import Page, Table
from prune_heads.visible import visible

_HERE = Path(__file__).parent
MOST_BYTES = 3_000_000
_MAPS = (5, 2, 1, 0)  # maps of attention a head on examples, of which a large model has fewer
_TABLES = {
    **{"run": run_page, "curve": curve_page, "correlate": correlation_page, "bench": bench_page},
    "fit": fit_page,
    "evaluate": lambda record: Page("", (evaluation_table(record),)),
}
"""Command -> its tables, beside the columns."""


def write_page(paths: Sequence[Path], target: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Write the page of these runs, and say what is in it.

    Returns:
        `output`, `bytes`, `model`, `runs` (their folders), `columns` (their titles), `n_orders`, and `missing`, a list
        of `{"what", "how"}`: what the page could show, and the command that measures it.

    Raises:
        RunError: If a run cannot be read or is of another model, or the file cannot be written.
    """
    if target.is_dir():
        raise RunError(f"the output must be a file; {target} is a folder. Name a file in it")
    if target.exists() and not overwrite:
        raise RunError(f"the output must be a new file; {target} is there. Name another, or replace it by --overwrite")
    runs = read_runs(paths)
    text, data = page_of(runs)
    with writing_into("the folder of the page", target.parent):
        write_bytes(target, text)
    found = {"output": str(target), "bytes": len(text), "model": data["model"]["name"]}
    titles = [column["title"] for column in data["columns"]]
    found |= {"runs": [run.source for run in runs], "columns": titles, "n_orders": len(data["orders"])}
    return {**found, "missing": data["missing"]}


def page_of(runs: Sequence[Run]) -> tuple[bytes, dict[str, Any]]:
    """The HTML, and what its script draws: as many maps as fit into `MOST_BYTES`; a `RunError` of a damaged record."""
    data, about = page_data(runs), list(map(_about, runs))
    for most in _MAPS:
        for split in data["examples"]:
            for changes in (cell for row in split.get("heads", ()) for cell in row if cell):
                changes[most:] = [{**change, "map": None} for change in changes[most:]]
        text = _filled(data, about)
        if len(text) < MOST_BYTES:
            break
    return text, data


def _about(run: Run) -> dict[str, Any]:
    """How a run was made: its command, facts, and tables."""
    from markupsafe import Markup

    with run.reading() as record:
        made = record.get("provenance", {})
        data = [
            f"{each['source']}: {each['n_examples']:,} of {each['n_available']:,} examples of {each['split']}, "
            f"fingerprint {each['fingerprint'][:12]}"
            for each in record.get("data") or ()
        ]
        facts = {
            "task": record.get("task"),
            "data": "; ".join(data),
            "weights": record.get("configuration", {}).get("dtype"),
            "commit": made.get("commit") and made["commit"][:12] + (" with changes" if made.get("dirty") else ""),
            "identity": record.get("identity_hash", "")[:12],
            "made with": ", ".join(f"{name} {version}" for name, version in made.get("libraries", {}).items()),
            **{name: made.get(name) for name in ("date", "device")},
            "seconds": f"{sum(record.get('seconds', {}).values()):.1f}",
            "notes": "; ".join(record.get("notes", ())),
        }
        parts = _TABLES[run.command](record).parts if run.command in _TABLES else ()
        tables = [Markup(part.to_html()) if isinstance(part, Table) else part for part in parts]
        about = {"source": run.source, "command": run.command, "line": command_line(record), "tables": tables}
        return {**about, "facts": {name: fact for name, fact in facts.items() if fact}}


def _filled(data: dict[str, Any], about: Sequence[dict[str, Any]]) -> bytes:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    packed = zlib.compress(json.dumps(data, ensure_ascii=False, allow_nan=False).encode(errors="backslashreplace"), 9)
    looks: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "undefined": StrictUndefined}
    looks["finalize"] = lambda value: visible(value) if type(value) is str else value
    jinja = Environment(autoescape=True, loader=FileSystemLoader(_HERE), **looks)
    script = "\n".join(_source(jinja, name) for name in jinja.list_templates(extensions=["js"]))
    text = jinja.get_template("page.html.j2").render(
        data=data,
        runs=about,
        packed=Markup(base64.b64encode(packed).decode()),
        style=Markup(_source(jinja, "page.css")),
        script=Markup(script),
        # The browser runs this script and no other, whatever a text of others may hold.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return text.encode(errors="backslashreplace")


def _source(jinja: Any, name: str) -> str:
    """A file beside the template, as it is."""
    return jinja.loader.get_source(jinja, name)[0]
