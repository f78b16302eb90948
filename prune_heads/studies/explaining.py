"""Do roles predict what heads are worth, and do two runs find the same roles? By heads, and within layers.

Depth confounds: importance and roles both change from layer to layer. So each correlation comes twice, over all heads
and within layers, and what roles explain is what they explain beyond the layers.
"""

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from prune_heads.errors import RunError
from prune_heads.files import read_json
from prune_heads.runs import RECORD_FILE
from prune_heads.statistics import correlate, correlate_within
from prune_heads.studies.correlating import read_series

N_SHUFFLES = 1000
Grid = Sequence[Sequence[Any]]
Other = tuple[str, Any]


def read_run(path: Path, shape: Sequence[int]) -> Other:
    """The name of a run to compare with, and what it says of its heads: of `roles` an object, else series.

    A `RunError` if it is no such run, damaged, or of other heads.

    Args:
        path: Its folder, or a scores.json.
        shape: Heads of each block.
    """
    source = path.resolve().name
    record = read_json(path / RECORD_FILE, "the record of a run") if (path / RECORD_FILE).is_file() else {}
    try:
        is_roles = record.get("command") == "roles"
        found: Any = _said(record) if is_roles else [each for each in read_series(path) if "response" not in each]
    except (KeyError, TypeError, ValueError) as fault:
        must = "--against must be what 'prune-heads roles --output' writes"
        raise RunError(f"{must}; {source} is damaged ({type(fault).__name__}: {fault}). Make it again") from fault
    for values in found["values"].values() if isinstance(found, Mapping) else (each["values"] for each in found):
        if (there := [len(row) for row in values]) != list(shape):
            must = f"--against must be of the same heads; {source} has {there}"
            raise RunError(f"{must}, the model {list(shape)} a layer")
    return source, found


def _said(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a record of `roles` says: of what, the roles, and the values of each column by its name."""
    values = {}
    for column in record["columns"]:
        rows, made = column["values"], {"number": float, "category": str}[column["kind"]]
        values[column["name"]] = [[cell if cell is None else made(cell) for cell in row] for row in rows]
    return {"name": f"{record['model']['name']} {record['split']}", "role": values["role"], "values": values}


def compared(other: Other, columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Roles beside another run of the same heads, as `read_run` gives it.

    Of `roles`: how far the roles of the heads agree, and each score with its counterpart. Of others: each series of the
    run with each score, and how much of it roles explain; series are turned so that more is more important.
    """
    (source, said), roles = other, columns[0]["values"]
    numbers = {column["name"]: column["values"] for column in columns if column["kind"] == "number"}
    if isinstance(said, Mapping):
        both = [name for name in numbers if name in said["values"]]
        about = {"source": source, "kind": "roles", "name": said["name"], "agreement": agreement(roles, said["role"])}
        return {**about, "scores": [_pair(name, numbers[name], said["values"][name]) for name in both]}
    made = []
    for series in said:
        sign = -1 if series["ablation"] == "without-one" else 1
        values = [[None if value is None else sign * value for value in row] for row in series["values"]]
        about = {"name": series["name"], "kind": series["kind"], "turned": sign < 0}
        about["correlations"] = [_pair(name, mine, values) for name, mine in numbers.items()]
        made.append({**about, "explained": explained(values, roles)})
    return {"source": source, "kind": "importance", "series": made}


def _pair(name: str, first: Grid, second: Grid) -> dict[str, Any]:
    layers, flat = [block for block, row in enumerate(first) for _ in row], ([*chain(*first)], [*chain(*second)])
    return {"score": name, **correlate(*flat), "within": correlate_within(*flat, layers)}


def agreement(first: Grid, second: Grid) -> dict[str, Any]:
    """Share of heads with the same role, and Cohen's kappa with its interval by a bootstrap over heads.

    Kappa is the share beyond that of two runs that give roles as often, but to any heads (Cohen, 1960); None where all
    heads have one role, or none has a role in both. Then `reason` says which.
    """
    pairs = [(a, b) for a, b in zip(chain(*first), chain(*second), strict=True) if None not in (a, b)]
    names, codes = np.unique(pairs, return_inverse=True)
    codes = codes.reshape(-1, 2)

    def kappa(of: NDArray[np.int64]) -> float:
        counts = [np.bincount(side, minlength=len(names)) / len(of) for side in of.T]
        chance = float(counts[0] @ counts[1])
        return (float((of[:, 0] == of[:, 1]).mean()) - chance) / (1 - chance) if chance < 1 else float("nan")

    found: dict[str, Any] = {"n_heads": len(codes), **dict.fromkeys(("share", "kappa", "low", "high", "reason"))}
    if not len(codes):
        return {**found, "reason": "no head has a role in both"}
    found["share"] = float((codes[:, 0] == codes[:, 1]).mean())
    if np.isnan(value := kappa(codes)):
        return {**found, "reason": "all heads have one and the same role"}
    rng = np.random.default_rng(0)
    drawn = np.asarray([kappa(codes[rng.integers(len(codes), size=len(codes))]) for _ in range(N_SHUFFLES)])
    low, high = map(float, np.nanquantile(drawn, (0.025, 0.975)))
    return {**found, "kappa": value, "low": low, "high": high}


def explained(values: Grid, roles: Grid) -> dict[str, Any]:
    """Share of the variance of the ranks of heads that layers explain, and that layers and roles explain together.

    More groups explain more by chance alone: `chance` is the mean where roles are shuffled among the heads of each
    layer, with the interval of 95% of the shuffles, and `p_value` the share of these that explain as much.
    """
    rows = enumerate(zip(values, roles, strict=True))
    cells = ((value, block, role) for block, row in rows for value, role in zip(*row, strict=True))
    flat = [cell for cell in cells if None not in cell]
    none = dict.fromkeys(("layers", "layers_and_roles", "chance", "low", "high", "p_value"))
    if len(flat) < 4 or len({value for value, *_ in flat}) == 1:
        return {"n_heads": len(flat), **none}
    ranks = scipy.stats.rankdata([value for value, *_ in flat])
    layer = np.asarray([block for _, block, _ in flat])
    role = np.unique([name for *_, name in flat], return_inverse=True)[1]

    def share(*groups: NDArray[np.int64]) -> float:
        design = np.concatenate([of[:, None] == np.unique(of) for of in groups], axis=1).astype(np.float64)
        left = ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
        return float(1 - left @ left / ((ranks - ranks.mean()) ** 2).sum())

    rng, layers, drawn = np.random.default_rng(0), [np.flatnonzero(layer == each) for each in np.unique(layer)], []
    for _ in range(N_SHUFFLES):
        shuffled = role.copy()
        for heads in layers:
            shuffled[heads] = rng.permutation(role[heads])
        drawn.append(share(layer, shuffled))
    observed, (low, high) = share(layer, role), np.quantile(drawn, (0.025, 0.975)).tolist()
    p_value = (1 + sum(each >= observed - 1e-12 for each in drawn)) / (1 + N_SHUFFLES)
    numbers = (share(layer), observed, float(np.mean(drawn)), low, high, p_value)
    return {"n_heads": len(flat), **dict(zip(none, numbers, strict=True))}
