"""WMT from a hub on this machine: pairs, and no more of them than are asked for."""

import io
import json
import textwrap

import datasets
import pyarrow.parquet
import pytest

from prune_heads.objectives import TASKS
from prune_heads.tasks.sources import N_TRAIN
from prune_heads.tasks.task import load_task

pytestmark = pytest.mark.xdist_group("hub")  # one process asks it
SHA = "c" * 40
ROWS_A_SHARD, ROWS_A_GROUP, THERE = 6000, 1000, 40_836_715

LOAD = textwrap.dedent("""
    import json, sys
    from prune_heads.errors import DataError
    from prune_heads.tasks.task import load_task

    told = []
    for split, n, seed in json.loads(sys.argv[1]):
        try:
            found = load_task("wmt14-en-fr").load(split, n, seed=seed)
            data = found.dataset.to_dict()
            told.append(
                {
                    "columns": list(data),
                    "n": len(data["text"]),
                    "first": [data["text"][0], data["text_pair"][0]],
                    "last": [data["text"][-1], data["text_pair"][-1]],
                    "source": found.source,
                    "n_available": found.n_available,
                }
            )
        except DataError as error:
            told.append({"error": str(error)})
    print(json.dumps(told))
""")


def parquet(first, n, languages=("en", "fr")):
    pairs = [{language: f"{language} {i}" for language in languages} for i in range(first, first + n)]
    features = datasets.Features({"translation": datasets.Translation(languages=languages)})
    table = datasets.Dataset.from_dict({"translation": pairs}, features=features).data.table
    file = io.BytesIO()
    pyarrow.parquet.write_table(table, file, row_group_size=ROWS_A_GROUP)
    return file.getvalue()


def repository(*, card=True, languages=("en", "fr")):
    """As the hub's, with two of its thirty shards of training pairs."""
    files = {
        f"fr-en/train-0000{i}-of-00002.parquet": parquet(i * ROWS_A_SHARD, ROWS_A_SHARD, languages) for i in range(2)
    }
    for split in ("validation", "test"):
        files[f"fr-en/{split}-00000-of-00001.parquet"] = parquet(0, 7, languages)
    lines = ["---", "configs:", "- config_name: fr-en", "  data_files:"]
    for split in ("train", "validation", "test"):
        lines += [f"  - split: {split}", f"    path: fr-en/{split}-*"]
    if card:
        lines += ["dataset_info:", "- config_name: fr-en", "  features:", "  - name: translation", "    dtype:"]
        lines += ["      translation:", "        languages:", "        - fr", "        - en", "  splits:"]
        for split, n in (("train", THERE), ("validation", 7), ("test", 7)):
            lines += [f"  - name: {split}", "    num_bytes: 1000", f"    num_examples: {n}"]
    return {"README.md": "\n".join([*lines, "---", ""]).encode(), **files}


@pytest.fixture
def load(online, tmp_path):
    return lambda *wanted: online.answer(LOAD, json.dumps(wanted), home=tmp_path / "hf")


@pytest.mark.slow
def test_pairs_come_from_the_hub_and_training_pairs_only_as_many_as_are_needed(hub, load):
    wanted = (["validation", None, None], ["test", 3, None], ["train", None, None], ["train", 10, None])
    wanted += (["train", 20, 1],)
    with hub.serve(repository(), SHA, name="wmt/wmt14") as requests:
        validation, test, train, ten, drawn = load(*wanted)
        assert any("train-00000-of-00002" in request for request in requests)
        assert not any("resolve" in request and "train-00001" in request for request in requests)
    source = f"wmt/wmt14/fr-en@{SHA}"
    of_all = {"columns": ["text", "text_pair"], "source": source, "first": ["en 0", "fr 0"]}
    assert validation == {**of_all, "n": 7, "last": ["en 6", "fr 6"], "n_available": 7}
    assert test == {**of_all, "n": 3, "last": ["en 2", "fr 2"], "n_available": 7}
    last = N_TRAIN - 1
    assert train == {**of_all, "n": N_TRAIN, "last": [f"en {last}", f"fr {last}"], "n_available": THERE}
    assert ten == {**of_all, "n": 10, "last": ["en 9", "fr 9"], "n_available": THERE}
    assert (drawn["n"], drawn["n_available"]) == (20, THERE)
    assert drawn["last"] != ["en 19", "fr 19"]


@pytest.mark.slow
def test_more_training_pairs_are_read_when_they_are_asked_for(hub, load):
    n = ROWS_A_SHARD + 1
    with hub.serve(repository(card=False), SHA, name="wmt/wmt14"):
        (train,) = load(["train", n, None])
    assert (train["n"], train["last"]) == (n, [f"en {n - 1}", f"fr {n - 1}"])
    assert train["n_available"] == n  # the card does not say how many there are


@pytest.mark.slow
def test_what_is_not_such_pairs_is_refused(hub, load):
    with hub.serve(repository(card=False, languages=("de", "en")), SHA, name="wmt/wmt14"):
        (told,) = load(["validation", None, None])
    assert f"wmt/wmt14/fr-en@{SHA} validation row 1: the text must be text, got None" in told["error"]


@pytest.mark.slow
def test_a_hub_out_of_reach_is_told_with_the_cure(load):
    (told,) = load(["validation", None, None])
    assert told["error"].startswith("wmt14-en-fr: wmt/wmt14 must be in reach, got ")
    assert "--task translation with --train-file and --validation-file" in told["error"]


def test_the_task_is_a_translation_with_newstest2014_for_those_who_name_it():
    task = load_task("wmt14-en-fr")
    assert (task.spec.kind, task.spec.metric) == ("translation", "bleu")
    assert task.splits == ("train", "validation", "test")
    assert TASKS["wmt14-en-fr"].eval_splits == ("validation",)
