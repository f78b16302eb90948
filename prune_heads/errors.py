"""Every error a user can cause: what must hold, what came, and the cure.

The command line turns any `PruneHeadsError` into one red line and exit code 1.
"""

from collections.abc import Sequence


class PruneHeadsError(Exception):
    """Root of all errors that prune-heads raises on purpose."""


class HeadDescriptorError(PruneHeadsError, ValueError):
    """A head descriptor such as `3:1,5 7:2` cannot be read or names a head that is not there."""


class UnsupportedModelError(PruneHeadsError):
    """The model's type is unknown, or its attention is not shaped as its family's."""


class CheckpointError(PruneHeadsError):
    """A checkpoint is missing, damaged, unsafe, or does not fit the task."""


class ExportError(PruneHeadsError):
    """A model cannot be written for other software, or does not compute there what it computes here."""


class MaskNotAppliedError(PruneHeadsError):
    """Closing a gate did not change the logits, so no result under a mask can be believed."""


class NotExactError(PruneHeadsError):
    """Heads that are gated, zeroed, removed or loaded back do not give the same outputs."""


class TaskError(PruneHeadsError):
    """A task is unknown or described inconsistently."""


class DataError(PruneHeadsError):
    """A data file is missing, malformed, empty, or out of reach."""


class LabelError(PruneHeadsError):
    """The label names of the data and of the checkpoint cannot be matched."""


class NotFiniteError(PruneHeadsError):
    """NaN or infinity in logits, losses or gradients."""


class CriterionError(PruneHeadsError):
    """A criterion of one's own cannot be loaded, fails, or gives no scores of the heads."""


class RunError(PruneHeadsError):
    """A run folder holds something else, or a file in it cannot be read."""


class UnfitError(RunError):
    """A table, a figure or a study is not defined for this model or task."""


class OptionError(PruneHeadsError, ValueError):
    """An option or the file of a sweep does not take its value, or options contradict each other: misuse."""


class StoreError(PruneHeadsError):
    """The store of predictions cannot be read or written, or holds damaged entries."""


class PipeClosedError(Exception):
    """Whoever reads stdout has enough; not said, and no error of a user."""


def first_line(error: BaseException) -> str:
    """What a library's error says, as one line for ours; its name where it says nothing."""
    first, *more = (str(error).strip() or type(error).__name__).splitlines()
    return f"{first} {more[0].strip()}" if more and first.rstrip().endswith((":", "(")) else first


def some(names: Sequence[str]) -> str:
    """The first names of a list that may be long."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
