"""Fine-tuning what has been pruned: removed and zeroed heads stay away, and both learn the same."""

import pytest
import torch
from loading import load_classifier, load_to_finetune
from tiny import tiny_tokenizer
from tiny_types import tiny_model

from prune_heads import load_pruned, remove_heads, save_pruned, zero_heads
from prune_heads.anatomy.block import Owned
from prune_heads.checkpoints import Checkpoint
from prune_heads.checkpoints.pruned import dense_model
from prune_heads.options import NewFolder, Recipe, Setup
from prune_heads.progress import Reporter
from prune_heads.reporting.folders import of_record
from prune_heads.studies.finetuning import finetune_into
from prune_heads.surgery import removed_heads, staying_zero, zeroed_heads

HEADS = "1:1,3 2:1,2,3,4 6:4"
QUICK = Recipe(epochs=1, learning_rate=1e-3, warmup=0.0, weight_decay=0.5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The built-in sentiment classifier, with these heads zeroed and without them."""
    made = tmp_path_factory.mktemp("pruned")
    for name, take in (("zeroed", zero_heads), ("removed", remove_heads)):
        start = load_classifier("mini", task="mini-sentiment")
        take(start.model, HEADS)
        start.write(made / name)
    return made


def setup(folder):
    return Setup(str(folder), "mini-sentiment", max_examples=96)


@pytest.mark.slow
def test_removed_and_zeroed_heads_stay_so_and_both_learn_the_same(folders, tmp_path):
    records, models = [], []
    for name in ("zeroed", "removed"):
        output, reporter = tmp_path / name, Reporter()
        records.append(finetune_into(setup(folders / name), QUICK, reporter, NewFolder(output), of_record))
        models.append(load_pruned(output))
        assert f"heads that are pruned stay so: {HEADS}" in reporter.notes
        assert records[-1]["heads_pruned"] == HEADS.split()
        assert records[-1]["drawn"] == []
    zeroed, removed = models
    assert str(zeroed_heads(zeroed)) == str(removed_heads(removed)) == HEADS
    losses = [[epoch["loss"] for epoch in record["epochs"]] for record in records]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    start = load_classifier("mini", task="mini-sentiment").model.state_dict()
    dense = dense_model(removed).state_dict()
    for name, weight in zeroed.state_dict().items():
        if "key.bias" not in name:  # its gradient is rounding alone, which Adam blows up
            assert torch.allclose(weight, dense[name], rtol=0, atol=2e-5), name
    assert (zeroed.classifier.weight - start["classifier.weight"]).abs().max() > 1e-3


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_no_gradient_reaches_zeros(model_type, monkeypatch):
    """In a LLaMA heads 1 and 2 share keys and values: both go in layer 1, one in layer 2."""
    model = zero_heads(tiny_model(model_type), "1:1,2 2:1")
    heads = zeroed_heads(model)
    assert str(heads) == "1:1,2 2:1"
    zeros = {name: weight == 0 for name, weight in model.named_parameters()}
    ids = torch.randint(5, 60, (3, 9), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), 0.1, weight_decay=0.1)
    with staying_zero(model, heads), monkeypatch.context() as patch:
        patch.delattr(Owned, "where")  # what is an index of the heads is made before, and not in each pass
        for _ in range(2):
            model(input_ids=ids, labels=torch.tensor([0, 1, 2])).loss.backward()
            optimizer.step()
    assert zeroed_heads(model) == heads
    assert all((weight[zeros[name]] == 0).all() for name, weight in model.named_parameters())
    model(input_ids=ids, labels=torch.tensor([0, 1, 2])).loss.backward()
    optimizer.step()
    assert str(zeroed_heads(model)) == ("1:1,2 2:1" if model_type == "bert" else "1:1,2")  # no hook is left


def test_a_new_head_goes_on_top_of_what_is_left(tmp_path):
    """Whatever class was saved: the body alone, or a classifier of other labels."""
    for name, model in (("body", tiny_model("bert").base_model), ("classifier", tiny_model("bert"))):
        Checkpoint(remove_heads(model, "1:1 3:1,2,3,4"), tiny_tokenizer(), name, None).write(tmp_path / name)
        start = load_to_finetune(str(tmp_path / name), ("bad", "good"))
        assert {"classifier.weight", "classifier.bias"} <= set(start.drawn)
        assert str(removed_heads(start.model)) == "1:1 3:1,2,3,4"
        assert type(start.model).__name__ == "BertForSequenceClassification"
        save_pruned(start.model, tmp_path / f"{name}-again")
        assert str(removed_heads(load_pruned(tmp_path / f"{name}-again"))) == "1:1 3:1,2,3,4"
