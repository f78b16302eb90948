"""The choices of options. They repeat the keys of tables that import torch, so that `--help` stays quick.

A test holds each against its table.
"""

from enum import StrEnum


class ReproductionName(StrEnum):
    """Keys of `prune_heads.reporting.michel2019.REPRODUCTIONS`, and all of them."""

    table1 = "table1"
    table2 = "table2"
    table3 = "table3"
    table4 = "table4"
    table5 = "table5"
    table6 = "table6"
    figure1 = "figure1"
    figure2 = "figure2"
    figure3 = "figure3"
    figure4 = "figure4"
    figure5 = "figure5"
    figure6 = "figure6"
    estimators = "estimators"
    all = "all"


class ExecutorName(StrEnum):
    """Where the trials of a sweep are run."""

    local = "local"
    ray = "ray"
