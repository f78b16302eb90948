"""The runs that a page is made of: what their folders hold, read without torch and without their model."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from prune_heads import options
from prune_heads.errors import RunError
from prune_heads.execution.folder import RECORD_FILE
from prune_heads.files import read_json
from prune_heads.options import Group, Opt, options_of
from prune_heads.reporting.words import Record

COMMANDS = ("run", "fit", "score", "ablate", "curve", "evaluate", "correlate", "bench", "look", "roles", "similar")
"""Whose records a page shows."""
_NEWEST = 2  # format of records
_BESIDE = ("scores", "examples")  # JSON files of a folder beside its record


@dataclass(frozen=True)
class Run:
    """A run: its record, and other JSON files of its folder."""

    source: str  # name of its folder or file
    record: Record
    files: Mapping[str, Record] = field(default_factory=dict)  # `scores`, `examples`, where they are there

    @property
    def command(self) -> str:
        """What made it."""
        return str(self.record["command"])

    @contextmanager
    def reading(self) -> Iterator[Record]:
        """The record, to be read in the block; `RunError` where something is missing in it or of another form."""
        try:
            yield self.record
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as fault:
            must, said = f"what 'prune-heads {self.command} --output' writes", f"({type(fault).__name__}: {fault})"
            raise RunError(f"a record must be {must}; {self.source} is damaged {said}. Make it again") from fault


def read_runs(paths: Iterable[Path]) -> list[Run]:
    """The runs at these paths, each once: folders of `--output`, or records.

    Weights of another type have another fingerprint: runs in float32 and bfloat16 are of one model if its name is one.
    A `RunError` if one is no run, or of another command, format or model than the others.
    """
    runs = [_read(path) for path in dict.fromkeys(path.resolve() for path in paths)]
    of_type: dict[str | None, Record] = {}
    for run in runs:
        if run.command == "correlate":
            continue
        with run.reading() as record:
            model = dict(record["model"])
            words = [model.get(key, "") for key in ("name", "type", "fingerprint")]
            if not all(isinstance(word, str) for word in (*words, model.get("revision") or "")):
                raise ValueError("the model's name, type, fingerprint and revision must be texts")
            same = of_type.setdefault(record.get("configuration", {}).get("dtype"), model)
            for other in (same, *of_type.values()):
                if other["name"] != model["name"] or same["fingerprint"] != model["fingerprint"]:
                    one, another = (f"{each['name']} ({each['fingerprint'][:8]})" for each in (other, model))
                    must = f"a page must be of one model; got {one} and, in {run.source}, {another}"
                    raise RunError(f"{must}. Make a page for each")
    if not of_type:
        raise RunError("one RUN must be of a model; got correlations alone. Name another")
    return runs


def _read(path: Path) -> Run:
    is_folder = path.is_dir()
    file = path / RECORD_FILE if is_folder else path
    source = path.parent.name if path.name == RECORD_FILE else path.name
    must = f"each RUN must be the folder of a run, or its {RECORD_FILE}"
    if not file.is_file():
        raise RunError(f"{must}; {source} {f'holds no {RECORD_FILE}' if is_folder else 'is not there'}. Name another")
    record = read_json(file, "the record of a run")
    command, form = record.get("command"), record.get("format")
    if command not in COMMANDS:
        what = "is no record of ours" if command is None else f"is of '{command}'"
        raise RunError(f"{must}, of {', '.join(COMMANDS)}; {source} {what}. Name another")
    if not isinstance(form, int) or form > _NEWEST:
        raise RunError(f"the format of a record must be at most {_NEWEST}; {source} has {form}. Update prune-heads")
    beside = {name: file.with_name(f"{name}.json") for name in _BESIDE if file.name == RECORD_FILE}
    found = {name: read_json(each, f"the {name} of a run") for name, each in beside.items() if each.is_file()}
    return Run(source, record, found)


def command_line(record: Record) -> str:
    """The command that makes a record, as far as its configuration says."""
    words = ["prune-heads", record["command"]]
    words += dict.fromkeys(series["source"] for series in record.get("series", ()))
    for key, value in record.get("configuration", {}).items():
        option = _options().get(key)
        default = option and (list(option.default) if isinstance(option.default, tuple) else option.default)
        if option is None or value in (None, [], "", False, default):
            continue
        values = list(map(str, value)) if isinstance(value, list) else [str(value)]
        if not option.is_many:
            values = [(" " if key == "heads" else ",").join(values)]
        flag = [] if getattr(option, "is_argument", False) else [option.flag.partition("/")[0]]
        words += flag if value is True else [word for each in values for word in (*flag, each)]
    return shlex.join(words)


@cache
def _options() -> dict[str, Opt]:
    """All options by their keys in records."""
    groups = [each for each in vars(options).values() if isinstance(each, type) and issubclass(each, Group)]
    return {option.key: option for group in groups if group is not Group for option in options_of(group).values()}
