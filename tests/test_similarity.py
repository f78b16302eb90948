"""How alike heads are: streaming sums against direct computations in float64; the study of `prune-heads similar`."""

import json
from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest
import scipy.stats
import tiny_types as coverage
import torch
from tiny import tiny_inputs, tiny_model, write_sst2

from prune_heads.anatomy import attention_blocks
from prune_heads.attention import observing
from prune_heads.errors import HeadDescriptorError, OptionError, RunError, UnfitError
from prune_heads.options import Ablation, Cluster, Pairs, RandomMasks, Setup, Similarity
from prune_heads.progress import Reporter
from prune_heads.reporting.figures.heads import similarity_figure
from prune_heads.reporting.similarity import similarity_page
from prune_heads.similarity import RIDGE, Sums, clustered, placed
from prune_heads.statistics.tables import correlate, correlate_pairs
from prune_heads.studies.additivity import ablate_heads
from prune_heads.studies.similarity import similar
from prune_heads.surgery import remove_heads


@pytest.fixture(scope="module")
def model():
    return tiny_model().double()


@torch.no_grad()
def looked_at(model, inputs):
    with observing(model) as observe:
        return observe(**inputs)[1]


def summed(model, *batches):
    """Examples are numbered through all batches; every second is held out."""
    sums, start = None, 0
    for inputs in batches:
        seen, n = looked_at(model, inputs), len(inputs["input_ids"])
        sums = sums or Sums(seen)
        sums.add(seen, inputs["attention_mask"] == 1, torch.arange(start, start + n) % 2 == 1)
        start += n
    return sums


class Direct:
    """All tokens at once, by the definitions."""

    @torch.no_grad()
    def __init__(self, model, inputs):
        seen, tokens = looked_at(model, inputs), inputs["attention_mask"] == 1
        self.n_heads = [each.block.n_heads for each in seen]
        self.maps = [m for each in seen for m in each.map.transpose(1, 2)[tokens].transpose(0, 1).numpy()]
        self.outputs = [o for each in seen for o in each.sent(each.context)[tokens].transpose(0, 1).numpy()]
        self.contexts = [c for each in seen for c in each.context[tokens].transpose(0, 1).numpy()]
        self.held_out = (torch.arange(len(tokens)) % 2 == 1)[:, None].expand_as(tokens)[tokens].numpy()

    def table(self, of, values):
        return np.array([[of(a, b) for b in values] for a in values])

    @staticmethod
    def js(p, q):
        def entropy(x):
            return -np.where(x > 0, x * np.log(np.where(x > 0, x, 1)), 0).sum(axis=1)

        return (entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2).mean()

    @staticmethod
    def cka(x, y):
        x, y = x - x.mean(axis=0), y - y.mean(axis=0)
        gram_x, gram_y = x @ x.T, y @ y.T  # the other form of the same, by Gram matrices of tokens
        return (gram_x * gram_y).sum() / np.sqrt((gram_x**2).sum() * (gram_y**2).sum())

    @staticmethod
    def cosine(x, y):
        return ((x * y).sum(axis=1) / (np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1))).mean()

    def r_squared(self, i):
        layer = np.repeat(range(len(self.n_heads)), self.n_heads)
        others = [self.contexts[j] for j in np.flatnonzero(layer == layer[i]) if j != i]
        if not others:
            return None
        x, y, held = np.concatenate(others, axis=1), self.outputs[i], self.held_out
        mean_x, mean_y = x[~held].mean(axis=0), y[~held].mean(axis=0)
        a = x[~held] - mean_x
        penalty = RIDGE * (a**2).mean(axis=0).mean() * len(a)
        slope = np.linalg.solve(a.T @ a + penalty * np.eye(a.shape[1]), a.T @ (y[~held] - mean_y))
        left = ((y[held] - mean_y - (x[held] - mean_x) @ slope) ** 2).sum()
        return 1 - left / ((y[held] - y[held].mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize(
    ("kind", "removed"), [("bert", ""), ("bert", "1:1,3 2:2,3,4"), ("albert", ""), ("llama", ""), ("gpt2", "")]
)
def test_sums_give_what_the_definitions_give(kind, removed):
    """Also of layers of one head, of layers that share weights, and of heads that share keys and values."""
    model = tiny_model().double() if kind == "bert" else coverage.tiny_model(kind).double()
    if removed:
        remove_heads(model, removed)
    inputs = tiny_inputs(8, 9)
    inputs["input_ids"] %= coverage.VOCABULARY
    direct, sums = Direct(model, inputs), summed(model, inputs)
    found = sums.similarities()
    np.testing.assert_allclose(found["js"], direct.table(direct.js, direct.maps), atol=1e-6)  # some maps are float32
    np.testing.assert_allclose(found["cka"], direct.table(direct.cka, direct.outputs), atol=1e-9)
    np.testing.assert_allclose(found["cosine"], direct.table(direct.cosine, direct.outputs), atol=1e-9)
    expected = [direct.r_squared(i) for i in range(len(direct.outputs))]
    assert sums.reconstructed() == pytest.approx(expected, abs=1e-7)
    assert (None in expected) is bool(removed)
    assert np.ptp(found["cka"]) > 0.1


def test_batches_and_padding_change_nothing(model):
    inputs = tiny_inputs(8, 11)
    whole = summed(model, inputs)
    parts = [{name: value[i : i + 3] for name, value in inputs.items()} for i in (0, 3, 6)]
    cut = [
        {name: value[:, : int(part["attention_mask"].sum(1).max())] for name, value in part.items()} for part in parts
    ]
    streamed = summed(model, *cut)
    for name, expected in whole.similarities().items():
        np.testing.assert_allclose(streamed.similarities()[name], expected, atol=1e-9)
    assert streamed.reconstructed() == pytest.approx(whole.reconstructed(), abs=1e-8)


def test_memory_does_not_grow_with_the_texts(model):
    def size(sums):
        return sum(value.numel() for value in (sums.js, sums.cosine, sums.products, *sums.held_out))

    assert size(summed(model, *[tiny_inputs(4, 9)] * 5)) == size(summed(model, tiny_inputs(4, 9)))


def test_copies_of_a_head_are_the_same_and_reconstruct_it():
    model = tiny_model().double()
    attention = model.bert.encoder.layer[1].attention
    with torch.no_grad():
        for each in (attention.self.query, attention.self.key, attention.self.value):
            each.weight[8:16], each.bias[8:16] = each.weight[:8], each.bias[:8]
        attention.output.dense.weight[:, 8:16] = 3 * attention.output.dense.weight[:, :8]
    sums = summed(model, tiny_inputs(8, 11))
    found = sums.similarities()
    assert found["js"][4, 5] == pytest.approx(0, abs=1e-12)
    assert found["cka"][4, 5] == pytest.approx(1)
    assert found["cosine"][4, 5] == pytest.approx(1)
    assert min(sums.reconstructed()[4:6]) > 0.98  # the penalty keeps it below 1


def test_a_head_that_sends_nothing_is_like_none():
    model = tiny_model().double()
    with torch.no_grad():
        model.bert.encoder.layer[0].attention.output.dense.weight[:, :8] = 0
    sums = summed(model, tiny_inputs(6, 9))
    found = sums.similarities()
    assert np.isfinite(found["cka"]).all()
    assert not found["cka"][0].any()
    assert not found["cosine"][0].any()
    assert sums.reconstructed()[0] is None


def test_places_keep_distances_of_points_in_a_plane():
    points = np.random.default_rng(0).normal(size=(7, 2))
    squares = ((points[:, None] - points) ** 2).sum(axis=-1)
    at, shown = placed(squares)
    np.testing.assert_allclose(((at[:, None] - at) ** 2).sum(axis=-1), squares, atol=1e-9)
    assert shown == pytest.approx(1)
    assert placed(np.zeros((1, 1)))[0].tolist() == [[0, 0]]


def test_divergences_are_squared_euclidean_distances(model):
    """So that Ward's method and classical scaling may take them: no negative eigenvalue (Endres and Schindelin)."""
    found = summed(model, tiny_inputs(8, 11)).similarities()
    for squares in (found["js"], 1 - found["cka"]):
        centre = np.eye(12) - 1 / 12
        assert np.linalg.eigvalsh(-centre @ squares @ centre).min() > -1e-10


def test_clusters_are_numbered_as_they_come():
    points = np.array([0.0, 10.0, 0.1, 10.1, 0.2])
    squares = (points[:, None] - points) ** 2
    assert clustered(squares, 2) == [1, 2, 1, 2, 1]
    assert clustered(squares, 9) == [1, 2, 3, 4, 5]
    assert clustered(np.zeros((1, 1)), 3) == [1]


def test_correlations_of_pairs_leave_out_an_end_at_a_time():
    rng = np.random.default_rng(5)
    ends = np.array([(i, j) for i in range(9) for j in range(i)])
    of_end = rng.normal(size=9)
    first = of_end[ends].sum(axis=1) + rng.normal(size=36)
    second = of_end[ends].sum(axis=1) + rng.normal(size=36)
    found = correlate_pairs(first, second, ends)
    assert found["value"] == pytest.approx(scipy.stats.spearmanr(first, second).statistic)
    independent = correlate(first, second)["spearman"]
    assert found["high"] - found["low"] > independent["high"] - independent["low"]  # pairs share their ends
    apart = correlate_pairs(first[:18], second[:18], np.arange(36).reshape(18, 2))
    alone = correlate(first[:18], second[:18])["spearman"]
    assert apart["high"] - apart["low"] == pytest.approx(alone["high"] - alone["low"], rel=0.5)
    assert correlate_pairs([1, 2, 3], [1, 2, 3], ends[:3]) == {"n_pairs": 3, "value": None, "low": None, "high": None}
    assert correlate_pairs(np.ones(36), second, ends)["value"] is None


@pytest.fixture(scope="module")
def setup(checkpoint, tmp_path_factory):
    data = write_sst2(tmp_path_factory.mktemp("similar") / "SST-2", n_train=20, n_dev=50)
    return Setup(str(checkpoint), "sst2", data_dir=data)


def run(setup, **options):
    record = similar(setup, Similarity(**options), Reporter()).record
    json.dumps(record, allow_nan=False)
    return record


def test_the_record_says_of_each_head_its_partners_cluster_and_place(setup):
    record = run(setup, clusters=3)
    (group,) = record["groups"]
    assert group["heads"] == [f"{layer}:{head}" for layer in (1, 2, 3) for head in (1, 2, 3, 4)]
    above = np.triu_indices(12, 1)
    js = np.full((12, 12), np.inf)
    js[above] = group["js"]
    js = np.minimum(js, js.T)
    assert [partners[0]["js"] for partners in group["partners"]] == js.min(axis=1).tolist()
    assert [group["heads"].index(partners[0]["head"]) for partners in group["partners"]] == js.argmin(axis=1).tolist()
    assert set(group["clusters"]) == {1, 2, 3}
    by_name = {column["name"]: column for column in record["columns"]}
    assert [*chain(*by_name["partner_distance"]["values"])] == js.min(axis=1).tolist()
    assert [*chain(*by_name["reconstructed"]["values"])] == group["reconstructed"]
    assert [*chain(*by_name["cluster"]["values"])] == list(map(str, group["clusters"]))
    assert (by_name["cluster"]["kind"], by_name["reconstructed"]["group"]) == ("category", "similarity")
    nearest = record["nearest"]
    assert len(nearest) == 20
    assert all(row["first"][0] != row["second"][0] for row in nearest)
    across = sorted(js[i, j] for i, j in zip(*above, strict=True) if i // 4 != j // 4)[:20]
    assert [row["distance"] for row in nearest] == pytest.approx(across, abs=1e-4)


def test_the_batch_size_changes_nothing(setup):
    found = [run(replace(setup, batch_size=size))["groups"] for size in (3, 50)]
    for name in ("js", "cka", "cosine", "reconstructed"):
        assert found[0][0][name] == pytest.approx(found[1][0][name], abs=2e-4)


@pytest.mark.slow
def test_interactions_are_measured_or_read_and_compared(setup, tmp_path):
    record = run(setup, nearest=5)
    rows = record["interactions"]
    assert [(r["first"], r["second"]) for r in rows[:5]] == [(r["first"], r["second"]) for r in record["nearest"][:5]]
    assert len(rows) == 10
    found = ablate_heads(setup, Cluster(), Ablation("pairs"), Pairs(), RandomMasks(), Reporter()).record
    (tmp_path / "record.json").write_text(json.dumps(found))
    read = run(setup, pairs=tmp_path)
    (group,), of_pair = read["groups"], {}
    heads = group["heads"]
    for i, j, value in zip(*np.triu_indices(12, 1), group["cka"], strict=True):
        of_pair[heads[i], heads[j]] = value
    pairs = found["pairs"][0]["rows"]
    expected = scipy.stats.spearmanr(
        [of_pair[r["first"], r["second"]] for r in pairs], [r["interaction"] for r in pairs]
    ).statistic
    assert next(a for a in read["agreement"] if a["measure"] == "cka")["value"] == pytest.approx(expected)
    assert [a["n_pairs"] for a in read["agreement"]] == [18] * 3
    (tmp_path / "other").mkdir()
    other = {**found, "model": {**found["model"], "fingerprint": "0"}}
    (tmp_path / "other/record.json").write_text(json.dumps(other))
    with pytest.raises(RunError, match="of this very model"):
        run(setup, pairs=tmp_path / "other")
    (tmp_path / "other/record.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="of another command"):
        run(setup, pairs=tmp_path / "other")


def test_blocks_alone_are_compared_and_what_cannot_be_is_refused(setup, monkeypatch):
    record = run(setup, blocks=("2",), by="outputs")
    assert record["groups"][0]["heads"] == ["2:1", "2:2", "2:3", "2:4"]
    assert record["nearest"] == []
    assert record["columns"][0]["values"][0] == [None] * 4
    with pytest.raises(HeadDescriptorError, match="heads of two layers"):
        run(setup, blocks=("2",), nearest=2)
    with pytest.raises(HeadDescriptorError, match="between 1 and 3"):
        run(setup, blocks=("7",))
    with pytest.raises(OptionError, match="exclude each other"):
        Similarity.of({"pairs": "run", "nearest": 3})
    monkeypatch.setattr("prune_heads.similarity.MOST", 32)
    with pytest.raises(UnfitError, match="Name fewer layers with --blocks"):
        run(setup)


def test_heads_without_maps_are_compared_by_their_outputs(setup, monkeypatch):
    def unproved(model, inputs):
        return [block.name for block in attention_blocks(model)[:2]]

    monkeypatch.setattr("prune_heads.attention.reading.unproved_maps", unproved)
    reporter = Reporter()
    record = similar(setup, Similarity(), reporter).record
    assert record["groups"][0]["by"] == "cka"
    js = record["groups"][0]["js"]
    assert [value for value in js if value is not None] == pytest.approx(js[-6:])  # of the third layer, 4 heads
    assert len(js) - js.count(None) == 6
    assert any("compared by their outputs" in note for note in reporter.notes)


@pytest.mark.slow
def test_the_folder_and_the_table_of_the_command(setup, invoke, tmp_path):
    words = ("--model", setup.model, "--task", "sst2", "--data-dir", setup.data_dir, "--nearest", 4)
    done = invoke("similar", *words, "-o", tmp_path / "out", COLUMNS="80")
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    said = " ".join(done.stdout.split())
    assert "the interaction of 8 pairs" in said
    assert "alike where JS is small" in said
    assert "next nearest" in said
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {"record.json", "table.md", "similarity.csv", "similarity.png", "similarity.svg"}
    assert len((tmp_path / "out/similarity.csv").read_text().splitlines()) == 67


def test_names_in_the_figure_cover_no_other(setup):
    figure = similarity_figure(run(setup))
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[1].texts]
    assert len(boxes) > 6
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_group_of_one_head_has_a_row_without_a_nearest(setup):
    record = run(setup)
    (group,) = record["groups"]
    alone = {name: value[:1] if isinstance(value, list) else value for name, value in group.items()}
    alone |= {"partners": [[]], "js": [], "cka": [], "cosine": []}
    table = similarity_page({**record, "groups": [alone]}).parts[0]
    assert table.values()[0] | {"R^2": None, "cluster": 1} == {
        **{"head": "1:1", "cluster": 1, "R^2": None, "nearest": None, "JS": None, "CKA": None, "cosine": None},
        "next nearest": "",
    }
    assert similarity_figure({**record, "groups": [alone]}).axes
