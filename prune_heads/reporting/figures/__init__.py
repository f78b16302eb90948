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
from prune_heads.reporting.figures.maps import agreement_figure, heat_map
from prune_heads.reporting.figures.scatter import correlation_scatter
from prune_heads.reporting.figures.style import save
