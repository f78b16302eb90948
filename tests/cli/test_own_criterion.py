"""A criterion of one's own on the command line: by file or module, in every command that scores."""

import hashlib
import json

import pytest

OWN = "import numpy as np\n\n\ndef ranks(examples):\n    return np.arange(12)\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_ranks.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parsed(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("named", ["my_ranks.py:ranks", "my_ranks:ranks", "{folder}/my_ranks.py:ranks"])
def test_scores_are_those_of_the_function_and_the_record_names_it(invoke, on_sst2, folder, named):
    named = named.format(folder=folder)
    report = parsed(invoke("score", *on_sst2, "--criterion", named, "-o", "scores", "--json"))
    assert report["scores"] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert (report["criterion"], report["estimator"]) == (named.rpartition("/")[2], None)
    record = (folder / "scores" / "record.json").read_text()
    configuration = json.loads(record)["configuration"]
    assert configuration["criterion"] == named.rpartition("/")[2]
    assert configuration["criterion_source"] == hashlib.sha256(OWN.encode()).hexdigest()
    assert str(folder) not in record


def test_another_source_is_another_run(invoke, on_sst2, folder):
    words = ("score", *on_sst2, "--criterion", "my_ranks.py:ranks", "-o", "scores")
    assert invoke(*words).exit_code == invoke(*words).exit_code == 0
    (folder / "my_ranks.py").write_text(OWN.replace("12)", "12) / 2"))
    assert "holds a different run" in invoke(*words).stderr


def test_a_run_and_a_curve_prune_by_it(invoke, on_sst2):
    record = parsed(invoke("run", *on_sst2, "--criterion", "my_ranks:ranks", "--n-heads", "5", "--json"))
    assert record["heads_pruned"] == ["1:1,2,3,4", "2:1"]
    words = ("--criterion", "my_ranks.py:ranks", "--criterion", "random", "--draws", "2", "--steps", "4")
    line, _ = parsed(invoke("curve", *on_sst2, *words, "--json"))["lines"]
    assert (line["criterion"], line["scored_on"]) == ("my_ranks.py:ranks", "train")
    assert [point["heads_pruned"] for point in line["points"]][1] == ["1:1,2,3"]


def test_two_files_of_one_name_are_two_lines_of_a_curve(invoke, on_sst2, folder):
    for name, sign in (("a", ""), ("b", "-")):
        (folder / name).mkdir()
        (folder / name / "my_ranks.py").write_text(OWN.replace("np.arange", f"{sign}np.arange"))
    both = ["a/my_ranks.py:ranks", "b/my_ranks.py:ranks"]
    words = [word for name in both for word in ("--criterion", name)]
    record = parsed(invoke("curve", *on_sst2, *words, "--steps", "2", "-o", "curve", "--json"))
    assert [line["criterion"] for line in record["lines"]] == record["configuration"]["criteria"] == both
    assert record["configuration"]["criterion_source"].keys() == {*both}
    assert "| pruned | heads | a/my_ranks.py:ranks | b/my_ranks.py:ranks |" in (folder / "curve/table.md").read_text()


@pytest.mark.slow
def test_a_sweep_imports_it_from_beside_its_file(invoke, on_sst2, checkpoint, sst2, folder, monkeypatch):
    (folder / "sweeps").mkdir()
    (folder / "my_ranks.py").rename(folder / "sweeps" / "beside.py")
    (folder / "sweeps" / "sweep.toml").write_text(
        f"model = {str(checkpoint)!r}\ntask = 'sst2'\ndata_dir = {str(sst2)!r}\nn_heads = 5\n"
        "[grid]\ncriterion = ['beside.py:ranks', 'magnitude']\n"
    )
    done = invoke("sweep", "run", "sweeps/sweep.toml", "-o", "done")
    assert done.exit_code == 0, done.output
    records = [json.loads(file.read_text()) for file in (folder / "done").rglob("record.json")]
    pruned = {record["configuration"]["criterion"]: record["heads_pruned"] for record in records}
    assert pruned["beside.py:ranks"] == ["1:1,2,3,4", "2:1"]
    assert pruned.keys() == {"beside.py:ranks", "magnitude"}


@pytest.mark.parametrize("command", ["score", "run", "curve"])
@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        (OWN, "my_ranks.py:rank", "must be there; got the functions ranks"),
        ("import nothing_like_it", "my_ranks.py:ranks", "got ModuleNotFoundError: No module named"),
        ("ranks = 3", "my_ranks.py:ranks", "is of type int"),
    ],
)
def test_one_that_does_not_fit_is_one_red_line_before_anything_is_loaded(invoke, folder, command, source, name, said):
    (folder / "my_ranks.py").write_text(source)
    done = invoke(command, "--model", "not-there", "--task", "sst2", "--criterion", name)
    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_scores_are_refused_and_nothing_is_written(invoke, on_sst2, folder):
    (folder / "my_ranks.py").write_text(OWN.replace("12)", "11)"))
    done = invoke("score", *on_sst2, "--criterion", "my_ranks.py:ranks", "-o", "scores")
    assert done.exit_code == 1
    assert "must give a score for each head, 12 of them, [4, 4, 4] a block; got 11" in done.stderr.replace("\n", " ")
    assert not (folder / "scores").exists()


def test_a_sweep_refuses_it_before_its_first_trial(invoke, folder):
    (folder / "sweep.toml").write_text("[grid]\ncriterion = ['gradient', 'none.py:ranks']\n")
    done = invoke("sweep", "run", "sweep.toml", "-o", "done")
    assert (done.exit_code, (folder / "done").exists()) == (1, False)
    assert "must be a readable file" in done.stderr


def test_a_name_that_is_none_is_misuse(invoke):
    done = invoke("score", "--criterion", "ranks")
    assert done.exit_code == 2
    assert "'gradient'" in done.stderr
