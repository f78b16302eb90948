"""Options: each is said once, and what it reaches is what records and keys say of it."""

import json
import subprocess
import sys
from dataclasses import dataclass, fields, replace
from importlib import import_module
from pathlib import Path

import pytest
from typer.main import get_command

from prune_heads import options as groups
from prune_heads import runs
from prune_heads.cli import sweep as trials
from prune_heads.cli.app import app
from prune_heads.cli.sweep import known
from prune_heads.errors import OptionError
from prune_heads.files import digest
from prune_heads.options import (
    Ablation,
    Choice,
    Curves,
    Export,
    Group,
    Look,
    Recipe,
    Scoring,
    Setup,
    options_of,
    studies,
)
from prune_heads.options.fields import option

SAMPLE = json.loads(Path(__file__).with_name("identities.json").read_text())
"""Configurations and hashes that the program gave before options were fields."""

NAMES = {**vars(groups), **vars(studies)}
EVERY = [each for each in NAMES.values() if isinstance(each, type) and issubclass(each, Group)]
GROUPS = [each for each in EVERY if each is not Group]

OTHER = {
    "task": "mini-sentiment",
    "criterion": "random",
    "label_order": ("b", "a"),
    "labels": ("b", "a"),
    "blocks": ("2",),
    "batch_sizes": (2,),
    "keep_steps": (1,),
    "store": "elsewhere",
}
"""Values of options whose text is read."""


class Admitted(Exception):
    """Raised in place of a run, with its identity."""


@pytest.fixture
def identity_of(tmp_path, monkeypatch):
    """What a command would be known by; it is stopped before its long work."""

    def stop(folder, identity):
        raise Admitted(json.loads(json.dumps(identity)))

    def identity_of(*words):
        texts = ("good film", "bad film", "so bad", "fine")
        labels = ("positive", "negative", "negative", "positive")
        rows = [f"{text},{text} again,{label},{label}" for text, label in zip(texts, labels, strict=True)]
        for name in ("train.csv", "dev.csv"):
            (tmp_path / name).write_text("\n".join(["text,more,label,class", *rows]) + "\n")
        (tmp_path / "other.csv").write_text("\n".join(["text,more,label,class", *rows[1:]]) + "\n")
        words = [word.replace("DATA", str(tmp_path)) for word in words]
        if words[0] in ("prune", "export", "finetune"):
            words += ["--output", str(tmp_path / "out")]
        for module in [each for name, each in sys.modules.items() if name.startswith("prune_heads.")]:
            if vars(module).get("check_output") is asked:
                monkeypatch.setattr(module, "check_output", stop)
        with pytest.raises(Admitted) as admitted:
            get_command(app).main(words, standalone_mode=False)
        monkeypatch.undo()
        return admitted.value.args[0]

    for name in ("exporting", "finetuning"):  # they ask for themselves
        import_module(f"prune_heads.studies.{name}")
    asked = runs.check_output

    return identity_of


@pytest.mark.parametrize("case", SAMPLE["commands"], ids=lambda case: " ".join(case["words"][:4]))
def test_records_and_hashes_are_as_they_were(case, identity_of):
    identity = identity_of(*case["words"])
    assert identity["configuration"] == case["configuration"]
    if not any("DATA" in word for word in case["words"]):
        assert digest(identity) == case["identity_hash"]


@pytest.mark.parametrize("case", SAMPLE["trials"], ids=lambda case: json.dumps(case["values"]))
def test_trials_have_the_hashes_that_they_had(case):
    every = known()
    assert every.digest({**every.defaults, **case["values"]}) == case["digest"]


def other(option, value):
    """Another value of an option."""
    if option.name in OTHER:
        return (OTHER[option.name],) if option.is_many else OTHER[option.name]
    if option.choices:
        return next(choice for choice in option.choices if choice != value)
    if option.is_many:
        return ("other",)
    if option.kind is bool:
        return not value
    return {str: "other", Path: Path("other.csv")}.get(option.kind) or (value or option.low or 0) + 1


def instance(group):
    """One in which every option has a meaning."""
    needs = {Ablation: Ablation("only-one"), Export: Export(to="dense"), Look: Look(text="a text", pair="another")}
    return needs.get(group) or group(**({"output": Path("out")} if group is groups.NewFolder else {}))


@pytest.mark.parametrize(("group", "name"), [(each, field.name) for each in GROUPS for field in fields(each)], ids=str)
def test_what_reaches_the_result_is_in_the_configuration(group, name):
    option, before = options_of(group)[name], instance(group)
    after = replace(before, **{name: other(option, getattr(before, name))})
    changed = after.configuration() != before.configuration()
    if option.reach == "record":
        assert changed
    elif option.reach == "nothing":
        assert not changed


OWN = ("run", "--train-file", "DATA/train.csv", "--validation-file", "DATA/dev.csv", "--task", "mini-sentiment")
PLAIN = ("run", "--max-examples", "20")
PRUNE = ("prune", "--heads", "1:1")
BENCH = ("bench", "--max-examples", "8")
TUNE = ("finetune", "--model", "mini", "--task", "mini-sentiment", "--max-examples", "20")
CONTENT = {
    "sample": (PLAIN, ("run", "--sample", "20")),
    "train_file": (OWN, ("--train-file", "DATA/other.csv")),
    "validation_file": (OWN, ("--validation-file", "DATA/other.csv")),
    "text_column": (OWN, ("--text-column", "more")),
    "cluster_column": (OWN, ("--cluster-column", "class")),
    "label_column": (OWN, ("--label-column", "class", "--text-column", "more")),
    "metric": (OWN, ("--metric", "f1")),
    "labels": (OWN, ("--labels", "positive,negative")),
    "task": (PRUNE, ("--task", "mini-sentiment")),
    "heads": (PRUNE, ("--heads", "1:2")),
    "split": (("evaluate", *PLAIN[1:]), ("--split", "train")),
    "seed": (BENCH, ("--seed", "1")),
    "distill_from": (TUNE, ("--distill-from", "mini")),
}
"""Name -> a command, and words that change what the option leads to."""
SCORES = {"scores", "nearest", "pairs", "against", "conllu"}
"""Choose heads or pairs, which are in the identity as those that are named; or see tests/cli/test_roles.py."""


def test_what_reaches_by_its_content_has_a_case():
    studied = [each for each in GROUPS if each is not studies.Conditions]  # which become options of studies
    every = {n for each in studied for n, option in options_of(each).items() if option.reach == "content"}
    assert every == CONTENT.keys() | SCORES


@pytest.mark.parametrize("name", CONTENT)
def test_what_reaches_by_its_content_changes_the_identity(name, identity_of):
    words, more = CONTENT[name]
    changed = more if more[0] == words[0] else (*words, *more)
    assert digest(identity_of(*words)) != digest(identity_of(*changed))


@dataclass(frozen=True)
class Wider(Scoring):
    """Scoring with one more option."""

    smooth: float = option("Added later.", 0.5, low=0, since="later")


def test_an_option_that_is_added_later_leaves_records_and_hashes_at_its_default(monkeypatch):
    assert Wider().configuration() == Scoring().configuration()
    assert Wider(smooth=1.0).configuration() == {**Scoring().configuration(), "smooth": 1.0}
    before = known()
    monkeypatch.setattr(trials, "GROUPS", (Setup, Choice, Wider, groups.RunOptions))
    trials.trial_options.cache_clear()
    try:
        after = known()
        assert after.digest(after.defaults) == before.digest(before.defaults)
        assert after.digest({**after.defaults, "smooth": 1.0}) != before.digest(before.defaults)
    finally:
        trials.trial_options.cache_clear()


@pytest.mark.parametrize(
    ("group", "words", "said"),
    [
        (Scoring, {"seed": 1.5}, "'--seed' must be a whole number; got 1.5"),
        (Scoring, {"seed": True}, "'--seed' must be a whole number; got true"),
        (Scoring, {"seed": -1}, "'--seed' must be at least 0; got -1"),
        (Scoring, {"estimator": "luck"}, "'--estimator' must be one of 'example', 'token'"),
        (Scoring, {"criterion": 5}, "'--criterion' must be a text; got 5"),
        (Choice, {"fraction": float("nan")}, "'--fraction' must be between 0 and 1; got nan"),
        (Recipe, {"learning_rate": float("inf")}, "'--learning-rate' must be at least 0, and finite; got inf"),
        (Choice, {"fraction": 0.5, "n_heads": 2}, "--fraction and --n-heads exclude each other."),
        (Choice, {"groups": "yes"}, "'--groups' must be true or false; got \"yes\""),
        (Curves, {"criterion": "gradient"}, "'--criterion' must be a list of texts; got \"gradient\""),
        (Setup, {"data_dir": 5}, "'--data-dir' must be a path; got 5"),
        (Setup, {"task": "sst"}, "Did you mean sst2?"),
    ],
)
def test_words_that_an_option_does_not_take(group, words, said):
    with pytest.raises(OptionError) as refused:
        group.of(words)
    assert said in str(refused.value)


def test_words_become_values():
    assert Scoring.of({"seed": 3, "score_split": None}) == Scoring(seed=3)
    assert Curves.of({"criterion": ["random", "gradient", "random"], "blocks": "2, 1"}) == Curves(
        ("random", "gradient"), blocks=("1", "2")
    )
    assert Setup.of({"sample": 5, "label_order": "a, b"}) == Setup(
        max_examples=5, sample=5, sample_seed=0, label_order=("a", "b"), task="mini-inference"
    )
    assert Curves.of({"criterion": []}) == Curves()
    assert Choice.of({}) == Choice(fraction=0.5)


def test_every_option_says_what_it_is():
    for group in GROUPS:
        for name, each in options_of(group).items():
            assert each.help.endswith((".", ")")), (group, name)
            assert each.help[0].isupper(), (group, name)


def test_options_are_read_without_torch_and_without_the_command_line():
    found = "import sys, prune_heads.options; print({'torch', 'numpy', 'typer'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", found], capture_output=True, text=True).stdout == "set()\n"
