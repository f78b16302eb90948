"""Wrong heads, and files of heads and scores that do not fit."""

import json

import pytest


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        ("1:1,x", "at character 5 ('x'): a number must be here"),
        ("1", "at the end: ':' and heads must follow the layer"),
        ("1:1\n2:9", "at character 7 ('9'): head 9 must be between 1 and 4 (layer 2)"),
        ("1:0", "at character 3 ('0'): head 0 must be between 1 and 4 (layer 1)"),
        ("4:1", "at character 1 ('4'): layer 4 must be between 1 and 3"),
        ("1:2,2", "at character 5 ('2'): head 2 is named twice"),
    ],
)
@pytest.mark.parametrize("command", ["evaluate", "run", "prune"])
def test_wrong_heads(command, heads, said, refused, on_sst2, out):
    options = on_sst2[:2] if command == "prune" else on_sst2
    assert said in refused(command, *options, "--heads", heads, *out)


def test_heads_of_a_run_are_read_before_the_long_work(invoke, on_sst2):
    assert "base metric" not in invoke("run", *on_sst2, "--heads", "9:9").stderr


@pytest.mark.parametrize("command", ["evaluate", "run", "prune"])
def test_all_heads_may_go_and_that_is_noted(command, invoke, on_sst2, out):
    options = on_sst2[:2] if command == "prune" else on_sst2
    done = invoke(command, *options, "--heads", "1:1,2,3,4 2:1,2,3,4 3:1,2,3,4", *out, "--json")
    assert done.exit_code == 0
    assert len(json.loads(done.stdout)["heads_pruned"]) == 3
    assert ("note: all heads are pruned" in done.stderr) == (command != "prune")


def test_more_heads_than_there_are(refused, on_sst2, out):
    assert "between 0 and 12 of 12 heads can be pruned; got 13" in refused("run", *on_sst2, "--n-heads", 13, *out)
    words = ("--fraction", "1", "--min-per-layer", "1", *out)
    assert "with 1 kept in every layer; got 12" in refused("run", *on_sst2, *words)
    words = ("--heads", "2:1,2,3,4", "--min-per-layer", "1", *out)
    assert "layer 2 would keep 0" in refused("prune", *on_sst2[:2], *words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "a file of heads must be a readable file"),
        ("{", "a file of heads must be a JSON file"),
        ("[]", "must hold a JSON object"),
        ("{}", "must have 'n_heads'"),
        ('{"n_heads": [4, 4, 4], "heads_pruned": [1]}', "must have 'n_heads'"),
        ('{"n_heads": [4, 4, 4], "heads_pruned": ["9:1"]}', "layer 9 must be between 1 and 3"),
        ('{"n_heads": [12, 12], "heads_pruned": []}', "must be for this model, with [4, 4, 4] heads a layer"),
    ],
)
def test_wrong_heads_json(text, said, refused, on_sst2, out, tmp_path):
    if text is not None:
        (tmp_path / "heads.json").write_text(text)
    for command, options in (("evaluate", on_sst2), ("prune", on_sst2[:2])):
        assert said in refused(command, *options, "--heads", tmp_path / "heads.json", *out)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "a file of scores must be a readable file"),
        ("scores", "a file of scores must be a JSON file"),
        ("{}", "must be what 'prune-heads score --output' writes"),
        ('{"scores": 5}', "must be what 'prune-heads score --output' writes"),
        ('{"scores": [["a"]]}', "must be what 'prune-heads score --output' writes"),
        ('{"scores": [[1, 2], [3, 4]]}', "must be of this model, with [4, 4, 4] heads a layer"),
        ('{"scores": [[1, 2, 3, NaN], [1, 2, 3, 4], [1, 2, 3, 4]]}', "scores[1][4] must be a finite number; got nan"),
    ],
)
def test_wrong_scores_json(text, said, refused, checkpoint, out, tmp_path):
    if text is not None:
        (tmp_path / "scores.json").write_text(text)
    assert said in refused("prune", "--model", checkpoint, "--scores", tmp_path / "scores.json", *out)
