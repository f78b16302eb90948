"""`Layout`: where attention is and what its heads own, for model types (data, in `families.toml`) and own classes."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from torch import nn

Kind = Literal["self", "cross"]
Stack = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Layout:
    """One kind of attention block of a family."""

    qkv: str
    """Paths of W_Q, W_K and W_V from the block, each a linear map or a parameter; `a|b` for whichever is there. Equal
    paths mean that it holds several of them, in this order; one path alone, all three. A parameter of three dimensions
    is `(width, heads, dimensions)`."""
    output: str  # path of W_O from the block
    counted_by: str  # path of the attribute that holds the number of heads, or their dimensions, as it is used
    pattern: str = ""
    """Regular expression that a module path must end with; its groups are the layer, from 0. Empty where modules are
    found by their class."""
    n_heads: int | None = None  # the number of heads, where no attribute holds it
    counts_dimensions: bool = False  # whether that attribute is the dimensions of one head
    interleaved: bool = False  # whether a module that holds several projections keeps them head by head
    counters: tuple[str, ...] = ()
    """Names of attributes that count heads or their dimensions and must follow when heads are removed."""
    also: tuple[tuple[str, int], ...] = ()
    """Other weights that heads own, where they are there: path of a parameter or module, and its dimension of heads."""
    config_counters: tuple[str, ...] = ()  # the same as `counters`, read from the block's configuration
    shared_biases: tuple[str, ...] = ()
    """Arguments of the block's forward that hold scores for every head, `(..., n_heads, queries, keys)`."""
    when: tuple[tuple[str, object], ...] = ()
    """What the configuration must say for this layout to hold; a field that is absent is false."""
    context: str = ""
    """A way of `anatomy.context` to reach the input of W_O, where it is not called as a module, batch first."""
    core: str = ""
    """Path of the module that attends; without heads it is skipped. It gives W_O's output where W_O is inside, else its
    input, and `n_outputs` things in all."""
    closing: str = ""  # path, from there, of the norm of the sum of its input and W_O's output, where it is inside, too
    n_outputs: int = 2
    """0: it is not skipped, since it gives more than its heads do; its own forward runs without heads too."""
    gives_list: bool = False  # whether a list holds them, not a tuple
    kind: Kind = "self"
    stack: Stack = "encoder"
    depths: str | None = None  # name in the configuration of the number of layers, where layers share weights
    other_attention: str = ""
    """How it is more or less than one product of all tokens with all: its multiply-adds are not counted then."""
    some_layers: bool = False  # whether some layers have no attention
    coupled: bool = False  # whether W_Q and W_K of a head cannot be changed without changing others
    stays: str = ""  # why heads cannot be taken out; empty where they can
    stays_if: tuple[str, object, str] | None = None
    """The same where the configuration says so: its field, the value, and why."""


_TABLE = tomllib.loads((resources.files("prune_heads.anatomy") / "families.toml").read_text())


def _layouts(family: Mapping[str, Any]) -> Iterator[Layout]:
    own = {name: value for name, value in family.items() if name not in ("types", "layouts")}
    for one in family.get("layouts", [{}]):
        fields = _whole(own | (_TABLE["layouts"][one] if isinstance(one, str) else one))
        for name, value in fields.items():  # as values that can be compared and hashed
            if isinstance(value, dict | list):
                fields[name] = tuple(value.items() if isinstance(value, dict) else value)
        yield Layout(**fields)


def _whole(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with what it does not say itself from the one that it is like."""
    like = _whole(_TABLE["layouts"][row["like"]]) if "like" in row else {}
    return like | {name: value for name, value in row.items() if name != "like"}


_OF_TYPES = ((name, tuple(_layouts(family))) for family in _TABLE["family"] for name in family["types"].split())
FAMILIES: Mapping[str, tuple[Layout, ...]] = dict(sorted(_OF_TYPES))
"""transformers' `model_type` -> the layouts of its blocks."""

UNKNOWN: Mapping[str, str] = _TABLE["unknown"]
"""Types with a sequence classifier whose heads are not understood, and why: refused, never guessed."""

TORCH = next(_layouts({"like": "torch"}))  # of `nn.MultiheadAttention`

DESCRIBED: dict[type[nn.Module], Layout] = {}  # attention classes of the user's own -> how they are laid out


def describe_attention(
    attention: type[nn.Module],
    *,
    query: str,
    key: str,
    value: str,
    output: str,
    n_heads: str | int,
    n_kv_heads: str = "",
    width: str = "",
    interleaved: bool = False,
    kind: Kind = "self",
    stack: Stack = "encoder",
) -> None:
    """Describe where the heads of your own attention class are; all modules of exactly this class are then found.

    W_O must be called as a module, with the heads' outputs side by side, `(batch, tokens, n_heads * head_dim)`.
    To have heads removed, the forward must go by the attributes named here, which follow.

    Args:
        attention: The class; a second description replaces the first.
        query: Path of W_Q, an `nn.Linear`, from the module. Equal paths for W_Q, W_K and W_V: one map that holds them
            in this order.
        key: Path of W_K.
        value: Path of W_V.
        output: Path of W_O.
        n_heads: Attribute that holds the number of heads; or the number itself, then heads cannot be removed.
        n_kv_heads: Attribute that holds the number of key and value heads, if heads share them by groups.
        width: Attribute that holds `n_heads * head_dim`, if the forward needs it.
        interleaved: Whether a map that holds several projections keeps them head by head.
        kind: `cross` for attention to another sequence.
        stack: `decoder` for blocks of a decoder beside an encoder.
    """
    counted = n_heads if isinstance(n_heads, str) else ""
    place: Any = {"qkv": f"{query} {key} {value}", "output": output, "interleaved": interleaved}
    count: Any = {"counted_by": counted, "counters": tuple(name for name in (counted, n_kv_heads, width) if name)}
    if not counted:
        why = "its number of heads was given as a number, which no attribute can follow"
        count |= {"n_heads": int(n_heads), "stays": why}
    DESCRIBED[attention] = Layout(**place, **count, kind=kind, stack=stack)
