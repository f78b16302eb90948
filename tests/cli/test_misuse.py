"""Options that are wrong or contradict each other: exit code 2 and one line."""

import pytest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--task", "mnly"), "Did you mean mnli?"),
        (("run", "--task", "SST-3"), "Did you mean sst2?"),
        (("run", "--criterion", "gradiant"), "'gradient'"),
        (("score", "--estimator", "mean"), "'fisher'"),
        (("score", "--normalize", "l1"), "'min-max'"),
        (("run", "--mode", "delete"), "'remove'"),
        (("run", "--dtype", "int8"), "'bfloat16'"),
        (("run", "--device", "tpu"), "'cuda'"),
        (("run", "--max-examples", "0"), "'--max-examples'"),
        (("run", "--batch-size", "0"), "'--batch-size'"),
        (("run", "--batch-size", "many"), "'--batch-size'"),
        (("run", "--fraction", "1.1"), "'--fraction'"),
        (("run", "--fraction", "nan"), "'--fraction'"),
        (("run", "--n-heads", "-1"), "'--n-heads'"),
        (("run", "--min-per-layer", "-1"), "'--min-per-layer'"),
        (("run", "--fraction", "0.5", "--n-heads", "3"), "--fraction and --n-heads exclude each other"),
        (("run", "--heads", "1:1", "--n-heads", "3"), "--n-heads and --heads exclude each other"),
        (("run", "--save-checkpoint"), "--save-checkpoint needs an --output folder"),
        (("run", "--model", "somewhere"), "--task must say which task the model is for"),
        (("evaluate", "--text-column", "a"), "name at least one of these"),
        (("evaluate", "--model", "m", "--task", "sst2", "--validation-file", "v.csv"), "exclude each other"),
        (("evaluate", "--task", "own.toml", "--validation-file", "v.csv"), "exclude each other"),
        (("evaluate", "--validation-file", "v.csv", "--metric", "loss"), "'matthews_correlation'"),
        (("ablate", "--choose-split", "train"), "belong to --kind only-one"),
        (("prune", "--heads", "1:1"), "Missing option '--output'"),
        (("prune", "--output", "out"), "named by --heads or chosen by --scores"),
        (
            ("prune", "--output", "out", "--heads", "1:1", "--scores", "s.json"),
            "named by --heads or chosen by --scores",
        ),
        (("prune", "--output", "out", "--scores", "s.json", "--n-heads", "1", "--fraction", "1"), "exclude each other"),
        (("benchmark", "--compile"), "now a script of the repository: python -m experiments.benchmark"),
        (("run", "--model"), "requires an argument"),
        (("run", "--modle", "x"), "--modle"),
        (("run", "mini", "extra"), "extra"),
        (("run", "one", "--model", "two"), "CHECKPOINT and --model must name one model, got one and two"),
        (("runn",), "Did you mean 'run'"),
        (("--nope",), "--nope"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_misuse(words, said, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refused(*words, code=2)
