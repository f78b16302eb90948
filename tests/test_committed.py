"""What is committed is found again: a clean clone computes nothing anew that has a record."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from prune_heads import reproduction
from prune_heads.cli.reproduce import planned
from prune_heads.files import read_json
from prune_heads.progress import Reporter
from prune_heads.reporting.michel2019 import REPRODUCTIONS
from prune_heads.runs import is_of

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "experiments/michel2019"
SUBJECTS = {
    name: planned(name, PAPER / f"{name}.toml", {}) for name in REPRODUCTIONS if name not in ("table4", "figure5")
}
"""Those of table 4 are timed here and now; those of figure 5 are checkpoints, which must be trained first."""

pytestmark = [pytest.mark.real, pytest.mark.slow]


class NewError(Exception):
    """Something begins that has a record."""


@pytest.mark.parametrize("model", ["mini", "minilm-sst2"])
def test_records_of_the_paper(shared, monkeypatch, model):
    reporter = Reporter()

    def writes(*_):
        if not any("is not computed again" in note for note in reporter.notes):
            raise NewError
        return nullcontext()

    monkeypatch.setattr(reproduction, "writing_into", writes)
    monkeypatch.setattr(reproduction, "write_json", lambda *_: None)
    wanted = {
        (study, each.setup): each.conditions
        for name, subjects in SUBJECTS.items()
        for each in subjects
        for study in REPRODUCTIONS[name].studies
        if Path(each.setup.model).name == model
    }
    assert len(wanted) > 2
    for (study, setup), asked in wanted.items():
        file = ROOT / "results/michel2019/records" / reproduction.record_name(setup, study)
        reporter.notes.clear()
        try:
            found = reproduction._record(partial(reproduction.STUDIES[study], setup, asked), file, lambda: reporter)
        except NewError:
            pytest.fail(f"{file.name} would be computed again")
        assert found == read_json(file, "a record")


# Some of RTE are cut; QNLI has groups.
@pytest.mark.parametrize("name", ["minilm-rte", "minilm-cola", pytest.param("minilm-qnli", marks=pytest.mark.thorough)])
def test_fine_tunings(shared, tmp_path, name):
    from prune_heads.studies.finetuning import finetune

    recipe = next(each.recipe for each in SUBJECTS["figure6"] if Path(each.setup.model).name == name)
    seen, reporter = [], Reporter()

    def admit(identity):
        seen.append(identity)
        raise NewError

    reporter.admit = admit
    with pytest.raises(NewError):
        finetune(*recipe[:2], tmp_path, reporter)
    record = read_json(ROOT / "results" / name / "record.json", "a record")
    assert is_of(record, seen[0])
    assert not is_of(record, {**seen[0], "task": "another"})
