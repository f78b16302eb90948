"""Folders of runs in the form that the commands write, made by hand: every number of a page can be foretold."""

import base64
import json
import random
import zlib

HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u202eltr\u0007 \u05e9\u05dc\u05d5\u05dd &amp; "
    + "x" * 10_000
)
NAME = "</title><b>model</b>"
COUNTS = {"n_examples": 200, "n_available": 200}


class Made:
    """Runs of a model of `n_blocks` blocks of `n_heads` heads; head number k, from 0, is worth k thousandths."""

    def __init__(self, folder, n_blocks=3, n_heads=4, n_examples=12, name="model"):
        self.folder, self.shape, self.n_examples, self.name = folder, (n_blocks, n_heads), n_examples, name
        self.blocks = [
            {"name": f"layer.{i}", "kind": "self", "stack": "encoder", "layer": i + 1, "n_heads": n_heads}
            for i in range(n_blocks)
        ]

    def grid(self, of):
        n_blocks, n_heads = self.shape
        return [[of(i * n_heads + j) for j in range(n_heads)] for i in range(n_blocks)]

    def mask(self, n):
        """The first n heads, as descriptors."""
        n_heads = self.shape[1]
        rows = [[j + 1 for j in range(n_heads) if i * n_heads + j < n] for i in range(self.shape[0])]
        return [f"{i + 1}:{','.join(map(str, row))}" for i, row in enumerate(rows) if row]

    @property
    def n_total(self):
        return self.shape[0] * self.shape[1]

    def write(self, kind, record, **files):
        folder = self.folder / kind
        folder.mkdir(parents=True, exist_ok=True)
        command = record.pop("command", kind)
        about = {
            "format": 1,
            "command": command,
            "identity_hash": "a" * 64,
            "configuration": {"model": self.name, "task": "sst2", "dtype": "float32"},
            "model": {"name": self.name, "type": "bert", "revision": None, "fingerprint": "f" * 64},
            "task": "sst2",
            "headline": "accuracy",
            "data": [{"split": "validation", "source": "dev.tsv", "fingerprint": "e" * 64, **COUNTS}],
            "notes": [],
            "seconds": {"all": 1.5},
            "provenance": {"date": "2026-11-30", "commit": "c" * 40, "dirty": False, "device": "cpu", "libraries": {}},
        }
        (folder / "record.json").write_text(json.dumps(about | record))
        for name, value in files.items():
            (folder / f"{name}.json").write_text(json.dumps(value))
        return folder

    def ablate(self, *, likelihood=True, examples=True, text="a text", n_tokens=6, **changes):
        def tested(scale):
            return {
                "base": 0.9,
                "delta": self.grid(lambda k: -k * scale),
                "low": self.grid(lambda k: -k * scale - scale),
                "high": self.grid(lambda k: -k * scale + scale),
                "p_value": self.grid(lambda k: 0.5 / (k + 1)),
                "p_adjusted": {
                    "holm": self.grid(lambda k: 0.0001 if k == self.n_total - 1 else 1.0),
                    "bh": self.grid(lambda k: 1.0),
                },
                "test": "exact McNemar",
            }

        about = {"split": "validation", "kind": "without-one", "metric": "accuracy", "n_examples": 200, "alpha": 0.01}
        table = {**about, **tested(0.001), "blocks": self.blocks, "value": self.grid(lambda k: 0.9 - k / 1000)}
        table |= {"base_interval": [0.85, 0.95], "best": None, "likelihood": tested(0.01) if likelihood else None}
        record = {"kind": "without-one", "tables": [table], "correlations": [], "flips": None, **changes}
        return self.write("ablate", record, **({"examples": self.examples(text, n_tokens)} if examples else {}))

    def examples(self, text, n_tokens):
        def seen(k, place):
            values = base64.b64encode(zlib.compress(random.Random(97 * k + place).randbytes(n_tokens**2))).decode()
            return {"queries": ["t"] * n_tokens, "keys": ["t"] * n_tokens, "values": values}

        rows = [
            {"index": i, "inputs": {"text": f"{i} {text}"}, "label": "positive", "before": "positive"}
            for i in range(self.n_examples)
        ]

        def changes(k):
            places = [(k * 5 + i) % self.n_examples for i in range(min(5, self.n_examples))]
            return [{"example": place, "after": "negative", "delta": -1.5, "map": seen(k, place)} for place in places]

        return {"splits": [{"split": "validation", "examples": rows, "heads": self.grid(changes)}]}

    def costs(self):
        cost = {"group_size": 1, "head_parameters": 100, "group_parameters": 0}
        cost |= {"head_multiply_adds": 1000, "group_multiply_adds": 0, "block_multiply_adds": 50}
        about = {"n_tokens": 128, "parameters": 10_000, "multiply_adds": 1_000_000, "lower_bound": False}
        return {**about, "blocks": [{**block, **cost} for block in self.blocks]}

    def curve(self, **changes):
        def line(criterion, estimator, n_draws, step):
            points = [
                {"split": "validation", "percent": 25 * i, "n_pruned": n, "value": 0.9 - step * n}
                | {"low": 0.89 - step * n, "high": 0.91 - step * n}
                | {"heads_pruned": self.mask(n) if n_draws == 1 else None}
                for i, n in enumerate(i * self.n_total // 4 for i in range(5))
            ]
            about = {"criterion": criterion, "estimator": estimator, "rescored": False, "n_draws": n_draws}
            return {**about, "scored_on": "train", "scores": None, "areas": {"validation": 0.8}, "points": points}

        lines = [line("gradient", "example", 1, 0.01), line("random", None, 20, 0.03)]
        return self.write("curve", {"format": 2, "lines": lines, "correlations": [], "costs": self.costs(), **changes})

    def score(self):
        scores = {"criterion": "gradient", "estimator": "example", "normalize": "none", "split": "train"}
        scores |= {"n_examples": 500, "blocks": self.blocks, "scores": self.grid(lambda k: k / 100)}
        return self.write("score", {}, scores=scores | {"standard_error": self.grid(lambda k: 0.001)})

    def run(self, curve=(), **changes):
        row = {"split": "validation", "metric": "accuracy", "n_examples": 200, "base": 0.9, "pruned": 0.8}
        row |= {"difference": -0.1, "low": -0.12, "high": -0.08, "base_interval": [0.85, 0.95]}
        half = self.n_total // 2
        record = {"mode": "zero", "n_heads": self.n_total, "n_pruned": half, "heads_pruned": self.mask(half)}
        record |= {
            "parameters": {"before": 10_000, "pruned": 600},
            "rows": [row],
            "curve": list(curve),
            "costs": self.costs(),
        }
        record["configuration"] = {"model": self.name, "task": "sst2", "dtype": "float32", "criterion": "gradient"}
        record["configuration"] |= {"estimator": "example"}
        record["scored_on"] = {"split": "train"}
        return self.write("run", {**record, **changes})

    def columns(self, command="roles", **more):
        column = {"name": "role", "title": "Role", "kind": "category", "group": "role", "note": "What it does."}
        column["values"] = self.grid(lambda k: ["previous", "broad", "none"][k % 3])
        return self.write(command, {"blocks": self.blocks, "columns": [column, *more.pop("columns", [])], **more})

    def look(self, text="a sentence of mine", n_tokens=3):
        shown = bytes(255 if k == 0 else 0 for _ in range(self.shape[1] * n_tokens) for k in range(n_tokens))
        packed = base64.b64encode(zlib.compress(shown)).decode()
        tokens = [f"t{i}" for i in range(n_tokens)]
        maps = [
            {"block": i, "heads": list(range(self.shape[1])), "queries": tokens, "keys": tokens}
            | {"probabilities": packed, "weighted": packed, "longest": 2.0}
            for i in range(self.shape[0])
        ]
        seen = {"text": text, "pair": None, "tokens": tokens, "answers": [{"name": "positive", "probability": 0.75}]}
        seen |= {"measure": "log-likelihood", "effects": self.grid(lambda k: -k / 10), "maps": maps}
        return self.write("look", {"blocks": self.blocks, "texts": [seen]})

    def every(self, text="a text"):
        pair = {"first": "1:1", "second": "1:2", "interaction": 0.25, "low": 0.2, "high": 0.3, "p_holm": 0.001}
        pairs = {"split": "validation", "metric": "accuracy", "base": 0.9, "blocks": self.blocks, "rows": [pair]}
        group = {
            "by": "js",
            "heads": ["1:1", "2:1"],
            "partners": [[{"head": "2:1", "js": 0.1}], [{"head": "1:1", "js": 0.1}]],
        }
        self.columns("similar", columns=[], groups=[group], interactions=[])
        return [
            *(self.ablate(text=text), self.curve(), self.score(), self.run(), self.columns(), self.look(text[:2000])),
            *(self.folder / "similar", self.write("pairs", {"command": "ablate", "kind": "pairs", "pairs": [pairs]})),
        ]
