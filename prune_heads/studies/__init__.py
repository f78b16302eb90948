"""The procedures: load, score, choose, prune, evaluate. They yield rows and know nothing of the terminal."""
