"""The choices of options. They repeat the keys of tables that import torch, so that `--help` stays quick.

A test holds each against its table.
"""

from enum import StrEnum


class CriterionName(StrEnum):
    """Keys of `prune_heads.importance.CRITERIA`."""

    gradient = "gradient"
    ablation = "ablation"
    magnitude = "magnitude"
    random = "random"


class EstimatorName(StrEnum):
    """Keys of `prune_heads.importance.ESTIMATORS`."""

    example = "example"
    token = "token"
    batch = "batch"
    fisher = "fisher"
    signed = "signed"


class NormalizerName(StrEnum):
    """Keys of `prune_heads.importance.NORMALIZERS`."""

    none = "none"
    l2 = "l2"
    min_max = "min-max"


class FormName(StrEnum):
    """Members of `prune_heads.reproduction.reproduce.FORMS`."""

    md = "md"
    tex = "tex"
    csv = "csv"
    png = "png"
    svg = "svg"


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


class ModeName(StrEnum):
    """Keys of `prune_heads.studies.pruning.SURGERY`."""

    zero = "zero"
    remove = "remove"


class KindName(StrEnum):
    """Keys of `prune_heads.ablation.KINDS`."""

    without_one = "without-one"
    only_one = "only-one"


class DtypeName(StrEnum):
    """Keys of `prune_heads.studies.setup.DTYPES`."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class MetricName(StrEnum):
    """`prune_heads.tasks.spec.LABEL_METRICS`."""

    accuracy = "accuracy"
    f1 = "f1"
    matthews_correlation = "matthews_correlation"
    pearson = "pearson"
