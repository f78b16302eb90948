"""Which heads can go: orders by criteria, cut by bisection, heads exchanged for others, and a short list for a test."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from prune_heads.ablation import predict_masks
from prune_heads.anatomy import Unit
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance.by_masks import Respond
from prune_heads.objectives.base import Kept
from prune_heads.options import Fitting
from prune_heads.predictions import Predictions
from prune_heads.progress import one_stage
from prune_heads.statistics.safe import Loss, loss_of, worth_of

Record = dict[str, Any]
Save = Callable[[HeadMask], int]
Row = NDArray[np.bool_]  # `(n_units,)`: those that are closed
NEAREST = 3  # units of either side that are tried together in an exchange


class Search:
    """Units of heads, the examples that they are chosen on, and what masks lose there."""

    def __init__(self, on: Predictions, units: Sequence[Unit], save: Save, options: Fitting, n_test: int) -> None:
        """What a mask saves is told by `save`; `n_test` examples are tested on."""
        self.on, self.units, self.save, self.options, self.n_test = on, units, save, options, n_test
        self.kept: dict[HeadMask, Kept] = {}  # of all masks so far
        (base,) = self.of([on.gone])
        on.warn_if_below_chance(base)
        self.base, self.responds = on.answers(base), on.objective.responses(base, on.references) is not None
        flips = on.objective.chooses or on.objective.generates
        self.worth = worth_of(on.measure, self.base, on.references) if flips else None

    def mask(self, chosen: Iterable[int]) -> HeadMask:
        """Units by number, and the heads that are gone already."""
        return HeadMask(self.on.gone.n_heads, self.on.gone.pruned.union(*(self.units[i] for i in chosen)))

    def of(self, masks: Sequence[HeadMask]) -> list[Kept]:
        """What is kept under each mask."""
        if new := [mask for mask in masks if mask not in self.kept]:
            self.kept |= predict_masks(self.on, new)
        return [self.kept[mask] for mask in masks]

    def loss(self, mask: HeadMask) -> Loss:
        """Of the headline metric, where heads are chosen."""
        on, how = self.on, {"seed": self.options.seed, "worth": self.worth}
        answers = on.answers(self.of([mask])[0])
        return loss_of(on.measure, self.base, answers, on.references, groups=on.groups, **how)  # type: ignore[arg-type]

    def most(self, order: Sequence[int], low: int = 0, *, is_last: bool = False) -> int:
        """How many units can go: such a loss, seen on as many examples as are tested, would be shown to be small.

        Then a test passes with even odds. The last that is tested loses less than the margin: others pass by luck.
        """
        margin, beyond = self.options.max_loss, scipy.stats.norm.ppf(self.options.confidence)
        times = np.sqrt(self.n_test / len(self.base))

        def fits(n: int) -> bool:
            found = self.loss(self.mask(order[:n]))
            return found.value < margin if is_last else bool(times * found.distance(margin) >= beyond)

        return cut(fits, low, len(order))

    def respond(self, closed: NDArray[np.bool_]) -> NDArray[np.float64]:
        """`(n_masks,)`: the mean response under masks, `(n_masks, n_units)`."""
        masks, of = [self.mask(np.flatnonzero(row)) for row in closed], self.on.objective.responses
        return np.array([np.mean(of(kept, self.on.references)) for kept in self.of(masks)])  # type: ignore[arg-type]

    def candidates(self, scores: Mapping[str, HeadScores]) -> tuple[str, list[HeadMask], Record]:
        """The criterion whose order is cut where most is saved, the masks to test, nested, and what was done.

        The response decides what is exchanged, but the metric whether that stays: as many must fit, and then more may.
        """
        n_units, save, left = len(self.units), self.save, self.options.exchange if self.responds else 0
        saves = np.array([save(self.mask([i])) - save(self.on.gone) for i in range(n_units)])
        total = (len(scores) * n_units.bit_length() + left) * len(self.base)
        with self.on.unchanged(), one_stage(self.on, "search", total):
            orders = {name: ordered(each, self.units, saves) for name, each in scores.items()}
            by = {name: self.mask(order[: self.most(order)]) for name, order in orders.items()}
            best = max(by, key=lambda name: save(by[name]))
            order, n, n_swapped, before = orders[best], self.most(orders[best]), 0, len(self.kept)
            while True:
                closed = np.isin(np.arange(n_units), order[:n])
                found, swaps = exchange(closed, saves, self.respond, left - len(self.kept) + before)
                now = sorted(order, key=lambda i: not found[i])  # in either part in the order that it had
                if not swaps or self.most(now[:n], n - 1) < n:
                    break
                order, n_swapped, start, n = now, n_swapped + swaps, n, self.most(now, n)
                if n == start:
                    break
            masks = [self.mask(order[:k]) for k in range(n_units + 1)]
            last = self.most(order, n, is_last=True)
            listed = [masks[k] for k in short_list(list(map(save, masks)), last, self.options.candidates)]
            self.of(listed)
        searched = [{"criterion": name, "n_pruned": len(mask)} for name, mask in by.items()]
        done = {"n_swapped": n_swapped, "n_masks": len(self.kept) - before, "n_pruned": len(masks[n])}
        return best, listed, {"searched": searched, "exchanged": done}


def saved(costs: Record, mask: HeadMask, what: str) -> int:
    """Heads, `parameters` or `multiply_adds` that a model has less without these heads, by its `head_costs`."""
    total = len(mask) if what == "heads" else 0
    for block, heads in zip(costs["blocks"] if what != "heads" else (), mask.by_block(), strict=False):
        size = block["group_size"]
        n_groups = sum(n == size for n in Counter(head // size for head in heads).values())
        total += len(heads) * block[f"head_{what}"] + n_groups * block[f"group_{what}"]
        total += block.get(f"block_{what}", 0) if len(heads) == block["n_heads"] else 0
    return total


def ordered(scores: HeadScores, units: Sequence[Unit], saves: NDArray[np.int_]) -> list[int]:
    """Units by number, first the one of lowest score for what it saves; ties in order of layer and head."""
    total = np.array([sum(scores.values[block][head] for block, head in sorted(unit)) for unit in units])
    rank = np.where(total > 0, total / saves, total * saves)
    return sorted(range(len(units)), key=lambda i: (rank[i], min(units[i])))


def cut(fits: Callable[[int], bool], low: int, high: int) -> int:
    """The largest number from `low`, which fits, to `high` that does, if no number fits above one that does not."""
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def exchange(closed: Row, saves: NDArray[np.int_], respond: Respond, masks: int) -> tuple[Row, int]:
    """Open a closed unit and close an open one that saves as much, as long as the mean response grows by that.

    The pair comes from the closed units that take most away and the open ones that take least. As in `lazy_order`, what
    a unit takes away is measured again only where it was tried. At most so many `masks` are measured.

    The units that are closed in the end are as many as before; the second value says how many pairs were exchanged.
    """
    n, (base,), n_swapped, left = len(closed), respond(closed[None]), 0, masks - 1
    each, losses, tried = np.eye(n, dtype=bool), np.zeros(n), np.arange(n)
    while left >= len(tried) + NEAREST**2 and 0 < closed.sum() < n:
        losses[tried] = (base - respond(closed ^ each[tried])) * np.where(closed[tried], -1, 1)
        by_loss = np.argsort(losses, kind="stable")
        gone, there = by_loss[closed[by_loss]][::-1][:NEAREST], by_loss[~closed[by_loss]][:NEAREST]
        rows = [closed ^ each[a] ^ each[b] for a in gone for b in there if saves[b] >= saves[a]]
        found = respond(np.stack(rows)) if rows else np.array([base])
        if found.max() <= base:
            break
        left, tried = left - len(tried) - len(rows), np.concatenate([gone, there])
        closed, base, n_swapped = rows[int(np.argmax(found))], found.max(), n_swapped + 1
    return closed, n_swapped


def short_list(saves: Sequence[int], n: int, most: int) -> list[int]:
    """Numbers of units to test, up to `n`, one at least: those that save a `most`-th of what n save, two of them, ...

    `saves` is what 0, 1, 2, ... units save.
    """
    n, start = max(n, 1), saves[0]
    wanted = [start + (saves[n] - start) * i / most for i in range(1, most + 1)]
    return sorted({next(k for k in range(1, n + 1) if saves[k] >= each) for each in wanted})
