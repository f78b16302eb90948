"""Likelihoods of more types against transformers' own loss: how each shifts targets, and which class is which."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedConfig

from prune_heads.checkpoints import IGNORED
from prune_heads.checkpoints.language_model import objective_of, reading_likelihoods
from prune_heads.coverage.tiny import tiny_config
from prune_heads.errors import UnsupportedModelError

IDS = torch.tensor([[5, 6, 7, 8, 9, 2], [5, 9, 8, 2, 0, 0]])
PADDING = (IDS != 0).long()
OF_TEXT = {"input_ids": IDS, "attention_mask": PADDING}
TARGETS = IDS.masked_fill(PADDING == 0, IGNORED)
TYPES = [
    *(("causal", name) for name in ("gemma2", "gpt_neox", "mixtral", "opt", "qwen3")),
    *(("masked", name) for name in ("albert", "deberta-v2", "distilbert", "modernbert", "roberta", "xlm")),
    *(("seq2seq", name) for name in ("m2m_100", "marian", "mbart", "pegasus", "plbart", "umt5")),
]
AUTO = {"causal": AutoModelForCausalLM, "masked": AutoModelForMaskedLM, "seq2seq": AutoModelForSeq2SeqLM}


def model_of(objective, model_type):
    config = tiny_config(model_type)
    config.bos_token_id = config.decoder_start_token_id = 2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AUTO[objective].from_config(config).eval()


@torch.no_grad()
@pytest.mark.parametrize(("objective", "model_type"), TYPES)
def test_it_is_the_loss_of_transformers(objective, model_type):
    plain = model_of(objective, model_type)
    plain.config.architectures = [type(plain).__name__]
    assert objective_of(plain.config) == objective
    reading = reading_likelihoods(copy.deepcopy(plain), objective)
    assert torch.equal(
        reading(**OF_TEXT, **decoded(objective)).logits, plain(**OF_TEXT, **decoded(objective)).logits
    )
    n_predicted = int((TARGETS != IGNORED).sum())
    loss = float(plain(**OF_TEXT, labels=TARGETS).loss)
    if objective == "causal":  # the first token of each text is not predicted
        n_predicted -= len(IDS)
        given = {name: value[:, :-1] for name, value in OF_TEXT.items()}
        got = reading(**given, targets=TARGETS[:, 1:]).logits
    else:
        got = reading(**OF_TEXT, targets=TARGETS).logits
    assert got.shape == (2, 1)
    assert float(got.sum()) == pytest.approx(-loss * n_predicted, rel=1e-5)


def decoded(objective):
    """A decoder must be given something where there are no targets."""
    return {"decoder_input_ids": IDS} if objective == "seq2seq" else {}


@torch.no_grad()
def test_logits_of_other_positions_are_refused():
    """Perceiver's are of a fixed number, whatever the text is."""
    model = reading_likelihoods(model_of("masked", "perceiver"), "masked")
    with pytest.raises(
        UnsupportedModelError, match=r"must give logits for each token; PerceiverForMaskedLM gives"
    ):
        model(**OF_TEXT, targets=TARGETS)


@pytest.mark.parametrize(
    ("names", "causal", "objective"),
    [
        (["GPT2LMHeadModel"], None, "causal"),
        (["LlamaForCausalLM", "BertForMaskedLM"], None, "causal"),
        (["RobertaForMaskedLM"], None, "masked"),
        (["BartForConditionalGeneration"], None, "seq2seq"),
        (["MarianMTModel"], None, "seq2seq"),
        (["XLMWithLMHeadModel"], True, "causal"),
        (["XLMWithLMHeadModel"], False, "masked"),
        (["BertForSequenceClassification"], None, None),
        (["BertModel"], None, None),
        ([], None, None),
        (None, None, None),
    ],
)
def test_the_class_says_what_was_learned(names, causal, objective):
    config = PreTrainedConfig(architectures=names)
    if causal is not None:
        config.causal = causal
    assert objective_of(config) == objective
