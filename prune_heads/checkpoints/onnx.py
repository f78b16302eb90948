"""Models as ONNX files, by the optional extra `onnx`: written by PyTorch's exporter, run by onnxruntime."""

import copy
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from prune_heads.checkpoints.linear_maps import use_pytorch
from prune_heads.errors import ExportError, first_line

ONNX_FILE = "model.onnx"
ONNX_LIBRARIES = ("onnx", "onnxruntime", "onnxscript")  # the extra `onnx`
_ONE_FILE_BYTES = 1_900_000_000  # weights beyond which a file of its own holds them: a protocol buffer ends at 2 GiB


class _Logits(nn.Module):
    """A model from the tensors of these inputs to those of these outputs, as the exporter wants it."""

    def __init__(self, model: PreTrainedModel, takes: Sequence[str], gives: Sequence[str]) -> None:
        super().__init__()
        self.model, self.takes, self.gives = model, takes, gives

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        found = self.model(**dict(zip(self.takes, inputs, strict=True)))
        return tuple(found[name] for name in self.gives)


def write_onnx(model: PreTrainedModel, inputs: Mapping[str, Tensor], folder: Path) -> None:
    """Write `model.onnx`: from `inputs`, `(batch, length)` each and both free, to `logits`.

    A model without `logits` gives all its tensors, by their names: `start_logits` and `end_logits`. A decoder's inputs,
    by their names, have a length of their own. An `ExportError` if PyTorch cannot express the model in ONNX.

    Args:
        model: In evaluation mode and in float32; also with removed heads, and layers that have none left. It stays as
            it is: a copy is changed to what can be expressed.
        inputs: At least two examples of at least two tokens, by which the model is traced.
        folder: Gets the file, and beside it one of the weights where they are more than a file can hold.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    model = copy.deepcopy(model)
    use_pytorch(model)  # oneDNN's maps are operators of PyTorch alone
    batch, length, of_decoder = map(torch.export.Dim, ("batch", "length", "decoder_length"))
    axes = tuple({0: batch, 1: of_decoder if name.startswith("decoder_") else length} for name in inputs)
    with torch.no_grad():
        found = model(**inputs)
    names = ["logits"] if "logits" in found else [name for name, each in found.items() if isinstance(each, Tensor)]
    # It warns of operators and axes that no one asked for; what it wrote is checked.
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # Spelt out in plain products: PyTorch's fused attention fails in the exporter for some types, such as T5.
        model.set_attn_implementation("eager")
        with warnings.catch_warnings(action="ignore"):
            how: dict[str, Any] = {"input_names": list(inputs), "output_names": names, "dynamic_shapes": (axes,)}
            logits = _Logits(model, list(inputs), names)
            program: Any = torch.onnx.export(logits, tuple(inputs.values()), **how, dynamo=True, verbose=False)
            # Each node carries the stack of Python calls that made it, paths of this machine and all: half of the file.
            ClearMetadataAndDocStringPass()(program.model)
            n_bytes = sum(weight.numel() * weight.element_size() for weight in model.parameters())
            program.save(folder / ONNX_FILE, external_data=n_bytes > _ONE_FILE_BYTES)
    except OSError:  # of the folder, which says so itself
        raise
    except Exception as error:  # of any class, the cause wrapped into advice to the exporter's own developers
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        must = f"PyTorch must be able to write a {model.config.model_type!r} model as ONNX"
        said = f"its exporter says {type(cause).__name__}: {first_line(cause)}"
        raise ExportError(f"{must}; {said}. Try --to dense, or a newer torch and transformers") from error
    finally:
        logger.setLevel(level)


def run_onnx(folder: Path, batches: Sequence[Mapping[str, Tensor]]) -> list[list[NDArray[np.float32]]]:
    """All outputs for each batch, `(batch, ...)` each, by onnxruntime on the CPU.

    An `ExportError` if onnxruntime cannot load or run the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(folder / ONNX_FILE, options, providers=["CPUExecutionProvider"])
        return [session.run(None, {name: x.numpy() for name, x in batch.items()}) for batch in batches]
    except Exception as error:  # its errors share no class but Exception
        said = f"it says {type(error).__name__}: {first_line(error)}. Try --to dense, or a newer onnxruntime"
        raise ExportError(f"onnxruntime must be able to run what was written; {said}") from error
