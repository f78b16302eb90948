"""Linear maps by oneDNN: the same to rounding, live weights, and only where the machine's CPU is faster by them."""

import copy

import pytest
import torch
from loading import load_classifier
from tiny import save_tiny_checkpoint
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from prune_heads.checkpoints import kernels, linear_maps, use_onednn, use_pytorch
from prune_heads.checkpoints.linear_maps import OneDnnLinear

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="PyTorch is built without oneDNN here"
)


@pytest.fixture
def everywhere(monkeypatch):
    """As if oneDNN were faster on this machine, whatever it is."""
    monkeypatch.setattr(linear_maps, "_faster_dtypes", lambda: {torch.float32, torch.bfloat16})


@pytest.fixture
def calls(monkeypatch):
    """How often PyTorch's own linear map has been called."""
    made = []
    own = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: made.append(self) or own(self, x))
    return made


def model(width=128, out=256, *, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, out, bias=bias))


@needs_onednn
@torch.no_grad()
@pytest.mark.parametrize("shape", [(1, 128), (7, 128), (3, 5, 128), (2, 3, 5, 128)])
@pytest.mark.parametrize("bias", [True, False])
def test_they_equal_pytorchs_own_to_rounding(everywhere, calls, shape, bias):
    x, plain = torch.randn(shape), model(bias=bias)
    expected = plain(x)
    use_onednn(plain)
    calls.clear()
    found = plain(x)
    assert calls == []
    assert found.shape == expected.shape
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@needs_onednn
@torch.no_grad()
def test_they_read_the_weights_as_they_are(everywhere):
    """No packed copy is kept: what surgery zeroes is zero at the next call."""
    x, mapped = torch.randn(4, 128), model()
    use_onednn(mapped)
    mapped(x)
    mapped[0].weight[:7] = 0
    mapped[0].bias[:7] = 3
    assert torch.equal(mapped(x)[:, :7], torch.full((4, 7), 3.0))


@needs_onednn
@torch.no_grad()
def test_a_copy_has_weights_of_its_own(everywhere):
    x, mapped = torch.randn(4, 128), model()
    use_onednn(mapped)
    supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # not on every machine
    dtype = torch.bfloat16 if supported else torch.float32
    other = copy.deepcopy(mapped).to(dtype)
    before = mapped(x)
    other[0].weight.zero_()
    assert torch.equal(mapped(x), before)
    assert torch.equal(other(x.to(dtype)), other[0].bias.expand(4, -1))


def test_gradients_go_through_pytorchs_own(everywhere, calls):
    mapped = model()
    use_onednn(mapped)
    x = torch.randn(4, 128, requires_grad=True)
    mapped(x).sum().backward()
    assert calls == [mapped[0]]
    torch.testing.assert_close(x.grad, mapped[0].weight.sum(dim=0).expand(4, -1))


def test_small_maps_and_other_kinds_of_maps_stay():
    class Own(nn.Linear):
        pass

    mixed = nn.Sequential(nn.Linear(64, 64), Own(128, 256), nn.Linear(128, 128))
    use_onednn(mixed)
    assert [type(m) for m in mixed] == [nn.Linear, Own, OneDnnLinear]
    assert list(mixed.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias", "2.weight", "2.bias"]
    use_pytorch(mixed)
    assert [type(m) for m in mixed] == [nn.Linear, Own, nn.Linear]


@pytest.mark.parametrize(
    ("capability", "name", "bfloat16", "expected"),
    [
        ("AVX512", "AMD EPYC", True, {"float32": "oneDNN", "bfloat16": "oneDNN"}),
        ("AVX2", "AMD Ryzen 5 3600", False, {"float32": "PyTorch", "bfloat16": "PyTorch"}),
        ("AVX512", "Intel Xeon 8480+", True, {"float32": "PyTorch", "bfloat16": "oneDNN"}),
        ("AVX512", "", False, {"float32": "PyTorch", "bfloat16": "PyTorch"}),
    ],
)
def test_the_machine_decides(monkeypatch, capability, name, bfloat16, expected):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name}, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: bfloat16)
    linear_maps._faster_dtypes.cache_clear()
    try:
        assert kernels() == expected
    finally:
        linear_maps._faster_dtypes.cache_clear()


def test_a_loaded_checkpoint_has_them_where_they_are_large(tmp_path):
    folder = save_tiny_checkpoint(tmp_path / "tiny")
    config = AutoConfig.from_pretrained(folder, intermediate_size=512)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    loaded = load_classifier(str(folder)).model
    mapped = {name.split(".", 4)[-1] for name, m in loaded.named_modules() if type(m) is OneDnnLinear}
    assert mapped == {"intermediate.dense", "output.dense"}
