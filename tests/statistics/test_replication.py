"""Our functions on matrices that others measured for BERT-base (`shared/paper/replication`)."""

import numpy as np
import pytest

from prune_heads.statistics import area_under_curve, correlate

pytestmark = pytest.mark.real


@pytest.fixture
def replication(shared):
    return shared / "paper" / "replication"


def differences(path):
    """Accuracy without each head minus accuracy with all: `(12, 12)`, layers down."""
    comment, names, *rows = path.read_text().splitlines()
    assert comment.startswith("# base")
    assert names.split("\t")[0] == "layer"
    return np.array([[float(cell) for cell in row.split("\t")[1:]] for row in rows])


def test_matched_and_mismatched_agree(replication):
    matched, mismatched = (
        differences(replication / f"without-one_mnli-{name}.tsv") for name in ("matched", "mismatched")
    )
    got = correlate(matched, mismatched)
    assert got["n_heads"] == 144
    assert round(got["pearson"]["value"], 2) == 0.81
    assert 0.74 < got["pearson"]["low"] < 0.81 < got["pearson"]["high"] < 0.87
    assert got["spearman"]["low"] < got["spearman"]["value"] < got["spearman"]["high"]


def test_what_the_matched_table_says(replication):
    matched = differences(replication / "without-one_mnli-matched.tsv")
    assert matched.shape == (12, 12)
    assert (matched > 0).sum() == 55  # heads whose removal helps
    assert np.unravel_index(matched.argmin(), matched.shape) == (6, 0)
    assert 100 * matched[6, 0] == pytest.approx(-1.477)


def test_the_gradient_order_is_better_than_the_oracle_order_there(replication):
    """One by one is not together: the heads that cost least alone are not those that cost least in a group."""
    lines = (replication / "curves.tsv").read_text().splitlines()
    table = {name: [float(cell) for cell in cells] for name, *cells in (line.split("\t") for line in lines)}
    shares = np.array(table["heads"]) / 144
    gradient, oracle = (area_under_curve(shares, table[f"mnli_{name}"]) for name in ("gradient", "oracle"))
    assert oracle < gradient < table["mnli_gradient"][0]
