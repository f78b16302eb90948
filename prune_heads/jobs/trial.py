"""The trials of a sweep, run one after the other by a process that keeps what it has loaded."""

from typing import Any

from prune_heads.execution.folder import SweepFolder
from prune_heads.progress import Silent
from prune_heads.studies.lab import Lab
from prune_heads.studies.run import RunOptions, run
from prune_heads.studies.scoring import Scoring
from prune_heads.studies.setup import Setup


class TrialRunner:
    """Runs trials; of two in turn with the same model and task, the second loads nothing."""

    def __init__(self, folder: SweepFolder) -> None:
        self.folder = folder
        self.claims = folder.shared_claims()
        self._lab: Lab | None = None

    def run(self, setup: Setup, scoring: Scoring, options: RunOptions) -> dict[str, Any]:
        """The record of `prune-heads run`, without what differs between two runs of the same: date and seconds."""
        reporter = Silent()
        if self._lab is None or self._lab.setup != setup:
            self._lab = None  # two models at once may be one too many
            self._lab = Lab(setup, reporter, share=self._share, reused=True)
        self._lab.tell(reporter)
        record = run(self._lab, scoring, options).record
        del record["seconds"], record["provenance"]["date"]
        return record

    def _share(self, what: dict[str, Any], how: Any) -> dict[str, Any]:
        with self.claims.beating():
            return self.folder.shared(what, how, self.claims)
