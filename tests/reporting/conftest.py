"""What the tests of reporting share."""

import io

import pytest
from rich.console import Console


@pytest.fixture(scope="session")
def rendered():
    """A renderable as the text that a terminal of some width shows, without colours unless asked for."""

    def render(renderable, width=80, colour=False):
        system = "truecolor" if colour else None
        console = Console(file=io.StringIO(), width=width, force_terminal=colour, color_system=system)
        console.print(renderable)
        return console.file.getvalue()

    return render


@pytest.fixture(scope="session")
def ablations():
    """A function that makes the record of `prune-heads ablate` from a list of (split, rows).

    A row holds one (delta, p, p after Holm, p after Benjamini-Hochberg) a head, or None.
    """

    def table(split, rows, kind, best):
        def column(pick):
            return [[None if cell is None else pick(cell) for cell in row] for row in rows]

        return {
            "split": split,
            "kind": kind,
            "metric": "accuracy",
            "base": 0.75,
            "n_examples": 872,
            "blocks": [{"kind": "self", "stack": "encoder", "n_heads": len(row)} for row in rows],
            "value": column(lambda cell: 0.75 + cell[0]),
            "delta": column(lambda cell: cell[0]),
            "low": column(lambda cell: cell[0] - 0.01),
            "high": column(lambda cell: cell[0] + 0.01),
            "p_value": column(lambda cell: cell[1]),
            "p_adjusted": {"holm": column(lambda cell: cell[2]), "bh": column(lambda cell: cell[3])},
            "test": "exact McNemar",
            "alpha": 0.01,
            "best": best,
        }

    def record(splits, *, kind="without-one", best=None, correlations=(), flips=None, name="tiny_1"):
        return {
            "command": "ablate",
            "model": {"name": name},
            "task": "sst2",
            "kind": kind,
            "headline": "accuracy",
            "tables": [table(split, rows, kind, best) for split, rows in splits],
            "correlations": list(correlations),
            "flips": flips,
        }

    return record
