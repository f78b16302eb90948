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
  Packed is base64 of zlib of bytes, `(heads, queries, keys)`, 255 = 1: `attention.records` reads it. `weighted` is
  |a_ij| |(x_j W_V + b_V) W_O| (Kobayashi et al., 2020, https://aclanthology.org/2020.emnlp-main.574), of which 255
  is `longest`. Of a text of more than `MOST_TOKENS` the shown heads alone are there.
"""

from pathlib import Path
from typing import Any

import torch

from prune_heads.ablation import ablations, predict_masks
from prune_heads.attention import observing_proved
from prune_heads.attention.records import packed, queries_and_keys, tokens_of
from prune_heads.descriptors import Head
from prune_heads.errors import HeadDescriptorError
from prune_heads.options import Look
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.runs import Study
from prune_heads.store import PredictionStore
from prune_heads.studies.asking import ONE, Asked, ask
from prune_heads.studies.pairs import names_of
from prune_heads.studies.reading import read_heads
from prune_heads.studies.scoring import Found
from prune_heads.studies.setup import identify_model
from prune_heads.tasks.task import Split

MOST_TOKENS = 64  # up to which the maps of all heads are kept
N_SHOWN = 3  # heads that are shown where none is named


def look(options: Look, reporter: Reporter) -> Found:
    """The record of `prune-heads look`; nothing of it is kept in the store.

    A `HeadDescriptorError` if a head is not there, or none is named; a `PruneHeadsError` as of `ask`, `predict_masks`.
    """
    study = Study("look", reporter)
    asked = ask(options, reporter)
    subject = asked.subject
    text = Path(options.text).name if "pixel_values" in asked.batches.inputs else options.text
    study.begin(options, {"text": text}, **identify_model(subject.classifier))
    split = Split("text", {}, "the text", "", 1)
    predictions = Predictions(subject, split, PredictionStore(None), reporter, asked.batches)
    gone, wanted = predictions.gone, None if options.heads is None else read_heads(options.heads, subject.n_heads)
    if wanted is not None and not wanted:
        raise HeadDescriptorError("--heads must name heads to look at; got none. Leave it out to see the strongest")
    if wanted is not None and (lost := wanted & gone):
        raise HeadDescriptorError(f"heads to look at must be there; {lost} was removed from this model")

    masks = ablations("without-one", gone)
    kept = predict_masks(predictions, [gone, *masks.values()])
    base = asked.likelihood(kept[gone])
    effects = {head: asked.likelihood(kept[mask]) - base for head, mask in masks.items()}
    strongest = sorted(effects, key=lambda head: -abs(effects[head]))
    shown = strongest[:N_SHOWN] if wanted is None else [head for head in strongest if head in wanted]
    name = dict(zip(masks, names_of(masks, subject.n_heads), strict=True))
    says = {name[head]: asked.says(kept[mask]) for head, mask in masks.items()} if asked.says else {}
    found = {"text": text, "pair": options.pair, **_seen(asked, shown, reporter), "answers": asked.answers}
    found |= {"answer": asked.answer, "measure": asked.measure, "base": base, "effects": subject.n_heads.rows(effects)}
    found["flips"] = [{"head": head, "answer": said} for head, said in says.items() if said != asked.answer]
    found["shown"] = [name[head] for head in shown]
    study.lap("look")
    spec, blocks = subject.task.spec, [block.describe() for block in subject.blocks]
    return Found(study.record(subject.device, task=spec.name, kind=spec.kind, blocks=blocks, texts=[found]))


@torch.no_grad()
def _seen(asked: Asked, shown: list[Head], reporter: Reporter) -> dict[str, Any]:
    """The tokens, and the maps over them."""
    model, tokenizer = asked.subject.model, asked.subject.classifier.tokenizer
    inputs = asked.batches.batch(ONE).to(asked.subject.device).inputs
    with observing_proved(model, inputs) as (observe, faults):
        # Of attention within windows, the windows are the batch.
        there = [each for each in observe(**inputs) if each.map is not None and len(each.map) == 1]
    reporter.note(*faults.values())
    tokens, target = tokens_of(tokenizer, model.config, inputs)
    unknown = getattr(tokenizer, "unk_token", None)
    if n := tokens.count(unknown) if unknown else 0:
        reporter.note(f"{n} of {len(tokens)} tokens are unknown to the model")
    patches, maps = None, list[dict[str, Any]]()
    if "pixel_values" in inputs and there:
        n_tokens = there[0].probabilities.shape[-1]
        tokens, patches = _patches(model.config, inputs["pixel_values"].shape, n_tokens)
    for each in there:
        queries, keys = queries_and_keys(each, tokens, target)
        is_small, heads = max(len(queries), len(keys)) <= MOST_TOKENS, each.block.original_heads
        places = [place for place, head in enumerate(heads) if is_small or (each.place, head) in shown]
        if not places:
            continue
        probabilities, weighted, longest = packed(each.probabilities[0, places]), None, None
        if each.values is not None:
            lengths = each.weighted[0, places].float()
            longest = float(lengths.max()) or 1.0
            weighted = packed(lengths / longest)
        about = {"block": each.place, "heads": [heads[place] for place in places], "queries": queries, "keys": keys}
        maps.append({**about, "probabilities": probabilities, "weighted": weighted, "longest": longest})
    return {"tokens": tokens, "target": target or None, "patches": patches, "maps": maps}


def _patches(config: Any, shape: torch.Size, n_tokens: int) -> tuple[list[str], list[int] | None]:
    """The names of a picture's tokens, and how many patches it has down and across; none where they are not seen."""
    size = getattr(getattr(config, "vision_config", config), "patch_size", 1)
    height, width = (size, size) if isinstance(size, int) else size
    rows, columns = shape[-2] // height, shape[-1] // width
    n_first = n_tokens - rows * columns  # tokens of a class, registers
    if n_first < 0:
        return [], None
    patches = [f"{i + 1},{j + 1}" for i in range(rows) for j in range(columns)]
    return [f"[{i + 1}]" for i in range(n_first)] + patches, [rows, columns]
