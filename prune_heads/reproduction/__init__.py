"""Reproducing the paper: which studies a table or figure needs, their records, and the files made of them."""
