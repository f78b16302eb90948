"""Learning from another model beside the labels: `prune-heads finetune --distill-from`."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from prune_heads.errors import UnfitError
from prune_heads.evaluation import Subject
from prune_heads.gating import evaluating, logits_of
from prune_heads.objectives.batches import IGNORED
from prune_heads.tasks.task import Split

WEIGHTS = {"labels": 0.5, "answers": 0.5, "hidden": 1.0}
"""Of the parts of the loss; the last is 0 where hidden states differ in shape."""
_STATES = ("hidden_states", "encoder_hidden_states", "decoder_hidden_states")


class Teacher:
    """A model that is fine-tuned on a task, for another that learns it; it stays as it is."""

    def __init__(self, subject: Subject, pupil: Subject, split: Split, temperature: float) -> None:
        """Both on the task, and what the pupil learns. An `UnfitError` if they do not read its examples alike."""
        self.subject, self.temperature, self.problem = subject, temperature, pupil.objective.problem
        few, both = split.at(range(min(32, len(split)))), (pupil, subject)
        given = [each.tokens(few).inputs for each in both]
        ours, theirs = ({name: [x.tolist() for x in of.arrays()] for name, of in each.items()} for each in given)
        if ours != theirs or subject.n_max < pupil.n_max:
            why = f"takes {subject.n_max} tokens at most" if ours == theirs else "has another tokenizer"
            must = f"--distill-from must name a model that reads texts as {pupil.classifier.name} does"
            raise UnfitError(f"{must}; {subject.classifier.name} {why}. Name the model that was pruned")
        places = [getattr(each.objective, "model_index", ()) for each in both]
        self.order = [theirs for _, theirs in sorted(zip(*places, strict=True))]
        """For each output of the pupil that of the teacher, by the names of the labels."""
        batch = pupil.batches(few).batch(np.arange(1)).to(pupil.device)
        with torch.no_grad(), evaluating(pupil.model), evaluating(subject.model):
            outputs = [each.model(**batch.inputs, output_hidden_states=True) for each in both]
        mine, others = ([state.shape for state in _states(output)] for output in outputs)
        self.shows_hidden = bool(mine) and mine == others

    def about(self) -> dict[str, Any]:
        """For records: the temperature, and the weights of the parts of the loss."""
        return {"temperature": self.temperature, "weights": WEIGHTS | {"hidden": WEIGHTS["hidden"] * self.shows_hidden}}

    def loss(self, own: Tensor, outputs: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Of a batch: the pupil's own by the labels, and the distance of its outputs to the teacher's; see `WEIGHTS`.

        The inputs are those of both, with the `labels`.
        """
        labels, given = inputs["labels"], {name: value for name, value in inputs.items() if name != "labels"}
        with torch.no_grad():
            wanted = self.subject.model(**given, output_hidden_states=self.shows_hidden)
        answers = logits_of(wanted).float()
        answers = answers[..., self.order] if self.order else answers
        each = apart(logits_of(outputs).float(), answers, self.problem, self.temperature)
        each = each[labels != IGNORED] if each.ndim == 2 else each  # of words that have a label
        total = WEIGHTS["labels"] * own + WEIGHTS["answers"] * each.mean()
        if self.shows_hidden:
            pairs = zip(_states(outputs), _states(wanted), strict=True)
            total = total + WEIGHTS["hidden"] * hidden_error(list(pairs), given.get("attention_mask"))
        return total


def apart(logits: Tensor, wanted: Tensor, problem: str, temperature: float) -> Tensor:
    """`(...)`: how far answers are from wanted ones, both `(..., n_labels)`, by the `problem` of an objective.

    For scores the squared difference. Else the Kullback-Leibler divergence from the wanted distribution at a
    temperature, times its square (Hinton et al., 2015); of labels that are there or not, the mean of theirs.
    """
    if problem == "regression":
        return (logits - wanted).square().squeeze(-1)
    ours, theirs = logits / temperature, wanted / temperature
    if problem == "multi_label_classification":
        ours, theirs = torch.stack([ours, -ours], dim=-1), torch.stack([theirs, -theirs], dim=-1)
        logs = functional.logsigmoid(ours), functional.logsigmoid(theirs)
    else:
        logs = functional.log_softmax(ours, dim=-1), functional.log_softmax(theirs, dim=-1)
    divergence = functional.kl_div(*logs, reduction="none", log_target=True).sum(dim=-1) * temperature**2
    return divergence.mean(dim=-1) if problem == "multi_label_classification" else divergence


def hidden_error(pairs: list[tuple[Tensor, Tensor]], mask: Tensor | None) -> Tensor:
    """The mean over layers of the squared distance to the teacher's states, as a share of these states squared.

    Each pair are states of pupil and teacher, `(batch, tokens, width)`; where the mask is of these tokens, padding does
    not count.
    """
    found = []
    for ours, theirs in pairs:
        is_there = theirs.new_ones(theirs.shape[:-1])
        if mask is not None and mask.shape == is_there.shape:
            is_there = mask.to(is_there)
        distance, size = ((each.float().square().sum(dim=-1) * is_there).sum() for each in (ours - theirs, theirs))
        found.append(distance / size)
    return torch.stack(found).mean()


def _states(output: Any) -> Iterator[Tensor]:
    """The hidden states after each layer; the first of a stack are embeddings."""
    for name in _STATES:
        yield from (getattr(output, name, None) or ())[1:]
