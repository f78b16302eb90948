"""What the project may cost: lines, files, functions, pages, imports and the time of its tests.

`python -m tests.budgets` prints every figure with its limit, and exits with 1 if one that is `held` is above. Times of
imports are CPU seconds, which do not grow when the machine is busy. Times of suites are those of their last runs here.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REASON = "# long: "
"""Begins the comment on the line above a `def` (or its first decorator) of more than 60 lines."""
SUITES = ".pytest_cache/v/budgets/suites"
"""Where the suite keeps how long it took; see `tests/suite_times.py`."""

HELD_LINES = 28_100
"""20,000 for the core, 3,000 for looking at heads, 2,000 for what tables can be believed to say,
2,500 for criteria and how they are compared, 600 for winning back what pruning lost."""

REFERENCE = 6.4
"""CPU seconds of importing torch and BERT on the machine that the limits of times are for: two idle cores. A machine on
which this takes twice as long is given limits twice as long."""
TOLERANCE = 2.0
"""Times of the tests fail above so many times their limit: a shared machine was seen to change its pace so far within
twenty minutes. Up to there they are shown as above, for people. The set-up, which waits for others, never fails."""

_REPEATS = 3
_BASE = "import torch; from transformers import BertForSequenceClassification"
_RUN = """
import sys
sys.argv = "prune-heads run --json --max-examples 8".split()
from prune_heads.cli.app import main
main()
"""
_TIMED = """
import atexit, builtins, importlib, sys, time
depth, spent = 0, 0.0
def timed(function):
    def call(*args, **kwargs):
        global depth, spent
        if depth:
            return function(*args, **kwargs)
        depth, start = 1, time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            depth, spent = 0, spent + time.process_time() - start
    return call
builtins.__import__, importlib.import_module = timed(builtins.__import__), timed(importlib.import_module)
atexit.register(lambda: print(f"imports: {spent}", file=sys.stderr))
"""
"""Adds up the CPU time of the outermost imports of a program, those inside its functions included."""
_HELP = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "prune_heads", "--help"], stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"imports: {used.ru_utime + used.ru_stime}", file=sys.stderr)
"""


@dataclass(frozen=True)
class Figure:
    """What was measured, and the most that it may be."""

    name: str
    value: float | None
    """None where it was not measured, which is not above the limit."""
    limit: float
    note: str = ""
    held: bool = True
    """Whether a value above always fails; seconds do with `--hold-times`, for another machine is slower or busy."""

    @property
    def kept(self) -> bool:
        return self.value is None or self.value <= self.limit


def sizes() -> list[Figure]:
    """What the files say, in a second."""
    sources = {path: path.read_text("utf-8") for path in sorted(ROOT.glob("prune_heads/**/*.py"))}
    lines = {path: text.count("\n") for path, text in sources.items()}
    longest = max(lines, key=lambda path: lines[path])
    long = [name for path, text in sources.items() for name in long_functions(text, path.stem)]
    return [
        Figure("lines of *.py under prune_heads/", sum(lines.values()), HELD_LINES),
        Figure("lines of the longest file", lines[longest], 300, str(longest.relative_to(ROOT))),
        Figure("functions over 60 lines without a reason", len(long), 0, ", ".join(long)),
        Figure("bytes of README.md", (ROOT / "README.md").stat().st_size, 12_000),
    ]


def long_functions(source: str, module: str) -> Iterator[str]:
    """Functions of more than 60 lines, docstring included, with no line `# long: REASON` just above."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > 60 and not (first > 1 and lines[first - 2].strip().startswith(REASON)):
                yield f"{module}.{node.name} ({length})"


def imports() -> tuple[list[Figure], float]:
    """What must be imported, the least of three times in turn; and how much slower this machine is than `REFERENCE`."""
    programs = {"package": _TIMED + "import prune_heads", "base": _TIMED + _BASE, "run": _TIMED + _RUN, "help": _HELP}
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(_REPEATS):
        for name, program in programs.items():
            seconds[name].append(_seconds(program))
    least = {name: min(values) for name, values in seconds.items()}
    ratio, run, base = min((run / base, run, base) for run, base in zip(seconds["run"], seconds["base"], strict=True))
    slower = max(1.0, least["base"] / REFERENCE)
    figures = [
        Figure("import prune_heads, CPU seconds", least["package"], 0.1),
        Figure("imports of prune-heads run, ratio", ratio, 1.25, f"{run:.2f} s against {base:.2f} s of torch and BERT"),
        Figure("prune-heads --help, CPU seconds", least["help"], 0.5 * slower),
    ]
    return figures, slower


def _seconds(program: str) -> float:
    # Compiled modules are kept, as they are for users; else ours alone would be compiled in every run.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=kept
    )
    return float(ran.stderr.rpartition("imports: ")[2])


def suites(since: float | None = None, slower: float = 1.0) -> list[Figure]:
    """How long the last runs of all tests took.

    Args:
        since: When `.ci/run` began, in seconds of the epoch, where it asks itself.
        slower: How much slower this machine is than the `REFERENCE`; it has so much more time.
    """
    default, whole_run = 240 * slower, 720 * slower
    path = ROOT / SUITES
    kept = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    alone, every = kept.get("not slow and not thorough"), kept.get("not thorough")
    figures = []
    if every is not None:
        figures += [
            Figure("pytest, seconds, as its share of .ci/run", every["default_seconds"], default, _about(every), False),
            Figure("tests of .ci/run, seconds", every["seconds"], whole_run, _about(every), False),
        ]
    if alone is not None or every is None:
        figures += [Figure("pytest, seconds", alone and alone["seconds"], default, _about(alone), False)]
    whole = None if since is None else time.time() - since
    note = f"this machine is {slower:.2f} times slower than the one of the limits" if slower > 1 else ""
    return [*figures, Figure(".ci/run with its set-up, seconds", whole, whole_run, note, held=False)]


def _about(suite: dict[str, object] | None) -> str:
    if suite is None:
        return "not measured"
    return f"{suite['tests']} tests, {suite['workers']} workers, {suite['date']}"


def main() -> int:
    parser = argparse.ArgumentParser(description="Print what the project costs; exit with 1 above a limit.")
    parser.add_argument("--since", type=float, help="when .ci/run began, in seconds of the epoch")
    parser.add_argument("--hold-times", action="store_true", help="fail far above the limits of the tests' times too")
    asked = parser.parse_args()
    of_imports, slower = imports()
    sized, timed = [*sizes(), *of_imports], suites(asked.since, slower)
    for each in [*sized, *timed]:
        value = "-" if each.value is None else f"{each.value:,.4g}" if each.value < 10 else f"{each.value:,.0f}"
        kept = "ok" if each.kept else "ABOVE"
        print(f"{each.name:<42} {value:>7} of {each.limit:>6,g}  {kept:<5}  {each.note}".rstrip())
    late = asked.hold_times and any((each.value or 0) > TOLERANCE * each.limit for each in timed[:-1])
    return 1 if late or not all(each.kept for each in sized if each.held) else 0


if __name__ == "__main__":
    sys.exit(main())
