"""The options, in groups: one dataclass is what the command line reads, a study takes and a record holds.

Adding one is adding a field. Nothing here imports torch or the command line.
"""

from prune_heads.options.fields import Group, Say, options_of
from prune_heads.options.heads import Choice, RunOptions, Scoring
from prune_heads.options.measuring import Ablation, Bench, Comparison, Curves
from prune_heads.options.places import Cluster, Folder, NewFolder, RunFolder, TrainingFolder
from prune_heads.options.setup import NamedModel, Place, Setup, Start, WrittenModel
from prune_heads.options.steps import Conditions, Export, Masked, Recipe, Reproducing, Surgery
