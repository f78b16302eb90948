"""A score an example, of a sequence classifier with one output."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.checkpoints import Checkpoint, check_problem
from prune_heads.modes import logits_of
from prune_heads.objectives.base import Asked, Examples, Kept
from prune_heads.objectives.batches import Batch, Batches, Fixed
from prune_heads.objectives.labels import match_labels
from prune_heads.objectives.single_label import SingleLabel, TextClassifier, all_alike, text_batches
from prune_heads.objectives.values import score


@dataclass(frozen=True)
class Regression(TextClassifier):
    """Squared error; kept is the score."""

    name = "regression"
    problem = "regression"
    below_chance = SingleLabel.below_chance

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> float:
        """See `Objective`."""
        return score(value)

    @classmethod
    def of_labels(cls, labels: Tensor, n_outputs: int) -> Self | None:
        """Real numbers, one an example; see `Objective`."""
        return cls("pearson") if labels.ndim == 1 and labels.is_floating_point() else None

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: Asked, **options: Any) -> Self:
        """A model with one output; see `Objective`."""
        config = checkpoint.model.config
        check_problem(config, checkpoint.name, regression=True)
        match_labels(spec, config.id2label, label_order=options.get("label_order"))
        return cls(spec.metric)

    def batches(self, split: Examples, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row a text or a pair; see `Objective`."""
        scores = np.asarray(split.columns["label"], dtype=np.float64)
        return text_batches(self, split, tokenizer, Fixed(scores.astype(np.float32)), scores, batch_size, n_max)

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """See `Objective`."""
        return (logits_of(outputs).float().squeeze(-1) - batch.targets).square()

    def read(self, outputs: Any, batch: Batch) -> Tensor:
        """See `Objective`."""
        return logits_of(outputs)

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """`(n_examples,)`: scores."""
        return kept[:, 0]

    def chance(self, references: NDArray[Any]) -> float:
        """Of always giving the mean."""
        return self.headline(np.full(len(references), references.mean()), references)

    def says_little(self, references: NDArray[Any]) -> str | None:
        """See `Objective`."""
        return all_alike(references)
