"""What each command leaves in its output folder beside the record."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file

from prune_heads.checkpoints import Checkpoint, write_pruned, write_tokenizer
from prune_heads.heads import HeadScores
from prune_heads.importance import GateGradients
from prune_heads.reporting.ablation import ablation_csv, ablation_latex, ablation_page, best_csv
from prune_heads.reporting.curves import correlation_page, curve_csv, curve_page
from prune_heads.reporting.figures import curves, heads, save
from prune_heads.reporting.figures import similarity as of_pairs
from prune_heads.reporting.looking import look_figures, look_page
from prune_heads.reporting.roles import roles_figure, roles_page
from prune_heads.reporting.similarity import pairs_csv, pairs_page, similarity_csv, similarity_page
from prune_heads.reporting.terminal import bench_page, finetuning_table, run_page
from prune_heads.runs import SCORES_FILE, Files
from prune_heads.studies.changed import EXAMPLES_FILE
from prune_heads.studies.scoring import Found

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TABLE_FILE = "table.md"
HEADS_FILE = "heads.json"

Record = dict[str, Any]


def _ablation_files(record: Record) -> Files:
    if record["kind"] == "pairs":
        page, figure = pairs_page(record), _figure(of_pairs.pairs_figure(record))
        return {TABLE_FILE: page.to_markdown(), "pairs.csv": pairs_csv(record), "pairs": figure}
    return {
        TABLE_FILE: ablation_page(record).to_markdown(),
        "table.tex": ablation_latex(record),
        "ablations.csv": ablation_csv(record),
        **({"best.csv": best_csv(record)} if record["tables"][0]["best"] else {}),
        "differences": _figure(heads.ablation_maps(record)),
        "histogram": _figure(heads.ablation_histogram(record)),
        **({"scatter": _figure(heads.ablation_scatter(record))} if record["correlations"] else {}),
    }


def _correlation_files(record: Record) -> Files:
    pairs = zip(combinations(range(1, len(record["series"]) + 1), 2), record["correlations"], strict=True)
    return {
        TABLE_FILE: correlation_page(record).to_markdown(),
        **{f"scatter-{a}-{b}": _figure(heads.correlation_scatter(record, pair)) for (a, b), pair in pairs},
    }


def _curve_files(record: Record) -> Files:
    figure = _figure(curves.criteria_figure(record))
    return {TABLE_FILE: curve_page(record).to_markdown(), "curves.csv": curve_csv(record), "curve": figure}


def _run_files(record: Record) -> Files:
    curve = {"curve": _figure(curves.curve_figure(record))} if record["curve"] else {}
    return {TABLE_FILE: run_page(record).to_markdown(), **curve}


def _look_files(record: Record) -> Files:
    figures = {name: _figure(figure) for name, figure in look_figures(record)}
    return {TABLE_FILE: look_page(record).to_markdown(), **figures}


OF_RECORD: Mapping[str, Callable[[Record], Files]] = {
    "ablate": _ablation_files,
    "bench": lambda record: {TABLE_FILE: bench_page(record, whole=True).to_markdown()},
    "correlate": _correlation_files,
    "curve": _curve_files,
    "look": _look_files,
    "finetune": lambda record: {TABLE_FILE: finetuning_table(record).to_markdown()},
    "roles": lambda record: {
        TABLE_FILE: roles_page(record, whole=True).to_markdown(),
        "roles": _figure(roles_figure(record)),
    },
    "run": _run_files,
    "similar": lambda record: {
        TABLE_FILE: similarity_page(record).to_markdown(),
        "similarity.csv": similarity_csv(record),
        "similarity": _figure(of_pairs.similarity_figure(record)),
    },
}
"""Command -> the files that follow from its record."""


def files_of(found: Found, *, checkpoint: bool = True) -> Files:
    """What follows from the record; and the heads, the scores and the pruned model, where there are some."""
    mask, scored = found.mask, found.scored
    made: dict[str, Any] = {**OF_RECORD.get(found.record["command"], lambda record: {})(found.record)}
    if mask is not None:
        made[HEADS_FILE] = mask.to_json()
    if scored is not None:
        made[SCORES_FILE] = report = scored.report()
        made["scores"] = _figure(heads.heat_map(report, mask.descriptors() if mask else ()))
        if scored.gradients is not None:
            made["gradients.safetensors"] = partial(_save_gradients, scored.scores, scored.gradients)
    if found.examples is not None:
        made[EXAMPLES_FILE] = found.examples()
    if checkpoint and found.checkpoint is not None:
        made["checkpoint"] = partial(_save_checkpoint, found.checkpoint)
    return made


def _figure(figure: "Figure") -> Callable[[Path], None]:
    return lambda path: save(figure, path.parent, path.name)


def _save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    path.mkdir()
    write_pruned(checkpoint.model, path)
    write_tokenizer(checkpoint.tokenizer, path)


def _save_gradients(scores: HeadScores, gradients: GateGradients, path: Path) -> None:
    """The matrix (examples x heads), in safetensors; its metadata name the heads of the columns, from 1."""
    names = zip(scores.n_heads.names(), scores.gone.keep(), strict=True)
    columns = [f"{name}:{head + 1}" for name, kept in names for head in np.flatnonzero(kept)]
    matrices = {name: np.asarray(getattr(gradients, name)) for name in ("signed", "absolute", "n_tokens")}
    save_file(matrices, path, metadata={"heads": " ".join(columns)})
