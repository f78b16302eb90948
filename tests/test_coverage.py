"""Every model type: random models of it show nothing wrong, and the committed table is what its survey finds."""

import copy
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as TYPES

from prune_heads import attention_blocks, gated, gates_of, load_pruned, remove_heads, save_pruned, zero_heads
from prune_heads.anatomy import FAMILIES, UNKNOWN, head_counts
from prune_heads.coverage import trial
from prune_heads.coverage.cases import Case, random_case
from prune_heads.coverage.mixing import mixers
from prune_heads.coverage.survey import CAN, survey
from prune_heads.coverage.table import beside_heads, committed_table
from prune_heads.coverage.tiny import inputs_for, tiny_inputs, tiny_model
from prune_heads.coverage.trial import logits_of, try_case
from prune_heads.coverage.variants import variants
from prune_heads.errors import UnsupportedModelError
from prune_heads.heads import HeadMask
from prune_heads.progress import Silent
from prune_heads.studies.evaluating import note_without_heads

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
RELEASE = committed_table()["transformers"].rpartition(".")[0]
TABLE_IS_OF_THIS = version("transformers") == committed_table()["transformers"]


@torch.no_grad()
def logits(model):
    return model(**tiny_inputs()).logits


def gated_logits(model, heads):
    with gated(model, gates_of(model, heads)):
        return logits(model)


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-5 * max(1.0, float(b.abs().max())))


def a_case(model_type):
    """A random model that transformers builds and runs, with one variant where it has any; and what it showed."""
    switches = list(variants(model_type)) or [{}]
    for seed in range(5):
        case = random_case(model_type, seed, switches[(7 * seed + len(model_type)) % len(switches)])
        if outcome := try_case(case):
            return case, outcome
    return Case(model_type), try_case(Case(model_type))


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_a_random_model_shows_nothing_wrong(model_type, tmp_path):
    """A seeded sample of what `make thorough` tries; what heads are taken out of is saved, comes back, and trains."""
    case, outcome = a_case(model_type)
    assert not outcome.faults, case
    refused = {name for name in CAN if not ROWS[model_type][name]}
    assert refused <= set(outcome.refused)
    assert outcome.refused.keys() == refused or ROWS[model_type]["refused"], case
    if "remove" in outcome.refused:
        return
    model = case.model()
    inputs = case.inputs(model)
    remove_heads(model, case.mask(attention_blocks(model)))
    expected = logits_of(model, inputs)
    save_pruned(model, tmp_path / "float32")
    loaded = load_pruned(tmp_path / "float32")
    assert close(logits_of(loaded, inputs), expected)
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    loaded(**inputs).logits.square().sum().backward()
    optimizer.step()
    assert not torch.equal(logits_of(loaded, inputs), expected)


@pytest.mark.thorough
@pytest.mark.parametrize("model_type", sorted({*FAMILIES, *TYPES}))
def test_the_table_is_what_a_survey_finds(model_type):
    """With other versions of transformers than the table's, what it promises holds for the types that are there."""
    if model_type not in CONFIG_MAPPING:
        pytest.skip("not a type of this transformers")
    found = survey(model_type)
    assert not found.faults
    if TABLE_IS_OF_THIS:
        assert found.row == ROWS[model_type]
    assert all(found.row[name] or not ROWS[model_type][name] for name in CAN), found.row["reason"]


def test_every_type_is_in_the_table_once():
    assert set(ROWS) == {*FAMILIES, *TYPES}
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


@pytest.mark.parametrize(
    "model_type", ["albert", "bert", "gpt2", "llama", "bart", "modernbert", "t5", "swin", "vit"]
)
def test_a_model_without_any_head_still_runs(model_type):
    model = tiny_model(model_type)
    inputs, blocks = inputs_for(model), attention_blocks(model)
    with gated(model, [torch.zeros(block.n_heads) for block in blocks]):
        expected = logits_of(model, inputs)
    everything = {i: range(block.n_heads) for i, block in enumerate(blocks)}
    assert close(logits_of(remove_heads(model, everything), inputs), expected)


def test_the_blocks_of_an_image_classifier_are_in_order():
    assert [block.n_heads for block in attention_blocks(tiny_model("vit"))] == [4, 4, 4]
    assert [block.n_heads for block in attention_blocks(tiny_model("swin"))] == [2, 2, 4, 4]


def test_the_layers_of_albert_are_in_the_order_of_their_calls():
    model = tiny_model("albert", num_hidden_groups=2, inner_group_num=2)  # its groups run twice and once
    blocks, called = attention_blocks(model), []
    for module in {block.output.module for block in blocks}:
        module.register_forward_hook(lambda module, args, output: called.append(module))
    logits(model)
    assert [block.output.module for block in blocks] == called
    assert [(block.layer, block.depth, block.n_depths) for block in blocks] == [
        *((0, 0, 2), (1, 0, 2), (2, 1, 2), (3, 1, 2), (4, 0, 1), (5, 0, 1))
    ]


BY_THEIR_CONFIGURATION = [
    ("albert", {"inner_group_num": 2}, {}),
    ("albert", {"num_hidden_groups": 2}, {}),
    (
        "bloom",
        {"slow_but_exact": True, "pretraining_tp": 2},
        {name: "not understood with slow_but_exact=True, pretraining_tp=2" for name in CAN},
    ),
    ("falcon", {"new_decoder_architecture": False, "multi_query": True}, {}),
    ("falcon", {"new_decoder_architecture": False, "multi_query": False}, {}),
    ("falcon", {"new_decoder_architecture": True, "num_kv_heads": 2}, {}),
    ("falcon", {"alibi": True, "multi_query": False}, {"remove": "ALiBi slopes"}),
    ("gpt2", {"add_cross_attention": True}, {name: "must have self-attention only" for name in CAN}),
    ("gpt_bigcode", {"multi_query": False}, {}),
    ("stablelm", {"qk_layernorm": True}, {"remove": "a norm of its own (qk_layernorm"}),
]


@pytest.mark.parametrize(("model_type", "changes", "refused"), BY_THEIR_CONFIGURATION)
def test_variants_are_exact_or_refused_by_their_switch(model_type, changes, refused):
    for seed in range(3):
        outcome = try_case(Case(model_type, changes, seed=seed))
        assert not outcome.faults
        assert not outcome.mixers
        assert outcome.refused.keys() == refused.keys()
        assert all(why in outcome.refused[name] for name, why in refused.items())


@pytest.mark.parametrize(
    ("model_type", "before", "changes"),
    [
        (
            "albert",
            {"pattern": r"albert_layer_groups\.(\d+)\.albert_layers\.(0)\.attention"},
            {"inner_group_num": 2},
        ),
        ("albert", {"closing": ""}, {}),
        ("falcon", {"not_removed_if": None}, {"alibi": True, "multi_query": False}),
        ("gpt_bigcode", {"interleaved": False}, {"multi_query": False}),
        ("layoutlmv3", {"shared_biases": ()}, {}),
        ("stablelm", {"not_removed_if": None}, {"qk_layernorm": True}),
        ("t5", {"shared_biases": ()}, {}),
    ],
)
def test_a_wrong_row_is_found(model_type, before, changes, monkeypatch):
    """Rows as they were, or with one thing forgotten: some random model shows it."""
    wrong = tuple(replace(layout, **before) for layout in FAMILIES[model_type])
    monkeypatch.setitem(FAMILIES, model_type, wrong)
    outcomes = [try_case(Case(model_type, changes, seed=seed)) for seed in range(3)]
    assert any(outcome.faults or any("attention" in name for name in outcome.mixers) for outcome in outcomes)


@pytest.mark.parametrize("way", ["zero_heads", "remove_heads"])
def test_a_way_that_does_something_else_is_found(way, monkeypatch):
    monkeypatch.setattr(trial, way, lambda model, mask: model)
    assert try_case(Case("bert")).faults.keys() == {way.removesuffix("_heads")}


def test_switches_are_found_in_the_configuration_and_in_the_code_that_reads_it():
    found = {name for change in variants("stablelm") for name in change}
    assert {"qk_layernorm", "use_qkv_bias", "use_parallel_residual", "rope_parameters"} <= found
    assert not {"hidden_size", "num_attention_heads", "attention_dropout", "use_cache"} & found
    assert {"position_embedding_type": "rotary"} in list(variants("esm"))
    assert {"layer_types": ["sliding_attention"] * 3} in list(variants("gemma2"))
    assert {"alibi": False} in list(variants("mpt"))  # of a configuration inside


@torch.no_grad()
def reach(model, inputs):
    """Places of the last hidden state that another token in place 4 changes although all heads are gated."""
    changed = inputs["input_ids"].clone()
    changed[0, 4] = inputs["input_ids"][0, 3]
    states = []
    with gated(model, [torch.zeros(block.n_heads) for block in attention_blocks(model)]):
        for ids in (inputs["input_ids"], changed):
            states.append(model.base_model(input_ids=ids[:1]).last_hidden_state[0])
    return (states[0] - states[1]).abs().amax(dim=1).gt(1e-4).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("model_type", "names"),
    [
        ("bert", []),
        ("gpt2", []),
        ("albert", []),
        ("canine", ["canine.initial_char_encoder", "canine.projection", "canine.final_char_encoder"]),
        ("jamba", ["model.layers.*.mamba"]),
        ("minimax", ["model.layers.*.self_attn"]),
        ("mobilebert", ["mobilebert.embeddings"]),
        ("qwen3_next", ["model.layers.*.linear_attn"]),
    ],
)
def test_what_mixes_tokens_beside_the_heads_is_named(model_type, names):
    model = tiny_model(model_type)
    found = mixers(model, tiny_inputs())
    assert [name.partition(" ")[0] for name in found] == names
    assert found == beside_heads(model_type) or model_type == "canine"  # which has variants with one more
    assert (reach(model, tiny_inputs()) == [4]) == (not names)
    assert not any(module._forward_hooks for module in model.modules())


def test_perceiver_reads_its_text_by_attention_that_has_no_heads_here():
    names = [name.partition(" ")[0] for name in mixers(tiny_model("perceiver"), tiny_inputs())]
    assert names == ["perceiver.encoder.cross_attention", "perceiver.decoder"]


@pytest.mark.parametrize(
    ("model_type", "text", "said"),
    [
        ("bert", slice(None), "all heads are pruned: no token sees another any more"),
        ("bart", slice(None), "all heads are pruned: no token sees another any more"),
        ("bert", slice(2), "all heads are pruned"),  # too short for a proof
        (
            "jamba",
            slice(None),
            "all heads are pruned; tokens still see each other in model.layers.*.mamba (Jamba",
        ),
    ],
)
def test_what_is_said_of_a_model_without_heads_is_proved(model_type, text, said):
    model, inputs, reporter = tiny_model(model_type), tiny_inputs(), Silent()
    batch = SimpleNamespace(inputs={name: value[:1, text] for name, value in inputs.items()})
    batch.to = lambda device: batch
    predictions = SimpleNamespace(
        subject=SimpleNamespace(model=model, device=torch.device("cpu")),
        batches=SimpleNamespace(batch=lambda index: batch),
        reporter=reporter,
    )
    blocks = attention_blocks(model)
    everything = HeadMask.all(head_counts(blocks))
    note_without_heads(predictions, HeadMask(everything.n_heads))
    assert not reporter.notes
    note_without_heads(predictions, everything)
    [note] = reporter.notes
    assert note.startswith(said)
    assert note == said or "Jamba" in said


def test_the_readme_says_how_many():
    classifiers = [row for row in ROWS.values() if row["type"] in TYPES]
    counts = {name: sum(row[name] for row in classifiers) for name in CAN}
    known = f"of the {len(classifiers)} with a sequence classifier in transformers {RELEASE}"
    readme = " ".join((Path(__file__).parents[1] / "README.md").read_text().split())
    assert counts["gate"] == counts["zero"]
    assert (
        f"{known}, heads of {counts['gate']} are gated and zeroed, and of {counts['remove']} removed"
        in readme
    )
