"""A text of one's own, asked as its task would ask: what the model answers, and how likely it finds that answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.checkpoints import Checkpoint
from prune_heads.checkpoints.head import translate
from prune_heads.errors import DataError, TaskError
from prune_heads.evaluation import Subject, predict, unseen
from prune_heads.gating import evaluating, logits_of
from prune_heads.objectives import TASKS, TaskSpec, texts
from prune_heads.objectives.base import Kept
from prune_heads.objectives.batches import IGNORED, Batches, Ragged
from prune_heads.objectives.likelihood import Seq2Seq
from prune_heads.objectives.question_answering import QuestionAnswering
from prune_heads.objectives.rows import Split
from prune_heads.options import Look
from prune_heads.progress import Reporter
from prune_heads.studies.setup import limit_threads, load_model, resolve_device
from prune_heads.tasks.task import NAME, Task, kind_of_head, load_task, of_head

MOST_ANSWERS = 5
Answer = dict[str, Any]  # name, probability (None of a score), and the place (from 1) of its token, where it has one


@dataclass(frozen=True)
class Asked:
    """A text as the model takes it, whose target is the model's own answer."""

    subject: Subject
    split: Split
    batches: Batches
    answers: list[Answer]
    answer: str  # what `likelihood` is of
    says: Callable[[Kept], str] | None = None  # the answer under a mask; None where one is as good as a number

    @property
    def measure(self) -> str:
        """What `likelihood` is: of the answer in nats, or the score."""
        return "score" if self.subject.objective.name == "regression" else "log-likelihood"

    def likelihood(self, kept: Kept) -> float:
        """How likely the model finds its answer, of what is kept under a mask."""
        found = self.batches.objective.log_likelihood(kept, self.batches.references)
        return float(kept[0, 0] if found is None else found[0])

    @property
    def n_unknown(self) -> int:
        """Tokens that the tokenizer does not know."""
        ids = self.batches.inputs.get("input_ids")
        unknown = getattr(self.subject.classifier.tokenizer, "unk_token_id", 0)
        return int((ids.row(0) == unknown).sum()) if isinstance(ids, Ragged) and unknown is not None else 0

    def tokens(self, of: str = "input_ids") -> list[str]:
        """The tokens of an input as people read them; none of an image."""
        field, tokenizer = self.batches.inputs.get(of), self.subject.classifier.tokenizer
        return [] if not isinstance(field, Ragged) else [token_name(tokenizer, i) for i in field.row(0).tolist()]


def ask(options: Look, reporter: Reporter) -> Asked:
    """Load the model, and ask it about the text.

    Raises:
        DataError: If the text is empty, longer than the model takes, or has nothing to predict.
        TaskError: If the task asks about more texts or fewer.
        PruneHeadsError: If the model or the task cannot be loaded, or do not fit.
    """
    name = options.task
    task = load_task(name) if name and not (name in TASKS and TASKS[name].is_own) else None
    kind = None if not name else TASKS[name].kind if task is None else task.spec.kind
    checkpoint = load_model(options, reporter, kind)
    limit_threads(checkpoint)
    if task is None:
        task = _task_of(checkpoint, kind or kind_of_head(checkpoint), name, options.pair is not None)
    how: dict[str, Any] = {"max_length": options.max_length, "device": resolve_device(options.device)}
    subject = Subject.of(checkpoint, task, label_order=options.label_order, **how)
    if subject.objective.note:
        reporter.note(subject.objective.note)
    return ask_about(subject, options.text, options.pair)


def _task_of(checkpoint: Checkpoint, kind: str, name: str, is_pair: bool) -> Task:
    """What the model's head is for, about one text or two; its outputs name the labels."""
    row, labels = of_head(checkpoint, kind)
    columns = row.load().inputs[: 2 if is_pair and 2 in row.n_columns else row.n_columns[0]]
    metric = next(iter(row.metrics))
    return Task(TaskSpec(name or NAME, columns, metric, labels, kind=kind), lambda split, n: _no_rows(), ())


def _no_rows() -> Any:
    raise DataError("a text of one's own must be asked about; got the name of a split")


def ask_about(subject: Subject, text: str, pair: str | None = None) -> Asked:
    """What a subject answers; see `ask`."""
    spec, objective = subject.task.spec, subject.objective
    names, given = objective.inputs[: len(spec.text_columns)], [text, *([] if pair is None else [pair])]
    writes = isinstance(objective, Seq2Seq)
    if len(given) > len(names):
        raise TaskError(f"--pair must be given for a task of two texts; {spec.name} has one ({spec.text_columns[0]})")
    if len(given) < len(names) and not writes:
        what = ", ".join(spec.text_columns)
        raise TaskError(f"{spec.name} must have two texts ({what}), got one; name the second with --pair")
    columns: dict[str, list[Any]] = {}
    for name, value in zip(names, given, strict=False):
        try:
            columns[name] = [objective.input_of(value.split() if name == "tokens" else value)]
        except ValueError as fault:
            raise DataError(str(fault)) from fault
    if writes:
        subject = replace(subject, objective=Seq2Seq.bind(subject.classifier, spec))
        columns.setdefault("text_pair", columns["text"])
    elif (blank := _BLANK.get(objective.name)) is not None:
        columns["label"] = [blank(columns)]
    split = Split("text", columns, "the text", "", 1)
    _check_length(subject, subject.tokens(split))
    if writes and pair is None:
        columns["text_pair"] = [_written(subject, split)]
        split = replace(split, columns=columns)
    return _ASKED[subject.objective.name](subject, split)


_BLANK: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "single-label": lambda columns: 0,
    "image-classification": lambda columns: 0,
    "regression": lambda columns: 0.0,
    "multi-label": lambda columns: [],
    "question-answering": lambda columns: {"text": [], "answer_start": []},
    "token-classification": lambda columns: [0] * len(columns["tokens"][0]),
}
"""Objective -> a label in place of the answer that is not known yet."""


def _check_length(subject: Subject, batches: Batches) -> None:
    if batches.n_cut or (batches.rows is not None and batches.rows[-1] > 1):
        must = f"the text must have at most {subject.n_max} tokens, as the model and --max-length allow; it has more"
        raise DataError(f"{must}. Shorten it, or raise --max-length")
    first = next(iter(batches.inputs.values()))
    if isinstance(first, Ragged) and not first.row(0).size:
        raise DataError("the text must have a token that the model is given; got none")


def token_name(tokenizer: Any, token: int) -> str:
    """A token as people read it; as the vocabulary has it where it is a space or a part of a character."""
    shown = str(tokenizer.decode([token])).strip()
    return shown if shown and "\ufffd" not in shown else str(tokenizer.convert_ids_to_tokens(token))


def _run(subject: Subject, batches: Batches) -> Any:
    """What the model gives for the text."""
    with torch.inference_mode(), evaluating(subject.model):
        return subject.model(**batches.batch(np.arange(1)).to(subject.device).inputs)


def _likeliest(names: Sequence[str], chances: NDArray[Any], **more: Any) -> list[Answer]:
    order = np.argsort(-chances, kind="stable")[:MOST_ANSWERS]
    return [{"name": names[i], "probability": float(chances[i]), **more} for i in order]


def _one_class(subject: Subject, split: Split) -> Asked:
    objective: Any = subject.objective
    batches, labels = subject.batches(split), subject.task.spec.labels or ()
    logits = predict(subject.model, batches)
    chances = _softmax(logits[0])[list(objective.model_index)]

    def says(kept: Kept) -> str:
        return labels[int(objective.predictions(kept)[0])]

    made = replace(batches, references=objective.predictions(logits))
    return Asked(subject, split, made, _likeliest(labels, chances), says(logits), says)


def _many_classes(subject: Subject, split: Split) -> Asked:
    objective: Any = subject.objective
    batches, config = subject.batches(split), subject.classifier.model.config
    names = [str(config.id2label[i]) for i in sorted(config.id2label)]
    for label, i in zip(subject.task.spec.labels or (), objective.model_index, strict=True):
        names[i] = label
    logits = predict(subject.model, batches)

    def says(kept: Kept) -> str:
        return ", ".join(names[i] for i in np.flatnonzero(kept[0] > 0)) or "no label"

    made = replace(batches, references=objective.predictions(logits))
    chances = 1 / (1 + np.exp(-logits[0].astype(np.float64)))
    return Asked(subject, split, made, _likeliest(names, chances), says(logits), says)


def _score(subject: Subject, split: Split) -> Asked:
    batches = subject.batches(split)
    score = float(predict(subject.model, batches)[0, 0])
    return Asked(subject, split, batches, [{"name": f"{score:.4g}", "probability": None}], "the score")


def _tokens(subject: Subject, split: Split) -> Asked:
    """The token behind the text, or those that its mask tokens stand for."""
    tokenizer, objective = subject.classifier.tokenizer, subject.objective
    inputs, cut = texts.tokenize(split, tokenizer, n_max=subject.n_max, of={"text": "text"})
    ids = inputs["input_ids"].row(0)
    places = [len(ids) - 1]
    if objective.name == "masked-lm":
        places = np.flatnonzero(ids == tokenizer.mask_token_id).tolist()
        if not places:
            must = f"a masked language model must be told where to predict: write {tokenizer.mask_token} in the text"
            raise DataError(f"{must}; got none")
    targets = np.full(len(ids), IGNORED, dtype=np.int32)
    made: Batches = objective.made(inputs, Ragged.of([targets], IGNORED), 1, cut)  # type: ignore[attr-defined]
    made = unseen(subject.model, made)
    logits = logits_of(_run(subject, made))[0, places].float().cpu()
    answers = []
    for place, row in zip(places, logits, strict=True):
        targets[place] = int(row.argmax())
        best = row.double().softmax(dim=-1).topk(MOST_ANSWERS)
        for chance, token in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            answers.append({"name": token_name(tokenizer, token), "probability": chance, "place": place + 1})
    made = replace(made, targets=Ragged.of([targets], IGNORED))
    return Asked(subject, split, made, answers, " ".join(each["name"] for each in answers[::MOST_ANSWERS]))


def _written(subject: Subject, split: Split) -> str:
    inputs = subject.batches(split).batch(np.arange(1)).to(subject.device).inputs
    with evaluating(subject.model):
        (text,) = translate(subject.model, subject.classifier.tokenizer, inputs, beams=1, n_max=subject.n_max)
    if not text.strip():
        raise DataError("the model must write something for this text; it ends at once. Name a target with --pair")
    return text


def _target(subject: Subject, split: Split) -> Asked:
    """What the model has written, or the target that was named."""
    batches, text = subject.batches(split), split.columns["text_pair"][0]
    return _with_likelihood(Asked(subject, split, batches, [{"name": text}], text))


def _with_likelihood(asked: Asked) -> Asked:
    """The probability of the one answer."""
    chance = float(np.exp(asked.likelihood(predict(asked.subject.model, asked.batches))))
    return replace(asked, answers=[{**asked.answers[0], "probability": chance}])


def _span(subject: Subject, split: Split) -> Asked:
    objective = subject.objective
    assert isinstance(objective, QuestionAnswering)
    batches, context = subject.batches(split), split.columns["context"][0]
    found = _run(subject, batches)
    targets = batches.targets.batch(np.arange(1)).to(subject.device)
    spans = texts.best_spans(found.start_logits.float(), found.end_logits.float(), targets)
    first, last, best, none = (each[0].item() for each in spans)
    if none > best:
        return _with_likelihood(Asked(subject, split, batches, [{"name": "no answer"}], "no answer"))
    offsets = batches.beside["windows"][0][0]
    start = int(offsets[int(first), 0])
    answer = context[start : int(offsets[int(last), 1])]
    label = {"text": [answer], "answer_start": [start]}
    split = replace(split, columns={**split.columns, "label": [label]})
    return _with_likelihood(Asked(subject, split, subject.batches(split), [{"name": answer}], answer))


def _words(subject: Subject, split: Split) -> Asked:
    """The label of each word."""
    objective: Any = subject.objective
    batches = subject.batches(split)
    chances: Tensor = logits_of(_run(subject, batches))[0].double().softmax(dim=-1).cpu()
    targets = batches.targets.batch(np.arange(1))[0]
    places = np.flatnonzero(targets.numpy() != IGNORED).tolist()
    answers = []
    for place in places:
        targets[place] = int(chances[place].argmax())
        label, chance = objective.tags[int(targets[place])], float(chances[place].max())
        answers.append({"name": label, "probability": chance, "place": place + 1})
    made = replace(batches, targets=Ragged.of([targets.numpy().astype(np.int32)], IGNORED))
    return Asked(subject, split, made, answers, "the labels of all words")


def _softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    return torch.from_numpy(logits).double().softmax(dim=-1).numpy()


_ASKED: Mapping[str, Callable[[Subject, Split], Asked]] = {
    "single-label": _one_class,
    "image-classification": _one_class,
    "multi-label": _many_classes,
    "regression": _score,
    "causal-lm": _tokens,
    "masked-lm": _tokens,
    "seq2seq": _target,
    "question-answering": _span,
    "token-classification": _words,
}
"""Objective -> how its answer is read."""
