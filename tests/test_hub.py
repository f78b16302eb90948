"""Models from the hub, in processes of their own against a hub on this machine."""

import json
import time

import pytest

SHA = "c" * 40
NAME = "lab/tiny"
# The client reads its settings when it is imported; nothing of the test's own setting may reach it.
ONLINE = {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}


def files_of(checkpoint):
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


def test_a_model_comes_from_the_hub_at_its_commit_then_from_the_cache(
    cli, invoke, checkpoint, sst2, serve, refusing, tmp_path
):
    words = ("evaluate", "--model", NAME, "--task", "sst2", "--data-dir", sst2, "--json")
    with serve(files_of(checkpoint), SHA, name=NAME, kind="models") as (endpoint, _):
        settings = ONLINE | {"HF_HOME": str(tmp_path / "hf")}
        online = cli(*words, "--output", tmp_path / "run", HF_ENDPOINT=endpoint, **settings)
    assert online.returncode == 0, online.stderr
    model = json.loads((tmp_path / "run" / "record.json").read_text())["model"]
    assert (model["name"], model["revision"]) == (NAME, SHA)
    cached = cli(*words, HF_ENDPOINT=refusing, **settings)
    local = invoke("evaluate", "--model", checkpoint, *words[3:])
    assert cached.stdout == online.stdout == local.stdout
    assert cached.returncode == 0


@pytest.mark.parametrize("hub", ["refusing", "silent"])
def test_a_hub_out_of_reach_is_told_within_seconds(hub, cli, sst2, request, tmp_path):
    settings = ONLINE | {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": request.getfixturevalue(hub)}
    start = time.perf_counter()
    done = cli("evaluate", "--model", NAME, "--task", "sst2", "--data-dir", sst2, **settings)
    assert time.perf_counter() - start < 45
    assert done.returncode == 1
    assert done.stderr.startswith("error: the model must be a local folder, or be on the hub")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
