"""Removal as a whole: all of it or none, noted in the configuration, and each layer's place among attentions kept."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import save_tiny_checkpoint
from tiny_types import inputs_for, tiny_inputs, tiny_model
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from prune_heads import attention_blocks, gated, gates_of, load_pruned, remove_heads, surgery, zero_heads
from prune_heads.checkpoints import fingerprint, write_pruned
from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.coverage import committed_table
from prune_heads.errors import CheckpointError, HeadDescriptorError, UnsupportedModelError
from prune_heads.mini.checkpoints import __path__ as MINI
from prune_heads.surgery import removed_heads

REMOVED = [row["type"] for row in committed_table()["models"] if row["remove"]]


def thorough_beside(*always):
    return [
        name if name in always else pytest.param(name, marks=pytest.mark.thorough)
        for name in REMOVED
        if name != "layoutlmv3"
    ]


@torch.no_grad()
def logits(model):
    torch.manual_seed(0)  # some types draw which tokens attend
    return model(**inputs_for(model)).logits


def whole_groups(model):
    """Another group of every block, and all heads of the second; the same ones where layers share weights."""
    blocks = attention_blocks(model)
    if blocks[0].n_depths > 1:
        return {i: [1, 3] for i in range(len(blocks))}
    size = blocks[0].n_heads // blocks[0].n_kv_heads
    heads = {i: range(i % 2 * size, i % 2 * size + size) for i in range(len(blocks))}
    return heads | ({1: range(blocks[1].n_heads)} if len(blocks) > 1 else {})


def snapshot(model):
    """What tells a model from one that was changed: weights, attributes, hooks, what it computes."""
    held = [
        (name, sorted(vars(module)), [len(x) for x in vars(module).values() if isinstance(x, dict)])
        for name, module in model.named_modules()
    ]
    sizes = [(name, [v for v in vars(module).values() if isinstance(v, int)]) for name, module in model.named_modules()]
    return (fingerprint(model), held, sizes, removed_heads(model), logits(model).tolist(), model.config.to_dict())


@pytest.mark.parametrize(
    ("model_type", "heads", "error"),
    [
        ("llama", {0: [0, 1], 1: [0]}, UnsupportedModelError),  # half a group, after a whole one
        ("bert", {0: [0], 1: [9]}, HeadDescriptorError),
    ],
)
def test_what_is_refused_leaves_the_model_as_it_was(model_type, heads, error):
    model = tiny_model(model_type)
    before = snapshot(model)
    with pytest.raises(error):
        remove_heads(model, heads)
    assert snapshot(model) == before
    if error is HeadDescriptorError:
        with pytest.raises(error):
            zero_heads(model, heads)
        assert snapshot(model) == before


@pytest.mark.parametrize(
    ("model_type", "error"),
    [*((name, RuntimeError) for name in ("t5", "phi3", "bert", "mpnet")), ("bert", KeyboardInterrupt)],
)
@pytest.mark.parametrize("earlier", [{}, {0: [2, 3]}], ids=["whole", "pruned before"])
def test_what_fails_amid_the_work_leaves_the_model_as_it_was(model_type, earlier, error, monkeypatch):
    """In the second block, after the first was narrowed; also where objects of ours are on it from before."""
    model = tiny_model(model_type)
    last, name = len(attention_blocks(model)) - 1, attention_blocks(model)[-1].name
    if earlier:
        remove_heads(model, earlier)
    handle = model.base_model.register_forward_pre_hook(lambda module, args: None)
    before, leave = snapshot(model), surgery.leave_record

    def leave_once(block, heads):
        if block.name == name:
            raise error("amid the work")
        leave(block, heads)

    monkeypatch.setattr(surgery, "leave_record", leave_once)
    with pytest.raises(error, match="amid the work"):
        remove_heads(model, {0: [0, 1, 2, 3], last: [0, 1]})
    assert snapshot(model) == before
    monkeypatch.undo()
    handle.remove()
    assert not model.base_model._forward_pre_hooks
    with gated(model, gates_of(model, {0: [0, 1, 2, 3], last: [0, 1]})):
        truth = logits(model)
    assert (logits(remove_heads(model, {0: [0, 1, 2, 3], last: [0, 1]})) - truth).abs().max() < 1e-5


def test_what_fails_in_a_model_of_pytorch_leaves_it_as_it_was(monkeypatch):
    layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=True).eval()
    x, leave = torch.randn(2, 5, 16), surgery.leave_record
    before, keys = model(x), [sorted(vars(module)) for module in model.modules()]
    monkeypatch.setattr(
        surgery, "leave_record", lambda block, heads: 1 / 0 if "1" in block.name else leave(block, heads)
    )
    with pytest.raises(ZeroDivisionError):
        remove_heads(model, {0: [0], 1: [1]})
    assert model.use_nested_tensor
    assert [sorted(vars(module)) for module in model.modules()] == keys
    assert torch.equal(model(x), before)


@pytest.mark.parametrize("model_type", thorough_beside("bert", "distilbert", "gpt2", "llama", "luke", "t5", "phi3"))
def test_entry_i_of_the_attentions_is_layer_i(model_type):
    # data2vec-vision keeps the kernel that it was made with.
    model = tiny_model(model_type, attention="eager" if model_type == "data2vec-vision" else None)
    removed = remove_heads(copy.deepcopy(model), heads := whole_groups(model))
    if model_type != "data2vec-vision":
        model.set_attn_implementation("eager")
        removed.set_attn_implementation("eager")  # after the removal: narrow blocks follow
    before, after = (m(**inputs_for(m), output_attentions=True) for m in (model, removed))
    seen = 0
    for name in [name for name in before if name.endswith("attentions")]:
        assert len(after[name]) == len(before[name])
        for whole, left in zip(before[name], after[name], strict=True):
            if left is not None:  # CANINE gives None for no heads
                assert left.shape[0] == whole.shape[0]
                assert left.shape[2:] == whole.shape[2:]
            seen += whole.shape[1] - (0 if left is None else left.shape[1])
    if not model_type.startswith(("t5gemma", "swin")):  # which list their encoder's, and one a stage, alone
        assert seen == sum(len(row) for row in heads.values())


def test_attentions_that_are_not_asked_for_stay_none():
    model = remove_heads(tiny_model("bert"), "1:1,2,3,4")
    assert model(**tiny_inputs()).attentions is None


@pytest.mark.parametrize(
    "model_type", thorough_beside("albert", "bert", "gpt2", "llama", "mixtral", "modernbert", "t5", "phi3")
)
def test_what_save_pretrained_writes_comes_back(model_type, tmp_path):
    """As a Trainer saves: weights under the names of older versions, and the record in the configuration."""
    original = tiny_model(model_type)
    model = remove_heads(copy.deepcopy(original), whole_groups(original))
    with quiet_transformers():
        model.save_pretrained(tmp_path, state_dict=model.state_dict())
    again = load_pruned(tmp_path)
    assert type(again) is type(model)
    assert not again.training
    assert fingerprint(again) == fingerprint(model)
    assert removed_heads(again) == removed_heads(model)
    assert (logits(again) - logits(model)).abs().max() <= 1e-5
    with quiet_transformers(), pytest.raises(RuntimeError, match="mismatch"):
        type(model).from_pretrained(tmp_path)


def test_a_model_pruned_twice_is_noted_once(tmp_path):
    model = remove_heads(remove_heads(tiny_model("bert"), "1:2"), "1:1 3:1,2,3,4")
    model.save_pretrained(tmp_path / "one")
    again = remove_heads(load_pruned(tmp_path / "one"), "2:3")
    again.save_pretrained(tmp_path / "two")
    noted = json.loads((tmp_path / "two" / "config.json").read_text())["pruned_heads"]
    assert noted == {"0": [0, 1], "1": [2], "2": [0, 1, 2, 3]}
    assert str(removed_heads(load_pruned(tmp_path / "two"))) == "1:1,2 2:3 3:1,2,3,4"


def test_the_note_is_of_one_model_alone(tmp_path):
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, vocab_size=50)
    one, other = BertForSequenceClassification(config), BertForSequenceClassification(config)
    remove_heads(one, "1:1")
    assert not hasattr(config, "pruned_heads")
    other.save_pretrained(tmp_path)
    assert fingerprint(load_pruned(tmp_path)) == fingerprint(other)
    assert fingerprint(BertForSequenceClassification.from_pretrained(tmp_path)) == fingerprint(other)


def test_tables_that_transformers_would_compute_anew_are_saved(tmp_path):
    """The built-in translator's are of half precision: others, by 0.004 of a logit, than those computed anew."""
    model = load_pruned(f"{MINI[0]}/mini-translation")
    table = model.model.encoder.embed_positions.weight.clone()
    assert not torch.equal(table, model.model.encoder.embed_positions.create_weight())
    remove_heads(copy.deepcopy(model), "E:1:1").save_pretrained(tmp_path / "removed")
    (tmp_path / "zeroed").mkdir()
    write_pruned(zero_heads(model, "E:1:1"), tmp_path / "zeroed")
    for folder in ("removed", "zeroed"):
        assert torch.equal(load_pruned(tmp_path / folder).model.encoder.embed_positions.weight, table)


def test_saving_leaves_the_model_as_it_was(tmp_path):
    model = tiny_model("bert").half()
    config = model.config.to_dict()
    write_pruned(model, tmp_path)
    assert model.config.to_dict() == config


class TestOrdinaryCheckpoints:
    """One loader for all."""

    @pytest.fixture
    def folder(self, tmp_path):
        return save_tiny_checkpoint(tmp_path / "plain")

    def test_untouched(self, folder):
        plain = AutoModelForSequenceClassification.from_pretrained(folder)
        model = load_pruned(folder)
        assert type(model) is type(plain)
        assert not model.training
        assert not removed_heads(model)
        assert fingerprint(model) == fingerprint(plain)

    def test_of_a_type_whose_heads_are_not_known(self, tmp_path):
        model = AutoModelForSequenceClassification.from_config(_fnet())
        model.save_pretrained(tmp_path)
        assert fingerprint(load_pruned(tmp_path)) == fingerprint(model)

    def test_the_precision_is_the_saved_one_or_the_one_asked_for(self, folder, tmp_path):
        load_pruned(folder).to(torch.bfloat16).save_pretrained(tmp_path / "half")
        assert load_pruned(tmp_path / "half").dtype == torch.bfloat16
        assert load_pruned(tmp_path / "half", dtype=torch.float32).dtype == torch.float32

    def test_harmless_weights_may_be_left_over(self, folder):
        weights = load_file(folder / "model.safetensors")
        save_file(
            weights | {"cls.seq_relationship.bias": torch.ones(2)},
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
        assert not removed_heads(load_pruned(folder))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda w: w.pop("classifier.bias"), "classifier.bias"),
            (lambda w: w.update({"classifier.extra": torch.ones(2)}), "classifier.extra"),
            (lambda w: w.update({"classifier.bias": torch.ones(3)}), "classifier.bias"),
        ],
        ids=["missing", "left over", "of another shape"],
    )
    def test_weights_that_do_not_fit(self, folder, change, message):
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=message):
            load_pruned(folder)

    def test_a_configuration_of_fewer_layers(self, folder):
        config = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 2}
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=r"bert\.encoder\.layer\.2"):
            load_pruned(folder)

    def test_no_configuration(self, tmp_path):
        with pytest.raises(CheckpointError, match="cannot be loaded"):
            load_pruned(tmp_path)


def _fnet():
    from transformers import FNetConfig

    return FNetConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, intermediate_size=37, max_position_embeddings=64
    )
