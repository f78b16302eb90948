"""What an option is, said once: the field of a dataclass with its type, its default, and what `Say` says of it.

The command line makes its options from the fields, a file of options or a sweep is checked by them, a study takes the
dataclass, and a record holds its `configuration()`.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from functools import cache
from math import isnan
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, ClassVar, Literal, Self, Union, cast, get_args, get_origin, get_type_hints

from prune_heads.errors import OptionError

Reach = Literal["record", "content", "nothing"]
"""How an option reaches the result: by its value, which stands in the record's configuration; by what it names or
leads to (a file, the heads), whose content or fingerprint stands in the record's identity; or not at all."""

Since = Literal["first", "sweeps", "later"]
"""When an option was added: with the first records, before the first sweeps, or later. At its default it is left out of
the configuration of records that are older than it, and out of the hash of trials, so that both stay as they are."""


@dataclass(frozen=True)
class Say:
    """What is said of an option beside its name, type and default."""

    help: str
    reach: Reach = "record"
    panel: str | None = None
    """Heading under which `--help` lists it."""
    flag: str | None = None
    """How it is written on the command line, where that is not `--` and its name; `--one/--other` says how not."""
    short: str | None = None
    """Its one letter: `-o`."""
    key: str | None = None
    """Its key in records, where that is not its name."""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    """Values that a text may have; those of a `Literal` follow from the type."""
    read: Callable[[str], Any] | None = None
    """Makes the value from its text; raises `OptionError`."""
    is_many: bool = False
    """Whether a text that is read may be given several times."""
    is_path: Callable[[str, Path], bool] | None = None
    """Of an option whose text may be a path: whether it is one, seen from a folder."""
    metavar: str | None = None
    shown: Callable[[Any], Any] | None = None
    """The value as it stands in records."""
    applies: Callable[[Any], bool] | None = None
    """Of the group: whether the option has a meaning; where it has none, records hold None."""
    since: Since = "first"


def option(help: str | Say, *said: Any, default: Any = None, kw_only: bool = False, **more: Any) -> Any:
    """A field of a group: what `Say` takes, and its default; `MISSING` where it must be given."""
    say = help if isinstance(help, Say) else Say(help, *said, **more)
    return field(default=default, kw_only=kw_only, metadata={"say": say})


@dataclass(frozen=True)
class Opt:
    """An option of a group."""

    name: str
    kind: type
    """`str`, `int`, `float`, `bool` or `Path`: what one word of it is on the command line."""
    is_many: bool
    """Whether it may be given several times."""
    default: Any
    """Of the field; `MISSING` where it must be given."""
    say: Say
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        """How it is written: `--max-examples`."""
        return self.say.flag or f"--{self.name.replace('_', '-')}"

    @property
    def word(self) -> Any:
        """The default as a file or the command line has it; None where it is not a plain value."""
        plain = self.default is not MISSING and not isinstance(self.default, tuple) and self.default != ""
        return self.default if plain else None

    @property
    def is_text(self) -> bool:
        """Whether it takes one text, of which the command line would make anything."""
        return self.kind is str and not self.is_many and not self.choices

    def placed(self, word: Any, folder: Path) -> Any:
        """A word from a file in a folder, seen from the working directory: what is no path stays."""
        if isinstance(word, list):
            return [self.placed(each, folder) for each in word]
        if not isinstance(word, str):
            return word
        is_path = self.kind is Path or (self.say.is_path is not None and self.say.is_path(word, folder))
        return str(folder / Path(word).expanduser()) if is_path else word

    def read(self, word: Any) -> Any:
        """The value of the option, from a word as TOML or the command line has it.

        Raises:
            OptionError: Saying what the option takes, without its name.
        """
        if not self.is_many:
            return self._one(word)
        if not isinstance(word, list | tuple):
            raise OptionError(f"must be a list of texts; got {json.dumps(word)}")
        return tuple(dict.fromkeys(self._one(each) for each in word))

    def _one(self, word: Any) -> Any:
        if isinstance(word, Enum):
            word = word.value
        takes: dict[type, Any] = {float: (int, float), Path: (str, Path)}
        if not isinstance(word, takes.get(self.kind, self.kind)) or (isinstance(word, bool) and self.kind is not bool):
            raise OptionError(f"must be {_NAMES[self.kind]}; got {json.dumps(word, default=str)}")
        if self.choices and word not in self.choices:
            raise OptionError(f"{word!r} is not one of {', '.join(map(repr, self.choices))}")
        low, high = self.say.low, self.say.high
        if self.kind in (int, float) and (
            isnan(word) or (low is not None and word < low) or (high is not None and word > high)
        ):
            bounds = f"at least {low}" if high is None else f"between {low} and {high}"
            raise OptionError(f"must be {bounds}; got {word}")
        return (self.say.read or self.kind)(word)


_NAMES: Mapping[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}


class Group:
    """Base of the dataclasses whose fields are options."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Self:
        """From words as TOML or the command line has them; what is None, an empty list or not there has its default.

        Raises:
            OptionError: If an option does not take its word, or options contradict each other.
            PruneHeadsError: If what they describe is at fault.
        """
        given = {}
        for name, option in options_of(cls).items():
            if (word := words.get(name)) not in (None, []):
                try:
                    given[name] = option.read(word)
                except OptionError as error:
                    raise OptionError(f"'{option.flag}' {error}") from error
        if problem := cls.clash(given):
            raise OptionError(f"{problem}.")
        return cls(**given)

    @classmethod
    def clash(cls, given: Mapping[str, Any]) -> str | None:
        """Why the values that were given contradict each other, or lack one; None where they do not."""
        return None

    def configuration(self) -> dict[str, Any]:
        """For records: what can change a result."""
        found = {}
        for name, option in options_of(type(self)).items():
            say, value = option.say, getattr(self, name)
            if say.reach != "record" or (say.since != "first" and value == option.default):
                continue
            if say.applies is not None and not say.applies(self):
                value = None
            elif say.shown is not None:
                value = say.shown(value)
            elif option.is_many:
                value = value or None
            found[say.key or name] = list(value) if isinstance(value, tuple) else value
        return found


def options_of(group: type[Group]) -> Mapping[str, Opt]:
    """The options of a group by name, in the order of its fields."""
    return _options_of(cast(Any, group))


@cache
def _options_of(group: Any) -> Mapping[str, Opt]:
    hints, found = get_type_hints(group), {}
    for each in fields(group):
        kind, say = hints[each.name], each.metadata["say"]
        is_many, choices = False, say.choices
        if get_origin(kind) in (Union, UnionType):
            kind = next(one for one in get_args(kind) if one is not type(None))
        if get_origin(kind) is tuple:
            kind, is_many = get_args(kind)[0], say.read is None or say.is_many
        if get_origin(kind) is Literal:
            kind, choices = str, get_args(kind)
        if say.read is not None:
            kind = str
        found[each.name] = Opt(each.name, kind, is_many, each.default, say, choices)
    return MappingProxyType(found)


def names(text: str) -> tuple[str, ...]:
    """`"a, b"` as `("a", "b")`."""
    return tuple(part.strip() for part in text.split(","))


def numbers(low: int, example: str) -> Callable[[str], tuple[int, ...]]:
    """Reads `"16, 1"` as `(1, 16)`, and refuses what is no number from `low`, showing the example."""

    def read(text: str) -> tuple[int, ...]:
        parts = [part.strip() for part in text.split(",")]
        if not all(part.isdecimal() and int(part) >= low for part in parts):
            raise OptionError(f"must be numbers from {low}, comma-separated, e.g. {example}; got {text!r}")
        return tuple(sorted({int(part) for part in parts}))

    return read


def json_file(text: str, folder: Path) -> bool:
    """Heads, or the file that names them."""
    return text.endswith(".json")


def of_file(text: str, folder: Path) -> bool:
    """A function, or the file that it stands in."""
    return ".py:" in text


def toml_file(text: str, folder: Path) -> bool:
    """A task, or the file that describes it."""
    return text.endswith(".toml")


def folder_or_name(text: str, folder: Path) -> bool:
    """A model. What no folder beside the file is called is a name on the hub, or a path from the working directory."""
    return text.startswith((".", "~")) or (text != "mini" and (folder / text).is_dir())


def folder_or_url(text: str, folder: Path) -> bool:
    """A store."""
    from prune_heads.store import is_url  # reads and writes arrays too, which takes a while to import

    return not is_url(text)
