"""What each command leaves in its output folder beside the record."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from transformers import PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from prune_heads.anatomy import head_counts
from prune_heads.checkpoints import write_pruned, write_tokenizer
from prune_heads.heads import HeadMask
from prune_heads.reporting.ablation import ablation_csv, ablation_latex, ablation_page, best_csv
from prune_heads.reporting.bench import bench_page
from prune_heads.reporting.curves import correlation_page, curve_csv, curve_page
from prune_heads.reporting.figures import curves, heads, save
from prune_heads.reporting.terminal import finetuning_table, run_page
from prune_heads.runs import SCORES_FILE, Files
from prune_heads.studies.run import RunResult
from prune_heads.studies.scoring import ScoreResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE_FILE = "table.md"
HEADS_FILE = "heads.json"

Record = dict[str, Any]


def ablation_files(record: Record) -> Files:
    """Tables in three forms and, where heads were chosen, the best ones; maps of the differences."""
    best = {"best.csv": best_csv(record)} if record["tables"][0]["best"] else {}
    scatter = {"scatter": _figure(heads.ablation_scatter(record))} if record["correlations"] else {}
    return {
        TABLE_FILE: ablation_page(record).to_markdown(),
        "table.tex": ablation_latex(record),
        "ablations.csv": ablation_csv(record),
        **best,
        "differences": _figure(heads.ablation_maps(record)),
        "histogram": _figure(heads.ablation_histogram(record)),
        **scatter,
    }


def bench_files(record: Record, removed: HeadMask) -> Files:
    """The table, and the heads that were removed."""
    return {HEADS_FILE: removed.to_json(), TABLE_FILE: bench_page(record, whole=True).to_markdown()}


def correlation_files(record: Record) -> Files:
    """The table, and a scatter a pair."""
    numbers = combinations(range(1, len(record["series"]) + 1), 2)
    scatters = {
        f"scatter-{first}-{second}": _figure(heads.correlation_scatter(record, pair))
        for (first, second), pair in zip(numbers, record["correlations"], strict=True)
    }
    return {TABLE_FILE: correlation_page(record).to_markdown(), **scatters}


def curve_files(record: Record) -> Files:
    """The table, the points and the figure."""
    figure = _figure(curves.criteria_figure(record))
    return {TABLE_FILE: curve_page(record).to_markdown(), "curves.csv": curve_csv(record), "curve": figure}


def finetuning_files(record: Record) -> Files:
    """The table."""
    return {TABLE_FILE: finetuning_table(record).to_markdown()}


def run_files(result: RunResult, *, checkpoint: bool = False) -> Files:
    """The heads, the table, the scores, the curve and, if asked, the pruned model."""
    found = dict[str, Any]() if result.scored is None else {**score_files(result.scored, result.mask.descriptors())}
    if result.record["curve"]:
        found["curve"] = _figure(curves.curve_figure(result.record))
    kept = pruned_files(result.mask, result.model, result.tokenizer) if checkpoint else {}
    return {HEADS_FILE: result.mask.to_json(), TABLE_FILE: run_page(result.record).to_markdown(), **found, **kept}


def score_files(scored: ScoreResult, pruned: Sequence[str] = ()) -> Files:
    """The scores, their heat map and, where there is one, the matrix of gradients they come from."""
    report = scored.report()
    gradients = {} if scored.gradients is None else {"gradients.safetensors": partial(_write_gradients, scored)}
    return {SCORES_FILE: report, "scores": _figure(heads.heat_map(report, pruned)), **gradients}


def pruned_files(mask: HeadMask, model: PreTrainedModel, tokenizer: Tokenizer) -> Files:
    """The heads that are gone, and the checkpoint."""

    def write(path: Path) -> None:
        path.mkdir()
        write_pruned(model, path)
        write_tokenizer(tokenizer, path)

    return {HEADS_FILE: mask.to_json(), "checkpoint": write}


def _figure(figure: "Figure") -> Callable[[Path], None]:
    """As PNG and SVG."""
    return lambda path: save(figure, path.parent, path.name)


def _write_gradients(scored: ScoreResult, path: Path) -> None:
    """The matrix (examples x heads), in safetensors; its metadata name the heads of the columns, from 1."""
    gradients, names = scored.gradients, head_counts(scored.blocks).names()
    assert gradients is not None
    columns = [
        f"{name}:{head + 1}" for name, block in zip(names, scored.blocks, strict=True) for head in block.original_heads
    ]
    arrays: dict[str, NDArray[Any]] = {name: getattr(gradients, name) for name in ("signed", "absolute")}
    save_file({**arrays, "n_tokens": np.asarray(gradients.n_tokens)}, path, metadata={"heads": " ".join(columns)})
