"""Draw the figures of results/ again, each from the record beside it; no model and no data are needed.

    python -m tests.redraw [FOLDER ...]    # of these folders, or of all in results/

Those of results/michel2019 are drawn by `prune-heads reproduce all --from-records`.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def redraw(folder: Path) -> list[str]:
    """Write the figures that are there, from the record, the scores or the rows of the sweep; gives their names."""
    from prune_heads.reporting.figures import curves, heads, save
    from prune_heads.reporting.folders import TABLE_FILE, of_record

    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    made: dict[str, Any] = dict(of_record(record))
    figures = {stem: write for stem, write in made.items() if callable(write) and stem != TABLE_FILE}
    if (folder / "scores.json").is_file():
        scores = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        drawn = heads.heat_map(scores, record["heads_pruned"])
        figures["scores"] = lambda path: save(drawn, path.parent, path.name)
    if record["command"] == "sweep":
        from pyarrow import parquet

        rows = parquet.read_table(folder / "results.parquet").to_pylist()
        sweep = curves.sweep_figure(record["name"], rows)
        figures["sweep"] = lambda path: save(sweep, path.parent, path.name)
    there = {file for form in ("png", "svg") for file in folder.glob(f"*.{form}")}
    for stem, write in figures.items():
        write(folder / stem)
    for form in ("png", "svg"):  # some folders keep one form alone
        for file in set(folder.glob(f"*.{form}")) - there if there else ():
            file.unlink()
    return sorted(figures)


def main(names: list[str]) -> None:
    """Of all folders with a record, or of those named."""
    for folder in map(Path, names) if names else sorted((ROOT / "results").iterdir()):
        if (folder / "record.json").is_file():
            print(folder.name, *redraw(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
