"""The options, in groups: one dataclass is what the command line reads, a study takes and a record holds.

Adding one is adding a field. Nothing here imports torch or the command line.
"""

from prune_heads.options.cluster import Cluster
from prune_heads.options.fields import Group, Say, options_of
from prune_heads.options.folder import Folder, NewFolder, RunFolder, TrainingFolder
from prune_heads.options.heads import Choice, RunOptions, Scoring
from prune_heads.options.measuring import Ablation, Bench, Comparison, Curves
from prune_heads.options.reproducing import Conditions, Reproducing
from prune_heads.options.setup import NamedModel, Setup, Start, WrittenModel
from prune_heads.options.steps import Export, Masked, Surgery
from prune_heads.options.training import Recipe
