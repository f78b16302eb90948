"""Tiny seeded models of every family, tokenizers and data, built here: no download, no weights in the repository."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from prune_heads.objectives.classifiers import Regression, SingleLabel

WORDS = (
    *("the", "a", "cat", "dog", "film", "is", "was", "good", "bad", "dull"),
    *("fine", "not", "very", "we", "saw", "it", "and", "runs", "sleeps", "red"),
)

_BERT = {
    "vocab_size": 120,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
_DISTILBERT = {
    "vocab_size": 120,
    "dim": 32,
    "n_layers": 3,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
_EXTRA = {
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
}


ENCODERS = [
    "bert",
    "camembert",
    "data2vec-text",
    "distilbert",
    "electra",
    "ernie",
    "esm",
    "layoutlm",
    "markuplm",
    "megatron-bert",
    "rembert",
    "roberta",
    "roberta-prelayernorm",
    "roc_bert",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
]
"""Types that take texts alone and are of BERT's shape."""


def model_class(model_type: str) -> type[PreTrainedModel]:
    """The sequence classifier of a type; one that cannot use SDPA says so in `_supports_sdpa`."""
    return MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING[CONFIG_MAPPING[model_type]]


def tiny_model(
    model_type: str = "bert", attention: str = "eager", *, n_labels: int = 3, seed: int = 0
) -> PreTrainedModel:
    """A random model in evaluation mode, its weights large enough that every head matters."""
    shape = _DISTILBERT if model_type == "distilbert" else _BERT | _EXTRA.get(model_type, {})
    config = AutoConfig.for_model(model_type, num_labels=n_labels, **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config, attn_implementation=attention)
        for name, parameter in model.named_parameters():
            if "norm" not in name.lower():
                torch.nn.init.normal_(parameter, std=0.15)  # biases too: b_V must be seen to go
    return model.eval()


def tiny_inputs(n_examples: int = 4, n_tokens: int = 11, *, seed: int = 0) -> dict[str, torch.Tensor]:
    """A right-padded batch; every example has another length."""
    generator = torch.Generator().manual_seed(seed)
    input_ids = torch.randint(5, 120, (n_examples, n_tokens), generator=generator)
    attention_mask = torch.ones_like(input_ids)
    for row in range(n_examples):
        input_ids[row, n_tokens - row :] = 0
        attention_mask[row, n_tokens - row :] = 0
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word of `WORDS`, BERT's special tokens around one text or two."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=64,
    )


def tokenize(split, tokenizer, *, model_index, batch_size=32, max_length=128):
    """The batches of a classifier with these labels; None for scores."""
    objective = Regression("pearson") if model_index is None else SingleLabel("accuracy", None, model_index)
    return objective.batches(split, tokenizer, batch_size=batch_size, n_max=max_length)


def save_tiny_checkpoint(folder: Path, labels: tuple[str, ...] = ("negative", "positive")) -> Path:
    """A tiny BERT classifier with its tokenizer, as transformers saves it."""
    model = tiny_model(n_labels=len(labels))
    model.config.id2label = dict(enumerate(labels))
    model.config.label2id = {label: i for i, label in enumerate(labels)}
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_sst2(folder: Path, n_train: int = 40, n_dev: int = 30) -> Path:
    """A folder in the official SST-2 layout with sentences made of `WORDS`; a pure function of the sizes."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    for name, n in (("train", n_train), ("dev", n_dev)):
        lines = ["sentence\tlabel"]
        for i in range(n):
            length = int(torch.randint(1, 9, (), generator=generator))
            words = [WORDS[int(j)] for j in torch.randint(0, len(WORDS), (length,), generator=generator)]
            lines.append(f"{' '.join(words)} \t{i % 2}")
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
