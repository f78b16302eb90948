"""Likelihoods of more types against transformers' own loss: how each shifts targets, and which class is which."""

import numpy as np
import pytest
import torch
from tiny_types import tiny_config
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedConfig

from prune_heads.checkpoints import Checkpoint
from prune_heads.checkpoints.head import objective_of
from prune_heads.errors import UnsupportedModelError
from prune_heads.objectives import TASKS, bound
from prune_heads.objectives.batches import IGNORED, Batch, Ragged
from prune_heads.objectives.likelihood import MaskedLM

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
    asked = bound_to(plain, objective)
    n_predicted = int((TARGETS != IGNORED).sum())
    loss = float(plain(**OF_TEXT, labels=TARGETS).loss)
    if objective == "causal":  # the first token of each text is not predicted
        n_predicted -= len(IDS)
        given = {name: value[:, :-1] for name, value in OF_TEXT.items()}
        got = asked.kept(plain, Batch(np.arange(2), given, TARGETS[:, 1:]))
    else:
        got = asked.kept(plain, Batch(np.arange(2), OF_TEXT | decoded(asked), TARGETS))
    assert got.shape == (2, 1)
    assert float(got.sum()) == pytest.approx(-loss * n_predicted, rel=1e-5)


def bound_to(model, objective):
    return bound(Checkpoint(model, None, "tiny", None), TASKS["seq2seq" if objective == "seq2seq" else "lm"])


def decoded(asked):
    """What a decoder is given for the targets."""
    if asked.name != "seq2seq":
        return {}
    if asked.shift is None:
        return {"labels": TARGETS}
    rows = [[int(token) for token in row if token != IGNORED] for row in TARGETS]
    return {"decoder_input_ids": asked.shifted(Ragged.of(rows)).batch(np.arange(2))}


@torch.no_grad()
def test_logits_of_other_positions_are_refused():
    """Perceiver's are of a fixed number, whatever the text is."""
    model = model_of("masked", "perceiver")
    with pytest.raises(UnsupportedModelError, match="must give logits for each token; this one gives"):
        MaskedLM("log_likelihood").kept(model, Batch(np.arange(2), OF_TEXT, TARGETS))


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
