"""Compiled layers: the same logits; without a compiler, one line that says so. In a process with caches of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.thorough, pytest.mark.xdist_group("compiled")]  # the layers are compiled once
TESTS = Path(__file__).parents[1]

SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import torch
from tiny import tiny_inputs, tiny_model
from prune_heads import gated, gates_of
from prune_heads.ablation.forward import VariantForward, with_compiled_layers
from prune_heads.ablation.plan import plan
from prune_heads.errors import PruneHeadsError
from prune_heads.heads import HeadMask

torch.set_num_threads(1)
model = tiny_model()
proposal = plan(model, tiny_inputs())
masks = [HeadMask.parse(text, (4, 4, 4)) for text in ("1:1", "1:2,3 3:4", "1:4")]
gates = [torch.stack(rows) for rows in zip(*(gates_of(model, mask) for mask in masks))]

def run(inputs):
    return torch.stack([each.logits for each in forward.outputs(forward.record(inputs), gates, 0)])

def alone(inputs, mask):
    with gated(model, gates_of(model, mask)):
        return model(**inputs).logits

found = {"apart": []}
forward = with_compiled_layers(VariantForward(proposal, model))
with torch.no_grad():
    try:
        with torch._inductor.config.patch({"cpp.cxx": (None, "no-such-compiler")}):
            run(tiny_inputs())
    except PruneHeadsError as error:
        found["error"] = str(error)
    for inputs in (tiny_inputs(), tiny_inputs(7, 15, seed=3)):
        expected = torch.stack([alone(inputs, mask) for mask in masks])
        found["apart"].append(float((run(inputs) - expected).abs().max()))
found["compiled"] = torch._dynamo.utils.counters["stats"]["unique_graphs"]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """Compiles one layer (of three, one is gated, and of the last one position is read) for two shapes."""
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(TESTS)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path_factory.mktemp("inductor"))},
    )


@pytest.fixture
def found(process):
    """What the process has found; it has nothing else to say."""
    assert (process.returncode, process.stderr) == (0, "")
    return json.loads(process.stdout)


def test_compiled_layers_give_the_same_logits(found):
    assert found["compiled"] >= 1
    assert len(found["apart"]) == 2
    assert max(found["apart"]) <= 1e-5


def test_a_missing_compiler_is_a_line_that_says_so(found):
    assert found["error"].startswith("--compile needs a C++ compiler (g++ or clang) that torch can call; got: ")
    assert "no-such-compiler" in found["error"]
    assert found["error"].endswith("Leave the option out, or install one")
    assert "\n" not in found["error"]
