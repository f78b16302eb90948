"""Maps reduced to scores as they come: sums over texts and over resamples of them, however many texts there are."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, get_args

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
from prune_heads.roles.definitions import RELATION_SCORES, SCORES, On, Tokens, Vocabulary, patterns
from prune_heads.roles.syntax import Sentence, best_offsets

N_RESAMPLES = 1000
_LARGEST = 1 << 26  # numbers of all maps of a batch: a quarter of a GiB
_FILLED = {"attention_mask": 1, "decoder_attention_mask": 1, "token_type_ids": 0}
TOKENS = ("input_ids", "decoder_input_ids", "labels")  # of the encoder or the only stack, and of a decoder beside it

Reduced = Callable[[Attention], Tensor]  # what a block did on a batch -> what this adds to scores, see `Sums.add`


class Measured(NamedTuple):
    """A score of the heads of one block, `(n_heads,)` each; NaN where nothing was measured."""

    value: NDArray[np.float64]
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
        self._totals = [torch.zeros(1 + n_resamples, n + 2, len(self.names), dtype=torch.float64) for n in n_heads]

    def weights(self, index: Sequence[int]) -> Tensor:
        """`(1 + n_resamples, texts)`: once each, and how often each resample has these texts."""
        drawn = [np.random.default_rng([self.seed, i]).poisson(1.0, self.n_resamples) for i in index]
        return torch.cat([torch.ones(1, len(index)), torch.from_numpy(np.stack(drawn, axis=1))]).double()

    def add(self, block: int, weights: Tensor, texts: Tensor) -> None:
        """Some texts, `(texts, n_heads + 2, scores)`: numerators of heads, the denominator, that of the null."""
        self._totals[block] += (weights @ texts.flatten(1)).view_as(self._totals[block])

    def of(self, block: int, name: str) -> Measured:
        """One score of one block."""
        totals = self._totals[block][..., self.names.index(name)].numpy()
        if not totals[0, -2]:
            return Measured(*np.full((4, totals.shape[1] - 2), np.nan))
        some = totals[totals[:, -2] > 0]  # a resample of few texts may hold none
        shares = some / some[:, -2:-1]
        low, high = np.quantile(shares[:, :-2], (0.025, 0.975), axis=0)
        return Measured(shares[0, :-2], low, high, np.full_like(low, shares[0, -1]))


class Roles:
    """The scores of all heads of a model; `look` reduces maps of texts, as often as there are kinds of texts."""

    def __init__(
        self, model: nn.Module, known: Vocabulary, *, seed: int = 0, without: Collection[str] = frozenset()
    ) -> None:
        self.model, self.known, self.blocks = model, known, attention_blocks(model)
        self.unseen = set(without)  # names of blocks whose maps are not looked at, or are not of tokens
        counts = [block.n_heads for block in self.blocks]
        kinds = {on: [name for name, score in SCORES.items() if score.on == on] for on in get_args(On)}
        self._sums = {on: Sums(names, counts, seed) for on, names in kinds.items()}
        self._causal: dict[int, bool] = {}

    @torch.inference_mode()
    def look(
        self, batches: Batches, on: On = "texts", progress: Progress = silent, sentences: Sequence[Sentence] = ()
    ) -> None:
        """Add texts, on which the scores of this kind are measured; of parses also the sentences, a text each.

        The first batch has the longest texts: a block where no query looks ahead there is causal. Of words only
        self-attention is asked, and a decoder's only if it is given the sentence itself.
        """
        sums, longest = self._sums[on], int(max(each.sizes.max(initial=1) for each in batches.inputs.values()))
        room = _LARGEST // max(1, sum(block.n_heads for block in self.blocks) * longest**2)
        if batches.edges is None:
            batches = replace(batches, batch_size=max(1, min(batches.batch_size, room)))
        has_encoder = any(block.stack == "encoder" for block in self.blocks)
        is_decoded = any(name in batches.inputs for name in TOKENS[1:])
        best = {is_causal: best_offsets(sentences, is_causal) for is_causal in (False, True)}
        device = next(self.model.parameters()).device
        with evaluating(self.model), observing(self.model) as observe:
            for batch in batches:
                weights, sides = sums.weights(batch.index.tolist()), tokens_of(batches, batch)
                asked = dict[tuple[str, bool], Reduced]()
                for each in observe(**batch.to(device).inputs)[1]:
                    block, place = each.block, each.place
                    stack = block.stack if has_encoder else "encoder"  # of a decoder alone the first tokens there are
                    queries, keys = sides[stack], sides["encoder" if block.kind == "cross" else stack]
                    shape = (*queries.ids.shape, keys.ids.shape[1])
                    if block.name in self.unseen or each.map is None or each.map[:, 0].shape != shape:
                        self.unseen.add(block.name)
                        continue
                    if place not in self._causal:
                        self._causal[place] = block.kind == "self" and not bool(each.map.triu(1).any())
                    if on == "parses" and (block.kind == "cross" or (stack == "decoder" and not is_decoded)):
                        continue
                    is_causal = self._causal[place]
                    kind = (block.letter, is_causal)
                    if kind not in asked and on == "parses":
                        some = [sentences[i] for i in batch.index]
                        asked[kind] = by_words(some, shape[-1], is_causal, best[is_causal])
                    elif kind not in asked:
                        how = {"is_self": block.kind == "self", "is_causal": is_causal}
                        asked[kind] = by_patterns(sums.names, queries, keys, self.known, **how)
                    sums.add(place, weights, batch.by_example(asked[kind](each)))
                progress(len(batch.index))

    def of(self, block: int, name: str) -> Measured:
        """A score of a block's heads."""
        return self._sums[SCORES[name].on].of(block, name)

    @property
    def is_causal(self) -> bool:
        """Whether no block of self-attention that was looked at looks ahead."""
        return all(self._causal.get(place, True) for place, block in enumerate(self.blocks) if block.kind == "self")


def tokens_of(batches: Batches, batch: Batch) -> dict[str, Tokens]:
    """The tokens of each stack of a batch; a decoder that is given none has those of the encoder, one place later."""
    there: dict[str, Any] = {name: batches.inputs[name] for name in TOKENS if name in batches.inputs}
    real = {name: replace(given, values=np.ones_like(given.values), fill=0) for name, given in there.items()}
    is_real = replace(batches, inputs=real).batch(batch.index).inputs
    encoder, *given = (Tokens(batch.inputs[name].clamp(min=0), is_real[name].bool()) for name in there)
    return {"encoder": encoder, "decoder": given[0] if given else replace(encoder, ids=encoder.ids.roll(1, dims=1))}


def with_tokens(batches: Batches, rows: Sequence[Sequence[int]]) -> Batches:
    """Other texts, given as tokens, asked as these are; a decoder is given the same tokens.

    An `UnfitError` if the model takes something besides tokens.
    """
    inputs = {}
    for name, given in batches.inputs.items():
        if not isinstance(given, Ragged) or name not in (*TOKENS, *_FILLED):
            raise UnfitError(f"texts of other tokens must be all that the model is given; it also takes {name}")
        inputs[name] = Ragged.of([row if name in TOKENS else [_FILLED[name]] * len(row) for row in rows], given.fill)
    none = Field(np.zeros(len(rows), dtype=np.int64))
    return replace(batches, inputs=inputs, targets=none, references=none.values, rows=None, edges=None, beside={})


def by_patterns(
    names: Sequence[str], queries: Tokens, keys: Tokens, known: Vocabulary, *, is_self: bool, is_causal: bool
) -> Reduced:
    """Reduces maps of these tokens to the scores of these names.

    The null of a pattern is exact: keys that are shuffled among those that a query may look at give each the mean
    weight, and each the same chance of the largest. Scores without a pattern have none.
    """
    scores = [SCORES[name] for name in names]
    of, allowed = patterns(queries, keys, known, is_self=is_self, is_causal=is_causal)
    pairs = torch.stack([of.get(score.pattern, torch.zeros_like(allowed)) for score in scores], dim=1)
    n_allowed = allowed.sum(dim=-1)
    has_choice = n_allowed > 1  # a query that sees one key has none
    null = (pairs.sum(dim=-1) / n_allowed.clamp(min=1)[:, None]).sum(dim=-1).double()
    null[:, [not score.pattern for score in scores]] = torch.nan
    of_maxima = torch.tensor([score.form == "maximum" for score in scores])

    def reduced(each: Attention) -> Tensor:
        maps = each.probabilities.float().cpu()
        above = torch.where(of_maxima, hits(maps, pairs), maps.flatten(2) @ pairs.flatten(2).mT.float()).double()
        below = pairs.any(dim=-1).sum(dim=-1).double()
        for place, form in enumerate(score.form for score in scores):
            if form == "output":
                lengths = (lengths_of(each).cpu() * allowed.any(dim=-1)[..., None]).sum(dim=1)
                above[..., place], below[:, place] = lengths, lengths.mean(dim=1)
            elif form in ("entropy", "confidence"):
                entropy = torch.special.entr(maps).sum(dim=-1) / n_allowed.clamp(min=2).log()[:, None]
                of_queries = entropy if form == "entropy" else maps.amax(dim=-1)
                above[..., place] = (of_queries * has_choice[:, None]).sum(dim=-1)
                below[:, place] = has_choice.sum(dim=-1)
        return torch.cat([above, below[:, None], null[:, None]], dim=1)

    return reduced


def lengths_of(each: Attention) -> Tensor:
    """`(texts, queries, n_heads)`: the lengths of `each.sent(each.context)`, without making them: sqrt(c' W'W c)."""
    weight = each.block.output.weight.detach().unflatten(1, (each.block.n_heads, each.block.head_dim))
    weight, context = weight.to(each.context.dtype), each.context.transpose(1, 2)
    squares = (context @ torch.einsum("whd,whe->hde", weight, weight) * context).sum(dim=-1)
    return squares.float().clamp(min=0).sqrt().transpose(1, 2)


def by_words(
    sentences: Sequence[Sentence], n_tokens: int, is_causal: bool, best: Mapping[str, Mapping[str, Any]]
) -> Reduced:
    """Reduces maps of these sentences to how often the maximum of a word is on the other word of a relation.

    Attention to a word is the sum over its tokens, attention from it their mean (Clark et al. 2019, section 4.1). A
    word may look at all other words, in a causal block at those before it. The null are the pairs at the best offset.
    """
    n_words, columns = max(len(sentence.words) for sentence in sentences), list(RELATION_SCORES)
    member = torch.zeros(len(sentences), n_words, n_tokens)
    pairs = torch.zeros(len(sentences), len(columns), n_words, n_words, dtype=torch.int64)
    for text, sentence in enumerate(sentences):
        for word, tokens in enumerate(sentence.words):
            member[text, word, list(tokens)] = 1.0
        for name, query, key in sentence.pairs(is_causal):
            pairs[text, columns.index(name), query, key] += 1
    offset = torch.arange(n_words) - torch.arange(n_words)[:, None]
    sees = member.any(dim=-1)[:, None] & (offset < 0 if is_causal else offset != 0)
    fixed = torch.tensor([best[name]["best_offset"] if name in best else 0 for name in columns])
    at_best = offset == fixed[:, None, None]
    below, null = pairs.sum(dim=(2, 3)), (pairs * at_best).sum(dim=(2, 3))

    def reduced(each: Attention) -> Tensor:
        mean = member / member.sum(dim=-1, keepdim=True).clamp(min=1)
        words = mean[:, None] @ each.probabilities.float().cpu() @ member[:, None].mT
        above = hits(words.masked_fill(~sees[:, None], -1.0), pairs)
        return torch.cat([above, below[:, None], null[:, None]], dim=1).double()

    return reduced


def hits(maps: Tensor, pairs: Tensor) -> Tensor:
    """`(texts, n_heads, scores)`: on how many `(texts, scores, queries, keys)` the largest weight of a query is."""
    largest = maps.argmax(dim=-1).mT[:, None].expand(-1, pairs.shape[1], -1, -1)
    return pairs.gather(3, largest).sum(dim=2).mT
