"""Ways to spoil a checkpoint, and to see that it is refused."""

import json

import pytest
import torch
from loading import load_classifier
from safetensors.torch import load_file, save_file
from tiny import tiny_inputs, tiny_tokenizer

from prune_heads.errors import CheckpointError

QUERY = "bert.encoder.layer.1.attention.self.query.weight"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def edit(folder, file="config.json", **change):
    """Change entries of a JSON file."""
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | change))
    return folder


def rewrite(folder, change):
    """Change the weights, in place or by giving others."""
    weights = load_file(folder / "model.safetensors")
    weights = change(weights) or weights
    save_file({key: w.contiguous() for key, w in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    return folder


def saved(model, folder):
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@torch.no_grad()
def logits(folder):
    return load_classifier(str(folder)).model(**tiny_inputs()).logits


def refuse(folder, said, load=load_classifier):
    with pytest.raises(CheckpointError, match=said):
        load(str(folder))


def codes(dtype):
    return lambda weights: weights.update({QUERY: (weights[QUERY] * 100).to(dtype)})


def shard(folder, change=lambda where: None):
    """The weights in two files with an index, whose map `change` may spoil."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {key: SHARDS[i % 2] for i, key in enumerate(sorted(weights))}
    for file in SHARDS:
        save_file({k: w for k, w in weights.items() if where[k] == file}, folder / file, {"format": "pt"})
    change(where)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
