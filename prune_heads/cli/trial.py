"""The trials of a sweep take the options of `prune-heads run`, checked and turned into what studies take as there."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_heads.cli.config import alone, path_of, taken
from prune_heads.cli.options import ChoiceOptions, ScoringOptions, SetupOptions, StoredSetupOptions
from prune_heads.cli.run import options_of, run
from prune_heads.execution.spec import Known, Trial, Values

if TYPE_CHECKING:
    from prune_heads.execution.job import RunTrial
    from prune_heads.studies.setup import Setup

_OF_THE_SWEEP = ("checkpoint", "config", "output", "overwrite", "as_json", "save_checkpoint", "store")
"""What `run` takes and a trial does not."""


def known() -> Known:
    """What a trial may set."""
    defaults = {name: _plain(option.default) for name, option in _options().items()}
    return Known(defaults, lambda key, value: _convert(key, value) and None, _clash)


@dataclass(frozen=True)
class BeginTrials:
    """Called once in each process: loads what trials need and gives what runs them."""

    sweep: Path
    """The folder of the sweep."""
    relative_to: Path
    """The folder that paths in the file are relative to."""
    store: str | None
    """A URL, or an absolute path."""

    def __call__(self) -> "RunTrial":
        """What runs a trial."""
        from prune_heads.execution.folder import SweepFolder
        from prune_heads.jobs.trial import TrialRunner

        runner = TrialRunner(SweepFolder(self.sweep))

        def run_trial(trial: Trial) -> Mapping[str, Any]:
            values = _converted(trial.values, self.relative_to)
            setup = StoredSetupOptions(**_part(values, SetupOptions), store=self.store).resolve()
            scoring = ScoringOptions(**_part(values, ScoringOptions)).resolve()
            options = options_of(
                ChoiceOptions(**_part(values, ChoiceOptions)),
                values["mode"],
                values["split"],
                values["curve"],
            )
            return {
                "trial": {"digest": trial.digest, "values": dict(trial.values)},
                **runner.run(setup, scoring, options),
            }

        return run_trial


def setup_of(values: Values, relative_to: Path, store: str | None) -> "Setup":
    """A setup of options by name, as they stand in a file; the others have their defaults.

    Raises:
        ValueError: If an option does not take its value.
        BadParameter: If options contradict each other.
    """
    converted = _converted({**known().defaults, **values}, relative_to)
    return StoredSetupOptions(**_part(converted, SetupOptions), store=store).resolve()


@cache
def _command() -> Any:
    """`prune-heads run`, as Typer makes it."""
    return alone(run)


@cache
def _options() -> dict[str, Any]:
    """Its options by name."""
    options = {option.name: option for option in _command().params}
    return {name: option for name, option in options.items() if name and name not in _OF_THE_SWEEP}


def _convert(key: str, value: Any) -> Any:
    return taken(_command(), key, value)


def _converted(values: Values, relative_to: Path) -> dict[str, Any]:
    return {key: _convert(key, path_of(key, value, relative_to)) for key, value in values.items()}


def _clash(values: Values) -> str | None:
    given = [
        f"{key} = {values[key]!r}" for key in ("fraction", "n_heads", "heads") if values[key] is not None
    ]
    return f"{' and '.join(given)} exclude each other" if len(given) > 1 else None


def _part(values: Mapping[str, Any], options: type[Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(options)}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
