"""Image classifiers: gate, zero and remove through the same table."""

import copy

import pytest
import torch
from transformers import (
    DeiTConfig,
    DeiTForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from prune_heads import attention_blocks, gated, gates_of, load_pruned, remove_heads, save_pruned, zero_heads

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 16,
    "patch_size": 4,
    "num_labels": 3,
}
WINDOWS = {
    **{
        "image_size": 32,
        "patch_size": 4,
        "embed_dim": 16,
        "depths": [2, 2],
        "num_heads": [2, 4],
        "window_size": 4,
    },
    "num_labels": 3,
}
MODELS = {
    "vit": (ViTForImageClassification, ViTConfig, SIZES),
    "deit": (DeiTForImageClassification, DeiTConfig, SIZES),
    "swin": (SwinForImageClassification, SwinConfig, WINDOWS),
}
HEADS = {"vit": "1:1 2:2,4 3:3", "deit": "1:1 2:2,4 3:3", "swin": "1:2 3:1,4 4:2"}


@pytest.fixture(params=MODELS)
def model(request):
    model_class, config_class, sizes = MODELS[request.param]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class(config_class(**sizes))
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.15)
    return model.eval()


@torch.no_grad()
def logits(model):
    size = model.config.image_size
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    return model(pixel_values=images).logits


def gated_logits(model, heads):
    with gated(model, gates_of(model, heads)):
        return logits(model)


def test_blocks_are_in_order_with_their_heads(model):
    expected = [2, 2, 4, 4] if model.config.model_type == "swin" else [4, 4, 4]
    assert [block.n_heads for block in attention_blocks(model)] == expected


def test_gated_equals_zeroed_equals_removed(model, tmp_path):
    heads = HEADS[model.config.model_type]
    plain, under = logits(model), gated_logits(model, heads)
    assert torch.equal(gated_logits(model, ""), plain)
    assert (under - plain).abs().max() > 1e-3
    assert torch.allclose(logits(zero_heads(copy.deepcopy(model), heads)), under, rtol=0, atol=1e-5)
    remove_heads(model, heads)
    assert torch.allclose(logits(model), under, rtol=0, atol=1e-5)
    save_pruned(model, tmp_path / "pruned")
    assert torch.allclose(logits(load_pruned(tmp_path / "pruned")), under, rtol=0, atol=1e-5)


def test_a_model_without_any_head_still_runs(model):
    everything = {i: range(block.n_heads) for i, block in enumerate(attention_blocks(model))}
    under = gated_logits(model, everything)
    assert torch.allclose(logits(remove_heads(model, everything)), under, rtol=0, atol=1e-5)
