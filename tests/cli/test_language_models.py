"""The commands on a causal, a masked and two encoder-decoder models, trained here to repeat the topic of a text."""

import json
import math

import numpy as np
import pytest
import torch
from tiny_texts import (
    AUTO,
    is_pairs,
    save_language_model,
    text_tokenizer,
    tiny_language_model,
    topic_pairs,
    topic_texts,
    write_texts,
)
from tiny_types import tiny_config

from prune_heads import attention_blocks, load_pruned
from prune_heads.anatomy import head_counts
from prune_heads.objectives.batches import IGNORED
from prune_heads.objectives.likelihood import masked

pytestmark = pytest.mark.slow
TYPES = ["gpt2", "bert", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("t5", "bart"))]
N_TEXTS, N_STEPS = 128, 80


def training_batch(model_type):
    """Inputs and labels as transformers' own losses take them."""
    tokenizer = text_tokenizer()
    if is_pairs(model_type):
        sources, targets = zip(*topic_pairs(N_TEXTS, 0), strict=True)
        batch = tokenizer(list(sources), padding=True, return_tensors="pt")
        labels = tokenizer(text_target=list(targets), padding=True, return_tensors="pt")["input_ids"]
    else:
        batch = tokenizer(topic_texts(N_TEXTS, 0), padding=True, return_tensors="pt")
        labels = batch["input_ids"].clone()
    if model_type == "bert":
        rows = [masked(row.numpy().astype(np.int32), tokenizer) for row in labels]
        given, targets = (torch.from_numpy(np.stack(each)).long() for each in zip(*rows, strict=True))
        return dict(batch) | {"input_ids": given}, targets
    return dict(batch), labels.masked_fill(labels == tokenizer.pad_token_id, IGNORED)


@pytest.fixture(scope="module", params=TYPES)
def model_type(request):
    return request.param


@pytest.fixture(scope="module")
def trained(model_type, tmp_path_factory):
    """Options that name the trained model, its task and its texts."""
    config = tiny_config(model_type)
    config.bos_token_id = config.decoder_start_token_id = 2
    inputs, labels = training_batch(model_type)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AUTO[model_type].from_config(config).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(N_STEPS):
            loss = model(**inputs, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    folder = tmp_path_factory.mktemp("trained")
    return ("--model", save_language_model(folder / model_type, model), *write_texts(folder, model_type))


def metrics(done, json_of):
    return json_of(done)["metrics"]


def test_run_finds_that_heads_matter(trained, forked, invoke, json_of, tmp_path):
    """As a process: scores on the training texts, a curve on the others, and a checkpoint without half of the heads."""
    done = forked("run", *trained, "--curve", "--mode", "remove", "--save-checkpoint", "--output", tmp_path / "run")
    assert done.code == 0, done.stderr
    assert "log_likelihood" in done.stdout
    assert "perplexity" in done.stdout
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    curve = [row["log_likelihood"] for row in record["curve"]]
    assert curve[0] - curve[-1] > 0.3  # without any head no word sees another
    likelihood, perplexity = record["rows"]
    assert (likelihood["metric"], perplexity["metric"]) == ("log_likelihood", "perplexity")
    assert likelihood["base"] == curve[0]
    assert perplexity["base"] == pytest.approx(math.exp(-curve[0]))
    assert likelihood["low"] < likelihood["difference"] < likelihood["high"]
    again = invoke("evaluate", "--model", tmp_path / "run" / "checkpoint", *trained[2:], "--json")
    assert metrics(again, json_of)["log_likelihood"] == pytest.approx(likelihood["pruned"], rel=1e-6)


def test_ablations_do_not_depend_on_the_way(trained, model_type, invoke, json_of):
    table = json_of(invoke("ablate", *trained, "--json"))
    assert (table["metric"], table["test"]) == ("log_likelihood", "paired bootstrap")
    names = head_counts(attention_blocks(AUTO[model_type].from_pretrained(trained[1]))).names()
    heads = [(i, h) for i, row in enumerate(table["value"]) for h in range(len(row))]
    worst = min(heads, key=lambda at: table["value"][at[0]][at[1]])
    assert table["delta"][worst[0]][worst[1]] < -0.01
    assert table["low"][worst[0]][worst[1]] < table["delta"][worst[0]][worst[1]]
    assert all(0 < p <= 1 for row in table["p_value"] for p in row)
    alone = invoke("evaluate", *trained, "--heads", f"{names[worst[0]]}:{worst[1] + 1}", "--json")
    assert metrics(alone, json_of)["log_likelihood"] == table["value"][worst[0]][worst[1]]
    assert "masks:" not in invoke("ablate", *trained, "--json").stderr  # from the store


def test_one_head_alone_a_curve_and_correlations(trained, invoke, json_of, tmp_path):
    for words in (
        ("ablate", *trained, "--kind", "only-one", "--choose-examples", "30"),
        ("score", *trained, "--estimator", "token"),
        ("curve", *trained, "--criterion", "gradient", "--criterion", "ablation", "--steps", "2"),
    ):
        done = invoke(*words, "--output", tmp_path / words[0])
        assert done.exit_code == 0, done.stderr
    record = json.loads((tmp_path / "ablate" / "record.json").read_text())
    assert record["chosen_on"]["n_examples"] == 30
    assert "points (1 point = 0.01 nat a token)" in (tmp_path / "ablate" / "table.md").read_text()
    ends = {
        line["points"][-1]["value"] for line in json.loads((tmp_path / "curve" / "record.json").read_text())["lines"]
    }
    assert len(ends) == 1
    pairs = json_of(invoke("correlate", tmp_path / "ablate", tmp_path / "score", "--json"))["correlations"]
    assert len(pairs) == 3  # of the metric, the response and the scores
    assert all(pair["pearson"]["value"] is not None for pair in pairs)


def test_removed_heads_are_gone_and_the_metric_is_that_of_gates(trained, model_type, invoke, json_of, tmp_path):
    heads = "D:2:1,2" if is_pairs(model_type) else "2:1,2"
    masked_ones = metrics(invoke("evaluate", *trained, "--heads", heads, "--json"), json_of)
    for mode in ("zero", "remove"):
        words = ("--model", trained[1], "--task", trained[3], "--heads", heads, "--mode", mode)
        done = invoke("prune", *words, "--output", tmp_path / mode)
        assert done.exit_code == 0, done.stderr
        again = metrics(invoke("evaluate", "--model", tmp_path / mode / "checkpoint", *trained[2:], "--json"), json_of)
        assert again == pytest.approx(masked_ones, rel=1e-6)
    model = load_pruned(tmp_path / "remove" / "checkpoint")
    assert sum(block.n_heads == 2 for block in attention_blocks(model)) == 1
    assert type(model) is type(tiny_language_model(model_type))


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "texts.txt").write_text("a cat\n")
    return ("--validation-file", tmp_path / "texts.txt")


@pytest.mark.parametrize("task", ["lm", "seq2seq"])
def test_texts_must_be_named(task, refused, out):
    said = refused("run", "--model", "x", "--task", task, *out, code=2)
    assert said == f"--task {task} needs texts of your own: name --train-file, --validation-file, or both."


@pytest.mark.parametrize(
    "option", [("--label-column", "y"), ("--labels", "a,b"), ("--label-order", "a,b"), ("--metric", "f1")]
)
def test_options_of_labels_are_misuse(option, refused, texts, out):
    said = refused("score", "--model", "x", "--task", "lm", *texts, *option, *out, code=2)
    assert said.startswith(f"{option[0]} must not be given beside --task lm")


def test_what_does_not_fit_is_refused_with_the_cure(refused, texts, checkpoint, tmp_path, out):
    gpt2 = save_language_model(tmp_path / "gpt2", tiny_language_model("gpt2"))
    on = ("evaluate", "--model", gpt2)
    (tmp_path / "pairs.csv").write_text("source,target\na,b\n")
    pairs = ("--validation-file", tmp_path / "pairs.csv")
    assert "Take --task lm" in refused(*on, "--task", "seq2seq", *pairs, *out)
    assert "must end with .csv" in refused(*on, "--task", "seq2seq", *texts, *out)
    assert "is a language model (GPT2LMHeadModel)" in refused(*on, "--task", "mini-sentiment", *out)
    assert "a data folder must be given only" in refused(*on, "--task", "lm", *texts, "--data-dir", tmp_path, *out)
    said = refused("evaluate", "--model", checkpoint, "--task", "lm", *texts, *out)
    assert "must name a class with a language-modelling head" in said
    assert "the built-in model is for the built-in tasks only" in refused("run", "--task", "lm", *texts, *out)


def test_a_toml_file_and_notes(invoke, json_of, tmp_path):
    model = tiny_language_model("gpt2")
    model.lm_head.weight.data *= 5  # wrong, and sure of it
    gpt2 = save_language_model(tmp_path / "gpt2", model)
    tokenizer = text_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None  # as GPT-2's own, which adds no special tokens
    tokenizer.save_pretrained(gpt2)
    (tmp_path / "dev.txt").write_text("a cat sleeps\n\nthe very red cat was not very good\ncat\na dog\n")
    (tmp_path / "mine.toml").write_text('name = "mine"\ntask = "lm"\n[files]\nvalidation = "dev.txt"\n')
    words = ("evaluate", "--model", gpt2, "--task", tmp_path / "mine.toml", "--max-length", "6")
    done = invoke(*words, "--json")
    report = json_of(done)
    assert (report["task"], report["n_examples"]) == ("mine", 3)
    *notes, last = done.stderr.splitlines()
    assert notes[:3] == [
        "note: validation: reliable intervals and tests need 30 groups of examples; got 2",
        "note: validation: 1 of 4 examples are cut at 6 tokens",
        "note: validation: 1 of 4 texts have no token to predict and are left out",
    ]
    assert last.startswith("note: validation: the base log_likelihood -")
    assert "below that of finding all tokens equally likely (-4.7875)" in last
    assert notes[3:] == ["evaluating: 3 examples done"]
