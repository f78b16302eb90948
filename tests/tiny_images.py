"""Tiny models of images, and images of noise in a folder a class."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_types import tiny_model

from prune_heads.checkpoints import Checkpoint, load_checkpoint
from prune_heads.objectives.images import ImageClassification

ANIMALS = ("cat", "dog", "fish")


def save_vit(folder: Path, model_type: str = "vit", labels: tuple[str, ...] = ANIMALS) -> Path:
    """A tiny classifier of images with its processor, which halves and shifts what it scales."""
    model = tiny_model(model_type, num_labels=len(labels))
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: i for i, label in enumerate(labels)}
    model.save_pretrained(folder)
    size = getattr(model.config, "vision_config", model.config).image_size
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": size, "width": size}}
    processor |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.25, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def loaded_vit(folder: Path) -> Checkpoint:
    """As the commands load it."""
    return load_checkpoint(str(folder), ImageClassification.head_of)


def noise(n: int, seed: int = 0) -> list[np.ndarray]:
    """`(height, width, 3)` each, of different heights."""
    draw = np.random.default_rng(seed)
    return [draw.integers(0, 256, (int(draw.integers(12, 40)), 24, 3), dtype=np.uint8) for _ in range(n)]


def save_images(folder: Path, n: int, *, seed: int = 0, labels: tuple[str, ...] = ANIMALS) -> Path:
    """Image i is of class i mod 3."""
    for i, pixels in enumerate(noise(n, seed)):
        file = folder / labels[i % len(labels)] / f"{i:03}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return folder
