"""The built-in suite: small tasks after CoLA, SST-2, MRPC and MNLI, and a translation, generated from a grammar.

Every split is a pure function of its name and a seed. The package ships those of seed 0. A checksum of its text puts
an example on the validation side or on the training side: under no seed does a training split hold a validation
example, not even with the two sentences exchanged.
"""

import zlib
from collections.abc import Mapping

from experiments.mini.acceptability import judged_sentence
from experiments.mini.draw import Draw
from experiments.mini.inference import inference_pair
from experiments.mini.lexicon import FARM, TOWN
from experiments.mini.paraphrase import paraphrase_pair
from experiments.mini.sentiment import review
from experiments.mini.translation import translated_sentence

TASKS: Mapping[str, tuple[str, ...]] = {
    "mini-acceptability": ("unacceptable", "acceptable"),
    "mini-sentiment": ("negative", "positive"),
    "mini-paraphrase": ("not_equivalent", "equivalent"),
    "mini-inference": ("entailment", "neutral", "contradiction"),
}
"""Task name -> label names, in the order of their indices; of the tasks that have labels."""

TRANSLATION = "mini-translation"
"""The task whose examples are pairs of a source and its target."""

_TWO_SPLITS = ("train", "validation")
SPLITS: Mapping[str, tuple[str, ...]] = {
    "mini-acceptability": _TWO_SPLITS,
    "mini-sentiment": _TWO_SPLITS,
    "mini-paraphrase": _TWO_SPLITS,
    "mini-inference": ("train", "validation_matched", "validation_mismatched"),
    TRANSLATION: ("train", "validation", "test", "mismatched"),
}
"""Task name -> names of its splits."""

N_TRAIN, N_VALIDATION = 6000, 1000
RARE_GENRE_FRACTION = 0.05
"""Share of mini-inference's training examples in the genre that the mismatched split is all of.

And of mini-translation's sentences of two clauses.
"""

Example = tuple[str, ...]


def _example(task: str, split: str, draw: Draw) -> tuple[Example, int]:
    """One example: its one or two texts, and its label; 0 where there are none."""
    if task == "mini-acceptability":
        text, label = judged_sentence(draw)
        return (text,), label
    if task == "mini-sentiment":
        text, label = review(draw)
        return (text,), label
    if task == "mini-paraphrase":
        *pair, label = paraphrase_pair(draw)
        return tuple(pair), label
    rare = split.endswith("mismatched") or (split == "train" and draw.chance(RARE_GENRE_FRACTION))
    if task == TRANSLATION:
        return translated_sentence(draw, two_clauses=rare), 0
    premise, hypothesis, label = inference_pair(FARM if rare else TOWN, draw)
    return (premise, hypothesis), label


def _held_out(texts: Example) -> bool:
    """Whether the example is for validation, or a test: one in eight is."""
    return zlib.crc32("\n".join(sorted(texts)).encode()) % 8 == 0


def generate(task: str, split: str, seed: int = 0) -> dict[str, list]:
    """One split of a task.

    Args:
        task: a name in `SPLITS`.
        split: a name in `SPLITS[task]`.
        seed: 0 gives the suite's own split; other seeds give further examples of the same kind.

    Returns:
        Columns of equal length: `text`, for pair tasks `text_pair`, and for tasks with labels `label`, the
        indices of the label names. No example occurs twice in a split.

    Raises:
        ValueError: there is no such task or split.
    """
    if split not in SPLITS.get(task, ()):
        raise ValueError(f"the task and its split must be in {dict(SPLITS)}, got {task!r} and {split!r}")
    draw = Draw(f"{task}/{split}/{seed}")
    wanted = N_TRAIN if split == "train" else N_VALIDATION
    examples: dict[Example, int] = {}
    while len(examples) < wanted:
        texts, label = _example(task, split, draw)
        if _held_out(texts) == (split != "train"):
            examples.setdefault(texts, label)
    columns: dict[str, list] = {"text": [texts[0] for texts in examples]}
    if any(len(texts) == 2 for texts in examples):
        columns["text_pair"] = [texts[1] for texts in examples]
    return columns if task == TRANSLATION else {**columns, "label": list(examples.values())}
