"""Full disks, closed pipes, places that are none, too little memory, hostile names: one line, and nothing half-done."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from prune_heads import evaluation, predictions
from prune_heads.store.objects import Folder

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "prune_heads"]


GONE = "the working directory must be there; it was removed. Change to another"


def shell(line, **options):
    """The exit codes of a pipe, and what stands on stderr."""
    program = " ".join(COMMAND)
    done = subprocess.run(
        ["bash", "-c", line.replace("PROGRAM", program) + '; echo "${PIPESTATUS[@]}" >&2'],
        capture_output=True, text=True, check=False, timeout=120, **options,
    )  # fmt: skip
    *said, codes = done.stderr.splitlines()
    return [int(code) for code in codes.split()], said


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("PROGRAM tasks > /dev/full", 1, ["error: stdout must be writable; got: No space left on device"]),
        ("PROGRAM tasks --json > /dev/full", 1, ["error: stdout must be writable; got: No space left on device"]),
        ("PROGRAM tasks > /dev/full 2> /dev/full", 1, []),
        ("PROGRAM tasks >&-", 1, ["error: stdout must be open; got a closed one. Send it to a file, or to /dev/null"]),
        ("PROGRAM tasks | true", 141, []),
        ("PROGRAM run --help | true", 141, []),
        ("cd gone; rmdir ../gone; PROGRAM tasks", 1, [f"error: {GONE}"]),
    ],
)  # fmt: skip
def test_streams_and_the_working_directory(line, code, said, tmp_path):
    (tmp_path / "gone").mkdir()
    codes, found = shell(line, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (codes[0], found) == (code, said)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("not enough memory: you tried to allocate 4 bytes"),
        MemoryError(),
    ],
)
def test_too_little_memory(error, refused, on_sst2, out, monkeypatch):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(evaluation, "prove_gates", fail)
    said = refused("evaluate", *on_sst2, *out)
    assert said.startswith("the memory must be enough; got: ")
    assert said.endswith("Take a smaller --batch-size, or --memory")


@pytest.mark.parametrize("output", ["/", "/proc/x", "n" * 300, "n" * 300 + "/x", "loop", "loop/x"])
def test_outputs_that_cannot_be_are_refused_before_the_work(output, refused, on_sst2, tmp_path, monkeypatch):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    monkeypatch.setattr(evaluation, "prove_gates", lambda *args: pytest.fail("the work has begun"))
    for command in ("evaluate", "run", "ablate"):
        said = refused(command, *on_sst2, "--output", tmp_path / output)
        assert "the output" in said
        assert "Name another --output" in said


def test_the_longest_name_is_one(invoke, on_sst2, tmp_path):
    assert invoke("evaluate", *on_sst2, "--output", tmp_path / ("é" * 127 + "e")).exit_code == 0
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("command", "home"), [("run", "/proc"), ("evaluate", "/dev/null"), ("ablate", "/proc"), ("curve", "/proc")]
)
def test_a_home_that_cannot_be_written_is_told_before_the_work(command, home, refused, on_sst2, monkeypatch):
    monkeypatch.delenv("PRUNE_HEADS_STORE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr(predictions, "predict", lambda *args, **options: pytest.fail("the work has begun"))
    said = refused(command, *on_sst2)
    assert said.startswith(f"the store of predictions must be writable, on a disk with space left; got {home}/")


def test_a_store_that_has_everything_need_not_be_writable(invoke, on_sst2, monkeypatch):
    first = invoke("evaluate", *on_sst2, "--json")
    monkeypatch.setattr(Folder, "check_writable", lambda self: pytest.fail("nothing is to be written"))
    assert invoke("evaluate", *on_sst2, "--json").stdout == first.stdout


def test_entries_of_the_store_that_are_a_folder_or_a_loop(invoke, refused, on_sst2, tmp_path, own_store):
    first = invoke("evaluate", *on_sst2, "--json").stdout
    (entry,) = own_store.rglob("*.safetensors")
    entry.unlink()
    entry.symlink_to(entry)
    assert "1 entry" in invoke("store", "list").stdout
    assert invoke("store", "verify").exit_code == 1
    assert invoke("evaluate", *on_sst2, "--json").stdout == first
    entry.unlink()
    entry.mkdir()
    assert "must be a file, not a folder" in refused("evaluate", *on_sst2)
    for command in ("list", "verify", "clear"):
        assert invoke("store", command).exit_code == 0


HOSTILE = "[red][/a]\x1b[31m\u202e"
WRITTEN = r"[red][/a]\x1b[31m\u202e"


def test_names_are_shown_as_they_are_written(invoke, refused, on_sst2, tmp_path):
    words = on_sst2[:2]
    assert WRITTEN in refused("evaluate", *on_sst2, "--split", HOSTILE)
    assert WRITTEN in refused("evaluate", "--model", tmp_path / HOSTILE.replace("/", ""), *on_sst2[2:]).replace(
        "][a", "][/a"
    )
    file = tmp_path / "x.jsonl"
    rows = [{"text": "x", "label": HOSTILE}, {"text": "y", "label": "b"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert WRITTEN in refused("evaluate", *words, "--validation-file", file)
    done = invoke(
        "evaluate", *words, "--validation-file", file, "--label-order", f"{HOSTILE},b", "--output", tmp_path / "o"
    )
    assert done.exit_code == 0


@pytest.mark.parametrize("url", ["https://me:secret@host/x", "https://host/x?token=secret"])
def test_passwords_in_the_url_of_a_model_are_masked(url, invoke, on_sst2):
    done = invoke("evaluate", "--model", url, *on_sst2[2:])
    assert done.exit_code == 1
    assert "secret" not in done.output
    assert "***" in done.output


@pytest.mark.parametrize("size", [7, "x", None])
def test_feed_forward_layers_in_chunks(size, invoke, on_sst2, copy):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"chunk_size_feed_forward": size}))
    done = invoke("evaluate", "--model", copy, *on_sst2[2:], "--json")
    assert done.stdout == invoke("evaluate", *on_sst2, "--json").stdout


def test_a_model_that_cannot_compute_is_one_line(refused, on_sst2, monkeypatch):
    def fail(*args):
        raise IndexError("index out of range in self")

    monkeypatch.setattr(evaluation, "prove_gates", fail)
    assert "must compute on the task's texts; got IndexError: index out of range" in refused("evaluate", *on_sst2)


def test_an_ablation_of_which_nothing_was_measured(invoke, refused, on_sst2, tmp_path):
    invoke("ablate", *on_sst2, "--output", tmp_path / "a")
    record = json.loads((tmp_path / "a/record.json").read_text())
    for table in record["tables"]:
        table["delta"] = [[None] * len(row) for row in table["delta"]]
    (tmp_path / "a/record.json").write_text(json.dumps(record))
    assert "no head was measured" in refused("correlate", tmp_path / "a", tmp_path / "a", "--output", tmp_path / "o")


@pytest.mark.parametrize("value", ["5", "true", "{a = 1}", "2020-01-01", "nan", "1" + "0" * 400, '"a\\u0000b"'])
@pytest.mark.parametrize("key", ["data_dir", "train_file", "output", "store"])
def test_paths_of_other_types_are_misuse(key, value, refused, tmp_path):
    (tmp_path / "c.toml").write_text(f"{key} = {value}\n")
    refused("run", "--config", tmp_path / "c.toml", code=2)


def test_a_sample_and_rows_that_are_left_out_are_noted_and_recorded(invoke, refused, on_sst2, tmp_path):
    rows = [f"text {i},{'positive' if i >= 50 else 'negative'}" for i in range(100)]
    (tmp_path / "x.csv").write_text("\n".join(["text,label", *rows, "z,maybe", ",positive"]))
    words = ("evaluate", *on_sst2[:2], "--validation-file", tmp_path / "x.csv", "--labels", "negative,positive")
    assert "row 101: the label must be one of negative, positive, got 'maybe'" in refused(*words)
    output = tmp_path / "o"
    done = invoke(*words, "--skip-invalid", "--sample", 20, "--sample-seed", 3, "--output", output)
    assert done.exit_code == 0, done.output
    assert (
        "note: validation: 2 invalid rows of the file are left out, the first: x.csv row 101: the label" in done.stderr
    )
    assert "note: validation: 20 of 100 examples, drawn at random (seed 3)" in done.stderr
    record = json.loads((output / "record.json").read_text())
    assert record["data"][0]["n_left_out"] == 2
    assert (
        record["configuration"] | {"max_examples": 20, "sample_seed": 3, "skip_invalid": True}
        == record["configuration"]
    )
    assert "all 20 examples" not in done.stderr
    first = invoke(*words, "--skip-invalid", "--max-examples", 20)
    assert "all 20 examples have the same label" in first.stderr
    assert "--sample N" in first.stderr
    assert "check the labels" not in first.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sample", 5, "--max-examples", 5), "--sample and --max-examples exclude each other"),
        (("--sample-seed", 5), "--sample-seed belongs to --sample"),
    ],
)
def test_samples_that_contradict_each_other(options, said, refused, on_sst2):
    assert said in refused("evaluate", *on_sst2, *options, code=2)


def test_only_files_of_one_s_own_have_invalid_rows(refused, on_sst2):
    assert "--skip-invalid must be given for files of one's own only" in refused("evaluate", *on_sst2, "--skip-invalid")
