"""The core for notebooks and scripts: a model and data in, metrics, scores, ablations, curves and tests out.

Nothing is written and nothing printed unless a store is named. The commands of the same names give the same numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from prune_heads.ablation import predict_masks
from prune_heads.checkpoints import Classifier
from prune_heads.errors import DataError, UnsupportedModelError
from prune_heads.evaluation import Subject
from prune_heads.heads import HeadMask, Heads, HeadScores, as_mask
from prune_heads.importance import Examples, own_criterion
from prune_heads.modes import evaluating, logits_of
from prune_heads.objectives.batches import Batches
from prune_heads.objectives.loaded import loaded, read_as
from prune_heads.options import Ablation, Scoring, WrittenModel
from prune_heads.options.choices import Kind
from prune_heads.predictions import Predictions
from prune_heads.progress import Silent
from prune_heads.results import Ablations, Comparison, Curve, Evaluation, Scores
from prune_heads.selection import lowest_first
from prune_heads.store import PredictionStore
from prune_heads.studies import evaluating as studies
from prune_heads.studies.ablation_tables import table
from prune_heads.studies.curves import Measured, line_of
from prune_heads.studies.measuring import check_defined, measure
from prune_heads.studies.orders import Order
from prune_heads.studies.pruning import read_heads
from prune_heads.studies.scoring import score
from prune_heads.studies.setup import load_model, resolve_device
from prune_heads.tasks.in_memory import NAME, task_of_labels, task_of_rows
from prune_heads.tasks.spec import TaskKind
from prune_heads.tasks.task import Split, Task, load_task

_KINDS: Mapping[str, TaskKind] = {
    "single-label": "labelled",
    "regression": "labelled",
    "causal-lm": "lm",
    "masked-lm": "lm",
    "seq2seq": "seq2seq",
    "translation": "translation",
}
_METRICS = {"regression": "pearson", "causal-lm": "log_likelihood", "masked-lm": "log_likelihood"}


class Evaluator:
    """A model on examples, with any of its heads masked. The model stays as it is.

    Heads are named as everywhere: `"3:1,5"` counts layers and heads from 1 as they were before any removal; a mapping
    `{2: [0, 4]}` counts from 0; a `HeadMask` is taken as it is.

    Args:
        model: A classifier or language model of transformers, any module with attention that `attention_blocks`
            finds and that returns logits, or a checkpoint's name (`"mini"` for the built-in ones).
        data: A task's name or a `Task` (`load_task`); a `datasets.Dataset` or a list of dicts with columns `text`,
            for pairs `text_pair`, and `label`; or a DataLoader of model inputs with labels, one an example:
            mappings with `labels`, or pairs `(inputs, labels)`. It is read once, in its order.
        tokenizer: The model's own; not needed for a checkpoint's name or a DataLoader.
        objective: What is predicted; None: what the model's head gives.
        metric: None: that of the task, else accuracy, Pearson's correlation or the log-likelihood of a token.
        columns: What `text`, `text_pair` and `label` are called in the data.
        split: Of a task; None: its first split for evaluation. All methods look at this split, also `score`; `on`
            gives an Evaluator of another one.
        max_examples: The first of them; None: all.
        store: A folder or URL where predictions are kept, for which weights are hashed in every call. None keeps
            nothing.
        batch_size: Examples a batch; a DataLoader has its own.
        max_length: Tokens of a text, at most.
        device: `cpu`, `cuda`, `mps` or `auto`; None: where the model is.
        seed: Of the bootstrap and of criteria that draw.

    Raises:
        PruneHeadsError: If model and data do not fit, or the heads of the model cannot be found.
    """

    def __init__(
        self,
        model: nn.Module | str,
        data: str | Task | datasets.Dataset | Iterable[Any],
        *,
        tokenizer: PreTrainedTokenizerBase | None = None,
        objective: str | None = None,
        metric: str | None = None,
        columns: Mapping[str, str] | None = None,
        split: str | None = None,
        max_examples: int | None = None,
        store: Path | str | None = None,
        batch_size: int = 32,
        max_length: int = 128,
        device: str | None = None,
        seed: int = 0,
    ) -> None:
        self.notes: list[str] = []
        """What a reader of the results must know, e.g. how many texts were cut."""
        reporter = _Notes(self.notes)
        self.seed = seed
        self._options = {
            "tokenizer": tokenizer,
            "objective": objective,
            "metric": metric,
            "columns": columns,
            "store": store,
            "batch_size": batch_size,
            "max_length": max_length,
            "device": device,
            "seed": seed,
        }
        self._data = data
        task = load_task(data) if isinstance(data, str) else data if isinstance(data, Task) else None
        kind = task.spec.kind if task is not None else _KINDS[objective] if objective else None
        if isinstance(model, str):
            name = task.spec.name if task is not None else ""
            loaded_model = load_model(WrittenModel(model, name), reporter, kind or "labelled")
        else:
            loaded_model = _wrapped(model, tokenizer, objective)
        self.model: nn.Module = loaded_model.model
        where = resolve_device(device) if device else next(self.model.parameters()).device
        batches: Batches | None = None
        if task is None and _is_rows(data):
            task = _task_of(loaded_model, data, objective, metric, columns)
        if task is None:
            subject, chosen, batches = _of_loader(loaded_model, data, where)
        else:
            if loaded_model.tokenizer is None:
                raise DataError("texts need the model's tokenizer, tokenizer=...; got none")
            subject = Subject.of(
                loaded_model, task, batch_size=batch_size, max_length=max_length, device=where
            )
            if subject.objective.note:
                reporter.note(subject.objective.note)
            chosen = subject.measurable(task.load(split or task.spec.eval_splits[0], max_examples), reporter)
        self._predictions = Predictions(
            subject, chosen, PredictionStore(store, on_damage=reporter.note), reporter, batches
        )

    def on(
        self, data: Any = None, *, split: str | None = None, max_examples: int | None = None
    ) -> "Evaluator":
        """The same model on other examples: another split of the task, or other data.

        Args:
            data: As for the Evaluator; None: the same.
            split: Of a task.
            max_examples: The first of them; None: all.
        """
        subject = self._predictions.subject
        options = {**self._options, "tokenizer": subject.classifier.tokenizer}
        data = self._data if data is None else data
        return Evaluator(self.model, data, split=split, max_examples=max_examples, **options)

    def evaluate(self, heads: Heads | None = None) -> Evaluation:
        """The metrics with these heads masked, each with its 95% interval (bootstrap of the examples).

        Raises:
            HeadDescriptorError: If the heads are not there.
            PruneHeadsError: If masks are not applied, logits are not finite, or the store cannot be written.
        """
        return Evaluation(**studies.evaluate(self._predictions, self._mask(heads), self.seed))

    def score(
        self,
        criterion: str | Callable[[Examples], Any] = "gradient",
        *,
        estimator: str = "example",
        normalize: str = "none",
    ) -> Scores:
        """How important each head is, on the examples of this Evaluator; `on("train")` or other data for others.

        Args:
            criterion: Key of `CRITERIA`, `my_module:function`, `file.py:function`, or a function of your own. It is
                given `Examples` and returns `HeadScores`, or one number a head: flat, or one row a block.
            estimator: Key of `ESTIMATORS`, of the criterion `gradient`.
            normalize: `none`, `l2` or `min-max`.

        Raises:
            CriterionError: If a criterion of your own fails, or gives no scores of these heads.
            PruneHeadsError: As for `evaluate`.
        """
        own = None if isinstance(criterion, str) else own_criterion(criterion)
        name = own.name if own is not None else str(criterion)
        asked = Scoring(name, estimator, normalize, self.seed)
        found = score(self._predictions.subject, asked, self._predictions, criterion=own)
        report, scores = found.report(), found.scores
        made = {key: report[key] for key in ("criterion", "estimator", "normalize", "split", "n_examples")}
        return Scores(
            scores.values, scores.standard_error, scores.gone, **made, blocks=tuple(report["blocks"])
        )

    def ablate(
        self,
        kind: str = "without-one",
        *,
        blocks: tuple[str, ...] | None = None,
        chosen_on: "Evaluator | None" = None,
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
        chosen = None if chosen_on is None else measure(chosen_on._predictions, asked)
        task = self._predictions.subject.task.spec.name
        return Ablations(task=task, **table(measure(self._predictions, asked), chosen))

    def curve(self, scores: HeadScores, *, steps: int = 10) -> Curve:
        """The metric as heads go, lowest score first, from none to all; each point with its 95% interval.

        Args:
            scores: Of this model.
            steps: Between no head and all.

        Raises:
            DataError: If the metric is undefined on the examples.
            PruneHeadsError: As for `evaluate`.
        """
        check_defined(self._predictions)
        masks = lowest_first(scores, self._predictions.gone, steps)
        made = scores if isinstance(scores, Scores) else Scores(())
        order = Order(made.criterion or None, made.estimator, made.split, False, scores, (tuple(masks),))
        measured = Measured(self._predictions, predict_masks(self._predictions, masks), self.seed)
        return Curve(**line_of(order, [measured], steps))

    def compare(self, first: Heads | None, second: Heads | None) -> Comparison:
        """Two masks on the same examples: does a metric differ, and by how much?

        Accuracy is tested by the exact McNemar test, other metrics by the paired bootstrap.

        Raises:
            PruneHeadsError: As for `evaluate`.
        """
        return Comparison(
            **studies.compare(self._predictions, self._mask(first), self._mask(second), self.seed)
        )

    def _mask(self, heads: Heads | None) -> HeadMask:
        n_heads = self._predictions.subject.n_heads
        found = read_heads(heads, n_heads) if isinstance(heads, str) else as_mask(heads or {}, n_heads)
        return found | self._predictions.gone


class _Notes(Silent):
    """Keeps each note once."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _is_rows(data: Any) -> bool:
    is_list = isinstance(data, list | tuple) and len(data) > 0
    return isinstance(data, datasets.Dataset) or (is_list and _is_row(data[0]))


def _is_row(row: Any) -> bool:
    return isinstance(row, Mapping) and any(isinstance(value, str) for value in row.values())


def _wrapped(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase | None, objective: str | None
) -> Classifier:
    """As if it had been loaded by its name."""
    name = Path(getattr(getattr(model, "config", None), "name_or_path", "") or type(model).__name__).name
    return Classifier(model, tokenizer, name, None)


def _task_of(
    classifier: Classifier,
    data: Any,
    objective: str | None,
    metric: str | None,
    columns: Mapping[str, str] | None,
) -> Task:
    said = {"causal": "causal-lm", "masked": "masked-lm", "seq2seq": "seq2seq", None: "single-label"}
    config: Any = getattr(classifier.model, "config", None)
    if config is None:
        raise UnsupportedModelError(
            f"texts need a model of transformers with its config; got {type(classifier.model).__name__}. Give a "
            "DataLoader of its inputs with labels"
        )
    objective = objective or said[classifier.objective]
    if objective == "single-label" and config.num_labels == 1:
        objective = "regression"
    labels = None
    if objective == "single-label":
        labels = [str(config.id2label[i]) for i in sorted(config.id2label)]
    kind = _KINDS[objective]
    default = "bleu" if kind == "translation" else "log_likelihood" if kind != "labelled" else "accuracy"
    return task_of_rows(
        data, kind=kind, metric=metric or _METRICS.get(objective, default), labels=labels, columns=columns
    )


def _of_loader(classifier: Classifier, data: Any, device: Any) -> tuple[Subject, Split, Batches]:
    """A DataLoader's batches, on which labels are those of the model."""
    model = classifier.model.to(device)
    batches = loaded(data, model)
    is_score = batches.references.dtype.kind == "f"
    with torch.inference_mode(), evaluating(model):
        one = batches.batch(batches.parts[0].index[:1]).to(device)
        width = logits_of(model(**one.inputs)).shape[-1]
    config = getattr(model, "config", None)
    names = getattr(config, "id2label", None) or {}
    labels = None if is_score else tuple(str(names.get(i, i)) for i in range(width))
    task = task_of_labels(batches.references.tolist(), labels, "pearson" if is_score else "accuracy")
    batches = read_as(batches, width)
    subject = Subject(classifier, task, batches.objective, batches.batch_size, 0, device)
    return subject, task.load(NAME), batches
