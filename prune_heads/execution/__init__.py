"""Sweeps: many runs from one file, that always finish."""
