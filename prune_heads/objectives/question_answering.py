"""The part of a context that answers a question (extractive question answering, as SQuAD).

A context that is too long for the model is cut into windows that overlap, so a question has several rows. Its answer
is the best span of them all.
"""
# ruff: noqa: D102 -- `Objective` says what each method gives

import re
import string
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.checkpoints import Checkpoint, Head
from prune_heads.errors import CheckpointError, DataError, UnsupportedModelError
from prune_heads.files import json_of
from prune_heads.objectives import TaskSpec, texts
from prune_heads.objectives.base import Objective
from prune_heads.objectives.batches import IGNORED, Batch, Batches, Ragged
from prune_heads.objectives.rows import Split, Table, read_json, text, text_at
from prune_heads.statistics.metrics import mean_of
from prune_heads.visible import brief


def normalized(answer: str) -> str:
    """As SQuAD's script compares answers: lower case, without punctuation, articles and double spaces."""
    lower = answer.lower().translate(dict.fromkeys(map(ord, string.punctuation)))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lower).split())


def exact_and_f1(answer: str, right: Sequence[str]) -> tuple[float, float]:
    """Exact match and F1 of an answer, the best over the right ones, which are `normalized`.

    The definitions are those of SQuAD 2.0's official script (Rajpurkar et al., 2018): F1 is of the bags of words; where
    one side has no word it is 1 if both have none. Of answers that have a word, they are those of SQuAD 1.1 (2016) too.
    """
    given = normalized(answer)
    return float(given in right), max(_f1(given.split(), one.split()) for one in right)


def right_answers(answers: Sequence[str]) -> list[str]:
    """What counts as right, `normalized`; "" where there is no answer, or none that has a word."""
    return [found for each in answers if (found := normalized(each))] or [""]


def _f1(given: list[str], right: list[str]) -> float:
    if not given or not right:
        return float(given == right)
    common = (Counter(given) & Counter(right)).total()
    return 2 * common / (len(given) + len(right))


_METRICS = (
    mean_of("exact_match", lambda made, references: made[:, 0].astype(float), is_share=True, width=2),
    mean_of("f1", lambda made, references: made[:, 1].astype(float), width=2),
)


def read_squad(path: Path, table: Table, wanted: Sequence[str]) -> None:
    """SQuAD's own JSON, 1.1 and 2.0: articles, their paragraphs, and the questions of each. Other JSON as elsewhere."""
    content = text_at(path)
    if not re.match(r'\s*\{\s*"(data|version)"\s*:', content):
        return read_json(path, table, wanted)
    is_not = f"{path.name}: the file cannot be read"
    squad: Any = json_of(content, is_not, DataError)
    table.names = ("question", "context", "answers", "id")
    try:
        for article in squad["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    place = f"{path.name} question {len(table.rows) + 1}"
                    table.rows[place] = {"context": paragraph["context"], "answers": [], **asked}
    except (KeyError, TypeError, ValueError) as error:
        must = 'it must be SQuAD\'s JSON, {"data": [{"paragraphs": [{"context": ..., "qas": [...]}]}]}'
        raise DataError(f"{is_not}: {must}; after {len(table.rows)} questions {error!r}") from error


@dataclass(frozen=True)
class QuestionAnswering(Objective):
    """Kept are exact match, F1 and the log-likelihood of the right answer; the loss is minus the last.

    The likelihood is that of training (Devlin et al., 2019, section 4.2): the log-probabilities of the first and the
    last token of the answer, each by a softmax over the tokens of a window, summed. Here it is the mean over the
    windows that hold the answer, so that a question counts once however many windows it has. Of several right
    answers the first is meant, as in training; of a question without an answer, the first token of every window.

    References are 1 for questions that have an answer and 0 for others.
    """

    doc_stride: int | None = None  # tokens that two windows share; None: a third of the tokens of a window
    may_be_none: bool = False  # whether "no answer" is an answer: where any question of the split has none

    name = "question-answering"
    head = Head("AutoModelForQuestionAnswering", "question answering head")
    inputs = ("question", "context")
    compared = slice(2)
    likely = 2
    readers = MappingProxyType({".json": read_squad})
    reads = ("start_logits", "end_logits")
    chooses = True
    own_metrics = MappingProxyType({metric.name: metric for metric in _METRICS})

    @classmethod
    def check_row(cls, row: tuple[Any, ...]) -> None:
        _, context, found = row
        for said, start in zip(found["text"], found["answer_start"], strict=True):
            if (there := context[start : start + len(said)]) != said:
                must = "the answer must stand in the context at its answer_start, counted in characters from 0"
                raise ValueError(f"{must}; {brief(said)} must be at {start}, got {brief(there)}")

    @classmethod
    def label_of(cls, value: object, codes: Mapping[str, int]) -> dict[str, list[Any]]:
        """The right answers as `datasets` hold them: `text` and `answer_start` of each; also as in SQuAD's files."""
        if isinstance(value, list) and all(isinstance(each, dict) for each in value):
            value = {key: [each.get(key) for each in value] for key in ("text", "answer_start")}
        found: Any = value if isinstance(value, dict) else {}
        said, starts = found.get("text"), found.get("answer_start")
        are_lists = isinstance(said, list) and isinstance(starts, list) and len(said) == len(starts)
        if not are_lists or not all(type(start) is int and start >= 0 for start in starts):
            must = 'the answers must be {"text": [...], "answer_start": [...]}, empty for a question without an answer'
            raise ValueError(f"{must}; got {brief(value)}")
        return {"text": [text(each) for each in said], "answer_start": starts}

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        """Raises `CheckpointError` if the tokenizer does not say where in a text its tokens are."""
        if checkpoint.tokenizer is not None and not getattr(checkpoint.tokenizer, "is_fast", False):
            must = f"the tokenizer must say where its tokens stand in a text; {checkpoint.name} has no fast one"
            raise CheckpointError(f"{must}. Save one with a tokenizer.json")
        return cls(spec.metric, doc_stride=options.get("doc_stride"))

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row a window: the question, and a part of the context."""
        answers = split.columns["label"]
        stride = n_max // 3 if self.doc_stride is None else self.doc_stride
        none_ids = (tokenizer.cls_token_id, tokenizer.bos_token_id)
        fields: dict[str, list[NDArray[np.int32]]] = defaultdict(list)
        windows, targets = [], []
        for i, (question, context) in enumerate(zip(split.columns["question"], split.columns["context"], strict=True)):
            try:
                made = texts.windows_of(tokenizer, question, context, n_max, stride)
                targets += texts.targets_of(made.encodings, none_ids, answers[i])
            except ValueError as fault:
                raise DataError(f"{split.source}: example {i + 1} of {split.name}: {fault}") from None
            for name, values in made.items():
                fields[name] += [np.asarray(each, dtype=np.int32) for each in values]
            windows.append([texts.offsets_of(window) for window in made.encodings])
        fields.pop("overflow_to_sample_mapping", None)  # where one is cut
        has_answer = np.asarray([bool(answer["text"]) for answer in answers], dtype=np.int64)
        asked = replace(self, doc_stride=stride, may_be_none=not has_answer.all())
        inputs = {name: Ragged.of(values, texts.fill(tokenizer, name)) for name, values in fields.items()}
        right = [right_answers(answer["text"]) for answer in answers]
        beside = {"contexts": split.columns["context"], "windows": windows, "answers": right}
        rows = np.concatenate([[0], np.cumsum([len(each) for each in windows])]).astype(np.int64)
        wanted = Ragged.of(targets, IGNORED)
        return Batches(asked, inputs, wanted, has_answer, batch_size, beside=beside, rows=rows)

    def losses(self, outputs: Any, batch: Batch) -> Tensor:
        """Raises `UnsupportedModelError` if the logits are not of the tokens."""
        there = batch.targets != IGNORED
        total = torch.zeros(len(batch.index), device=batch.targets.device)
        for logits, bit in zip(self._logits(outputs, batch), (texts.START, texts.END), strict=True):
            right = there & (batch.targets & bit > 0)
            each = logits.masked_fill(~there, -torch.inf).log_softmax(dim=1)
            likelihood = batch.by_example(torch.where(right, each, 0).sum(dim=1))
            total = total - likelihood / batch.by_example(right.any(dim=1).float())
        return total

    def read(self, outputs: Any, batch: Batch) -> Tensor:
        """Of the span whose start and end logits have the highest sum, over the windows of the context.

        It is empty where "no answer" may be one and scores higher in every window (Devlin et al., 2019, section 4.3).
        """
        starts, ends = self._logits(outputs, batch)
        first, last, best, none = (each.cpu().numpy() for each in texts.best_spans(starts, ends, batch.targets))
        owner = np.arange(len(best)) if batch.owner is None else batch.owner.cpu().numpy()
        scores = []
        for i, (context, windows) in enumerate(zip(batch.beside["contexts"], batch.beside["windows"], strict=True)):
            rows, answer = np.flatnonzero(owner == i), ""
            window = int(best[rows].argmax())
            row = rows[window]
            if np.isfinite(best[row]) and not (self.may_be_none and none[rows].min() > best[row]):
                answer = context[windows[window][first[row], 0] : windows[window][last[row], 1]]
            scores.append(exact_and_f1(answer, batch.beside["answers"][i]))
        likelihood = -self.losses(outputs, batch)[:, None]
        return torch.cat([likelihood.new_tensor(scores), likelihood], dim=1)

    def settings(self, model: nn.Module) -> dict[str, Any]:
        return {"doc_stride": self.doc_stride, "may_be_none": self.may_be_none, "longest_answer": texts.LONGEST_ANSWER}

    def about(self, n_max: int) -> dict[str, Any]:
        stride = n_max // 3 if self.doc_stride is None else self.doc_stride
        longest = texts.LONGEST_ANSWER
        return {"question_answering": {"doc_stride": stride, "max_tokens": n_max, "longest_answer": longest}}

    def _logits(self, outputs: Any, batch: Batch) -> list[Tensor]:
        """Of starts and of ends, `(rows, tokens)` each, in float32."""
        found: list[Any] = [getattr(outputs, name, None) for name in self.reads]
        if any(each is None or each.shape != batch.targets.shape for each in found):
            must = "a model that answers questions must give start_logits and end_logits, one a token"
            raise UnsupportedModelError(f"{must}; got {[getattr(each, 'shape', None) for each in found]}")
        return [each.float() for each in found]
