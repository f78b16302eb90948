"""Checkpoints on disk: classifiers, language models, and models whose heads have been removed."""

from prune_heads.checkpoints.fit import check_problem as check_problem
from prune_heads.checkpoints.head import CLASSIFICATION as CLASSIFICATION
from prune_heads.checkpoints.head import Head as Head
from prune_heads.checkpoints.head import HeadOf as HeadOf
from prune_heads.checkpoints.head import classification_head as classification_head
from prune_heads.checkpoints.head import language_model_head as language_model_head
from prune_heads.checkpoints.language_model import Objective as Objective
from prune_heads.checkpoints.language_model import vocabulary_size as vocabulary_size
from prune_heads.checkpoints.linear_maps import kernels as kernels
from prune_heads.checkpoints.linear_maps import use_onednn as use_onednn
from prune_heads.checkpoints.linear_maps import use_pytorch as use_pytorch
from prune_heads.checkpoints.loader import Checkpoint as Checkpoint
from prune_heads.checkpoints.loader import fingerprint as fingerprint
from prune_heads.checkpoints.loader import load_checkpoint as load_checkpoint
from prune_heads.checkpoints.loading import BUILT_IN as BUILT_IN
from prune_heads.checkpoints.loading import folder_name as folder_name
from prune_heads.checkpoints.pruned import HEADS_FILE as HEADS_FILE
from prune_heads.checkpoints.pruned import load_pruned as load_pruned
from prune_heads.checkpoints.pruned import save_pruned as save_pruned
from prune_heads.checkpoints.pruned import write_pruned as write_pruned
from prune_heads.checkpoints.tokenizer import write_tokenizer as write_tokenizer
from prune_heads.checkpoints.translating import how_it_writes as how_it_writes
from prune_heads.checkpoints.translating import translate as translate
