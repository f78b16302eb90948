"""Checkpoints for other software: dense ones of every type that heads are removed from, and ONNX."""

import copy
import logging

import numpy as np
import onnxruntime
import pytest
import torch
from loading import load_language_model
from tiny import tiny_tokenizer
from tiny_types import tiny_inputs, tiny_model
from transformers import AutoModelForSequenceClassification

from prune_heads import attention_blocks, gated, gates_of, load_pruned, remove_heads, save_pruned, zero_heads
from prune_heads.checkpoints import Checkpoint, fingerprint, linear_maps
from prune_heads.checkpoints import onnx as onnx_module
from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.checkpoints.onnx import ONNX_FILE, run_onnx, write_onnx
from prune_heads.checkpoints.pruned import dense_model
from prune_heads.coverage import committed_table
from prune_heads.errors import CheckpointError, ExportError, NotFiniteError
from prune_heads.heads import HeadMask
from prune_heads.studies import exporting
from prune_heads.studies.exporting import export, random_batches

REMOVED = [row["type"] for row in committed_table()["models"] if row["remove"] and row["classifier"]]


@torch.no_grad()
def logits(model, inputs=None):
    torch.manual_seed(0)  # some types draw which tokens attend
    return model(**(inputs or tiny_inputs())).logits


def some_heads(model):
    """Another group of every block, and all heads of the second; the same ones where layers share weights."""
    blocks = attention_blocks(model)
    if blocks[0].n_depths > 1:
        return {i: [1, 3] for i in range(len(blocks))}
    heads = {}
    for i, block in enumerate(blocks):
        size, group = block.n_heads // block.n_kv_heads, i % block.n_kv_heads
        heads[i] = range(group * size, (group + 1) * size)
    return heads | ({1: range(blocks[1].n_heads)} if len(blocks) > 1 else {})


def classifier(model):
    return Checkpoint(model, tiny_tokenizer(), "tiny", None)


SHOWN = {*REMOVED[::8], "albert", "bart", "bert", "gpt2", "llama", "modernbert", "t5", "xlnet"}
"""Types that are always exported; the others by `make thorough`."""


def nothing(model):
    return HeadMask([block.n_original_heads for block in attention_blocks(model)])


@pytest.mark.parametrize(
    "model_type", [name if name in SHOWN else pytest.param(name, marks=pytest.mark.thorough) for name in REMOVED]
)
def test_a_dense_model_is_the_zeroed_one_to_the_last_weight(model_type, tmp_path):
    original = tiny_model(model_type)
    heads = some_heads(original)
    narrow = remove_heads(copy.deepcopy(original), heads)
    before = fingerprint(narrow)
    dense = dense_model(narrow)
    assert fingerprint(dense) == fingerprint(zero_heads(original, heads))
    assert fingerprint(narrow) == before
    with quiet_transformers():
        dense.save_pretrained(tmp_path)
        plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(plain) is type(original)
    assert plain.config.architectures == [type(original).__name__]
    expected = logits(narrow)
    assert (logits(plain) - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max())


def test_a_dense_translator_keeps_its_tables_of_positions(tmp_path):
    """The built-in one's are of half precision; transformers does not save them and would compute others."""
    mini = load_language_model("mini", pairs=True, task="mini-translation")
    remove_heads(mini.model, "E:1:1")
    report = export(mini, nothing(mini.model), "dense", tmp_path)
    assert report["largest_difference"] < 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_dense_model_keeps_the_precision_of_every_weight(dtype):
    original = tiny_model("t5").to(dtype)
    kept = original.transformer.encoder.final_layer_norm.float()
    dense = dense_model(remove_heads(copy.deepcopy(original), some_heads(original)))
    assert fingerprint(dense) == fingerprint(zero_heads(original, some_heads(original)))
    assert {p.dtype for p in dense.parameters()} == {dtype, kept.weight.dtype}


def test_a_model_that_was_pruned_twice_and_saved_between():
    original = tiny_model("bert")
    narrow = remove_heads(remove_heads(copy.deepcopy(original), "1:2"), "1:1,3,4 3:1")
    assert fingerprint(dense_model(narrow)) == fingerprint(zero_heads(original, "1:1,2,3,4 3:1"))


def test_a_model_with_all_heads_is_copied():
    model = tiny_model("gpt2")
    dense, before = dense_model(model), fingerprint(model)
    assert fingerprint(dense) == before
    for weight in dense.parameters():
        weight.data += 1
    assert fingerprint(model) == before


def test_nothing_random_is_drawn():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    dense_model(remove_heads(tiny_model("bert"), "1:2"))
    assert torch.equal(torch.rand(3), expected)


def test_weights_that_are_not_what_removal_leaves():
    model = remove_heads(tiny_model("bert"), "1:2")
    model.bert.pooler.dense.weight = torch.nn.Parameter(model.bert.pooler.dense.weight[:-1])
    with pytest.raises(CheckpointError, match=r"pooler.dense.weight must be \(32, 32\), got \(31, 32\)"):
        dense_model(model)


def test_the_comparison_sees_one_wrong_weight(tmp_path, monkeypatch):
    def spoilt(model):
        dense = dense_model(model)
        dense.classifier.bias.data[0] += 1e-3
        return dense

    monkeypatch.setattr(exporting, "dense_model", spoilt)
    model = remove_heads(tiny_model("bert"), "1:2")
    with pytest.raises(ExportError, match=r"give the logits of the model within 1e-05; on .* 0.001 apart"):
        export(classifier(model), nothing(model), "dense", tmp_path)


def test_weights_that_transformers_does_not_find(tmp_path, monkeypatch):
    def incomplete(model):
        dense = dense_model(model)
        del dense.classifier.bias
        dense.classifier.bias = None
        return dense

    monkeypatch.setattr(exporting, "dense_model", incomplete)
    model = tiny_model("bert")
    with pytest.raises(ExportError, match=r"must find every weight.*missing_keys.*classifier.bias"):
        export(classifier(model), nothing(model), "dense", tmp_path)


def test_half_precision_is_compared_without_rounding(tmp_path):
    model = remove_heads(tiny_model("bert").to(torch.bfloat16), "1:2 2:1,2,3,4")
    report = export(classifier(model), HeadMask.parse("3:1", (4, 4, 4)), "dense", tmp_path)
    assert report["largest_difference"] < 1e-5
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert plain.dtype == torch.bfloat16
    assert report["parameters"]["after"] - report["parameters"]["before"] == 5 * 8 * (4 * 32 + 3)


def test_logits_that_are_not_finite(tmp_path):
    model = tiny_model("bert")
    model.classifier.bias.data[0] = float("nan")
    with pytest.raises(NotFiniteError, match="random texts must be finite"):
        export(classifier(model), nothing(model), "dense", tmp_path)


def test_batches_are_of_several_sizes_and_lengths():
    batches, again = (random_batches(classifier(tiny_model("bert"))) for _ in range(2))
    shapes = [tuple(batch["input_ids"].shape) for batch in batches]
    assert shapes == [(1, 3), (1, 33), (2, 64), (8, 64), (3, 33)]
    for batch, other in zip(batches, again, strict=True):
        assert all(torch.equal(value, other[name]) for name, value in batch.items())
        lengths = batch["attention_mask"].sum(1).tolist()
        assert lengths[0] == batch["input_ids"].shape[1]
        assert lengths == sorted(lengths, reverse=True)
        assert len(set(lengths)) == len(lengths)
    assert len(batches[3]["input_ids"].unique()) > 15


def test_a_model_that_takes_long_texts_is_compared_on_short_ones(monkeypatch):
    monkeypatch.setattr(exporting, "_LONGEST", 9)
    batches = random_batches(classifier(tiny_model("bert")))
    assert [batch["input_ids"].shape[1] for batch in batches] == [3, 6, 9, 9, 6]


def test_a_tokenizer_that_cannot_pad():
    subject = classifier(tiny_model("gpt2"))
    subject.tokenizer.pad_token = None
    batches = random_batches(subject)
    assert [tuple(batch["input_ids"].shape) for batch in batches] == [(1, 3), (1, 33), (2, 64), (8, 64), (3, 33)]
    assert all(batch["attention_mask"].all() for batch in batches)
    assert len(batches[3]["input_ids"].unique()) > 15


@pytest.mark.parametrize(
    "model_type",
    [
        pytest.param("distilbert", marks=pytest.mark.thorough),
        pytest.param("llama", marks=pytest.mark.thorough),
        pytest.param("gpt2", marks=pytest.mark.thorough),
    ],
)
def test_onnx_computes_what_the_model_computes_on_any_batch(model_type, tmp_path, monkeypatch):
    """With groups removed from all layers and the second layer without heads."""
    original = tiny_model(model_type)
    heads = some_heads(original)
    model = remove_heads(copy.deepcopy(original), heads)
    monkeypatch.setattr(linear_maps, "_LARGE", 1)
    linear_maps.use_onednn(model)
    before = [type(module) for module in model.modules()], fingerprint(model), model.config.to_dict()
    write_onnx(model, tiny_inputs(2, 7), tmp_path)
    assert ([type(module) for module in model.modules()], fingerprint(model), model.config.to_dict()) == before
    assert model.config._attn_implementation == "sdpa"
    batches = [tiny_inputs(n, length, seed=n) for n, length in ((1, 2), (1, 30), (5, 12), (8, 64))]
    for batch, (got,) in zip(batches, run_onnx(tmp_path, batches), strict=True):
        with gated(original, gates_of(original, heads)):
            expected = logits(original, batch).numpy()
        assert np.abs(got - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())
    assert [file.name for file in tmp_path.iterdir()] == [ONNX_FILE]
    content = (tmp_path / ONNX_FILE).read_bytes()
    assert b".py" not in content  # the exporter's stacks of calls, with this machine's paths
    n_weights = sum(p.numel() for p in model.parameters())
    assert len(content) < 4 * n_weights + 200_000 < 4 * sum(p.numel() for p in original.parameters()) + 200_000
    session = onnxruntime.InferenceSession(content)
    assert [(x.name, x.shape) for x in session.get_inputs()] == [
        (name, ["batch", "length"]) for name in ("input_ids", "attention_mask")
    ]
    assert [(x.name, x.shape) for x in session.get_outputs()] == [("logits", ["batch", 3])]


def test_onnx_that_computes_something_else_is_refused(tmp_path, monkeypatch):
    model = tiny_model("bert")
    monkeypatch.setattr(exporting, "write_onnx", lambda model, inputs, folder: None)
    monkeypatch.setattr(
        exporting, "run_onnx", lambda folder, batches: [[logits(model, batch).numpy() + 3e-4] for batch in batches]
    )
    with pytest.raises(ExportError, match=r"--to onnx must give the logits of the model within 1e-04"):
        export(classifier(model), nothing(model), "onnx", tmp_path)
    for wrong in (1.0, np.nan):  # of all batches the worst is named
        errors = [1e-3, 1e-2, wrong, 1e-3, 1e-2]

        def run(folder, batches, errors=errors):
            return [[logits(model, batch).numpy() + each] for batch, each in zip(batches, errors, strict=True)]

        monkeypatch.setattr(exporting, "run_onnx", run)
        with pytest.raises(ExportError, match=f"on 2 texts of 64 tokens they are {wrong:.2g} apart"):
            export(classifier(model), nothing(model), "onnx", tmp_path)


def test_a_model_that_cannot_be_exported_is_refused_with_the_first_cause(tmp_path, monkeypatch):
    def broken(*args, **options):
        try:
            raise ValueError("cannot view a tensor\nand more")
        except ValueError as error:
            raise RuntimeError("advice to developers") from error

    monkeypatch.setattr(torch.onnx, "export", broken)
    model, level = tiny_model("bert"), logging.getLogger("torch.onnx").level
    with pytest.raises(ExportError, match=r"'bert' model.*says ValueError: cannot view a tensor\. Try --to dense"):
        write_onnx(model, tiny_inputs(), tmp_path)
    assert model.config._attn_implementation == "sdpa"
    assert logging.getLogger("torch.onnx").level == level


def test_the_callers_model_stays_as_it_was(tmp_path, monkeypatch):
    """Its own linear maps, its implementation of attention, and its heads; as after an export that does not fail."""

    def broken(*args, **options):
        raise ValueError("cannot")

    monkeypatch.setattr(linear_maps, "_LARGE", 1)
    model = tiny_model("bert")
    linear_maps.use_onednn(model)
    classes = [type(module) for module in model.modules()]
    assert linear_maps.OneDnnLinear in classes
    before = fingerprint(model)
    monkeypatch.setattr(torch.onnx, "export", broken)
    with pytest.raises(ExportError):
        export(classifier(model), HeadMask.parse("1:2", (4, 4, 4)), "onnx", tmp_path)
    assert [type(module) for module in model.modules()] == classes
    assert model.config._attn_implementation == "sdpa"
    assert fingerprint(model) == before
    assert not hasattr(model.config, "pruned_heads")


def test_a_file_that_onnxruntime_cannot_load(tmp_path):
    (tmp_path / ONNX_FILE).write_bytes(b"not a graph")
    with pytest.raises(ExportError, match="onnxruntime must be able to run what was written"):
        run_onnx(tmp_path, [tiny_inputs()])


@pytest.mark.thorough
def test_large_models_get_a_file_of_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_module, "_ONE_FILE_BYTES", 1000)
    model = tiny_model("bert", num_hidden_layers=1)
    write_onnx(model, tiny_inputs(2, 7), tmp_path)
    files = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert set(files) == {ONNX_FILE, f"{ONNX_FILE}.data"}
    assert files[f"{ONNX_FILE}.data"] > files[ONNX_FILE]
    ((got,),) = run_onnx(tmp_path, [tiny_inputs()])
    assert np.abs(got - logits(model).numpy()).max() < 1e-4


def test_a_reloaded_checkpoint_is_as_good_as_the_model(tmp_path):
    original = tiny_model("modernbert")
    save_pruned(remove_heads(copy.deepcopy(original), "1:2 3:1,2,3,4"), tmp_path / "pruned")
    assert fingerprint(dense_model(load_pruned(tmp_path / "pruned"))) == fingerprint(
        zero_heads(original, "1:2 3:1,2,3,4")
    )
