"""What a trial of a sweep may set: the options of a run, checked and read as those of the command line are."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from prune_heads.errors import PruneHeadsError
from prune_heads.options.fields import Group, Opt, options_of
from prune_heads.options.heads import Choice, RunOptions, Scoring
from prune_heads.options.setup import Setup
from prune_heads.tasks.spec import task_name

Words = Mapping[str, Any]
"""Option -> value, as TOML and JSON have them."""

GROUPS: tuple[type[Group], ...] = (Setup, Choice, Scoring, RunOptions)


@cache
def trial_options() -> Mapping[str, Opt]:
    """By name; where predictions are kept is said of the sweep, not of a trial."""
    every = {name: option for group in GROUPS for name, option in options_of(group).items()}
    return MappingProxyType({name: option for name, option in every.items() if name != "store"})


def check(name: str, word: Any) -> None:
    """Refuse a word that an option does not take; None stands for its default.

    Raises:
        OptionError: Saying what it takes.
    """
    if word is not None:
        trial_options()[name].read(word)


def clash(words: Words) -> str | None:
    """Why the options of a trial contradict each other; None where they do not."""
    try:
        for group in GROUPS:
            group.of(words)
    except PruneHeadsError as error:
        return str(error).removesuffix(".")
    return None


def spelled(name: str, word: Any) -> Any:
    """A word as the hash of a trial has it: one spelling of each task."""
    return task_name(word) if name == "task" and isinstance(word, str) else word


def draws(words: Words) -> bool:
    """Whether what is pruned in a trial, or its curve, depends on the seed."""
    draws_scores = words["criterion"] == "random" or ":" in words["criterion"]  # one's own may
    return draws_scores and (words["heads"] is None or words["curve"])


@dataclass(frozen=True)
class Trial:
    """The options of a trial, in their groups."""

    setup: Setup
    choice: Choice
    scoring: Scoring
    run: RunOptions


def trial_of(words: Words, folder: Path, store: str | None) -> Trial:
    """The groups of a trial; paths in a file are relative to its folder.

    Raises:
        OptionError: If an option does not take its word, or options contradict each other.
    """
    found = placed(words, folder)
    setup = Setup.of({**found, "store": store})
    return Trial(setup, Choice.of(found), Scoring.of(found), RunOptions.of(found))


def setup_of(words: Words, folder: Path, store: str | None) -> Setup:
    """A setup of options as they stand in a file in a folder.

    Raises:
        OptionError: If an option does not take its word, or options contradict each other.
    """
    return Setup.of({**placed(words, folder), "store": store})


def placed(words: Words, folder: Path) -> dict[str, Any]:
    """Words of a file in a folder, seen from the working directory: paths that are relative are so to the folder."""
    options = trial_options()
    return {name: options[name].placed(word, folder) for name, word in words.items() if name in options}
