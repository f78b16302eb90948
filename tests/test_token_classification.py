"""Token classification: entities as seqeval counts them, words and their tokens, files, commands and the Evaluator."""

import copy
import json
import warnings

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities
from tiny import tiny_tokenizer
from tiny_tokens import DASHED, TAGS, save_tagger, sentences, tagger_of, write_conll
from tokenizers import models, normalizers, pre_tokenizers, processors
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedTokenizerFast

from prune_heads import Evaluator
from prune_heads.budget import budget
from prune_heads.errors import CheckpointError, DataError, LabelError, TaskError
from prune_heads.evaluation import Subject, predict
from prune_heads.objectives.batches import IGNORED
from prune_heads.objectives.rows import Split
from prune_heads.objectives.texts import tokenize
from prune_heads.objectives.token_classification import entities
from prune_heads.progress import Reporter
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

KIND = "token-classification"
IOBES = tuple(f"{tag}-{kind}" for kind in ("PER", "LOC") for tag in "BIES")
SCHEMES = {
    "IOB2": ("O", *TAGS[1:]),
    "IOB1, and no type": ("O", "I", "B", "I-PER", "B-PER"),
    "IOBES": ("O", *IOBES),
    "parts of speech": ("NN", "DT", "IN", ",", ".", "X", "O", "BES", "E"),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tagger(tmp_path_factory.mktemp("tagger") / "model")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    made = {name: write_conll(folder / f"{name}.conll", n, n) for name, n in (("train", 14), ("validation", 11))}
    return ("--task", KIND, "--train-file", made["train"], "--validation-file", made["validation"])


@pytest.fixture(scope="module")
def checkpoint(model):
    return tagger_of(model)


def rows_of(made):
    return [{"tokens": words, "tags": tags} for words, tags in made]


def written(folder, rows):
    path = folder / "validation.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def subject_of(checkpoint, path, **options):
    chosen = {name: options.pop(name) for name in ("label_order", "max_length") if name in options}
    return Subject.of(checkpoint, load_task(KIND, own=OwnData({"validation": path}, **options, kind=KIND)), **chosen)


# Entities


@pytest.mark.parametrize("tags", SCHEMES.values(), ids=SCHEMES)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_entities_are_those_of_seqeval_in_each_text(tags, data):
    texts = data.draw(st.lists(st.lists(st.sampled_from(range(len(tags))), min_size=1, max_size=8), max_size=5))
    labels = torch.tensor([label for each in texts for label in each], dtype=torch.long)
    rows = torch.tensor([i for i, each in enumerate(texts) for _ in each], dtype=torch.long)
    ends, since, _ = entities(labels, rows, tags)
    found, start = [], 0
    for each in texts:
        places = range(start, start + len(each))
        found.append([(int(since[i]) - start, i - start) for i in places if ends[i]])
        start += len(each)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of labels that are no tags
        wanted = [[(a, b) for _, a, b in get_entities([tags[i] for i in each])] for each in texts]
    assert found == wanted


def predicted(checkpoint, words, tags=TAGS):
    """What the model says of each word, the slow way: one sentence, and the first token of each word."""
    given = checkpoint.tokenizer(words, is_split_into_words=True, return_tensors="pt")
    with torch.no_grad():
        said = checkpoint.model(**given).logits[0].argmax(dim=-1).tolist()
    of = given.word_ids()
    return [tags[said[of.index(i)]] for i in range(len(words))]


def test_metrics_are_those_of_seqeval_over_any_weighting(checkpoint, files):
    subject = subject_of(checkpoint, files[-1])
    batches = subject.batches(subject.task.load("validation"))
    kept = predict(subject.model, batches)
    texts = sentences(11, 11)
    true, made = [tags for _, tags in texts], [predicted(checkpoint, words) for words, _ in texts]
    weights = np.stack([np.ones(11), *np.random.default_rng(0).multinomial(11, np.full(11, 1 / 11), size=8)])
    oracles = {
        "entity_f1": f1_score,
        "entity_precision": precision_score,
        "entity_recall": recall_score,
        "token_accuracy": accuracy_score,
    }
    assert list(subject.objective.measures) == list(oracles)
    for name, measure in subject.objective.measures.items():
        got = measure.weighted(subject.objective.predictions(kept), batches.references, weights)
        often = [np.repeat(np.arange(11), row.astype(int)) for row in weights]
        wanted = [oracles[name]([true[i] for i in each], [made[i] for i in each]) for each in often]
        np.testing.assert_allclose(got, wanted, atol=1e-12)
    assert 0 < subject.objective.metrics(kept, batches.references)["entity_f1"] < 1  # else all of this says little
    assert batches.references.tolist() == [len(get_entities(tags)) for tags in true]


# Words and tokens


def test_the_first_token_of_a_word_carries_its_label(checkpoint, tmp_path):
    words = [DASHED[0], "film", DASHED[1]]
    path = written(tmp_path, [{"tokens": words, "tags": ["B-PER", "O", "I-LOC"]}])
    subject = subject_of(checkpoint, path)
    batch = subject.batches(subject.task.load("validation")).batch(np.array([0]))
    none = IGNORED
    assert batch.targets[0].tolist() == [none, 1, none, none, 0, 4, none, none, none]
    logits = torch.log_softmax(subject.model(**batch.inputs).logits[0], dim=-1)
    loss = -(logits[1, 1] + logits[4, 0] + logits[5, 4])
    assert subject.objective.losses(subject.model(**batch.inputs), batch).item() == pytest.approx(loss.item(), rel=1e-5)


def test_words_that_are_cut_are_noted_and_not_counted(checkpoint, tmp_path):
    long = {"tokens": [*["film"] * 5, DASHED[0], "good"], "tags": ["O"] * 4 + ["B-PER", "I-PER", "I-PER"]}
    short = {"tokens": ["good"], "tags": ["B-LOC"]}
    subject = subject_of(checkpoint, written(tmp_path, [long, short]), max_length=8)
    reporter = Reporter()
    split = subject.measurable(subject.task.load("validation"), reporter)
    assert split.n_cut == 1
    assert reporter.notes == ["validation: 1 of 2 examples are cut at 8 tokens"]
    batches = subject.batches(split)
    kept = predict(subject.model, batches)
    assert kept[:, 1].tolist() == [6, 1]  # [CLS], five words, the first token of the sixth, [SEP]
    assert batches.references.tolist() == kept[:, 4].tolist() == [1, 1]


def test_words_without_a_token_are_not_counted_and_a_text_without_any_is_left_out(model, tmp_path):
    checkpoint = tagger_of(model)
    checkpoint.tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()
    rows = [
        {"tokens": ["film", "\u200e", "good"], "tags": ["B-PER", "I-PER", "I-PER"]},
        {"tokens": ["\u200e"], "tags": ["B-LOC"]},
    ]
    subject = subject_of(checkpoint, written(tmp_path, rows))
    reporter = Reporter()
    split = subject.measurable(subject.task.load("validation"), reporter)
    assert len(split) == 1
    assert "1 of 2 texts have no token to predict and are left out" in reporter.notes[0]
    kept = predict(subject.model, subject.batches(split))
    assert kept[0, 1] == 2
    assert kept[0, 4] == 1


WORDS_ALONE = Split("own", {"tokens": [["ab", "b"]]}, "own", "", 1)


def test_words_stay_apart_where_a_tokenizer_marks_spaces():
    byte_level = tiny_tokenizer().backend_tokenizer
    vocabulary = {token: i for i, token in enumerate(["a", "b", "Ġ", "Ġa", "Ġb", "Ġab", "ab"])}
    byte_level.model = models.BPE(vocabulary, [("Ġ", "a"), ("Ġ", "b"), ("Ġa", "b"), ("a", "b")])
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.post_processor, byte_level.normalizer = processors.ByteLevel(), None
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level, model_max_length=64)
    fields, _ = tokenize(WORDS_ALONE, tokenizer, n_max=8, of={"text": "tokens"}, words=True)
    assert tokenizer.convert_ids_to_tokens(fields["input_ids"].row(0)) == ["Ġab", "Ġb"]
    assert fields["word_ids"].row(0).tolist() == [0, 1]


def test_a_tokenizer_that_does_not_know_words_is_refused():
    class Slow:
        is_fast, model_max_length = False, 64

    with pytest.raises(CheckpointError, match=r"must say of which word each token is.*this one is a Slow"):
        tokenize(WORDS_ALONE, Slow(), n_max=8, of={"text": "tokens"}, words=True)


# Labels


def test_labels_are_matched_by_name_in_the_order_of_the_checkpoint(tmp_path, files):
    found = {}
    for order in (TAGS, ("I-LOC", "O", "B_PER", "B-LOC", "i-per")):
        checkpoint = tagger_of(save_tagger(tmp_path / order[0], order))
        subject = subject_of(checkpoint, files[-1])
        batches = subject.batches(subject.task.load("validation"))
        assert subject.objective.tags == tuple(tag.upper().replace("_", "-") for tag in order)
        predict(subject.model, batches)
        found[order] = [
            [subject.objective.tags[i] for i in batches.targets.row(0) if i != IGNORED],
            batches.references.tolist(),
        ]
    assert found[TAGS][0] == sentences(11, 11)[0][1]
    assert len({json.dumps(each) for each in found.values()}) == 1


def test_files_may_have_some_of_the_labels_and_no_others(checkpoint, tmp_path):
    some = written(tmp_path, [{"tokens": ["film", "good"], "tags": ["I-LOC", "O"]}])
    assert subject_of(checkpoint, some).objective.model_index == (4, 0)
    others = written(tmp_path, [{"tokens": ["film", "good"], "tags": ["B-ORG", "O"]}])
    with pytest.raises(LabelError, match=r"the task has B-ORG, O; the checkpoint has O, B-PER, I-PER, B-LOC, I-LOC"):
        subject_of(checkpoint, others)


def test_names_that_say_nothing_need_an_order(tmp_path, files):
    checkpoint = tagger_of(save_tagger(tmp_path / "model", tuple(f"LABEL_{i}" for i in range(5))))
    taken = subject_of(checkpoint, files[-1]).objective
    assert "if that is wrong, give --label-order" in taken.note
    assert taken.tags == ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")
    given_one = subject_of(checkpoint, files[-1], label_order=TAGS).objective
    assert (given_one.tags, given_one.note) == (TAGS, None)
    assert given_one.identity(checkpoint.model) != taken.identity(checkpoint.model)


def test_labels_that_are_no_tags_are_noted_and_accuracy_may_be_asked_for(tmp_path):
    checkpoint = tagger_of(save_tagger(tmp_path / "model", ("NN", "DT")))
    path = written(tmp_path, [{"tokens": ["film", "good"], "tags": ["NN", "DT"]}] * 2)
    subject = subject_of(checkpoint, path, metric="token_accuracy")
    assert "2 of 2 labels are no tags of entities" in subject.objective.note
    assert list(subject.objective.measures) == ["token_accuracy"]


# Files


CONLL = "-DOCSTART-\t-X-\tO\n\nfilm\tNN\tB-PER\ngood film\tNN\tI-PER\n\n\nis\tVB\tO\n"


def test_conll_files(tmp_path):
    path = tmp_path / "a.conll"
    for text, words in ((CONLL, "good film"), (CONLL.replace("good film", "the").replace("\t", " "), "the")):
        path.write_bytes(text.replace("\n", "\r\n").encode())
        split = load_task(KIND, own=OwnData({"train": path}, kind=KIND)).load("train")
        assert split.columns["tokens"] == [["film", words], ["is"]]
        assert split.columns["label"] == [[0, 1], [2]]
    by_number = load_task(KIND, own=OwnData({"train": path}, ["1"], label_column="2", kind=KIND))
    assert by_number.spec.labels == ("NN", "VB")
    assert by_number.load("train").columns["label"] == [[0, 0], [1]]
    same = tmp_path / "a.jsonl"
    same.write_text(json.dumps([{"w": ["film", "the"], "t": ["B-PER", "I-PER"]}, {"w": ["is"], "t": ["O"]}]))
    of_json = load_task(KIND, own=OwnData({"train": same}, ["w"], label_column="t", kind=KIND)).load("train")
    split = load_task(KIND, own=OwnData({"train": path}, kind=KIND)).load("train")
    assert of_json.fingerprint == split.fingerprint


@pytest.mark.parametrize("tab", ["\t", " "])
def test_comments_of_conll_are_left_out_and_a_number_sign_stays_a_word(tab, tmp_path):
    path = tmp_path / "a.conll"
    path.write_text(f"# id = 1\n# text = # 1 good\n#{tab}O\n1{tab}O\n# b c\ngood{tab}B-PER\n\n# id = 2\n#{tab}O\n")
    split = load_task(KIND, own=OwnData({"train": path}, kind=KIND)).load("train")
    assert split.columns["tokens"] == [["#", "1", "good"], ["#"]]
    assert split.columns["label"] == [[1, 1, 0], [1]]


def test_parquet_of_datasets_names_the_labels(tmp_path):
    path = tmp_path / "a.parquet"
    features = datasets.Features(
        {
            "tokens": datasets.List(datasets.Value("string")),
            "tags": datasets.List(datasets.ClassLabel(names=list(TAGS))),
        }
    )
    rows = {"tokens": [["film", "is"], ["good"]], "tags": [[1, 0], [4]]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    assert load_task(KIND, own=OwnData({"train": path}, kind=KIND)).spec.labels == ("B-PER", "I-LOC", "O")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.conll", "a NN O\nb O\n", r"a\.conll line 2: 3 columns must be there, as before, got 2"),
        ("a.conll", "a\nb\n", r"a\.conll: the column tags must be there once, got the columns 1, tokens; --label"),
        ("a.txt", "\n \n", r"a\.txt: at least one example must be there, got none"),
        ("a.csv", "tokens,tags\na b,O O\n", r"row 1: a list of words .* JSONL, Parquet and CoNLL hold, got 'a b'"),
        ("a.jsonl", '{"tokens": ["a"]}', r"the column tags must be there once.*--label-column"),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O", 7]}\n{"tokens": [], "tags": []}', "line 2: a list of words"),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O", "B-X", "O"]}', "line 1: there must be a label for each word"),
        ("a.jsonl", '{"tokens": ["a", " "], "tags": ["O", "B-X"]}', "line 1: word 2: the text must not be empty"),
        ("a.jsonl", '{"tokens": "a b", "tags": ["O", "B-X"]}', "line 1: a list of words must be there"),
        ("a.jsonl", '{"tokens": ["a", "b"], "tags": ["O", null]}', "line 1: the label must be text"),
    ],
)
def test_bad_files_are_refused_by_line(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        load_task(KIND, own=OwnData({"train": tmp_path / name}, kind=KIND)).load("train")


def test_sentences_at_fault_may_be_left_out_whole(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("a O\nb\nc O\n\nd O\ne B-X\n")
    split = load_task(KIND, own=OwnData({"train": path}, kind=KIND), skip_invalid=True).load("train")
    assert split.columns["tokens"] == [["d", "e"]]
    assert split.left_out == ("a.conll line 2: 2 columns must be there, as before, got 1",)


def test_a_split_without_entities_says_nothing(checkpoint, tmp_path):
    path = written(tmp_path, [{"tokens": ["film"], "tags": ["O"]}])
    subject = subject_of(checkpoint, path, labels=TAGS)
    references = subject.batches(subject.task.load("validation")).references
    said = "entity_f1 needs entities, and none of the 1 examples has one"
    assert subject.objective.headline.why_undefined(references) == said


# Commands


METRICS = ["entity_f1", "entity_precision", "entity_recall", "token_accuracy"]


@pytest.fixture
def record(invoke):
    def of(*words):
        result = invoke(*words, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return of


@pytest.mark.slow
def test_the_commands_work_as_they_are(record, model, files, tmp_path):
    of_model = ("--model", model, *files)
    evaluated = record("evaluate", *of_model, "--heads", "1:1")
    assert list(evaluated["metrics"]) == METRICS
    assert record("evaluate", *of_model, "--heads", "1:1", "--objective", KIND)["metrics"] == evaluated["metrics"]
    only = record("evaluate", *of_model, "--heads", "1:1", "--metric", "token_accuracy")
    assert only["metrics"] == {"token_accuracy": evaluated["metrics"]["token_accuracy"]}
    assert record("score", *of_model, "--output", tmp_path / "scores")["n_examples"] == 14
    ablated = record("ablate", *of_model, "--output", tmp_path / "ablations")["tables"][0]
    assert ablated["metric"] == "entity_f1"
    assert ablated["value"][0][0] == evaluated["metrics"]["entity_f1"]
    assert record("curve", *of_model, "--steps", "2")["headline"] == "entity_f1"
    assert len(record("correlate", tmp_path / "scores", tmp_path / "ablations")["correlations"]) == 3
    output = ("--output", tmp_path / "run")
    ran = record("run", *of_model, "--heads", "1:1", "--mode", "remove", "--save-checkpoint", *output)
    assert {row["metric"]: row["pruned"] for row in ran["rows"]} == pytest.approx(evaluated["metrics"])
    again = record("evaluate", "--model", tmp_path / "run" / "checkpoint", *files)
    assert again["metrics"] == pytest.approx(evaluated["metrics"])


@pytest.mark.slow
def test_the_commands_on_a_model_alone_take_the_head_that_it_has(record, model, files, tmp_path):
    assert record("info", model)["n_heads"] == 12
    record("prune", "--model", model, "--heads", "1:1", "--output", tmp_path / "pruned")
    pruned = record("evaluate", "--model", tmp_path / "pruned" / "checkpoint", *files)["metrics"]
    assert pruned == pytest.approx(record("evaluate", "--model", model, *files, "--heads", "1:1")["metrics"])
    exported = record("export", model, "--heads", "1:2", "--to", "dense", "--output", tmp_path / "dense")
    assert exported["largest_difference"] < 1e-5
    short = ("--runs", "6", "--batch-sizes", "2", "--length", "8")
    assert record("bench", "--model", model, *files, "--heads", "1:1", *short)["rows"]


def test_multiply_adds_are_those_that_torch_counts(checkpoint):
    ids = torch.arange(5, 21)[None]
    model = copy.deepcopy(checkpoint.model)
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids)
    assert 2 * budget(model, "", 16)["multiply_adds"]["before"]["total"] == counter.get_total_flops()


def test_fine_tuning_makes_the_head(record, files, tmp_path):
    start = save_tagger(tmp_path / "start", ("O", "B-ORG"))
    tuned = record("finetune", "--model", start, *files, "--epochs", "1", "--output", tmp_path / "tuned")
    assert list(tuned["metrics"]["validation"]) == METRICS
    assert tuned["drawn"] == ["classifier.bias", "classifier.weight"]
    assert tagger_of(tmp_path / "tuned").model.config.id2label == dict(enumerate(sorted(TAGS)))
    again = record("evaluate", "--model", tmp_path / "tuned", *files)
    assert again["metrics"] == pytest.approx(tuned["metrics"]["validation"])
    more = ("--epochs", "1", "--distill-from", tmp_path / "tuned", "--output", tmp_path / "taught")
    taught = record("finetune", "--model", start, *files, *more)
    assert taught["teacher"]["fingerprint"] == tuned["finetuned"]
    assert taught["distilled"]["weights"]["hidden"] == 1


def test_words_are_for_their_own_heads(invoke, model, files, checkpoint):
    wrong = invoke("evaluate", "--model", model, "--train-file", files[3], "--validation-file", files[5])
    assert wrong.exit_code == 1
    other = invoke("evaluate", "--model", model, *files, "--objective", "regression")
    assert other.exit_code == 1
    assert "the objective must be one of token-classification, got regression" in other.output.replace("\n", " ")
    with pytest.raises(TaskError, match="the metric must be one of entity_f1, token_accuracy"):
        Evaluator(checkpoint.model, rows_of(sentences(3)), tokenizer=checkpoint.tokenizer, metric="accuracy")


# The Evaluator


def test_the_evaluator_takes_rows_and_data_sets(model, checkpoint):
    made = sentences(9, 3)
    names = list(reversed(TAGS))
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner": datasets.List(datasets.ClassLabel(names=names))}
    )
    numbered = [{"tokens": words, "ner": [names.index(tag) for tag in tags]} for words, tags in made]
    ways = [
        Evaluator(checkpoint.model, rows_of(made), tokenizer=checkpoint.tokenizer),
        Evaluator(
            checkpoint.model,
            datasets.Dataset.from_list(numbered, features=features),
            tokenizer=checkpoint.tokenizer,
            columns={"label": "ner"},
        ),
        Evaluator(str(model), rows_of(made)),
        Evaluator(str(model), rows_of([(words, [TAGS.index(tag) for tag in tags]) for words, tags in made])),
    ]
    found = [each.evaluate("1:1").to_json()["metrics"] for each in ways]
    assert all(each == found[0] for each in found)
    true, pred = [tags for _, tags in made], [predicted(checkpoint, words) for words, _ in made]
    whole = ways[0].evaluate()
    assert whole.metrics["entity_f1"] == pytest.approx(f1_score(true, pred))
    assert ways[0].score("gradient").values[0].shape == (4,)
    assert ways[0].ablate().metric == "entity_f1"
    with pytest.raises(DataError, match="example 1: word 1: the label must be one of O, B-PER"):
        Evaluator(str(model), [{"tokens": ["film"], "tags": ["B-ORG"]}])
    with pytest.raises(DataError, match="the column tokens must be there once"):
        Evaluator(str(model), [{"text": "film", "tags": ["O"]}])


def test_what_is_kept_is_read_again(checkpoint, own_store, monkeypatch):
    def made():
        tokenizer = checkpoint.tokenizer
        return Evaluator(checkpoint.model, rows_of(sentences(5)), tokenizer=tokenizer, store=own_store)

    before = made().evaluate("1:1").metrics
    monkeypatch.setattr("prune_heads.predictions.predict", None)
    assert made().evaluate("1:1").metrics == before
    with pytest.raises(TypeError):
        made().evaluate("1:2")
