"""The weights of a checkpoint: there once, all of them, and each with a place in the model."""

import json

import pytest
import torch
from loading import load_language_model, load_to_finetune
from safetensors.torch import load_file, save_file
from spoiled import QUERY, SHARDS, codes, edit, logits, refuse, rewrite, saved, shard
from tiny import tiny_model
from tiny_texts import save_language_model, tiny_language_model


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.update({"foo.bar": torch.zeros(1)}), "has foo.bar left over"),
        (lambda w: w.update({QUERY.replace("weight", "lora_A.default.weight"): torch.zeros(1)}), "lora_A.* left over"),
        (lambda w: {f"base_model.model.{key}": value for key, value in w.items()}, "lacks .* has base_model.model"),
        (lambda w: w.update({"bert.pooler.dense.lora_A.weight": torch.zeros(2, 32)}), "lora_A.weight left over"),
        (lambda w: w.update({"qa_outputs.weight": torch.zeros(2, 32)}), "qa_outputs.weight left over"),
        (lambda w: w.update({QUERY.removeprefix("bert."): w[QUERY] + 1}), "stored once; copy has .* for the same"),
        (codes(torch.int8), r"copy has bert\S*query.weight \(I8\): codes of a quantised model"),
        (codes(torch.int64), r"\(I64\)"),
        (lambda w: w.update({"classifier.bias": torch.zeros(2, dtype=torch.uint8)}), r"classifier.bias \(U8\)"),
        (lambda w: w.update({QUERY: w[QUERY].to(torch.float8_e4m3fn)}), r"\(F8_E4M3\)"),
    ],
    ids=["unknown", "lora", "peft", "lora of a pooler", "questions", "twice", "int8", "int64", "uint8", "float8"],
)
def test_weights_without_a_place_or_without_numbers_are_refused(change, said, copy):
    refuse(rewrite(copy, change), said)


def test_what_may_be_left_over_changes_nothing(checkpoint, copy, tmp_path):
    """Heads of pre-training and buffers of older versions; a pooler where the class has none; other prefixes."""
    right = logits(checkpoint)
    more = {
        "cls.predictions.bias": torch.zeros(120),
        "cls.seq_relationship.weight": torch.zeros(2, 32),
        "bert.embeddings.position_ids": torch.arange(64)[None],
    }
    assert torch.equal(logits(rewrite(copy, lambda w: w.update(more))), right)
    assert torch.equal(logits(rewrite(copy, lambda w: {k.removeprefix("bert."): v for k, v in w.items()})), right)
    assert torch.equal(logits(rewrite(copy, lambda w: {k: v.double() for k, v in w.items()})), right)
    model = tiny_model("roberta", n_labels=2)
    roberta = saved(model, tmp_path / "roberta")
    right = logits(roberta)
    pooler = {"roberta.pooler.dense.weight": torch.zeros(32, 32), "roberta.pooler.dense.bias": torch.zeros(32)}
    assert torch.equal(logits(rewrite(roberta, lambda w: w.update(pooler))), right)


def test_shards_must_all_be_there_and_hold_each_weight_once(checkpoint, copy):
    assert torch.equal(logits(shard(copy)), logits(checkpoint))
    index = copy / "model.safetensors.index.json"
    second = load_file(copy / SHARDS[1])
    save_file(second | {QUERY: second.get(QUERY, torch.ones(32, 32))}, copy / SHARDS[1], {"format": "pt"})
    first = load_file(copy / SHARDS[0])
    save_file(first | {QUERY: torch.zeros(32, 32)}, copy / SHARDS[0], {"format": "pt"})
    refuse(copy, rf"stored once.* copy has {QUERY} \({SHARDS[0]}, {SHARDS[1]}\) twice")
    (copy / SHARDS[1]).unlink()
    refuse(copy, rf"in the file that .* names; copy has no .* \({SHARDS[1]}\)")
    for map_, said in (([1], "must say in 'weight_map'"), ({"foo": SHARDS[0]}, "copy has no foo")):
        index.write_text(json.dumps({"metadata": {}, "weight_map": map_}))
        refuse(copy, said)


def test_two_files_of_weights_must_agree(checkpoint, copy):
    weights = load_file(copy / "model.safetensors")
    torch.save({key: weight.half() for key, weight in weights.items()}, copy / "pytorch_model.bin")
    assert torch.equal(logits(copy), logits(checkpoint))
    torch.save(weights | {QUERY: weights[QUERY] + 1}, copy / "pytorch_model.bin")
    refuse(copy, f"other ones in model.safetensors than in pytorch_model.bin: {QUERY}")


def test_an_adapter_is_not_left_out(copy):
    (copy / "adapter_config.json").write_text("{}")
    refuse(copy, "has an adapter .* Merge it")
    (copy / "config.json").unlink()
    refuse(copy, "must hold config.json; copy does not. .*merge an adapter")


def read_pairs(name):
    return load_language_model(name, pairs=True)


@pytest.mark.parametrize(
    ("model_type", "change", "said"),
    [
        ("gpt2", {"n_layer": 1}, r"transformer\.h\.1.* left over"),
        ("gpt2", {"bos_token_id": 100}, "bos_token_id in config.json of model is 100, the tokenizer has none"),
        ("gpt2", {"architectures": 5}, "must be a list of names"),
        ("bert", {"num_hidden_layers": 1}, r"bert\.encoder\.layer\.1.* left over"),
        ("bert", {"is_decoder": True}, "must be false"),
        ("bert", {"quantization_config": {"quant_method": "x"}}, "must be absent"),
        ("bart", {"decoder_layers": 1}, r"decoder\.layers\.1.* left over"),
        ("bart", {"decoder_start_token_id": None}, "must name the token that targets begin with.*is None"),
        ("t5", {"decoder_start_token_id": 9999}, "one of its vocabulary; decoder_start_token_id is 9999"),
    ],
)
def test_language_models_must_fit_as_well(model_type, change, said, tmp_path):
    folder = save_language_model(tmp_path / "model", tiny_language_model(model_type))
    load = read_pairs if model_type in ("bart", "t5") else load_language_model
    load(str(folder))
    refuse(edit(folder, **change), said, load)


def test_tied_weights_that_differ_are_refused(tmp_path):
    """transformers unties them, and says so to nobody; the same ones stored twice are read."""
    folder = save_language_model(tmp_path / "model", tiny_language_model("gpt2"))
    rewrite(folder, lambda w: w.update({"lm_head.weight": w["transformer.wte.weight"].clone()}))
    load_language_model(str(folder))
    rewrite(folder, lambda w: w.update({"lm_head.weight": w["transformer.wte.weight"] + 1}))
    refuse(folder, "ties must be the same; model holds lm_head.weight and transformer.wte.weight", load_language_model)
    load_language_model(str(edit(folder, tie_word_embeddings=False)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: edit(folder, num_hidden_layers=1), r"layer\.1.* left over"),
        (lambda folder: rewrite(folder, lambda w: w.update({"foo.bar": torch.zeros(1)})), "foo.bar left over"),
        (lambda folder: rewrite(folder, codes(torch.int8)), "codes of a quantised model"),
        (lambda folder: [file.unlink() for file in folder.glob("tokenizer*")], "must hold its tokenizer"),
    ],
    ids=["layers", "unknown", "int8", "no-tokenizer"],
)
def test_a_start_for_fine_tuning_must_fit_under_its_head(spoil, said, tmp_path):
    folder = save_language_model(tmp_path / "model", tiny_language_model("bert"))
    start = load_to_finetune(str(folder), ("negative", "positive"))  # without its head of pre-training
    assert {key.split(".")[0] for key in start.drawn} <= {"bert", "classifier"}
    spoil(folder)
    refuse(folder, said, lambda name: load_to_finetune(name, ("negative", "positive")))
