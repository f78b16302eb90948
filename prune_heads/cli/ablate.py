"""`prune-heads ablate`: every head on its own."""

from typing import Annotated

from typer import BadParameter, Option

from prune_heads.cli.blocks import block_names
from prune_heads.cli.config import Config
from prune_heads.cli.groups import grouped
from prune_heads.cli.names import KindName
from prune_heads.cli.options import Json, Output, Overwrite, StoredSetupOptions
from prune_heads.cli.output import TerminalReporter, show
from prune_heads.cli.shards import ShardOptions


@grouped
def ablate(
    setup: StoredSetupOptions,
    cluster: ShardOptions,
    config: Config = None,
    kind: Annotated[
        KindName, Option(help="Mask one head at a time, or all others of its layer.")
    ] = KindName.without_one,
    blocks: Annotated[
        str | None, Option(help="Layers to ask about, from 1: 1,3 or E:1,A,D:2. (default: all)")
    ] = None,
    split: Annotated[
        list[str] | None, Option(help="Split to measure on; repeatable. (default: the task's)")
    ] = None,
    choose_split: Annotated[
        str | None,
        Option(help="Where only-one picks each layer's head. (default: the task's training split)"),
    ] = None,
    choose_examples: Annotated[
        int | None,
        Option(
            min=1,
            help="How many of its examples, drawn at random; --max-examples does not cut them. (default: 5000)",
        ),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Seed of that draw and of the bootstrap.")] = 0,
    memory: Annotated[
        int | None, Option(min=1, help="MiB of activations a pass. (default: 96 on a CPU, 8192 on a GPU)")
    ] = None,
    compiled: Annotated[
        bool,
        Option("--compile", help="Compile the layers first, which takes tens of seconds."),
    ] = False,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Mask every head on its own and test what it does to the metric (paper, tables 1 to 3, 5 and 6).

    Predictions are kept in the store: a second call, or one after a kill, computes only what is missing.
    With --executor ray the workers of a cluster share the masks.
    """
    from prune_heads.jobs.ablate import ablate_job, contract
    from prune_heads.reporting.ablation import ablation_page
    from prune_heads.studies.measuring import Ablation, examples_to_choose_on

    if kind is not KindName.only_one and (choose_split is not None or choose_examples is not None):
        raise BadParameter("--choose-split and --choose-examples belong to --kind only-one.")
    resolved = setup.resolve()
    options = Ablation(
        kind=kind.value,
        blocks=block_names(blocks),
        splits=tuple(dict.fromkeys(split or ())),
        choose_split=choose_split,
        choose_examples=examples_to_choose_on(choose_examples, resolved.max_examples),
        seed=seed,
        memory=memory,
        compiled=compiled,
    )
    record = ablate_job(
        resolved,
        options,
        TerminalReporter(),
        output=output,
        overwrite=overwrite,
        shards=cluster.resolve(),
    )
    show(contract(record), ablation_page(record, narrow=True), as_json=as_json)
