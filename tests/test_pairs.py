"""`prune-heads ablate --kind pairs`: every number of its rows, worked out another way."""

import json
from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from tiny import save_tiny_checkpoint, write_sst2

from prune_heads.errors import HeadDescriptorError, OptionError, RunError, UnfitError
from prune_heads.heads import HeadMask
from prune_heads.options import Ablation, Cluster, Pairs, RandomMasks, Setup
from prune_heads.progress import Reporter
from prune_heads.studies.ablating import ablated
from prune_heads.studies.additivity import ablate_heads
from prune_heads.studies.measuring import Measured
from prune_heads.studies.pairs import ablate_pairs, interactions, masks_of_pairs, pairs_of
from prune_heads.studies.setup import load_split, load_subject, predictions_of
from prune_heads.surgery import remove_heads

SHAPE = (4, 4, 4)
ALL = Ablation("pairs")


@pytest.fixture(scope="module")
def setup(checkpoint, tmp_path_factory):
    data = write_sst2(tmp_path_factory.mktemp("pairs") / "SST-2", n_train=20, n_dev=60)
    return Setup(str(checkpoint), "sst2", data_dir=data)


def run(setup, which=None, options=ALL):
    found = ablate_pairs(setup, options, which or Pairs(), Reporter())
    json.dumps(found.record, allow_nan=False)
    return found.record


def rows_of(record):
    (table,) = record["pairs"]
    return table["rows"]


def predictions(setup):
    subject = load_subject(setup, Reporter())
    return predictions_of(setup, subject, load_split(setup, subject, "validation", Reporter()), Reporter())


def losses(setup):
    """Heads by name -> `(n_examples,)` loss of log-likelihood without them, one gated evaluation each."""
    apart = predictions(setup)
    columns, at = list(apart.objective.model_index), np.arange(len(apart.references))

    def likelihood(heads):
        logits = apart.of(HeadMask.parse(heads, SHAPE))[:, columns].astype(np.float64)
        return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[at, apart.references]

    base = likelihood("")
    return lambda heads: base - likelihood(heads)


def test_an_interaction_is_the_loss_of_both_less_both_losses(setup):
    (table,), loss, apart = run(setup)["pairs"], losses(setup), predictions(setup)
    names = [f"{layer}:{head}" for layer in (1, 2, 3) for head in (1, 2, 3, 4)]
    expected = [pair for pair in combinations(names, 2) if pair[0][0] == pair[1][0]]
    assert [(row["first"], row["second"]) for row in table["rows"]] == expected
    base = apart.metric_of(apart.of(HeadMask(SHAPE)))
    for row in table["rows"]:
        a, b = row["first"], row["second"]
        both = f"{a} {b}" if a[0] != b[0] else f"{a},{b[2]}"
        each = loss(both) - loss(a) - loss(b)
        assert row["first_loss"] == pytest.approx(loss(a).mean(), abs=1e-6)
        assert row["second_loss"] == pytest.approx(loss(b).mean(), abs=1e-6)
        assert row["loss"] == pytest.approx(loss(both).mean(), abs=1e-6)
        assert row["interaction"] == pytest.approx(each.mean(), abs=1e-6)
        assert row["low"] <= row["interaction"] <= row["high"]
        assert row["p_value"] == pytest.approx(scipy.stats.ttest_1samp(each, 0).pvalue, abs=0.08)
        alone = [apart.metric_of(apart.of(HeadMask.parse(heads, SHAPE))) - base for heads in (a, b, both)]
        assert row["delta"] == pytest.approx(alone[2])
        assert row["metric_interaction"] == pytest.approx(alone[0] + alone[1] - alone[2])
    p = [row["p_value"] for row in table["rows"]]
    assert [row["p_bh"] for row in table["rows"]] == pytest.approx(scipy.stats.false_discovery_control(p))
    assert min(row["p_holm"] for row in table["rows"]) == pytest.approx(min(1.0, 18 * min(p)))
    assert (table["base"], table["test"]) == (base, "paired bootstrap")


def test_masks_of_one_head_are_shared_with_without_one(setup):
    ablate_heads(setup, Cluster(), Ablation(), Pairs(), RandomMasks(), Reporter())
    reporter = Told()
    ablate_pairs(setup, ALL, Pairs(), reporter)
    assert reporter.asked == [60 * 18]
    again = Told()
    ablate_pairs(setup, ALL, Pairs(), again)
    assert again.asked == []


class Told(Reporter):
    """How many examples were run under masks, of each stage."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def stage(self, name, total):
        if name == "masks":
            self.asked.append(total)
        return super().stage(name, total)


def test_pairs_of_named_heads_cross_layers(setup):
    record = run(setup, Pairs(heads="1:2 3:1,4"))
    assert [(r["first"], r["second"]) for r in rows_of(record)] == [("1:2", "3:1"), ("1:2", "3:4"), ("3:1", "3:4")]
    assert record["configuration"]["heads"] == ["1:2", "3:1,4"]
    loss = losses(setup)
    each = loss("1:2 3:4") - loss("1:2") - loss("3:4")
    assert rows_of(record)[1]["interaction"] == pytest.approx(each.mean(), abs=1e-6)
    within = run(setup, options=Ablation("pairs", blocks=("2",)))
    assert {row["first"][0] for row in rows_of(within)} == {"2"}
    assert len(rows_of(within)) == 6


def nearest(tmp_path, rows, n_heads=SHAPE):
    blocks = [{"n_heads": n} for n in n_heads]
    (tmp_path / "record.json").write_text(json.dumps({"blocks": blocks, "nearest": rows}))
    return Pairs(nearest=tmp_path)


def test_the_nearest_are_read_from_a_run(setup, tmp_path):
    record = run(setup, nearest(tmp_path, [{"first": "1:2", "second": "3:4"}, {"first": "2:1", "second": "1:1"}]))
    assert [(row["first"], row["second"]) for row in rows_of(record)] == [("1:2", "3:4"), ("2:1", "1:1")]
    assert record["configuration"]["nearest"] == ["1:2 3:4", "2:1 1:1"]


@pytest.mark.parametrize(
    ("rows", "n_heads", "error", "said"),
    [
        ([], SHAPE, RunError, "has one layer"),
        ([{"first": "1:1"}], SHAPE, RunError, "of another command, or damaged"),
        ([{"first": 1, "second": "1:1"}], SHAPE, HeadDescriptorError, "heads '1', at the end"),
        ([{"first": "1:1", "second": "1:1"}], SHAPE, HeadDescriptorError, "two heads such as 3:1 and 7:2"),
        ([{"first": "1:1,2", "second": "1:3"}], SHAPE, HeadDescriptorError, "two heads such as"),
        ([{"first": "1:1", "second": "9:1"}], SHAPE, HeadDescriptorError, "between 1 and 3"),
        ([{"first": "1:1", "second": "1:2"}], (4, 4), RunError, r"of this model, with \[4, 4, 4\] heads"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(rows, n_heads, error, said, setup, tmp_path):
    with pytest.raises(error, match=said):
        run(setup, nearest(tmp_path, rows, n_heads))


def test_what_cannot_be_asked_is_refused(setup):
    with pytest.raises(HeadDescriptorError, match="must be of two heads"):
        run(setup, Pairs(heads="1:2"))
    with pytest.raises(OptionError, match="Leave one out"):
        run(setup, Pairs(heads="1:2,3"), Ablation("pairs", blocks=("1",)))
    with pytest.raises(OptionError, match="belong to --kind pairs"):
        ablate_heads(setup, Cluster(), Ablation(), Pairs(heads="1:2,3"), RandomMasks(), Reporter())
    with pytest.raises(OptionError, match="must be of one of without-one, only-one; got pairs"):
        ablated(predictions(setup), ALL)
    with pytest.raises(OptionError, match="exclude each other"):
        Pairs.of({"heads": "1:2", "nearest": "run"})


def test_scores_have_no_likelihood(tmp_path):
    model = save_tiny_checkpoint(tmp_path / "m", ("score",))
    path = tmp_path / "own.csv"
    path.write_text("text,label\n" + "".join(f"a good film,{i % 3}\n" for i in range(9)))
    with pytest.raises(UnfitError, match=r"log-likelihood of the right answer.*\(regression\) has none"):
        run(Setup(str(model), train_file=path, validation_file=path, metric="pearson"))


def test_heads_that_were_removed_are_in_every_mask_and_in_no_pair(setup):
    there = predictions(setup)
    gone = HeadMask.parse("1:1 2:1,2,3", SHAPE)
    remove_heads(there.subject.model, gone)
    pruned = predictions_of(setup, there.subject, there.split, Reporter())
    pairs = pairs_of(pruned.gone, ALL, Pairs())
    assert len(pairs) == 3 + 0 + 6
    table = interactions(Measured(pruned, masks_of_pairs(gone, pairs), 0), pairs, 0)
    loss = losses(setup)
    each = loss("1:1,2,3 2:1,2,3") - loss("1:1,2 2:1,2,3") - loss("1:1,3 2:1,2,3") + loss("1:1 2:1,2,3")
    assert (table["rows"][0]["first"], table["rows"][0]["second"]) == ("1:2", "1:3")
    assert table["rows"][0]["interaction"] == pytest.approx(each.mean(), abs=1e-5)
    with pytest.raises(HeadDescriptorError, match="1:1 were removed before"):
        pairs_of(pruned.gone, ALL, Pairs(heads="1:1,2"))


def test_the_folder_and_the_table_of_the_command(setup, invoke, tmp_path):
    words = ("--model", setup.model, "--task", "sst2", "--data-dir", setup.data_dir)
    done = invoke("ablate", *words, "--kind", "pairs", "-o", tmp_path / "out", COLUMNS="80")
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "The 18 largest of 18 pairs" in " ".join(done.stdout.split())
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"record.json", "table.md", "pairs.csv", "pairs.png", "pairs.svg"}
    assert len((tmp_path / "out/pairs.csv").read_text().splitlines()) == 19
