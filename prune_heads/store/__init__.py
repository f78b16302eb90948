"""What is kept of finished work: predictions by what they depend on, and the steps of jobs that were killed.

Both are objects in a folder or at a URL.
"""

from prune_heads.store.arrays import Journal, Unfinished, unfinished
from prune_heads.store.objects import Objects, is_url, objects_at
from prune_heads.store.predictions import Entry, PredictionKey, PredictionStore, default_root
