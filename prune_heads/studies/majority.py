"""A base metric that needs no model is most often a mistake, and is noted."""

from prune_heads.objectives.base import Kept
from prune_heads.predictions import Predictions


def warn_if_below_chance(predictions: Predictions, base: Kept) -> None:
    """A base metric under that of chance most often means that labels are swapped, or tokens are."""
    objective, references, split = predictions.objective, predictions.references, predictions.split.name
    if why := objective.says_little(references):
        predictions.reporter.note(f"{split}: {why}")
        return
    value, chance = predictions.metric_of(base), objective.chance(references)
    if chance is not None and value < chance:
        what, check = objective.below_chance
        predictions.reporter.note(
            f"{split}: the base {predictions.metric} {value:.4f} is below that of {what} ({chance:.4f}): {check}"
        )
