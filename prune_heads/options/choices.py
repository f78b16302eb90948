"""The names that options choose from. The tables behind some of them import torch; `--help` does not wait for it."""

from typing import Literal

CRITERIA = ("gradient", "ablation", "magnitude", "random")  # keys of `prune_heads.importance.CRITERIA`
ESTIMATORS = ("example", "token", "batch", "fisher", "signed")  # keys of `prune_heads.importance.ESTIMATORS`
NORMALIZERS = ("none", "l2", "min-max")  # keys of `prune_heads.importance.NORMALIZERS`

Mode = Literal["zero", "remove"]  # what happens to the weights of heads that are pruned
Kind = Literal["without-one", "only-one"]  # which ablations: of one head, or of all others of its layer
Dtype = Literal["float32", "bfloat16", "float16"]  # names of torch's types
Device = Literal["auto", "cpu", "cuda", "mps"]
Form = Literal["md", "tex", "csv", "png", "svg"]
Executor = Literal["local", "ray"]
Target = Literal["dense", "onnx"]  # what a checkpoint is exported to
Table = Literal["table1", "table2", "table3", "table4", "table5", "table6"]
Figure = Literal["figure1", "figure2", "figure3", "figure4", "figure5", "figure6"]
Reproduction = Literal[Table, Figure, "estimators", "all"]
"""Keys of `prune_heads.reporting.michel2019.REPRODUCTIONS`, and all of them."""
