"""The options, in groups: one dataclass is what the command line reads, a study takes and a record holds.

Adding one is adding a field. Nothing here imports torch or the command line.
"""

from prune_heads.options.fields import Group as Group
from prune_heads.options.fields import Say as Say
from prune_heads.options.fields import options_of as options_of
from prune_heads.options.heads import Choice as Choice
from prune_heads.options.heads import RunOptions as RunOptions
from prune_heads.options.heads import Scoring as Scoring
from prune_heads.options.measuring import Ablation as Ablation
from prune_heads.options.measuring import Bench as Bench
from prune_heads.options.measuring import Comparison as Comparison
from prune_heads.options.measuring import Curves as Curves
from prune_heads.options.places import Cluster as Cluster
from prune_heads.options.places import Folder as Folder
from prune_heads.options.places import NewFolder as NewFolder
from prune_heads.options.places import RunFolder as RunFolder
from prune_heads.options.places import TrainingFolder as TrainingFolder
from prune_heads.options.setup import NamedModel as NamedModel
from prune_heads.options.setup import Place as Place
from prune_heads.options.setup import Setup as Setup
from prune_heads.options.setup import Start as Start
from prune_heads.options.setup import WrittenModel as WrittenModel
from prune_heads.options.steps import Conditions as Conditions
from prune_heads.options.steps import Export as Export
from prune_heads.options.steps import Masked as Masked
from prune_heads.options.steps import Recipe as Recipe
from prune_heads.options.steps import Reproducing as Reproducing
from prune_heads.options.steps import Surgery as Surgery
