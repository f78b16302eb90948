"""The encoder-decoder of mini-translation before training: as Marian's, but very small."""

import re
from collections.abc import Iterator, Mapping

import torch
from tokenizers import Regex, Tokenizer
from tokenizers.decoders import WordPiece
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from prune_heads.mini import read
from prune_heads.objectives.batches import IGNORED
from prune_heads.tasks.spec import TASKS

TRANSLATION = "mini-translation"
_PAD, _UNKNOWN, _END = "[PAD]", "[UNK]", "[END]"
_MAX_TOKENS = 40
_WORD = r"\w+|[^\w\s]"


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is the words of both languages; a text ends with a token of its own."""
    splits = [read(TRANSLATION, split) for split in TASKS[TRANSLATION].splits]
    texts = [text for columns in splits for column in columns.values() for text in column]
    words = sorted({word for text in texts for word in re.findall(_WORD, text)})
    vocabulary = {entry: index for index, entry in enumerate((_PAD, _UNKNOWN, _END, *words))}
    backend = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
    backend.pre_tokenizer = Split(Regex(_WORD), "removed", invert=True)
    backend.decoder = WordPiece()  # words apart, marks where they belong
    backend.post_processor = TemplateProcessing(
        single=f"$A {_END}", special_tokens=[(_END, vocabulary[_END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        eos_token=_END,
        model_max_length=_MAX_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
    )


def build_model(tokenizer: PreTrainedTokenizerBase) -> MarianMTModel:
    """An encoder and a decoder of 4 layers with 4 heads each, weights drawn at random."""
    config = MarianConfig(
        vocab_size=len(tokenizer),
        d_model=64,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_position_embeddings=_MAX_TOKENS,
        dropout=0.0,  # as of the built-in classifiers
        init_std=0.05,
        scale_embedding=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        decoder_start_token_id=tokenizer.pad_token_id,
        forced_eos_token_id=None,
        architectures=["MarianMTModel"],
    )
    return MarianMTModel(config)


def batches(
    columns: Mapping[str, list], tokenizer: PreTrainedTokenizerBase, batch_size: int
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The pairs in their order; those that fill no batch are left out."""
    for start in range(0, len(columns["text"]) - batch_size + 1, batch_size):
        rows = slice(start, start + batch_size)
        sources, targets = (
            tokenizer(columns[name][rows], padding=True, return_tensors="pt")
            for name in ("text", "text_pair")
        )
        labels: Tensor = torch.where(targets["attention_mask"] == 1, targets["input_ids"], IGNORED)
        yield dict(sources), labels
