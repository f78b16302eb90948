"""`--dtype mixed`: the answers of float32, though nearly all masks run in bfloat16."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import write_sst2

from prune_heads import remove_heads
from prune_heads.ablation import ManyMasks, ablations, mixed, predict_masks
from prune_heads.ablation.mixed import FACTOR, corrected, margins, n_different
from prune_heads.errors import UnfitError
from prune_heads.evaluation import predict
from prune_heads.gating import gates_of
from prune_heads.objectives.classifiers import MultiLabel, SingleLabel
from prune_heads.options import Ablation, Curves, Setup
from prune_heads.progress import Reporter
from prune_heads.studies.ablating import ablate
from prune_heads.studies.curves import curves
from prune_heads.studies.scoring import Lab

N = 80
KEYS = ("dtype", "split", "n_examples", "n_masks", "n_predictions", "n_flipped")  # those of other precisions


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_sst2(tmp_path_factory.mktemp("mixed") / "SST-2", n_train=60, n_dev=N)


@pytest.fixture
def setup(checkpoint, data, tmp_path, monkeypatch):
    """Of a tiny model whose margins are small, with samples that leave most of the table to bfloat16."""
    monkeypatch.setattr(mixed, "AT_LEAST", (100, 150))
    return Setup(str(checkpoint), "sst2", "mixed", data_dir=data, batch_size=8, store=tmp_path / "store")


def of(setup, **changes):
    return Lab(replace(setup, **changes), Reporter()).predictions("validation")


def masks_of(predictions):
    return [predictions.gone, *ablations("without-one", predictions.gone).values()]


def table(predictions):
    found = predict_masks(predictions, masks := masks_of(predictions))
    return np.stack([found[mask] for mask in masks])


@pytest.fixture
def in_float32(setup, tmp_path):
    return table(of(setup, dtype="float32", store=tmp_path / "exact"))


def test_every_answer_is_that_of_float32(setup, in_float32, tmp_path):
    low = table(of(setup, dtype="bfloat16", store=tmp_path / "low"))
    both = of(setup)
    found = table(both)
    rows = [each.reshape(-1, 2) for each in (in_float32, low, found)]
    assert n_different(both.objective, rows[0], rows[1]) > 0
    assert n_different(both.objective, rows[0], rows[2]) == 0
    assert np.square(found - in_float32).mean() < np.square(low - in_float32).mean() / 2
    np.testing.assert_allclose(found[0], in_float32[0], rtol=0, atol=1e-6)
    (about,) = both.corrections
    assert about["n_repaired"] == n_different(both.objective, rows[1], rows[2])
    assert about["n_float32"] < about["n_pairs"] == 13 * N
    assert about["n_flipped"] == about["n_beyond"] == 0
    assert 0 < about["n_predictions"] <= 156
    assert about["bound"] == FACTOR * about["largest_error"] > 0


@pytest.mark.slow
def test_what_is_kept_is_of_bfloat16_and_the_result_does_not_depend_on_it(setup, tmp_path):
    both, low, exact = of(setup), of(setup, dtype="bfloat16"), of(setup, dtype="float32")
    found = table(both)
    assert all(low.stored(mask) is not None for mask in masks_of(low))
    assert all(exact.stored(mask) is None for mask in masks_of(exact))
    table(exact)
    np.testing.assert_array_equal(table(both), found)
    both.store.clear()
    np.testing.assert_array_equal(table(both), found)


def test_a_mask_on_its_own_is_float32(setup):
    both, exact = of(setup), of(setup, dtype="float32")
    mask = masks_of(both)[3]
    assert both.key(mask) == exact.key(mask)
    predict_masks(both, [mask])
    np.testing.assert_array_equal(both.of(mask), exact.stored(mask))


@pytest.mark.parametrize(("broken", "nth"), [("logits", 4), ("pairs", 2)])
def test_a_killed_call_goes_on_and_ends_in_the_same_bytes(broken, nth, setup, tmp_path, monkeypatch):
    both, undisturbed = of(setup), of(setup, store=tmp_path / "undisturbed")
    expected = table(undisturbed)
    original, calls = getattr(ManyMasks, broken), []

    def killed(self, *given):
        calls.append(given)
        if len(calls) == nth:
            raise KeyboardInterrupt
        return original(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(ManyMasks, broken, killed)
        with pytest.raises(KeyboardInterrupt):
            table(both)
    np.testing.assert_array_equal(table(both), expected)
    stores = [
        {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "store", tmp_path / "undisturbed")
    ]
    assert stores[0] == stores[1]


@pytest.mark.parametrize("gone", ["", "2:1,2,3,4"], ids=["layers shared", "one at a time"])
def test_pairs_are_what_one_masked_evaluation_gives(gone, setup):
    exact = of(setup, dtype="float32")
    if gone:
        remove_heads(exact.subject.model, gone)
    model, masks = exact.subject.model, masks_of(exact)
    run = ManyMasks(exact, masks, 96)
    assert (run.together is None) == bool(gone)
    wanted = np.random.default_rng(0).random((len(masks), N)) < 0.2
    wanted[:, 5] = False
    found = np.full((len(masks), N, 2), np.nan, dtype=np.float32)
    run.pairs(wanted, found)
    assert np.isnan(found[~wanted]).all()
    for mask, mine, row in zip(masks, found, wanted, strict=True):
        alone = predict(model, exact.batches, gates_of(model, mask))
        np.testing.assert_allclose(mine[row], alone[row], rtol=0, atol=1e-5)


class TestMargins:
    """Below 0 where float32 says otherwise, and as far as the nearest other answer."""

    @pytest.mark.parametrize(
        ("objective", "n"),
        [
            (SingleLabel("accuracy", None, (1, 0), 2), 2),
            (SingleLabel("accuracy", None, (2, 0, 3), 4), 4),
            (MultiLabel("micro_f1", None, (0, 1, 2), 3), 3),
        ],
    )
    def test_by_the_answers(self, objective, n):
        rng = np.random.default_rng(0)
        first, second = rng.normal(size=(2, 500, n)).astype(np.float32)
        answers = objective.predictions(first)
        own, others = margins(objective, first, answers), margins(objective, second, answers)
        differs = answers != objective.predictions(second)
        np.testing.assert_array_equal(others < 0, differs if differs.ndim == 1 else differs.any(axis=1))
        assert (own > 0).all()
        nearer = [first + shift * 0.999 * own[:, None] / 2 for shift in np.vstack([np.eye(n), -np.eye(n)])]
        assert all(n_different(objective, first, each.astype(np.float32)) == 0 for each in nearer)

    def test_by_hand(self):
        one = SingleLabel("accuracy", None, (2, 0), 3)
        kept = np.array([[1.0, 9.0, 3.0], [2.0, 9.0, -1.0]], dtype=np.float32)
        np.testing.assert_array_equal(margins(one, kept, np.array([0, 0])), [2, -3])
        many = MultiLabel("micro_f1", None, (0, 1), 2)
        np.testing.assert_array_equal(margins(many, kept[:, :2], np.array([[1, 1], [1, 0]])), [1, -9])


class Planted:
    """A table in float32 and one that is off, by a share without a mask and by noise, and by more where it is said."""

    def __init__(self, n_masks=20, n=400):
        rng = np.random.default_rng(1)
        self.exact = rng.normal(size=(n_masks, n, 2)).astype(np.float32)
        self.noise = (rng.uniform(-0.01, 0.01, (n_masks, n, 2)) + 0.05 * rng.normal(size=(1, n, 2))).astype(np.float32)
        objective, split = SingleLabel("accuracy", None, (0, 1), 2), SimpleNamespace(name="validation")
        references, self.reporter = np.zeros(n, dtype=np.int64), Reporter()
        about = {"objective": objective, "references": references, "split": split, "reporter": self.reporter}
        self.predictions = SimpleNamespace(corrections=[], **about)
        self.samples = mixed._samples(n_masks, n)

    def corrected(self):
        def run(wanted, found):
            found[wanted] = self.exact[wanted]

        found = corrected(self.predictions, self.exact + self.noise, run)
        json.dumps(self.predictions.corrections, allow_nan=False)
        flipped = n_different(self.predictions.objective, found.reshape(-1, 2), self.exact.reshape(-1, 2))
        return found, self.predictions.corrections[-1], flipped


def test_the_share_of_the_error_that_is_there_without_a_mask_goes():
    planted = Planted()
    found, about, flipped = planted.corrected()
    assert about["share_moved"] == pytest.approx(1, abs=0.02)
    assert np.abs(found - planted.exact).max() < 0.025
    assert 0.02 < about["bound"] <= FACTOR * 0.045
    assert (flipped, about["n_beyond"], about["n_flipped"]) == (0, 0, 0)
    assert abs(about["likelihood_error"]["mean"]) < about["likelihood_error"]["spread"] < 0.02


def test_an_error_beyond_the_bound_is_seen_and_widens_it():
    planted = Planted()
    sure = np.abs(planted.exact[..., 0] - planted.exact[..., 1]) > 1
    mask, example = (place[0] for place in (planted.samples[1] & sure).nonzero())
    right = planted.exact[mask, example]
    planted.noise[mask, example] += np.float32(1.5) * (right[::-1] - right)  # which turns the answer
    found, about, flipped = planted.corrected()
    assert (about["n_beyond"], about["n_flipped"], flipped) == (1, 1, 0)
    error = 3 * abs(right[0] - right[1])
    assert about["bound"] == pytest.approx(FACTOR * error, rel=0.1)
    np.testing.assert_array_equal(found[mask, example], right)
    (note,) = planted.reporter.notes
    assert "widened for 1 errors beyond it" in note


def test_samples_are_of_every_mask_and_apart():
    fitted, checked = mixed._samples(73, 9815)
    assert not (fitted & checked).any()
    assert not (fitted[0] | checked[0]).any()
    assert {*fitted[1:].sum(axis=1)} == {99}
    assert checked.sum() >= 20_000
    assert (fitted | checked).mean() < 0.041
    few = mixed._samples(13, 30)
    assert few.any(axis=0)[1:].all()
    assert 9 <= few[0, 1].sum() <= 11


@pytest.mark.slow
def test_records_say_what_is_left(setup):
    record = ablate(setup, Ablation("only-one", choose_examples=20), Reporter()).record
    flips = record["flips"]
    assert tuple(flips)[: len(KEYS)] == KEYS
    assert (flips["dtype"], flips["n_examples"], flips["n_masks"]) == ("mixed", N, 13)
    assert [each["split"] for each in flips["others"]] == ["train"]
    assert any("are of float32, all with a margin below" in note for note in record["notes"])
    line = curves(setup, Curves(("magnitude",), steps=3), Reporter())
    assert [each["n_masks"] for each in line["flips"]] == [4]


@pytest.mark.slow
def test_scores_of_ablations_are_those_of_float32(on_sst2, invoke):
    words = ("score", *on_sst2, "--criterion", "ablation", "--json", "--dtype")
    mixed, exact = (json.loads(invoke(*words, dtype).stdout)["scores"] for dtype in ("mixed", "float32"))
    assert mixed == exact


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run",), "'mixed' is not one of"),
        (("evaluate",), "'mixed' is not one of"),
        (("export", "mini", "--to", "dense", "-o", "out"), "'mixed' is not one of"),
        (("score",), "--dtype mixed is for --criterion ablation; gradient runs in one precision"),
    ],
)
def test_commands_that_do_not_ask_many_masks_refuse_it(words, said, invoke):
    done = invoke(*words, "--dtype", "mixed")
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", "").split())


def test_what_has_no_margin_is_refused():
    setup = Setup("mini", "mini-translation", "mixed", max_examples=4)
    with pytest.raises(UnfitError, match=r"mixed needs answers that are chosen .* Take float32 or bfloat16"):
        ablate(setup, Ablation(), Reporter())


def test_workers_of_a_cluster_compute_the_part_of_bfloat16(setup):
    from test_spreading import Here

    from prune_heads.studies.spreading import Spread

    both, here = of(setup), Here(2)
    masks = masks_of(both)
    Spread(replace(setup, dtype="bfloat16"), here, Reporter()).answers([(both, masks)])
    low = of(setup, dtype="bfloat16")
    assert all(low.stored(mask) is not None for mask in masks)
    assert len(here.parts) == 2


@pytest.mark.real
@pytest.mark.thorough
@pytest.mark.parametrize(("name", "folder", "n"), [("sst2", "SST-2", None), ("mnli", "MNLI", 400)])
def test_real_tables_have_the_answers_of_float32(name, folder, n, shared, tmp_path):
    setup = Setup(str(shared / "models" / f"minilm-{name}"), name, data_dir=shared / "glue" / folder, max_examples=n)
    labs = {dtype: Lab(replace(setup, dtype=dtype, store=tmp_path), Reporter()) for dtype in ("float32", "mixed")}
    each = {dtype: lab.reported([])[0] for dtype, lab in labs.items()}
    exact, found = (table(predictions).reshape(-1, each["mixed"].objective.n_labels) for predictions in each.values())
    assert n_different(each["mixed"].objective, exact, found) == 0
    (about,) = each["mixed"].corrections
    assert about["n_flipped"] == 0
    assert about["n_repaired"] > 0
    assert about["n_float32"] < 0.25 * about["n_pairs"]
