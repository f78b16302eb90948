"""The model card of a checkpoint folder, as the Hugging Face hub reads it: from the record of the run that wrote it."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from prune_heads.checkpoints.loading import INT8_FILE, ONNX_FILE
from prune_heads.checkpoints.pruned import HEADS_FILE
from prune_heads.files import read_json, write_text
from prune_heads.objectives import TASKS
from prune_heads.reporting import words
from prune_heads.reporting.words import Record
from prune_heads.runs import Files, numbers_of
from prune_heads.tables import Table
from prune_heads.visible import in_markdown

CARD_FILE = "README.md"
_HUB_TASKS = {"labelled": "text-classification", "multi-label": "text-classification"}
_READ = """import onnxruntime
from transformers import AutoTokenizer

session = onnxruntime.InferenceSession("model.onnx")
tokenizer = AutoTokenizer.from_pretrained(".")
outputs = session.run(None, dict(tokenizer(["a text"], return_tensors="np")))
"""


class _Form(NamedTuple):
    library: str  # that loads the folder
    gone: str  # what was done to the heads
    code: str  # that loads it


_PLAIN = _Form("transformers", "are set to zero.", "from transformers import {0}\n\nmodel = {0}.from_pretrained('.')\n")
_OURS = _Form(
    "prune-heads",
    "are removed. The attention layers are narrower than `config.json` says, so plain `from_pretrained` fails.",
    "from prune_heads import load_pruned\n\nmodel = load_pruned('.')\n",
)
_FORMS = {
    ONNX_FILE: _Form("onnx", "are removed from the graph.", _READ),
    INT8_FILE: _OURS._replace(gone="are removed."),
    HEADS_FILE: _OURS,
}
"""File that only this form has -> the form; any other folder is an ordinary one."""


def card_of(record: Record) -> Files:
    """The card of the folder that a run leaves, to be written after its other files."""
    return {CARD_FILE: lambda path: write_text(path, model_card(record, path.parent))}


def model_card(record: Record, folder: Path) -> str:
    """Front matter, what was done, how the folder is loaded, and its numbers, in Markdown; the same of the same run."""
    form = next((form for file, form in _FORMS.items() if (folder / file).is_file()), _PLAIN)
    classes = read_json(folder / "config.json", "the configuration").get("architectures") or ["AutoModel"]
    gone = record.get("heads_pruned", [])
    if (folder / HEADS_FILE).is_file():  # also of one that was fine-tuned without them
        gone = read_json(folder / HEADS_FILE, "the list of removed heads")["heads_pruned"]
    title, numbers, libraries = record["model"]["name"], numbers_of(record), record["provenance"]["libraries"]
    task = record.get("task") or (record.get("made_from") or {}).get("task") or ""
    made = f"prune-heads {record['command']}{' --to ' + record['to'] if 'to' in record else ''}"
    title += f" fine-tuned on {words.task_title(task)}" * (record["command"] == "finetune")
    if n_gone := sum(each.count(",") + 1 for each in gone):
        title += f" without {n_gone} attention head{'s' * (n_gone > 1)}"
    parts = [
        f"---\n{_front_matter(record, form.library, task, numbers)}\n---",
        in_markdown(f"# {title}"),
        f"Written by `{made}`, version {libraries['prune-heads']}, with transformers {libraries['transformers']}.",
    ]
    if gone:
        parts.append(f"The heads {' '.join(gone)} (layer:heads, from 1) {form.gone}")
    parts += ["## Use", f"In this folder:\n\n```python\n{form.code.format(classes[0])}```"]
    if rounding := record.get("rounding"):
        changed = f"{rounding['n_changed']} of {rounding['n_answers']} answers change"
        far = f"logits are {rounding['largest_difference']:.2g} apart at most"
        parts.append(f"In {rounding['form']}, against float32 on random texts: {changed}; {far}.")
    if not numbers:
        return "\n\n".join([*parts, "No metric was measured when it was written."]) + "\n"
    columns = {"split": "split", "metric": "metric", "before": "before pruning", "after": "value"}
    rows = [{title: row[name] for name, title in columns.items() if name in row} for row in numbers]
    table = Table.of("", rows, {"before pruning": ".4f", "value": ".4f"}).to_markdown().rstrip()
    of = "the checkpoint that this was made from" if "made_from" in record else "this checkpoint"
    sizes = {each["split"]: f", {each['n_examples']:,} examples of {each['split']}" for each in record.get("data", ())}
    on = words.task_title(task) + "".join(sizes.get(name, "") for name in dict.fromkeys(x["split"] for x in numbers))
    return "\n\n".join([*parts, "## Numbers", table, f"Of {of}, on {on}."]) + "\n"


def _front_matter(record: Record, library: str, task: str, numbers: list[dict[str, Any]]) -> str:
    """In YAML: `base_model` where the hub has it, metrics and their values where the run knows them."""
    from huggingface_hub import EvalResult, ModelCardData

    model, kind = record["model"], TASKS[task].kind if task in TASKS else ""
    about: dict[str, Any] = {"base_model": model["name"] if model["revision"] else None}
    kind = _HUB_TASKS.get(kind, kind)
    if numbers and kind.endswith(("-classification", "-answering")):
        of: dict[str, Any] = {"task_type": kind, "dataset_type": task, "dataset_name": words.task_title(task)}
        found = [(row["split"], re.sub("^pearson$", "pearsonr", row["metric"]), row["after"]) for row in numbers]
        results = [EvalResult(**of, dataset_split=split, metric_type=name, metric_value=x) for split, name, x in found]
        about |= {"pipeline_tag": kind, "metrics": sorted({name for _, name, _ in found})}
        is_pruned_since = "made_from" in record and record["configuration"]["heads"]
        if not record.get("rounding") and not is_pruned_since:  # else another model was measured
            about |= {"model_name": model["name"], "eval_results": results}
    return str(ModelCardData(library_name=library, tags=["prune-heads", "attention-heads"], **about).to_yaml())
