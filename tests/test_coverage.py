"""Every model type: random models of it show nothing wrong, and the committed table is what its survey finds."""

import copy
import random
from dataclasses import replace
from importlib.metadata import version

import pytest
import torch
from tiny_types import CAN, try_all
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as TYPES
from type_survey import Case, random_case, survey, try_case
from type_variants import variants

from prune_heads import attention_blocks, load_pruned, remove_heads, save_pruned, verification
from prune_heads.anatomy import FAMILIES, UNKNOWN
from prune_heads.coverage import committed_table
from prune_heads.errors import UnsupportedModelError
from prune_heads.guide import page
from prune_heads.verification import outputs, some_heads

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
MOVED = ("dinov2", "dinov2_with_registers")  # their projections have other names in transformers 5.15


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-5 * max(1.0, float(b.abs().max())))


def logits_of(model, inputs):
    [logits] = outputs(model, inputs)
    return logits


def a_case(model_type):
    """A random model that transformers builds and runs, with one variant where it has any; and what it showed."""
    switches = list(variants(model_type)) or [{}]
    for seed in range(5):
        case = random_case(model_type, seed, switches[(7 * seed + len(model_type)) % len(switches)])
        if outcome := try_case(case):
            return case, outcome
    return Case(model_type), try_case(Case(model_type))


def always():
    """The first type of each row, and a seeded sixteenth of those that share it; the others by `make thorough`."""
    rows, others = {}, []
    for model_type, row in FAMILIES.items():
        if rows.setdefault(row, model_type) != model_type:
            others.append(model_type)
    return {*rows.values(), *random.Random(0).sample(others, len(others) // 16)}


def mark_of(model_type):
    """The types that most people use are tried by `pytest`, the others of the sample by `make test`."""
    return () if model_type in NAMED else pytest.mark.slow if model_type in always() else pytest.mark.thorough


@pytest.mark.parametrize("model_type", [pytest.param(name, marks=mark_of(name)) for name in FAMILIES])
def test_a_random_model_shows_nothing_wrong(model_type, tmp_path):
    """A seeded sample of what `make thorough` tries; what heads are taken out of is saved, comes back, and trains."""
    if model_type not in CONFIG_MAPPING or (model_type in MOVED and not TABLE_IS_OF_THIS):
        pytest.skip("not a type of this transformers, or laid out otherwise and refused")
    case, outcome = a_case(model_type)
    assert not outcome.faults, case
    refused = {name for name in CAN if not ROWS[model_type][name]}
    assert refused <= set(outcome.refused)
    assert outcome.refused.keys() == refused or ROWS[model_type]["refused"], case
    if "remove" in outcome.refused or case.changes.get("is_decoder"):  # an encoder's, which no checkpoint may be
        return
    model = case.model()
    inputs = case.inputs(model)
    remove_heads(model, some_heads(attention_blocks(model), case.seed))
    expected = logits_of(model, inputs)
    save_pruned(model, tmp_path / "float32")
    loaded = load_pruned(tmp_path / "float32")
    loaded.set_attn_implementation(model.config._attn_implementation)  # they differ for tokens that see none
    assert close(logits_of(loaded, inputs), expected)
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.1)
    loaded(**inputs).logits.square().sum().backward()
    optimizer.step()
    assert not torch.equal(logits_of(loaded, inputs), expected)


@pytest.mark.thorough
@pytest.mark.parametrize("model_type", sorted({*FAMILIES, *TYPES}))
def test_the_table_is_what_a_survey_finds(model_type, tmp_path):
    """With other versions of transformers than the table's, what it promises holds for the types that are there."""
    if model_type not in CONFIG_MAPPING or (model_type in MOVED and not TABLE_IS_OF_THIS):
        pytest.skip("not a type of this transformers, or laid out otherwise and refused")
    found = survey(model_type, n_random=12)
    assert not found.faults
    if TABLE_IS_OF_THIS:
        assert found.row == ROWS[model_type]
    assert all(found.row[name] or not ROWS[model_type][name] for name in CAN), found.row["reason"]
    if found.row["remove"]:
        model = Case(model_type).model()
        remove_heads(model, some_heads(attention_blocks(model), 0))
        for dtype in (torch.float16, torch.bfloat16):
            save_pruned(copy.deepcopy(model).to(dtype), tmp_path / str(dtype))
            loaded = load_pruned(tmp_path / str(dtype))
            assert {p.dtype for p in loaded.parameters()} <= {dtype, torch.float32}


@pytest.mark.parametrize("model_type", ["bert", "big_bird", "axk2"])
def test_models_try_finds_the_defaults_of_the_table(model_type):
    (row,) = try_all([model_type])["models"]
    assert row.keys() == ROWS[model_type].keys()
    if TABLE_IS_OF_THIS:
        assert row == {**ROWS[model_type], "variants": [], "refused": {}}


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


BY_THEIR_CONFIGURATION = [
    ("albert", {"inner_group_num": 2}, {}),
    ("albert", {"num_hidden_groups": 2}, {}),
    ("beit", {"use_relative_position_bias": True}, {}),
    ("data2vec-vision", {"use_relative_position_bias": True, "use_shared_relative_position_bias": True}, {}),
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
    ("deberta", {"talking_head": True}, {"remove": "mix their attention with each other's (talking_head"}),
    ("mvp", {"use_prompt": True}, {"remove": "prompts have keys for all heads"}),
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
        ("albert", {"pattern": r"albert_layer_groups\.(\d+)\.albert_layers\.(0)\.attention"}, {"inner_group_num": 2}),
        ("albert", {"closing": ""}, {}),
        ("beit", {"shared_biases": ()}, {"use_shared_relative_position_bias": True}),
        ("falcon", {"stays_if": None}, {"alibi": True, "multi_query": False}),
        ("gpt_bigcode", {"interleaved": False}, {"multi_query": False}),
        ("layoutlmv3", {"shared_biases": ()}, {}),
        ("stablelm", {"stays_if": None}, {"qk_layernorm": True}),
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
    monkeypatch.setattr(verification, way, lambda model, mask: model)
    assert try_case(Case("bert")).faults.keys() == {way.removesuffix("_heads")}


def test_switches_are_found_in_the_configuration_and_in_the_code_that_reads_it():
    found = {name for change in variants("stablelm") for name in change}
    assert {"qk_layernorm", "use_qkv_bias", "use_parallel_residual", "rope_parameters"} <= found
    assert not {"hidden_size", "num_attention_heads", "attention_dropout", "use_cache"} & found
    assert {"position_embedding_type": "rotary"} in list(variants("esm"))
    assert {"layer_types": ["sliding_attention"] * 3} in list(variants("gemma2"))
    assert {"alibi": False} in list(variants("mpt"))  # of a configuration inside
    assert {"talking_head": True} in list(variants("deberta"))  # which the configuration class does not name


def test_the_guide_says_how_many():
    classifiers = [row for row in ROWS.values() if row["classifier"]]
    counts = {name: sum(row[name] for row in classifiers) for name in CAN}
    known = f"transformers {RELEASE} has {len(classifiers)} types with a sequence classifier."
    readme = " ".join(page("models").split())
    assert counts["gate"] == counts["zero"]
    said = f"Heads can be gated and zeroed in {counts['gate']} of them, and removed in {counts['remove']}"
    assert f"{known} {said}" in readme
