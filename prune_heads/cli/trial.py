"""The trials of a sweep take the options of `prune-heads run`, checked and turned into what studies take as there."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from typer import BadParameter

from prune_heads.cli.choosing import ChoiceOptions, ScoringOptions
from prune_heads.cli.config import alone, path_of, taken, types_of
from prune_heads.cli.names import CriterionName
from prune_heads.cli.options import SetupOptions, StoredSetupOptions
from prune_heads.cli.run import options_of, run
from prune_heads.errors import PruneHeadsError
from prune_heads.execution.spec import Known, Trial, Values
from prune_heads.tasks.spec import task_name

if TYPE_CHECKING:
    from prune_heads.execution.worker import RunTrial
    from prune_heads.studies.setup import Setup

_OF_THE_SWEEP = ("checkpoint", "config", "output", "overwrite", "as_json", "save_checkpoint", "store")
"""What `run` takes and a trial does not."""

_FIRST = (
    "model task data_dir label_order max_examples train_file validation_file text_column label_column metric labels "
    "batch_size max_length dtype device trust_remote_code fraction n_heads heads min_per_layer groups criterion "
    "estimator normalize seed score_split score_examples mode split curve"
)
"""See `Known.always`. An option that is added later does not belong here, and its default must not change."""


def known() -> Known:
    """What a trial may set."""
    defaults = {name: _plain(option.default) for name, option in _options().items()}
    return Known(
        defaults, lambda key, value: _convert(key, value) and None, _clash, draws, _FIRST.split(), _spelled
    )


def _spelled(key: str, value: Any) -> Any:
    return task_name(value) if key == "task" and isinstance(value, str) else value


def draws(values: Values) -> bool:
    """Whether what is pruned in a trial, or its curve, depends on the seed."""
    return values["criterion"] == CriterionName.random and (values["heads"] is None or values["curve"])


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
        """What runs a trial; of two in turn with the same model and task, the second loads nothing."""
        from prune_heads.execution.folder import SweepFolder
        from prune_heads.progress import Silent
        from prune_heads.studies.lab import Lab
        from prune_heads.studies.run import run as run_study

        folder = SweepFolder(self.sweep)
        claims = folder.shared_claims()
        lab: Lab | None = None

        def share(what: dict[str, Any], how: Callable[[], dict[str, Any]]) -> dict[str, Any]:
            with claims.beating():
                return folder.shared(what, how, claims)

        def run_trial(trial: Trial) -> Mapping[str, Any]:
            nonlocal lab
            values = _converted(trial.values, self.relative_to)
            setup = StoredSetupOptions(**_part(values, SetupOptions), store=self.store).resolve()
            scoring = ScoringOptions(**_part(values, ScoringOptions)).resolve()
            choice = ChoiceOptions(**_part(values, ChoiceOptions))
            options = options_of(choice, values["mode"], values["split"], values["curve"])
            reporter = Silent()
            if lab is None or lab.setup != setup:
                lab = None  # two models at once may be one too many
                lab = Lab(setup, reporter, share=share, reused=True)
            lab.tell(reporter)
            record = run_study(lab, scoring, options).record
            del record["seconds"], record["provenance"]["date"]  # they differ between two runs of the same
            return {"trial": {"digest": trial.digest, "values": dict(trial.values)}, **record}

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
    option = _options()[key]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    wanted = (
        (option.multiple and not isinstance(value, list), "a list of texts"),
        (option.is_flag and not isinstance(value, bool), "true or false"),
        (isinstance(value, bool) and not option.is_flag, "a number" if _is_of_numbers(key) else "a text"),
        (is_number and not _is_of_numbers(key), "a text"),
        (isinstance(value, list | dict) and not option.multiple, "one value"),
    )
    for is_wrong, what in wanted:
        if is_wrong and value is not None:
            raise ValueError(f"must be {what}; got {json.dumps(value)}")
    return taken(_command(), key, value)


def _kept(key: str, value: Any) -> Any:
    """The same, once for each value: a sweep asks for each of its trials."""
    return _convert(key, value) if isinstance(value, list) else _converted_once(key, value)


_converted_once = lru_cache(1000, typed=True)(_convert)


@cache
def _is_of_numbers(key: str) -> bool:
    kind = get_args(run.__annotations__[key])[0]
    return bool({int, float} & {kind, *get_args(kind)})


def _converted(values: Values, relative_to: Path) -> dict[str, Any]:
    types = types_of(_command())
    return {key: _convert(key, path_of(types[key], value, relative_to)) for key, value in values.items()}


def _clash(values: Values) -> str | None:
    given = [
        f"{key} = {values[key]!r}" for key in ("fraction", "n_heads", "heads") if values[key] is not None
    ]
    if len(given) > 1:
        return f"{' and '.join(given)} exclude each other"
    try:
        SetupOptions(**{key: _kept(key, value) for key, value in _part(values, SetupOptions).items()}).asked()
    except (BadParameter, PruneHeadsError) as error:
        return str(error)
    return None


def _part(values: Mapping[str, Any], options: type[Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields(options)}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value
