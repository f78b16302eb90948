"""A sweep as a TOML file: the options of a run, and axes over which they vary. Values only; nothing is loaded.

The keys at the top are options of `prune-heads run`; `[grid]` has a list for each option that varies, and `seeds` is
one more; of `[[together]]` each table is one value of a further axis, for options that vary together, as a model and
its task do; `[[exclude]]` leaves out the trials that say all of it, `[[include]]` adds trials beside the product.
"""

import difflib
import itertools
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prune_heads.errors import OptionError
from prune_heads.files import canonical, digest, read_toml

RESERVED = ("name", "seeds", "grid", "together", "include", "exclude")  # keys of the file that are no options of a run

Values = Mapping[str, Any]  # option -> value, as in TOML and JSON; also what a place of an axis sets, and a rule names

MOST_TRIALS = 1_000_000  # a sweep's folder holds a folder for each; of a file with more, they are counted
_SHOWN, _LOOKED_AT = 20, 5_000


@dataclass(frozen=True)
class Known:
    """What a run takes, as the command line knows it."""

    defaults: Values  # every option that a trial may set, with its default
    check: Callable[[str, Any], Any]  # a value in its one spelling, `sst2` for `SST-2`; raises `ValueError`
    clash: Callable[[Values], str | None]  # why they exclude each other, if so; of numbers, by their being there alone
    draws: Callable[[Values], bool] = lambda values: True  # whether the seed matters; else the first one alone is run
    always: Collection[str] = ()
    """Options in a trial's hash also at their defaults; one that is added later must leave older hashes as they are."""

    def digest(self, values: Values) -> str:
        """SHA-256 (hex) of a trial's values."""
        default = self.defaults
        told = [k for k, v in values.items() if k in self.always or (v, type(v)) != (default[k], type(default[k]))]
        return digest({key: values[key] for key in told})


@dataclass(frozen=True)
class Trial:
    """One run of a sweep."""

    values: Values  # every option, defaults included
    digest: str  # see `Known.digest`; paths stand in the values as they are written in the file


@dataclass(frozen=True)
class Sweep:
    """A file that has been read."""

    name: str
    trials: tuple[Trial, ...]  # In order; none twice. Of more than `MOST_TRIALS` the first ones.
    n_trials: int  # in all, also those that are not in `trials`
    axes: tuple[str, ...]  # options that vary, in the order of the file
    n_twice: int = 0  # trials that the file describes more than once
    n_undrawn: int = 0  # trials that are not run, since they differ from others in a seed alone, and nothing is drawn

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the name and all trials."""
        return digest({"name": self.name, "trials": [trial.digest for trial in self.trials]})


def read_sweep(file: Path, known: Known) -> Sweep:
    """Read a sweep; an `OptionError` names every fault of the file, and the nearest valid key where one is wrong."""
    return sweep_of(read_toml(file, "a sweep", OptionError), known, name=file.stem, shown=file.name)


def sweep_of(content: Values, known: Known, *, name: str, shown: str) -> Sweep:
    """The same from what the file holds; `name` is for a file without a name in it, `shown` is the file's."""
    reader = _Reader(known)
    base = {key: reader.value(key, each, "", RESERVED) for key, each in content.items() if key not in RESERVED}
    axes = reader.axes(content.get("grid", {}), content.get("seeds"))
    joint, extra, rules = (reader.tables(kind, content.get(kind, [])) for kind in ("together", "include", "exclude"))
    joint, reader.rules = joint or [{}], rules
    named = content.get("name", name)
    if not isinstance(named, str) or not named.strip():
        reader.faults.append(f"name: must be a text; got {named!r}")
    for i, table in enumerate(joint, start=1):
        if set(table) != set(joint[0]):
            reader.faults.append(f"together[{i}]: must set what the first one sets: {', '.join(joint[0])}")
    for place, keys in (("at the top", base), ("in the grid", axes)):
        both = [f"together.{key}" for key in joint[0] if key in keys]
        both += [f"grid.{key}" for key in axes if key in base and keys is base]
        reader.faults += [f"{key}: must not stand {place} too" for key in both]
    reader.stop(shown)
    seeds = [{"seed": seed} for seed in axes["seed"]] if "seeds" in content else [{}]
    product: list[Sequence[Values]] = [joint, *([{key: value} for value in axis] for key, axis in axes.items())]
    more = [{**row, **turn} for row in extra for turn in seeds]
    rows = ((row, 1) for row in itertools.chain(map(_merged, itertools.product(*product)), more))
    vary = tuple(dict.fromkeys([*joint[0], *axes, *(key for row in extra for key in row)]))
    if len(more) + math.prod(map(len, product)) <= MOST_TRIALS:
        trials, n, n_twice, n_undrawn = reader.trials(base, rows)
        idle = [f"exclude[{i}]: leaves no trial out" for i in range(1, len(rules) + 1) if i not in reader.used]
        reader.faults += idle or ["exclude: leaves all trials out"] * (not trials and not reader.faults)
    else:  # what is included beside so many is not looked for among them
        trials = reader.trials(base, itertools.islice(rows, _LOOKED_AT))[0][:_SHOWN]
        _, n, n_twice, n_undrawn = reader.trials(base, reader.kinds(product))
        n += len(more)
    reader.stop(shown)
    return Sweep(str(named), trials, n, vary, n_twice, n_undrawn)


@dataclass
class _Reader:
    """Reads the parts of a file and gathers what is wrong with them."""

    known: Known
    faults: list[str] = field(default_factory=list)
    clashes: dict[str, str | None] = field(default_factory=dict)  # signature -> why values exclude each other
    rules: list[Values] = field(default_factory=list)  # option -> values, of which a trial with all is left out
    used: set[int | None] = field(default_factory=set)  # rules, from 1, that have left a trial out

    def stop(self, shown: str) -> None:
        if faults := dict.fromkeys(self.faults):
            told = "; ".join(f"({i}) {fault}" for i, fault in enumerate(faults, start=1))
            raise OptionError(f"{shown} has {len(faults)} fault(s): {told}")

    def value(self, key: str, value: Any, where: str, also: Sequence[str] = ()) -> Any:
        """The value of an option in its one spelling."""
        try:
            if key not in self.known.defaults:
                near = difflib.get_close_matches(key, [*self.known.defaults, *also], n=1)
                raise ValueError("there is no such option" + (f" (did you mean {near[0]}?)" if near else ""))
            return self.known.check(key, value)
        except ValueError as error:
            self.faults.append(f"{where}{key}: {error}")
            return value

    def axes(self, grid: Any, seeds: Any) -> dict[str, list[Any]]:
        if not isinstance(grid, dict):
            self.faults.append(f"grid: must be a table of lists; got {grid!r}")
            grid = {}
        if seeds is not None and "seed" in grid:
            self.faults.append("seeds: must not stand beside grid.seed")
        found: dict[str, list[Any]] = {}
        for key, axis in (grid if seeds is None else {**grid, "seed": seeds}).items():
            shown = "seeds" if key == "seed" and seeds is not None else f"grid.{key}"
            if not isinstance(axis, list) or not axis:
                self.faults.append(f"{shown}: must be a list of at least one value; got {axis!r}")
                axis = []
            found[key] = [self.value(key, each, "seeds: " if shown == "seeds" else "grid.") for each in axis]
            if len({canonical({"": each}) for each in found[key]}) < len(axis):
                self.faults.append(f"{shown}: names a value twice")
        return found

    def tables(self, kind: str, rows: Any) -> list[Values]:
        if not isinstance(rows, list):
            self.faults.append(f"{kind}: must be tables, written [[{kind}]]; got {rows!r}")
            rows = []
        found: list[Values] = []
        for i, row in enumerate(rows, start=1):
            if not isinstance(row, dict) or not row:
                self.faults.append(f"{kind}[{i}]: must be a table of options; got {row!r}")
                continue
            where = f"{kind}[{i}]."
            if kind == "exclude":  # a list stands for each of its values
                lists = {key: each if isinstance(each, list) else [each] for key, each in row.items()}
                found.append({key: [self.value(key, one, where) for one in each] for key, each in lists.items()})
            else:
                found.append({key: self.value(key, each, where) for key, each in row.items()})
        return found

    def trials(self, base: Values, rows: Iterable[tuple[Values, int]]) -> tuple[tuple[Trial, ...], int, int, int]:
        """The trials, and three counts: of trials, of those told twice, of those that differ in an idle seed alone.

        `base` does not vary. Each row does, and comes with the number of such rows.
        """
        trials: dict[str, Trial] = {}
        seedless: set[str] = set()
        n_trials = n_twice = n_undrawn = 0
        for row, n in rows:
            values = {**self.known.defaults, **base, **row}
            rule = next((i for i, rule in enumerate(self.rules, start=1) if _matches(rule, values)), None)
            self.used.add(rule)
            if rule is not None or not self.agrees(values, row):
                continue
            trial, draws = Trial(values, self.known.digest(values)), self.known.draws(values)
            name = trial.digest if draws else self.known.digest({**values, "seed": self.known.defaults["seed"]})
            if trial.digest in trials:
                n_twice += n
            elif name in seedless:
                n_undrawn += n
            else:
                seedless.add(name)
                trials[trial.digest] = trial
                n_trials += n
        return tuple(trials.values()), n_trials, n_twice, n_undrawn

    def kinds(self, axes: Sequence[Sequence[Values]]) -> Iterator[tuple[Values, int]]:
        """Rows of the product of axes for `trials`: of turns that differ neither for a rule nor in the seed, one."""
        weighed: list[list[tuple[Values, int]]] = []
        for axis in axes:
            kinds: dict[Any, list[Values]] = {}
            for turn in axis:
                hits = (_matches({key: rule[key] for key in rule if key in turn}, turn) for rule in self.rules)
                kinds.setdefault((turn.get("seed"), _signature(turn), *hits), []).append(turn)
            weighed.append([(turns[0], len(turns)) for turns in kinds.values()])
        for chosen in itertools.product(*weighed):
            turns, n = zip(*chosen, strict=True)
            yield _merged(turns), math.prod(n)

    def agrees(self, values: Values, row: Values) -> bool:
        """Whether values do not contradict each other; notes each contradiction once. `row` is what varies of them."""
        name = _signature(row)
        if name not in self.clashes:
            problem = self.clashes[name] = self.known.clash(values)
            self.faults += [f"{json.dumps(row)}: {problem}"] * (problem is not None)
        return self.clashes[name] is None


def _merged(turns: Iterable[Values]) -> Values:
    return {key: value for turn in turns for key, value in turn.items()}


def _signature(turn: Values) -> str:
    """What decides whether options contradict each other: a number does so only by being there."""
    return canonical({key: 0 if type(value) in (int, float) else value for key, value in turn.items()})


def _matches(rule: Values, values: Values) -> bool:
    """Whether values are among those that a rule lists."""
    return all(values[key] in wanted for key, wanted in rule.items())
