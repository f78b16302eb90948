"""The official GLUE files as data: folder, columns, and how each writes its labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from prune_heads.tasks.spec import TASKS, TaskSpec

SPLIT_FILES: Mapping[str, str] = MappingProxyType(
    {
        "train": "train.tsv",
        "validation": "dev.tsv",
        "validation_matched": "dev_matched.tsv",
        "validation_mismatched": "dev_mismatched.tsv",
    }
)
"""The hub's name of a split -> its official file. `test.tsv` is not here: GLUE keeps its labels secret."""


@dataclass(frozen=True)
class GlueFiles:
    """How the official files of one task look."""

    folder: str
    text_columns: tuple[str, ...]
    """By header name; they differ from the hub's names."""
    label_column: str
    header: tuple[str, ...] | None = None
    """The columns of a file that has no header line; None where the file names them itself."""
    broken_lines: int = 0
    """Up to this many lines with too few fields are skipped, as in the hub's copy."""
    empty_texts: bool = False
    """Whether the official data have empty texts."""


_SENTENCES = ("sentence1", "sentence2")

GLUE: Mapping[str, GlueFiles] = MappingProxyType(
    {
        "cola": GlueFiles("CoLA", ("sentence",), "label", header=("source", "label", "mark", "sentence")),
        "sst2": GlueFiles("SST-2", ("sentence",), "label"),
        "mrpc": GlueFiles("MRPC", ("#1 String", "#2 String"), "Quality"),
        # About twenty questions of train.tsv hold a line end, so each fills two lines with too few fields
        # (nyu-mll/GLUE-baselines issue 5): the hub drops both. Two questions are empty (huggingface/datasets
        # issue 277): the hub keeps them.
        "qqp": GlueFiles("QQP", ("question1", "question2"), "is_duplicate", broken_lines=100, empty_texts=True),
        "stsb": GlueFiles("STS-B", _SENTENCES, "score"),
        "mnli": GlueFiles("MNLI", _SENTENCES, "gold_label"),
        "qnli": GlueFiles("QNLI", ("question", "sentence"), "label"),
        "rte": GlueFiles("RTE", _SENTENCES, "label"),
        "wnli": GlueFiles("WNLI", _SENTENCES, "label"),
    }
)
"""Task name, which is also the hub's configuration -> its official files."""


def label_codes(spec: TaskSpec) -> dict[str, int]:
    """How the official files write each label -> its index in the hub's order."""
    labels = TASKS[spec.name].labels or ()
    return {str(i) if spec.digit_labels else label: i for i, label in enumerate(labels)}
