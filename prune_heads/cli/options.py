"""The options that commands share, in groups; each group turns itself into what the studies take."""

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from prune_heads.cli.names import (
    DeviceName,
    DtypeName,
    MetricName,
)
from prune_heads.cli.places import (
    FOLDER_OR_NAME,
    FOLDER_OR_URL,
    STORE_HELP,
    TOML_FILE,
    store_place,
)
from prune_heads.tasks.spec import TASKS, task_name

if TYPE_CHECKING:
    from prune_heads.studies.setup import Setup
    from prune_heads.tasks.own import OwnData

DEFAULT_MODEL = "mini"
DEFAULT_TASK = "mini-inference"

_OWN, _COMPUTE = "Your own data", "Computation"
_OF_TEXTS = tuple(name for name, spec in TASKS.items() if spec.is_own)


def _task(value: str | None) -> str | None:
    if value is None or task_name(value) in TASKS or value.endswith(".toml"):
        return None if value is None else task_name(value)
    near = difflib.get_close_matches(value.lower(), TASKS, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise BadParameter(f"{value!r} is not one of {', '.join(TASKS)}, nor a .toml file.{hint}")


@dataclass(frozen=True)
class SetupOptions:
    """Model, task and conditions."""

    model: Annotated[
        str,
        Option(help="A folder, a model on the hub, or 'mini', the built-in checkpoints."),
        FOLDER_OR_NAME,
    ] = DEFAULT_MODEL
    task: Annotated[
        str | None,
        Option(callback=_task, help="See 'prune-heads tasks'; or a TOML file. (default: mini-inference)"),
        TOML_FILE,
    ] = None
    data_dir: Annotated[Path | None, Option(help="Folder with the task's official GLUE TSV files.")] = None
    label_order: Annotated[
        str | None,
        Option(help="The task's labels in the order of the checkpoint's outputs, comma-separated."),
    ] = None
    max_examples: Annotated[
        int | None, Option(min=1, help="Take the first N examples of every split, in file order.")
    ] = None
    sample: Annotated[
        int | None,
        Option(
            min=1, help="Take N examples of every split, drawn at random: files are often sorted by label."
        ),
    ] = None
    sample_seed: Annotated[int | None, Option(min=0, help="Seed of --sample. (default: 0)")] = None
    train_file: Annotated[
        Path | None,
        Option(
            help="File to score or train on: CSV, TSV, JSONL, Parquet; for --task lm also plain text.",
            rich_help_panel=_OWN,
        ),
    ] = None
    validation_file: Annotated[
        Path | None, Option(help="File to report on, in the same formats.", rich_help_panel=_OWN)
    ] = None
    text_column: Annotated[
        list[str] | None,
        Option(
            help="Column of the text; give it twice for pairs. (default: text; source and target for pairs of texts)",
            rich_help_panel=_OWN,
        ),
    ] = None
    label_column: Annotated[
        str | None, Option(help="Column of the label. (default: label)", rich_help_panel=_OWN)
    ] = None
    metric: Annotated[
        MetricName | None, Option(help="Metric of your own data. (default: accuracy)", rich_help_panel=_OWN)
    ] = None
    labels: Annotated[
        str | None,
        Option(help="Label names, comma-separated. (default: those found, sorted)", rich_help_panel=_OWN),
    ] = None
    skip_invalid: Annotated[
        bool,
        Option(
            "--skip-invalid",
            help="Leave out invalid rows and count them. (default: stop with an error)",
            rich_help_panel=_OWN,
        ),
    ] = False
    batch_size: Annotated[int, Option(min=1, help="Examples in a batch.", rich_help_panel=_COMPUTE)] = 32
    max_length: Annotated[
        int, Option(min=4, help="Longest example, in tokens; longer ones are cut.", rich_help_panel=_COMPUTE)
    ] = 128
    dtype: Annotated[DtypeName, Option(help="Precision of the computation.", rich_help_panel=_COMPUTE)] = (
        DtypeName.float32
    )
    device: Annotated[DeviceName, Option(help="Where to compute.", rich_help_panel=_COMPUTE)] = (
        DeviceName.auto
    )
    trust_remote_code: Annotated[
        bool,
        Option(
            "--trust-remote-code", help="Run code that a hub model brings along.", rich_help_panel=_COMPUTE
        ),
    ] = False
    beams: Annotated[
        int,
        Option(min=1, help="Beams of a translation; 1 is greedy decoding.", rich_help_panel=_COMPUTE),
    ] = 1

    def resolve(self) -> "Setup":
        """As a `Setup`; options that contradict each other are usage errors."""
        task, own = self.asked()
        from prune_heads.studies.setup import Setup  # which imports torch

        return Setup(
            model=self.model,
            task=task,
            data_dir=self.data_dir,
            own=own,
            label_order=_names(self.label_order),
            max_examples=self.max_examples if self.sample is None else self.sample,
            sample_seed=None if self.sample is None else self.sample_seed or 0,
            skip_invalid=self.skip_invalid,
            batch_size=self.batch_size,
            max_length=self.max_length,
            dtype=self.dtype.value,
            device=self.device.value,
            trust_remote_code=self.trust_remote_code,
            beams=self.beams,
        )

    def asked(self) -> "tuple[str, OwnData | None]":
        """The task and one's own data; options that contradict each other are usage errors."""
        if self.sample is not None and self.max_examples is not None:
            raise BadParameter("--sample and --max-examples exclude each other.")
        if self.sample is None and self.sample_seed is not None:
            raise BadParameter("--sample-seed belongs to --sample.")
        own = self._own()
        task = self.task
        if task is None and own is not None:
            task = own.name
        elif task is None and self.model != DEFAULT_MODEL:
            raise BadParameter("--task must say which task the model is for; see 'prune-heads tasks'.")
        elif task in _OF_TEXTS:
            pass  # its files are one's own, always
        elif task is not None and own is not None and (self.model != DEFAULT_MODEL or task.endswith(".toml")):
            raise BadParameter("--task and one's own --train-file or --validation-file exclude each other.")
        return task or DEFAULT_TASK, own

    def _own(self) -> "OwnData | None":
        given = {"train": self.train_file, "validation": self.validation_file}
        files = {split: file for split, file in given.items() if file is not None}
        if self.task in _OF_TEXTS:
            return self._own_texts(files)
        if not files:
            if self.text_column or self.label_column or self.metric or self.labels:
                raise BadParameter(
                    "--text-column, --label-column, --metric and --labels describe --train-file and "
                    "--validation-file; name at least one of these."
                )
            return None
        from prune_heads.tasks.own import OwnData

        return OwnData(
            files=files,
            text_columns=tuple(self.text_column or ("text",)),
            label_column=self.label_column or "label",
            metric=self.metric.value if self.metric else "accuracy",
            labels=_names(self.labels),
        )

    def _own_texts(self, files: dict[str, Path]) -> "OwnData":
        """What a language model reads."""
        if not files:
            said = "needs texts of your own: name --train-file, --validation-file, or both."
            raise BadParameter(f"--task {self.task} {said}")
        options = ("label_column", "labels", "label_order", "metric")
        of_labels = {f"--{name.replace('_', '-')}": getattr(self, name) for name in options}
        if given := [name for name, value in of_labels.items() if value is not None]:
            raise BadParameter(
                f"{' and '.join(given)} must not be given beside --task {self.task}: texts have no labels, and the "
                f"metric is {'BLEU' if self.task == 'translation' else 'their likelihood'}."
            )
        from prune_heads.tasks.own import own_texts

        return own_texts(TASKS[str(self.task)].kind, files, self.text_column)


@dataclass(frozen=True)
class StoredSetupOptions(SetupOptions):
    """Model, task and conditions of a command that keeps predictions."""

    store: Annotated[
        str | None,
        Option(callback=store_place, metavar="PLACE", help=STORE_HELP, rich_help_panel=_COMPUTE),
        FOLDER_OR_URL,
    ] = None

    def resolve(self) -> "Setup":
        """As a `Setup` with its store."""
        return replace(super().resolve(), store=self.store)


@dataclass(frozen=True)
class NamedModel:
    """A model alone."""

    model: Annotated[
        str, Option(help="A folder, also with removed heads; a model on the hub; or 'mini'."), FOLDER_OR_NAME
    ] = DEFAULT_MODEL
    task: Annotated[
        str,
        Option(
            callback=_task,
            help="Which of the built-in checkpoints 'mini' stands for; or lm or seq2seq, for a language model.",
        ),
    ] = DEFAULT_TASK


@dataclass(frozen=True)
class ModelOptions(NamedModel):
    """A model that is written anew."""

    dtype: Annotated[DtypeName, Option(help="Of the weights that are written; ONNX is in float32.")] = (
        DtypeName.float32
    )
    trust_remote_code: Annotated[
        bool, Option("--trust-remote-code", help="Run code that a hub model brings along.")
    ] = False

    def resolve(self) -> "Setup":
        """As a `Setup` without data."""
        from prune_heads.studies.setup import Setup

        return Setup(self.model, self.task, dtype=self.dtype.value, trust_remote_code=self.trust_remote_code)


Output = Annotated[
    Path | None, Option("--output", "-o", help="Folder for the record, the files and the figures.")
]
Overwrite = Annotated[bool, Option("--overwrite", help="Replace a different run in the output folder.")]
Json = Annotated[bool, Option("--json", help="Print one JSON object and nothing else to stdout.")]


def _names(text: str | None) -> tuple[str, ...] | None:
    """`"a, b"` as `("a", "b")`."""
    return None if text is None else tuple(part.strip() for part in text.split(","))
