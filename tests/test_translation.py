"""Translation models: three kinds of blocks, gated, zeroed and removed; also while they generate."""

import copy

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForSeq2SeqLM

from prune_heads import attention_blocks, gated, gates_of, load_pruned, remove_heads, save_pruned, zero_heads
from prune_heads.errors import UnsupportedModelError

TYPES = ["bart", "blenderbot", "blenderbot-small", "fsmt", "m2m_100", "marian", "mbart", "mt5", "pegasus", "t5"]
SIZES = {
    **dict.fromkeys(("d_model",), 32),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads", "num_heads"), 4),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "d_ff"), 48),
    **dict.fromkeys(("vocab_size", "src_vocab_size", "tgt_vocab_size"), 60),
    **{"d_kv": 8, "max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1},
    **{"decoder_start_token_id": 2, "forced_eos_token_id": None, "use_cache": True, "langs": ["en", "de"]},
}
HEADS = "E:1:2 A:1:1,2,3,4 A:2:3 D:2:1,4"


@pytest.fixture(scope="module", params=TYPES)
def model(request):
    known = CONFIG_MAPPING[request.param]()
    config = CONFIG_MAPPING[request.param](**{k: v for k, v in SIZES.items() if hasattr(known, k)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = AutoModelForSeq2SeqLM.from_config(config).eval()
        for name, weight in built.named_parameters():
            is_norm = weight.ndim == 1 and "bias" not in name
            torch.nn.init.normal_(weight, float(is_norm), 0.2)  # large enough for every head to matter
    return built


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(3, 60, (2, 7), generator=generator)
    seen = torch.ones_like(tokens)
    tokens[1, 5:], seen[1, 5:] = 0, 0
    target = torch.randint(3, 60, (2, 5), generator=generator)
    return {"input_ids": tokens, "attention_mask": seen, "decoder_input_ids": target}


@torch.no_grad()
def logits(model, batch):
    return model(**batch, use_cache=False).logits


def close(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * max(1.0, float(b.abs().max())))


def test_gates_are_zeroed_and_removed_heads(model, batch, tmp_path):
    assert "".join(block.letter for block in attention_blocks(model)) == "EEAADD"
    plain = logits(model, batch)
    for heads in (HEADS, "E:2:1", "A:1:4", "D:1:2"):
        with gated(model, gates_of(model, heads)):
            under = logits(model, batch)
        assert (under - plain).abs().max() > 1e-4
        close(logits(zero_heads(copy.deepcopy(model), heads), batch), under)
        if model.config.model_type == "fsmt":
            with pytest.raises(UnsupportedModelError, match="one size for its input and for its heads"):
                remove_heads(copy.deepcopy(model), heads)
            continue
        narrow = remove_heads(copy.deepcopy(model), heads)
        close(logits(narrow, batch), under)
        save_pruned(narrow, tmp_path / heads[:3])
        close(logits(load_pruned(tmp_path / heads[:3]), batch), under)


def test_each_example_has_its_own_gates(model, batch):
    blocks = attention_blocks(model)
    for i in range(len(blocks)):
        gates = [torch.ones(2, block.n_heads) for block in blocks]
        gates[i][1, 2] = 0
        with gated(model, gates):
            mixed = logits(model, batch)
        with gated(model, gates_of(model, {i: [2]})):
            closed = logits(model, batch)
        close(mixed[0], logits(model, batch)[0])
        close(mixed[1], closed[1])
        assert (closed[1] - logits(model, batch)[1]).abs().max() > 1e-4


def test_generation_goes_by_the_gates(model, batch):
    """Greedy, with the cache of keys and values: step by step it must say what one pass without a cache says."""
    words = {name: batch[name] for name in ("input_ids", "attention_mask")}
    heads = "E:1:2 A:2:3 D:2:1,4"
    how = {"decoder_start_token_id": 2, "max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "num_beams": 1}
    with torch.no_grad(), gated(model, gates_of(model, heads)):
        said = model.generate(**words, **how)
        scores = logits(model, {**words, "decoder_input_ids": said[:, :-1]})
    scores[..., 2] = -torch.inf  # no end before its time
    assert torch.equal(scores.argmax(dim=-1)[:, -5:], said[:, -5:])
    again = zero_heads if model.config.model_type == "fsmt" else remove_heads
    assert torch.equal(again(copy.deepcopy(model), heads).generate(**words, **how), said)
