"""Files join the commands; a pruned model is the same however it was made."""

import json

import pytest
import torch
from loading import load_classifier
from tiny import save_tiny_checkpoint, tiny_inputs
from transformers import AutoModelForSequenceClassification

import prune_heads


@pytest.mark.parametrize("mode", ["zero", "remove"])
def test_a_saved_checkpoint_and_masked_heads_give_the_metrics_of_the_run(
    mode, invoke, on_sst2, tmp_path, json_of, snapshot
):
    words = ("run", *on_sst2, "--fraction", "0.34", "--mode", mode, "--save-checkpoint", "--output", tmp_path / "run")
    record = json_of(invoke(*words, "--json"))
    metrics = {row["metric"]: row["pruned"] for row in record["rows"]}
    heads = ("--heads", tmp_path / "run" / "heads.json", "--json")
    assert json_of(invoke("evaluate", *on_sst2, *heads))["metrics"] == metrics
    reloaded = json_of(invoke("evaluate", "--model", tmp_path / "run" / "checkpoint", *on_sst2[2:], "--json"))
    assert reloaded["metrics"] == metrics
    json_of(
        invoke("prune", "--model", on_sst2[1], *heads[:2], "--mode", mode, "--output", tmp_path / "pruned", "--json")
    )
    again = json_of(invoke("run", *on_sst2, *heads[:2], "--mode", mode, "--json"))
    assert again["rows"] == record["rows"]
    both = [snapshot(tmp_path / which / "checkpoint") for which in ("pruned", "run")]
    assert all(each.pop("README.md") for each in both)  # what is known of the model differs
    assert both[0] == both[1]


def test_a_zeroed_checkpoint_loads_in_plain_transformers(invoke, checkpoint, tmp_path, json_of):
    json_of(invoke("prune", "--model", checkpoint, "--heads", "1:1 2:2,3", "--output", tmp_path / "out", "--json"))
    zeroed = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out" / "checkpoint").eval()
    model = load_classifier(str(checkpoint)).model
    with torch.no_grad():
        before = model(**tiny_inputs()).logits
        with prune_heads.gated(model, prune_heads.gates_of(model, "1:1 2:2,3")):
            gated = model(**tiny_inputs()).logits
        assert torch.allclose(zeroed(**tiny_inputs()).logits, gated, atol=1e-6)
    assert not torch.allclose(before, gated, atol=1e-3)


def test_a_model_can_lose_all_heads_and_be_scored_after(invoke, on_sst2, tmp_path, json_of):
    words = ("prune", "--model", on_sst2[1], "--heads", "1:1,2,3,4 2:1,2,3,4 3:1,2,3,4", "--mode", "remove")
    json_of(invoke(*words, "--output", tmp_path / "none", "--json"))
    bare = ("--model", tmp_path / "none" / "checkpoint", *on_sst2[2:])
    done = invoke("evaluate", *bare, "--json")
    assert len(json_of(done)["heads_pruned"]) == 3
    assert "note: all heads are pruned" in done.stderr
    assert json_of(invoke("score", *bare, "--json"))["scores"] == [[0.0] * 4] * 3
    masked = invoke("evaluate", *on_sst2, "--heads", tmp_path / "none" / "heads.json", "--json")
    assert json_of(masked)["metrics"] == json.loads(done.stdout)["metrics"]


@pytest.fixture(scope="module")
def scores(tmp_path_factory, checkpoint):
    """A scores.json of the tiny model."""
    path = tmp_path_factory.mktemp("scores") / "scores.json"
    rows = [[0.1, 0.2, 0.3, 0.4], [0.01, 0.02, 0.03, 0.04], [1.0, 2.0, 3.0, 4.0]]
    path.write_text(json.dumps({"scores": rows, "standard_error": None}))
    return path


@pytest.mark.parametrize("percent", [0, 1, 9, 10, 29, 50, 58, 99, 100])
def test_a_fraction_of_heads_is_rounded_down(percent, invoke, checkpoint, scores, tmp_path, json_of):
    words = ("prune", "--model", checkpoint, "--scores", scores, "--fraction", percent / 100)
    record = json_of(invoke(*words, "--output", tmp_path / "out", "--json"))
    assert record["n_pruned"] == int(12 * percent / 100)


def test_heads_go_lowest_first_and_each_layer_may_keep_some(invoke, checkpoint, scores, tmp_path, json_of):
    words = ("prune", "--model", checkpoint, "--scores", scores, "--output", tmp_path / "out", "--overwrite", "--json")
    assert json_of(invoke(*words, "--n-heads", "5"))["heads_pruned"] == ["1:1", "2:1,2,3,4"]
    kept_one = json_of(invoke(*words, "--n-heads", "9", "--min-per-layer", "1"))
    assert kept_one["heads_pruned"] == ["1:1,2,3", "2:1,2,3", "3:1,2,3"]
    assert json_of(invoke(*words))["n_pruned"] == 6


def test_label_names_that_say_nothing_are_noted(invoke, on_sst2, tmp_path, json_of):
    bare = save_tiny_checkpoint(tmp_path / "bare", ("LABEL_0", "LABEL_1"))
    done = invoke("evaluate", "--model", bare, *on_sst2[2:], "--json")
    assert json_of(done)["n_examples"] == 30
    assert "note: the checkpoint's label names say nothing" in done.stderr
    assert "LABEL_0 = negative, LABEL_1 = positive" in done.stderr


def test_a_base_score_below_the_majority_is_noted(invoke, on_sst2, tmp_path, json_of):
    noted = []
    for label, other in ("01", "10"):  # whatever the model answers, it cannot be right on both
        lines = [f"{word} \t{label}" for word in ("cat", "dog", "film", "good", "bad")]
        (tmp_path / "dev.tsv").write_text("\n".join(["sentence\tlabel", *lines, f"dull \t{other}"]) + "\n")
        done = invoke("evaluate", *on_sst2[:4], "--data-dir", tmp_path, "--json")
        noted.append("below that of always giving the most frequent answer (0.8333)" in done.stderr)
        assert noted[-1] == (json_of(done)["metrics"]["accuracy"] < 5 / 6)
    assert any(noted)


def test_one_s_own_files_by_options_and_by_toml_are_the_same_task(invoke, checkpoint, tmp_path, json_of):
    rows = [f"a good film number {i},{('positive', 'negative')[i % 2]}" for i in range(8)]
    (tmp_path / "own.csv").write_text("\n".join(["review,mood", *rows]) + "\n")
    (tmp_path / "own.toml").write_text(
        'name = "moods"\ntext_columns = ["review"]\nlabel_column = "mood"\nmetric = "f1"\n'
        'labels = ["negative", "positive"]\n[files]\ntrain = "own.csv"\nvalidation = "own.csv"\n'
    )
    options = ("--text-column", "review", "--label-column", "mood", "--metric", "f1", "--labels", "negative,positive")
    files = ("--train-file", tmp_path / "own.csv", "--validation-file", tmp_path / "own.csv")
    by_options = json_of(invoke("run", "--model", checkpoint, *files, *options, "--json"))
    by_toml = json_of(invoke("run", "--model", checkpoint, "--task", tmp_path / "own.toml", "--json"))
    assert (by_options["task"], by_toml["task"]) == ("own", "moods")
    assert [row["metric"] for row in by_options["rows"]] == ["f1", "accuracy"]
    assert by_options["rows"] == by_toml["rows"]
    assert str(tmp_path) not in json.dumps([by_options, by_toml])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("mode", ["zero", "remove"])
def test_half_precision_runs(dtype, mode, invoke, on_sst2, json_of):
    record = json_of(invoke("run", *on_sst2, "--dtype", dtype, "--mode", mode, "--json"))
    assert record["n_pruned"] == 6
