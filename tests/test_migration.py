"""What `prune-heads doctor` says of transformers 5 is tried with the transformers that is installed."""

import dataclasses
import importlib
import json
import re

import pytest
import torch
import typer
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, BertConfig, BertModel, GPT2LMHeadModel

import prune_heads
from prune_heads.anatomy import AttentionBlock
from prune_heads.cli.app import app
from prune_heads.migration import FUNCTIONS, MASKS, STILL_THERE, cures

BERT = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
BERT |= {"intermediate_size": 16, "max_position_embeddings": 32}
GPT2 = {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}
GPT2 |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
BART = {"vocab_size": 60, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 16}
BART |= {"decoder_ffn_dim": 16, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
BART |= {"max_position_embeddings": 32, "forced_eos_token_id": None}
SHAPES = {"bert": BERT, "gpt2": GPT2, "bart": BART}
IDS = torch.arange(3, 11).reshape(1, 8)
HEADS = {0: [1, 2]}


def model_of(model_type, attention="eager"):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = AutoConfig.for_model(model_type, **SHAPES[model_type])
        return AutoModel.from_config(config, attn_implementation=attention).eval()


def widths(model):
    return [layer.attention.self.query.weight.shape[0] for layer in model.encoder.layer]


def outcome(trial):
    """`ignored` where the trial says that nothing came of it, else the name of the error."""
    try:
        assert trial() is True, "transformers heeded it"
    except AssertionError:
        raise
    except Exception as error:
        return type(error).__name__
    return "ignored"


def masked(model_type, attention, mask):
    def trial():
        model = model_of(model_type, attention)
        with torch.no_grad():
            return torch.equal(model(IDS, **{mask: torch.zeros(2, 4)})[0], model(IDS)[0])

    return trial


def generated(mask):
    config = AutoConfig.for_model("gpt2", **GPT2)
    return lambda: GPT2LMHeadModel(config).generate(IDS, **{mask: torch.zeros(2, 4)}, max_new_tokens=1)


def called(model_type, names, *arguments):
    return [lambda name=name: getattr(model_of(model_type), name)(*arguments) for name in names]


def set_later():
    config = BertConfig(**BERT)
    config.pruned_heads = HEADS
    return widths(BertModel(config)) == [16, 16]


def saved(folder, *, narrow=False):
    """A checkpoint as transformers 4 left it: its configuration lists pruned heads; its weights lack them."""
    model_of("bert").save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pruned_heads": {"0": [1, 2]}}))
    if narrow:
        weights = load_file(folder / "model.safetensors")
        for name, tensor in weights.items():
            if "layer.0.attention.self" in name:
                weights[name] = tensor[:8].contiguous()
            elif "layer.0.attention.output.dense.weight" in name:
                weights[name] = tensor[:, :8].contiguous()
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def import_fails(name):
    def trial(module):
        exec(f"from {module} import {name}")

    modules = ("transformers", "transformers.modeling_utils", "transformers.pytorch_utils")
    return [lambda m=m: trial(m) for m in modules if f"{m}.{name}" not in STILL_THERE]


def function_is_called(name):
    modules = ("transformers.modeling_utils", "transformers.pytorch_utils")
    return [
        lambda m=m: getattr(importlib.import_module(m), name)() for m in modules if f"{m}.{name}" not in STILL_THERE
    ]


@pytest.fixture
def trials(tmp_path):
    """For each use, and for each outcome that its row names in turn, trials that must all end so."""
    bare = model_of("bert")
    bare.save_pretrained(tmp_path / "bare")
    masks = {
        f"{mask}=": [[masked(t, attention, mask) for t in SHAPES for attention in ("eager", "sdpa")]] for mask in MASKS
    }
    return {
        **masks,
        **{f"generate({mask}=)": [[generated(mask)]] for mask in MASKS},
        ".prune_heads()": [
            [trial for t in SHAPES for trial in called(t, ("prune_heads", "_prune_heads"), HEADS)]
            + [lambda: bare.encoder.layer[0].attention.prune_heads([1])]
        ],
        ".get_head_mask()": [[trial for t in SHAPES for trial in called(t, ["get_head_mask"], None, 2)]],
        "pruned_heads=": [
            [
                lambda: widths(BertModel(BertConfig(**BERT, pruned_heads=HEADS))) == [16, 16],
                lambda: not hasattr(AutoConfig.from_pretrained(tmp_path / "bare", pruned_heads=HEADS), "pruned_heads"),
            ],
            [lambda: AutoModel.from_pretrained(tmp_path / "bare", pruned_heads=HEADS)],
        ],
        ".pruned_heads = ...": [[set_later]],
        ".pruned_heads": [[lambda: bare.config.pruned_heads, lambda: bare.encoder.layer[0].attention.pruned_heads]],
        '"pruned_heads":': [
            [lambda: widths(BertModel.from_pretrained(saved(tmp_path / "full"))) == [16, 16]],
            [lambda: BertModel.from_pretrained(saved(tmp_path / "narrow", narrow=True))],
        ],
        **{f"import {name}": [import_fails(name)] for name in FUNCTIONS},
        **{f"{name}()": [function_is_called(name)] for name in FUNCTIONS},
    }


def test_every_use_does_what_its_row_says(trials):
    said = {use: re.findall(r"ignored|\w+Error", row["effect"]) for use, row in cures().items()}
    tried = {use: [{outcome(trial) for trial in group} for group in groups] for use, groups in trials.items()}
    assert tried == {use: [{word} for word in words] for use, words in said.items()}


def test_a_configuration_that_carries_pruned_heads_still_gives_them(tmp_path):
    assert AutoConfig.from_pretrained(saved(tmp_path / "old")).pruned_heads == {"0": [1, 2]}


def test_what_is_still_there_is_there():
    for origin in STILL_THERE:
        module, _, name = origin.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize("use", cures())
def test_what_to_write_instead_exists(use):
    text = cures()[use]["instead"]
    known = {*prune_heads.__all__, *(field.name for field in dataclasses.fields(AttentionBlock))}
    assert set(re.findall(r"\b[a-z]+_[a-z_]+\b", text)) <= known | {"pytorch_utils"}
    commands = typer.main.get_command(app).commands
    for command, option in re.findall(r"prune-heads (\w+)(?: (--\w+))?", text):
        assert command in commands
        assert not option or option in {name for each in commands[command].params for name in each.opts}
