"""Every model type that can be gated: masks in one pass are masks one at a time, or are not run in one pass."""

import pytest
import torch
from tiny_types import tiny_inputs, tiny_model

from prune_heads import gated, gates_of
from prune_heads.ablation import KINDS, ablations
from prune_heads.ablation.forward import VariantForward
from prune_heads.ablation.plan import plan
from prune_heads.coverage import committed_table
from prune_heads.surgery import removed_heads

ONE_AT_A_TIME = {
    "layers that share weights": ["albert"],
    "a decoder's layer attends twice": [
        *("bart", "bigbird_pegasus", "mbart", "mt5", "mvp", "plbart", "t5", "t5gemma", "umt5")
    ],
    "W_O is not called as a module": ["xlnet"],
}
GATED = [row["type"] for row in committed_table()["models"] if row["gate"] and row["classifier"]]


FEW = {"albert", "bart", "bert", "bloom", "deberta", "gpt2", "llama", "modernbert", "t5", "xlnet"}


def mark_of(model_type):
    """`pytest` tries a few, `make test` a quarter, `make thorough` the rest."""
    return () if model_type in FEW else pytest.mark.slow if model_type in GATED[::4] else pytest.mark.thorough


@torch.no_grad()
@pytest.mark.parametrize("model_type", [pytest.param(name, marks=mark_of(name)) for name in GATED])
def test_masks_in_one_pass_are_masks_one_at_a_time(model_type):
    model = tiny_model(model_type)
    proposal = plan(model, tiny_inputs())
    assert (proposal is None) is any(model_type in types for types in ONE_AT_A_TIME.values())
    if proposal is None:
        return
    forward, inputs = VariantForward(proposal, model), tiny_inputs(4, 11, seed=3)  # not the batch of the proof
    recording, gone = forward.record(inputs), removed_heads(model)
    for kind in KINDS:
        for mask in ablations(kind, gone).values():
            if mask == gone:
                continue
            gates = gates_of(model, mask)
            first = next(i for i, gate in enumerate(gates) if (gate == 0).any())
            got = forward.outputs(recording, [gate[None] for gate in gates], first)[0].logits
            with gated(model, gates):
                assert (got - model(**inputs).logits).abs().max() <= 1e-5
    masks = list(ablations("without-one", gone).values())[-3:]
    rows = [torch.stack(gates) for gates in zip(*(gates_of(model, mask) for mask in masks), strict=True)]
    first, taken = next(i for i, gate in enumerate(rows) if (gate == 0).any()), torch.tensor([3, 0, 3])
    with gated(model, rows):
        alone = model(**{name: value[taken] for name, value in inputs.items()}).logits
    assert (forward.of_rows(recording, rows, first, taken).logits - alone).abs().max() <= 1e-5
