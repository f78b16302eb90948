"""Which uses `prune-heads doctor` finds in scripts, notebooks and configurations, and which it leaves alone."""

import json
import subprocess
import sys
import time

import pytest

from prune_heads.errors import DataError
from prune_heads.migration import MASKS, Module, cures, examine, parse

MASKED = "model(head_mask=1)"


def found(source):
    return Module(parse(source)).uses()


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("model(x, head_mask=m)", ["head_mask="]),
        ("self.bert(x, decoder_head_mask=m, cross_attn_head_mask=n)", [f"{mask}=" for mask in MASKS[:0:-1]]),
        ("model.generate(x, head_mask=m)", ["generate(head_mask=)"]),
        ("model(**{'head_mask': m})", ["head_mask="]),
        ("model(**dict(head_mask=m))", ["head_mask="]),
        ("kw = {'head_mask': m}\nmodel(**kw)", ["head_mask="]),
        ("kw: dict = {'head_mask': m}\nmodel(**kw)", ["head_mask="]),
        ("def f():\n    kw['head_mask'] = m\n    return model(**kw)", ["head_mask="]),
        ("kw.update(head_mask=m)", ["head_mask="]),
        ("model.prune_heads(h)", [".prune_heads()"]),
        ("class A(B):\n    def f(self):\n        super().prune_heads(h)", [".prune_heads()"]),
        ("class A:\n    def f(self):\n        self.prune_heads(h)", [".prune_heads()"]),
        (f"class A:\n    @property\n    def model(self): ...\n    f = lambda self: self.{MASKED}", ["head_mask="]),
        (f"@fixture\ndef model(): ...\ndef f(model):\n    {MASKED}", ["head_mask="]),
        ("model._prune_heads(h)", [".prune_heads()"]),
        ("self.get_head_mask(m, 2)", [".get_head_mask()"]),
        ("BertConfig(pruned_heads=h)", ["pruned_heads="]),
        ("config.pruned_heads = h", [".pruned_heads = ..."]),
        ("print(model.config.pruned_heads)", [".pruned_heads"]),
        ("from transformers import prune_layer", ["import prune_layer"]),
        ("from transformers import prune_layer as p\np()", ["import prune_layer", "prune_layer()"]),
        ("from transformers import pytorch_utils as u\nu.prune_conv1d_layer()", ["prune_conv1d_layer()"]),
        ("import transformers.x\ntransformers.x.prune_linear_layer()", ["prune_linear_layer()"]),
    ],
)
def test_a_use_is_found(source, uses):
    assert sorted(use for _, use in found(source)) == sorted(uses)
    assert set(uses) <= set(cures())


@pytest.mark.parametrize(
    "source",
    [
        "def forward(self, head_mask=None): return head_mask",
        "head_mask = 1\nprint('head_mask', head_mask)",
        "kw = {'head_mask': m}\nprint(kw)",
        "def f(head_mask): ...\nf(head_mask=1)",
        "class A:\n    def prune_heads(self, heads): ...\n    def f(self):\n        self.prune_heads(1)",
        "class A:\n    def f(self):\n        self.pruned_heads = set()\n        return self.pruned_heads",
        "def prune_heads(model, heads): ...\nprune_heads(model, 1)",
        "import prune_heads\nprune_heads.gated(model, gates)\nprune_heads.prune_heads(model)",
        "from prune_heads import surgery\nsurgery.run(head_mask=1)\nsurgery.prune_heads(1)",
        "import pruner\npruner.prune_heads(model, heads)",
        "from transformers.pytorch_utils import prune_linear_layer\nprune_linear_layer(layer, index)",
        "from mine import find_pruneable_heads_and_indices\nfind_pruneable_heads_and_indices()",
        "from .utils import prune_layer\nprune_layer()",
        "try:\n    from transformers import prune_layer as f\nexcept ImportError:\n    from mine import f\nf()",
    ],
)
def test_what_is_no_use_is_not_reported(source):
    assert found(source) == []


def test_lines_are_where_the_words_stand():
    source = "model(\n  x,\n  head_mask=m,\n)\nmodel.base_model(\n).prune_heads(\n  h)\nkw = {\n 'head_mask': 1}\n"
    assert found(source + "f(**kw)") == [(3, "head_mask="), (6, ".prune_heads()"), (9, "head_mask=")]
    assert found("f(head_mask=1)(head_mask=2)") == [(1, "head_mask=")]


def test_configurations_are_found_by_key_and_line(tmp_path):
    (tmp_path / "config.json").write_text(
        '\ufeff{"a": "\\"pruned_heads\\": {1}",\n "encoder": {"pruned_heads"\n: {"2": [0]}},\n'
        ' "b": ["pruned_heads"], "pruned_heads": {}}',
        "utf-8",
    )
    (tmp_path / "a.toml").write_text(
        '# pruned_heads = 1\npruned_heads = { }\n[x]\npruned_heads = {3 = [1]}\n[model.pruned_heads]\n"2" = [0]\n'
        "[y]\nmodel.pruned_heads.2 = [1]\nnot_pruned_heads = 3\nlist = ['pruned_heads']\n"
    )
    (tmp_path / "empty.json").write_text('{"pruned_heads": {}, "x": NaN}')
    report = examine([tmp_path])
    where = [(found["file"].rpartition("/")[2], found["line"], found["use"]) for found in report["findings"]]
    assert where == [("a.toml", n, '"pruned_heads":') for n in (4, 5, 8)] + [("config.json", 2, '"pruned_heads":')]
    assert (report["unreadable"], report["n_files"]) == ([], 3)


def notebook(*sources):
    cells = [{"cell_type": "code", "source": source} for source in sources]
    return json.dumps({"cells": [{"cell_type": "markdown", "source": "head_mask"}, *cells], "nbformat": 4})


def test_the_code_cells_of_a_notebook_are_one_module(tmp_path):
    (tmp_path / "a.ipynb").write_text(
        notebook(
            ["%matplotlib inline\n", "!pip install \\\n", "  transformers==4\n", "import transformers as t"],
            "files = !ls\nmodel?\nt.pytorch_utils.prune_layer()",
            "%%bash\npython run.py --head_mask",
            "%%time\nx = ('%s'\n     % 1)\nmodel(head_mask=1)",
            "model(head_mask=",
            "broken, but harmless",
        )
    )
    report = examine([tmp_path])
    places = [(found["cell"], found["line"], found["use"]) for found in report["findings"]]
    assert places == [(3, 3, "prune_layer()"), (5, 4, "head_mask=")]
    assert [(broken["cell"], broken["reason"]) for broken in report["unreadable"]] == [
        (6, "not Python 3: line 1: '(' was never closed")
    ]


def test_a_file_that_cannot_be_parsed_does_not_stop_the_rest(tmp_path):
    broken = {
        "a.py": b"print 'x'; model.prune_heads(h)",
        "b.py": b"head_mask = '\xff'",
        "c.py": b"head_mask = 1\0",
        "d.py": b"head_mask = " + b"(" * 5000 + b")" * 5000,
        "d2.py": b"head_mask = " + b"+".join([b"x"] * 50_000),
        "e.json": b'{"pruned_heads": ',
        "f.json": b"\xff pruned_heads",
        "g.json": b'["pruned_heads", ' + b"[" * 200_000,
        "h.ipynb": b'{"head_mask": 1}',
        "i.ipynb": b"head_mask",
        "j.toml": b"pruned_heads",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "harmless.py").write_bytes(b"print 'x'")
    (tmp_path / "k.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xff\\d'; model(head_mask=x)")
    report = examine([tmp_path])
    found = {"file": str(tmp_path / "k.py"), "cell": None, "line": 2, "use": "head_mask="}
    assert report["findings"] == [found | cures()["head_mask="]]
    assert [row["file"] for row in report["unreadable"]] == [str(tmp_path / name) for name in broken]
    kinds = [row["reason"].partition(":")[0] for row in report["unreadable"]]
    assert kinds == ["not Python 3"] * 5 + ["not JSON"] * 3 + ["not a notebook"] * 2 + ["not TOML"]
    assert all("\n" not in row["reason"] for row in report["unreadable"])
    assert report["n_files"] == 13


def test_folders_are_walked_in_order_and_environments_passed_by(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    skipped = (".git/a.py", "venv/lib/a.py", "conda/a.py", "x/__pycache__/a.py", "node_modules/a.json")
    for name in ("b/z.py", "b/a.py", "a.py", "b/c/d.py", "b/notes.txt", "data/pruned_heads.csv", *skipped):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("model(head_mask=1)")
    (tmp_path / "venv/pyvenv.cfg").touch()
    (tmp_path / "conda/conda-meta").mkdir()
    (tmp_path / "b/loop").symlink_to(tmp_path)
    (tmp_path / "b/gone.py").symlink_to(tmp_path / "nowhere")
    files = [found["file"] for found in examine([type(tmp_path)(".")])["findings"]]
    assert files == ["a.py", "b/a.py", "b/z.py", "b/c/d.py"]
    twice = examine([type(tmp_path)("b/../a.py"), tmp_path / "a.py", type(tmp_path)("venv")])
    assert [found["file"] for found in twice["findings"]] == ["b/../a.py", "venv/lib/a.py"]


def test_a_large_file_is_searched_to_its_end_and_an_empty_one_at_all(tmp_path):
    (tmp_path / "a.py").write_text("#" * (5 << 20) + "\nmodel(head_mask=1)")
    (tmp_path / "b.py").touch()
    report = examine([tmp_path])
    assert [(found["line"], report["n_files"]) for found in report["findings"]] == [(2, 2)]


def test_paths_must_be_there_and_of_a_known_kind(tmp_path):
    (tmp_path / "run.sh").touch()
    with pytest.raises(DataError, match=r"there is none at .*nowhere"):
        examine([tmp_path, tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"must be one of \.py, \.ipynb, \.json, \.toml; got .*run\.sh"):
        examine([tmp_path / "run.sh"])


def test_nothing_heavy_is_imported():
    code = "import prune_heads.reporting.listings, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "numpy"} & set(modules.split())


LONG = 250_000
HOSTILE_LINES = {
    "attributes.py": "class A:\n def f(self):\n  " + ";".join(["self.pruned_heads"] * (LONG // 18)),
    "spaces.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": " " * LONG + "x = = head_mask"}]}),
    "dots.toml": "a." * (LONG // 2) + "pruned_heads=[1]",
    "tables.toml": "[[pruned_heads]]\n" * (LONG // 17),
    "deep.json": '{"pruned_heads":' + "[" * LONG,
}


@pytest.mark.parametrize("name", HOSTILE_LINES)
def test_a_long_line_is_read_in_the_time_it_takes_to_read_it(name, tmp_path):
    (tmp_path / name).write_text(HOSTILE_LINES[name])
    start = time.perf_counter()
    examine([tmp_path])
    assert time.perf_counter() - start < 15  # hours, or at least half a minute, where it grew with the square
