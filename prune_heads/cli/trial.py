"""The trials of a sweep take the options of `prune-heads run`, checked and read as there."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_heads.execution.spec import Known, Trial
from prune_heads.options.trials import check, clash, draws, spelled, trial_of, trial_options

if TYPE_CHECKING:
    from prune_heads.execution.worker import RunTrial


def known() -> Known:
    """What a trial may set."""
    options = trial_options()
    words = {name: option.word for name, option in options.items()}
    always = frozenset(name for name, option in options.items() if option.say.since != "later")
    return Known(words, check, clash, draws, always, spelled)


def check_criteria(trials: Iterable[Trial], folder: Path) -> None:
    """Import the criteria of one's own, which a file in this folder names, before any trial is run.

    Raises:
        CriterionError: See `criterion_of`.
    """
    for name in {trial.values["criterion"] for trial in trials if ":" in trial.values["criterion"]}:
        from prune_heads.importance import criterion_of  # torch, which starting workers need not wait for

        criterion_of(trial_options()["criterion"].placed(name, folder))


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
        from prune_heads.studies.run import run

        folder = SweepFolder(self.sweep)
        lab: Lab | None = None
        reporter = Silent()

        def run_trial(trial: Trial) -> Mapping[str, Any]:
            nonlocal lab
            asked = trial_of(trial.values, self.relative_to, self.store)
            reporter.notes.clear()
            if lab is None or lab.setup != asked.setup:
                lab = None  # two models at once may be one too many
                lab = Lab(asked.setup, reporter, share=folder.shared, reused=True)
            record = run(lab, asked.scoring, asked.choice, asked.run).record
            del record["seconds"], record["provenance"]["date"]  # they differ between two runs of the same
            return {"trial": {"digest": trial.digest, "values": dict(trial.values)}, **record}

        return run_trial
