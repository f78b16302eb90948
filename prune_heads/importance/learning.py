"""Gates of heads are learned: the model is frozen and in evaluation mode, the gates are all that changes.

An update draws `BATCH` examples and takes a step of Adam down the mean of their losses plus a penalty. Losses are in
units of the mean loss without any head, so that a penalty weighs as much for every kind of task. What an update draws
follows from the seed and its number alone, whatever the batch size of the model. The state is kept in the store every
`EVERY` updates: a fit that was killed goes on there and ends in the same bytes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.anatomy import attention_blocks
from prune_heads.errors import NotFiniteError
from prune_heads.evaluation import check_finite
from prune_heads.gating import evaluating, gated
from prune_heads.importance.criteria import Examples
from prune_heads.objectives.replacing import stand_in
from prune_heads.progress import Progress
from prune_heads.store import Journal

BATCH = 32  # examples an update, or all there are
EVERY = 50  # updates from one state in the store to the next
LONGEST = 1.0  # gradients of the gates are cut at this norm
_BETAS, _EPSILON = (0.9, 0.999), 1e-8  # of Adam

Gates = Callable[[Tensor, Tensor, float], Tensor]
"""Parameters, uniform noise of (0, 1) of the update, and the share of updates that is done -> gates; `(n_heads,)`."""
Penalty = Callable[[Tensor], Tensor]  # parameters -> a number, which is added to the loss


@contextmanager
def learning(examples: Examples, name: str) -> Iterator["Learner"]:
    """Learns by `examples.updates` updates in all, in one `Learner.fit` or several.

    Args:
        examples: The model and the scoring examples.
        name: Of the criterion; a state in the store is of one criterion, model, data, seed and number of updates.

    Raises:
        NotFiniteError: If a loss or a gradient is NaN or infinite.
        PruneHeadsError: If the store cannot be written.
    """
    predictions, n_updates = examples.predictions, examples.updates
    size = min(BATCH, predictions.batches.n_examples)
    passes = n_updates * size / predictions.batches.n_examples
    examples.spend(name, passes + 1, passes)  # one more for the loss without heads
    with predictions.unchanged(), evaluating(examples.model, frozen=True):
        about = {"task": predictions.subject.task.spec.name, "split": predictions.split.name, "learns": name}
        about |= {"instead": predictions.instead} if predictions.instead else {}
        job = {**about, "updates": n_updates, "seed": examples.seed, "of": predictions.key(examples.gone).to_json()}
        with predictions.reporter.stage("learning gates", n_updates * size) as progress:
            learner = Learner(examples, Journal(predictions.store.objects, job), size, progress)
            yield learner
    learner.journal.close()


class Learner:
    """Fits gates of the heads that are there, in order. All arrays of heads are `(n_there,)`, in float32."""

    def __init__(self, examples: Examples, journal: Journal, size: int, progress: Progress) -> None:
        """An update takes `size` examples; see `learning`."""
        self.examples, self.journal, self.size, self.progress = examples, journal, size, progress
        self.model, self.batches, self.done = examples.model, examples.batches, 0
        places = {head: i for i, head in enumerate(examples.there)}
        self.columns = [  # -1 for a head that is masked: its gate stays 1, for in `model` it gives nothing
            torch.tensor([places.get((i, head), -1) for head in block.original_heads], dtype=torch.long)
            for i, block in enumerate(attention_blocks(self.model))
        ]
        self.unit = 1.0
        every, closed = np.arange(self.batches.n_examples), torch.zeros(len(places))
        with torch.no_grad():
            self.unit = sum(map(float, self._losses(every, closed))) / len(every) or 1.0

    def fit(self, start: Tensor, n_updates: int, rate: float, gates: Gates, penalty: Penalty | None = None) -> Tensor:
        """The parameters after so many updates from `start`, with Adam at this rate."""
        if not len(start):
            return start  # no head is left
        first, last = self.done, self.done + n_updates
        kept = [at for at in range(first + 1, last + 1) if at % EVERY == 0 or at == last]
        state, at = torch.stack([start.float(), *torch.zeros(2, len(start))]), first
        for step in reversed(kept):
            if (found := self.journal.read(step)) is not None:
                state, at = torch.from_numpy(found.copy()), step
                break
        self.progress((at - first) * self.size)
        for step in range(at, last):
            rng = np.random.default_rng([self.examples.seed, step])
            index = rng.choice(self.batches.n_examples, self.size, replace=False)
            noise = torch.from_numpy(rng.uniform(1e-6, 1 - 1e-6, len(start)))
            parameters = state[0].clone().requires_grad_()
            values = gates(parameters, noise, (step - first) / n_updates).float()
            slope = self._slope(values.detach(), index)
            loss = (values * slope).sum()  # whose derivatives are those of the losses
            gradient = torch.autograd.grad(loss if penalty is None else loss + penalty(parameters), parameters)[0]
            if not gradient.isfinite().all():
                must = f"gradients of the gates must be finite; got NaN or infinity in update {step + 1}"
                raise NotFiniteError(f"{must}. Try --dtype float32, and check the checkpoint's weights")
            state = _adam(state, gradient, step - first + 1, rate)
            if step + 1 in kept:
                self.journal.write(step + 1, state.numpy())
            self.progress(self.size)
        self.done = last
        return state[0]

    def _slope(self, values: Tensor, index: NDArray[np.int64]) -> Tensor:
        """The derivative by the gates of the mean loss of these examples, in units of the loss without heads."""
        total, values = torch.zeros_like(values), values.requires_grad_()
        for losses in self._losses(index, values):
            total += torch.autograd.grad(losses, values, materialize_grads=True)[0]
        return total / len(index) / self.unit

    def _losses(self, index: NDArray[np.int64], values: Tensor) -> Iterator[Tensor]:
        """The sum of the losses of these examples under gates, batch after batch."""
        device, size = next(self.model.parameters()).device, self.batches.batch_size
        by_length = index[np.argsort(-self.batches.n_tokens[index], kind="stable")]
        padded = torch.cat([values, values.new_ones(1)])
        for part in np.split(by_length, range(size, len(by_length), size)):
            batch, instead = self.batches.batch(part).to(device), stand_in(self.model, self.batches, part)
            with gated(self.model, [padded[columns] for columns in self.columns], instead):
                losses = self.batches.objective.losses(self.model(**batch.inputs), batch).float()
            check_finite(losses.detach().cpu().numpy(), part, "losses")
            yield losses.sum()


def _adam(state: Tensor, gradient: Tensor, step: int, rate: float) -> Tensor:
    """Parameters and both moments, `(3, n)`, after an update; steps count from 1 (Kingma and Ba, 2015)."""
    gradient = gradient * (LONGEST / (gradient.norm() + 1e-6)).clamp(max=1)
    moments = [state[1].lerp(gradient, 1 - _BETAS[0]), state[2].lerp(gradient.square(), 1 - _BETAS[1])]
    first, second = (moment / (1 - beta**step) for moment, beta in zip(moments, _BETAS, strict=True))
    return torch.stack([state[0] - rate * first / (second.sqrt() + _EPSILON), *moments])
