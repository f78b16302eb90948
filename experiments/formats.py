"""What the forms of a model cost and lose: `python -m experiments.formats --model MODEL --task TASK` prints a table.

For each share of heads, those with the lowest scores first, the model without them is written in every form. Measured
of each: the task's metric by what was written, its paired difference from the whole model in float32 by PyTorch, the
bytes of its weights, and the milliseconds of a batch of texts with their real lengths: the median of runs that take all
forms in turn, after a warm-up. The ceiling is the ratio of the multiply-adds, which removed heads can gain at most.
"""

import copy
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import numpy as np
import torch
import typer
from torch import Tensor
from transformers import PreTrainedModel

from prune_heads.checkpoints import write_pruned, write_tokenizer
from prune_heads.checkpoints.onnx import quantise_onnx
from prune_heads.cli.groups import Without, grouped
from prune_heads.cli.output import TerminalReporter
from prune_heads.errors import OptionError, PruneHeadsError
from prune_heads.evaluation import Subject
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.options import Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import provenance
from prune_heads.selection import count_for_fraction, select
from prune_heads.statistics import compare_paired
from prune_heads.store import PredictionStore
from prune_heads.studies.bench import Race, ceiling
from prune_heads.studies.exporting import export
from prune_heads.studies.reading import read_scores
from prune_heads.studies.setup import identify, load_split, load_subject
from prune_heads.surgery import remove_heads, removed_heads
from prune_heads.tables import Table

FORMS = ("PyTorch float32", "PyTorch bfloat16", "PyTorch int8", "onnxruntime float32", "onnxruntime int8")
SIZES = (1, 16)
_WEIGHTS = (".safetensors", ".onnx", ".data")
_TIMED = 64  # examples that are timed, at most, from the shortest to the longest


class Side(NamedTuple):
    """One form of the model without some heads."""

    share: float
    mask: HeadMask
    form: str
    subject: Subject
    n_bytes: int


def compare_forms(
    setup: Setup,
    reporter: Reporter,
    *,
    scores: Path | None = None,
    shares: Sequence[float] = (0.0, 0.3, 0.5),
    forms: Sequence[str] = FORMS,
    runs: int = 7,
) -> dict[str, Any]:
    """A row a share and form: n_pruned, metric, its difference with interval and p, n_bytes, milliseconds, ceiling.

    Milliseconds and ceilings are by batch size. Without scores, heads go at random.

    Raises:
        OptionError: If the first share is not 0, or one is not between 0 and 1.
        PruneHeadsError: If model or task cannot be loaded, or a form not be written.
    """
    if not shares or shares[0] != 0 or not all(0 <= share <= 1 for share in shares):
        got = ",".join(map(str, shares))
        raise OptionError(f"--shares must be from 0 to 1, the first 0, which the others are compared with; got {got}")
    whole = load_subject(setup, reporter)
    split = load_split(setup, whole, whole.task.spec.eval_splits[0], reporter)
    gone = removed_heads(whole.model)
    drawn = HeadScores.from_flat(np.random.default_rng(0).random(gone.n_total), gone.n_heads)
    by = drawn if scores is None else read_scores(scores, gone.n_heads)
    masks = {share: select(by, max(count_for_fraction(gone.n_total, share), len(gone)), gone=gone) for share in shares}
    with tempfile.TemporaryDirectory() as work:
        sides = []
        for share, mask in masks.items():
            folders = write_forms(whole, mask, forms, Path(work) / f"{share:g}")
            for form, folder in folders.items():
                exported = replace(setup, model=str(folder), dtype="bfloat16" if "bfloat16" in form else "float32")
                n_bytes = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in _WEIGHTS)
                sides.append(Side(share, mask, form, load_subject(exported, reporter, exported=True), n_bytes))
        rows, races = measured(sides, split, reporter), _races(whole, split)
        for row, times in zip(rows, timed(sides, races, runs), strict=True):
            row["milliseconds"] = times
            row["ceiling"] = {
                str(race.batch_size): ceiling(whole.classifier.model, masks[row["share"]], race) for race in races
            }
    about = {"n_examples": len(split), "runs": runs, "metric": whole.objective.headline.name}
    return {**identify(whole, [split]), **about, "rows": rows, "provenance": provenance(torch.device("cpu"))}


def write_forms(whole: Subject, mask: HeadMask, forms: Sequence[str], work: Path) -> dict[str, Path]:
    """Write the model without these heads in each form, into folders of their own."""
    named = mask - removed_heads(whole.model)
    folders = {form: work / form.replace(" ", "-") for form in forms}
    exact = work / "onnx"
    for form, folder in folders.items():
        folder.mkdir(parents=True)
        library, precision = form.split()
        if library == "onnxruntime" and not exact.exists():
            exact.mkdir()
            export(whole.classifier, named, "onnx", exact)
        if library == "onnxruntime":
            shutil.copytree(exact, folder, dirs_exist_ok=True)
            if precision == "int8":
                quantise_onnx(folder)
        elif precision == "int8":
            export(whole.classifier, named, "torch-int8", folder)
        else:
            model = remove_heads(copy.deepcopy(whole.classifier.model), named)
            write_pruned(cast(PreTrainedModel, model.to(getattr(torch, precision))), folder)
        write_tokenizer(whole.classifier.tokenizer, folder)
    return folders


def measured(sides: Sequence[Side], split: Any, reporter: Reporter) -> list[dict[str, Any]]:
    """The headline metric of each side, compared with the first."""
    rows, base = list[dict[str, Any]](), None
    for side in sides:
        predictions = Predictions(side.subject, split, PredictionStore(None, reporter.note), reporter)
        answers = predictions.answers(predictions.of(predictions.gone))
        base = answers if base is None else base
        measure, references, groups = predictions.measure, predictions.references, predictions.groups
        found = compare_paired(measure, base, answers, references, seed=0, groups=groups)
        about = {"share": side.share, "n_pruned": len(side.mask), "form": side.form, "n_bytes": side.n_bytes}
        tested = {"difference": found.value, "low": found.low, "high": found.high, "p": found.p_value}
        rows.append({**about, "value": measure(answers, references), **tested})
    return rows


def _races(whole: Subject, split: Any) -> Sequence[Race]:
    batches = whole.batches(split)
    order = np.argsort(batches.n_tokens, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(_TIMED, len(order))).astype(int)]
    of_size = {size: [chosen[i : i + size] for i in range(0, len(chosen) - size + 1, size)] for size in SIZES}
    return [
        Race("real", size, [batches.batch(index).inputs for index in parts]) for size, parts in of_size.items() if parts
    ]


@torch.inference_mode()
def timed(sides: Sequence[Side], races: Sequence[Race], runs: int) -> list[dict[str, float]]:
    """Median milliseconds of a batch, by its size; the order turns from run to run."""
    seconds: list[dict[str, list[float]]] = [{str(race.batch_size): [] for race in races} for _ in sides]
    for run in range(runs + 1):  # the first is warm-up
        for i in np.roll(range(len(sides)), run):
            for race in races:
                took = _seconds(sides[i], race.inputs) / len(race.inputs)
                if run:
                    seconds[i][str(race.batch_size)].append(took)
    return [{size: 1000 * statistics.median(each) for size, each in of.items()} for of in seconds]


def _seconds(side: Side, inputs: Sequence[Mapping[str, Tensor]]) -> float:
    start = time.perf_counter()
    for batch in inputs:
        side.subject.model(**batch)
    return time.perf_counter() - start


def table(report: Mapping[str, Any]) -> Table:
    """The rows as people read them."""
    rows = (
        {"heads gone": row["share"], "form": row["form"], report["metric"]: row["value"]}
        | {"difference": row["difference"], "95% interval": (row["low"], row["high"]), "MB": row["n_bytes"] / 1e6}
        | {f"ms, batch {size}": ms for size, ms in row["milliseconds"].items()}
        | {f"ceiling, {size}": most for size, most in row["ceiling"].items()}
        for row in report["rows"]
    )
    forms: dict[str, Any] = {"heads gone": "{:.0%}", report["metric"]: ".4f", "difference": "+.4f", "MB": ".1f"}
    forms |= {"95% interval": "+.4f to"} | {f"ms, batch {size}": ".2f" for size in SIZES}
    forms |= {f"ceiling, {size}": "{:.2f}x" for size in SIZES}
    title = f"{report['model']['name']}: {report['n_examples']} examples of {report['data'][0]['split']}"
    return Table.of(title, rows, forms, [f"Milliseconds are medians of {report['runs']} runs."], n_keys=2)


@grouped
def formats(
    setup: Annotated[Setup, Without("store"), Without("dtype"), Without("replace")],
    scores: Annotated[Path | None, typer.Option(help="A scores.json; the lowest go. (default: random heads)")] = None,
    shares: Annotated[str, typer.Option(help="Shares of heads to remove, comma-separated, the first of none.")] = (
        "0,0.3,0.5"
    ),
    runs: Annotated[int, typer.Option(min=1, help="Timed runs of all forms, in turn.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record.")] = False,
) -> None:
    """Compare the forms of a model: what they lose, how large they are, and how fast."""
    try:
        wanted = [float(share) for share in shares.split(",")]
    except ValueError as error:
        raise OptionError(f"--shares must be numbers from 0 to 1, as 0,0.3,0.5; got {shares!r}") from error
    report = compare_forms(setup, TerminalReporter(), scores=scores, shares=wanted, runs=runs)
    print(json.dumps(report, indent=1) if as_json else table(report).to_markdown())


if __name__ == "__main__":
    try:
        typer.run(formats)
    except PruneHeadsError as error:
        raise SystemExit(f"error: {error}") from None
