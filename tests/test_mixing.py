"""What mixes tokens beside the heads, found by changing a token, and what is said of a model without heads."""

from types import SimpleNamespace

import pytest
import torch
from tiny_types import tiny_inputs, tiny_model

from prune_heads import attention_blocks, gated
from prune_heads.anatomy import head_counts
from prune_heads.coverage import committed_table
from prune_heads.coverage.mixing import mixers
from prune_heads.heads import HeadMask
from prune_heads.progress import Reporter
from prune_heads.studies.pruning import note_without_heads


@torch.no_grad()
def reach(model, inputs):
    """Places of the last hidden state that another token in place 4 changes although all heads are gated."""
    changed = inputs["input_ids"].clone()
    changed[0, 4] = inputs["input_ids"][0, 3]
    states = []
    with gated(model, [torch.zeros(block.n_heads) for block in attention_blocks(model)]):
        for ids in (inputs["input_ids"], changed):
            states.append(model.base_model(input_ids=ids[:1]).last_hidden_state[0])
    return (states[0] - states[1]).abs().amax(dim=1).gt(1e-4).nonzero().flatten().tolist()


@pytest.mark.parametrize(
    ("model_type", "names"),
    [
        ("bert", []),
        ("gpt2", []),
        ("albert", []),
        ("canine", ["canine.initial_char_encoder", "canine.projection", "canine.final_char_encoder"]),
        ("jamba", ["model.layers.*.mamba"]),
        ("minimax", ["model.layers.*.self_attn"]),
        ("mobilebert", ["mobilebert.embeddings"]),
        ("qwen3_next", ["model.layers.*.linear_attn"]),
    ],
)
def test_what_mixes_tokens_beside_the_heads_is_named(model_type, names):
    model = tiny_model(model_type)
    found = mixers(model, tiny_inputs())
    assert [name.partition(" ")[0] for name in found] == names
    (row,) = (row for row in committed_table()["models"] if row["type"] == model_type)
    assert found == row["mixers"] or model_type == "canine"  # which has variants with one more
    assert (reach(model, tiny_inputs()) == [4]) == (not names)
    assert not any(module._forward_hooks for module in model.modules())


def test_perceiver_reads_its_text_by_attention_that_has_no_heads_here():
    names = [name.partition(" ")[0] for name in mixers(tiny_model("perceiver"), tiny_inputs())]
    assert names == ["perceiver.encoder.cross_attention", "perceiver.decoder"]


@pytest.mark.parametrize(
    ("model_type", "text", "said"),
    [
        ("bert", slice(None), "all heads are pruned: no token sees another any more"),
        ("bart", slice(None), "all heads are pruned: no token sees another any more"),
        ("bert", slice(2), "all heads are pruned"),  # too short for a proof
        ("jamba", slice(None), "all heads are pruned; tokens still see each other in model.layers.*.mamba (Jamba"),
    ],
)
def test_what_is_said_of_a_model_without_heads_is_proved(model_type, text, said):
    model, inputs, reporter = tiny_model(model_type), tiny_inputs(), Reporter()
    batch = SimpleNamespace(inputs={name: value[:1, text] for name, value in inputs.items()})
    batch.to = lambda device: batch
    predictions = SimpleNamespace(
        subject=SimpleNamespace(model=model, device=torch.device("cpu")),
        batches=SimpleNamespace(batch=lambda index: batch),
        reporter=reporter,
    )
    blocks = attention_blocks(model)
    everything = HeadMask.all(head_counts(blocks))
    note_without_heads(predictions, HeadMask(everything.n_heads))
    assert not reporter.notes
    note_without_heads(predictions, everything)
    [note] = reporter.notes
    assert note.startswith(said)
    assert note == said or "Jamba" in said
