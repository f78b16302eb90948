"""Figures from records. Each is a matplotlib figure; `save` writes it as PNG and SVG."""

from prune_heads.reporting.figures.ablations import ablation_histogram, ablation_maps, ablation_scatter
from prune_heads.reporting.figures.curves import (
    criteria_figure,
    curve_figure,
    epochs_figure,
    estimator_curves,
    kinds_figure,
    subjects_figure,
    sweep_figure,
)
from prune_heads.reporting.figures.estimators import agreement_figure
from prune_heads.reporting.figures.scatter import correlation_scatter
from prune_heads.reporting.figures.scores import heat_map
from prune_heads.reporting.figures.style import save

__all__ = [
    "ablation_histogram",
    "ablation_maps",
    "ablation_scatter",
    "agreement_figure",
    "correlation_scatter",
    "criteria_figure",
    "curve_figure",
    "epochs_figure",
    "estimator_curves",
    "heat_map",
    "kinds_figure",
    "save",
    "subjects_figure",
    "sweep_figure",
]
