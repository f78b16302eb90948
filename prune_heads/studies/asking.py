"""A text of one's own, asked as its task would ask: what the model answers, and how likely it finds that answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_heads.attention.records import token_name
from prune_heads.checkpoints.head import translate
from prune_heads.errors import DataError, TaskError
from prune_heads.evaluation import Subject, predict, unseen
from prune_heads.gating import evaluating, logits_of
from prune_heads.objectives import TASKS, TaskSpec, texts
from prune_heads.objectives.base import Kept
from prune_heads.objectives.batches import IGNORED, Batches, Ragged
from prune_heads.objectives.images import ENDINGS
from prune_heads.objectives.likelihood import Seq2Seq
from prune_heads.objectives.rows import Split, Table
from prune_heads.options import Look
from prune_heads.progress import Reporter
from prune_heads.studies.setup import limit_threads, load_model, resolve_device
from prune_heads.tasks.task import NAME, Task, kind_of_head, load_task, of_head

MOST_ANSWERS = 5
ONE = np.arange(1)  # the place of the one example
Answer = dict[str, Any]  # name, probability (None of a score), and the place (from 1) of its token, where it has one


@dataclass(frozen=True)
class Asked:
    """A text as the model takes it, whose target is the model's own answer."""

    subject: Subject
    batches: Batches
    answers: list[Answer]
    answer: str  # what `likelihood` is of
    says: Callable[[Kept], str] | None = None  # the answer under a mask, of a classifier

    @property
    def measure(self) -> str:
        """What `likelihood` is: of the answer in nats, or the score."""
        return "score" if self.subject.objective.name == "regression" else "log-likelihood"

    def likelihood(self, kept: Kept) -> float:
        """How likely the model finds its answer, of what is kept under a mask."""
        found = self.batches.objective.log_likelihood(kept, self.batches.references)
        return float(kept[0, 0] if found is None else found[0])


def ask(options: Look, reporter: Reporter) -> Asked:
    """Load the model, and ask it about the text.

    A `DataError` if the text is empty, longer than the model takes, or has nothing to predict; a `TaskError` if the
    task asks about more texts or fewer, or its answers are no classes, scores or tokens; a `PruneHeadsError` if the
    model or the task cannot be loaded, or do not fit.
    """
    name = options.task
    task = load_task(name) if name and not (name in TASKS and TASKS[name].is_own) else None
    kind = None if not name else TASKS[name].kind if task is None else task.spec.kind
    checkpoint = load_model(options, reporter, kind)
    limit_threads(checkpoint)
    if task is None:  # what the model's head gives, about one text or two; its outputs name the labels
        kind, n_texts = kind or kind_of_head(checkpoint), 1 if options.pair is None else 2
        row, labels = of_head(checkpoint, kind)
        columns = row.load().inputs[: n_texts if n_texts in row.n_columns else row.n_columns[0]]
        spec = TaskSpec(name or NAME, columns, next(iter(row.metrics)), labels, kind=kind)
        task = Task(spec, lambda split, n: Table(NAME), ())
    how: dict[str, Any] = {"max_length": options.max_length, "device": resolve_device(options.device)}
    subject = Subject.of(checkpoint, task, label_order=options.label_order, **how)
    if subject.objective.note:
        reporter.note(subject.objective.note)
    return ask_about(subject, options.text, options.pair)


def ask_about(subject: Subject, text: str, pair: str | None = None) -> Asked:
    """What a subject answers; see `ask`."""
    spec, objective = subject.task.spec, subject.objective
    names, given = spec.text_columns, [text, *([] if pair is None else [pair])]
    if objective.name not in _ASKED:
        raise TaskError(f"the answer must be a class, a score or tokens for a text to be looked at; got {spec.kind}")
    if objective.head.reads == "text" and len(text.split()) == 1 and Path(text).suffix.lower() in ENDINGS:
        must = f"the text must be one, for {subject.classifier.name} reads texts; got the path of a picture"
        raise DataError(f"{must}, {Path(text).name}. Name a model of images with --model")
    if len(given) > len(names):
        raise TaskError(f"--pair must be given for a task of two texts; {spec.name} has one ({names[0]})")
    writes = isinstance(objective, Seq2Seq)
    if len(given) < len(names) and not writes:
        raise TaskError(f"{spec.name} asks about two texts ({', '.join(names)}), got one; name the second with --pair")
    try:
        columns = {name: [objective.input_of(each)] for name, each in zip(objective.inputs, given, strict=False)}
    except ValueError as fault:
        raise DataError(str(fault)) from fault
    columns["label"] = [[] if objective.name == "multi-label" else 0]  # in place of the answer
    if writes:  # what is measured is the target, or what the model writes
        subject = replace(subject, objective=Seq2Seq.bind(subject.classifier, spec))
        columns.setdefault("text_pair", columns["text"])
    split = Split("text", columns, "the text", "", 1)
    batches = subject.batches(split)
    first = next(iter(batches.inputs.values()))
    if batches.n_cut:
        must = f"the text must have at most {subject.n_max} tokens, as the model and --max-length allow"
        raise DataError(f"{must}; it has more. Shorten it, or raise --max-length if the model takes more")
    if isinstance(first, Ragged) and not first.row(0).size and objective.name != "causal-lm":
        raise DataError("the text must have a token that the model is given; got none")
    if writes and pair is None:
        columns["text_pair"] = [_written(subject, batches)]
        batches = subject.batches(replace(split, columns=columns))
    return _ASKED[objective.name](subject, batches, columns)


def _written(subject: Subject, batches: Batches) -> str:
    inputs = batches.batch(ONE).to(subject.device).inputs
    with evaluating(subject.model):
        (text,) = translate(subject.model, subject.classifier.tokenizer, inputs, beams=1, n_max=subject.n_max)
    if not text.strip():
        raise DataError("the model must write something for this text; it ends at once. Name a target with --pair")
    return text


def _likeliest(chances: NDArray[Any], name: Callable[[int], str], **more: Any) -> list[Answer]:
    order = np.argsort(-chances, kind="stable")[:MOST_ANSWERS].tolist()
    return [{"name": name(i), "probability": float(chances[i]), **more} for i in order]


def _classes(subject: Subject, batches: Batches, columns: Mapping[str, Any]) -> Asked:
    """One class, or all that are likelier than not."""
    objective: Any = subject.objective
    logits = predict(subject.model, batches)
    names, index = list(subject.task.spec.labels or ()), list(objective.model_index)
    if objective.name == "multi-label":
        chances = 1 / (1 + np.exp(-logits[0, index].astype(np.float64)))
    else:
        chances = _softmax(logits[0])[index]

    def says(kept: Kept) -> str:
        given = objective.predictions(kept)[0]
        several = [name for name, i in zip(names, index, strict=True) if given.ndim and given[i]]
        return (", ".join(several) or "no label") if given.ndim else names[int(given)]

    made = replace(batches, references=objective.predictions(logits))
    return Asked(subject, made, _likeliest(chances, names.__getitem__), says(logits), says)


def _score(subject: Subject, batches: Batches, columns: Mapping[str, Any]) -> Asked:
    score = float(predict(subject.model, batches)[0, 0])
    return Asked(subject, batches, [{"name": f"{score:.4g}", "probability": None}], "the score")


def _tokens(subject: Subject, batches: Batches, columns: Mapping[str, Any]) -> Asked:
    """The token behind the text, or those that its mask tokens stand for."""
    tokenizer, objective = subject.classifier.tokenizer, subject.objective
    inputs, cut = texts.tokenize(Split("text", columns, "", "", 1), tokenizer, n_max=subject.n_max, of={"text": "text"})
    ids = inputs["input_ids"].row(0)
    is_masked = objective.name == "masked-lm"
    places = np.flatnonzero(ids == tokenizer.mask_token_id).tolist() if is_masked else [*range(len(ids))][-1:]
    if not places:
        what = f"{tokenizer.mask_token} where one is to be predicted" if is_masked else "one at least"
        raise DataError(f"the text must have a token of the model, {what}; got none")
    targets, answers = np.full(len(ids), IGNORED, dtype=np.int32), list[Answer]()
    made: Batches = objective.made(inputs, Ragged.of([targets], IGNORED), 1, cut)  # type: ignore[attr-defined]
    made = unseen(subject.model, made)
    with torch.inference_mode(), evaluating(subject.model):
        logits = logits_of(subject.model(**made.batch(ONE).to(subject.device).inputs))[0, places].float().cpu()
    for place, row in zip(places, logits.numpy(), strict=True):
        targets[place] = row.argmax()
        answers += _likeliest(_softmax(row), partial(token_name, tokenizer), place=place + 1)
    made = replace(made, targets=Ragged.of([targets], IGNORED))
    return Asked(subject, made, answers, " ".join(each["name"] for each in answers[::MOST_ANSWERS]))


def _target(subject: Subject, batches: Batches, columns: Mapping[str, Any]) -> Asked:
    """What the model has written, or the target that was named."""
    asked = Asked(subject, batches, [], str(columns["text_pair"][0]))
    chance = float(np.exp(asked.likelihood(predict(subject.model, batches))))
    return replace(asked, answers=[{"name": asked.answer, "probability": chance}])


def _softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    return torch.from_numpy(logits).double().softmax(dim=-1).numpy()


_ASKED: Mapping[str, Callable[[Subject, Batches, Mapping[str, Any]], Asked]] = {
    **dict.fromkeys(("single-label", "image-classification", "multi-label"), _classes),
    "regression": _score,
    **dict.fromkeys(("causal-lm", "masked-lm"), _tokens),
    **dict.fromkeys(("seq2seq", "translation"), _target),
}
"""Objective -> how its answer is read."""
