"""Which model types can be gated, zeroed and pruned: tried on a tiny model of each, never assumed."""
