"""Models that write after whole layers have lost their heads: the same tokens as with W_O's columns zeroed by hand."""

import copy

import pytest
import torch
from tiny_types import tiny_config
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, Cache, DynamicCache, GenerationConfig, StaticCache
from transformers.cache_utils import DynamicLayer
from transformers.models.auto import modeling_auto

from prune_heads import attention_blocks, load_pruned, remove_heads, save_pruned
from prune_heads.anatomy import FAMILIES
from prune_heads.checkpoints.loading import quiet_transformers
from prune_heads.coverage import committed_table
from prune_heads.errors import UnsupportedModelError

CAUSAL = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
PAIRS = modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
KEPT = {row["type"] for row in committed_table()["models"] if not row["remove"]}
WRITING = [name for name in FAMILIES if (name in CAUSAL or name in PAIRS) and name not in KEPT | {"fsmt"}]
ALWAYS = [
    *("bart", "marian", "t5", "t5gemma2", "bert", "gpt2", "gpt_neo", "gptj", "gpt_neox", "falcon", "opt"),
    *("llama", "gemma3_text", "phi3", "deepseek_v2", "jamba"),
]
"""One of each way in which positions, masks and caches are made."""

SLIDING, FULL = "sliding_attention", "full_attention"
# Newer transformers call it `cache`; scripts do not.
pytestmark = pytest.mark.filterwarnings("ignore:.*past_key_values.*deprecated:FutureWarning")
IDS = torch.tensor([[0, 0, 0, 17, 33, 21, 9], [5, 64, 17, 9, 8, 101, 23]])
SEEN = (IDS != 0).long()


def tiny_writer(model_type, **changes):
    """A random decoder or encoder-decoder, its norms and biases drawn too; it never ends a text."""
    config = tiny_config(model_type)
    vars(config).update(changes)
    config.bos_token_id, config.eos_token_id = 1, None
    if model_type in PAIRS:
        config.decoder_start_token_id = 1
    else:
        config.is_decoder = True
    if hasattr(config, "causal"):  # XLM
        config.causal = True
    auto = AutoModelForSeq2SeqLM if model_type in PAIRS else AutoModelForCausalLM
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = auto.from_config(config)
        for name, weights in model.named_parameters():
            scale = 1.0 if weights.ndim == 1 and "norm" in name.lower() and name.endswith("weight") else 0.0
            nn.init.normal_(weights, mean=scale, std=0.15)
    model.generation_config = GenerationConfig(pad_token_id=0, bos_token_id=1, decoder_start_token_id=1)
    return model.eval()


def emptied(model, places):
    """The model without all heads of these blocks, and the truth: its copy with their W_O zeroed by hand."""
    truth, blocks = copy.deepcopy(model), attention_blocks(model)
    with torch.no_grad():
        for block in (attention_blocks(truth)[i] for i in places):
            block.output.weight.zero_()
    return remove_heads(copy.deepcopy(model), {i: range(blocks[i].n_heads) for i in places}), truth


def of_kind(model):
    """Places of the blocks of each kind: E, A, D."""
    kinds = {}
    for i, block in enumerate(attention_blocks(model)):
        kinds.setdefault(block.letter, []).append(i)
    return kinds


def written(model, rows=slice(None), **how):
    """Greedy unless asked otherwise, from prompts that are padded on the left: tokens and logits of each step."""
    with quiet_transformers():
        out = model.generate(
            input_ids=IDS[rows],
            attention_mask=SEEN[rows],
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            **({"max_new_tokens": 10} | how),
        )
    return out.sequences, torch.stack(out.logits)


def assert_same(got, truth):
    assert got[0].tolist() == truth[0].tolist()
    assert (got[1] - truth[1]).abs().max() <= 1e-4 * max(1.0, truth[1].abs().max())


@torch.no_grad()
def step_by_step(model, cache=None):
    """Logits of a decoder that is fed token by token with the cache that it gives back."""
    out, logits = model(input_ids=IDS[1:, :3], past_key_values=cache, use_cache=True), []
    for i in range(3, 7):
        out = model(input_ids=IDS[1:, i : i + 1], past_key_values=out.past_key_values, use_cache=True)
        logits.append(out.logits)
    return torch.cat(logits, dim=1)


@pytest.mark.parametrize(
    "model_type", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.thorough) for name in WRITING]
)
def test_the_same_tokens_without_the_first_layer_of_each_kind(model_type):
    model = tiny_writer(model_type)
    removed, truth = emptied(model, [places[0] for places in of_kind(model).values()])
    assert_same(written(removed), written(truth))


@pytest.mark.thorough
@pytest.mark.parametrize(
    "how",
    [{}, {"num_beams": 3}, {"cache_implementation": "static"}, {"use_cache": False}],
    ids=["greedy", "beams", "static", "no cache"],
)
@pytest.mark.parametrize("model_type", WRITING)
def test_any_layer_and_all_of_a_kind_in_every_way_of_writing(model_type, how):
    model = tiny_writer(model_type)
    for places in of_kind(model).values():
        for chosen in ([places[0]], places[1:2], places):
            removed, truth = emptied(model, chosen)
            try:
                expected = written(truth, **how)
            except (KeyError, RuntimeError):  # T5Gemma 2 and XLM do not take a static cache
                assert how == {"cache_implementation": "static"}
                assert model_type in ("t5gemma2", "xlm")
                return
            assert_same(written(removed, **how), expected)


@pytest.mark.parametrize("how", [{"num_beams": 3}, {"cache_implementation": "static"}], ids=["beams", "static"])
@pytest.mark.parametrize("model_type", ["t5", "bart", "llama"])
def test_beams_and_a_static_cache(model_type, how):
    model = tiny_writer(model_type)
    removed, truth = emptied(model, [places[0] for places in of_kind(model).values()])
    assert_same(written(removed, **how), written(truth, **how))


@pytest.mark.parametrize("how", [{}, {"cache_implementation": "static"}], ids=["dynamic", "static"])
def test_texts_that_outgrow_a_sliding_window(how):
    """Of four tokens, in layers of its own and in the first: the cache forgets, the count goes on."""
    model = tiny_writer("gemma3_text", sliding_window=4, layer_types=[SLIDING, FULL, SLIDING])
    for chosen in ([0], [1], [0, 1], [0, 2]):
        removed, truth = emptied(model, chosen)
        assert_same(written(removed, **how), written(truth, **how))


def test_a_cache_that_is_rolled_back():
    removed, truth = emptied(tiny_writer("llama"), [0])
    how = {"rows": slice(1, 2), "prompt_lookup_num_tokens": 2, "max_matching_ngram_size": 1}
    assert_same(written(removed, **how), written(truth, **how))


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "opt"])
@torch.no_grad()
def test_a_loop_of_ones_own_gives_the_logits_of_the_whole_text(model_type):
    removed, truth = emptied(tiny_writer(model_type), [0])
    expected = truth(input_ids=IDS[1:]).logits[:, 3:]
    for cache in (None, DynamicCache(), whole_cache(removed)):
        assert (step_by_step(removed, cache) - expected).abs().max() < 1e-4


def whole_cache(model):
    """A static cache that has room for the heads of the configuration before the first token comes."""
    config = model.config
    cache = StaticCache(config=config, max_cache_len=16)
    cache.early_initialization(
        1,
        getattr(config, "num_key_value_heads", config.num_attention_heads),
        config.hidden_size // config.num_attention_heads,
        torch.float32,
        torch.device("cpu"),
    )
    return cache


def test_the_cache_of_a_former_text_goes_on_without_the_first_cross_attention():
    model = tiny_writer("t5gemma")
    removed, truth = emptied(model, [of_kind(model)["A"][0]])
    texts = []
    for each in (removed, truth):
        with quiet_transformers():
            first = each.generate(IDS[1:], max_new_tokens=4, do_sample=False, return_dict_in_generate=True)
            more = torch.cat([first.sequences, torch.tensor([[7]])], dim=1)
            cache = {"past_key_values": first.past_key_values}
            texts.append(each.generate(IDS[1:], decoder_input_ids=more, max_new_tokens=5, do_sample=False, **cache))
    assert texts[0].tolist() == texts[1].tolist()


def test_a_cache_that_cannot_count_is_refused_with_the_cure():
    class InGroups(DynamicLayer):
        q_group_size = 64

    removed, _ = emptied(tiny_writer("llama"), [0])
    with pytest.raises(UnsupportedModelError, match=r"got InGroups.*use_cache=False.*gate or zero"):
        step_by_step(removed, Cache(layers=[InGroups() for _ in range(3)]))


@pytest.mark.parametrize("model_type", ["t5", "llama", "marian"])
def test_a_reloaded_model_writes_the_same(model_type, tmp_path):
    model = tiny_writer(model_type)
    removed, truth = emptied(model, [places[0] for places in of_kind(model).values()])
    save_pruned(removed, tmp_path / "pruned")
    assert_same(written(load_pruned(tmp_path / "pruned")), written(truth))
