"""Models whose heads are known by construction, to try criteria on: `prune-heads plant`.

Heads that the model needs least are overwritten, and nothing else is. So what they do afterwards is known:

- `dead`: their weights are zero. They must come last.
- `noise`: their weights are random, so large that the model is better without each of them.
- `copies`: two heads of a layer, trained so that the model works with either and with both, and not without both. Two
  copies with half of the weight in W_O would not do: without one, half a head would be lost.
- `feature`: the label of many examples is decided by a word that the task did not have, and this head alone reads it.
- `rare`: the same of another word, in few examples.

A plant counts once exact ablation confirms it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from prune_heads.anatomy import attention_blocks
from prune_heads.errors import TaskError, UnfitError, UnsupportedModelError
from prune_heads.evaluation import Subject
from prune_heads.files import new_directory, write_json, write_text
from prune_heads.heads import NUMBERING, HeadMask
from prune_heads.objectives import TaskSpec
from prune_heads.options import NewFolder, Planting, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter, one_stage
from prune_heads.runs import RECORD_FILE, Study, check_output
from prune_heads.store import PredictionStore
from prune_heads.studies.plants import MOST_TRIED, STEPS, Plant, Sites, confirmed, copied, marked, noisy, reading
from prune_heads.studies.setup import identify, load_split, load_subject
from prune_heads.surgery import removed_heads, zero_heads
from prune_heads.tasks.task import Split, load_task

PLANTED_FILE = "planted.json"
N_PLANTED = {"dead": 2, "noise": 2, "copies": 1, "feature": 1, "rare": 1}  # `copies` counts pairs
SHARES = {"feature": 0.3, "rare": 0.03}  # of the examples that have the word
MOST, LEAST = 2000, 50  # examples of a split


# long: one study from its options to its files, a stage a paragraph
def plant(setup: Setup, options: Planting, reporter: Reporter, folder: NewFolder) -> dict[str, Any]:
    """Write a planted model, its data as a task of one's own, `planted.json` and the record; gives the record.

    Raises:
        TaskError: If the task is no classification with one label an example.
        UnfitError: If the model has too few heads, or the tokenizer no two words that the texts lack.
        UnsupportedModelError: If heads share keys and values, or layers their weights.
        PruneHeadsError: If model or data cannot be loaded, or the folder holds something else.
    """
    reporter.admit = partial(check_output, folder)
    study, rng = Study("plant", reporter), np.random.default_rng(options.seed)
    subject = load_subject(setup, reporter)
    spec, model = subject.task.spec, subject.model
    if subject.objective.name != "single-label" or not spec.labels:
        must = "heads are planted in a classifier with one label an example"
        raise TaskError(f"{must}; {spec.name} is of the kind {subject.objective.name}. Name another --task")
    for block in attention_blocks(model):
        if block.n_heads != block.n_kv_heads or block.n_depths > 1 or block.layout.coupled:
            must = f"each head of {block.name} must have weights of its own to be overwritten"
            raise UnsupportedModelError(f"{must}; some are shared. Take a model without grouped queries")
    limit = min(setup.max_examples or MOST, MOST)
    names = {"train": spec.score_split, "validation": spec.eval_splits[0]}
    loaded = {name: load_split(setup, subject, there, reporter, limit) for name, there in names.items()}
    if short := [split for split in loaded.values() if len(split) < LEAST]:
        must = f"a split must have {LEAST} examples, so that two have the rare word"
        raise UnfitError(f"{must}; {short[0].name} has {len(short[0])}. Take more of them")
    study.begin(setup, options, **identify(subject, list(loaded.values())))
    words = unused_words(subject, list(loaded.values()), len(SHARES))
    labels = {"feature": 0, "rare": len(spec.labels) - 1}
    examples, needed = _predictions(subject, loaded["train"], reporter), sum(N_PLANTED.values())
    sites = Sites(examples, needed, rng)
    study.lap("ablate")
    train_on = loaded["train"]
    with one_stage(examples, "trying noise", N_PLANTED["noise"] * MOST_TRIED * len(train_on)):
        plants = [noisy(examples, sites, rng) for _ in range(N_PLANTED["noise"])]  # first: others are trained beside
    n_steps = STEPS * (N_PLANTED["copies"] + len(labels))
    with reporter.stage("training heads", n_steps) as progress:
        for (kind, label), word in zip(labels.items(), words, strict=True):
            mark = Plant(kind, (), word, spec.labels[label])
            plants.append(reading(subject, sites.take(sites.late), train_on, mark, label, rng, progress))
        plants += [copied(subject, sites, train_on, rng, progress) for _ in range(N_PLANTED["copies"])]
    dead = [sites.take(()) for _ in range(N_PLANTED["dead"])]
    zero_heads(model, HeadMask(subject.n_heads, frozenset(dead)))
    plants += [Plant("dead", (head,)) for head in dead]
    study.lap("plant")
    with new_directory(folder.output) as made:
        drawn = np.random.default_rng(options.seed)
        rows = {name: list(_rows(split, words, labels, drawn)) for name, split in loaded.items()}
        _write_task(made, spec, rows)
        planted = replace(subject, task=load_task(str(made / "task.toml")))
        told = {name: planted.measurable(planted.task.load(name), reporter) for name in rows}
        found = {name: _predictions(planted, split, reporter) for name, split in told.items()}
        with one_stage(found["train"], "confirming", 2 * len(plants) * len(told["train"])):
            checks = [(plant, confirmed(found["train"], plant)) for plant in plants]
        table = [each.to_json(check, examples) for each, check in checks]
        for row in (row for row in table if not row["is_confirmed"]):
            heads = " ".join(row["heads"])
            reporter.note(f"{row['kind']} {heads} is not confirmed by exact ablation, and does not count")
        study.lap("confirm")
        gone = removed_heads(model)
        metrics = {name: each.metrics(each.of(gone)) for name, each in found.items()}
        was = {name: _predictions(subject, split, reporter) for name, split in loaded.items()}
        record = study.record(subject.device, task=planted.task.spec.name, metrics=metrics, plants=table)
        record["metrics_of_task"] = {name: each.metrics(each.of(gone)) for name, each in was.items()}
        subject.classifier.write(made)
        write_json(made / PLANTED_FILE, {"format": 1, "numbering": NUMBERING, "plants": table})
        write_json(made / RECORD_FILE, record)
    return record


def unused_words(subject: Subject, splits: Sequence[Split], n: int) -> list[str]:
    """Words of one token each that no text has: those of the vocabulary, or the tokens for a gap and for the unknown.

    An `UnfitError` if there are fewer than `n`.
    """
    tokenizer: Any = subject.classifier.tokenizer
    used = {int(i) for split in splits for i in np.unique(subject.tokens(split).inputs["input_ids"].values)}
    vocabulary = sorted(word for word in tokenizer.get_vocab() if word.isalpha() and len(word) > 3)
    found = []
    for word in filter(None, [*vocabulary, tokenizer.mask_token, tokenizer.unk_token]):
        ids = tokenizer(f"{word} {word}", add_special_tokens=False)["input_ids"]
        if len(ids) == 2 and ids[0] == ids[1] not in used:
            found.append(word)
        if len(found) == n:
            return found
    must = f"the tokenizer must have {n} words that the texts lack, by which examples are marked"
    raise UnfitError(f"{must}; got {len(found)}. Take fewer examples (--max-examples), or another model")


def _predictions(subject: Subject, split: Split, reporter: Reporter) -> Predictions:
    """Without a store, for the model changes."""
    return Predictions(subject, split, PredictionStore(None), reporter)


def _rows(split: Split, words: Sequence[str], labels: Mapping[str, int], rng: np.random.Generator) -> Iterator[Any]:
    """Rows of the planted task: each word in its share of the examples, and no example with two."""
    order, start = rng.permutation(len(split)), 0
    for (kind, label), word in zip(labels.items(), words, strict=True):
        n = round(SHARES[kind] * len(split))
        split, start = marked(split, order[start : start + n], word, label), start + n
    for row in zip(*split.columns.values(), strict=True):
        yield dict(zip(split.columns, row, strict=True))


def _write_task(folder: Path, spec: TaskSpec, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """The files of a task of one's own: `task.toml`, and one of JSON lines a split."""
    names = spec.labels or ()
    for split, those in rows.items():
        lines = (json.dumps({**row, "label": names[row["label"]]}, ensure_ascii=False) for row in those)
        write_text(folder / f"{split}.jsonl", "".join(f"{line}\n" for line in lines))
    columns = [name for name in rows["train"][0] if name != "label"]
    about = {"name": f"planted-{spec.name}", "text_columns": columns, "label_column": "label"}
    about |= {"metric": spec.metric, "labels": list(names)}
    said = "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in about.items())
    files = "".join(f'{split} = "{split}.jsonl"\n' for split in rows)
    write_text(folder / "task.toml", f"{said}[files]\n{files}")
