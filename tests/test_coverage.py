"""Every model type with a sequence classifier: the committed table is what a trial of each finds."""

import copy
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as TYPES

from prune_heads import attention_blocks, gated, gates_of, load_pruned, remove_heads, save_pruned, zero_heads
from prune_heads.anatomy import FAMILIES, UNKNOWN
from prune_heads.coverage.table import committed_table
from prune_heads.coverage.tiny import tiny_inputs, tiny_model
from prune_heads.coverage.trial import try_all
from prune_heads.errors import UnsupportedModelError

N_PARTS = 8
ROWS = {row["type"]: row for row in committed_table()["models"]}
NAMED = [
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "distilbert",
    "electra",
    "albert",
    "deberta",
    "deberta-v2",
    "mpnet",
    "modernbert",
    "xlm",
    "flaubert",
    "xlnet",
    "gpt2",
    "gpt_neox",
    "opt",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "phi3",
    "t5",
    "bart",
    "mbart",
]
REMOVED = [name for name, row in ROWS.items() if row["remove"]]


@torch.no_grad()
def logits(model, **inputs):
    return model(**(inputs or tiny_inputs())).logits


def gated_logits(model, heads):
    with gated(model, gates_of(model, heads)):
        return logits(model)


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-5 * max(1.0, float(b.abs().max())))


@pytest.mark.parametrize("part", range(N_PARTS))
def test_the_table_is_what_the_trial_finds(part):
    """In parts, for several test workers."""
    types = sorted(TYPES)[part::N_PARTS]
    table = committed_table()
    rows = [row for row in table["models"] if row["type"] in types]
    assert [row["type"] for row in rows] == types
    assert try_all(types) == {**table, "models": rows}


def test_every_type_is_in_the_table_once():
    assert set(ROWS) == set(TYPES)
    assert not set(FAMILIES) & set(UNKNOWN)
    assert all(row["reason"] for row in ROWS.values() if not (row["gate"] and row["zero"] and row["remove"]))


def test_most_types_are_covered():
    counts = {name: sum(row[name] for row in ROWS.values()) for name in ("gate", "zero", "remove")}
    assert counts["gate"] >= 105
    assert counts["zero"] >= 100
    assert counts["remove"] >= 90


@pytest.mark.parametrize("model_type", NAMED)
def test_what_people_use_most_can_do_everything(model_type):
    assert ROWS[model_type]["gate"]
    assert ROWS[model_type]["zero"]
    assert ROWS[model_type]["remove"]


@pytest.mark.parametrize("model_type", sorted(UNKNOWN))
def test_what_is_not_understood_is_refused_with_its_reason(model_type):
    class Model(torch.nn.Module):
        class config:
            pass

    Model.config.model_type = model_type
    with pytest.raises(UnsupportedModelError, match="not understood") as error:
        attention_blocks(Model())
    assert UNKNOWN[model_type] in str(error.value)


def _one_group(model):
    """The first group of the first block of each kind, and of layers that share weights in all."""
    blocks, heads, seen = attention_blocks(model), {}, set()
    for i, block in enumerate(blocks):
        if block.letter not in seen or block.n_depths > 1:
            heads[i] = list(range(block.n_heads // block.n_kv_heads))
        seen.add(block.letter)
    return heads


@pytest.mark.parametrize("model_type", REMOVED)
def test_a_removed_checkpoint_reloads_and_trains(model_type, tmp_path):
    model = tiny_model(model_type)
    remove_heads(model, _one_group(model))
    expected = logits(model)
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        save_pruned(copy.deepcopy(model).to(dtype), tmp_path / str(dtype))
        loaded = load_pruned(tmp_path / str(dtype))
        assert {p.dtype for p in loaded.parameters()} <= {dtype, torch.float32}
    assert close(logits(loaded), expected)
    loaded.train()
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    loaded(**tiny_inputs(), labels=torch.tensor([0, 1, 2])).loss.backward()
    optimizer.step()
    assert not torch.equal(logits(loaded.eval()), expected)


def test_a_query_head_of_a_group_is_gated_alone():
    model = tiny_model("llama")
    plain, first, second = logits(model), gated_logits(model, "2:1"), gated_logits(model, "2:2")
    assert min((first - plain).abs().max(), (second - plain).abs().max(), (first - second).abs().max()) > 1e-3


def test_keys_and_values_are_zeroed_with_the_last_head_of_their_group():
    model = tiny_model("llama")
    expected = gated_logits(model, "2:1"), gated_logits(model, "2:1,2")
    block = attention_blocks(model)[1]
    own = (block.query.dimensions([0]), block.key.dimensions([0]))
    zero_heads(model, "2:1")
    assert close(logits(model), expected[0])
    assert not block.query.weight[own[0]].any()
    assert block.key.weight[own[1]].all()
    zero_heads(model, "2:1,2")
    assert close(logits(model), expected[1])
    assert not block.key.weight[own[1]].any()
    assert not block.value.weight[own[1]].any()


def test_a_part_of_a_group_is_not_removed():
    with pytest.raises(UnsupportedModelError, match=r"by groups \(1,2; 3,4\).*got 2,3"):
        remove_heads(tiny_model("llama"), "2:2,3")


def test_layers_that_share_weights_are_gated_apart_and_pruned_together():
    model = tiny_model("albert")
    plain, first, third = logits(model), gated_logits(model, "1:2"), gated_logits(model, "3:2")
    assert min((first - plain).abs().max(), (first - third).abs().max()) > 1e-3
    everywhere = "1:2 2:2 3:2"
    expected = gated_logits(model, everywhere)
    for prune in (zero_heads, remove_heads):
        with pytest.warns(UserWarning, match="go at every depth: 1:2 2:2 3:2, where 1:2 were named"):
            pruned = prune(copy.deepcopy(model), "1:2")
        assert close(logits(pruned), expected)
    assert close(logits(zero_heads(copy.deepcopy(model), everywhere)), expected)
    assert close(logits(remove_heads(model, everywhere)), expected)


@pytest.mark.parametrize(
    "heads",
    ["E:1:1,4", "E:1:1,2,3,4", "E:2:2 E:3:1", "A:1:1 A:2:3", "D:1:1,2 D:3:4", "D:1:1,2,3,4 A:1:1,2,3,4"],
)
@pytest.mark.parametrize("model_type", ["t5", "mt5", "umt5"])
def test_relative_biases_go_to_the_heads_that_are_left(model_type, heads):
    """Also when the first layer, which computes them for all, loses heads."""
    model = tiny_model(model_type)
    expected = gated_logits(model, heads)
    assert close(logits(remove_heads(model, heads)), expected)


def test_a_second_removal_of_heads_with_relative_biases():
    model = tiny_model("t5")
    expected = gated_logits(model, "E:1:1,3,4 E:2:2")
    assert close(logits(remove_heads(remove_heads(model, "E:1:3"), "E:1:1,4 E:2:2")), expected)


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama", "bart", "modernbert", "t5"])
def test_a_model_without_any_head_still_runs(model_type):
    model = tiny_model(model_type)
    everything = {i: range(block.n_heads) for i, block in enumerate(attention_blocks(model))}
    expected = gated_logits(model, everything)
    assert close(logits(remove_heads(model, everything)), expected)


def test_falcon_by_its_configuration():
    """Three ways to fuse W_Q, W_K and W_V, by two switches."""
    for architecture, multi_query in ((True, True), (False, True), (False, False)):
        config = tiny_model("falcon").config
        config.new_decoder_architecture, config.multi_query = architecture, multi_query
        config.num_kv_heads = 2 if architecture else 4
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config).eval()
        heads = _one_group(model)
        expected = gated_logits(model, heads)
        assert close(logits(zero_heads(copy.deepcopy(model), heads)), expected)
        assert close(logits(remove_heads(model, heads)), expected)


def test_the_readme_says_how_many():
    counts = {name: sum(row[name] for row in ROWS.values()) for name in ("gate", "zero", "remove")}
    said = f"of the {len(ROWS)} with a sequence classifier in transformers 5.23, heads of {counts['gate']} are gated"
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
    assert counts["gate"] == counts["zero"]
    assert f"{said} and zeroed, and of {counts['remove']} removed" in readme
