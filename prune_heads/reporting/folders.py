"""What each command leaves in its output folder beside the record."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from prune_heads.checkpoints import Checkpoint
from prune_heads.heads import HeadScores
from prune_heads.importance import GateGradients
from prune_heads.reporting.ablation import ablation_csv, ablation_page, best_csv
from prune_heads.reporting.card import card_of
from prune_heads.reporting.claims import claims_table
from prune_heads.reporting.comparison import comparison_csv, comparison_page
from prune_heads.reporting.curves import correlation_page, curve_csv, curve_page
from prune_heads.reporting.figures import curves, heads, save
from prune_heads.reporting.figures.comparison import cost_figure, curves_figures
from prune_heads.reporting.fitting import fit_page
from prune_heads.reporting.looking import look_figures, look_page
from prune_heads.reporting.roles import roles_figure, roles_page
from prune_heads.reporting.similarity import additivity_page, pairs_csv, pairs_page, similarity_csv, similarity_page
from prune_heads.reporting.terminal import bench_page, finetuning_table, run_page
from prune_heads.runs import SCORES_FILE, Files, write_files
from prune_heads.studies.changed import EXAMPLES_FILE
from prune_heads.studies.scoring import Found
from prune_heads.tables import Page, Table

TABLE_FILE = "table.md"
HEADS_FILE = "heads.json"

Record = dict[str, Any]

_MADE: Mapping[str, Mapping[str, Callable[[Record], Any]]] = {
    "ablate": {
        TABLE_FILE: ablation_page,
        "table.tex": lambda record: ablation_page(record).to_latex(),
        "ablations.csv": ablation_csv,
        "best.csv": best_csv,
        "differences": heads.ablation_maps,
        "histogram": heads.ablation_histogram,
        "scatter": lambda record: heads.ablation_scatter(record) if record["correlations"] else None,
    },
    "pairs": {TABLE_FILE: pairs_page, "pairs.csv": pairs_csv, "pairs": heads.pairs_figure},
    "random": {TABLE_FILE: additivity_page},
    "bench": {TABLE_FILE: partial(bench_page, whole=True)},
    "compare": {
        TABLE_FILE: comparison_page,
        "table.csv": comparison_csv,
        "claims.md": claims_table,
        "cost": cost_figure,
        "curves": curves_figures,
    },
    "correlate": {TABLE_FILE: correlation_page, "scatter": heads.correlation_scatters},
    "curve": {TABLE_FILE: curve_page, "curves.csv": curve_csv, "curve": curves.criteria_figure},
    "fit": {TABLE_FILE: fit_page, "curve": curves.curve_figure},
    "finetune": {TABLE_FILE: finetuning_table},
    "look": {TABLE_FILE: look_page, "heads": lambda record: dict(look_figures(record))},
    "roles": {TABLE_FILE: partial(roles_page, whole=True), "roles": roles_figure},
    "run": {TABLE_FILE: run_page, "curve": lambda record: curves.curve_figure(record) if record["curve"] else None},
    "similar": {TABLE_FILE: similarity_page, "similarity.csv": similarity_csv, "similarity": heads.similarity_figure},
}
"""Command, or a kind of ablation -> name of a file -> what makes its table, text or figure, or several by their names.

Nothing is made where the record has nothing for it.
"""


def of_record(record: Record) -> Files:
    """The files that follow from a record."""
    makers, made = _MADE.get(record["kind"] if record.get("kind") in _MADE else record["command"], {}), dict[str, Any]()
    for name, make in makers.items():
        found = make(record)
        made |= found if isinstance(found, dict) else {name: found}
    return {name: _file(each) for name, each in made.items() if each}


def _file(made: Any) -> str | Callable[[Path], None]:
    """A table is written in Markdown; a figure by `save`."""
    if isinstance(made, Page | Table):
        return made.to_markdown()
    return made if isinstance(made, str) else lambda path: save(made, path.parent, path.name)


def files_of(found: Found, *, checkpoint: bool = True) -> Files:
    """What follows from the record; and the heads, the scores and the pruned model, where there are some."""
    mask, scored = found.mask, found.scored
    made: dict[str, Any] = {**of_record(found.record)}
    if mask is not None:
        made[HEADS_FILE] = mask.to_json()
    if scored is not None:
        made[SCORES_FILE] = report = scored.report()
        made["scores"] = _file(heads.heat_map(report, mask.descriptors() if mask else ()))
        if scored.gradients is not None:
            made["gradients.safetensors"] = partial(_save_gradients, scored.scores, scored.gradients)
    if found.examples is not None:
        made[EXAMPLES_FILE] = found.examples()
    if checkpoint and found.checkpoint is not None:
        made["checkpoint"] = partial(_save_checkpoint, found.checkpoint, found.record)
    return made


def _save_checkpoint(checkpoint: Checkpoint, record: Record, path: Path) -> None:
    checkpoint.write(path)
    write_files(path, card_of(record))


def _save_gradients(scores: HeadScores, gradients: GateGradients, path: Path) -> None:
    """The matrix (examples x heads), in safetensors; its metadata name the heads of the columns, from 1."""
    names = zip(scores.n_heads.names(), scores.gone.keep(), strict=True)
    columns = [f"{name}:{head + 1}" for name, kept in names for head in np.flatnonzero(kept)]
    matrices = {name: np.asarray(getattr(gradients, name)) for name in ("signed", "absolute", "n_tokens")}
    save_file(matrices, path, metadata={"heads": " ".join(columns)})
