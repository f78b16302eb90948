"""Model cards: front matter as the hub reads it, the numbers of the record, and code that runs."""

import json
import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from tiny import save_tiny_checkpoint, tiny_inputs

from prune_heads import load_pruned, remove_heads
from prune_heads.checkpoints import fingerprint
from prune_heads.reporting.card import CARD_FILE, model_card

ROOT = Path(__file__).resolve().parents[2]
HEADS = "1:2 2:1,2,3,4 3:1,4"


def code_of(card):
    (code,) = re.findall(r"^```python\n(.*?)^```$", card, re.M | re.S)
    return code


def loaded(folder, monkeypatch):
    """The model that the code of a card loads, in its folder."""
    monkeypatch.chdir(folder)
    names = {}
    exec(code_of((folder / CARD_FILE).read_text()), names)
    return names["model"]


@pytest.mark.parametrize("mode", ["zero", "remove"])
def test_the_card_of_a_run_has_its_numbers_and_loads_its_model(mode, invoke, on_sst2, tmp_path, monkeypatch):
    words = ("run", *on_sst2, "--heads", HEADS, "--mode", mode, "--save-checkpoint", "--output")
    for name in ("out", "again"):
        assert invoke(*words, tmp_path / name).exit_code == 0
    folder, record = tmp_path / "out" / "checkpoint", json.loads((tmp_path / "out" / "record.json").read_text())
    text = (folder / CARD_FILE).read_text()
    assert text == (tmp_path / "again" / "checkpoint" / CARD_FILE).read_text()
    assert not [path for path in (str(tmp_path), str(on_sst2[1]), record["provenance"]["date"]) if path in text]
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == ("transformers" if mode == "zero" else "prune-heads")
    assert front["tags"] == ["prune-heads", "attention-heads"]
    assert (front["pipeline_tag"], front["metrics"]) == ("text-classification", ["accuracy"])
    assert "base_model" not in front
    (result,) = ModelCard(text).data.eval_results
    (row,) = record["rows"]
    assert (result.dataset_split, result.metric_type, result.metric_value) == ("validation", "accuracy", row["pruned"])
    assert f"| validation | accuracy | {row['base']:.4f} | {row['pruned']:.4f} |" in text
    assert HEADS in text
    assert text.endswith(f"\n\nOf this checkpoint, on SST-2, {row['n_examples']} examples of validation.\n")
    assert "# tiny without 7 attention heads" in text
    model = loaded(folder, monkeypatch)
    assert fingerprint(model) == fingerprint(load_pruned(folder))
    assert type(model).__name__ == "BertForSequenceClassification"
    if mode == "remove":
        assert fingerprint(model) == fingerprint(remove_heads(load_pruned(on_sst2[1]), HEADS))


def test_the_card_of_pruning_without_data_says_that_there_are_no_numbers(invoke, checkpoint, tmp_path, monkeypatch):
    words = ("--heads", HEADS, "--mode", "remove", "--output", tmp_path / "out")
    assert invoke("prune", "--model", checkpoint, *words).exit_code == 0
    text = (tmp_path / "out" / "checkpoint" / CARD_FILE).read_text()
    assert "No metric was measured" in text
    assert yaml.safe_load(text.split("---")[1]) == {
        "library_name": "prune-heads",
        "tags": ["prune-heads", "attention-heads"],
    }
    words = ("export", tmp_path / "out" / "checkpoint", "--to", "torch-int8", "--output", tmp_path / "int8")
    assert invoke(*words).exit_code == 0
    text = (tmp_path / "int8" / CARD_FILE).read_text()
    assert re.search(
        r"In int8, against float32 on random texts: \d+ of 15 answers change; logits are 0\.\d+ apart", text
    )
    model = loaded(tmp_path / "int8", monkeypatch)
    assert model(**tiny_inputs()).logits.shape == (4, 2)


@pytest.mark.parametrize("name", ["minilm-cola", "minilm-stsb", "minilm-mrpc"])
def test_the_card_of_a_fine_tuning_has_the_metrics_of_its_end(name, tmp_path):
    record = json.loads((ROOT / "results" / name / "record.json").read_text())
    card = model_card(record, save_tiny_checkpoint(tmp_path / "tiny"))
    found = {result.metric_type: result.metric_value for result in ModelCard(card).data.eval_results}
    assert found == {k.replace("pearson", "pearsonr"): v for k, v in record["metrics"]["validation"].items()}
    assert card.count("fine-tuned on") == 1
    assert "before pruning" not in card


def test_what_a_name_holds_does_not_break_the_card(tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "tiny")
    record = json.loads((ROOT / "results" / "minilm-cola" / "record.json").read_text())
    record["model"] |= {"name": "a: b\n---\n<script># [x](y)", "revision": None}
    card = model_card(record, folder)
    (name,) = {each["name"] for each in yaml.safe_load(card.split("\n---\n")[0][4:])["model-index"]}
    assert name == record["model"]["name"]
    assert "<script>" not in card.partition("\n---\n\n")[2]


def test_a_base_model_is_named_where_the_hub_has_it(tmp_path):
    record = json.loads((ROOT / "results" / "minilm-cola" / "record.json").read_text())
    record["model"] |= {"name": "google-bert/bert-base-uncased", "revision": "0" * 40}
    card = ModelCard(model_card(record, save_tiny_checkpoint(tmp_path / "tiny")))
    assert card.data.base_model == "google-bert/bert-base-uncased"


def test_a_rounded_export_gives_the_hub_no_results_that_are_not_its_own(tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "tiny")
    record = json.loads((ROOT / "results" / "minilm-cola" / "record.json").read_text())
    rounding = {"form": "int8", "n_changed": 1, "n_answers": 15, "largest_difference": 0.1}
    exact, rounded = (
        yaml.safe_load(model_card(r, folder).split("---")[1]) for r in (record, record | {"rounding": rounding})
    )
    assert exact.keys() - rounded.keys() == {"model-index"}
    assert rounded["pipeline_tag"] == exact["pipeline_tag"]
