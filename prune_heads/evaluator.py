"""The core for notebooks and scripts: a model and data in, metrics, scores, ablations, curves and tests out.

Nothing is written and nothing printed unless a store is named. The commands of the same names give the same numbers.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from prune_heads.checkpoints import Checkpoint
from prune_heads.errors import DataError, TaskError
from prune_heads.evaluation import Subject
from prune_heads.heads import HeadMask, Heads, HeadScores, as_mask
from prune_heads.importance import Examples, own_criterion
from prune_heads.objectives import METRIC_NAMES, OBJECTIVES
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import Batches, loaded
from prune_heads.objectives.replacing import Replacement, measure
from prune_heads.options import Ablation, Scoring, WrittenModel
from prune_heads.options.scoring import Response
from prune_heads.options.studies import Kind
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.results import Ablations, Comparison, Curve, Evaluation, Scores
from prune_heads.selection import lowest_first
from prune_heads.statistics import Metric
from prune_heads.store import PredictionStore
from prune_heads.studies import ablating, curves, measuring, reading, scoring, setup
from prune_heads.tasks.task import NAME, Split, Task, kind_of, load_task, task_of_labels, task_of_rows


class Evaluator:
    """A model on examples, with any of its heads masked. The model stays as it is.

    Heads are named as everywhere: `"3:1,5"` counts layers and heads from 1 as they were before any removal; a mapping
    `{2: [0, 4]}` counts from 0; a `HeadMask` is taken as it is, and so is a list of descriptors.

    Args:
        model: A classifier or language model of transformers, any module with attention that `attention_blocks`
            finds and that returns logits, or a checkpoint's name (`"mini"` for the built-in ones).
        data: A task's name or a `Task` (`load_task`); a `datasets.Dataset` or a list of dicts with columns `text`,
            for pairs `text_pair`, and `label`, or `tokens` and `tags`; or a DataLoader of model inputs with labels, one
            an example: mappings with `labels`, or pairs `(inputs, labels)`. It is read once, in its order.
        tokenizer: The model's own, of a model of images its image processor; not needed for a checkpoint's name or a
            DataLoader.
        objective: What is predicted: key of `OBJECTIVES`, or your own `Objective`; None: what the model's head gives.
        metric: Key of `METRIC_NAMES`, or a function of your own `(predictions, references, weights) -> values`: of
            examples `(n_examples,)` that count as often as `weights`, `(n, n_examples)`, say; `(n,)`, higher is better.
            None: that of the task, else accuracy, Pearson's correlation or the log-likelihood of a token.
        columns: What `text`, `text_pair` and `label`, or `tokens` and `label`, are called in the data; and `cluster`,
            the column that examples share which are alike, so that they are resampled together.
        split: Of a task; None: its first split for evaluation. All methods look at this split, also `score`; `on`
            gives an Evaluator of another one.
        max_examples: The first of them; None: all.
        store: A folder or URL where predictions are kept, for which weights are hashed in every call. None keeps
            nothing.
        batch_size: Examples a batch; a DataLoader has its own.
        max_length: Tokens of a text, at most.
        device: `cpu`, `cuda`, `mps` or `auto`; None: where the model is.
        seed: Of the bootstrap, of criteria that draw and of `resample`.
        replace: What stands in for a masked head: `zero`, `mean`, `position-mean` or `resample`, measured on the
            examples of this Evaluator; or the `replacement` of another one, so that both have the same.
        options: Of the objective, as for the commands: `label_order`, `beams` or `doc_stride`.

    Raises:
        PruneHeadsError: If model and data do not fit, or the heads of the model cannot be found.
    """

    # long: its arguments, each with its line
    def __init__(
        self,
        model: nn.Module | str,
        data: str | Task | Iterable[Any],
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        objective: str | Objective | None = None,
        metric: str | Callable[..., Any] | None = None,
        columns: Mapping[str, str] | None = None,
        split: str | None = None,
        max_examples: int | None = None,
        store: Path | str | None = None,
        batch_size: int = 32,
        max_length: int = 128,
        device: str | None = None,
        seed: int = 0,
        replace: str | Replacement | None = "zero",
        **options: Any,
    ) -> None:
        reporter = Reporter()
        self.notes = reporter.notes  # what a reader of the results must know, e.g. how many texts were cut
        self.seed, self._data = seed, data
        how: dict[str, Any] = {"batch_size": batch_size, "max_length": max_length, **options}
        asked: dict[str, Any] = {"objective": objective, "metric": metric, "columns": columns, "store": store}
        self._again: Callable[..., Evaluator] = partial(Evaluator, device=device, seed=seed, **asked, **how)
        task = load_task(data) if isinstance(data, str) else data if isinstance(data, Task) else None
        if isinstance(model, str):
            kind = task.spec.kind if task is not None else None if objective is None else kind_of(objective)
            checkpoint = setup.load_model(WrittenModel(model, NAME if task is None else task.spec.name), reporter, kind)
        else:
            name = getattr(getattr(model, "config", None), "name_or_path", "") or type(model).__name__
            checkpoint = Checkpoint(model, tokenizer, Path(name).name, None)
        self.model: nn.Module = checkpoint.model
        where = setup.resolve_device(device) if device else next(self.model.parameters()).device
        batches: Batches | None = None
        given: Split | None = None
        if task is None and _is_rows(data, (columns or {}).get("label", "label")):
            task = task_of_rows(data, checkpoint, objective, columns)
        if task is None:
            own = objective if isinstance(objective, Objective) else None
            batches = loaded(cast(Iterable[Any], data), self.model, own)
            task, given = task_of_labels(batches.references, batches.objective.headline.name)
            objective = batches.objective
        elif checkpoint.tokenizer is None:
            raise DataError("texts need the model's tokenizer, and images its image processor, tokenizer=...; got none")
        subject = Subject.of(checkpoint, task, objective=objective, device=where, **how)
        if metric is not None:
            measured = dataclasses.replace(subject.objective, metric=_metric(metric, subject.objective))
            subject = dataclasses.replace(subject, objective=measured)
        if subject.objective.note:
            reporter.note(subject.objective.note)
        of_task = subject.task if isinstance(data, str | Task) else task  # rows in memory are all asked about
        chosen = given or of_task.load(split or task.spec.eval_splits[0], max_examples)
        if batches is None:
            chosen = subject.measurable(chosen, reporter)
        else:
            batches = dataclasses.replace(batches, objective=subject.objective)
            subject = dataclasses.replace(subject, batch_size=batches.batch_size)
        self._predictions = Predictions(subject, chosen, PredictionStore(store, reporter.note), reporter, batches)
        if isinstance(replace, str):
            replace = None if replace == "zero" else measure(subject.model, self._predictions.batches, replace, seed)
        self.replacement = self._predictions.replacement = replace
        if replace is not None:
            self._predictions.batches = dataclasses.replace(self._predictions.batches, replacement=replace)

    def on(self, data: Any = None, *, split: str | None = None, max_examples: int | None = None) -> "Evaluator":
        """The same model on other examples: another split of the task, or other data.

        Args:
            data: As for the Evaluator; None: the same.
            split: Of a task.
            max_examples: The first of them; None: all.
        """
        tokenizer, data = self._predictions.subject.classifier.tokenizer, self._data if data is None else data
        how: dict[str, Any] = {"tokenizer": tokenizer, "replace": self.replacement}
        return self._again(self.model, data, split=split, max_examples=max_examples, **how)

    def evaluate(self, heads: Heads | None = None) -> Evaluation:
        """The metrics with these heads masked, each with its 95% interval (bootstrap of the examples).

        Raises:
            HeadDescriptorError: If the heads are not there.
            PruneHeadsError: If masks are not applied, logits are not finite, or the store cannot be written.
        """
        return Evaluation(**measuring.evaluate(self._predictions, self._mask(heads), self.seed))

    def score(
        self,
        criterion: str | Callable[[Examples], Any] = "gradient",
        *,
        estimator: str = "example",
        normalize: str = "none",
        response: Response = "metric",
        masks: int = 2000,
        updates: int = 500,
    ) -> Scores:
        """How important each head is, on the examples of this Evaluator; `on("train")` or other data for others.

        Args:
            criterion: Key of `CRITERIA`, `my_module:function`, `file.py:function`, or a function of your own. It is
                given `Examples` and returns `HeadScores`, or one number a head: flat, or one row a block.
            estimator: Key of `ESTIMATORS`, of the criterion `gradient`.
            normalize: `none`, `l2` or `min-max`.
            response: What `ablation` scores by: `metric`, or `likelihood` of the right answer.
            masks: How many masks a criterion by masks may measure.
            updates: Of a criterion that learns gates.

        Raises:
            CriterionError: If a criterion of your own fails, or gives no scores of these heads.
            PruneHeadsError: As for `evaluate`.
        """
        own = None if isinstance(criterion, str) else own_criterion(criterion)
        name = own.name if own is not None else str(criterion)
        asked = Scoring(name, estimator, normalize, self.seed, response=response, masks=masks, updates=updates)
        scores, _, about = scoring.score(self._predictions.subject, asked, self._predictions, criterion=own)
        return Scores(scores.values, scores.standard_error, scores.gone, **about)

    def ablate(
        self, kind: str = "without-one", *, blocks: tuple[str, ...] | None = None, chosen_on: "Evaluator | None" = None
    ) -> Ablations:
        """Mask each head on its own, or all others of its layer, and test what that does to the metric.

        Args:
            kind: `without-one` or `only-one`.
            blocks: Layers to ask about, `("3", "4")` or `("E:3",)`, from 1; None: all.
            chosen_on: For `only-one`: where the best head of each layer is chosen, `ev.on(split="train")`.

        Raises:
            DataError: If the metric is undefined on the examples.
            PruneHeadsError: As for `evaluate`.
        """
        asked = Ablation(cast(Kind, kind), blocks, seed=self.seed)
        chosen = None if chosen_on is None else ablating.ablated(chosen_on._predictions, asked)
        task = self._predictions.subject.task.spec.name
        return Ablations(task=task, **ablating.table(asked, ablating.ablated(self._predictions, asked), chosen))

    def curve(self, scores: HeadScores, *, steps: int = 10) -> Curve:
        """The metric as heads go, lowest score first, from none to all; each point with its 95% interval.

        Args:
            scores: Of this model.
            steps: Between no head and all.

        Raises:
            DataError: If the metric is undefined on the examples.
            PruneHeadsError: As for `evaluate`.
        """
        self._predictions.check_defined()
        masks = lowest_first(scores, self._predictions.gone, steps)
        made = scores if isinstance(scores, Scores) else Scores(())
        about = {"criterion": made.criterion or None, "estimator": made.estimator, "rescored": False}
        order = {**about, "scored_on": made.split}, scores, [masks]
        measured = measuring.Measured(self._predictions, masks, self.seed)
        return Curve(**curves.line_of(order, [measured], steps))

    def compare(self, first: Heads | None, second: Heads | None) -> Comparison:
        """Two masks on the same examples: does a metric differ, and by how much?

        Accuracy and exact match are tested by the exact McNemar test, other metrics by the paired bootstrap.

        Raises:
            PruneHeadsError: As for `evaluate`.
        """
        return Comparison(**measuring.compare(self._predictions, self._mask(first), self._mask(second), self.seed))

    def _mask(self, heads: Heads | None) -> HeadMask:
        n_heads, heads = self._predictions.subject.n_heads, {} if heads is None else heads
        found = reading.read_heads(heads, n_heads) if isinstance(heads, str) else as_mask(heads, n_heads)
        return found | self._predictions.gone


def _is_rows(data: Any, label: str) -> bool:
    """Whether examples, and no batches, whose labels are many; a Dataset is told by its columns."""
    row = data[0] if isinstance(data, list | tuple) and data else None
    if not isinstance(row, Mapping) or (label in row and not getattr(row[label], "ndim", 0)):
        return isinstance(row, Mapping) or hasattr(data, "column_names")
    return not any(isinstance(value, Tensor) for value in row.values())


def _metric(metric: str | Callable[..., Any], objective: Objective) -> str | Metric:
    if isinstance(metric, str):
        known = OBJECTIVES[objective.name].metrics if objective.name in OBJECTIVES else METRIC_NAMES
        if metric not in known:
            raise TaskError(f"the metric must be one of {', '.join(known)}, or your own; got {metric!r}")
        return metric
    return metric if isinstance(metric, Metric) else Metric(metric.__name__, metric)
