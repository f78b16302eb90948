"""`prune-heads doctor`: what people and scripts see of it."""

import json
import re

import pytest

SCRIPT = """\
def importance(model, batch, head_mask):
    return model(**batch, head_mask=head_mask).loss

model.prune_heads({2: [0, 4]})
print(model.config.pruned_heads)
"""


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A folder of older work, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "importance.py").write_text(SCRIPT)
    (tmp_path / "scripts" / "fine.py").write_text("from prune_heads import gated\n")
    (tmp_path / "config.json").write_text('{\n  "pruned_heads": {"2": [0, 4]}\n}\n')
    return tmp_path


def test_findings_come_first_then_what_to_write_and_the_summary_last(invoke, old):
    done = invoke("doctor", "scripts", "config.json", COLUMNS="80")
    assert (done.exit_code, done.stderr) == (1, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[:10] == [
        "what transformers 5 does",
        "",
        "scripts/importance.py",
        "     2  head_mask=       ignored: no head is masked",
        "     4  .prune_heads()   AttributeError",
        "     5  .pruned_heads    AttributeError, unless a configuration still carries it",
        "",
        "config.json",
        '     2  "pruned_heads":  ignored: no head is removed; RuntimeError where the',
        "                         weights are of the smaller shape",
    ]
    assert lines[11].split("  ")[0] == "use"
    assert lines[11].endswith("what to write instead")
    assert lines[13].startswith("head_mask=  ")
    assert "with gated(model, gates_of(model," in lines[13]
    assert lines[-1] == "4 uses in 2 of 3 files"


def test_every_use_fits_80_columns(invoke, tmp_path):
    (tmp_path / "a.py").write_text(
        "from transformers import find_pruneable_heads_and_indices, prune_layer\n"
        "find_pruneable_heads_and_indices()\nmodel.generate(cross_attn_head_mask=1)\nBertConfig(pruned_heads=1)\n"
    )
    done = invoke("doctor", tmp_path / "a.py", COLUMNS="80")
    assert "AttributeError, or not reached:\n" in "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "its import fails" in done.stdout


def test_json_has_every_field(invoke, old):
    done = invoke("doctor", "scripts", "--json")
    assert (done.exit_code, done.stdout.count("\n")) == (1, 1)
    report = json.loads(done.stdout)
    assert list(report) == ["findings", "unreadable", "n_files"]
    first = report["findings"][0]
    assert list(first) == ["file", "cell", "line", "use", "effect", "instead"]
    assert first["file"] == "scripts/importance.py"
    assert (first["cell"], first["line"], first["use"]) == (None, 2, "head_mask=")
    assert first["effect"] == "ignored: no head is masked"
    assert (report["unreadable"], report["n_files"]) == ([], 2)


def test_nothing_found_is_exit_code_0(invoke, old, json_of):
    done = invoke("doctor", "scripts/fine.py")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "nothing in 1 file\n", "")
    assert json_of(invoke("doctor", "scripts/fine.py", "--json"))["findings"] == []


def test_what_cannot_be_read_is_said_and_is_exit_code_1(invoke, old):
    (old / "py2.py").write_text("print 'heads', model.prune_heads(h)\n")
    cell = {"cell_type": "code", "source": "model(head_mask="}
    (old / "a.ipynb").write_text(json.dumps({"cells": [cell, cell | {"source": "model(head_mask=1)"}]}))
    done = invoke("doctor", "py2.py", "a.ipynb")
    assert done.exit_code == 1
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert "cell 2:1  head_mask=  ignored: no head is masked" in lines
    (start,) = (i for i, line in enumerate(lines) if line.split("  ")[0] == "mentions it")
    unread = [re.split("  +", line) for line in lines[start + 2 : start + 4]]
    assert unread[0][0] == "py2.py"
    assert unread[0][1].startswith("not Python 3: line 1: Missing parentheses")
    assert unread[1] == ["a.ipynb cell 1", "not Python 3: line 1: '(' was never closed"]
    assert lines[-1] == "1 use in 1 of 2 files; 2 files cannot be read in whole"
    assert invoke("doctor", "py2.py").exit_code == 1


def test_a_missing_path_is_one_red_line(refused, old):
    assert refused("doctor", "scripts", "nowhere") == (
        "a path must be an existing file or folder; there is none at nowhere"
    )


def test_a_path_must_be_given(refused):
    assert "PATH" in refused("doctor", code=2)
