# ruff: noqa: RUF009  (a field is made by a call, as by dataclasses.field)
"""The model, the task, the conditions under which they meet, and where predictions and results are kept."""

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prune_heads.errors import OptionError
from prune_heads.objectives import OBJECTIVES, OWN_METRICS, TASKS, known_task, rows_for, task_name
from prune_heads.options.fields import Group, ending, names, nowhere, option

if TYPE_CHECKING:
    from prune_heads.tasks.own import OwnData

Dtype = Literal["float32", "bfloat16", "float16", "mixed"]
_ONE: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")  # names of torch's types
Device = Literal["auto", "cpu", "cuda", "mps"]
Executor = Literal["local", "ray"]
Replace = Literal["zero", "mean", "position-mean", "resample"]  # what stands in for a masked head

DEFAULT_MODEL = "mini"
DEFAULT_TASK = "mini-inference"

_own = partial(option, panel="Your own data", reach="content")
_compute = partial(option, panel="Computation")
_cluster = partial(nowhere, panel="Cluster")
_FILES = {"train_file", "validation_file"}
_OF_TEXTS = tuple(name for name, spec in TASKS.items() if spec.is_own)


def folder_or_name(text: str, folder: Path) -> bool:
    """A model. What no folder beside the file is called is a name on the hub, or a path from the working directory."""
    return text.startswith((".", "~")) or (text != DEFAULT_MODEL and (folder / text).is_dir())


def _model_name(group: Any) -> str:
    """A folder by its name alone."""
    from prune_heads.checkpoints.loading import folder_at, folder_name

    path = folder_at(group.model)
    return folder_name(path.resolve()) if path.is_dir() else str(group.model)


_task_word = partial(known_task, said="", error=OptionError)
_model = partial(option, is_path=folder_or_name, shown=_model_name)


def _store_place(value: str) -> str:
    """What `--store` names: a URL that can be opened (or `StoreError`), or the absolute path of a folder."""
    from prune_heads.store import objects_at

    return objects_at(value).place


_store = partial(
    nowhere,
    "Folder where predictions are kept, or a URL such as s3://bucket/prefix. "
    "(default: $PRUNE_HEADS_STORE, else prune-heads/predictions in $XDG_CACHE_HOME, else in ~/.cache)",
    is_path=lambda text, folder: "://" not in text,
    read=_store_place,
    metavar="PLACE",
)


@dataclass(frozen=True)
class Place(Group):
    """Where predictions are kept."""

    store: str | None = _store()


@dataclass(frozen=True)
class WrittenModel(Group):
    """A model alone, in a precision."""

    model: str = _model(
        "A checkpoint folder, with or without removed heads; a model on the hub; or 'mini', the built-in checkpoint.",
        DEFAULT_MODEL,
    )
    task: str = option(
        "The task of the built-in checkpoint 'mini'; or lm or seq2seq for a language model.",
        DEFAULT_TASK,
        reach="content",
        read=_task_word,
    )
    dtype: Dtype = _compute("Precision of weights and computation; ONNX is always float32.", "float32", choices=_ONE)
    trust_remote_code: bool = _compute("Run the code that comes with a model on the hub.", False, reach="nothing")


@dataclass(frozen=True)
class Setup(WrittenModel):
    """A model on a task, as asked for; nothing is loaded yet."""

    task: str = option(
        "Name of a task, see 'prune-heads tasks', or a TOML file that describes one. (default: mini-inference)",
        "",
        read=_task_word,
        is_path=ending(".toml"),
        shown=lambda of: Path(of.task).name if of.own is None else of.own.name,
    )
    objective: str | None = option(
        "Kind of prediction, if the checkpoint fits several. (default: the kind that its class names)",
        choices=tuple(OBJECTIVES),
        since="later",
    )
    replace: Replace = option(
        "What stands in for a masked head: nothing, its mean over the examples that heads are scored on, its mean at "
        "each position, or what it gives for another example.",
        "zero",
        since="later",
    )
    data_dir: Path | None = option(
        "Folder with the task's official GLUE TSV files.", shown=lambda of: of.data_dir and of.data_dir.resolve().name
    )
    label_order: tuple[str, ...] | None = option("Labels, comma-separated, in the model's order.", read=names)
    max_examples: int | None = option("Use only the first N examples of every split, in file order.", low=1)
    sample: int | None = option(
        "Use N examples of every split, drawn at random; better for files that are sorted by label.",
        reach="content",  # records hold it as `max_examples` and `sample_seed`
        low=1,
        since="later",
    )
    sample_seed: int | None = option("Seed of --sample. (default: 0)", low=0, since="later")
    train_file: Path | None = _own(
        "File to score or train on: CSV, TSV, JSONL, Parquet; for --task lm also plain text, for images a folder."
    )
    validation_file: Path | None = _own("File to report on, in the same formats.")
    text_column: tuple[str, ...] = _own(
        "Column of the text; give it twice for pairs. (default: text, or the columns of the kind of task)", ()
    )
    label_column: str | None = _own("Column of the label. (default: label, or the column of the kind of task)")
    cluster_column: str | None = _own(
        "Column that names what examples belong to, such as a document: they are resampled together. (default: none; "
        "for question answering the context, for text files what blank lines separate)",
        since="later",
    )
    metric: str | None = _own(
        "Metric for your own data. (default: accuracy, or the main metric of the kind of task)", choices=OWN_METRICS
    )
    labels: tuple[str, ...] | None = _own("Label names, comma-separated. (default: the files', sorted)", read=names)
    skip_invalid: bool = _own("Skip invalid rows, and count them.", False, reach="record", since="later")
    batch_size: int = _compute("Number of examples in a batch.", 32, low=1)
    max_length: int = _compute("Maximum number of tokens; longer texts are cut, or split into windows.", 128, low=4)
    device: Device = _compute("Where to compute.", "auto", reach="nothing")
    beams: int = _compute("Number of beams for translation; 1 decodes greedily.", 1, low=1, since="later")
    doc_stride: int | None = _compute(
        "Question answering: tokens that two windows of a long context share. (default: a third of --max-length)",
        low=0,
        since="later",
    )
    store: str | Path | None = _store(panel="Computation")

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", task_name(self.task))
        object.__setattr__(self, "task", self.task or (DEFAULT_TASK if self.own is None else self.own.name))
        if self.sample is not None:
            object.__setattr__(self, "max_examples", self.sample)
            object.__setattr__(self, "sample_seed", self.sample_seed or 0)

    @cached_property
    def own(self) -> "OwnData | None":
        """The user's own files, and how to read them; `TaskError` if their description is at fault."""
        given = {"train": self.train_file, "validation": self.validation_file}
        files = {split: file for split, file in given.items() if file is not None}
        if not files:
            return None
        from prune_heads.tasks.own import OwnData

        kind = self.task if self.task in _OF_TEXTS else "labelled"
        about = (self.label_column or "", self.metric or "", self.labels)
        return OwnData(files, self.text_column, *about, kind=kind, cluster_column=self.cluster_column or "")

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        task, model, files = given.get("task"), given.get("model", cls.model), given.keys() & _FILES
        is_own_model = model != DEFAULT_MODEL
        if {"sample", "max_examples"} <= given.keys():
            yield "--sample and --max-examples exclude each other"
        if "sample_seed" in given and "sample" not in given:
            yield "--sample-seed belongs to --sample"
        if task in _OF_TEXTS:
            if not files:
                yield f"--task {task} needs texts of your own: name --train-file, --validation-file, or both"
            why = f"it has no classes, and its metric is {TASKS[task].metric}"
            if wrong := [f"--{name.replace('_', '-')}" for name in rows_for(task)[0].fixed if name in given]:
                yield f"{' and '.join(wrong)} must not be given beside --task {task}: {why}"
            return
        if not files and given.keys() & {"text_column", "label_column", "cluster_column", "metric", "labels"}:
            described = "--text-column, --label-column, --cluster-column, --metric and --labels describe"
            yield f"{described} --train-file and --validation-file; name at least one of these"
        if task is None and not files and is_own_model:
            yield "--task must say which task the model is for; see 'prune-heads tasks'"
        if task is not None and files and (is_own_model or task.endswith(".toml")):
            yield "--task and your own --train-file or --validation-file exclude each other"


@dataclass(frozen=True)
class Masks(Setup):
    """A setup for commands that ask about many masks."""

    dtype: Dtype = _compute("Precision; 'mixed': bfloat16, and float32 where that may change an answer.", "float32")


@dataclass(frozen=True)
class Start(Setup):
    """A setup whose model is a pretrained one."""

    model: str = _model("A pretrained model: a folder, a model on the hub, or 'mini'.", "google-bert/bert-base-uncased")


@dataclass(frozen=True)
class Cluster(Group):
    """This process, or the workers of a cluster; the result is the same."""

    executor: Executor = _cluster("Compute on this machine, or on a Ray cluster (needs the extra 'ray').", "local")
    shards: int | None = _cluster("Number of Ray workers that share the work.", low=1)
    address: str | None = _cluster("Address of the Ray cluster: auto or ray://... (default: a new local one)")

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        is_local = given.get("executor", "local") == "local"
        if is_local and given.keys() & {"shards", "address"}:
            yield "--shards and --address belong to --executor ray"
        if not is_local and "shards" not in given:
            yield "--executor ray needs --shards, the number of workers that share the work"


@dataclass(frozen=True)
class Folder(Group):
    """The folder of a run; None for no folder."""

    output: Path | None = nowhere("Folder for the record, the tables and the figures.", short="-o")
    overwrite: bool = nowhere("Replace a different run that the output folder holds.", False)


@dataclass(frozen=True)
class RunFolder(Folder):
    """The folder of a run that may keep its model."""

    save_checkpoint: bool = nowhere("Keep the pruned model in the output folder, as 'checkpoint'.", False)

    @classmethod
    def _clashes(cls, given: Mapping[str, Any]) -> Iterator[str]:
        if given.get("save_checkpoint") and "output" not in given:
            yield "--save-checkpoint needs an --output folder"


@dataclass(frozen=True)
class NewFolder(Folder):
    """A folder that must be named."""

    output: Path = nowhere("Folder for the checkpoint and its record.", MISSING, short="-o")
