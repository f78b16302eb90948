"""What an option is, said once: the field of a dataclass with its type, its default, and what `option` says of it.

The command line makes its options from the fields, a file of options or a sweep is checked by them, a study takes the
dataclass, and a record holds its `configuration()`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache, partial
from math import inf, isfinite
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

from prune_heads.errors import OptionError

Reach = Literal["record", "content", "nothing"]
"""How an option reaches the result: by its value, which stands in the record's configuration; by what it names or
leads to (a file, the heads), whose content or fingerprint stands in the record's identity; or not at all."""

Since = Literal["first", "sweeps", "later"]
"""When an option was added: with the first records, before the first sweeps, or later. At its default it is left out of
the configuration of records that are older than it, and out of the hash of trials, so that both stay as they are."""

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
_TAKES: dict[type, Any] = {float: (int, float), Path: (str, Path)}


@dataclass(frozen=True)
class Opt:
    """An option of a group: what is said of it, and its name and type, which are those of the field."""

    help: str
    default: Any = None  # `MISSING` where it must be given
    reach: Reach = "record"
    panel: str | None = None  # heading under which `--help` lists it
    flag: str = ""  # how it is written on the command line: `--max-examples`; `--one/--other` says how not
    short: str | None = None  # its one letter: `-o`
    key: str = ""  # its key in records
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()  # values that a text may have; those of a `Literal` follow from the type
    read: Callable[[str], Any] | None = None  # makes the value from its text; raises `OptionError`
    is_many: bool = False  # whether it may be given several times. A tuple is, unless it is read from one text
    is_path: Callable[[str, Path], bool] | None = None  # whether its text is one, seen from a folder
    is_argument: bool = False  # whether the command line has it without a flag, in place of the model
    metavar: str | None = None
    shown: Callable[[Any], Any] | None = None  # of the group: the value in records, None where it has no meaning
    since: Since = "first"
    name: str = ""
    kind: type = str  # `str`, `int`, `float`, `bool` or `Path`: what one word of it is on the command line

    def of(self, name: str, hint: Any, panel: str | None) -> "Opt":
        """The same for a field of this name and type, in a group with this panel."""
        if get_origin(hint) in (Union, UnionType):
            hint = next(one for one in get_args(hint) if one is not type(None))
        is_many, choices = self.is_many, self.choices
        if get_origin(hint) is tuple:
            hint, is_many = get_args(hint)[0], is_many or self.read is None
        if get_origin(hint) is Literal:
            hint, choices = str, choices or get_args(hint)
        kind = hint if self.read is None else str
        named: dict[str, Any] = {"name": name, "kind": kind, "is_many": is_many, "choices": choices}
        named |= {"flag": self.flag or f"--{name.replace('_', '-')}", "key": self.key or name}
        return replace(self, **named, panel=self.panel or panel)

    @property
    def word(self) -> Any:
        """The default as a file or the command line has it; None where it is not a plain value."""
        plain = self.default is not MISSING and not isinstance(self.default, tuple) and self.default != ""
        return self.default if plain else None

    def placed(self, word: Any, folder: Path) -> Any:
        """A word from a file in a folder, seen from the working directory: what is no path stays."""
        if isinstance(word, list):
            return [self.placed(each, folder) for each in word]
        if not isinstance(word, str):
            return word
        is_path = self.kind is Path or (self.is_path is not None and self.is_path(word, folder))
        return str(folder / Path(word).expanduser()) if is_path else word

    def value(self, word: Any) -> Any:
        """The value of the option, from a word as TOML or the command line has it.

        An `OptionError` says what the option takes, without its name.
        """
        if not self.is_many:
            return self._one(word)
        if not isinstance(word, list | tuple):
            raise OptionError(f"must be a list of texts; got {json.dumps(word)}")
        return tuple(dict.fromkeys(map(self._one, word)))

    def _one(self, word: Any) -> Any:
        if not isinstance(word, _TAKES.get(self.kind, self.kind)) or (isinstance(word, bool) and self.kind is not bool):
            raise OptionError(f"must be {_NAMES[self.kind]}; got {json.dumps(word, default=str)}")
        if self.choices and word not in self.choices:
            raise OptionError(f"must be one of {', '.join(map(repr, self.choices))}; got {word!r}")
        low, high = -inf if self.low is None else self.low, inf if self.high is None else self.high
        if self.kind in (int, float) and not (isfinite(word) and low <= word <= high):
            bounds = f"at least {self.low}" if self.high is None else f"between {self.low} and {self.high}"
            raise OptionError(f"must be {bounds}{', and finite' if word == inf else ''}; got {word}")
        return (self.read or self.kind)(word)


def option(help: str, default: Any = None, *, kw_only: bool = False, **said: Any) -> Any:
    """A field of a group, and what `Opt` holds of it; `MISSING` is the default of one that must be given."""
    return field(default=default, kw_only=kw_only, metadata={"option": Opt(help, default, **said)})


nowhere = partial(option, reach="nothing")


class Group:
    """Base of the dataclasses whose fields are options."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    panel: ClassVar[str | None] = None  # of the options that name none
    apart: ClassVar[tuple[str, ...]] = ()  # options that exclude each other

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Self:
        """From words as TOML or the command line has them; what is None, an empty list or not there has its default.

        An `OptionError` if an option does not take its word, or options contradict each other; a `PruneHeadsError` if
        what they describe is at fault.
        """
        given = {}
        for name, option in options_of(cls).items():
            if (word := words.get(name)) not in (None, []):
                try:
                    given[name] = option.value(word)
                except OptionError as error:
                    raise OptionError(f"'{option.flag}' {error}") from error
        for problem in cls._clashes(given):
            raise OptionError(f"{problem}.")
        return cls(**given)

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterable[str]:
        """Why the values that were given contradict each other, or lack one; the first is said."""
        named = {name: option.flag for name, option in options_of(cls).items() if name in cls.apart}
        flags = [flag for name, flag in named.items() if given.get(name, False) is not False]
        return [f"{' and '.join(flags)} exclude each other"] if len(flags) > 1 else []

    def configuration(self) -> dict[str, Any]:
        """For records: what can change a result."""
        found = {}
        for name, option in options_of(type(self)).items():
            value = getattr(self, name)
            if option.reach != "record" or (option.since != "first" and value == option.default):
                continue
            if option.shown is not None:
                value = option.shown(self)
            elif option.is_many:
                value = value or None
            found[option.key] = list(value) if isinstance(value, tuple) else value
        return found


def _options_of(group: Any) -> Mapping[str, Opt]:
    hints, panel = get_type_hints(group), group.panel
    found = {each.name: each.metadata["option"].of(each.name, hints[each.name], panel) for each in fields(group)}
    return MappingProxyType(found)


options_of: Callable[[Any], Mapping[str, Opt]] = cache(_options_of)
"""The options of a group by name, in the order of its fields."""


def names(text: str) -> tuple[str, ...]:
    """`"a, b"` as `("a", "b")`."""
    return tuple(part.strip() for part in text.split(","))


def numbers(low: int, example: str) -> Callable[[str], tuple[int, ...]]:
    """Reads `"16, 1"` as `(1, 16)`, and refuses what is no number from `low`, showing the example."""

    def read(text: str) -> tuple[int, ...]:
        parts = names(text)
        if not all(part.isdecimal() and int(part) >= low for part in parts):
            raise OptionError(f"must be numbers from {low}, comma-separated, e.g. {example}; got {text!r}")
        return tuple(sorted(set(map(int, parts))))

    return read


def ending(part: str) -> Callable[[str, Path], bool]:
    """Whether a text is a path: it ends so, unless it has a name after a colon: `file.py:function`."""
    return lambda text, folder: text.endswith(part) or f"{part}:" in text
