"""`prune-heads info`: what people and scripts see of a checkpoint's costs, and what is refused."""

import json

import pytest
from tiny import tiny_tokenizer
from tiny_types import tiny_model
from transformers import FNetConfig, FNetForSequenceClassification


def saved(model_type, folder):
    tiny_model(model_type).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_json_has_everything(invoke, json_of, checkpoint):
    report = json_of(invoke("info", checkpoint, "--heads", "3:1,4 1:2", "--length", "16", "--json"))
    assert (report["model"], report["n_tokens"]) == ("tiny", 16)
    assert (report["heads_removed"], report["n_heads"], report["n_heads_left"]) == (["1:2", "3:1,4"], 12, 9)
    assert [(block["layer"], block["n_heads"], block["n_heads_left"]) for block in report["blocks"]] == [
        (1, 4, 3),
        (2, 4, 4),
        (3, 4, 2),
    ]
    head, products = 4 * 32 * 8, 2 * 16 * 16 * 8
    parameters, multiply_adds = report["parameters"], report["multiply_adds"]
    assert parameters["before"]["total"] - parameters["after"]["total"] == 3 * (head + 3 * 8)
    assert multiply_adds["before"]["total"] - multiply_adds["after"]["total"] == 3 * (16 * head + products)
    for counts in (*parameters.values(), *multiply_adds.values()):
        parts = {name: count for name, count in counts.items() if name != "total"}
        assert list(parts) == ["attention", "feed_forward", "embeddings", "rest"]
        assert sum(parts.values()) == counts["total"]
    ratio = multiply_adds["before"]["total"] / multiply_adds["after"]["total"]
    assert report["speedup"] == pytest.approx(ratio)
    assert report["speedup_without_heads"] > report["speedup"] > 1
    assert (report["lower_bound"], report["notes"]) == (False, [])


def test_a_removed_checkpoint_counts_what_is_gone(invoke, json_of, checkpoint, tmp_path):
    words = ("--heads", "1:2 2:1,2,3,4", "--mode", "remove", "--output", tmp_path / "out")
    pruned = json_of(invoke("prune", "--model", checkpoint, *words, "--json"))
    found, named = (
        json_of(invoke("info", *words, "--json"))
        for words in ((tmp_path / "out" / "checkpoint", "--heads", "3:1"), (checkpoint, "--heads", "1:2 2:1,2,3,4 3:1"))
    )
    assert found["parameters"]["before"]["total"] == pruned["parameters"]["before"]
    assert {**found, "model": "tiny"} == named
    by_file = json_of(invoke("info", checkpoint, "--heads", tmp_path / "out" / "heads.json", "--json"))
    assert by_file["heads_removed"] == ["1:2", "2:1,2,3,4"]


def test_the_terminal_fits_into_80_columns(invoke, json_of):
    words = ("info", "mini", "--heads", "1:1,2 5:1,2,3,4")
    report = json_of(invoke(*words, "--json"))
    done = invoke(*words, COLUMNS="80")
    assert (done.exit_code, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["encoder", "2", "to", "4", "4", "4"] in lines
    assert ["encoder", "5", "4", "0"] in lines
    for counts in (report["parameters"], report["multiply_adds"]):
        stages = ("before", "after", "without_heads")
        assert ["total", *(f"{counts[stage]['total']:,}" for stage in stages)] in lines
    assert done.stdout.splitlines()[-1] == (
        f"highest speed-up: {report['speedup']:.2f}x without these heads, "
        f"{report['speedup_without_heads']:.2f}x without any head"
    )
    assert "these heads" not in invoke("info", "mini").stdout


def test_mini_is_of_a_task(invoke, json_of):
    labels = {
        task: json_of(invoke("info", "mini", "--task", task, "--json"))["parameters"]["before"]["rest"]
        for task in ("mini-inference", "mini-sentiment")
    }
    assert labels["mini-inference"] == labels["mini-sentiment"] + 64 + 1  # one label more


@pytest.mark.parametrize(
    ("model_type", "multiply_adds", "said"),
    [
        ("mixtral", True, "multiply-adds are a lower bound and speed-ups an upper one; not counted: weights of"),
        ("funnel", False, "multiply-adds and speed-ups are not known: it shortens the text between layers"),
        ("bloom", True, "heads of this model can be gated or zeroed, not removed: its ALiBi slopes"),
    ],
)
def test_what_does_not_hold_is_said(model_type, multiply_adds, said, invoke, json_of, tmp_path):
    folder = saved(model_type, tmp_path / model_type)
    report = json_of(invoke("info", folder, "--json"))
    assert said in " ".join(report["notes"])
    assert (report["speedup_without_heads"] is not None) == multiply_adds
    shown = invoke("info", folder).stdout
    assert said in " ".join(shown.split())
    assert ("highest speed-up" in shown) == multiply_adds
    assert ("multiply-adds, at least" in shown) == report["lower_bound"] == (model_type == "mixtral")


def test_what_is_no_checkpoint(refused, tmp_path):
    assert f"there is no folder {tmp_path / 'no'}" in refused("info", tmp_path / "no")
    (tmp_path / "empty").mkdir()
    assert "must hold config.json; empty does not" in refused("info", tmp_path / "empty")
    (tmp_path / "empty" / "config.json").write_text("{")
    assert "the checkpoint empty cannot be loaded: " in refused("info", tmp_path / "empty")
    assert "is for the built-in tasks only, not 'sst2'" in refused("info", "mini", "--task", "sst2")


def test_a_type_that_is_not_understood(refused, tmp_path):
    config = FNetConfig(
        hidden_size=32,
        num_hidden_layers=2,
        intermediate_size=32,
        vocab_size=120,
        tpu_short_seq_length=64,
        pad_token_id=0,
    )
    FNetForSequenceClassification(config).save_pretrained(tmp_path / "other")
    tiny_tokenizer().save_pretrained(tmp_path / "other")
    assert "heads of a 'fnet' model are not understood: it has no attention heads" in refused(
        "info", tmp_path / "other"
    )


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ("9:1", "layer 9 must be between 1 and 3"),
        ("1:5", "head 5 must be between 1 and 4"),
        ("1:x", "a number must be here"),
        ("none.json", "none.json"),
    ],
)
def test_heads_that_cannot_be_read(heads, said, refused, checkpoint):
    assert said in refused("info", checkpoint, "--heads", heads)


def test_heads_of_another_model(refused, checkpoint, tmp_path):
    (tmp_path / "heads.json").write_text(json.dumps({"n_heads": [2, 2], "heads_pruned": ["1:1"]}))
    assert "must be for this model" in refused("info", checkpoint, "--heads", tmp_path / "heads.json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mini", "--length", "0"), "'--length'"),
        (("mini", "--length", "many"), "'--length'"),
        (("mini", "mini"), "mini"),
        (("mini", "--model", "other"), "CHECKPOINT and --model must name one model, got mini and other"),
    ],
)
def test_misuse(words, said, refused):
    assert said in refused("info", *words, code=2)
