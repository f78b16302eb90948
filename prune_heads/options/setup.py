"""The model, the task and the conditions under which they meet."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_heads.errors import OptionError
from prune_heads.objectives import OBJECTIVES, rows_for
from prune_heads.options.choices import Device, Dtype
from prune_heads.options.fields import Group, Say, folder_or_name, folder_or_url, names, option, toml_file
from prune_heads.tasks.spec import OWN_METRICS, TASKS, nearest, task_name

if TYPE_CHECKING:
    from prune_heads.tasks.own import OwnData

DEFAULT_MODEL = "mini"
DEFAULT_TASK = "mini-inference"

_OWN, _COMPUTE = "Your own data", "Computation"
_OF_TEXTS = tuple(name for name, spec in TASKS.items() if spec.is_own)


def task_word(value: str) -> str:
    """The name of a task that is built in, or a TOML file.

    Raises:
        OptionError: Naming those that there are.
    """
    if task_name(value) in TASKS or value.endswith(".toml"):
        return task_name(value)
    hint = f" Did you mean {nearest(value)}?" if nearest(value) else ""
    raise OptionError(f"{value!r} is not one of {', '.join(TASKS)}, nor a .toml file.{hint}")


def store_place(value: str) -> str:
    """What `--store` names: a URL that can be opened, or the absolute path of a folder.

    Raises:
        StoreError: If it is a URL of no known kind, or the package for its kind is not installed.
    """
    from prune_heads.store import objects_at

    return objects_at(value).place


STORE = Say(
    "Folder where predictions are kept, or a URL such as s3://bucket/prefix. "
    "(default: $PRUNE_HEADS_STORE, else prune-heads/predictions in $XDG_CACHE_HOME, else in ~/.cache)",
    "nothing",
    is_path=folder_or_url,
    read=store_place,
    metavar="PLACE",
)


def _model_name(model: str) -> str:
    """A folder by its name alone."""
    from prune_heads.checkpoints import folder_name

    return folder_name(Path(model).resolve()) if Path(model).is_dir() else model


@dataclass(frozen=True)
class Place(Group):
    """Where predictions are kept."""

    store: str | None = option(STORE)


@dataclass(frozen=True)
class NamedModel(Group):
    """A model alone."""

    model: str = option(
        "A checkpoint folder, with or without removed heads; a model on the hub; or 'mini'.",
        is_path=folder_or_name,
        shown=_model_name,
        default=DEFAULT_MODEL,
    )
    task: str = option(
        "The task of the built-in checkpoint 'mini'; or lm or seq2seq for a language model.",
        reach="content",
        read=task_word,
        default=DEFAULT_TASK,
    )


@dataclass(frozen=True)
class WrittenModel(NamedModel):
    """A model that is written anew."""

    dtype: Dtype = option("Precision of the written weights; ONNX is always float32.", default="float32")
    trust_remote_code: bool = option("Run the code that comes with a model on the hub.", "nothing", default=False)


@dataclass(frozen=True)
class Setup(Group):
    """A model on a task, as asked for; nothing is loaded yet."""

    model: str = option(
        "A checkpoint folder, a model on the hub, or 'mini', the built-in checkpoint of each task.",
        is_path=folder_or_name,
        shown=_model_name,
        default=DEFAULT_MODEL,
    )
    task: str = option(
        "Name of a task, see 'prune-heads tasks', or a TOML file that describes one. (default: mini-inference)",
        read=task_word,
        is_path=toml_file,
        default="",
    )
    objective: str | None = option(
        "Kind of prediction, if the checkpoint fits several. (default: the kind that its class names)",
        choices=tuple(OBJECTIVES),
        since="later",
    )
    data_dir: Path | None = option(
        "Folder with the task's official GLUE TSV files.",
        shown=lambda folder: None if folder is None else folder.resolve().name,
    )
    label_order: tuple[str, ...] | None = option(
        "The task's labels, comma-separated, in the order of the model's outputs.", read=names
    )
    max_examples: int | None = option("Use only the first N examples of every split, in file order.", low=1)
    sample: int | None = option(
        "Use N examples of every split, drawn at random; better for files that are sorted by label.",
        "content",  # records hold it as `max_examples` and `sample_seed`
        low=1,
        since="later",
    )
    sample_seed: int | None = option("Seed of --sample. (default: 0)", low=0, since="later")
    train_file: Path | None = option(
        "File to score or train on: CSV, TSV, JSONL, Parquet; for --task lm also plain text, for images a folder.",
        "content",
        _OWN,
    )
    validation_file: Path | None = option("File to report on, in the same formats.", "content", _OWN)
    text_column: tuple[str, ...] = option(
        "Column of the text; give it twice for pairs. (default: text, or the columns of the kind of task)",
        "content",
        _OWN,
        default=(),
    )
    label_column: str | None = option(
        "Column of the label. (default: label, or the column of the kind of task)", "content", _OWN
    )
    metric: str | None = option(
        "Metric for your own data. (default: accuracy, or the main metric of the kind of task)",
        "content",
        _OWN,
        choices=OWN_METRICS,
    )
    labels: tuple[str, ...] | None = option(
        "Label names, comma-separated. (default: those in the files, sorted)", "content", _OWN, read=names
    )
    skip_invalid: bool = option(
        "Skip invalid rows and count them. (default: stop with an error)", panel=_OWN, since="later", default=False
    )
    batch_size: int = option("Number of examples in a batch.", panel=_COMPUTE, low=1, default=32)
    max_length: int = option(
        "Maximum number of tokens; longer texts are cut, or split for question answering.",
        panel=_COMPUTE,
        low=4,
        default=128,
    )
    dtype: Dtype = option("Precision of the computation.", panel=_COMPUTE, default="float32")
    device: Device = option("Where to compute.", "nothing", _COMPUTE, default="auto")
    trust_remote_code: bool = option(
        "Run the code that comes with a model on the hub.", "nothing", _COMPUTE, default=False
    )
    beams: int = option(
        "Number of beams for translation; 1 decodes greedily.", panel=_COMPUTE, low=1, since="later", default=1
    )
    doc_stride: int | None = option(
        "Question answering: tokens that two windows of a long context share. (default: a third of --max-length)",
        panel=_COMPUTE,
        low=0,
        since="later",
    )
    store: str | Path | None = option(replace(STORE, panel=_COMPUTE))

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", task_name(self.task))
        task = self.task or (DEFAULT_TASK if self.own is None else self.own.name)
        object.__setattr__(self, "task", task)
        if self.sample is not None:
            object.__setattr__(self, "max_examples", self.sample)
            object.__setattr__(self, "sample_seed", self.sample_seed or 0)

    @cached_property
    def own(self) -> "OwnData | None":
        """The user's own files, and how to read them.

        Raises:
            TaskError: If their description is at fault.
        """
        given = {"train": self.train_file, "validation": self.validation_file}
        files = {split: file for split, file in given.items() if file is not None}
        if not files:
            return None
        from prune_heads.tasks.own import OwnData

        kind = self.task if self.task in _OF_TEXTS else "labelled"
        return OwnData(files, self.text_column, self.label_column or "", self.metric or "", self.labels, kind=kind)

    def configuration(self) -> dict[str, Any]:
        """For records: everything that can change a result; folders by their names only."""
        task = Path(self.task).name if self.own is None else self.own.name
        return {**super().configuration(), "task": task}

    @classmethod
    def clash(cls, given: Mapping[str, Any]) -> str | None:
        """Refuse two ways to take examples, or a task beside files that are a task themselves."""
        task, model = given.get("task"), given.get("model", cls.model)
        files = given.keys() & {"train_file", "validation_file"}
        if {"sample", "max_examples"} <= given.keys():
            return "--sample and --max-examples exclude each other"
        if "sample_seed" in given and "sample" not in given:
            return "--sample-seed belongs to --sample"
        if task in _OF_TEXTS:
            return _clash_of_texts(task, given)
        if not files and given.keys() & {"text_column", "label_column", "metric", "labels"}:
            return (
                "--text-column, --label-column, --metric and --labels describe --train-file and "
                "--validation-file; name at least one of these"
            )
        if task is None and not files and model != DEFAULT_MODEL:
            return "--task must say which task the model is for; see 'prune-heads tasks'"
        if task is not None and files and (model != DEFAULT_MODEL or task.endswith(".toml")):
            return "--task and your own --train-file or --validation-file exclude each other"
        return None


def _clash_of_texts(task: str, given: Mapping[str, Any]) -> str | None:
    """The user's own files of a kind: no classes or metric to choose, and no column of labels where there are none."""
    if not given.keys() & {"train_file", "validation_file"}:
        return f"--task {task} needs texts of your own: name --train-file, --validation-file, or both"
    row = rows_for(TASKS[task].kind)[0]
    refused = ("labels", "label_order", "metric") if row.label else ("label_column", "labels", "label_order", "metric")
    of_labels = [name for name in refused if name in given and not row.classes]
    if not of_labels:
        return None
    said = " and ".join(f"--{name.replace('_', '-')}" for name in of_labels)
    if row.label:
        return f"{said} must not be given beside --task {task}: it has no classes, and its metrics are always the same"
    return (
        f"{said} must not be given beside --task {task}: texts have no labels, and the metric is "
        f"{'BLEU' if task == 'translation' else 'their likelihood'}"
    )


@dataclass(frozen=True)
class Start(Setup):
    """A setup whose model is a pretrained one."""

    model: str = option(
        "A pretrained model: a folder, a model on the hub, or 'mini'.",
        is_path=folder_or_name,
        shown=_model_name,
        default="google-bert/bert-base-uncased",
    )
