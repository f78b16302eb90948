"""Maps reduced to scores as they come: sums over texts and over resamples of them, however many texts there are."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prune_heads.anatomy import attention_blocks
from prune_heads.attention import Attention, observing
from prune_heads.errors import UnfitError
from prune_heads.gating import evaluating
from prune_heads.objectives.batches import Batch, Batches, Field, Ragged
from prune_heads.progress import Progress, silent
from prune_heads.roles.definitions import RELATION_SCORES, RELATIONS, SCORES
from prune_heads.roles.patterns import Tokens, Vocabulary, patterns, stacked
from prune_heads.roles.syntax import Sentence

N_RESAMPLES = 1000
_LARGEST = 1 << 26  # numbers of all maps of a batch: a quarter of a GiB
_FILLED = {"attention_mask": 1, "decoder_attention_mask": 1, "token_type_ids": 0}
_DECODED = ("decoder_input_ids", "labels")
TOKENS = ("input_ids", *_DECODED)


@dataclass(frozen=True)
class Measured:
    """A score of the heads of one block; NaN where nothing was measured."""

    value: NDArray[np.float64]  # `(n_heads,)`, as the other fields
    low: NDArray[np.float64]  # 95% interval over texts
    high: NDArray[np.float64]
    null: NDArray[np.float64]


class Sums:
    """Numerators and denominators of scores over all texts, and over resamples in which a text counts w times.

    w is drawn from a Poisson distribution of mean 1 (the bootstrap of streams: Hanley and MacGibbon, 2006), by a
    generator that is seeded by the place of the text. So an interval depends neither on batches nor on other texts.
    """

    def __init__(self, names: Sequence[str], n_heads: Sequence[int], seed: int, n_resamples: int = N_RESAMPLES) -> None:
        self.names, self.seed, self.n_resamples = list(names), seed, n_resamples
        shape = (1 + n_resamples, len(self.names))
        self._above = [torch.zeros(shape[0], n, shape[1], dtype=torch.float64) for n in n_heads]
        self._below = [torch.zeros(shape, dtype=torch.float64) for _ in n_heads]
        self._expected = [torch.zeros(shape[1], dtype=torch.float64) for _ in n_heads]

    def weights(self, index: Sequence[int]) -> Tensor:
        """`(1 + n_resamples, texts)`: once each, and how often each resample has these texts."""
        drawn = [np.random.default_rng([self.seed, i]).poisson(1.0, self.n_resamples) for i in index]
        return torch.cat([torch.ones(1, len(index)), torch.from_numpy(np.stack(drawn, axis=1))]).double()

    def add(self, block: int, weights: Tensor, above: Tensor, below: Tensor, expected: Tensor) -> None:
        """Some texts: `(texts, n_heads, scores)`, `(texts, scores)` and `(texts, scores)`."""
        self._above[block] += (weights @ above.double().cpu().flatten(1)).view_as(self._above[block])
        self._below[block] += weights @ below.double().cpu()
        self._expected[block] += expected.double().cpu().sum(dim=0)

    def of(self, block: int, name: str) -> Measured:
        """One score of one block."""
        place = self.names.index(name)
        above, below = self._above[block][:, :, place].numpy(), self._below[block][:, None, place].numpy()
        shares = np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)
        null = np.full(shares.shape[1], np.nan)
        if below[0, 0] > 0 and SCORES[name].pattern:
            null[:] = float(self._expected[block][place]) / below[0, 0]
        drawn = shares[~np.isnan(shares).any(axis=1)]  # a resample of few texts may hold none
        low, high = np.quantile(drawn, (0.025, 0.975), axis=0) if len(drawn) > 1 else np.full((2, len(null)), np.nan)
        return Measured(shares[0], low, high, null)


class Roles:
    """The scores of all heads of a model; `look` reduces maps of texts, as often as there are kinds of texts."""

    def __init__(
        self, model: nn.Module, known: Vocabulary, *, seed: int = 0, without: Collection[str] = frozenset()
    ) -> None:
        self.model, self.known, self.seed = model, known, seed
        self.blocks = attention_blocks(model)
        self.unseen = set(without)  # names of blocks whose maps are not looked at, or are not of tokens
        self.offsets = {causal: {name: Counter[int]() for name in RELATION_SCORES} for causal in (False, True)}
        """How far apart the words of a relation are, where later words can be seen, and where they cannot."""
        self._sums: dict[str, Sums] = {}
        self._causal: dict[int, bool] = {}
        self._has_encoder = any(block.stack == "encoder" for block in self.blocks)

    def look(self, batches: Batches, on: str = "texts", progress: Progress = silent) -> None:
        """Add texts, on which the scores of this kind are measured (`Score.on`).

        The first batch has the longest texts: a block where no query looks ahead there is causal.
        """
        sums = self._summing([name for name, score in SCORES.items() if score.on == on])
        for batch, index, seen in self._observed(batches, progress):
            weights, found = sums.weights(index), dict[Any, tuple[dict[str, Tensor], Tensor]]()
            sides = tokens_of(batches, batch)
            for place, each, queries, keys in self._with_tokens(seen, sides):
                kind = (each.block.letter, self._causal[place])
                if kind not in found:
                    how = {"is_self": each.block.kind == "self", "is_causal": self._causal[place]}
                    found[kind] = patterns(sides[queries], sides[keys], self.known, **how)
                rows = (batch.by_example(part.cpu()) for part in reduced(each, *found[kind], names=sums.names))
                sums.add(place, weights, *rows)

    def look_at_words(self, batches: Batches, sentences: Sequence[Sentence], progress: Progress = silent) -> None:
        """Add parsed sentences: how often the maximum of a word is on the word that it stands in a relation with.

        Attention to a word is the sum over its tokens, attention from it their mean (Clark et al. 2019, section 4.1).
        A word may look at all other words, in a causal block at those before it.
        """
        sums = self._summing(list(RELATION_SCORES))
        shown = ("encoder", "decoder") if any(name in batches.inputs for name in _DECODED) else ("encoder",)
        for batch, index, seen in self._observed(batches, progress):
            some, weights, words = [sentences[i] for i in index], sums.weights(index), dict[bool, _Words]()
            for place, each, queries, _ in self._with_tokens(seen, tokens_of(batches, batch)):
                is_causal = self._causal[place]
                if each.block.kind == "cross" or queries not in shown:
                    continue
                if is_causal not in words:
                    words[is_causal] = asked = _Words(some, each.probabilities.shape[-1], is_causal)
                    for column, key, query in zip(asked.column, asked.key, asked.query, strict=True):
                        self.offsets[is_causal][sums.names[column]][int(key - query)] += 1
                sums.add(place, weights, *words[is_causal].added(each.probabilities.float().cpu()))

    def of(self, block: int, name: str) -> Measured | None:
        """A score of a block's heads; None if no text of its kind was seen. A relation's null is its best offset."""
        sums = next((sums for sums in self._sums.values() if name in sums.names), None)
        if sums is None:
            return None
        found = sums.of(block, name)
        if name in RELATION_SCORES and (best := self.best_offset(name, self._causal.get(block, False))):
            return replace(found, null=np.full_like(found.null, best[1]))
        return found

    def best_offset(self, name: str, is_causal: bool) -> tuple[int, float] | None:
        """The most frequent distance of a relation's words, and the share of pairs there; None without any."""
        counts = self.offsets[is_causal][name]
        return (counts.most_common(1)[0][0], counts.most_common(1)[0][1] / counts.total()) if counts else None

    def _summing(self, names: list[str]) -> Sums:
        counts = [block.n_heads for block in self.blocks]
        return self._sums.setdefault(names[0], Sums(names, counts, self.seed))

    @torch.inference_mode()
    def _observed(self, batches: Batches, progress: Progress) -> Iterator[tuple[Batch, list[int], list[Attention]]]:
        longest = int(max(each.sizes.max(initial=1) for each in batches.inputs.values()))
        room = _LARGEST // max(1, sum(block.n_heads for block in self.blocks) * longest**2)
        if batches.edges is None:
            batches = replace(batches, batch_size=max(1, min(batches.batch_size, room)))
        device = next(self.model.parameters()).device
        with evaluating(self.model), observing(self.model) as observe:
            for batch in batches:
                _, seen = observe(**batch.to(device).inputs)
                yield batch, batch.index.tolist(), seen
                progress(len(batch.index))

    def _with_tokens(
        self, seen: Sequence[Attention], sides: Mapping[str, Tokens]
    ) -> Iterator[tuple[int, Attention, str, str]]:
        """What was seen of the blocks whose maps are of these tokens, with its block's place and its two sides."""
        for each in seen:
            place, block = each.place, each.block
            queries = block.stack if self._has_encoder else "encoder"  # of a decoder alone the first tokens there are
            keys = "encoder" if block.kind == "cross" else queries
            shape = (*sides[queries].ids.shape, sides[keys].ids.shape[1])
            if block.name in self.unseen or each.map is None or each.map.shape[::2] + each.map.shape[3:] != shape:
                self.unseen.add(block.name)
                continue
            if place not in self._causal:
                self._causal[place] = block.kind == "self" and not bool(each.map.triu(1).any())
            yield place, each, queries, keys


def tokens_of(batches: Batches, batch: Batch) -> dict[str, Tokens]:
    """The tokens of each stack of a batch; a decoder that is given none has those of the encoder, one place later."""
    rows = batch.index
    if batches.rows is not None:
        rows = np.concatenate([np.arange(batches.rows[i], batches.rows[i + 1]) for i in rows])

    def side(given: Any) -> Tokens:
        real = replace(given, values=np.ones_like(given.values), fill=0)
        ids, is_real = (each.batch(rows, side=batches.side) for each in (given, real))
        return Tokens(ids.clamp(min=0), is_real.bool())

    found = {"encoder": side(batches.inputs["input_ids"])}
    given = next((batches.inputs[name] for name in _DECODED if name in batches.inputs), None)
    encoder = found["encoder"]
    found["decoder"] = side(given) if given else replace(encoder, ids=encoder.ids.roll(1, dims=1))
    return found


def with_tokens(batches: Batches, rows: Sequence[Sequence[int]]) -> Batches:
    """Other texts, given as tokens, asked as these are; a decoder is given the same tokens.

    Raises:
        UnfitError: If the model takes something besides tokens.
    """
    inputs = {}
    for name, given in batches.inputs.items():
        if not isinstance(given, Ragged) or name not in (*TOKENS, *_FILLED):
            raise UnfitError(f"texts of other tokens must be all that the model is given; it also takes {name}")
        inputs[name] = Ragged.of([row if name in TOKENS else [_FILLED[name]] * len(row) for row in rows], given.fill)
    none = Field(np.zeros(len(rows), dtype=np.int64))
    return replace(batches, inputs=inputs, targets=none, references=none.values, rows=None, edges=None, beside={})


def reduced(
    each: Attention, found: Mapping[str, Tensor], allowed: Tensor, names: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """What a batch adds to scores: numerators `(texts, n_heads, scores)`, denominators and nulls `(texts, scores)`.

    The null of a pattern is exact: keys that are shuffled among those that a query may look at give each the mean
    weight, and each the same chance of the largest.
    """
    maps = each.probabilities.float().cpu()
    scores = [SCORES[name] for name in names]
    pairs = stacked(found, [score.pattern for score in scores], allowed)
    n_allowed, largest = allowed.sum(dim=-1), maps.argmax(dim=-1).transpose(1, 2)
    weight = maps.flatten(2) @ pairs.flatten(2).transpose(1, 2).float()
    hits = pairs.gather(3, largest[:, None].expand(-1, len(names), -1, -1)).sum(dim=2).transpose(1, 2)
    below = pairs.any(dim=-1).sum(dim=-1).double()
    expected = (pairs.sum(dim=-1) / n_allowed.clamp(min=1)[:, None]).sum(dim=-1)
    above = torch.where(torch.tensor([score.form == "maximum" for score in scores]), hits, weight).double()
    chooses = n_allowed > 1  # a query that sees one key has no choice
    for place, form in enumerate(score.form for score in scores):
        if form == "entropy":
            entropy = torch.special.entr(maps).sum(dim=-1) / n_allowed.clamp(min=2).log()[:, None]
            above[..., place] = (entropy * chooses[:, None]).sum(dim=-1)
        elif form == "confidence":
            above[..., place] = (maps.amax(dim=-1) * chooses[:, None]).sum(dim=-1)
        elif form == "output":
            lengths = (lengths_of(each).cpu() * allowed.any(dim=-1)[..., None]).sum(dim=1)
            above[..., place], below[:, place] = lengths, lengths.mean(dim=1)
        if form in ("entropy", "confidence"):
            below[:, place] = chooses.sum(dim=-1)
    return above, below, expected


def lengths_of(each: Attention) -> Tensor:
    """`(texts, queries, n_heads)`: the lengths of `each.sent(each.context)`, without making them: sqrt(c' W'W c)."""
    weight = each.block.output.weight.detach().unflatten(1, (each.block.n_heads, each.block.head_dim))
    weight = weight.to(each.context.dtype)
    context = each.context.transpose(1, 2)
    squares = (context @ torch.einsum("whd,whe->hde", weight, weight) * context).sum(dim=-1)
    return squares.float().clamp(min=0).sqrt().transpose(1, 2)


class _Words:
    """The words of a batch of sentences, and the pairs of them that are asked about: those that the query may see."""

    def __init__(self, sentences: Sequence[Sentence], n_tokens: int, is_causal: bool) -> None:
        n_words = max(len(sentence.words) for sentence in sentences)
        self.member = torch.zeros(len(sentences), n_words, n_tokens)
        for text, sentence in enumerate(sentences):
            for word, tokens in enumerate(sentence.words):
                self.member[text, word, list(tokens)] = 1.0
        order = torch.arange(n_words)
        self.sees = self.member.any(dim=-1)[:, None] & (order != order[:, None])
        if is_causal:
            self.sees = self.sees & (order < order[:, None])
        columns = {name: column for column, name in enumerate(RELATION_SCORES)}
        pairs = [
            (text, query, key, columns[f"{relation}-{way}"])
            for text, sentence in enumerate(sentences)
            for dependent, head, relation in sentence.arcs
            for way, query, key in (("to-head", dependent, head), ("from-head", head, dependent))
            if relation in RELATIONS and (key < query or not is_causal)
        ]
        self.text, self.query, self.key, self.column = torch.tensor(pairs, dtype=torch.long).reshape(-1, 4).T

    def added(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `reduced`, from `(texts, n_heads, tokens, tokens)`."""
        mean = self.member / self.member.sum(dim=-1, keepdim=True).clamp(min=1)
        words = mean[:, None] @ maps @ self.member[:, None].transpose(2, 3)
        largest = words.masked_fill(~self.sees[:, None], -1.0).argmax(dim=-1)
        hits = largest[self.text, :, self.query] == self.key[:, None]
        chance = 1 / self.sees.sum(dim=-1)[self.text, self.query].double()
        place, shape = self.text * len(RELATION_SCORES) + self.column, (len(maps), len(RELATION_SCORES))
        above, below, expected = (
            torch.zeros(shape[0] * shape[1], *each.shape[1:], dtype=torch.float64).index_add_(0, place, each.double())
            for each in (hits, torch.ones_like(chance), chance)
        )
        return above.view(*shape, -1).transpose(1, 2), below.view(shape), expected.view(shape)
