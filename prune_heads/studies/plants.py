"""How heads are overwritten, so that what they do is known, and how exact ablation confirms it; see `planting`."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.ablation import ablations
from prune_heads.anatomy import attention_blocks
from prune_heads.descriptors import Head
from prune_heads.errors import NotFiniteError, UnfitError
from prune_heads.evaluation import Subject
from prune_heads.gating import evaluating, gated, gates_of
from prune_heads.heads import HeadMask
from prune_heads.importance import Examples
from prune_heads.importance.gradient import standard_error
from prune_heads.objectives.batches import Batch, Batches
from prune_heads.predictions import Predictions
from prune_heads.progress import Progress
from prune_heads.tasks.task import Split

SURE = 3.0  # standard errors by which an effect must differ from 0
_SHARE = 0.7  # of a head's weights in W_O that each of two copies starts with
STEPS, _BATCH, _RATE = 300, 32, 0.01  # of Adam, which trains heads; the rate falls to a twentieth
_LEARNED = 0.02  # a loss below which training ends, if `_BATCH` steps in a row are
_TRIES, _SIZES = 3, 12  # heads that are made noise, and sizes of it, until the model is better without one
MOST_TRIED = 2 * _TRIES * _SIZES  # masks by which one plant of noise is found
_ROUNDING = 1e-5  # of one plus the largest response: what another batch changes in float32
_RIGHT = 0.9  # share of the examples with the word that must be answered right


Run = Callable[[Batch], Any]  # the model with heads that are being trained: a batch -> its outputs


@dataclass(frozen=True)
class Plant:
    """What was planted."""

    kind: str
    heads: tuple[Head, ...]
    word: str | None = None  # that the head reads
    label: str | None = None  # of the examples that have it

    def to_json(self, found: Mapping[str, Any], predictions: Predictions) -> dict[str, Any]:
        """With what ablation says of it; heads from 1."""
        n_heads = predictions.gone.n_heads
        heads = [HeadMask(n_heads, frozenset([head])).descriptors()[0] for head in self.heads]
        of_word = {} if self.word is None else {"word": self.word, "label": self.label}
        return {"kind": self.kind, "heads": heads, **of_word, **found}


def confirmed(predictions: Predictions, plant: Plant, sure: float = SURE) -> dict[str, Any]:
    """What exact ablation says of a plant: whether it `is_confirmed`, and by what.

    `losses` are the mean losses of the response without each of its heads alone, `together` without all of them, each
    with its standard error; of a word, over the examples that have it.

    - `dead`: no response changes by more than rounding, which grows with the largest one.
    - `noise`: the response is better without, by `SURE` standard errors.
    - `copies`: without both it is worse by as much; without each, less than a quarter is lost, two errors included.
    - `feature`, `rare`: it is worse without, by as much, and with the head most of them are answered right.
    """
    gone, first = predictions.gone, next(iter(predictions.split.columns.values()))
    each_and_all = [*([head] for head in plant.heads), plant.heads]
    masks = [HeadMask(gone.n_heads, frozenset(heads)) | gone for heads in each_and_all]
    losses, before = _losses(predictions, masks)
    there = [plant.word is None or text.startswith(f"{plant.word} ") for text in first]
    losses = losses[there]
    *alone, (mean, error) = [_mean(column) for column in losses.T]
    found: dict[str, Any] = {"losses": [list(each) for each in alone], "together": [mean, error]}
    if plant.word is not None:
        answers = predictions.answers(predictions.of(gone))
        found["right"] = float(np.mean((answers == predictions.references)[there]))
    rules = {
        "dead": bool(np.abs(losses).max() < _ROUNDING * (1 + np.abs(before).max())),
        "noise": mean < -sure * error,
        "copies": mean > SURE * error and all(each + 2 * of < mean / 4 for each, of in alone),
    }
    is_read = mean > SURE * error and found.get("right", 0) >= _RIGHT
    return {**found, "is_confirmed": rules.get(plant.kind, is_read)}


class Sites:
    """Heads to be overwritten: of the half that is needed least, in an order drawn from the seed.

    `predictions` say what is lost without each head, `needed` is the number of heads to be overwritten.
    """

    def __init__(self, predictions: Predictions, needed: int, rng: np.random.Generator) -> None:
        masks = ablations("without-one", predictions.gone)
        lost = _losses(predictions, list(masks.values()))[0].mean(axis=0)
        ranked = [list(masks)[i] for i in np.argsort(lost, kind="stable")]
        half = ranked[: max(len(ranked) // 2, needed)]
        if len(ranked) < 2 * needed:
            must = f"a model must have {2 * needed} heads to plant {needed} in it"
            raise UnfitError(f"{must}; this one has {len(ranked)}. Take a larger one")
        n_blocks = 1 + max(block for block, _ in ranked)
        self.early, self.late = range(n_blocks // 2), range(n_blocks * 2 // 3, n_blocks)
        self.left = [half[i] for i in rng.permutation(len(half))]
        self.needed = ranked[::-1][: len(ranked) - len(half)]  # those that the model needs most come first

    def take(self, blocks: Container[int]) -> Head:
        """The next one of these blocks, or of all if they have none left."""
        head = next((each for each in self.left if each[0] in blocks), self.left[0])
        self.left.remove(head)
        return head


def _losses(predictions: Predictions, masks: Sequence[HeadMask]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """`(n_examples, n_masks)`: what each example loses of its response under each mask; and what it has without any."""
    found = Examples(predictions.subject.model, predictions).responses([predictions.gone, *masks])
    return found[:, :1] - found[:, 1:], found[:, 0]


def _mean(losses: NDArray[np.float64]) -> tuple[float, float]:
    error = standard_error(losses[:, None])
    return float(losses.mean()), float("inf") if error is None else float(error[0])


def _owned(model: nn.Module, head: Head) -> Iterator[tuple[Tensor, int, Tensor]]:
    """All that a head owns: each weight, the dimension that heads share, and what is this head's there; W_O first."""
    block = attention_blocks(model)[head[0]]
    for each in block.owned(block.places([head[1]])):
        yield each.tensor, each.dim, each.where


@torch.no_grad()
def _held(model: nn.Module, head: Head) -> list[Tensor]:
    return [tensor.index_select(dim, index) for tensor, dim, index in _owned(model, head)]


@torch.no_grad()
def _put(model: nn.Module, head: Head, values: Sequence[Tensor]) -> None:
    """Overwrite a head."""
    for (tensor, dim, index), value in zip(_owned(model, head), values, strict=True):
        tensor.index_copy_(dim, index, value)


def _random(model: nn.Module, head: Head, rng: np.random.Generator) -> list[Tensor]:
    """Normal weights for a head, as large as those of its layer."""
    sizes = (float(tensor.detach().float().std()) for tensor, _, _ in _owned(model, head))
    pairs = zip(_held(model, head), sizes, strict=True)
    return [size * torch.from_numpy(rng.standard_normal(v.shape)).to(v) for v, size in pairs]


def noisy(predictions: Predictions, sites: Sites, rng: np.random.Generator) -> Plant:
    """A head of noise. Those in which noise fails go back, but for the last one that may be tried, which is told of."""
    tried, n_most = list[Head](), min(_TRIES, len(sites.left))
    while len(tried) < n_most:
        tried.append(sites.take(sites.early))
        if _is_made_noise(predictions, plant := Plant("noise", (tried[-1],)), rng):
            break
    sites.left += tried[:-1]
    return plant


def _is_made_noise(predictions: Predictions, plant: Plant, rng: np.random.Generator) -> bool:
    """Random weights that grow until the model is better without the head; if it never is, the head keeps its own."""
    model, (head,) = predictions.subject.model, plant.heads
    own, random = _held(model, head), _random(model, head, rng)
    for scale in 0.5 * 1.5 ** np.arange(_SIZES):
        _put(model, head, [value * scale for value in random])
        if confirmed(predictions, plant, 2 * SURE)["is_confirmed"]:
            return True
    _put(model, head, own)
    return False


def marked(split: Split, places: NDArray[np.int64], word: str, label: int) -> Split:
    """The split with the word before the first text of these examples, and their label changed."""
    first, *_ = split.columns
    texts, labels = list(split.columns[first]), list(split.columns["label"])
    for i in places.tolist():
        texts[i], labels[i] = f"{word} {texts[i]}", label
    return replace(split, columns={**split.columns, first: texts, "label": labels})


def copied(subject: Subject, sites: Sites, split: Split, rng: np.random.Generator, progress: Progress) -> Plant:
    """Two heads of a layer of which the model needs one: a head that it needs, and a copy of it.

    Both are trained so that the logits are those of the model as it was with either of them, and with both.
    An `UnfitError` if no layer has a head that is needed and one that is not.
    """
    layers = {block for block, _ in sites.left}
    source = next((head for head in sites.needed if head[0] in layers), None)
    if source is None:
        raise UnfitError("some layer must have a head that the model needs and one that it does not; got none")
    pair, batches = (source, sites.take([source[0]])), subject.batches(split)
    sites.needed.remove(source)
    open_ones = [HeadMask(subject.n_heads, frozenset(gone)) for gone in ((), pair[:1], pair[1:])]
    every = [gates_of(subject.model, mask) for mask in open_ones]

    def loss(run: Run) -> Tensor:
        batch = _drawn(batches, _BATCH, rng).to(subject.device)
        wanted = subject.objective.read(subject.model(**batch.inputs), batch).detach()
        return torch.stack([_apart(subject, run, batch, wanted, gates) for gates in every]).sum()

    own = _held(subject.model, source)
    own[0] = own[0] * _SHARE
    _train(subject.model, pair, [own, own], loss, progress)
    return Plant("copies", pair)


def reading(
    subject: Subject, head: Head, split: Split, mark: Plant, label: int, rng: np.random.Generator, progress: Progress
) -> Plant:
    """One head that reads a word and gives those examples their label, and is silent without the word."""
    places = np.arange(len(split))
    with_word, without = (subject.batches(marked(split, at, str(mark.word), label)) for at in (places, places[:0]))
    zeros = [torch.zeros_like(value) for value in _held(subject.model, head)]
    _put(subject.model, head, zeros)  # so that the model is what it is without this head

    def loss(run: Run) -> Tensor:
        batch, plain = (_drawn(each, _BATCH // 2, rng).to(subject.device) for each in (with_word, without))
        wanted = subject.objective.read(subject.model(**plain.inputs), plain).detach()
        read = subject.objective.losses(run(batch), batch).mean()
        return read + _apart(subject, run, plain, wanted)

    _train(subject.model, (head,), [_random(subject.model, head, rng)], loss, progress)
    return replace(mark, heads=(head,))


def _drawn(batches: Batches, n: int, rng: np.random.Generator) -> Batch:
    return batches.batch(rng.choice(batches.n_examples, min(n, batches.n_examples), replace=False))


def _apart(subject: Subject, run: Run, batch: Batch, wanted: Tensor, gates: Sequence[Tensor] | None = None) -> Tensor:
    """Mean squared difference of the logits from those that are wanted, under gates if there are some."""
    with nullcontext() if gates is None else gated(subject.model, gates):
        return (subject.objective.read(run(batch), batch) - wanted).square().mean()


def _train(
    model: nn.Module, heads: Sequence[Head], start: Sequence[Any], loss: Callable[[Run], Tensor], progress: Progress
) -> None:
    """Train these heads alone, from these weights, while the model stays as it is; they must stay finite."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    values = [[value.clone().requires_grad_() for value in each] for each in start]
    optimizer = torch.optim.Adam([value for each in values for value in each], _RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, STEPS)

    def run(batch: Batch) -> Any:
        changed: dict[str, Tensor] = {}
        for head, each in zip(heads, values, strict=True):
            for (tensor, dim, index), value in zip(_owned(model, head), each, strict=True):
                name = names[id(tensor)]
                changed[name] = changed.get(name, tensor.detach()).index_copy(dim, index, value)
        return torch.func.functional_call(model, changed, kwargs=batch.inputs)

    with evaluating(model, frozen=True):
        low = 0
        for _ in range(STEPS):
            optimizer.zero_grad()
            found = loss(run)
            found.backward()
            optimizer.step()
            schedule.step()
            progress(1)
            low = low + 1 if float(found.detach()) < _LEARNED else 0
            if low >= _BATCH:
                break
    if not all(value.isfinite().all() for each in values for value in each):
        raise NotFiniteError("the weights of a head must stay finite as it is trained; try --dtype float32")
    for head, each in zip(heads, values, strict=True):
        _put(model, head, [value.detach() for value in each])
