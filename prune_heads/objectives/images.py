"""Images: where they are, how they are read, and their pixels as a model takes them, a batch at a time."""

import hashlib
import importlib.util
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prune_heads.errors import DataError, TaskError, first_line
from prune_heads.objectives.batches import Side
from prune_heads.objectives.formats import READERS, Columns, Reader, Wanted, checked, encoded
from prune_heads.reading import read_bytes
from prune_heads.visible import brief

if TYPE_CHECKING:
    from PIL.Image import Image

ENDINGS = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Of the files that count as images in a folder of classes; others there are not looked at."""


def require_pillow() -> None:
    """Refuse, before any work, where images cannot be read.

    Raises:
        TaskError: Naming what to install.
    """
    if importlib.util.find_spec("PIL") is None:
        raise TaskError("images need Pillow, which is not installed: pip install 'prune-heads[images]'")


@dataclass(frozen=True)
class Picture:
    """An image that is not decoded yet."""

    source: Path | bytes
    """Its file, or what would be in it."""
    fingerprint: str
    """SHA-256 of the file."""

    @classmethod
    def of(cls, value: object) -> "Picture":
        """From a path, the content of a file, what `datasets` holds of one, or an image of Pillow.

        Raises:
            ValueError: With the fault.
        """
        require_pillow()
        from PIL import Image

        if isinstance(value, Mapping):  # of `datasets`: the content, or where it is
            value = value.get("bytes") or value.get("path")
        if isinstance(value, Image.Image):
            file = io.BytesIO()
            value.save(file, "PNG")
            value = file.getvalue()
        if isinstance(value, str) and value:
            value = Path(value)
        if not isinstance(value, Path | bytes):
            raise ValueError(f"the image must be the path of a file, or its content, got {brief(value)}")
        content = _content(value)
        try:
            with Image.open(io.BytesIO(content)) as image:
                image.verify()
        except Exception as error:  # readers of formats raise errors of any class
            raise ValueError(f"the image must be one that Pillow reads, got {_said(value, error)}") from error
        return cls(value, hashlib.sha256(content).hexdigest())

    def decoded(self) -> "Image":
        """In RGB and upright, as transformers reads it.

        Raises:
            ValueError: If the file is damaged, or gone.
        """
        from PIL import Image, ImageOps

        try:
            with Image.open(io.BytesIO(_content(self.source))) as image:
                return ImageOps.exif_transpose(image).convert("RGB")
        except Exception as error:
            raise ValueError(f"the image must be whole, got {_said(self.source, error)}") from error


def _content(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else read_bytes(source, "the image", ValueError)


def _said(source: Path | bytes, error: Exception) -> str:
    """Never a whole path, which is of no use to readers of a record."""
    name = source.name if isinstance(source, Path) else f"{len(source)} bytes"
    return f"{name}: {'not an image' if type(error).__name__ == 'UnidentifiedImageError' else first_line(error)}"


@dataclass(frozen=True)
class Pixels:
    """A `Field`: images of one shape, decoded when their batch is made."""

    pictures: Sequence[Picture]
    processor: Any
    """The checkpoint's image processor: sizes, crops and scales."""
    dtype: torch.dtype
    """Of the model."""
    source: str
    """Of the images, for messages."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """See `Field`: nothing that is padded."""
        return np.zeros(len(self.pictures), dtype=np.int64)

    def batch(self, rows: NDArray[np.int64], *, pad_to: int | None = None, side: Side = "right") -> Tensor:
        """`(len(rows), channels, height, width)`; see `Field`.

        Raises:
            DataError: If an image is damaged, or they do not come out in one size.
        """
        images = []
        for row in rows:
            try:
                images.append(self.pictures[row].decoded())
            except ValueError as fault:
                raise DataError(f"{self.source}: example {row + 1}: {fault}") from fault
        try:
            made: Tensor = self.processor(images, return_tensors="pt")["pixel_values"]
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{self.source}: the image processor must bring all images to one size; it says {first_line(error)}. "
                "Check size, do_resize and do_center_crop in preprocessor_config.json of the checkpoint"
            ) from error
        return made.to(self.dtype)

    def arrays(self) -> Iterator[NDArray[Any]]:
        """The files' hashes: with the processor's settings, which the objective keeps, they decide the pixels."""
        hashes = b"".join(bytes.fromhex(picture.fingerprint) for picture in self.pictures)
        yield np.frombuffer(hashes, dtype=np.uint8).reshape(-1, 32)


def read_folder(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
    """A folder of classes, or a data set as `save_to_disk` of `datasets` writes it."""
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return _read_saved(path, wanted, left_out)
    classes = [each for each in sorted(path.iterdir()) if each.is_dir() and not each.name.startswith(".")]
    found = Columns(["image", "label"], left_out=left_out)
    for folder in classes:
        for file in sorted(folder.rglob("*")):
            if file.suffix.lower() in ENDINGS and not file.name.startswith("."):
                found.rows.append(tuple({"label": folder.name}.get(name, file) for name in wanted))
                found.places.append(f"{path.name}/{file.relative_to(path).as_posix()}")
    if not found.rows:
        there = ", ".join(each.name for each in classes[:10]) or "no folder"
        raise DataError(
            f"{path.name}: a folder of images must hold a folder for each class with its images "
            f"({path.name}/cat/1.jpg), or be what save_to_disk of datasets writes; got {there}, without images "
            f"({', '.join(sorted(ENDINGS))})"
        )
    return found


def _read_saved(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
    import datasets

    if (path / "dataset_dict.json").is_file():
        splits = ", ".join(f"{path.name}/{each.name}" for each in sorted(path.iterdir()) if each.is_dir())
        raise DataError(f"{path.name}: one split of the data set must be named ({splits}), got all of them")
    try:
        data = encoded(datasets.load_from_disk(str(path)))
    except Exception as error:  # damaged files raise errors of any class
        raise DataError(f"{path.name}: the data set cannot be read: {first_line(error)}") from error
    found = Columns(checked(data.column_names, wanted, path), left_out=left_out)
    found.rows = list(zip(*(data[name] for name in wanted), strict=True))
    found.places = [f"{path.name} example {i}" for i in range(1, len(found.rows) + 1)]
    named = {name: getattr(data.features[name], "names", None) for name in wanted}
    found.classes = {name: names for name, names in named.items() if names}
    return found


def _beside(read: Reader) -> Reader:
    """A table whose first column names files by paths from its own folder."""

    def reader(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
        found = read(path, wanted, left_out)
        found.rows = [
            (path.parent / row[0] if isinstance(row[0], str) and row[0] else row[0], *row[1:]) for row in found.rows
        ]
        return found

    return reader


IMAGE_READERS: Mapping[str, Reader] = {**{ending: _beside(read) for ending, read in READERS.items()}, "": read_folder}
"""As `READERS`, for tables of paths, and for folders."""
