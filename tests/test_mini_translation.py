"""The built-in translation: its data never change, and its checkpoint must look at the sources."""

import functools
import hashlib
import json
import re
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from prune_heads import attention_blocks
from prune_heads.evaluation import predict
from prune_heads.mini import read
from prune_heads.objectives import TASKS
from prune_heads.options import Setup
from prune_heads.progress import Reporter
from prune_heads.studies.setup import load_split, load_subject
from prune_heads.studies.train_mini import N_EXAMPLES, train

TASK = "mini-translation"
CHECKPOINT = Path(str(resources.files("prune_heads.mini"))) / "checkpoints" / TASK

# SHA-256 of `json.dumps(read(task, split))`. The shipped checkpoint belongs to exactly these examples.
DIGESTS = {
    "train": "4d779b14f0cee6e994a1b317411f91f7fc23be73610a80b24babf8f8734be7ab",
    "validation": "713a5cfd6145001d0111d6522f16461a20efe1430c00ba2ff40d518759f9e99a",
    "mismatched": "188259b76c33932f3f756ee505983fbe1265bd129fe49884830a284b516f87d2",
    "test": "8d5ab5156def3d879380e61069347ba8a4d93851feecbf91e46d815338e4ab8c",
}
cached = functools.cache(read)


def pairs(split):
    columns = cached(TASK, split)
    return list(zip(columns["text"], columns["text_pair"], strict=True))


def words(text):
    return re.findall(r"\w+", text)


@pytest.mark.parametrize("split", TASKS[TASK].splits)
def test_split_holds_the_examples_that_every_record_is_about(split):
    columns = read(TASK, split)
    assert hashlib.sha256(json.dumps(columns).encode()).hexdigest() == DIGESTS[split]
    assert set(columns) == {"text", "text_pair"}
    assert {len(column) for column in columns.values()} == {N_EXAMPLES if split == "train" else 1000}
    for text in (*columns["text"], *columns["text_pair"]):
        assert re.fullmatch(r"[a-z]+(,? [a-z]+)*\.", text)


def test_the_target_is_a_function_of_the_source():
    every = [pair for split in TASKS[TASK].splits for pair in pairs(split)]
    assert len(dict(every)) == len(set(every))


def test_no_other_example_is_trained_on_but_all_words():
    trained = set(pairs("train"))
    known = {word for pair in trained for text in pair for word in words(text)}
    for split in TASKS[TASK].splits[1:]:
        assert trained.isdisjoint(pairs(split))
        assert {word for pair in pairs(split) for text in pair for word in words(text)} <= known
    assert len(set(pairs("validation")) & set(pairs("test"))) < 20  # short sentences may be drawn in both


def test_the_second_domain_is_of_two_clauses_which_are_rare_in_training():
    def share(split):
        return np.mean([bool(re.search(r", (and|but) ", source)) for source, _ in pairs(split)])

    assert (share("validation"), share("test"), share("mismatched")) == (0, 0, 1)
    assert 0.03 < share("train") < 0.07
    assert TASKS[TASK].splits == ("train", "validation", "mismatched", "test")


def test_the_verb_agrees_with_a_subject_far_from_it():
    """In the target the ending of a past verb is that of the sentence's first word."""
    past = [target.rstrip(".").removesuffix(" non").split() for _, target in pairs("validation")]
    past = [target for target in past if re.search(r"at(us|a|i|ae)$", target[-1])]
    assert len(past) > 300
    assert np.mean([len(target) for target in past]) > 6
    for target in past:
        assert re.search(r"(us|ae|a|i)$", target[0])[0] == re.search(r"(us|ae|a|i)$", target[-1])[0]


def test_checkpoint_loads_without_a_warning_and_knows_all_words():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
        model, info = AutoModelForSeq2SeqLM.from_pretrained(CHECKPOINT, output_loading_info=True)
    assert not any(info.values())
    assert "".join(block.letter for block in attention_blocks(model)) == "EEEEAAAADDDD"
    assert model.dtype == torch.float32
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) < 800_000
    for split in TASKS[TASK].splits:
        for column in cached(TASK, split).values():
            ids = tokenizer(column)["input_ids"]
            assert all(tokenizer.unk_token_id not in row for row in ids)
            assert max(map(len, ids)) < tokenizer.model_max_length
    some = cached(TASK, "validation")["text_pair"][:20]
    assert tokenizer.batch_decode(tokenizer(some)["input_ids"], skip_special_tokens=True) == some


@pytest.mark.slow
def test_checkpoint_is_as_good_as_measured_and_needs_what_it_reads():
    """On 150 examples; without its attention to the source it knows nothing, without the others' something."""
    setup = Setup("mini", TASK, max_examples=150, batch_size=128)
    subject = load_subject(setup, Reporter())
    split = load_split(setup, subject, "validation", Reporter())
    batches, blocks = subject.batches(split), subject.blocks

    def bleu(letters):
        gates = [torch.full((4,), float(block.letter not in letters)) for block in blocks]
        return subject.objective.metrics(predict(subject.model, batches, gates), batches.references)["bleu"]

    assert bleu("") == pytest.approx(0.911, abs=0.01)  # rounding may differ among processors
    of = {letter: bleu(letter) for letter in "EAD"}
    assert of["A"] == min(of.values()) < 0.02
    assert 0.05 < of["D"] < of["E"] < bleu("") - 0.1


def test_training_is_reproducible_and_writes_what_is_shipped(tmp_path):
    some = {name: column[:128] for name, column in cached(TASK, "train").items()}
    for name in ("first", "second"):
        torch.rand(3)  # whatever chance the caller has used up must not matter
        train(TASK, tmp_path / name, n_epochs=1, examples=lambda epoch: some)
    shipped = {path.name for path in CHECKPOINT.iterdir()}
    assert {path.name for path in (tmp_path / "first").iterdir()} == shipped
    for name in shipped:
        first = (tmp_path / "first" / name).read_bytes()
        assert first == (tmp_path / "second" / name).read_bytes()
        if name.endswith("config.json"):
            assert json.loads(first) == json.loads((CHECKPOINT / name).read_text())
