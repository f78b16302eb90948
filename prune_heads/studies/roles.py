"""What role does each head play? Texts, random tokens that come twice and parses are looked at, and the record made."""

import hashlib
from collections import defaultdict
from itertools import chain, islice
from typing import Any

import numpy as np

from prune_heads.attention import unproved_maps
from prune_heads.checkpoints.tokenizer import random_texts
from prune_heads.descriptors import Head, HeadCounts
from prune_heads.errors import CheckpointError, DataError, UnfitError, UnsupportedModelError, some
from prune_heads.evaluation import Subject
from prune_heads.gating import evaluating
from prune_heads.objectives import TaskSpec
from prune_heads.objectives.batches import Ragged
from prune_heads.objectives.rows import text_at
from prune_heads.options import RoleSources, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.roles import NONE, SCORES, Parse, Roles, Sentence, Vocabulary, roles_of
from prune_heads.roles.definitions import FORMS, described
from prune_heads.roles.measure import TOKENS, with_tokens
from prune_heads.roles.syntax import aligned, best_offsets, by_spacy, from_conllu, from_tree
from prune_heads.runs import Study
from prune_heads.studies.explaining import compared, read_run
from prune_heads.studies.scoring import Lab
from prune_heads.studies.setup import identify
from prune_heads.tasks.sources import read_tsv

N_REPEATED, REPEATED = 64, 25  # texts of random tokens that come twice, and how many tokens these are


def roles(setup: Setup, options: RoleSources, reporter: Reporter) -> dict[str, Any]:
    """The record of `prune-heads roles`: columns of scores and of roles, syntax, and how runs agree with them.

    A `PruneHeadsError` if the model has no tokens or shows no maps, or parses or runs cannot be read or do not fit.
    """
    study, lab = Study("roles", reporter), Lab(setup, reporter)
    subject, split = lab.subject, options.split or lab.subject.task.spec.eval_splits[0]
    predictions = lab.predictions(split)
    batches = predictions.batches
    if not isinstance(batches.inputs.get("input_ids"), Ragged):
        must = "roles must be of a model of texts, which it is given as tokens"
        raise UnfitError(f"{must}; {subject.classifier.name} is given {', '.join(batches.inputs)}. Name another model")
    parsed, syntax, sentences = read_sentences(setup, options, predictions)
    others = [read_run(path, subject.n_heads) for path in options.against]
    asked = {"parsed": parsed, "against": [source for source, _ in others]}
    study.begin(setup, options, **identify(subject, [predictions.split]), **asked)

    with evaluating(subject.model):
        longest = batches.batch(np.asarray([batches.n_tokens.argmax()])).to(subject.device)
        faults = unproved_maps(subject.model, longest.inputs)
    tokens = np.concatenate([batches.inputs[name].values for name in TOKENS if name in batches.inputs])
    known = Vocabulary.of(subject.classifier.tokenizer, tokens)
    found = Roles(subject.model, known, seed=options.seed, without=faults)
    if faults and faults.keys() >= {block.name for block in subject.blocks if block.n_heads}:
        raise UnsupportedModelError(next(iter(faults.values())))
    with reporter.stage("looking at texts", batches.n_examples) as progress:
        found.look(batches, progress=progress)
    study.lap("texts")
    try:
        found.look(with_tokens(batches, repeated(subject, options.seed)), "repeated")
    except UnfitError as error:
        reporter.note(f"induction is not measured: {error}")
    if syntax:
        with reporter.stage("looking at parses", len(sentences)) as progress:
            given = with_tokens(batches, [sentence.ids for sentence in sentences])
            found.look(given, "parses", progress, sentences)
        syntax |= {"relations": best_offsets(sentences, found.is_causal)}
    study.lap("repeated and parsed")
    if found.unseen:
        reporter.note(f"no scores, for their maps are not of tokens, or not proved: {some(sorted(found.unseen))}")

    columns, names = columns_of(found, split)
    about = {"task": subject.task.spec.name, "split": split, "n_texts": batches.n_examples}
    about |= {"blocks": [block.describe() for block in subject.blocks], "syntax": syntax}
    about |= {"columns": columns, "roles": names, "compared": [compared(other, columns) for other in others]}
    about["definitions"] = described([column["name"] for column in columns])
    study.lap("statistics")
    return study.record(subject.device, **about)


def columns_of(found: Roles, split: str) -> tuple[list[dict[str, Any]], list[list[list[str] | None]]]:
    """The columns of a record, one of roles and one a score that was measured; and all roles of each head.

    One row a block, one cell a head in the original numbering; None for one that is gone or not measured. Numbers have
    six digits: these are enough, and the same on other machines.
    """
    counts = HeadCounts(block.n_original_heads for block in found.blocks)
    about = {"group": "role", **dict.fromkeys(("low", "high", "null", "errors", "p_adjusted", "alpha", "better"))}
    columns, scores = list[dict[str, Any]](), defaultdict[Head, dict[str, Any]](dict)
    for name, score in SCORES.items():
        cells = {
            (place, head): [float(f"{number:.6g}") if np.isfinite(number) else None for number in numbers]
            for place, block in enumerate(found.blocks)
            for head, *numbers in zip(block.original_heads, *found.of(place, name), strict=True)
            if np.isfinite(numbers[0])
        }
        for head, (value, low, _, null) in cells.items():
            scores[head][name] = (value, low, null)
        if cells:
            column = {**about, "name": name, "title": score.title, "kind": "number", "unit": FORMS[score.form]["unit"]}
            column |= {"note": score.note, "split": split if score.on == "texts" else None}
            for i, part in enumerate(("values", "low", "high", "null")):
                column[part] = counts.rows({head: numbers[i] for head, numbers in cells.items()})
            columns.append(column)
    played = {head: roles_of(of) for head, of in scores.items()}
    first = counts.rows({head: (names or [NONE])[0] for head, names in played.items()})
    note = "The most special role that the head plays; 'definitions' has the thresholds, 'roles' all roles."
    role = {**about, "name": "role", "title": "Role", "kind": "category", "unit": "", "note": note, "split": split}
    return [{**role, "values": first}, *columns], counts.rows(played)


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


def read_sentences(
    setup: Setup, options: RoleSources, predictions: Predictions
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, list[Sentence]]:
    """The parses that are asked for, as the model is given them: their identity, a report, and the sentences.

    A `CheckpointError` if the tokenizer does not say where its tokens are in the text; a `DataError` if none fits, or a
    file cannot be read; an `OptionError` if spaCy or its model is not installed.
    """
    subject, tokenizer = predictions.subject, predictions.subject.classifier.tokenizer
    if options.conllu:
        source = options.conllu.name
        parses, n_misfit = from_conllu(text_at(options.conllu), source)[: setup.max_examples], 0
    elif options.spacy:
        columns = [predictions.split.columns.get(name, ()) for name in ("text", "text_pair")]
        texts = [text for text in dict.fromkeys(chain(*columns)) if isinstance(text, str) and text.strip()]
        source, parses, n_misfit = f"spaCy {options.spacy}", list(by_spacy(options.spacy, texts)), 0
    elif options.parses:
        source, parses, n_misfit = _of_training(setup, subject.task.spec)
    else:
        return None, None, []
    if not tokenizer.is_fast:
        must = "the tokenizer must say where its tokens are in a text, as fast tokenizers do"
        raise CheckpointError(f"{must}; this one is a {type(tokenizer).__name__}. Save it with its tokenizer.json")
    given: Any = {"input_ids": [], "offset_mapping": []}
    if parses:  # tokenizers fail on an empty list
        given = tokenizer([parse.text for parse in parses], return_offsets_mapping=True, verbose=False)
    every = zip(parses, given["input_ids"], given["offset_mapping"], strict=True)
    placed = [aligned(parse, ids, at) if len(ids) <= subject.n_max else None for parse, ids, at in every]
    sentences = [sentence for sentence in placed if sentence is not None and sentence.arcs]
    n_out = n_misfit + placed.count(None)
    if not sentences:
        must = f"{source}: some parse must have relations, and fit its text and the tokens of the model"
        raise DataError(f"{must}; none of {len(parses) + n_misfit} does. Check that text and parse are of one sentence")
    if n_out:
        why = "for their words are not those of the tokens"
        predictions.reporter.note(f"{source}: {n_out} sentences are left out, {why}")
    kept = "".join(repr((parse.text, parse.words, parse.arcs)) for parse in parses)
    fingerprint = hashlib.sha256(kept.encode("utf-8", "surrogatepass")).hexdigest()
    report = {"source": source, "n_sentences": len(sentences), "n_left_out": n_out}
    return {"source": source, "fingerprint": fingerprint}, report, sentences


def _of_training(setup: Setup, spec: TaskSpec) -> tuple[str, list[Parse], int]:
    """The parses in the official training file: where they are from, they, and how many do not fit their text."""
    if spec.official is None or setup.data_dir is None:
        raise DataError("--parses must be of a GLUE task with its official files; name them by --data-dir")
    trees = {text: f"{c}_parse" for text, c in zip(spec.text_columns, spec.official["text_columns"], strict=True)}
    table, found, n_misfit = read_tsv(spec, "train", setup.data_dir, tuple(trees.values())), dict[str, Parse](), 0
    parsed = (row for row in table.rows.values() if all(row[tree] for tree in trees.values()))
    for row in islice(parsed, setup.max_examples):
        for text, tree in ((str(row[text]), str(row[tree])) for text, tree in trees.items()):
            try:
                found.setdefault(text, from_tree(tree, text))
            except ValueError:
                n_misfit += 1
    return table.source, list(found.values()), n_misfit
