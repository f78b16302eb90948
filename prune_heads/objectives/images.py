"""One label an image: where images are, how they are read, and their pixels as a model takes them."""
# ruff: noqa: D102 -- `Objective` and `Field` say what each method gives

import hashlib
import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedConfig

from prune_heads.checkpoints import Checkpoint, Head
from prune_heads.errors import DataError, TaskError, first_line
from prune_heads.files import read_bytes
from prune_heads.objectives import TaskSpec
from prune_heads.objectives.batches import Batches, Field, Side
from prune_heads.objectives.classifiers import SingleLabel
from prune_heads.objectives.rows import READERS, Reader, Split, Table
from prune_heads.visible import brief

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Of the files that count as images in a folder of classes; others there are not looked at."""


def require_pillow() -> None:
    """Refuse, before any work, where images cannot be read; `TaskError` names what to install."""
    if importlib.util.find_spec("PIL") is None:
        raise TaskError("images need Pillow, which is not installed: pip install 'prune-heads[images]'")


@dataclass(frozen=True)
class Picture:
    """An image that is not decoded yet."""

    source: Path | bytes  # its file, or what would be in it
    fingerprint: str  # SHA-256 of the file

    @classmethod
    def of(cls, value: object) -> "Picture":
        """Of a path, the content of a file, or what `datasets` holds of an image; else `ValueError`."""
        require_pillow()
        if isinstance(value, Mapping):  # of `datasets`: the content, or where it is
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str) and value:
            value = Path(value)
        if not isinstance(value, Path | bytes):
            raise ValueError(f"the image must be one of Pillow, the path of a file, or its content, got {brief(value)}")
        content = value if isinstance(value, bytes) else read_bytes(value, "the image", ValueError)
        with _opened(value, "one that Pillow reads") as image:
            image.verify()
        return cls(value, hashlib.sha256(content).hexdigest())

    def decoded(self) -> "Image":
        """In RGB and upright, as transformers reads it; `ValueError` if the file is damaged, or gone."""
        from PIL import ImageOps

        with _opened(self.source, "whole") as image:
            return ImageOps.exif_transpose(image).convert("RGB")


@contextmanager
def _opened(source: Path | bytes, must: str) -> Iterator["Image"]:
    """An image as Pillow opens it; a fault of it is a `ValueError`, by the file's name: its path is of no use."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            yield image
    except Exception as error:  # readers of formats raise errors of any class
        name = source.name if isinstance(source, Path) else f"{len(source)} bytes"
        said = "not an image" if type(error).__name__ == "UnidentifiedImageError" else first_line(error)
        raise ValueError(f"the image must be {must}, got {name}: {said}") from error


@dataclass(frozen=True)
class Pixels(Field):
    """Images of one shape, `Picture` each, decoded when their batch is made."""

    processor: Any  # the checkpoint's image processor: sizes, crops and scales
    dtype: torch.dtype  # of the model
    source: str  # of the images, for messages

    def batch(self, rows: NDArray[np.int64], *, pad_to: int | None = None, side: Side = "right") -> Tensor:
        """`(len(rows), channels, height, width)`; `DataError` if an image is damaged, or they differ in size."""
        images = []
        for row in rows:
            try:
                images.append(self.values[row].decoded())
            except ValueError as fault:
                raise DataError(f"{self.source}: example {row + 1}: {fault}") from fault
        try:
            made: Tensor = self.processor(images, return_tensors="pt")["pixel_values"]
        except (TypeError, ValueError) as error:
            must = "the image processor must bring all images to one size; check preprocessor_config.json"
            raise DataError(f"{self.source}: {must}: {first_line(error)}") from error
        return made.to(self.dtype)

    def arrays(self) -> Iterator[NDArray[Any]]:
        """The files' hashes: with the processor's settings, which the objective keeps, they decide the pixels."""
        hashes = b"".join(bytes.fromhex(picture.fingerprint) for picture in self.values)
        yield np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 32)


def read_folder(path: Path, table: Table, wanted: Sequence[str]) -> None:
    """A folder of classes, or a data set as `save_to_disk` of `datasets` writes it."""
    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(f"{path.name}/{each.name}" for each in sorted(path.iterdir()) if each.is_dir())
        raise DataError(f"{path.name}: one split of the data set must be named ({splits}), got all of them")
    if (path / "state.json").is_file():
        import datasets  # takes a second

        try:
            return table.add_dataset(datasets.load_from_disk(str(path)), wanted, f"{path.name} example")
        except Exception as error:  # damaged files raise errors of any class
            raise DataError(f"{path.name}: the data set cannot be read: {first_line(error)}") from error
    classes = [each for each in sorted(path.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    table.names = ["image", "label"]
    for folder in classes:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in ENDINGS and not file.name.startswith("."):
                place = f"{path.name}/{file.relative_to(path).as_posix()}"
                table.rows[place] = {"image": file, "label": folder.name}
    if not table.rows:
        must = "a folder of images must hold a folder for each class (cat/1.jpg), or be what save_to_disk writes"
        there = ", ".join(each.name for each in classes[:10]) or "no folder"
        raise DataError(f"{path.name}: {must}; got {there}, without images ({', '.join(sorted(ENDINGS))})")


def _beside(read: Reader, path: Path, table: Table, wanted: Sequence[str]) -> None:
    """A table whose first column names files by paths from its own folder."""
    read(path, table, wanted)
    table.change(wanted[0], lambda named: path.parent / named if isinstance(named, str) and named else named)


@dataclass(frozen=True)
class ImageClassification(SingleLabel):
    """As `SingleLabel`, of images."""

    processing: Mapping[str, Any] = field(default_factory=dict)  # how images become pixels
    dtype: torch.dtype = torch.float32  # of the model

    name = "image-classification"
    head = Head("AutoModelForImageClassification", "image classification head", reads="image", token=None)
    inputs = ("image",)
    readers = MappingProxyType({"": read_folder, **{end: partial(_beside, read) for end, read in READERS.items()}})
    reads_one_token = False

    @classmethod
    def input_of(cls, value: object, *, may_be_empty: bool = False) -> Picture:
        return Picture.of(value)

    @classmethod
    def stored(cls, value: Any) -> Any:
        if not hasattr(value, "shape"):
            return value
        require_pillow()
        from PIL import Image

        pixels = np.asarray(value)
        if pixels.dtype == np.uint8 and pixels.shape[2:] == (3,):
            return Image.fromarray(pixels)
        must = "an image that is an array must be of uint8 (height, width, 3)"
        raise DataError(f"{must}; got {pixels.dtype} {pixels.shape}")

    @classmethod
    def head_of(cls, config: PreTrainedConfig, name: str) -> Head:
        require_pillow()
        return cls.head

    @classmethod
    def fits(cls, checkpoint: Checkpoint) -> bool:
        """A classifier of images; DeiT's with a teacher is one too."""
        return f"For{cls.head.suffix}" in type(checkpoint.model).__name__

    @classmethod
    def bind(cls, checkpoint: Checkpoint, spec: TaskSpec, **options: Any) -> Self:
        bound = super().bind(checkpoint, spec, **options)
        processor = checkpoint.tokenizer
        processing = {"class": type(processor).__name__, **processor.to_dict()}
        return replace(bound, processing=processing, dtype=checkpoint.model.dtype)

    def batches(self, split: Split, tokenizer: Any, *, batch_size: int, n_max: int) -> Batches:
        """A row an image; `tokenizer` is the image processor."""
        targets, references = self.truth(split.columns["label"])
        pixels = Pixels(split.columns["image"], tokenizer, self.dtype, split.source)
        return Batches(self, {"pixel_values": pixels}, Field(targets), references, batch_size)

    def settings(self, model: nn.Module) -> dict[str, Any]:
        """The image processor; one of torchvision gives other pixels than one of Pillow, and has another class."""
        return {"processing": self.processing}
