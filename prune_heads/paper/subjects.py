"""On what the paper's tables and figures are reproduced where nothing is named: its model, fine-tuned, from the hub."""

from collections.abc import Mapping

_BY_TASK = {
    task: f"yoshitomo-matsubara/bert-base-uncased-{task}" for task in ("mnli", "sst2", "cola", "mrpc")
}
"""Fine-tunings of bert-base-uncased whose data and settings are on the hub; `prune-heads finetune` makes one's own."""

_TRANSLATION = {"model": "Helsinki-NLP/opus-mt-en-fr", "task": "wmt14-en-fr"}
"""An encoder-decoder of 6 + 6 layers x 8 heads; the paper's, of 16 heads, is not on the hub."""

_SUBJECTS = {"figure6": ("sst2", "cola", "mrpc"), "estimators": tuple(_BY_TASK)}


def default_subjects(name: str) -> list[Mapping[str, str]]:
    """Options of each subject of a table or figure: `model` and `task`."""
    if name == "figure4":
        return [_TRANSLATION]
    return [{"model": _BY_TASK[task], "task": task} for task in _SUBJECTS.get(name, ("mnli",))]
