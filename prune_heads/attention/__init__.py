"""What each head looks at, read from the kernel that runs, and the proof that the model computes with it."""

from prune_heads.attention.proofs import observing_proved, unproved_maps
from prune_heads.attention.reading import Attention, observing
