"""`prune-heads ablate` on a disk that is full, a store that cannot be written, and data that say nothing."""

import os
import resource
import shutil
import tempfile
from pathlib import Path

import pytest
from forked import Forked
from tiny import save_tiny_checkpoint, write_sst2

NO_SPACE = "error: the store of predictions must be writable, on a disk with space left; got "


def limited(n_bytes):
    """No file may become larger; writing on is an error as it is on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))


@pytest.fixture
def words(on_sst2):
    return ("ablate", *on_sst2)


@pytest.fixture
def own(tmp_path):
    """Files of one's own with these labels, as options."""

    def make(metric, dev, train=("negative", "positive")):
        for name, labels in (("train", train), ("dev", dev)):
            rows = [f"a {'good film ' * (i % 3 + 1)},{label}" for i, label in enumerate(labels)]
            (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]) + "\n")
        files = ("--train-file", tmp_path / "train.csv", "--validation-file", tmp_path / "dev.csv")
        return (*files, "--metric", metric)

    return make


def test_a_full_disk_is_told_before_the_work(words, tmp_path, snapshot, out):
    done = Forked(tmp_path / "streams", *words, *out, "--store", tmp_path / "store", before=limited(4096)).wait()
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith(NO_SPACE)
    assert done.stderr.count("\n") == 1
    assert set(snapshot(tmp_path)) == {"streams", "streams/stdout", "streams/stderr"}


@pytest.mark.slow
def test_a_disk_that_fills_while_batches_are_kept(words, tmp_path, snapshot, out):
    """Those of 1,500 examples take 156 kB, more than was tried before; the job can go on where there is space."""
    data = write_sst2(tmp_path / "SST-2", n_dev=1500)
    words = (*words[:5], "--data-dir", data, "--batch-size", 1500, *out, "--store", tmp_path / "store")
    done = Forked(tmp_path / "streams", *words, before=limited(100_000)).wait()
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith(NO_SPACE)
    assert done.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file()] == ["manifest.json"]
    assert not out[1].parent.exists()
    assert Forked(tmp_path / "again", *words).wait().code == 0
    assert not list((tmp_path / "store").rglob("manifest.json"))


@pytest.mark.slow
def test_a_disk_that_is_full_for_the_folder(words, tmp_path, snapshot, invoke, own_store, out):
    assert invoke(*words).exit_code == 0
    before = snapshot(own_store)
    done = Forked(tmp_path / "streams", *words, *out, before=limited(2000)).wait()
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the folder of out must be writable; got ")
    assert done.stderr.count("\n") == 1
    assert snapshot(own_store) == before  # which is read and not written
    assert not [path for path in tmp_path.rglob("*") if "out" in path.name and path.parent.name != "streams"]


@pytest.mark.parametrize("below", ["", "deeper/store"])
def test_a_store_below_a_file(below, words, refused, tmp_path, invoke, out):
    (tmp_path / "file").write_text("1")
    place = ("--store", tmp_path / "file" / below)
    assert refused(*words, *out, *place).startswith(NO_SPACE.removeprefix("error: "))
    done = invoke(*words, *place, FORCE_COLOR="1", NO_COLOR="", TERM="xterm")
    assert done.stderr.startswith(f"\x1b[31m{NO_SPACE}")
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_store_that_may_only_be_read(words, invoke, checkpoint, sst2, snapshot):
    """As nobody, where the tests run as root; what is in the store is of use all the same."""
    with tempfile.TemporaryDirectory() as name:  # in which others may look, unlike tmp_path
        folder = Path(name)
        (folder / "streams").mkdir()
        model = ("--model", shutil.copytree(checkpoint, folder / "tiny"))
        data = ("--task", "sst2", "--data-dir", shutil.copytree(sst2, folder / "SST-2"))
        words = ("ablate", *model, *data, "--store", folder / "store", "--json")
        known = invoke(*words, "--blocks", "1,2")
        assert known.exit_code == 0
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        (folder / "streams").chmod(0o777)
        before = snapshot(folder / "store")
        again, more = (
            Forked(folder / "streams" / blocks, *words, "--blocks", blocks, before=nobody).wait()
            for blocks in ("1,2", "1,2,3")
        )
        after = snapshot(folder / "store")
    assert (again.code, again.stdout, again.stderr) == (0, known.stdout, "")
    assert (more.code, more.stdout, more.stderr.count("\n")) == (1, "", 1)
    assert more.stderr.startswith(NO_SPACE)
    assert "(Permission denied)" in more.stderr
    assert after == before


def nobody():
    """Root may write everywhere."""
    if os.getuid() == 0:
        os.setuid(65534)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--blocks", "0"), "'--blocks' must be layer numbers from 1, comma-separated, e.g. 1,3; got '0'"),
        (("--blocks", "x"), "got 'x'"),
        (("--blocks", "1,,2"), "got '1,,2'"),
        (("--blocks", ""), "got ''"),
        (("--blocks", "-1"), "got '-1'"),
        (("--kind", "nonsense"), "'without-one', 'only-one'"),
        (("--memory", 0), "'--memory'"),
        (("--choose-examples", 0), "'--choose-examples'"),
        (("--seed", -1), "'--seed'"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_misuse(options, said, words, refused, out):
    assert said in refused(*words, *options, *out, code=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--blocks", "9"), "--blocks must be between 1 and 3 for this model; got 9"),
        (("--blocks", "1,4"), "--blocks must be between 1 and 3 for this model; got 4"),
        (("--split", "dev"), "the split must be one of train, validation, got 'dev'"),
        (("--kind", "only-one", "--choose-split", "dev"), "the split must be one of train, validation, got 'dev'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_not_there(options, said, words, refused, out, own_store):
    assert said in refused(*words, *options, *out)
    assert not own_store.exists()


@pytest.mark.parametrize(("metric", "labels"), [("matthews_correlation", ["positive"] * 6), ("f1", ["negative"] * 6)])
def test_a_split_on_which_the_metric_is_undefined(metric, labels, own, refused, checkpoint, out, own_store):
    words = ("ablate", "--model", checkpoint, *own(metric, labels), "--labels", "negative,positive", *out)
    for kind in ("without-one", "only-one"):
        said = refused(*words, "--kind", kind)
        assert said.startswith(f"{metric} must be defined on validation (6 examples): {metric} needs ")
        assert said.endswith("Take another split, or more examples")
    assert not own_store.exists()


def test_a_split_to_choose_on_where_the_metric_is_undefined(own, refused, checkpoint, out, own_store):
    mixed = ["negative", "positive"] * 4
    files = own("matthews_correlation", mixed, train=["positive"] * 5)
    words = ("ablate", "--model", checkpoint, *files, "--labels", "negative,positive", "--kind", "only-one", *out)
    assert "matthews_correlation must be defined on train (5 examples)" in refused(*words)
    assert not own_store.exists()


@pytest.mark.parametrize("metric", ["accuracy", "matthews_correlation", "f1", "pearson"])
def test_predictions_that_are_all_alike_give_numbers(metric, own, invoke, json_of, tmp_path):
    """Correlations of a constant are undefined, and given as 0 as the official metrics do."""
    labels = ("score",) if metric == "pearson" else ("negative", "positive")
    model = save_tiny_checkpoint(tmp_path / "model", labels)
    dev = [2.5, 0.5, 4] if metric == "pearson" else ["positive", "negative", "positive"]
    files = own(metric, dev, train=dev)
    for file in (tmp_path / "dev.csv", tmp_path / "train.csv"):  # one text for all
        file.write_text("\n".join(["text,label", *(f"a film,{label}" for label in dev)]) + "\n")
    words = ("ablate", "--model", model, *files, "--kind", "only-one")
    report = json_of(invoke(*words, "--json", "--output", tmp_path / "out"))
    assert all(0 < p <= 1 for row in report["p_value"] for p in row)
    texts = [(tmp_path / "out" / name).read_text() for name in ("table.md", "table.tex", "ablations.csv")]
    assert not [text for text in (invoke(*words).stdout, *texts) if "nan" in text.lower()]


def test_one_example_is_said_to_say_nothing(invoke, tmp_path):
    done = invoke("ablate", "--split", "validation_matched", "--max-examples", 1, "--output", tmp_path / "one")
    assert done.exit_code == 0
    assert "validation_matched: one example says nothing of others: no interval or test can be relied on" in done.stderr
    assert "NaN" not in (tmp_path / "one" / "record.json").read_text("utf-8")
