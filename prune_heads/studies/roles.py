"""What role does each head play? Texts, random tokens that come twice and parses are looked at, and the record made."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

import numpy as np
import torch

from prune_heads.attention import unproved_maps
from prune_heads.checkpoints.tokenizer import random_texts
from prune_heads.errors import (
    CheckpointError,
    DataError,
    OptionError,
    UnfitError,
    UnsupportedModelError,
    first_line,
    some,
)
from prune_heads.evaluation import Subject
from prune_heads.gating import evaluating
from prune_heads.objectives.batches import Batches, Ragged
from prune_heads.objectives.rows import text_at
from prune_heads.options import RoleSources, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.roles import NONE, RELATION_SCORES, SCORES, Parse, Roles, Sentence, Vocabulary, roles_of
from prune_heads.roles.definitions import described
from prune_heads.roles.measure import TOKENS, Measured, with_tokens
from prune_heads.roles.syntax import aligned, by_spacy, from_conllu, from_tree
from prune_heads.runs import Study
from prune_heads.studies.explaining import compared, read_run
from prune_heads.studies.scoring import Lab
from prune_heads.studies.setup import identify
from prune_heads.tasks.sources import GLUE

N_REPEATED, REPEATED = 64, 25  # texts of random tokens that come twice, and how many tokens these are

Rows = list[list[Any]]


# long: one study from its options to its record, a stage a paragraph
def roles(setup: Setup, options: RoleSources, reporter: Reporter) -> dict[str, Any]:
    """The record of `prune-heads roles`: columns of scores and of roles, syntax, and how runs agree with them.

    Raises:
        PruneHeadsError: If the model has no tokens or shows no maps, or parses or runs cannot be read or do not fit.
    """
    study, lab = Study("roles", reporter), Lab(setup, reporter)
    subject = lab.subject
    if subject.objective.head.reads != "text":
        must = "roles must be of a model of texts, for they are about tokens"
        raise UnfitError(
            f"{must}; {subject.classifier.name} reads an {subject.objective.head.reads}. Name another model"
        )
    predictions = lab.predictions(options.split or subject.task.spec.eval_splits[0])
    batches = predictions.batches
    if not isinstance(batches.inputs.get("input_ids"), Ragged):
        raise UnfitError(f"roles must be of a model that is given tokens; {subject.classifier.name} is given others")
    source, parses, n_misfit = read_parses(setup, options, predictions)
    parsed = {"source": source, "fingerprint": _fingerprint(parses)} if source else None
    others = [read_run(path, subject.n_heads) for path in options.against]
    runs = [source for source, _ in others]
    study.begin(setup, options, **identify(subject, [predictions.split]), parsed=parsed, against=runs)

    with evaluating(subject.model):
        longest = batches.batch(np.asarray([batches.n_tokens.argmax()])).to(subject.device)
        faults = unproved_maps(subject.model, longest.inputs)
    found = Roles(subject.model, vocabulary_of(subject, batches), seed=options.seed, without=faults)
    if faults and faults.keys() >= {block.name for block in subject.blocks if block.n_heads}:
        raise UnsupportedModelError(next(iter(faults.values())))
    with reporter.stage("looking at texts", batches.n_examples) as progress:
        found.look(batches, progress=progress)
    study.lap("texts")
    try:
        found.look(with_tokens(batches, repeated(subject, options.seed)), on="repeated")
    except UnfitError as error:
        reporter.note(f"induction is not measured: {error}")
    syntax: dict[str, Any] | None = None
    if parses:
        sentences, n_out = with_words(subject, parses)
        n_misfit += n_out
        if not sentences:
            must = f"{source}: some parse must fit its text and the tokens of the model"
            raise DataError(f"{must}; none of {n_misfit} does. Check that text and parse are of one sentence")
        with reporter.stage("looking at parses", len(sentences)) as progress:
            given = with_tokens(batches, [sentence.ids for sentence in sentences])
            found.look_at_words(given, sentences, progress)
        if n_misfit:
            reporter.note(f"{source}: {n_misfit} sentences are left out, for their words are not those of the tokens")
        syntax = {"source": source, "n_sentences": len(sentences), "n_left_out": n_misfit, "relations": _pairs(found)}
    study.lap("repeated and parsed")
    if found.unseen:
        reporter.note(f"no scores, for their maps are not of tokens, or not proved: {some(sorted(found.unseen))}")

    columns, names = columns_of(found, predictions.split.name)
    about = {"task": subject.task.spec.name, "split": predictions.split.name, "n_texts": batches.n_examples}
    found_out = {"columns": columns, "roles": names, "compared": [compared(other, columns) for other in others]}
    found_out["definitions"] = described([column["name"] for column in columns])
    blocks = [block.describe() for block in subject.blocks]
    study.lap("statistics")
    return study.record(subject.device, **about, blocks=blocks, syntax=syntax, **found_out)


def columns_of(found: Roles, split: str) -> tuple[list[dict[str, Any]], Rows]:
    """The columns of a record, one a score that was measured and one of roles; and all roles of each head."""

    def rows(of: Callable[[int, int], Any]) -> Rows:
        """One row a block, one cell a head in the original numbering; None for one that is gone or not measured."""
        cells: Rows = [[None] * block.n_original_heads for block in found.blocks]
        for place, block in enumerate(found.blocks):
            for i, head in enumerate(block.original_heads):
                cells[place][head] = of(place, i)
        return cells

    about = {"group": "role", "errors": None, "p_adjusted": None, "alpha": None, "better": None}
    columns, scores = list[dict[str, Any]](), defaultdict[tuple[int, int], dict[str, Any]](dict)
    for name, score in SCORES.items():
        every = [found.of(block, name) for block in range(len(found.blocks))]
        parts = {part: rows(partial(_cell, every, part)) for part in _PARTS}
        if all(value is None for value in chain(*parts["value"])):
            continue
        for place, i in ((place, i) for place, block in enumerate(found.blocks) for i in range(block.n_heads)):
            value, low, _, null = (_cell(every, part, place, i) for part in _PARTS)
            if value is not None:
                scores[place, i][name] = (value, value if low is None else low, null)
        said = {"name": name, "title": score.title, "kind": "number", "unit": score.unit or _UNITS[score.form]}
        on = split if score.on == "texts" else None
        columns.append({**said, **about, "values": parts.pop("value"), **parts, "note": score.note, "split": on})
    names = rows(lambda *head: roles_of(scores[head]) if head in scores else None)
    first = [[None if cell is None else (cell or [NONE])[0] for cell in row] for row in names]
    said = {"name": "role", "title": "Role", "kind": "category", "unit": ""}
    note = "The most special role that the head plays; 'definitions' has the thresholds, 'roles' all roles."
    none = dict.fromkeys(("low", "high", "null"))
    return [{**said, **about, "values": first, **none, "note": note, "split": split}, *columns], names


_PARTS = ("value", "low", "high", "null")
_UNITS = {"weight": "share of attention", "maximum": "share of queries"}


def _cell(every: Sequence[Measured | None], part: str, block: int, place: int) -> float | None:
    """A finite number of a head, or None; six digits are enough, and the same on other machines."""
    values = getattr(every[block], part, None)
    return None if values is None or not np.isfinite(values[place]) else float(f"{values[place]:.6g}")


def _pairs(found: Roles) -> dict[str, Any]:
    """Of each relation and direction: how many pairs there were, and their most frequent distance with its share."""
    made = {}
    for name in RELATION_SCORES:
        if best := found.best_offset(name, False) or found.best_offset(name, True):
            n = max(counts[name].total() for counts in found.offsets.values())
            made[name] = {"n_pairs": n, "best_offset": best[0], "share_there": float(f"{best[1]:.6g}")}
    return made


def vocabulary_of(subject: Subject, batches: Batches) -> Vocabulary:
    """The tokenizer's tokens, counted in these texts."""
    flat = np.concatenate([batches.inputs[name].values for name in TOKENS if name in batches.inputs])
    flat = flat[flat >= 0]  # labels may hold what is not predicted
    size = max(len(subject.classifier.tokenizer), int(flat.max(initial=0)) + 1)
    return Vocabulary.of(subject.classifier.tokenizer, torch.from_numpy(np.bincount(flat, minlength=size)))


def repeated(subject: Subject, seed: int) -> list[list[int]]:
    """Random tokens that come twice, between the special tokens of a text."""
    tokenizer, rng, rows = subject.classifier.tokenizer, np.random.default_rng(seed), []
    special, frame = set(tokenizer.all_special_ids), len(tokenizer("a")["input_ids"])
    n = max(1, min(REPEATED, (subject.n_max - frame) // 2))
    for _ in range(N_REPEATED):
        ids = random_texts(tokenizer, [n + frame], rng)["input_ids"][0].tolist()
        inside = [i for i, token in enumerate(ids) if token not in special] or [0]
        first, last = inside[0], min(inside[0] + n, inside[-1] + 1)
        rows.append(ids[:last] + ids[first:last] + ids[inside[-1] + 1 :])
    return rows


def read_parses(setup: Setup, options: RoleSources, predictions: Predictions) -> tuple[str, list[Parse], int]:
    """Where the parses that were asked for are from, the parses, and how many do not fit their text.

    Raises:
        DataError: If there are none, or a file cannot be read.
        OptionError: If spaCy or its model is not installed.
    """
    if options.conllu:
        name = options.conllu.name
        return name, from_conllu(text_at(options.conllu), name)[: setup.max_examples], 0
    if options.spacy:
        columns = [predictions.split.columns.get(name, ()) for name in ("text", "text_pair")]
        texts = [text for text in dict.fromkeys(chain(*columns)) if isinstance(text, str) and text.strip()]
        return f"spaCy {options.spacy}", list(by_spacy(_pipeline(options.spacy), texts)), 0
    if not options.parses:
        return "", [], 0
    official, folder = GLUE.get(predictions.subject.task.spec.name), setup.data_dir
    if official is None or folder is None:
        raise DataError("--parses must be of a GLUE task with its official files; name them by --data-dir")
    inner = folder / official["folder"]
    path = (inner if inner.is_dir() else folder) / "train.tsv"
    name, found, n_misfit = f"{path.parent.resolve().name}/{path.name}", dict[str, Parse](), 0
    header, *lines = (line.removesuffix("\r").split("\t") for line in text_at(path, name).split("\n"))
    places = [(header.index(c), header.index(f"{c}_parse")) for c in header if f"{c}_parse" in header]
    if not places:
        raise DataError(f"{name}: --parses needs columns of parses, such as sentence1_parse; it has none. Try --conllu")
    parsed = (line for line in lines if len(line) == len(header) and all(line[tree] for _, tree in places))
    for line in islice(parsed, setup.max_examples):
        for text, tree in places:
            try:
                found.setdefault(line[text], from_tree(line[tree], line[text]))
            except ValueError:
                n_misfit += 1
    if not found:
        raise DataError(f"{name}: some row must have parses that fit its texts; got none. Try --conllu")
    return name, list(found.values()), n_misfit


def _pipeline(name: str) -> Any:
    try:
        import spacy

        return spacy.load(name)
    except (ImportError, OSError, ValueError) as error:
        must = f"--spacy must name a model that is installed with spaCy (extra 'spacy'); got {name}"
        raise OptionError(f"{must}: {first_line(error)}. Or give parses by --conllu") from error


def with_words(subject: Subject, parses: Sequence[Parse]) -> tuple[list[Sentence], int]:
    """Parses as the model is given them, and how many do not fit its tokens or are too long.

    Raises:
        CheckpointError: If the tokenizer does not say where its tokens are in the text.
    """
    tokenizer = subject.classifier.tokenizer
    if not tokenizer.is_fast:
        must = "the tokenizer must say where its tokens are in a text, as fast tokenizers do"
        raise CheckpointError(f"{must}; this one is a {type(tokenizer).__name__}. Save it with its tokenizer.json")
    given = tokenizer([parse.text for parse in parses], return_offsets_mapping=True, verbose=False)
    every = zip(parses, given["input_ids"], given["offset_mapping"], strict=True)
    found = [aligned(parse, ids, at) if len(ids) <= subject.n_max else None for parse, ids, at in every]
    there = [sentence for sentence in found if sentence is not None]
    return [sentence for sentence in there if sentence.arcs], len(found) - len(there)


def _fingerprint(parses: Sequence[Parse]) -> str:
    digest = hashlib.sha256()
    for parse in parses:
        digest.update(repr((parse.text, parse.words, parse.arcs)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
