"""`run`, `ablate` and `prune` on a GPT-2, a Llama and a T5 classifier, trained here to find one word."""

import json
import random

import pytest
import torch
from tiny import WORDS, tiny_tokenizer
from tiny_types import tiny_config
from transformers import AutoModelForSequenceClassification

from prune_heads import attention_blocks, load_pruned
from prune_heads.descriptors import HeadCounts

N_STEPS = 60
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("gpt2", "llama", "t5")]
TYPES = [*SLOW, "albert"]


def sentences(n, seed):
    """Texts of which every second has the word `good`, and their labels."""
    draw, others = random.Random(seed), [word for word in WORDS if word != "good"]
    texts = []
    for i in range(n):
        words = draw.choices(others, k=draw.randint(2, 7))
        if i % 2:
            words.insert(draw.randrange(len(words)), "good")
        texts.append(" ".join(words))
    return texts, [i % 2 for i in range(n)]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for name, n, seed in (("train", 200, 0), ("dev", 64, 1)):
        lines = [f"{text}\t{label}" for text, label in zip(*sentences(n, seed), strict=True)]
        (folder / f"{name}.tsv").write_text("\n".join(["sentence\tlabel", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module", params=TYPES)
def trained(request, data, tmp_path_factory):
    """Options that name the trained classifier and its task."""
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "[SEP]"
    config = tiny_config(request.param)
    config.eos_token_id = tokenizer.sep_token_id
    config.id2label, config.label2id = {0: "negative", 1: "positive"}, {"negative": 0, "positive": 1}
    texts, labels = sentences(200, 0)
    batch = tokenizer(texts, padding=True, return_tensors="pt", return_token_type_ids=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(config).train()
        optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
        for _ in range(N_STEPS):
            loss = model(**batch, labels=torch.tensor(labels)).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    folder = tmp_path_factory.mktemp("trained") / request.param
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return ("--model", folder, "--task", "sst2", "--data-dir", data)


def test_run_finds_that_heads_matter(trained, invoke, tmp_path):
    done = invoke("run", *trained, "--curve", "--output", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    curve = json.loads((tmp_path / "run" / "record.json").read_text())["curve"]
    metric = [row["accuracy"] for row in curve]
    assert metric[0] > 0.9
    assert metric[-1] < 0.7  # without any head no word sees another


def test_ablations_do_not_depend_on_the_way(trained, invoke, json_of):
    table = json_of(invoke("ablate", *trained, "--json"))
    blocks = table["blocks"]
    assert len(blocks) == (9 if blocks[0]["name"].endswith("SelfAttention") else 3)
    heads = [(i, h) for i, row in enumerate(table["value"]) for h in range(len(row))]
    worst = min(heads, key=lambda at: table["value"][at[0]][at[1]])
    name = HeadCounts.described(blocks).names()[worst[0]]
    alone = json_of(invoke("evaluate", *trained, "--heads", f"{name}:{worst[1] + 1}", "--json"))
    assert alone["metrics"]["accuracy"] == table["value"][worst[0]][worst[1]]


def test_removed_heads_are_gone_and_the_metric_is_that_of_gates(trained, invoke, json_of, tmp_path):
    heads = "E:2:1,2" if trained[1].name == "t5" else "2:1,2"  # a whole group of Llama's
    if trained[1].name == "albert":
        heads = "1:1,2 2:1,2 3:1,2"
    masked = json_of(invoke("evaluate", *trained, "--heads", heads, "--json"))
    done = invoke("prune", "--model", trained[1], "--heads", heads, "--mode", "remove", "--output", tmp_path / "p")
    assert done.exit_code == 0, done.stderr
    model = load_pruned(tmp_path / "p" / "checkpoint")
    assert attention_blocks(model)[1].n_heads == 2
    removed = json_of(invoke("evaluate", "--model", tmp_path / "p" / "checkpoint", *trained[2:], "--json"))
    assert removed["metrics"] == masked["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["t5"], indirect=True)
def test_an_encoder_decoder_has_three_kinds_of_blocks(trained, invoke, json_of, refused, tmp_path):
    asked = json_of(invoke("ablate", *trained, "--blocks", "A,D:2", "--json"))
    assert [row == [None] * 4 for row in asked["value"]] == [True] * 3 + [False] * 3 + [True, False, True]
    done = invoke("ablate", *trained, "--kind", "only-one", "--output", tmp_path / "only")
    for name in ("E:1", "A:3", "D:2"):
        assert f"\n{name} " in done.stdout
    table = (tmp_path / "only" / "table.md").read_text()
    assert "| D:3 |" in table
    done = invoke("run", *trained, "--n-heads", "5", "--output", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    pruned = record["heads_pruned"]
    assert all(part[:2] in ("E:", "A:", "D:") for part in pruned)
    heads = tmp_path / "run" / "heads.json"
    again = json_of(invoke("evaluate", *trained, "--heads", heads, "--json"))
    assert again["heads_pruned"] == pruned
    assert again["metrics"]["accuracy"] == record["rows"][0]["pruned"]
    assert "so E or A or D must come first" in refused("evaluate", *trained, "--heads", "2:1")
    assert "layer 4 must be between 1 and 3" in refused("evaluate", *trained, "--heads", "A:4:1")


@pytest.mark.slow
@pytest.mark.parametrize("trained", ["llama"], indirect=True)
def test_heads_that_share_keys_and_values_are_removed_by_groups(trained, invoke, json_of, refused, tmp_path):
    """Four heads a layer, two of keys and values."""
    for options in (("run", *trained), ("bench", *trained)):
        said = refused(*options, "--mode", "remove") if options[0] == "run" else refused(*options)
        assert "add --groups to choose groups by their mean score, or take --mode zero" in said
    named = ("prune", "--model", trained[1], "--heads", "2:1", "--mode", "remove", "--output", tmp_path / "named")
    assert "removed by whole groups; got 1. Take whole groups (--groups)" in refused(*named)
    assert json_of(invoke(*named, "--groups", "--json"))["heads_pruned"] == ["2:1,2"]
    record = json_of(invoke("run", *trained, "--mode", "remove", "--groups", "--curve", "--n-heads", 5, "--json"))
    assert record["n_pruned"] == 4
    for text in (*record["heads_pruned"], *(part for point in record["curve"] for part in point["heads_pruned"])):
        heads = text.partition(":")[2].split(",")
        assert all((str(2 * i + 1) in heads) is (str(2 * i + 2) in heads) for i in range(2))
    masked = json_of(invoke("evaluate", *trained, "--heads", " ".join(record["heads_pruned"]), "--json"))
    assert masked["metrics"]["accuracy"] == record["rows"][0]["pruned"]


@pytest.mark.parametrize("trained", ["albert"], indirect=True)
@pytest.mark.parametrize("mode", ["zero", "remove"])
def test_layers_that_share_their_weights_lose_heads_together(trained, mode, invoke, json_of, tmp_path):
    words = ("run", *trained, "--mode", mode, "--n-heads", 7, "--json")
    done = invoke(*words)
    assert "a head goes from all 3 of them at once" in done.stderr
    record = json_of(done)
    assert record["n_pruned"] == 6
    assert len({text.partition(":")[2] for text in record["heads_pruned"]}) == 1
    named = json_of(invoke("run", *trained, "--mode", mode, "--heads", "2:3", "--json"))
    assert named["heads_pruned"] == ["1:3", "2:3", "3:3"]
