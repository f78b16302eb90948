"""`prune-heads look`: what closing a head changes is what a gated evaluation says, of every kind of answer."""

import functools
import json
import math

import numpy as np
import pytest
import torch
from test_multi_label import save as save_multi_label
from tiny import save_tiny_checkpoint, tiny_tokenizer
from tiny_images import noise, save_vit
from tiny_questions import save_answering
from tiny_texts import save_language_model, tiny_language_model

from prune_heads import attention_blocks, gated, gates_of, load_pruned, remove_heads, save_pruned
from prune_heads.attention import observing
from prune_heads.attention.records import packed, unpacked
from prune_heads.errors import DataError, HeadDescriptorError, PruneHeadsError, TaskError
from prune_heads.evaluation import predict
from prune_heads.options import Look
from prune_heads.progress import Reporter
from prune_heads.reporting.looking import look_figures
from prune_heads.studies.asking import ask
from prune_heads.studies.looking import look

TEXT = "the cat was not very good"
PICTURE = "picture.png"
KINDS = {
    "classes": {"text": TEXT},
    "pairs": {"text": TEXT, "pair": "it sleeps"},
    "labels": {"text": TEXT, "task": "multi-label"},
    "score": {"text": TEXT},
    "gpt2": {"text": TEXT, "task": "lm"},
    "bert": {"text": "the [MASK] was not very [MASK]", "task": "lm"},
    "t5": {"text": TEXT, "pair": "the dog runs", "task": "seq2seq"},
    "mini": {"text": "my good horse calls my young cats.", "task": "mini-translation"},
    "vit": {"text": PICTURE},
}
"""Each kind of model, and what it is asked."""
SLOW = ("labels", "t5", "vit", "mini")
EVERY = [pytest.param(kind, marks=pytest.mark.slow if kind in SLOW else ()) for kind in KINDS]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of checkpoints by kind, and a picture."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("looked-at")
    save_tiny_checkpoint(folder / "classes")
    save_tiny_checkpoint(folder / "pairs", ("yes", "no", "maybe"))
    save_multi_label(folder / "labels")
    save_tiny_checkpoint(folder / "score", ("score",))
    for kind in ("gpt2", "bert", "t5"):
        save_language_model(folder / kind, tiny_language_model(kind))
    save_vit(folder / "vit")
    Image.fromarray(noise(1)[0]).save(folder / PICTURE)
    return folder


@pytest.fixture(scope="module")
def asked_for(models):
    """The options of a kind."""

    def options(kind, **more):
        words = KINDS[kind] | {"model": kind if kind == "mini" else str(models / kind)} | more
        return Look(**words | {"text": words["text"].replace(PICTURE, str(models / PICTURE))})

    return options


@pytest.fixture(scope="module")
def records(asked_for):
    """Of a kind, made once."""
    return functools.cache(lambda kind: look(asked_for(kind), Reporter()).record)


@pytest.mark.parametrize("kind", EVERY)
def test_effects_are_those_of_gated_evaluations(kind, asked_for, records):
    asked, (text,) = ask(asked_for(kind), Reporter()), records(kind)["texts"]
    model = asked.subject.model
    base = asked.likelihood(predict(model, asked.batches))
    assert text["base"] == pytest.approx(base, abs=1e-5)
    for i, row in enumerate(text["effects"]):
        for head, effect in enumerate(row):
            kept = predict(model, asked.batches, gates_of(model, {i: [head]}))
            assert effect == pytest.approx(asked.likelihood(kept) - base, abs=2e-5)
    assert any(abs(effect) > 1e-3 for row in text["effects"] for effect in row)


@pytest.mark.parametrize("kind", EVERY)
def test_a_record_holds_what_its_documentation_says(kind, records, models):
    record = records(kind)
    assert json.loads(json.dumps(record, allow_nan=False)) == json.loads(json.dumps(record))
    assert str(models) not in json.dumps(record)
    (text,) = record["texts"]
    assert [len(row) for row in text["effects"]] == [block["n_heads"] for block in record["blocks"]]
    assert len(text["shown"]) == 3
    assert {each["block"] for each in text["maps"]} == set(range(len(record["blocks"])))
    for each in text["maps"]:
        shape = len(each["heads"]), len(each["queries"]), len(each["keys"])
        rows = unpacked(each["probabilities"], *shape).sum(axis=-1)
        assert np.abs(rows - 1).max() < shape[-1] / 255
        assert unpacked(each["weighted"], *shape).max() == 1
        assert each["longest"] > 0
    if text["measure"] == "log-likelihood" and "place" not in text["answers"][0] and kind != "labels":
        assert math.exp(text["base"]) == pytest.approx(text["answers"][0]["probability"], abs=1e-5)


def test_a_class_by_hand(asked_for, records):
    """The log-probability of the likelier class, by a forward pass of transformers with gates of our own."""
    asked, (text,) = ask(asked_for("classes"), Reporter()), records("classes")["texts"]
    model = asked.subject.model
    inputs = tiny_tokenizer()(TEXT, return_tensors="pt")
    chances = []
    for gates in ("", "2:3"):
        with torch.no_grad(), gated(model, gates_of(model, gates)):
            chances.append(model(**inputs).logits[0].double().log_softmax(dim=0))
    best = int(chances[0].argmax())
    assert text["answer"] == ("negative", "positive")[best] == text["answers"][0]["name"]
    assert [each["probability"] for each in text["answers"]] == pytest.approx(sorted(chances[0].exp().tolist())[::-1])
    assert text["effects"][1][2] == pytest.approx(float(chances[1][best] - chances[0][best]), abs=1e-5)


def test_tokens_by_hand(asked_for, records):
    """The next token, and the tokens at two masks, with what closing a head does to the sum of their likelihoods."""
    for kind, places in (("gpt2", [7]), ("bert", [2, 6])):
        model, (text,) = ask(asked_for(kind), Reporter()).subject.model, records(kind)["texts"]
        inputs = tiny_tokenizer()(KINDS[kind]["text"], return_tensors="pt")
        likely = []
        for gates in ("", "1:1"):
            with torch.no_grad(), gated(model, gates_of(model, gates)):
                likely.append(model(**inputs).logits[0, places].double().log_softmax(dim=-1))
        best = likely[0].argmax(dim=-1)
        assert [each["place"] for each in text["answers"][::5]] == [place + 1 for place in places]
        names = zip(best.tolist(), tiny_tokenizer().convert_ids_to_tokens(best), strict=True)
        assert text["answer"] == " ".join(name or f"token {token}" for token, name in names)  # it lacks some
        found = [float(each.gather(1, best[:, None]).sum()) for each in likely]
        assert text["effects"][0][0] == pytest.approx(found[1] - found[0], abs=1e-5)


def test_maps_are_those_that_are_observed(asked_for, records):
    asked = ask(asked_for("mini"), Reporter())
    with torch.no_grad(), observing(asked.subject.model) as observe:
        _, seen = observe(**asked.batches.batch(np.arange(1)).inputs)
    (text,) = records("mini")["texts"]
    letters = [block.letter for block in attention_blocks(asked.subject.model)]
    for each, found, letter in zip(text["maps"], seen, letters, strict=True):
        shape = found.map.shape[1:]
        assert np.abs(unpacked(each["probabilities"], *shape) - found.map[0].numpy()).max() <= 0.5 / 255 + 1e-6
        scaled = unpacked(each["weighted"], *shape) * each["longest"]
        assert np.abs(scaled - found.weighted[0].numpy()).max() <= each["longest"] / 500
        assert each["queries"] == text["tokens" if letter == "E" else "target"]
        assert each["keys"] == text["target" if letter == "D" else "tokens"]


def test_a_picture_has_patches(records):
    (text,) = records("vit")["texts"]
    assert text["text"] == PICTURE
    rows, columns = text["patches"]
    assert text["tokens"] == ["[1]", *(f"{i},{j}" for i in range(1, rows + 1) for j in range(1, columns + 1))]


@pytest.mark.parametrize(
    "model_type", ["bart", *(pytest.param(name, marks=pytest.mark.slow) for name in ("t5", "mbart"))]
)
def test_a_decoder_is_named_by_what_it_is_given(model_type, tmp_path):
    """A classifier's is given the text one place to the right, which the model does by itself."""
    from tiny_types import tiny_model

    model = tiny_model(model_type)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    asked = ask(Look(text=TEXT, model=str(tmp_path)), Reporter())
    given, inputs = [], asked.batches.batch(np.arange(1)).inputs
    decoder = asked.subject.model.base_model.decoder
    decoder.register_forward_pre_hook(lambda _, args, how: given.append(how["input_ids"][0]), with_kwargs=True)
    with torch.no_grad():
        asked.subject.model(**inputs)
    wanted = [tiny_tokenizer().decode([token]) for token in given[0].tolist()]
    (text,) = look(Look(text=TEXT, model=str(tmp_path)), Reporter()).record["texts"]
    assert text["target"] == wanted != text["tokens"]
    for each, block in zip(text["maps"], attention_blocks(asked.subject.model), strict=True):
        assert each["queries"] == (text["tokens"] if block.stack == "encoder" else wanted)
        assert each["keys"] == (wanted if block.letter == "D" else text["tokens"])


@pytest.mark.parametrize(
    ("model_type", "more"),
    [
        ("perceiver", {"vocab_size": 262}),
        pytest.param("canine", {"bos_token_id": 0xE000, "eos_token_id": 0xE001}, marks=pytest.mark.thorough),
    ],
)
def test_models_of_bytes_and_characters(model_type, more, tmp_path):
    """What such a model embeds its tokens by is no matrix of a row a token."""
    import transformers
    from tiny_types import tiny_model

    tiny_model(model_type, **more).save_pretrained(tmp_path)
    getattr(transformers, f"{model_type.capitalize()}Tokenizer")().save_pretrained(tmp_path)
    (text,) = look(Look(text=TEXT, model=str(tmp_path)), Reporter()).record["texts"]
    assert len(text["tokens"]) == len(TEXT) + 2
    assert any(abs(effect) > 1e-3 for row in text["effects"] for effect in row)


def test_heads_that_flip_a_class_are_named(asked_for, records):
    asked, (text,) = ask(asked_for("pairs"), Reporter()), records("pairs")["texts"]
    model, flips = asked.subject.model, {}
    for i, block in enumerate(asked.subject.blocks):
        for head in range(block.n_heads):
            said = asked.says(predict(model, asked.batches, gates_of(model, {i: [head]})))
            flips |= {f"{i + 1}:{head + 1}": said} if said != asked.answer else {}
    assert {each["head"]: each["answer"] for each in text["flips"]} == flips


def test_packing():
    values = np.random.default_rng(0).random((2, 3, 4))
    assert np.abs(unpacked(packed(torch.from_numpy(values)), 2, 3, 4) - values).max() <= 0.5 / 255 + 1e-7


def test_a_text_that_is_long_keeps_the_maps_of_its_shown_heads(models):
    record = look(Look(text="cat " * 62, model=str(models / "classes")), Reporter()).record
    assert [len(each["heads"]) for each in record["texts"][0]["maps"]] == [4, 4, 4]
    model = save_tiny_checkpoint(models / "long")
    config = json.loads((model / "config.json").read_text())
    assert config["max_position_embeddings"] == 64
    with pytest.raises(DataError, match="at most 64 tokens"):
        look(Look(text="cat " * 63, model=str(model)), Reporter())
    with pytest.raises(DataError, match="at most 10 tokens"):
        look(Look(text="cat " * 9, model=str(model), max_length=10), Reporter())


def test_heads_that_were_removed(models, tmp_path):
    model = load_pruned(models / "classes")
    remove_heads(model, "1:2 3:1,2,3,4")
    save_pruned(model, tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    words = {"text": TEXT, "model": str(tmp_path / "model")}
    (text,) = look(Look(**words, heads="1:3"), Reporter()).record["texts"]
    assert [sum(effect is None for effect in row) for row in text["effects"]] == [1, 0, 4]
    assert [(each["block"], each["heads"]) for each in text["maps"]] == [(0, [0, 2, 3]), (1, [0, 1, 2, 3])]
    assert text["shown"] == ["1:3"]
    with pytest.raises(HeadDescriptorError, match="1:2 was removed"):
        look(Look(**words, heads="1:2"), Reporter())


def test_a_model_without_maps_says_so_and_shows_its_effects(tmp_path):
    from tiny_types import tiny_model

    model = tiny_model("longformer")
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    record = look(Look(text=TEXT, model=str(tmp_path)), Reporter()).record
    (text,) = record["texts"]
    assert text["maps"] == []
    assert len([note for note in record["notes"] if "softmax over the keys" in note]) == 3
    assert all(math.isfinite(effect) for row in text["effects"] for effect in row)


@pytest.mark.parametrize(
    ("kind", "more", "error", "said"),
    [
        ("classes", {"text": "  "}, DataError, "the text must not be empty"),
        ("classes", {"text": "a \udce9"}, DataError, "valid Unicode"),
        ("classes", {"task": "sst2", "pair": "it"}, TaskError, "sst2 has one (sentence)"),
        ("pairs", {"task": "mnli", "label_order": ("entailment", "neutral", "contradiction"), "pair": None}, TaskError,
         "mnli asks about two texts (premise, hypothesis), got one"),
        ("classes", {"heads": "9:1"}, HeadDescriptorError, "between 1 and 3"),
        ("classes", {"heads": "x"}, HeadDescriptorError, "a number must be here"),
        ("classes", {"heads": " "}, HeadDescriptorError, "--heads must name heads to look at; got none"),
        ("classes", {"text": "nowhere.PNG"}, DataError, "reads texts; got the path of a picture, nowhere.PNG"),
        ("vit", {"text": "nowhere"}, DataError, "nowhere"),
        ("bert", {"text": "no mask"}, DataError, "[MASK] where one is to be predicted"),
        ("gpt2", {"task": ""}, PruneHeadsError, "--task lm"),
        ("vit", {"text": "nowhere.png"}, DataError, "nowhere.png"),
        ("vit", {"pair": "x"}, TaskError, "--pair"),
        ("classes", {"task": "mnli"}, PruneHeadsError, "labels"),
        ("classes", {"model": "./nowhere"}, PruneHeadsError, "nowhere"),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_at(kind, more, error, said, asked_for):
    with pytest.raises(error) as raised:
        look(asked_for(kind, **more), Reporter())
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_kinds_of_answers_that_are_none_of_these_are_refused_by_name(tmp_path):
    save_answering(tmp_path)
    with pytest.raises(TaskError, match="got question-answering"):
        look(Look(text="who sleeps", pair="the cat sleeps", model=str(tmp_path)), Reporter())


def test_the_built_in_models_take_one_text_or_two():
    assert Look(text="a").task == "mini-sentiment"
    assert Look(text="a", pair="b").task == "mini-inference"
    record = look(Look(text="the plot is not predictable."), Reporter()).record
    assert record["task"] == "mini-sentiment"
    assert record["notes"] == []


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("name", "task", "pair"), [("sst2", "sst2", None), ("mnli", "mnli", "a man is awake.")])
def test_real_models(name, task, pair, shared):
    options = Look(text="a man sleeps.", pair=pair, model=str(shared / "models" / f"minilm-{name}"), task=task)
    asked, (text,) = ask(options, Reporter()), look(options, Reporter()).record["texts"]
    model = asked.subject.model
    for head in text["shown"]:
        i, j = (int(part) - 1 for part in head.split(":"))
        kept = predict(model, asked.batches, gates_of(model, head))
        assert text["effects"][i][j] == pytest.approx(asked.likelihood(kept) - text["base"], abs=1e-5)


def test_a_picture_is_no_text(models, asked_for):
    with pytest.raises(DataError, match=r"got the path of a picture, picture.png. Name a model of images"):
        look(asked_for("classes", text=str(models / PICTURE)), Reporter())
    assert look(asked_for("classes", text=f"the cat was in {PICTURE}"), Reporter()).record["texts"][0]["text"]


@pytest.mark.slow
def test_small_effects_and_long_tokens_are_shown_as_they_are(invoke, tmp_path):
    """Effects below a thousandth of a nat are no zeros in figures, and a token that is cut short says so."""
    done = invoke("look", "the plot is not predictable.", "--output", tmp_path / "look", COLUMNS="80")
    assert done.exit_code == 0
    assert " 6 predict… " in done.stdout
    record = json.loads((tmp_path / "look" / "record.json").read_text())
    figures = dict(look_figures(record))
    (cells, scale), maps = figures["effects"].axes, figures["heads-1"].axes
    assert "-9.77" in {text.get_text() for text in cells.texts}
    assert not {text.get_text() for text in cells.texts} & {"-0.000", "-0.00"}
    assert scale.get_ylabel() == "change when closed, 0.001 nats"
    assert [axes.get_title() for axes in maps[:2]] == ["3:2 (-0.0098 nats)", "1:3 (-0.0046 nats)"]
