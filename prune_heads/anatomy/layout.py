"""`Layout`: where the attention of a model family is, and what its heads own. Data, read by `attention_blocks`."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["self", "cross"]
Stack = Literal["encoder", "decoder"]


@dataclass(frozen=True)
class Layout:
    """One kind of attention block of a family."""

    pattern: str
    """Regular expression that a module path must end with; its groups are the layer, from 0. Empty where modules are
    found by their class."""
    query: str
    """Path of W_Q from the block, a linear map or a parameter; `a|b` for whichever is there. Equal paths mean that it
    holds several of W_Q, W_K and W_V, in this order. One of three dimensions is `(width, heads, dimensions)`."""
    key: str
    value: str
    output: str
    """Path of W_O from the block."""
    counted_by: str
    """Path of the attribute that holds the number of heads, or their dimensions, as it is used."""
    n_heads: int | None = None
    """The number of heads, where no attribute holds it."""
    counts_dimensions: bool = False
    """Whether that attribute is the dimensions of one head."""
    interleaved: bool = False
    """Whether a module that holds several projections keeps them head by head."""
    counters: tuple[str, ...] = ()
    """Names of attributes that count heads or their dimensions and must follow when heads are removed."""
    meanings: tuple[tuple[str, str], ...] = ()
    """For a counter whose name is its author's own: the usual name of what it counts."""
    also: tuple[tuple[str, int], ...] = ()
    """Other weights that heads own, where they are there: path of a parameter or module, and its dimension of heads."""
    config_counters: tuple[str, ...] = ()
    """The same as `counters`, read from the block's configuration."""
    shared_biases: tuple[str, ...] = ()
    """Arguments of the block's forward that hold scores for every head, `(..., n_heads, queries, keys)`."""
    when: tuple[tuple[str, object], ...] = ()
    """What the configuration must say for this layout to hold."""
    context: str = ""
    """A way of `anatomy.context` to reach the input of W_O, where it is not called as a module, batch first."""
    core: str = ""
    """Path of the module that attends; without heads it is skipped. It gives W_O's output where W_O is inside, else its
    input, and `n_outputs` things in all."""
    closing: str = ""
    """Path, from there, of the norm of the sum of its input and W_O's output, where it is inside, too."""
    n_outputs: int = 2
    """0: it is not skipped, since it gives more than its heads do; its own forward runs without heads too."""
    outputs: type[tuple[object, ...]] | type[list[object]] = tuple
    """What holds them."""
    kind: Kind = "self"
    stack: Stack = "encoder"
    depths: str | None = None
    """Name in the configuration of the number of layers, where layers share weights."""
    some_layers: bool = False
    """Whether some layers have no attention."""
    coupled: str = ""
    """Why W_Q and W_K of a head cannot be changed without changing others; empty where they can."""
    not_removed: str = ""
    """Why heads cannot be taken out; empty where they can."""
    not_removed_if: tuple[str, object, str] | None = None
    """The same where the configuration says so: its field, the value, and why."""
