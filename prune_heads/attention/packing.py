"""Maps as texts, for records: base64 of zlib of a byte a number, 255 for 1."""

import base64
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def packed(shares: NDArray[Any]) -> str:
    """Numbers from 0 to 1 as a text; see `unpacked`."""
    return base64.b64encode(zlib.compress(np.rint(255 * shares).astype(np.uint8).tobytes(), 9)).decode()


def unpacked(text: str, *shape: int) -> NDArray[np.float64]:
    """The numbers of `packed`, each up to 1/510."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).reshape(shape) / 255
