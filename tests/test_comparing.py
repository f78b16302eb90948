"""Comparisons of criteria: the yardsticks by other computations, what trials share, and what is left out."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from prune_heads.errors import RunError, UnfitError
from prune_heads.execution.folder import SweepFolder
from prune_heads.files import read_json, write_json
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import CRITERIA, criteria
from prune_heads.options import Comparing, Scoring, Setup
from prune_heads.paper import published
from prune_heads.progress import Reporter
from prune_heads.reporting.claims import claims_table
from prune_heads.reporting.comparison import comparison_page, mean_difference, summaries
from prune_heads.reporting.figures import comparison as drawn
from prune_heads.reporting.figures.comparison import cost_figure, curves_figures
from prune_heads.runs import Study
from prune_heads.selection import lowest_first
from prune_heads.statistics import area_under_curve, holm
from prune_heads.studies.comparing import BeginTrials, Ground, subjects_of, sweep_of
from prune_heads.studies.scoring import Lab, note_oracle, score
from prune_heads.studies.yardsticks import comparison, judge, recall

OPTIONS = Comparing(("gradient", "magnitude"), score_samples=3, score_examples=12, draws=4, steps=4, random_masks=6)
SETUP = Setup(max_examples=30)


def compared(folder, planned, before=lambda: None):
    """The record of a comparison whose trials run here."""
    subjects = subjects_of(planned)
    sweep = sweep_of(subjects)
    work = SweepFolder.open(folder, sweep)
    run = BeginTrials(tuple(subjects))()
    for trial in sweep.trials:
        if not work.is_done(trial.digest):
            work.finish(trial, run(trial), 1.0)
    before()
    study = Study("compare", Reporter())
    study.begin(asked=[each.asked for each in subjects], trials=sweep.digest)
    return comparison(study, subjects, work, Reporter)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def record(store, tmp_path_factory):
    found, seconds = compared(tmp_path_factory.mktemp("one") / "sweep", [(replace(SETUP, store=store), OPTIONS, "")])
    assert seconds["seconds"]["mini on mini-inference"].keys() == {"gradient", "magnitude"}
    return found


def test_what_a_criterion_says_of_its_scores_is_in_the_record(store, tmp_path):
    options = replace(OPTIONS, criterion=("greedy",), score_samples=2, masks=30)
    (subject,) = compared(tmp_path / "sweep", [(replace(SETUP, store=store), options, "")])[0]["subjects"]
    assert [note for note in subject["notes"] if note.startswith("greedy: 30 masks were spent when ")]


def named(record):
    return {each["criterion"]: each for each in record["subjects"][0]["criteria"]}


def test_gains_are_areas_less_those_of_random_orders(record, store):
    """By hand: the model is asked under each mask of each order, and the trapezoids are added up."""
    lab = Lab(replace(SETUP, store=store), Reporter())
    on, whole = lab.predictions("validation_matched"), lab.predictions("train", 36)
    gone = HeadMask(on.gone.n_heads)

    def area(scores):
        masks = lowest_first(scores, gone, 4)
        values = [on.metric_of(on.of(mask)) for mask in masks]
        return area_under_curve([len(mask) for mask in masks], values)

    samples = [np.array(part) for part in np.array_split(np.random.default_rng(0).permutation(36), 3)]
    gradients = score(lab.subject, Scoring("gradient"), whole).gradients
    of_samples = [
        area(HeadScores.from_flat(np.abs(gradients.signed[part]).mean(axis=0), gone.n_heads)) for part in samples
    ]
    draws = [area(score(lab.subject, Scoring("random", seed=seed)).scores) for seed in range(4)]
    dealt = [np.mean(draws[i::3]) for i in range(3)]
    found = named(record)
    assert found["gradient"]["area"]["value"] == pytest.approx(np.mean(of_samples))
    assert found["gradient"]["gain"]["value"] == pytest.approx(np.mean(np.subtract(of_samples, dealt)))
    weights = area(score(lab.subject, Scoring("magnitude")).scores)
    assert found["magnitude"]["gain"]["value"] == pytest.approx(weights - np.mean(dealt))
    assert found["random"]["gain"] is None
    assert found["random"]["area"]["value"] == pytest.approx(np.mean(dealt))


def test_all_pairs_are_tested_and_ties_share_a_letter(record):
    (subject,) = record["subjects"]
    pairs, found = subject["pairs"], named(record)
    assert len(pairs) == 3
    assert [pair["p_holm"] for pair in pairs] == holm([pair["p"] for pair in pairs]).tolist()
    for pair in pairs:
        is_tie = bool({*found[pair["first"]]["ties"]} & {*found[pair["second"]]["ties"]})
        assert is_tie == (pair["p_holm"] >= 0.05)
        half = pair["high"] - pair["value"]
        assert (pair["p"] < 0.05) == (abs(pair["value"]) > half)


def test_passes_and_points_are_those_of_the_trials(record):
    found = named(record)
    assert found["gradient"]["passes"] == {"forward": 1.0, "backward": 1.0}
    assert found["magnitude"]["passes"] == {"forward": 0.0, "backward": 0.0}
    assert found["magnitude"]["agrees"] is None
    assert -1 <= found["gradient"]["agrees"]["value"] <= 1
    assert [point["percent"] for point in found["gradient"]["points"]] == [0, 25, 50, 75, 100]
    assert "seconds" not in record
    assert "date" not in record["provenance"]


def test_what_a_sample_shares_is_computed_once(store, monkeypatch):
    """Two criteria of gradients on two samples: two matrices, though each counts its own pass."""
    calls, real = [], criteria.gate_gradients
    monkeypatch.setattr(criteria, "gate_gradients", lambda *given, **how: calls.append(1) or real(*given, **how))
    monkeypatch.setitem(vars(criteria)["CRITERIA"], "again", CRITERIA["gradient"])
    options = replace(OPTIONS, criterion=("gradient", "again"))
    subjects = subjects_of([(replace(SETUP, store=store), options, "")])
    run = BeginTrials(tuple(subjects))()
    found = [run(trial) for trial in sweep_of(subjects).trials[:5]]
    names = [each["trial"]["values"]["criterion"] for each in found]
    assert names == ["gradient", "again", "random", "gradient", "again"]
    assert len(calls) == 2
    assert [each["passes"] for each in found if "passes" in each] == [{"forward": 1.0, "backward": 1.0}] * 4


def test_a_criterion_without_a_definition_is_left_out_with_a_note(store, tmp_path):
    (tmp_path / "own.py").write_text(
        "from prune_heads.errors import UnfitError\n"
        "def never(examples):\n    raise UnfitError('never must be of a model of another kind')\n"
    )
    options = replace(OPTIONS, criterion=("magnitude", f"{tmp_path}/own.py:never"), score_samples=2)
    found, _ = compared(tmp_path / "sweep", [(replace(SETUP, store=store), options, "")])
    (subject,) = found["subjects"]
    assert subject["left_out"] == {"own.py:never": "never must be of a model of another kind"}
    assert "own.py:never is left out: never must be of a model of another kind" in subject["notes"]
    assert [each["criterion"] for each in subject["criteria"] if each["gain"]] == ["magnitude"]
    assert str(tmp_path) not in str(found)
    assert "own.py:never is left out" in comparison_page(found).to_markdown()


def test_where_no_criterion_is_defined_there_is_nothing_to_compare(store, tmp_path):
    (tmp_path / "own.py").write_text(
        "from prune_heads.errors import UnfitError\ndef never(examples):\n    raise UnfitError('not of this model')\n"
    )
    options = replace(OPTIONS, criterion=(f"{tmp_path}/own.py:never",), score_samples=2)
    with pytest.raises(UnfitError, match="some criterion must be defined for some model"):
        compared(tmp_path / "sweep", [(replace(SETUP, store=store), options, "")])


@pytest.mark.parametrize("name", ["ablation", "greedy", "magnitude"])
def test_an_order_by_answers_that_judge_it_is_said_to_flatter(name):
    split, reporter = SimpleNamespace(name="validation"), Reporter()
    note_oracle(name, split, [split], reporter)
    assert any("flatters" in note for note in reporter.notes) == (name != "magnitude")


def test_each_subject_has_a_figure_of_its_own(monkeypatch):
    monkeypatch.setattr(drawn, "_curves", lambda subject: subject["name"])
    names = ["my_model on sst2", "my-model on sst2", "mini on sst2"]
    found = curves_figures({"subjects": [{"name": name} for name in names]})
    assert list(found.values()) == names


def test_subjects_and_seeds_are_summed_up(store, tmp_path):
    """Two of a group count as one; the set on which all were compared comes first."""
    wider = replace(OPTIONS, criterion=("magnitude", "gradient"), score_samples=2, draws=2, steps=2, random_masks=4)
    narrow, setup = replace(wider, criterion=("magnitude",)), Setup(max_examples=16, store=store)
    others = replace(setup, sample_seed=1), replace(setup, task="mini-sentiment")
    planned = [(setup, wider, "g"), (others[0], wider, "g"), (others[1], narrow, "")]
    found, _ = compared(tmp_path / "sweep", planned)
    names = [subject["name"] for subject in found["subjects"]]
    assert names == ["mini on mini-inference", "mini on mini-inference (2)", "mini on mini-sentiment"]
    assert [each.subjects for each in summaries(found)] == [tuple(names), tuple(names[:2])]
    gains = [
        next(100 * each["gain"]["value"] for each in subject["criteria"] if each["criterion"] == "magnitude")
        for subject in found["subjects"]
    ]
    value, half = mean_difference(found["subjects"], "magnitude", "random")
    assert value == pytest.approx(((gains[0] + gains[1]) / 2 + gains[2]) / 2)
    assert mean_difference(found["subjects"], "random", "magnitude") == (pytest.approx(-value), pytest.approx(half))
    alone, own = found["subjects"][2], mean_difference(found["subjects"][2:], "magnitude", "random")
    (gain,) = [each["gain"] for each in alone["criteria"] if each["gain"]]
    assert own == (pytest.approx(100 * gain["value"]), pytest.approx(100 * (gain["high"] - gain["value"])))
    (group,) = found["groups"]
    assert group["subjects"] == names[:2]
    assert [each["group"] for each in found["subjects"]] == [names[0], names[0], None]  # never a path
    assert group["agrees"]["magnitude"]["value"] == pytest.approx(1)
    text = comparison_page(found).to_markdown()
    assert "## Mean gain, 3 subjects" in text
    assert "Agreement of the scores of" in text
    assert len(curves_figures(found)) == 3
    assert len(cost_figure(found).axes) == 2


def test_another_model_in_the_same_place_is_refused(store, tmp_path, monkeypatch):
    def other():
        monkeypatch.setattr(Ground, "identity", lambda self: {"model": "another"})

    with pytest.raises(RunError, match="must be the model and the data that the trials in sweep are of"):
        compared(tmp_path / "sweep", [(replace(SETUP, store=store), replace(OPTIONS, score_samples=2), "")], other)


def test_one_example_is_too_few(store):
    (subject,) = subjects_of([(Setup(max_examples=1, store=store, task="mini-sentiment"), OPTIONS, "")])
    with pytest.raises(UnfitError, match="two examples or groups of examples at least"):
        Ground(subject, Reporter())


SHAPE = (4, 4)


def mask(text):
    return HeadMask.parse(text, SHAPE)


HEADS = {"dead": "1:1,2", "noise": "1:3", "copies": "2:1,2", "feature": "2:3", "rare": "2:4"}
PLANTS = [(kind, mask(heads)) for kind, heads in HEADS.items()]


def found_by(*rows, is_signed=None):
    scores = HeadScores(tuple(np.array(row, dtype=float) for row in rows))
    return {kind: each["found"] for kind, each in recall(PLANTS, [scores], mask(""), is_signed).items()}


def test_a_perfect_order_finds_every_plant():
    """Noise below 0, then the dead, then one copy; the other one, and what carries the label."""
    assert found_by([0, 0, -1, 3], [0.1, 2, 9, 8]) == {"dead": 2, "noise": 1, "copies": 1, "feature": 1, "rare": 1}


def test_dead_heads_of_a_criterion_with_negative_scores_are_those_that_change_nothing():
    assert found_by([0, 0, -1, -3], [-4, -2, 9, 8])["dead"] == 2
    assert found_by([9, 9, -0.1, 0.1], [0.1, 0.2, 9, 9])["dead"] == 0


def test_an_order_below_zero_is_no_sign():
    """Log alpha of dead heads is the lowest of all, far from 0; and rounding takes the score of an even map below 0."""
    learned = found_by([-4, -4, -3, -2], [-1, 1, 3, 3], is_signed=False)
    assert learned == {"dead": 2, "copies": 1, "feature": 1, "rare": 1}
    assert "noise" not in found_by([-3e-8, -3e-8, 0.5, 0.2], [0.1, 0.3, 0.6, 0.9], is_signed=False)
    assert found_by([0, 0, 5, 0.4], [0.1, 2, 9, 8], is_signed=True)["noise"] == 0  # asked all the same


def test_signed_criteria_are_those_of_effects():
    signed = {name for name, row in CRITERIA.items() if row.is_signed}
    effects = {"ablation", "integrated-gradients", "second-order", "row-sums", "screened", "regression", "shapley"}
    assert signed == effects | {"causal-gates"}


def test_plants_are_missed_where_they_should_be():
    blind = found_by([5, 6, 7, 8], [0, 1, 2, 3])  # the copies first of all, dead heads late
    assert blind == {"dead": 0, "copies": 0, "feature": 0, "rare": 0}  # no negative score: not asked for noise
    both = [HeadScores((np.zeros(4), np.ones(4))), HeadScores((np.ones(4), np.zeros(4)))]
    halves = recall(PLANTS, both, mask(""), None)
    assert halves["dead"] == {"found": 1.0, "n": 2}


def test_plants_are_read_and_those_that_ablation_denies_do_not_count(store, tmp_path, record, monkeypatch):
    (subject,) = subjects_of([(replace(SETUP, store=store), replace(OPTIONS, score_samples=2), "")])
    ground, run = Ground(subject, Reporter()), BeginTrials((subject,))()
    trials = {name: [run(subject.trial(name, i)) for i in subject.samples(name)] for name in subject.names}
    moved = replace(subject, setup=replace(subject.setup, model=str(tmp_path)))
    plants = [{"kind": "dead", "heads": ["1:1"], "is_confirmed": True}]
    plants.append({"kind": "rare", "heads": ["2:1"], "is_confirmed": False})
    write_json(tmp_path / "planted.json", {"plants": plants})
    judged, _ = judge(moved, ground, trials)
    assert all(each["recall"].keys() == {"dead"} for each in judged["criteria"] if each["recall"])
    page = comparison_page({"subjects": [judged], "groups": []}).to_markdown()
    assert "Recall of planted heads" in page
    write_json(tmp_path / "planted.json", {"plants": [{"kind": "dead"}]})
    with pytest.raises(RunError, match=r"planted\.json of mini on mini-inference must hold plants"):
        judge(moved, ground, trials)


def test_published_gains_follow_from_published_numbers():
    facts = published("claims.toml")
    hies, gnorm = facts["hies"], facts["greedy_gnorm"]
    theirs = {name: name for name in ("hies", "random", "entropy")}
    theirs |= {"gradient": "importance", "magnitude": "weights_l2"}
    others = {"gnorm-published": "gnorm", "gradient": "taylor", "entropy": "entropy", "random": "random"}
    others["attention-attribution"] = "attention_attribution"
    for claim in facts["claim"]:
        first, second = claim["first"], claim["second"]
        if "table 9" in claim["source"]:
            expected, percents = hies["table9"]["gain"], hies["table9"]["percent_pruned"]
        elif "HIES" in claim["source"]:
            expected = np.subtract(hies["table1"][theirs[first]], hies["table1"][theirs[second]])
            percents = hies["percent_pruned"]
        else:
            expected = 100 * np.subtract(gnorm[others[first]], gnorm[others[second]])
            percents = [100 * n / 144 for n in gnorm["heads_gone"]]
        assert claim["gain"] == pytest.approx(expected, abs=0.005), claim["text"]
        assert claim["percent"] == percents


@pytest.mark.parametrize(("value", "verdict"), [(0.1, "supported"), (-0.1, "contradicted"), (0.01, "open")])
def test_a_verdict_goes_by_the_interval(record, value, verdict):
    (subject,) = record["subjects"]
    pair = {"first": "gradient", "second": "random", "value": value, "error": 0.02, "degrees": 9.0}
    without = [each for each in subject["criteria"] if each["criterion"] != "magnitude"]
    rows = claims_table({"subjects": [{**subject, "pairs": [pair], "criteria": without}]}).values()
    assert [(row["claim"], row["verdict"]) for row in rows] == [("Michel's score beats random orders", verdict)]


def test_in_a_terminal_several_subjects_have_their_means_and_the_notes_of_what_is_shown(request):
    record = read_json(request.config.rootpath / "results" / "compare-mini" / "record.json", "a record")
    wide, narrow = (" ".join(comparison_page(record, narrow=is_narrow).to_markdown().split()) for is_narrow in (0, 1))
    assert [said for said in ("ties:", "sums:", "in table.md") if said in wide] == ["ties:", "sums:"]
    assert [said for said in ("ties:", "sums:", "in table.md") if said in narrow] == ["in table.md"]
