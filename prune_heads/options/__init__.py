"""The options, in groups: one dataclass is what the command line reads, a study takes and a record holds.

Adding one is adding a field. Nothing here imports torch or the command line.
"""

from prune_heads.options.fields import Group, Opt, options_of
from prune_heads.options.fitting import Fitting
from prune_heads.options.looking import Look, Pairs, RandomMasks, RoleSources, Similarity
from prune_heads.options.scoring import Comparing, Curves, Scoring
from prune_heads.options.setup import Cluster, Folder, Masks, NewFolder, Place, RunFolder, Setup, Start, WrittenModel
from prune_heads.options.studies import Ablation, Bench, Choice, Export, Masked, RunOptions, Surgery
from prune_heads.options.training import Planting, Recipe
