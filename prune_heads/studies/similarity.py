"""Which heads do the same work: the study of `prune-heads similar`."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from prune_heads.attention import Attention, observing_proved
from prune_heads.descriptors import named_blocks
from prune_heads.errors import HeadDescriptorError, RunError, UnfitError
from prune_heads.files import read_json
from prune_heads.heads import NUMBERING, HeadMask
from prune_heads.objectives.batches import IGNORED, Batch
from prune_heads.options import Setup, Similarity
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, Study
from prune_heads.similarity import MEASURES, RIDGE, Sums, clustered, placed
from prune_heads.statistics.tables import correlate_pairs
from prune_heads.studies.ablating import Measured
from prune_heads.studies.pairs import Pair, check_likelihood, interactions, masks_of_pairs, names_of, pair_named
from prune_heads.studies.scoring import Found, Lab
from prune_heads.studies.setup import identify

N_NEAREST = 20  # pairs of different layers that a record names, for `ablate --kind pairs --nearest`
N_PARTNERS = 3  # of each head
MOST = 16_384  # numbers that the heads of a group send for a token; their covariances take 8 bytes a pair of these
DIGITS = 4  # of similarities in records


def similar(setup: Setup, options: Similarity, reporter: Reporter) -> Found:
    """How alike heads are, their partners, clusters and places; and whether like heads stand in for each other.

    Heads of blocks that see the same tokens are compared: all of an encoder or a decoder; E, A and D of an
    encoder-decoder each among themselves. Every second example is held out from the regressions.

    Raises:
        HeadDescriptorError: If a block is not there, or there are no two heads.
        PruneHeadsError: If a run of pairs is of another model, or pairs cannot be measured.
        UnfitError: If heads are too many to be compared.
    """
    study, lab = Study("similar", reporter), Lab(setup, reporter)
    subject = lab.subject
    predictions = lab.predictions(options.split or subject.task.spec.eval_splits[0])
    known = None if options.pairs is None else _read_pairs(options.pairs, predictions)
    source = {"split": predictions.split.name, "pairs": None if known is None else known[0]}
    study.begin(setup, options, source, **identify(subject, [predictions.split]))
    if options.nearest:
        check_likelihood(predictions)
    groups = [_group(predictions, *each, options) for each in _summed(predictions, options)]
    study.lap("look")
    nearest = sorted((row for group in groups for row in group.pop("pairs")), key=lambda row: row["distance"])
    n_there = len(nearest)
    rows = [] if known is None else known[1]
    if options.nearest:
        n = min(options.nearest, n_there)
        drawn = np.random.default_rng(options.seed).permutation(np.arange(n, n_there))[:n]
        asked = [pair_named(each["first"], each["second"], predictions.gone) for each in nearest[:n]]
        asked += [pair_named(nearest[i]["first"], nearest[i]["second"], predictions.gone) for i in drawn]
        if not asked:
            raise HeadDescriptorError("--nearest needs heads of two layers, and there is one. Name more --blocks")
        rows = _measured(predictions, asked, options.seed)
        study.lap("pairs")
    about = {"task": subject.task.spec.name, "n_examples": len(predictions.split), "ridge": RIDGE, "groups": groups}
    blocks = [block.describe() for block in subject.blocks]
    about |= {"numbering": NUMBERING, "blocks": blocks, "nearest": nearest[:N_NEAREST], "interactions": rows}
    columns = list(_columns(groups, predictions, options.by))
    record = study.record(subject.device, **about, agreement=_agreement(groups, rows), columns=columns)
    return Found(record)


@torch.no_grad()
def _summed(predictions: Predictions, options: Similarity) -> Iterator[tuple[str, list[int], Sums]]:
    """Of each group of blocks its letter, which of the model's blocks they are, and their sums over the split."""
    subject, batches = predictions.subject, predictions.batches
    counts = predictions.gone.n_heads
    asked = range(len(counts)) if options.blocks is None else named_blocks(options.blocks, counts)
    letters, left_out = counts.letters or " " * len(counts), set[str]()
    found: dict[str, tuple[list[int], Sums]] = {}
    with (
        observing_proved(subject.model, batches.batch(np.arange(1)).to(subject.device).inputs) as (observe, _),
        predictions.reporter.stage("looking", batches.n_examples) as progress,
    ):
        for batch in batches:
            batch = batch.to(subject.device)
            groups: dict[str, dict[int, Attention]] = {}
            for each in observe(**batch.inputs):
                if each.place not in asked:
                    continue
                group = groups.setdefault(letters[each.place], {})
                like = next(iter(group.values()), each).context.shape[:2]
                if each.context.shape[:2] == like == _tokens(batch, each, letters[each.place]).shape:
                    group[each.place] = each
                else:
                    left_out.add(each.block.name)
            rows = torch.arange(len(batch.index)) if batch.owner is None else batch.owner.cpu()
            held_out = torch.from_numpy(batch.index % 2 == 1)[rows].to(subject.device)
            for letter, group in groups.items():
                if not (seen := list(group.values())):
                    continue
                if letter not in found:
                    _check_size(seen)
                    found[letter] = list(group), Sums(seen)
                found[letter][1].add(seen, _tokens(batch, seen[0], letter), held_out)
            progress(len(batch.index))
    if left_out:
        predictions.reporter.note(
            f"left out, since their queries are not those of the whole input: {', '.join(sorted(left_out))}"
        )
    if sum(len(sums.heads) for _, sums in found.values()) < 2:
        raise HeadDescriptorError("two heads must be there to be compared, and there are none. Name other --blocks")
    return ((letter.strip(), *each) for letter, each in found.items())


def _tokens(batch: Batch, seen: Attention, letter: str) -> torch.Tensor:
    """`(rows, queries)`: which queries of a block are tokens of a text; of an image all are."""
    if letter in ("A", "D"):
        return batch.targets != IGNORED
    mask = batch.inputs.get("attention_mask", batch.inputs.get("input_ids"))
    if mask is None:
        rows, n_queries = len(batch.index), seen.context.shape[1]
        return torch.ones(rows, n_queries, dtype=torch.bool, device=seen.context.device)
    return mask == 1 if "attention_mask" in batch.inputs else torch.ones_like(mask, dtype=torch.bool)


def _check_size(seen: Sequence[Attention]) -> None:
    if (size := sum(each.context.shape[2:].numel() for each in seen)) > MOST:
        must = f"heads that are compared may send {MOST:,} numbers a token"
        raise UnfitError(
            f"{must}, whose covariances take {8 * MOST**2 / 2**30:.0f} GiB; these send {size:,}. "
            "Name fewer layers with --blocks"
        )


def _group(
    predictions: Predictions, letter: str, places: Sequence[int], sums: Sums, options: Similarity
) -> dict[str, Any]:
    """Of a group of blocks: heads by name, similarities as lists of the pairs (0, 1), (0, 2), ..., and what follows."""
    blocks = predictions.subject.blocks
    heads = [(place, head) for place in places for head in blocks[place].original_heads]
    names, found = names_of(heads, predictions.gone.n_heads), sums.similarities()
    by = "cka" if options.by == "outputs" or np.isnan(found["js"]).any() else "js"
    if by == "cka" and options.by == "maps":
        blind = [blocks[place].name for place, each in zip(places, sums.blocks, strict=True) if each.map is None]
        predictions.reporter.note(f"no proved maps of {', '.join(blind)}: heads are compared by their outputs")
    squares = np.maximum(found["js"] if by == "js" else 1 - found["cka"], 0)
    np.fill_diagonal(squares, 0)
    at, shown = placed(squares)
    far = squares + np.where(np.eye(len(names)), np.inf, 0)
    above = np.triu_indices(len(names), 1)
    return {
        "letter": letter,
        "by": by,
        "heads": names,
        "n_tokens": sums.n_tokens,
        **{name: _listed(found[name][above]) for name in MEASURES},
        "reconstructed": _listed(sums.reconstructed()),
        "clusters": clustered(squares, options.clusters),
        "places": at.round(DIGITS).tolist(),
        "shown": round(shown, DIGITS),
        "partners": [
            [
                {"head": names[j], **{name: _rounded(found[name][i, j]) for name in MEASURES}}
                for j in np.argsort(row, kind="stable")[: min(N_PARTNERS, len(names) - 1)]
            ]
            for i, row in enumerate(far)
        ],
        "pairs": [
            {"first": names[i], "second": names[j], "distance": float(squares[i, j])}
            for i, j in combinations(range(len(names)), 2)
            if heads[i][0] != heads[j][0]
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else round(float(value), DIGITS)


def _listed(values: Any) -> list[float | None]:
    return [_rounded(value) for value in values]


def _read_pairs(path: Path, predictions: Predictions) -> tuple[str, list[dict[str, Any]]]:
    """The identity of a run of `ablate --kind pairs`, and its rows on this split, or its first.

    Raises:
        RunError: If it is none, or of another model.
    """
    must = "--pairs must name what 'prune-heads ablate --kind pairs --output' writes"
    record = read_json(path / RECORD_FILE if path.is_dir() else path, "a run of pairs")
    try:
        of_split = {table["split"]: table["rows"] for table in record["pairs"]}
        rows = of_split.get(predictions.split.name) or next(iter(of_split.values()))
        numbers = ("interaction", "low", "high")
        found = [
            {**{end: str(row[end]) for end in ("first", "second")}, **{name: float(row[name]) for name in numbers}}
            for row in rows
        ]
        fingerprint, name = record["model"]["fingerprint"], str(record["identity_hash"])
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise RunError(f"{must}; {path.name} is of another command, or damaged ({error})") from error
    if fingerprint != identify(predictions.subject, [])["model"]["fingerprint"]:
        raise RunError(f"{must} of this very model; {path.name} is of another. Repeat it with this model")
    return name, found


def _measured(predictions: Predictions, pairs: Sequence[Pair], seed: int) -> list[dict[str, Any]]:
    found = Measured(predictions, masks_of_pairs(predictions.gone, pairs), seed)
    return list(interactions(found, pairs, seed)["rows"])


def _agreement(groups: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How well each similarity predicts the interactions of the pairs that were compared: higher, more alike."""
    found = []
    for name in MEASURES if rows else ():
        of_pair: dict[frozenset[str], float | None] = {}
        for group in groups:
            of_pair |= zip(map(frozenset, combinations(group["heads"], 2)), group[name], strict=True)
        known = [(row, of_pair.get(frozenset((row["first"], row["second"])))) for row in rows]
        both = [(row, -value if name == "js" else value) for row, value in known if value is not None]
        numbers = {
            head: i for i, head in enumerate(dict.fromkeys(row[end] for row in rows for end in ("first", "second")))
        }
        ends = [(numbers[row["first"]], numbers[row["second"]]) for row, _ in both]
        interaction = [row["interaction"] for row, _ in both]
        found.append({"measure": name, **correlate_pairs([value for _, value in both], interaction, ends)})
    return found


def _columns(groups: Sequence[Mapping[str, Any]], predictions: Predictions, by: str) -> Iterator[dict[str, Any]]:
    """What the page shows of each head."""
    n_heads = predictions.gone.n_heads

    def column(name: str, title: str, values: Mapping[str, Any], note: str, **more: Any) -> dict[str, Any]:
        of_head = {next(iter(HeadMask.parse(name, n_heads))): value for name, value in values.items()}
        empty = dict.fromkeys(("errors", "low", "high", "p_adjusted", "alpha", "better"))
        about = {"unit": "", "kind": "number", "group": "similarity", "split": predictions.split.name, "note": note}
        return {"name": name, "title": title, "values": n_heads.rows(of_head), **empty, **about, **more}

    nearest: dict[str, Any] = {}
    clusters: dict[str, str] = {}
    ridge: dict[str, Any] = {}
    for group in groups:
        of = zip(group["heads"], group["partners"], group["clusters"], group["reconstructed"], strict=True)
        for head, partners, cluster, reconstructed in of:
            if partners:
                nearest[head] = partners[0]["js"] if group["by"] == "js" else _rounded(1 - partners[0]["cka"])
            clusters[head], ridge[head] = f"{group['letter']}{cluster}", reconstructed
    what = "Jensen-Shannon divergence of attention maps" if by == "maps" else "1 - linear CKA of outputs"
    said = f"{what} from the head that is most alike"
    yield column("partner_distance", "Distance to the nearest head", nearest, said, unit="nats" if by == "maps" else "")
    said = "R^2 of the head's output by a ridge regression on the other heads of its layer, on examples held out"
    yield column("reconstructed", "Reconstructed by its layer", ridge, said)
    yield column("cluster", "Cluster of like heads", clusters, f"Ward's clusters by {what}", kind="category")
