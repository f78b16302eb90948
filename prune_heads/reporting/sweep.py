"""Sweeps: what is planned, how far it is, and what came out, as tables, a figure and files (CSV, Parquet, Markdown)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from prune_heads.errors import RunError
from prune_heads.execution.folder import RECORD_FILE, SweepFolder
from prune_heads.execution.spec import Sweep
from prune_heads.files import canonical, write_bytes, write_json, writing_into
from prune_heads.reporting.sweep_results import OF_A_PANEL, Draws, Rows, panels, result_rows, seeds_sentence, varying
from prune_heads.tables import Form, Page, Table
from prune_heads.tables.terminal import line, titled
from prune_heads.visible import csv_of

_SHOWN = 20  # trials of a plan, and failures, that the terminal shows; `--json` has all


def plan(sweep: Sweep) -> tuple[dict[str, Any], Table]:
    """The trials in order: digest and what varies; of very many the first ones. The table has the ends of them."""
    trials = [{"digest": trial.digest, **{axis: trial.values[axis] for axis in sweep.axes}} for trial in sweep.trials]
    rows = [{"trial": row["digest"][:10], **{axis: str(row[axis]) for axis in sweep.axes}} for row in trials]
    more = {"trial": "..."}
    last = [more] if len(rows) < sweep.n_trials else []
    if len(rows) > _SHOWN:
        rows = [*rows[: _SHOWN // 2], more, *rows[-_SHOWN // 2 :]]
    said = f"{sweep.name}: {sweep.n_trials:,} trials"
    if sweep.n_twice:
        said += f"; {sweep.n_twice:,} more are the same as others"
    if sweep.n_undrawn:
        said += f"; {sweep.n_undrawn:,} more would differ in a seed alone, where nothing is drawn"
    report = {"name": sweep.name, "digest": sweep.digest, "n_trials": sweep.n_trials}
    report |= {"n_described_twice": sweep.n_twice, "n_undrawn": sweep.n_undrawn, "axes": list(sweep.axes)}
    return {**report, "trials": trials}, Table.of(said, (*rows, *last))


def status_report(folder: SweepFolder) -> dict[str, Any]:
    """Counts, and what the failures say; by listing folders, no record is opened. What the dead had is not running."""
    about, failed = folder.about(), list(folder.failed())
    done = sum((folder.trial(name) / RECORD_FILE).is_file() for name in folder.done())
    errors = Counter(folder.failure(digest).get("error", "?") for digest in failed)
    return {
        "name": about["name"],
        "n_trials": about["n_trials"],
        "done": done,
        "failed": len(failed),
        "running": len(folder.claims().alive()),
        "left": about["n_trials"] - done - len(failed),
        "errors": [{"error": error, "n_trials": n} for error, n in errors.most_common()],
    }


def status_table(report: Mapping[str, Any], *, is_end: bool = False) -> RenderableType:
    """The counts, as one line at the end of a run, and the errors from the most frequent."""
    head: RenderableType
    if is_end:
        counts = [f"{report['done']:,} of {report['n_trials']:,} trials done"]
        counts += [f"{report[name]:,} {name}" for name in ("failed", "left") if report[name]]
        head = titled(f"{report['name']}: {', '.join(counts)}")
    else:
        names = {"n_trials": "in all", **{name: name for name in ("done", "failed", "running", "left")}}
        head = Table.of(
            report["name"], ({"trials": words, "": report[name]} for name, words in names.items()), {"": ","}
        )
    errors = [line(f"{row['n_trials']:,} failed: {row['error']}", style="red") for row in report["errors"][:_SHOWN]]
    if errors:
        said = "their tracebacks are in failures/; 'prune-heads sweep retry' has them tried again"
        errors.append(line(said, style="dim"))
    return Group(head, *errors)


def write_results(
    folder: SweepFolder, output: Path | None, draws: Draws = lambda values: True
) -> tuple[dict[str, Any], Table]:
    """Write the tables of the trials that are done (CSV, Parquet, Markdown), and a record of the sweep.

    Args:
        folder: Of the sweep.
        output: None for that folder.
        draws: See `result_rows`.

    Returns:
        The report, and a table of the base and the best trial of each task, model and split by the headline metric.

    Raises:
        RunError: If none is done, a record is damaged, or the folder cannot be written to.
    """
    rows, record, target = _rows(folder, draws), _record(folder), output or folder.root
    page = results_page(record["name"], rows).to_markdown().encode()
    contents = {"results.csv": csv_of(rows).encode(), "results.parquet": results_parquet(rows), "table.md": page}
    with writing_into("the folder of the table", target):
        for name, content in contents.items():
            write_bytes(target / name, content)
        write_json(target / RECORD_FILE, record)
    files, shown, best_rows = [*contents, RECORD_FILE], panels(rows), []
    title = " / ".join(varying([panel.rows[0] for panel in shown], OF_A_PANEL) or ["task"])
    for panel in shown:
        best = max(panel.rows, key=lambda row: row["pruned"])
        left = best["n_heads"] - best["n_pruned"], best["n_heads"]
        row = {title: panel.title, "metric": best["metric"], "trials": len(panel.rows)}
        best_rows.append(row | {"base": best["base"], "best": best["pruned"], "heads": left})
    said = f"{record['name']}: {len({row['trial'] for row in rows}):,} trials; {', '.join(files)}"
    forms = {"trials": ",", "base": ".4f", "best": ".4f", "heads": "{0[0]}/{0[1]}"}
    return {"name": record["name"], "files": files, "rows": rows}, Table.of(said, best_rows, forms)


def write_plot(
    folder: SweepFolder, output: Path | None, draws: Draws = lambda values: True
) -> tuple[dict[str, Any], RenderableType]:
    """Draw the trials that are done; gives the report, and what files there are.

    Raises:
        RunError: As for `write_results`.
    """
    from prune_heads.reporting.figures import save
    from prune_heads.reporting.figures.curves import sweep_figure

    rows = _rows(folder, draws)
    target, name = output or folder.root, folder.about()["name"]
    with writing_into("the folder of the figure", target):
        target.mkdir(parents=True, exist_ok=True)
        save(sweep_figure(name, rows), target, "sweep")
    files, n_trials = ["sweep.png", "sweep.svg"], len({row["trial"] for row in rows})
    return {"name": name, "files": files, "n_trials": n_trials}, titled(", ".join(files))


def results_parquet(rows: Rows) -> bytes:
    """The rows as Parquet."""
    import pyarrow
    from pyarrow import parquet

    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def results_page(name: str, rows: Rows) -> Page:
    """The headline metrics: a table a panel, heads pruned down, lines across."""
    seeds, parts = seeds_sentence(rows), list[Table | str]()
    if seeds:
        parts.append(f"{seeds[0].upper()}{seeds[1:]}.")
    for panel in panels(rows):
        percents = sorted({at for points in panel.lines.values() for at in points})
        lines = {name or panel.metric: points for name, points in panel.lines.items()}
        cells = ({"heads pruned": at, **{name: of.get(at) for name, of in lines.items()}} for at in percents)
        forms: dict[str, Form | str] = {"heads pruned": "{:.0f}%", **dict.fromkeys(lines, Form(_mean_and_range))}
        parts.append(Table.of(f"{panel.title}: {panel.metric}, {panel.n_examples} examples", cells, forms))
    return Page(name, tuple(parts))


def _mean_and_range(values: Sequence[float]) -> str:
    """`0.874`, and where seeds differ how much: `0.874 (0.861 to 0.880)`."""
    mean, low, high = (f"{value:.4f}" for value in (sum(values) / len(values), min(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def _record(folder: SweepFolder) -> dict[str, Any]:
    """What the sweep is, how far it is, and under which conditions its trials ran.

    `records` is one SHA-256 over all records in order: two sweeps with the same have found the same, to the last bit.
    """
    found, conditions, names = sha256(), {}, list(folder.done())
    for name in names:
        record = folder.record(name)
        found.update(canonical(record).encode())
        conditions[canonical(record["provenance"])] = record["provenance"]
    return {
        "format": 1,
        "command": "sweep",
        **{key: value for key, value in folder.about().items() if key != "format"},
        "n_done": len(names),
        "records": found.hexdigest(),
        "provenance": [conditions[key] for key in sorted(conditions)],
    }


def _rows(folder: SweepFolder, draws: Draws) -> list[dict[str, Any]]:
    rows = list(result_rows(folder, draws))
    if not rows:
        raise RunError(f"no trial of {folder.root.name} is done yet, as a table needs; see 'prune-heads sweep status'")
    return rows
