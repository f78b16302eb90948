"""Scores of roles are those of loops over transformers' own maps and of TransformerLens, and depend on no batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import tiny_tokenizer
from tiny_types import tiny_config
from transformers import AutoModelForSeq2SeqLM, BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from prune_heads.attention import observing
from prune_heads.errors import UnfitError
from prune_heads.objectives.batches import Batches, Field, Ragged
from prune_heads.roles import ROLES, SCORES, Roles, Vocabulary, roles_of
from prune_heads.roles.measure import Sums, with_tokens
from prune_heads.surgery import remove_heads

SEP, CLS, DOT = 3, 2, 30
SPECIAL, SIZE = {0, CLS, SEP}, 50


@pytest.fixture(scope="module")
def known():
    """A vocabulary of 50 tokens, of which some are special, one is a full stop, and small ones are frequent."""
    flags = [[i in those for i in range(SIZE)] for those in (SPECIAL, {SEP}, {DOT})]
    return Vocabulary(*map(torch.tensor, flags), torch.tensor([100 - i // 2 for i in range(SIZE)]))


def texts(*lengths, seed=0):
    """[CLS] words [SEP] words [SEP], with a copy of a word and a full stop; without a second text for short ones."""
    rng, rows = np.random.default_rng(seed), []
    for n in lengths:
        words = rng.integers(5, SIZE, size=n).tolist()
        if n > 3:
            words[2], words[1] = words[0], DOT
            words[n // 2] = SEP
        rows.append([CLS, *words, SEP][: n + 2])
    return rows


def batches_of(rows, *, batch_size=2, side="right", decoded=None):
    inputs = {"input_ids": Ragged.of(rows), "attention_mask": Ragged.of([[1] * len(row) for row in rows])}
    if decoded:
        inputs["decoder_input_ids"] = Ragged.of(decoded)
    none = Field(np.zeros(len(rows), dtype=np.int64))
    return Batches(None, inputs, none, none.values, batch_size, side=side)


def bert(layers=2, seed=0, **sizes):
    sizes = {"hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 8} | sizes
    config = BertConfig(vocab_size=SIZE, max_position_embeddings=40, num_hidden_layers=layers, **sizes)
    return drawn(BertModel._from_config(config, attn_implementation="eager"), seed)


def gpt2(seed=0, n_layer=2):
    config = GPT2Config(vocab_size=SIZE, n_positions=32, n_embd=16, n_layer=n_layer, n_head=4, bos_token_id=0)
    config.eos_token_id = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return drawn(GPT2LMHeadModel._from_config(config, attn_implementation="eager"), None)


def t5(seed=0):
    model = AutoModelForSeq2SeqLM.from_config(tiny_config("t5", vocab_size=SIZE), attn_implementation="eager")
    return drawn(model, seed)


def drawn(model, seed):
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        for name, parameter in model.named_parameters():
            if "ln" not in name and "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.6)
    return model.eval()


def scored(model, known, rows, *, on="texts", seed=0, **how):
    """Block -> score -> what was measured of it."""
    found = Roles(model, known, seed=seed)
    with torch.no_grad():
        found.look(batches_of(rows, **how), on=on)
    names = [name for name, score in SCORES.items() if score.on == on]
    return [{name: found.of(block, name) for name in names} for block in range(len(found.blocks))]


def by_loops(maps, queries, keys, known, is_self, is_causal):
    """The sums of each score of the texts, from `(n_heads, queries, keys)` maps, key by key: (above, below, null)."""
    sums = {name: [np.zeros(len(maps[0])), 0.0, 0.0] for name in SCORES}
    for map, q, k in zip(maps, queries, keys, strict=True):
        words = [j for j, token in enumerate(k) if token not in SPECIAL]
        least = min((int(known.count[k[j]]) for j in words), default=0)
        text = np.cumsum([token == SEP for token in k])
        pair = len({int(text[j]) for j in words}) > 1
        for i in range(len(q)):
            sees = [j for j in range(len(k)) if j <= i or not is_causal]
            row, n = map[:, i], len(sees)
            largest = row.argmax(axis=1)
            sets = {
                "separator": {j for j in sees if k[j] == SEP},
                "punctuation": {j for j in sees if k[j] == DOT},
                "rare": {j for j in sees if j in words and int(known.count[k[j]]) == least},
                "first": {0} if not is_self or i > 0 else set(),
            }
            if is_self:
                sets |= {f"offset{o:+d}": {i + o} & set(sees) for o in (-2, -1, 0, 1, 2)}
                sets["local"] = {j for j in sees if abs(i - j) <= 2}
                copies = {j for j in words if k[j] == q[i] and j != i} if i in words else set()
                sets["duplicate"] = copies & set(sees)
                sets["induction"] = {j + 1 for j in copies if j < i} & set(sees)
                sets["own-text"] = (
                    {j for j in words if text[j] == text[i] and j in sees} if pair and i in words else set()
                )
            for name, score in SCORES.items():
                above, where = sums[name][0], sets.get(score.pattern, set())
                if score.pattern and where:
                    each = (
                        row[:, sorted(where)].sum(axis=1) if score.form == "weight" else np.isin(largest, list(where))
                    )
                    above += each
                    sums[name][1] += 1
                    sums[name][2] += len(where) / n
                if score.form in ("entropy", "confidence") and n > 1:
                    p = np.where(row > 0, row, 1.0)
                    above += -(p * np.log(p)).sum(axis=1) / math.log(n) if score.form == "entropy" else row.max(axis=1)
                    sums[name][1] += 1
    return sums


def check(found, sums):
    for name, (above, below, null) in sums.items():
        if SCORES[name].on != "texts" or SCORES[name].form == "output":
            continue
        if below == 0:
            assert np.isnan(found[name].value).all(), name
            continue
        np.testing.assert_allclose(found[name].value, above / below, atol=2e-6, err_msg=name)
        if SCORES[name].pattern:
            np.testing.assert_allclose(found[name].null, null / below, atol=1e-9, err_msg=name)
            assert (found[name].low <= found[name].value + 1e-12).all()
            assert (found[name].value <= found[name].high + 1e-12).all()


@pytest.mark.parametrize(("make", "is_causal"), [(bert, False), (gpt2, True)])
def test_scores_are_those_of_loops_over_the_maps_of_transformers(known, make, is_causal):
    model, rows = make(), texts(9, 4, 6, 1, 12, 0)
    with torch.no_grad():
        alone = [model(torch.tensor([row]), output_attentions=True).attentions for row in rows]
    for block, found in enumerate(scored(model, known, rows, batch_size=4)):
        maps = [each[block][0].double().numpy() for each in alone]
        check(found, by_loops(maps, rows, rows, known, True, is_causal))


def test_encoder_decoders_have_patterns_of_positions_in_self_attention_alone(known):
    model, rows, decoded = t5(), texts(9, 4, 6), texts(3, 8, 5, seed=1)
    with torch.no_grad():
        outputs = [
            model(torch.tensor([row]), decoder_input_ids=torch.tensor([wanted]), output_attentions=True)
            for row, wanted in zip(rows, decoded, strict=True)
        ]
    found = Roles(model, known)
    found.look(batches_of(rows, decoded=decoded, batch_size=2))
    seen = {"E": 0, "A": 0, "D": 0}
    for place, block in enumerate(found.blocks):
        kind, layer = block.letter, seen[block.letter]
        seen[kind] += 1
        part = {"E": "encoder_attentions", "A": "cross_attentions", "D": "decoder_attentions"}[kind]
        maps = [getattr(output, part)[layer][0].double().numpy() for output in outputs]
        queries, keys = (rows if kind == "E" else decoded), (decoded if kind == "D" else rows)
        names = {name: found.of(place, name) for name, score in SCORES.items() if score.on == "texts"}
        check(names, by_loops(maps, queries, keys, known, kind != "A", kind == "D"))
    assert np.isnan(found.of([b.letter for b in found.blocks].index("A"), "previous").value).all()


def test_output_is_the_mean_length_of_what_heads_add_over_that_of_their_layer(known):
    model, rows = bert(), texts(9, 4)
    lengths = []
    with torch.no_grad(), observing(model) as observe:
        for row in rows:
            lengths.append(
                [
                    each.sent(each.context)[0].norm(dim=-1).sum(dim=0)
                    for each in observe(input_ids=torch.tensor([row]))[1]
                ]
            )
    for block, found in enumerate(scored(model, known, rows)):
        of = sum(each[block] for each in lengths)
        np.testing.assert_allclose(found["output"].value, (of / of.mean()).numpy(), rtol=1e-5)


# What `detect_head` of transformer_lens 4.3.0 says of the maps of `gpt2(0)` on these tokens, a row a layer.
LENS = {
    (45, 19, 14, 28, 48, 33, 16, 46, 45, 19, 14, 28, 48, 33, 16, 46): {
        "previous": [[0.131255, 0.215987, 0.210261, 0.168671], [0.143652, 0.254596, 0.264378, 0.134929]],
        "duplicate": [[0.133307, 0.074354, 0.079217, 0.088675], [0.004021, 0.005755, 0.013297, 0.029162]],
        "induction": [[0.092035, 0.021468, 0.077481, 0.004581], [0.054047, 0.085731, 0.01376, 0.0584]],
    },
    (19, 17, 13, 14, 6, 13, 18, 5, 17, 11, 7, 6, 5): {
        "previous": [[0.09823, 0.08792, 0.173234, 0.152044], [0.204265, 0.118739, 0.206646, 0.087712]],
        "duplicate": [[0.025101, 0.00813, 0.028571, 0.067737], [0.000188, 0.001955, 0.00382, 0.000596]],
        "induction": [[0.027326, 0.003728, 0.002125, 8.5e-05], [0.061819, 0.051949, 0.007047, 0.001819]],
    },
}


@pytest.mark.parametrize("ids", LENS, ids=["repeated", "plain"])
def test_the_detector_of_transformer_lens_finds_the_same(known, ids):
    """It divides by all queries; here a score is a mean over those that have such a key."""
    n = len(ids)
    twice = [i for i, token in enumerate(ids) if token in ids[:i]]
    n_with = {"previous": n - 1, "duplicate": len(twice), "induction": len(twice)}
    for name, wanted in LENS[ids].items():
        found = scored(gpt2(), known, [list(ids)], on=SCORES[name].on)
        for block, row in enumerate(wanted):
            np.testing.assert_allclose(found[block][name].value * n_with[name] / n, row, atol=2e-6, err_msg=name)


@pytest.mark.parametrize("how", [{"batch_size": 1}, {"batch_size": 6}, {"batch_size": 6, "side": "left"}])
def test_scores_and_intervals_do_not_depend_on_batches_and_padding(known, how):
    model, rows = bert(position_embedding_type="absolute"), texts(9, 4, 6, 1, 12, 0)
    if how.get("side") == "left":  # positions would be others, so they say nothing here
        with torch.no_grad():
            model.embeddings.position_embeddings.weight.zero_()
    for one, other in zip(scored(model, known, rows), scored(model, known, rows, **how), strict=True):
        for name in one:
            for part in ("value", "low", "high", "null"):
                np.testing.assert_allclose(
                    getattr(one[name], part), getattr(other[name], part), atol=1e-6, err_msg=name
                )


def test_scores_do_not_depend_on_the_order_of_texts(known):
    rows = texts(9, 4, 6, 1, 12, 0)
    for one, other in zip(scored(bert(), known, rows), scored(bert(), known, rows[::-1]), strict=True):
        for name in one:
            np.testing.assert_allclose(one[name].value, other[name].value, atol=1e-6)


def test_the_null_is_the_mean_over_shuffled_keys(known):
    (row,), rng = texts(9), np.random.default_rng(0)
    maps = rng.permuted(np.tile(rng.dirichlet(np.full(len(row), 0.3), size=(1, len(row))), (2000, 1, 1)), axis=2)
    sums = by_loops([maps], [row], [row], known, True, False)
    for name in ("previous", "max-1", "rare", "separator", "local", "own-text"):
        above, below, null = sums[name]
        assert np.mean(above) / below == pytest.approx(null / below, abs=0.005), name


def test_a_head_made_to_look_at_the_previous_token_is_found_and_is_the_only_of_its_layer(known):
    """One head of 32 dimensions: a position is a dimension, W_Q shifts them by one."""
    model = bert(layers=1, hidden_size=32, num_attention_heads=1)
    attention, embeddings = model.encoder.layer[0].attention.self, model.embeddings
    with torch.no_grad():
        embeddings.word_embeddings.weight.zero_()
        embeddings.token_type_embeddings.weight.zero_()
        embeddings.position_embeddings.weight.copy_(torch.eye(40, 32))
        attention.query.weight.copy_(50 * torch.diag(torch.ones(31), 1))
        attention.key.weight.copy_(torch.eye(32))
        for part in (attention.query, attention.key):
            part.bias.zero_()
    (found,) = scored(model, known, texts(9, 12, 5))
    assert found["previous"].value[0] > 0.999
    assert found["max-1"].value[0] == 1
    assert found["max-1"].null[0] < 0.2
    assert found["output"].value[0] == 1
    made = {n: (m.value[0], m.low[0], None if np.isnan(m.null[0]) else m.null[0]) for n, m in found.items()}
    assert roles_of({name: each for name, each in made.items() if not np.isnan(each[0])})[0] == "previous token"


def test_removed_heads_leave_the_scores_of_the_others(known):
    model, rows = bert(layers=1), texts(9, 4, 6)
    (whole,) = scored(model, known, rows)
    remove_heads(model, "1:2,4")
    (left,) = scored(model, known, rows)
    np.testing.assert_allclose(left["previous"].value, whole["previous"].value[[0, 2]], atol=1e-6)


def test_a_score_of_no_text_is_undefined_and_one_text_has_no_width(known):
    (found,) = scored(bert(layers=1), known, [[7]])
    assert np.isnan(found["previous"].value).all()
    assert np.isnan(found["previous"].null).all()
    (found,) = scored(bert(layers=1), known, texts(6))
    np.testing.assert_allclose(found["previous"].low, found["previous"].high)


def test_intervals_are_those_of_resampled_texts():
    """Texts of value 0 and 1: the share of ones has a standard error of 0.05 in 100 texts."""
    sums, ones = Sums(["previous"], [1], seed=0), torch.tensor([0.0, 1.0] * 50)
    for start in range(0, 100, 7):
        some = ones[start : start + 7]
        index = range(start, start + len(some))
        rows = torch.stack([some, torch.ones(len(some)), torch.zeros(len(some))], dim=1)[..., None].double()
        sums.add(0, sums.weights(index), rows)
    found = sums.of(0, "previous")
    assert found.value[0] == 0.5
    assert (found.high[0] - found.low[0]) / (2 * 1.96) == pytest.approx(0.05, rel=0.1)


def test_a_role_needs_its_threshold_and_more_than_its_null():
    assert roles_of({"max-1": (0.9, 0.85, 0.1)}) == ["previous token"]
    assert roles_of({"max-1": (0.89, 0.85, 0.1), "previous": (0.49, 0.4, 0.1)}) == []
    assert roles_of({"own-text": (0.95, 0.94, 0.95)}) == []
    assert roles_of({"det-to-head": (0.6, 0.58, 0.5), "amod-to-head": (0.59, 0.5, 0.5)}) == ["determiner"]
    assert roles_of({"entropy": (0.05, 0.0, None), "output": (0.5, 0.4, None)}) == ["narrow", "dormant"]
    assert roles_of({"first": (0.6, 0.5, 0.1), "previous": (0.5, 0.45, 0.1)}) == ["previous token", "first token"]
    named = {name for role in ROLES.values() for name in (*role.at_least, *role.at_most)}
    assert named <= SCORES.keys()
    assert len({role.code for role in ROLES.values()}) == len(ROLES)


def test_the_vocabulary_knows_separators_and_punctuation():
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens([".", "--", "##ing"])
    known = Vocabulary.of(tokenizer, np.asarray([len(tokenizer) + 1, -100, 7, 7]))
    assert len(known.count) == len(tokenizer) + 2
    assert known.count[7] == 2
    marks = [i for i, each in enumerate(known.is_punctuation.tolist()) if each]
    assert tokenizer.convert_ids_to_tokens(marks) == [".", "--"]
    assert known.is_separator.nonzero().flatten().tolist() == [tokenizer.sep_token_id]
    assert known.is_special.sum() == 5


def test_texts_of_other_tokens_are_asked_as_the_others_are():
    batches = batches_of([[2, 5, 3], [2, 3]], decoded=[[1], [1, 2]])
    made = with_tokens(batches, [[4, 5, 6, 7]])
    batch = made.batch(np.asarray([0]))
    assert {name: value.tolist() for name, value in batch.inputs.items()} == {
        "input_ids": [[4, 5, 6, 7]],
        "attention_mask": [[1, 1, 1, 1]],
        "decoder_input_ids": [[4, 5, 6, 7]],
    }
    odd = replace(batches, inputs={**batches.inputs, "bbox": Field(np.zeros((2, 4)))})
    with pytest.raises(UnfitError, match="it also takes bbox"):
        with_tokens(odd, [[4]])
