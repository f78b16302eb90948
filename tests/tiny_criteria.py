"""Scoring examples on tiny models of every shape that a criterion must take, for the tests of criteria."""

import random

from tiny import WORDS, tiny_tokenizer
from tiny import tiny_model as tiny_bert
from tiny_texts import text_tokenizer, tiny_language_model, topic_pairs
from tiny_types import SIZES
from tiny_types import tiny_model as tiny_type

from prune_heads import Evaluator, remove_heads
from prune_heads.importance import Examples

_draw = random.Random(0)
ROWS = [{"text": " ".join(_draw.choices(WORDS, k=_draw.randint(1, 9))), "label": i % 2} for i in range(24)]

_MOST = " ".join(f"{kind}:{layer}:1,2,3,4" for kind in "EDA" for layer in (2, 3))  # all but the first layers

SHAPES = {
    "encoder": lambda: tiny_bert(n_labels=2),
    "grouped queries": lambda: tiny_type("llama", sizes={**SIZES, "layers": 2}, num_labels=2),
    "encoder-decoder": lambda: tiny_type("t5", sizes={**SIZES, "layers": 1}, num_labels=2),
    "language model": lambda: tiny_language_model("gpt2"),
    "translator": lambda: remove_heads(tiny_language_model("bart"), _MOST),
    "one head a layer": lambda: tiny_type("bert", sizes={**SIZES, "heads": 1, "kv_heads": 1}, num_labels=2),
    "a layer without heads": lambda: remove_heads(tiny_bert(n_labels=2), "2:1,2,3,4 3:1"),
    "no head": lambda: remove_heads(tiny_bert(n_labels=2), "1:1,2,3,4 2:1,2,3,4 3:1,2,3,4"),
}
"""What it is -> a model: that says one of two labels, that predicts each token, or that writes."""


def examples_on(model, *, n=12, batch_size=32, store=None, **asked):
    """The first rows, scored by this model."""
    tokenizer = tiny_tokenizer() if model.config.model_type == "bert" else text_tokenizer()
    rows, head = ROWS, type(model).__name__
    if "ForSequenceClassification" not in head:
        pairs = [{"text": source, "text_pair": target} for source, target in topic_pairs(n, 0)]
        rows = pairs if model.config.is_encoder_decoder else [{"text": row["text"]} for row in pairs]
    whole = Evaluator(model, rows[:n], tokenizer=tokenizer, batch_size=batch_size, store=store)
    return Examples(model, whole._predictions, **asked)


def hooks(model):
    """How many hooks its modules have."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
