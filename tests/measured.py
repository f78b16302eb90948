"""Measure what README.md says of the built-in suite and of this machine, into results/benchmark/NAME.json.

    python -m tests.measured suite     # each built-in task: with all heads, with none, without each one
    python -m tests.measured sweep     # the machinery of sweeps, with trials that return at once
    python -m tests.measured memory    # `prune-heads score` on more and more sentences: its peak
    python -m tests.measured replaced  # orders of heads by what stands in for a head; wants the shared folder
    python -m tests.measured recovery  # what wins back the loss of pruning; wants the shared folder, and hours
    python -m tests.measured head-dropout  # whether it flattens the curve of pruning; the same
    python -m tests.measured tables    # nothing: the tables of all records, into NAME.md

The first and `replaced` give the same numbers everywhere, the others want a machine that does nothing else.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prune_heads.tables import Table

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results" / "benchmark"
COMMAND = (sys.executable, "-m", "prune_heads")
SIZES = (100, 1_000, 10_000, 100_000)
N_SENTENCES = (2_000, 16_000, 64_000)

Row = dict[str, Any]


def suite(tasks: Sequence[str] = ()) -> list[Row]:
    """A row a task and validation split. Translations have no commonest label, and their ablations other records."""
    from prune_heads.objectives import MINI, TASKS

    return [
        _row(task, split)
        for task in tasks or MINI
        for split in TASKS[task].splits
        if split.startswith("validation") or split == "mismatched"
    ]


def _row(task: str, split: str) -> Row:
    of = ("--task", task, "--split", split)
    whole = _json("evaluate", *of)["metrics"]
    masked = _json("evaluate", *of, "--heads", _all_heads(task))["metrics"]
    name = next(iter(whole))
    row = {"task": task, "split": split, "metric": name, "value": whole[name], "all_masked": masked[name]}
    if task == "mini-translation":
        return row
    found = _json("ablate", *of)
    return row | {"majority": _majority(task, split)[name], "delta": found["delta"]}


def replaced() -> list[Row]:
    """A row a task and replacement."""
    from experiments.replacing import agreement, subjects

    return [row for setup in subjects() for row in agreement(setup)]


def recovery() -> list[Row]:
    """A row a model, share of its heads and way to win back what is lost."""
    from experiments.recovery import WORK, subjects, won_back

    return [row for setup in subjects() for row in won_back(setup, WORK)]


def head_dropout() -> list[Row]:
    """A row a fine-tuning with and without, and one a task."""
    from experiments.head_dropout import TASKS, fine_tunings, flatter

    return [row for task in TASKS for row in flatter(list(fine_tunings(task)))]


def _all_heads(task: str) -> str:
    is_translation = task == "mini-translation"
    layers = [f"{kind}:{i}" for kind in "EAD" for i in range(1, 5)] if is_translation else range(1, 7)
    return " ".join(f"{layer}:1,2,3,4" for layer in layers)


def _majority(task: str, split: str) -> dict[str, float]:
    from prune_heads.mini import read
    from prune_heads.objectives import METRIC_NAMES, TASKS
    from prune_heads.statistics import METRICS

    labels = read(task, split)["label"]
    ((commonest, _),) = Counter(labels).most_common(1)
    constant = [commonest] * len(labels)
    return {name: METRICS[name](constant, labels) for name in METRIC_NAMES[TASKS[task].metric]}


def sweep(sizes: Sequence[int] = SIZES) -> list[Row]:
    """A row a size: seconds to read and resolve the file, of one worker a trial, and of `sweep status`."""
    from prune_heads.execution.folder import SweepFolder
    from prune_heads.execution.spec import read_sweep
    from prune_heads.execution.worker import Worker, processes
    from prune_heads.reporting.sweep import status_report
    from tests.null_trial import KNOWN, begin

    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "sweep.toml"
            file.write_text(f"seeds = {list(range(n))}\n")
            resolve_seconds, read = _timed(read_sweep, file, KNOWN)
            at = SweepFolder.open(Path(folder) / "sweep", read)
            work_seconds, _ = _timed(Worker(at, read.trials, begin, processes(1)).work)
            status_seconds, status = _timed(status_report, at)
        rows.append(
            {
                "n_trials": n,
                "resolve_seconds": resolve_seconds,
                "trial_seconds": work_seconds / n,
                "status_seconds": status_seconds,
                "n_done": status["done"],
            }
        )
    return rows


def memory(sizes: Sequence[int] = N_SENTENCES) -> list[Row]:
    """A row a size: the most that the process held (MiB) as it scored so many sentences with a built-in model."""
    from experiments.mini.grammar import generate

    model = resources.files("prune_heads.mini") / "checkpoints" / "mini-sentiment"
    rows = []
    for n in sizes:
        with tempfile.TemporaryDirectory() as folder:
            train, validation = Path(folder) / "train.csv", Path(folder) / "validation.csv"
            _write(validation, generate("mini-sentiment", "validation"), 1_000)
            drawn = [generate("mini-sentiment", "train", seed) for seed in range(-(-n // 6_000))]
            columns = {key: [value for each in drawn for value in each[key]] for key in ("text", "label")}
            _write(train, columns, n)
            files = ("--train-file", str(train), "--validation-file", str(validation))
            _, peak = _ran("score", "--model", str(model), *files, "--label-column", "label", "--metric", "accuracy")
        rows.append({"n_sentences": n, "peak_mib": peak})
    return rows


def _write(file: Path, columns: dict[str, list[Any]], n: int) -> None:
    from prune_heads.objectives import TASKS

    names = TASKS["mini-sentiment"].labels or ()
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for text, label in zip(columns["text"][:n], columns["label"][:n], strict=True):
            writer.writerow([text, names[label]])


def _timed(work: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Seconds, and what it returned."""
    begun = time.perf_counter()
    found = work(*arguments)
    return time.perf_counter() - begun, found


def _ran(*words: str) -> tuple[str, float]:
    """What the command printed, and the most memory that it held (MiB; `ru_maxrss` is in KiB on Linux)."""
    with tempfile.TemporaryDirectory() as store:
        process = subprocess.Popen(
            [*COMMAND, *words],
            cwd=ROOT,
            env={**os.environ, "PRUNE_HEADS_STORE": store},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout as stream:
            printed = stream.read()
        _, status, used = os.wait4(process.pid, 0)  # subprocess does not tell of memory
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"prune-heads {' '.join(words)} must end well; it ended with {process.returncode}")
    return printed, used.ru_maxrss / 1024


def _json(*words: str) -> Any:
    return json.loads(_ran(*words, "--json")[0])


def tables() -> dict[str, "Table"]:
    """Name of a file -> its table, from the records that are there."""
    from prune_heads.tables import Table

    def of(name: str) -> Any:
        return json.loads((RECORDS / f"{name}.json").read_text(encoding="utf-8"))

    suite_rows = []
    for row in of("suite")["rows"]:
        deltas = [delta for each in row.get("delta", ()) for delta in each]
        worst = 100 * min(deltas) if deltas else None
        place = {"task": row["task"], "split": row["split"], "metric": row["metric"].replace("_", " ")}
        values = {"value": row["value"], "commonest label": row.get("majority"), "all heads masked": row["all_masked"]}
        suite_rows.append({**place, **values, "the most a head costs, points": worst})
    forms = dict.fromkeys(("value", "commonest label", "all heads masked"), ".3f")
    found = {"suite": Table.of("", suite_rows, forms | {"the most a head costs, points": "+.2f"})}
    of_sweep = [
        {"trials": row["n_trials"], "resolve the file, s": row["resolve_seconds"]}
        | {"a trial, ms": 1000 * row["trial_seconds"], "status, s": row["status_seconds"]}
        for row in of("sweep")["rows"]
    ]
    forms = {"resolve the file, s": ".3f", "a trial, ms": ".1f", "status, s": ".3f"}
    found["sweep"] = Table.of("", of_sweep, forms)
    of_memory = [{"sentences": row["n_sentences"], "peak, MiB": row["peak_mib"]} for row in of("memory")["rows"]]
    found["memory"] = Table.of("", of_memory, {"peak, MiB": ".0f"})
    by_task: dict[str, Row] = {}
    for row in of("replaced")["rows"]:
        cells = by_task.setdefault(row["task"], {"task": row["task"], "model": row["model"]})
        cells |= {row["replace"]: row["spearman"]["value"], f"overlap, {row['replace']}": row["overlap"]}
    forms = {key: ".2f" for key in next(iter(by_task.values())) if key not in ("task", "model")}
    found["replaced"] = Table.of("", list(by_task.values()), forms)
    for name, made in (("recovery", recovery_table), ("head-dropout", dropout_table)):
        if (RECORDS / f"{name}.json").is_file():
            found[name] = made(of(name)["rows"])
    speed, ablations = [], []
    for name in ("sst2", "mnli"):
        record = of(name)
        (seconds, tokens), each = (record["seconds"], record["tokens"]), record["ratios"]
        published = {"published, s": seconds["published"], "its tokens": tokens["published"]}
        gates = {"gates, s": seconds["gates"], "their tokens": tokens["gates"]}
        ratio = {"ratio": record["ratio"], "of each repeat": (min(each), max(each))}
        speed.append({"model": record["model"]["name"], **published, **gates, **ratio})
        record = of(f"ablation-{name}")
        sides = {side: each["seconds"] for side, each in record["sides"].items()}
        reduced = {dtype: record.get(dtype) for dtype in ("bfloat16", "mixed")}
        sides |= {f"engine in {dtype}": side["seconds"] for dtype, side in reduced.items() if side}
        for side, seconds in sides.items():
            what = {"model": record["model"]["name"], "examples": record["n_examples"], "side": side.replace("_", " ")}
            ablations.append({**what, "seconds": seconds, "over the engine": record["ratios"].get(side)})
    forms = {"published, s": ".1f", "gates, s": ".2f", "ratio": "{:.1f}x", "of each repeat": ".1f to"}
    found["speed"] = Table.of("", speed, forms)
    return found | {"ablations": Table.of("", ablations, {"seconds": ".0f", "over the engine": "{:.1f}x"})}


def recovery_table(rows: Sequence[Row]) -> "Table":
    """Models and shares of their heads down, ways across: points less than the whole model has."""
    from prune_heads.tables import Table

    found: dict[Any, Row] = {}
    ways = dict.fromkeys(row["way"] for row in rows if row["share"])
    for row in rows:
        about = {"model": row["model"], "metric": row["metric"].replace("_", " "), "heads gone": row["share"]}
        cells = found.setdefault((row["model"], row["share"]), about | dict.fromkeys(ways))
        cells[row["way"]] = tuple(row[key] for key in ("difference", "low", "high"))
    return Table.of("", list(found.values()), {"heads gone": "{:.0%}"} | dict.fromkeys(ways, _with_ends()))


def dropout_table(rows: Sequence[Row]) -> "Table":
    """Fine-tunings without and with head dropout, and the mean of their differences."""
    from prune_heads.tables import Table

    found = []
    for row in rows:
        about = {"task": row["task"], "metric": row["metric"].replace("_", " ")}
        for side in ("without", "with") if "models" in row else ("difference",):
            of = row[side]
            name = f"mean difference of {row['n_seeds']}" if side == "difference" else row["models"][side == "with"]
            ends = {key: each if isinstance(each, float) else tuple(each.values()) for key, each in of.items()}
            found.append({**about, "model": name, **ends})
    return Table.of("", found, dict.fromkeys(("whole", "area", "flatness"), _with_ends()))


def _with_ends() -> Any:
    """In points, where there are three values with the ends of an interval."""
    from prune_heads.tables import Form

    def write(value: Any) -> str:
        if isinstance(value, float):
            return f"{100 * value:.2f}"
        middle, low, high = (100 * each for each in value)
        return f"{middle:+.2f} ({low:+.2f} to {high:+.2f})"

    return Form(write)


def write_tables() -> None:
    """Into results/benchmark/NAME.md, and on the page that names them."""
    from prune_heads.files import write_text
    from prune_heads.reproduction import fill

    for name, table in tables().items():
        write_text(RECORDS / f"{name}.md", table.to_markdown())
    fill(RECORDS.parent / "README.md")


MEASURES: dict[str, Callable[[], list[Row]]] = {
    "suite": suite,
    "sweep": sweep,
    "memory": memory,
    "replaced": replaced,
    "recovery": recovery,
    "head-dropout": head_dropout,
}


def main(name: str) -> None:
    """Measure, and keep what was found with the conditions."""
    import torch

    from prune_heads.files import write_json
    from prune_heads.runs import provenance

    if name == "tables":
        write_tables()
        return
    rows = MEASURES[name]()
    record = {"format": 1, "command": f"python -m tests.measured {name}", "rows": rows}
    write_json(RECORDS / f"{name}.json", record | {"provenance": provenance(torch.device("cpu"))})
    write_tables()
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in [*MEASURES, "tables"]:
        raise SystemExit(f"usage: python -m tests.measured {'|'.join([*MEASURES, 'tables'])}")
    main(sys.argv[1])
