"""Tokenizers and configurations of the built-in suite, as they were made for the shipped checkpoints.

`prune-heads train-mini` takes both from the shipped checkpoints; a test holds that these are the same.
"""

import re

from tokenizers import Regex, Tokenizer
from tokenizers.decoders import WordPiece
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertTokenizer,
    MarianConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from experiments.mini.grammar import SPLITS, TASKS, TRANSLATION, generate

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_MAX_TOKENS = 64
_PAD, _UNKNOWN, _END = "[PAD]", "[UNK]", "[END]"
_MAX_TOKENS_TRANSLATED = 40
_WORD = r"\w+|[^\w\s]"


def build_tokenizer(task: str) -> PreTrainedTokenizerBase:
    """A tokenizer whose vocabulary is the words of the task's splits.

    A few words of the mismatched split occur in no example of the shipped training split.
    """
    splits = [generate(task, split) for split in SPLITS[task]]
    texts = [text for columns in splits for name in ("text", "text_pair") for text in columns.get(name, [])]
    words = sorted({word for text in texts for word in re.findall(_WORD, text)})
    if task == TRANSLATION:
        return _translator_tokenizer(words)
    vocabulary = {entry: index for index, entry in enumerate((*_SPECIAL, *words))}
    return BertTokenizer(vocabulary, model_max_length=_MAX_TOKENS)


def _translator_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """With the words of both languages; a text ends with a token of its own."""
    vocabulary = {entry: index for index, entry in enumerate((_PAD, _UNKNOWN, _END, *words))}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
    backend.pre_tokenizer = Split(Regex(_WORD), "removed", invert=True)
    backend.decoder = WordPiece()  # words apart, marks where they belong
    backend.post_processor = TemplateProcessing(single=f"$A {_END}", special_tokens=[(_END, vocabulary[_END])])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        eos_token=_END,
        model_max_length=_MAX_TOKENS_TRANSLATED,
        model_input_names=["input_ids", "attention_mask"],
    )


def build_config(task: str, tokenizer: PreTrainedTokenizerBase) -> PreTrainedConfig:
    """A BERT of 6 layers with 4 heads each; for the translation 4 encoder and 4 decoder layers with 4 heads each."""
    if task == TRANSLATION:
        return MarianConfig(
            vocab_size=len(tokenizer),
            d_model=64,
            encoder_layers=4,
            decoder_layers=4,
            encoder_attention_heads=4,
            decoder_attention_heads=4,
            encoder_ffn_dim=128,
            decoder_ffn_dim=128,
            max_position_embeddings=_MAX_TOKENS_TRANSLATED,
            dropout=0.0,  # as of the classifiers
            init_std=0.05,
            scale_embedding=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            decoder_start_token_id=tokenizer.pad_token_id,
            forced_eos_token_id=None,
            architectures=["MarianMTModel"],
            dtype="float32",
        )
    names = TASKS[task]
    return BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=6,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=_MAX_TOKENS,
        hidden_dropout_prob=0.0,  # with dropout all heads learn the same, and hardly one of them matters
        attention_probs_dropout_prob=0.0,
        initializer_range=0.05,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        architectures=["BertForSequenceClassification"],
        problem_type="single_label_classification",
        dtype="float32",
    )
