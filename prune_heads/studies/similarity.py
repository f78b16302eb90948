"""Which heads do the same work: the study of `prune-heads similar`."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_heads.attention import Attention, observing_proved
from prune_heads.descriptors import Head, named_blocks
from prune_heads.errors import HeadDescriptorError, RunError
from prune_heads.files import read_json
from prune_heads.objectives.batches import IGNORED, Batch
from prune_heads.options import Setup, Similarity
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import RECORD_FILE, Study
from prune_heads.similarity import MEASURES, RIDGE, Sums, clustered, placed
from prune_heads.statistics.tables import correlate_pairs
from prune_heads.studies.measuring import Measured
from prune_heads.studies.pairs import ENDS, check_likelihood, interactions, masks_of_pairs, names_of
from prune_heads.studies.scoring import Found, Lab
from prune_heads.studies.setup import identify

N_NEAREST = 20  # pairs of different layers that a record names, for `ablate --kind pairs --nearest`
N_PARTNERS = 3  # of each head
DIGITS = 4  # of similarities in records

_Group = tuple[dict[str, Any], list[Head], NDArray[np.float64]]


# long: one study from its options to its record, a stage a paragraph
def similar(setup: Setup, options: Similarity, reporter: Reporter) -> Found:
    """How alike heads are, their partners, clusters and places; and whether like heads stand in for each other.

    Heads of blocks that see the same tokens are compared: all of an encoder or a decoder; E, A and D of an
    encoder-decoder each among themselves. Every second example is held out from the regressions. A
    `HeadDescriptorError` if a block is not there, or there are no two heads; a `PruneHeadsError` if a run of pairs is
    of another model, or pairs cannot be measured; an `UnfitError` if heads are too many to be compared.
    """
    study, lab = Study("similar", reporter), Lab(setup, reporter)
    subject = lab.subject
    predictions = lab.predictions(options.split or subject.task.spec.eval_splits[0])
    identity, known, rows = identify(subject, [predictions.split]), None, list[dict[str, Any]]()
    if options.pairs is not None:
        known, rows = _read_pairs(options.pairs, predictions.split.name, identity["model"]["fingerprint"])
    study.begin(setup, options, {"split": predictions.split.name, "pairs": known}, **identity)
    if options.nearest:
        check_likelihood(predictions)

    found = [_group(predictions, letter, sums, options) for letter, sums in _summed(predictions, options).items()]
    distances = {
        (heads[i], heads[j]): float(far[i, j])
        for _, heads, far in found
        for i, j in combinations(range(len(heads)), 2)
        if heads[i][0] != heads[j][0]
    }
    nearest = sorted(distances, key=distances.__getitem__)
    study.lap("look")

    if options.nearest:
        n = min(options.nearest, len(nearest))
        drawn = np.random.default_rng(options.seed).permutation(np.arange(n, len(nearest)))[:n]
        if not (asked := nearest[:n] + [nearest[i] for i in drawn]):
            raise HeadDescriptorError("--nearest needs heads of two layers, and there is one. Name more --blocks")
        measured = Measured(predictions, masks_of_pairs(predictions.gone, asked), options.seed)
        rows = interactions(measured, asked, options.seed)["rows"]
        study.lap("pairs")

    groups = [group for group, *_ in found]
    about: dict[str, Any] = {"task": subject.task.spec.name, "n_examples": len(predictions.split), "ridge": RIDGE}
    about |= {"groups": groups, "blocks": [block.describe() for block in subject.blocks]}
    named = [(*names_of(pair, subject.n_heads), distances[pair]) for pair in nearest[:N_NEAREST]]
    about |= {"nearest": [dict(zip((*ENDS, "distance"), each, strict=True)) for each in named], "interactions": rows}
    about |= {"agreement": _agreement(groups, rows), "columns": _columns(predictions, found, options.by)}
    return Found(study.record(subject.device, **about))


@torch.no_grad()
def _summed(predictions: Predictions, options: Similarity) -> dict[str, Sums]:
    """Letter of a group of blocks -> their sums over the split."""
    subject, batches, counts = predictions.subject, predictions.batches, predictions.gone.n_heads
    asked = named_blocks(options.blocks, counts)
    letters, found, left_out = counts.letters or " " * len(counts), dict[str, Sums](), set[str]()
    with (
        observing_proved(subject.model, batches.batch(np.arange(1)).to(subject.device).inputs) as (observe, _),
        predictions.reporter.stage("looking", batches.n_examples) as progress,
    ):
        for batch in (each.to(subject.device) for each in batches):
            is_odd = torch.from_numpy(batch.index % 2 == 1).to(subject.device)
            held_out = is_odd if batch.owner is None else is_odd[batch.owner]
            seen = [each for each in observe(**batch.inputs) if each.place in asked]
            for letter in dict.fromkeys(letters[each.place] for each in seen):
                group = [each for each in seen if letters[each.place] == letter]
                tokens = _tokens(batch, letter, group)
                alike = [each for each in group if each.context.shape[:2] == tokens.shape]
                left_out |= {each.block.name for each in group} - {each.block.name for each in alike}
                if not alike:
                    continue
                if letter not in found:
                    found[letter] = Sums(alike)
                found[letter].add(alike, tokens, held_out)
            progress(len(batch.index))
    if left_out:
        why = "left out, since their queries are not those of the whole input"
        predictions.reporter.note(f"{why}: {', '.join(sorted(left_out))}")
    if sum(len(sums.cosine) for sums in found.values()) < 2:
        raise HeadDescriptorError("two heads must be there to be compared, and there are none. Name other --blocks")
    return found


def _tokens(batch: Batch, letter: str, group: Iterable[Attention]) -> torch.Tensor:
    """`(rows, queries)`: which queries of a group of blocks are tokens of a text; of an image all are."""
    if letter in ("A", "D"):
        return batch.targets != IGNORED
    if (mask := batch.inputs.get("attention_mask")) is not None:
        return torch.as_tensor(mask == 1)
    whole = (each.context[..., 0, 0] for each in group if len(each.context) == len(batch.index))
    like = batch.inputs.get("input_ids", next(whole, batch.targets[:0]))
    return torch.ones_like(like, dtype=torch.bool)


def _group(predictions: Predictions, letter: str, sums: Sums, options: Similarity) -> _Group:
    """What a record says of a group of blocks; its heads; their squared distances, infinite from a head to itself.

    Similarities are lists of the pairs (0, 1), (0, 2), ... of its heads.
    """
    heads = [(each.place, head) for each in sums.blocks for head in each.block.original_heads]
    names, found = names_of(heads, predictions.gone.n_heads), sums.similarities()
    by = "cka" if options.by == "outputs" or np.isnan(found["js"]).any() else "js"
    if by == "cka" and options.by == "maps":
        blind = ", ".join(each.block.name for each in sums.blocks if each.map is None)
        predictions.reporter.note(f"no proved maps of {blind}: heads are compared by their outputs")
    squares = np.maximum(found["js"] if by == "js" else 1 - found["cka"], 0)
    np.fill_diagonal(squares, 0)
    places, shown = placed(squares)
    far = squares + np.diag(np.full(len(names), np.inf))
    tables = {name: _rounded(found[name]) for name in MEASURES}
    group = {
        "letter": letter.strip(),
        "by": by,
        "heads": names,
        "n_tokens": sums.n_tokens,
        **{name: table[np.triu_indices(len(names), 1)].tolist() for name, table in tables.items()},
        "reconstructed": _rounded(sums.reconstructed()).tolist(),
        "clusters": clustered(squares, options.clusters),
        "places": places.round(DIGITS).tolist(),
        "shown": round(shown, DIGITS),
        "partners": [
            [{"head": names[j], **{name: table[i, j] for name, table in tables.items()}} for j in row[:-1]][:N_PARTNERS]
            for i, row in enumerate(np.argsort(far, axis=1, kind="stable"))  # the head itself comes last
        ],
    }
    return group, heads, far


def _rounded(values: Any) -> NDArray[Any]:
    """The numbers that are finite, and None."""
    numbers = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers.round(DIGITS), np.array(None))


def _read_pairs(path: Path, split: str, fingerprint: str) -> tuple[str, list[dict[str, Any]]]:
    """The identity of a run of `ablate --kind pairs` of this very model, and its rows on this split, or its first."""
    must = "--pairs must name what 'prune-heads ablate --kind pairs --output' writes"
    record = read_json(path / RECORD_FILE if path.is_dir() else path, "a run of pairs")
    try:
        tables = {table["split"]: table["rows"] for table in record["pairs"]}
        kinds = {**dict.fromkeys(ENDS, str), **dict.fromkeys(("interaction", "low", "high"), float)}
        rows = tables.get(split) or next(iter(tables.values()))
        found = [{name: kind(row[name]) for name, kind in kinds.items()} for row in rows]
        model, identity = record["model"]["fingerprint"], str(record["identity_hash"])
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise RunError(f"{must}; {path.name} is of another command, or damaged ({error})") from error
    if model != fingerprint:
        raise RunError(f"{must} of this very model; {path.name} is of another. Repeat it with this model")
    return identity, found


def _agreement(groups: Iterable[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How well each similarity predicts the interactions of the pairs that were compared: higher, more alike."""
    ends = np.array([[row[end] for end in ENDS] for row in rows])
    interaction, found = np.array([row["interaction"] for row in rows]), []
    for name in MEASURES if rows else ():
        of_pair = dict[frozenset[str], float | None]()
        for group in groups:
            of_pair |= zip(map(frozenset, combinations(group["heads"], 2)), group[name], strict=True)
        values = np.array([of_pair.get(frozenset(pair)) for pair in ends], dtype=np.float64)
        known, alike = ~np.isnan(values), -values if name == "js" else values
        found.append({"measure": name, **correlate_pairs(alike[known], interaction[known], ends[known])})
    return found


def _columns(predictions: Predictions, groups: Iterable[_Group], by: str) -> list[dict[str, Any]]:
    """What the page shows of each head."""
    distance, reconstructed, cluster = dict[Head, Any](), dict[Head, Any](), dict[Head, Any]()
    for group, heads, far in groups:
        distance |= zip(heads, _rounded(far.min(axis=1)).tolist(), strict=True)
        reconstructed |= zip(heads, group["reconstructed"], strict=True)
        cluster |= zip(heads, (f"{group['letter']}{each}" for each in group["clusters"]), strict=True)
    what = "Jensen-Shannon divergence of attention maps" if by == "maps" else "1 - linear CKA of outputs"
    nearest = {"title": "Distance to the nearest head", "note": f"{what} from the head that is most alike"}
    ridge = "R^2 of the head's output by a ridge regression on the other heads of its layer, on examples held out"
    clusters = {"title": "Cluster of like heads", "kind": "category", "note": f"Ward's clusters by {what}"}
    columns = (
        ("partner_distance", distance, nearest | {"unit": "nats" if by == "maps" else ""}),
        ("reconstructed", reconstructed, {"title": "Reconstructed by its layer", "note": ridge}),
        ("cluster", cluster, clusters),
    )
    about: dict[str, Any] = {"unit": "", "kind": "number", "group": "similarity", "split": predictions.split.name}
    about |= dict.fromkeys(("errors", "low", "high", "p_adjusted", "alpha", "better"))
    rows = predictions.gone.n_heads.rows
    return [{"name": name, "values": rows(of_head), **about, **said} for name, of_head, said in columns]
