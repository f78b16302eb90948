"""What each head looks at, read from the kernel that runs, and the proof that the model computes with it."""

from prune_heads.attention.reading import Attention, observing, observing_proved, plain_kernel, unproved_maps
