"""How the sources of a split are translated, and what their translations are compared with."""

import json
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True)
class Translation:
    """What a translation needs beside the tokens of its source."""

    tokenizer: Tokenizer
    references: tuple[str, ...]
    """The targets as texts, an example each: BLEU compares words, not tokens."""
    beams: int
    n_max: int
    """Tokens of a translation, at most."""
    defaults: str
    """What the checkpoint says of writing texts (its `GenerationConfig`), as JSON."""

    def of(self, index: NDArray[np.int64]) -> "Translation":
        """Of the examples at these places alone."""
        return replace(self, references=tuple(self.references[i] for i in index))

    def settings(self) -> str:
        """All that translations depend on beside model, sources and gates; for keys."""
        return json.dumps([self.beams, self.n_max, self.defaults])
