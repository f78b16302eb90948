"""What a model is asked: how rows become batches, the loss of each example, what is kept of it, and the metrics."""

import ast
import hashlib
import inspect
import sys
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedConfig

from prune_heads.checkpoints import Checkpoint, Head
from prune_heads.errors import PruneHeadsError
from prune_heads.gating import logits_of
from prune_heads.objectives import METRIC_NAMES, OBJECTIVES, TaskSpec, rows
from prune_heads.objectives.batches import IGNORED, Batch, Batches, Ragged
from prune_heads.objectives.responses import RESPONSES, Response
from prune_heads.objectives.rows import Reader, Split
from prune_heads.statistics.metrics import Metric, metric_named

Kept = NDArray[np.float32]  # `(n_examples, width)`: what is stored of each, in file order; all metrics follow from it


@dataclass(frozen=True)
class Objective(ABC):
    """One kind of prediction, bound to a task and a model by `bind`.

    A new kind is a subclass in a file of its own and a row of `OBJECTIVES`. Everything else (masks, derivatives, the
    store, tests, sweeps) asks only what is declared here.
    """

    metric: str | Metric  # the task's: key of `METRIC_NAMES`, unused where there are `own_metrics`; or one of one's own
    note: str | None = None  # what had to be decided, for people

    name: ClassVar[str]
    head: ClassVar[Head]  # what a model must have, and how it is loaded
    inputs: ClassVar[tuple[str, ...]] = ("text", "text_pair")
    """Names of the columns that the model is given; the last may be missing. The column of labels is `label`."""
    readers: ClassVar[Mapping[str, Reader]] = {}
    """Ending of a file of one's own -> how it is read, beside tables; an empty ending is for a folder."""
    reads: ClassVar[tuple[str, ...]] = ("logits",)  # which tensors of the model's output `losses` and `read` look at
    reads_one_token: ClassVar[bool] = False  # whether one token of the last layer is read, as a classifier does
    generates: ClassVar[bool] = False  # whether answers are written token by token, so that layers run many times
    trains: ClassVar[bool] = False  # whether `finetune` can make the head
    problem: ClassVar[str] = "single_label_classification"  # `problem_type` of a head that is made
    chooses: ClassVar[bool] = False  # whether a prediction is a choice, which a lower precision can flip
    compared: ClassVar[int | slice] = slice(None)  # columns of what is kept that metrics compare with the references
    likely: ClassVar[int | None] = None  # the column that is the log-likelihood of the right answer
    own_metrics: ClassVar[Mapping[str, Metric]] = {}
    """Metrics that it brings, headline first; those that `METRIC_NAMES` lists for the task's are taken from here."""
    below_chance: ClassVar[tuple[str, str]] = ("answering at random", "check the data")
    """What `chance` is the value of, and what to check where a model is below it."""

    @classmethod
    def input_of(cls, value: object, *, may_be_empty: bool = False) -> Any:
        """A cell of what the model is given, as a split keeps it; `ValueError` says what is wrong with it."""
        return rows.text(value, may_be_empty=may_be_empty)

    @classmethod
    def stored(cls, value: Any) -> Any:
        """A cell of rows in memory as `datasets` can hold it."""
        return value

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> Any:
        """A label as a split keeps it, or `ValueError`; `codes`: how the source writes each class -> its index."""
        raise NotImplementedError

    @classmethod
    def named(cls, value: Any, names: Sequence[str]) -> Any:
        """A label of rows in memory by name; `names` are those of the model's outputs. What is none stays."""
        return rows.named(value, names)

    @classmethod
    def check_row(cls, row: tuple[Any, ...]) -> None:
        """Refuse cells of a row, what the model is given and then its label, that do not fit: `ValueError` says why."""
        return None

    @classmethod
    def head_of(cls, config: PreTrainedConfig, name: str) -> Head:
        """The head that the checkpoint of this configuration and name is loaded with.

        Raises:
            CheckpointError: If the configuration names another kind of head.
        """
        return cls.head

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        """Whether the model has its head."""
        return f"For{cls.head.suffix}" in type(checkpoint.model).__name__

    @classmethod
    def is_named_by(cls, checkpoint: Checkpoint) -> bool:
        """Whether it is what the head was trained for, of all that the model fits."""
        return cls.fits(checkpoint)

    @classmethod
    def of_labels(cls, labels: Tensor, n_outputs: int) -> Self | None:
        """For labels of a DataLoader, `(n, ...)` in the model's terms; None where they are of another kind."""
        return None

    @classmethod
    @abstractmethod
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        """For this model and task.

        Raises:
            PruneHeadsError: If they do not fit.
        """

    @abstractmethod
    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """The rows of a split as the model takes them, none longer than `n_max` tokens.

        Raises:
            DataError: If an example cannot be asked about.
        """

    @abstractmethod
    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """`(batch,)`: the loss of each example, differentiable, by the tensors that it `reads`."""

    def read(self, outputs: Any, batch: Batch) -> Tensor:
        """`(batch, width)`: what one forward pass says of each example, by default its logits."""
        return logits_of(outputs)

    def kept(self, model: nn.Module, batch: Batch) -> Tensor:
        """`(batch, width)`: what is kept of each example, of the model as it is gated now."""
        return self.read(model(**batch.inputs), batch)

    @property
    def measures(self) -> Mapping[str, Metric]:
        """The metrics by name, the headline first."""
        if isinstance(self.metric, Metric):
            return {self.metric.name: self.metric}
        own = self.own_metrics
        names = METRIC_NAMES.get(self.metric, ()) if own else METRIC_NAMES[self.metric]
        return {name: own.get(name) or metric_named(name) for name in names} or own

    @property
    def headline(self) -> Metric:
        """The metric that tables and curves show."""
        return next(iter(self.measures.values()))

    def predictions(self, kept: Kept) -> NDArray[Any]:
        """`(n_examples,)` or `(n_examples, width)`: what the metrics compare with the references."""
        return kept[:, self.compared]

    def metrics(self, kept: Kept, references: NDArray[Any]) -> dict[str, float]:
        """Each metric of a split; over weighted examples ask the `measures`."""
        predicted = self.predictions(kept)
        return {name: measure(predicted, references) for name, measure in self.measures.items()}

    def log_likelihood(self, kept: Kept, references: NDArray[Any]) -> NDArray[np.float64] | None:
        """`(n_examples,)`, in nats: of the right answer; None where it is not defined."""
        return None if self.likely is None else kept[:, self.likely].astype(np.float64)

    @property
    def response(self) -> Response:
        """A number an example beside the metric: that of its row; of an objective of one's own the log-likelihood."""
        return RESPONSES[OBJECTIVES[self.name].response if self.name in OBJECTIVES else "likelihood"]

    def responses(self, kept: Kept, references: NDArray[Any]) -> NDArray[np.float64] | None:
        """`(n_examples,)`: its `response`, higher is better; None where it is not defined."""
        return self.response.each(self, kept, references)

    def chance(self, references: NDArray[Any]) -> float | None:
        """The headline metric of what needs no model; None where nothing stands for it."""
        return None

    def says_little(self, references: NDArray[Any]) -> str | None:
        """Why these examples say little of any model; None where they say enough."""
        return None

    def measurable(self, batches: Batches) -> NDArray[np.int64] | None:
        """The places of the examples that something is predicted of, by their targets; None for all."""
        targets = batches.targets
        if not isinstance(targets, Ragged) or batches.rows is not None:
            return None
        return np.asarray([i for i, row in enumerate(targets) if (row != IGNORED).any()], dtype=np.int64)

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """All that answers depend on beside model, data and gates; for keys."""
        return {}

    def about(self, n_max: int) -> dict[str, Any]:
        """What records say of it beside the metric; `n_max` as for `batches`."""
        return {}

    def identity(self, model: nn.Module) -> dict[str, Any]:
        """Name, code and settings: its part of a key."""
        return {"name": self.name, "source": source_hash(type(self)), "settings": self.settings(model)}


@cache
def source_hash(cls: type) -> str:
    """SHA-256 (hex) of the code of a class and its bases, each with its module, but for comments and docstrings.

    Raises:
        PruneHeadsError: If the code is not known, as of a class that was typed into an interpreter.
    """
    digest = hashlib.sha256()
    for each in (each for each in cls.__mro__ if each not in (Objective, ABC, object)):
        try:
            source = inspect.getsource(each if each.__module__ == "__main__" else sys.modules[each.__module__])
        except (OSError, TypeError) as error:
            must = f"the source of {each.__qualname__} must be known, since what is stored depends on it; got: {error}"
            raise PruneHeadsError(f"{must}. Define it in a file or a notebook") from error
        tree = ast.parse(textwrap.dedent(source))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
                node.body = node.body[1:]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()


def read_off(output: Any, reads: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of a model's output that an objective reads, `(rows, ...)` each."""
    return {name: logits_of(output) if name == "logits" else getattr(output, name) for name in reads}
