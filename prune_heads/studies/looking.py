"""One text under the glass: what the model answers, what each head looks at, and what closing each head changes.

The record has `blocks`, as those of `ablate`, and `texts`, a list (here of one) of objects:

- `text`, `pair`: as given, `pair` None where there is none; of a picture the name of its file.
- `tokens`: what the encoder, or the only stack, is given, as people read it; of a picture its patches, `row,column`,
  behind the tokens that stand for no patch. `target`: what a decoder beside an encoder is given, else None.
- `patches`: `[rows, columns]` of a picture whose last tokens are patches, in reading order; else None.
- `answers`: `{"name", "probability"}`, the likeliest first, with `place` (of a token, from 1) where the answer is of a
  place: masked and next tokens, labels of words. The probability of a score is None.
- `answer`, `measure`, `base`: the answer that is measured, `log-likelihood` (nats) or `score`, and its value.
- `effects`: rows of cells, a row a block, a cell a head in the original numbering, None for one that is gone: the
  measure with the head closed minus `base`. Negative: the head speaks for the answer.
- `flips`: `{"head", "answer"}` of each head whose closing alone changes the answer of a classifier.
- `shown`: the heads that figures and the terminal show, `["3:1", ...]`, the strongest effect first unless named.
- `maps`: for each block whose maps are proved `{"block": place in blocks, "heads": [from 0, original numbering],
  "queries", "keys": [tokens], "probabilities": packed, "weighted": packed or None, "longest": number or None}`.
  Packed is base64 of zlib of bytes, `(heads, queries, keys)`, 255 = 1: `unpacked` reads it. `weighted` is
  |a_ij| |(x_j W_V + b_V) W_O| (Kobayashi et al., 2020, https://aclanthology.org/2020.emnlp-main.574), of which 255
  is `longest`. Of a text of more than `MOST_TOKENS` the shown heads alone are there.
"""

import base64
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prune_heads.ablation import ablations, predict_masks
from prune_heads.attention import Attention, observing, unproved_maps
from prune_heads.descriptors import Head
from prune_heads.errors import HeadDescriptorError
from prune_heads.gating import evaluating
from prune_heads.heads import HeadMask
from prune_heads.options import Look
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.store import PredictionStore
from prune_heads.studies.asking import Asked, ask
from prune_heads.studies.pruning import read_heads
from prune_heads.studies.scoring import Found
from prune_heads.studies.setup import identify_model

MOST_TOKENS = 64  # up to which the maps of all heads are kept
N_SHOWN = 3  # heads that are shown where none is named


def look(options: Look, reporter: Reporter) -> Found:
    """The record of `prune-heads look`; nothing of it is kept in the store.

    Raises:
        HeadDescriptorError: If a head is not there.
        PruneHeadsError: See `ask`, `predict_masks`.
    """
    study = Study("look", reporter)
    asked = ask(options, reporter)
    subject = asked.subject
    text = options.text if "image" not in asked.split.columns else Path(options.text).name
    if n_unknown := asked.n_unknown:
        reporter.note(f"{n_unknown} tokens of the text are unknown to the model")
    study.begin(options, {"text": text}, **identify_model(subject.classifier))
    wanted = None if options.heads is None else read_heads(options.heads, subject.n_heads)
    study.lap("load")
    seen = {"text": text, "pair": options.pair, **looked(asked, wanted, reporter)}
    study.lap("look")
    blocks = [block.describe() for block in subject.blocks]
    spec = subject.task.spec
    return Found(study.record(subject.device, task=spec.name, kind=spec.kind, blocks=blocks, texts=[seen]))


def looked(asked: Asked, wanted: HeadMask | None, reporter: Reporter) -> dict[str, Any]:
    """What the record holds of a text; `wanted` are the heads to show, None for those that change most."""
    subject = asked.subject
    predictions = Predictions(subject, asked.split, PredictionStore(None), reporter, asked.batches)
    gone, names = predictions.gone, subject.n_heads.names()
    if wanted is not None and (lost := wanted & gone):
        raise HeadDescriptorError(f"heads to look at must be there; {lost} was removed from this model")
    masks = ablations("without-one", gone)
    kept = predict_masks(predictions, [gone, *masks.values()])
    base = asked.likelihood(kept[gone])
    effects = {head: asked.likelihood(kept[mask]) - base for head, mask in masks.items()}
    strongest = sorted(effects, key=lambda head: -abs(effects[head]))
    shown = [head for head in strongest if head in wanted] if wanted is not None else strongest[:N_SHOWN]
    says = {head: asked.says(kept[mask]) for head, mask in masks.items()} if asked.says else {}

    def name(head: Head) -> str:
        return f"{names[head[0]]}:{head[1] + 1}"

    return {
        **_seen(asked, shown, reporter),
        "answers": asked.answers,
        "answer": asked.answer,
        "measure": asked.measure,
        "base": base,
        "effects": [[effects.get((i, head)) for head in range(n)] for i, n in enumerate(subject.n_heads)],
        "flips": [{"head": name(head), "answer": said} for head, said in says.items() if said != asked.answer],
        "shown": [name(head) for head in shown],
    }


def _seen(asked: Asked, shown: list[Head], reporter: Reporter) -> dict[str, Any]:
    """The tokens, and the maps over them."""
    model = asked.subject.model
    inputs = asked.batches.batch(np.arange(1)).to(asked.subject.device).inputs
    with torch.no_grad(), evaluating(model):
        faults = unproved_maps(model, inputs)
        with observing(model) as observe:
            _, seen = observe(**inputs)
    for why in faults.values():
        reporter.note(why)
    of = {(each.block.name, each.block.depth): each for each in seen if each.block.name not in faults}
    found = [(i, of.get((block.name, block.depth))) for i, block in enumerate(asked.subject.blocks)]
    whole = [(i, each) for i, each in found if each is not None and len(each.probabilities) == 1]  # no windows
    tokens, target = asked.tokens(), asked.tokens("decoder_input_ids") or asked.tokens("labels")
    patches = None
    if "pixel_values" in inputs and whole:
        tokens, patches = _patches(model, inputs["pixel_values"].shape, whole[0][1].probabilities.shape[-1])
    maps = []
    for i, each in whole:
        of_decoder = bool(target) and each.block.stack == "decoder"
        n_queries, n_keys = each.probabilities.shape[-2:]
        queries = _named(target if of_decoder else tokens, n_queries)
        keys = _named(target if of_decoder and each.block.kind == "self" else tokens, n_keys)
        heads = [(i, head) for head in each.block.original_heads]
        kept = [place for place, head in enumerate(heads) if max(n_queries, n_keys) <= MOST_TOKENS or head in shown]
        if kept:
            maps.append({"block": i, "heads": [heads[place][1] for place in kept], "queries": queries, "keys": keys})
            maps[-1] |= _packed(each, kept)
    return {"tokens": tokens, "target": target or None, "patches": patches, "maps": maps}


def _packed(seen: Attention, places: list[int]) -> dict[str, Any]:
    made: dict[str, Any] = {"probabilities": packed(seen.probabilities[0, places].float().cpu().numpy())}
    if seen.values is None:
        return {**made, "weighted": None, "longest": None}
    weighted = seen.weighted[0, places].float().cpu().numpy()
    longest = float(weighted.max()) or 1.0
    return {**made, "weighted": packed(weighted / longest), "longest": longest}


def packed(shares: NDArray[Any]) -> str:
    """Numbers from 0 to 1 as a text; see `unpacked`."""
    return base64.b64encode(zlib.compress(np.rint(255 * shares).astype(np.uint8).tobytes(), 9)).decode()


def unpacked(text: str, *shape: int) -> NDArray[np.float64]:
    """The numbers of `packed`, each up to 1/510."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8).reshape(shape) / 255


def _named(tokens: list[str], n: int) -> list[str]:
    """Numbers where what attends are no tokens of ours, such as latents."""
    return tokens if len(tokens) == n else [str(i) for i in range(1, n + 1)]


def _patches(model: Any, shape: torch.Size, n_tokens: int) -> tuple[list[str], list[int] | None]:
    size = getattr(getattr(model.config, "vision_config", model.config), "patch_size", None)
    height, width = (size, size) if isinstance(size, int) else size or shape[-2:]
    rows, columns = shape[-2] // height, shape[-1] // width
    n_first = n_tokens - rows * columns
    if n_first < 0:
        return [], None
    first = ["class", *(f"extra {i}" for i in range(1, n_first))][:n_first]
    return [*first, *(f"{i + 1},{j + 1}" for i in range(rows) for j in range(columns))], [rows, columns]
