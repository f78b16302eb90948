"""The options of how heads are scored and which of them are pruned."""

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Annotated

from typer import BadParameter, Option

from prune_heads.cli.names import CriterionName, EstimatorName, NormalizerName
from prune_heads.cli.places import JSON_FILE

if TYPE_CHECKING:
    from prune_heads.studies.pruning import Choice
    from prune_heads.studies.scoring import Scoring

_SCORE, _CHOICE = "Scoring", "Which heads"


@dataclass(frozen=True)
class ScoringOptions:
    """How heads are scored."""

    criterion: Annotated[
        CriterionName, Option(help="See 'prune-heads criteria'.", rich_help_panel=_SCORE)
    ] = CriterionName.gradient
    estimator: Annotated[
        EstimatorName, Option(help="How the criterion 'gradient' is estimated.", rich_help_panel=_SCORE)
    ] = EstimatorName.example
    normalize: Annotated[
        NormalizerName, Option(help="How scores are normalised.", rich_help_panel=_SCORE)
    ] = NormalizerName.none
    seed: Annotated[
        int,
        Option(min=0, help="Seed of the criterion 'random' and of the bootstrap.", rich_help_panel=_SCORE),
    ] = 0
    score_split: Annotated[
        str | None,
        Option(help="Split to score on. (default: the task's training split)", rich_help_panel=_SCORE),
    ] = None
    score_examples: Annotated[
        int | None,
        Option(min=1, help="Take the first N examples for the scores alone.", rich_help_panel=_SCORE),
    ] = None

    def resolve(self) -> "Scoring":
        """As a `Scoring`."""
        from prune_heads.studies.scoring import Scoring

        return Scoring(
            criterion=self.criterion.value,
            estimator=self.estimator.value,
            normalize=self.normalize.value,
            seed=self.seed,
            split=self.score_split,
            max_examples=self.score_examples,
        )


@dataclass(frozen=True)
class ChoiceOptions:
    """Which heads are pruned."""

    fraction: Annotated[
        float | None,
        Option(min=0, max=1, help="Share of heads to prune. (default: 0.5)", rich_help_panel=_CHOICE),
    ] = None
    n_heads: Annotated[
        int | None, Option(min=0, help="Number of heads to prune.", rich_help_panel=_CHOICE)
    ] = None
    heads: Annotated[
        str | None,
        Option(help="Heads to prune, counted from 1: '3:1,5 7:2'; or a heads.json.", rich_help_panel=_CHOICE),
        JSON_FILE,
    ] = None
    min_per_layer: Annotated[
        int, Option(min=0, help="Heads to keep in every layer.", rich_help_panel=_CHOICE)
    ] = 0
    groups: Annotated[
        bool,
        Option(
            "--groups",
            help="Take heads that share keys and values together; --mode remove needs it for such models.",
            rich_help_panel=_CHOICE,
        ),
    ] = False

    def resolve(self) -> "Choice":
        """As a `Choice`; two ways to choose at once are a usage error."""
        from prune_heads.studies.pruning import Choice

        ways = {"--fraction": self.fraction, "--n-heads": self.n_heads, "--heads": self.heads}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise BadParameter(f"{' and '.join(given)} exclude each other.")
        if self.fraction is not None and isnan(self.fraction):  # no range of Typer's keeps it out
            raise BadParameter("'--fraction' must be between 0 and 1; got nan.")
        fraction = self.fraction if given else 0.5
        return Choice(fraction, self.n_heads, self.heads, self.min_per_layer, self.groups)
