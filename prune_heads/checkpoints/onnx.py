"""Models as ONNX files, by the extra `onnx`: written by PyTorch's exporter, quantised and run by onnxruntime."""

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from prune_heads.checkpoints.linear_maps import use_pytorch
from prune_heads.checkpoints.loading import ONNX_FILE
from prune_heads.errors import ExportError, first_line

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


def quantise_onnx(folder: Path) -> None:
    """Quantise `model.onnx` in its place, by onnxruntime's `quantize_dynamic`; an `ExportError` if that cannot.

    Matrices get 8 bits and a scale an output, embeddings a scale a table. What matrices are multiplied with is rounded
    while the model runs, by one scale for a whole batch: what it says of an example depends on the others.
    """
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    program, weights = onnx.load(folder / ONNX_FILE), folder / f"{ONNX_FILE}.data"
    del program.graph.value_info[:]  # the exporter's shapes, which onnxruntime's own need not agree with
    # A layer without heads has empty maps. In 8 bits their sum over nothing is whatever the memory held.
    empty = {each.name for each in program.graph.initializer if 0 in each.dims}
    exact = [node.name for node in program.graph.node if empty.intersection(node.input)]
    is_large = weights.exists()
    weights.unlink(missing_ok=True)
    root, swallowed = logging.getLogger(), logging.NullHandler()  # it advises, and would set up logging for that
    root.addHandler(swallowed)
    try:
        with _by_onnxruntime("quantise the model"):
            how = {"nodes_to_exclude": exact, "use_external_data_format": is_large}
            quantize_dynamic(program, folder / ONNX_FILE, per_channel=True, **how)
    finally:
        root.removeHandler(swallowed)


def open_onnx(folder: Path) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """What runs `model.onnx` by onnxruntime on the CPU: inputs by name, `(batch, length)` -> outputs, `(batch, ...)`.

    An `ExportError`, here or of a call, if onnxruntime is not there, or cannot load or run the file.
    """
    require("an ONNX file", ("onnxruntime",))
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    with _by_onnxruntime("run what was written"):
        session = onnxruntime.InferenceSession(folder / ONNX_FILE, options, providers=["CPUExecutionProvider"])
    takes, gives = ([each.name for each in some] for some in (session.get_inputs(), session.get_outputs()))

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with _by_onnxruntime("run what was written"):
            found = session.run(gives, {name: inputs[name].numpy() for name in takes})
        return {name: torch.from_numpy(each) for name, each in zip(gives, found, strict=True)}

    return run


def run_onnx(folder: Path, batches: Sequence[Mapping[str, Tensor]]) -> list[list[NDArray[np.float32]]]:
    """All outputs for each batch, `(batch, ...)` each, as `open_onnx` gives them."""
    run = open_onnx(folder)
    return [[each.numpy() for each in run(batch).values()] for batch in batches]


def require(what: str, libraries: Sequence[str]) -> None:
    """An `ExportError` if libraries of the extra are not installed that something needs."""
    if missing := [name for name in libraries if importlib.util.find_spec(name) is None]:
        lacking = f"not installed: {', '.join(missing)}. pip install 'prune-heads[onnx]'"
        raise ExportError(f"{what} needs {', '.join(libraries)}; {lacking}")


@contextmanager
def _by_onnxruntime(do: str) -> Iterator[None]:
    """Errors inside the block are onnxruntime's, which share no class but Exception."""
    try:
        yield
    except Exception as error:
        said = f"it says {type(error).__name__}: {first_line(error)}. Try --to dense, or a newer onnxruntime"
        raise ExportError(f"onnxruntime must be able to {do}; {said}") from error
