"""The runs that a page is made of: what their folders hold, read without torch and without their model."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from prune_heads import options
from prune_heads.descriptors import HeadCounts
from prune_heads.errors import RunError
from prune_heads.execution.folder import RECORD_FILE
from prune_heads.heads import HeadMask
from prune_heads.options import Group, Opt, options_of
from prune_heads.reading import read_json
from prune_heads.reporting.words import Record

COMMANDS = ("run", "score", "ablate", "curve", "evaluate", "correlate", "bench", "look", "roles", "similar")
"""Whose records a page shows."""
_NEWEST = 2  # format of records
_BESIDE = ("scores", "heads", "examples")  # JSON files of a folder beside its record
FAULTS = (KeyError, TypeError, ValueError, AttributeError, IndexError)
"""What reading a damaged record raises."""


@dataclass(frozen=True)
class Run:
    """A run: its record, and the other JSON files of its folder."""

    source: str  # name of its folder or file
    record: Record
    files: dict[str, Record] = field(default_factory=dict)  # `scores`, `heads`, `examples`, where they are there

    @property
    def command(self) -> str:
        """What made it."""
        return str(self.record["command"])

    @property
    def model(self) -> Record:
        """Its name, type, revision and fingerprint; of a correlation there is none."""
        return dict(self.record["model"])

    @property
    def dtype(self) -> str | None:
        """The type of its weights."""
        return self.record.get("configuration", {}).get("dtype")

    def damaged(self, fault: Exception) -> RunError:
        """The error for a record in which something is missing or of another form."""
        return RunError(
            f"a record must be what 'prune-heads {self.command} --output' writes; {self.source} is damaged "
            f"({type(fault).__name__}: {fault}). Make it again"
        )


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """The runs at these paths, each once: folders of `--output`, or records.

    Raises:
        RunError: If one is no run, or of another command, format or model than the others.
    """
    runs = [_read(path) for path in dict.fromkeys(path.resolve() for path in paths)]
    of_type: dict[str | None, Run] = {}  # weights in another type have another fingerprint
    for run in runs:
        try:
            if run.command == "correlate":
                continue
            first = of_type.setdefault(run.dtype, run)
            other = next(iter(of_type.values()))
            if first.model["fingerprint"] != run.model["fingerprint"] or other.model["name"] != run.model["name"]:
                two = (each.model for each in (first if first is not run else other, run))
                one, another = (f"{model['name']} ({model['fingerprint'][:8]})" for model in two)
                raise RunError(
                    f"a page must be of one model, whose head 3:1 is one head; got {one} and, in {run.source}, "
                    f"{another}. Make a page for each"
                )
        except FAULTS as fault:
            raise run.damaged(fault) from fault
    if not of_type:
        raise RunError("one of the runs must be of a model; all of them are correlations. Name another")
    return runs


def _read(path: Path) -> Run:
    file, source = path, path.name
    if path.is_dir():
        file = path / RECORD_FILE
    elif path.name == RECORD_FILE:
        source = path.parent.name
    must = f"each RUN must be the folder of a run, or its {RECORD_FILE}"
    if not file.is_file():
        raise RunError(f"{must}; {source} {f'holds no {RECORD_FILE}' if path.is_dir() else 'is not there'}")
    record = read_json(file, "the record of a run")
    command, form = record.get("command"), record.get("format")
    if command not in COMMANDS:
        what = "is no record of ours" if command is None else f"is of '{command}'"
        raise RunError(f"{must}, of {', '.join(COMMANDS)}; {source} {what}. Name another")
    if not isinstance(form, int) or form > _NEWEST:
        raise RunError(f"the format of a record must be at most {_NEWEST}; {source} has {form}. Update prune-heads")
    beside = {name: path / f"{name}.json" for name in _BESIDE} if path.is_dir() else {}
    found: dict[str, Record] = {
        name: read_json(each, f"the {name} of a run") for name, each in beside.items() if each.is_file()
    }
    return Run(source, record, found)


def described(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The attention blocks of the model, as the first run that knows describes them.

    Raises:
        RunError: If none says how many heads there are.
    """
    for run in runs:
        record = run.record
        tables = (table for table in record.get("tables") or () if isinstance(table, dict))
        for each in (record, record.get("costs"), run.files.get("scores"), *tables):
            if each and each.get("blocks"):
                keys = ("name", "kind", "stack", "layer", "n_heads")
                return [{key: block[key] for key in keys} for block in each["blocks"]]
    for run in runs:  # older curves say only which heads are gone when all are
        masks = [point["heads_pruned"] or () for line in run.record.get("lines") or () for point in line["points"]]
        if names := [name.rpartition(":") for name in max(masks, key=len, default=())]:
            stacks = {"A": ("cross", "decoder"), "D": ("self", "decoder")}
            found = []
            for block, _, heads in names:
                kind, stack = stacks.get(block[0], ("self", "encoder"))
                layer = int(block.rpartition(":")[2])
                n_heads = max(map(int, heads.split(",")))
                found.append({"name": block, "kind": kind, "stack": stack, "layer": layer, "n_heads": n_heads})
            return found
    raise RunError(
        "one of the runs must say how many heads the model has; none does. Add one of 'score', 'ablate', 'curve' or "
        "'run --curve'"
    )


def places(descriptors: Iterable[str], counts: HeadCounts) -> list[int]:
    """The heads of a mask by their places in the whole model, from 0: block after block."""
    starts = [sum(counts[:block]) for block in range(len(counts))]
    return [starts[block] + head for block, head in HeadMask.parse(" ".join(descriptors), counts)]


def command_line(record: Record) -> str:
    """The command that makes a record, as far as its configuration says; paths are those of folders alone."""
    words = ["prune-heads", record["command"]]
    words += dict.fromkeys(series["source"] for series in record.get("series", ()))
    for key, value in record.get("configuration", {}).items():
        option = _options().get(key)
        default = list(option.default) if option and isinstance(option.default, tuple) else option and option.default
        if option is None or value in (None, [], "", False, default):
            continue
        flag = option.flag.partition("/")[0]
        if value is True:
            words.append(flag)
        elif isinstance(value, list) and option.is_many:
            words += [word for each in value for word in (flag, str(each))]
        elif isinstance(value, list):
            words += [flag, (" " if key == "heads" else ",").join(map(str, value))]
        else:
            words += [flag, str(value)]
    return shlex.join(words)


@cache
def _options() -> dict[str, Opt]:
    """All options by their keys in records."""
    kinds = [each for each in vars(options).values() if isinstance(each, type)]
    groups = [each for each in kinds if issubclass(each, Group) and each is not Group]
    return {option.key: option for group in groups for option in options_of(group).values()}
