"""Checkpoints with the head that a test is about."""

from functools import partial

from prune_heads.checkpoints import CLASSIFICATION, classification_head, language_model_head, load_checkpoint


def load_classifier(name, **options):
    return load_checkpoint(name, classification_head, **options)


def load_language_model(name, *, pairs=False, task=None, **options):
    """With `pairs` an encoder-decoder."""
    task = task or ("seq2seq" if pairs else "lm")
    return load_checkpoint(name, partial(language_model_head, pairs=pairs), task=task, **options)


def load_to_finetune(name, labels, **options):
    return load_checkpoint(name, CLASSIFICATION, learned=(labels, "single_label_classification"), **options)
