"""`prune-heads curve`: the metric as heads go, in the order of several criteria."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from typer import Option

from prune_heads.cli.blocks import block_names
from prune_heads.cli.config import Config
from prune_heads.cli.groups import grouped
from prune_heads.cli.names import CriterionName, EstimatorName, NormalizerName
from prune_heads.cli.options import Json, Output, Overwrite, StoredSetupOptions
from prune_heads.cli.output import TerminalReporter, show

if TYPE_CHECKING:
    from prune_heads.studies.curves import Curves

_ORDER = "Order of heads"


@dataclass(frozen=True)
class OrderOptions:
    """In which orders heads go."""

    criterion: Annotated[
        list[CriterionName] | None,
        Option(
            help="Repeatable; see 'prune-heads criteria'. (default: gradient, ablation, magnitude, random)",
            rich_help_panel=_ORDER,
        ),
    ] = None
    rescore: Annotated[
        bool,
        Option(
            "--rescore",
            help="Score again at every step with the heads masked that went before (the authors' exact mode). "
            "It costs one scoring a step for each criterion that looks at data.",
            rich_help_panel=_ORDER,
        ),
    ] = False
    draws: Annotated[
        int,
        Option(
            min=1, help="Draws of the criterion 'random', with seeds from --seed on.", rich_help_panel=_ORDER
        ),
    ] = 20
    estimator: Annotated[
        EstimatorName, Option(help="How the criterion 'gradient' is estimated.", rich_help_panel=_ORDER)
    ] = EstimatorName.example
    normalize: Annotated[
        NormalizerName, Option(help="How scores are normalised.", rich_help_panel=_ORDER)
    ] = NormalizerName.none
    seed: Annotated[
        int,
        Option(min=0, help="Seed of the criterion 'random' and of the bootstrap.", rich_help_panel=_ORDER),
    ] = 0
    score_split: Annotated[
        str | None,
        Option(
            help="Split to score on. (default: the task's training split; for 'ablation' the first split of the curve)",
            rich_help_panel=_ORDER,
        ),
    ] = None
    score_examples: Annotated[
        int | None,
        Option(
            min=1,
            help="As --max-examples, for the scores alone; not for an oracle's.",
            rich_help_panel=_ORDER,
        ),
    ] = None

    blocks: Annotated[
        str | None,
        Option(
            help="Layers whose heads alone go, from 1: 1,3 or E:1,A,D:2. (default: all)",
            rich_help_panel=_ORDER,
        ),
    ] = None

    def resolve(self, n_steps: int, splits: tuple[str, ...]) -> "Curves":
        """As `Curves`."""
        from prune_heads.studies.curves import DEFAULT_CRITERIA, Curves
        from prune_heads.studies.scoring import Scoring

        named = tuple(dict.fromkeys(name.value for name in self.criterion or ()))
        scoring = Scoring(
            estimator=self.estimator.value,
            normalize=self.normalize.value,
            seed=self.seed,
            split=self.score_split,
            max_examples=self.score_examples,
        )
        return Curves(
            named or DEFAULT_CRITERIA,
            scoring,
            self.draws,
            self.rescore,
            n_steps,
            splits,
            block_names(self.blocks),
        )


@grouped
def curve(
    setup: StoredSetupOptions,
    order: OrderOptions,
    config: Config = None,
    steps: Annotated[int, Option(min=1, help="From no head to all of them.")] = 10,
    split: Annotated[
        list[str] | None, Option(help="Split to measure on; repeatable. (default: the task's)")
    ] = None,
    output: Output = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Draw the metric against the share of heads pruned, lowest score first, for several criteria.

    With --blocks the share is of their heads, and the others stay.

    'random' is a band over its draws. 'ablation' is measured on the examples of the curve itself, which flatters it,
    unless --score-split names another split.
    """
    from prune_heads.jobs.curve import curve_job
    from prune_heads.reporting.curves import curve_page

    options = order.resolve(steps, tuple(dict.fromkeys(split or ())))
    record = curve_job(setup.resolve(), options, TerminalReporter(), output=output, overwrite=overwrite)
    show(record, curve_page(record), as_json=as_json)
