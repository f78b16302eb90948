"""Question answering: its numbers against SQuAD's script, a search over all spans, and transformers' own loss."""

import itertools
import json
import re
import string
from collections import Counter
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import WORDS, tiny_tokenizer
from tiny_questions import TASK, answering, as_squad, questions, save_answering, write_questions
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertForQuestionAnswering

from prune_heads import Evaluator
from prune_heads.budget import budget
from prune_heads.errors import CheckpointError, DataError
from prune_heads.evaluation import predict
from prune_heads.objectives.question_answering import QuestionAnswering, exact_and_f1, right_answers
from prune_heads.objectives.texts import LONGEST_ANSWER
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

LONG = "we saw the red cat and the very good dog and it was not a dull film and the dog sleeps"
SOME = {"question": "it was ?", "context": LONG, "answers": {"text": ["the red cat"], "answer_start": [7]}}


def official(answer: str, right: list[str]) -> tuple[float, float]:
    """SQuAD 2.0's `evaluate-v2.0.py`, written down again as it is."""

    def normalize_answer(s):
        s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
        return " ".join(re.compile(r"\b(a|an|the)\b", re.UNICODE).sub(" ", s).split())

    def compute_f1(a_gold, a_pred):
        gold, pred = normalize_answer(a_gold).split(), normalize_answer(a_pred).split()
        same = sum((Counter(gold) & Counter(pred)).values())
        if len(gold) == 0 or len(pred) == 0:
            return int(gold == pred)
        if same == 0:
            return 0
        precision, recall = same / len(pred), same / len(gold)
        return (2 * precision * recall) / (precision + recall)

    golds = [gold for gold in right if normalize_answer(gold)] or [""]
    exact = max(int(normalize_answer(gold) == normalize_answer(answer)) for gold in golds)
    return exact, max(compute_f1(gold, answer) for gold in golds)


@pytest.mark.parametrize(
    ("answer", "right", "exact", "f1"),
    [
        ("The  Red cat!", ["red cat"], 1, 1),
        ("red", ["the red cat", "dull red dog film"], 0, 2 / 3),  # the better of 2/3 and 2/5
        ("red red cat", ["red cat cat"], 0, 2 / 3),  # two of three words, as bags
        ("dog", ["cat"], 0, 0),
        ("", [], 1, 1),
        ("dog", [], 0, 0),
        ("the", ["a"], 1, 1),  # neither has a word
        ("", ["cat"], 0, 0),
    ],
)
def test_exact_match_and_f1_by_hand(answer, right, exact, f1):
    assert exact_and_f1(answer, right_answers(right)) == (exact, pytest.approx(f1))
    assert official(answer, right) == (exact, pytest.approx(f1))


TEXTS = st.text(st.sampled_from("aA theNn.,-' ßé\t1"), max_size=12)


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_exact_match_and_f1_are_those_of_the_official_script(answer, right):
    assert exact_and_f1(answer, right_answers(right)) == pytest.approx(official(answer, right))


def found_by_search(model, batches, row, no_answers):
    """What is predicted of a question and the log-likelihood of its first answer, from each window on its own."""
    tokenizer = tiny_tokenizer()
    n_max = 24
    encoded = tokenizer(
        row["question"],
        row["context"],
        truncation="only_second",
        max_length=n_max,
        stride=n_max // 3,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    spans, nones, likelihoods = [], [], []
    for i, ids in enumerate(encoded["input_ids"]):
        inputs = {name: torch.tensor([encoded[name][i]]) for name in tokenizer.model_input_names}
        with torch.no_grad():
            out = model(**inputs)
        starts, ends = out.start_logits[0].double(), out.end_logits[0].double()
        offsets, of = encoded["offset_mapping"][i], encoded.sequence_ids(i)
        inside = [t for t in range(len(ids)) if of[t] == 1]
        spans += [
            (float(starts[a] + ends[b]), row["context"][offsets[a][0] : offsets[b][1]])
            for a in inside
            for b in inside
            if a <= b < a + LONGEST_ANSWER
        ]
        nones.append(float(starts[0] + ends[0]))
        if row["answers"]["text"]:
            begin = row["answers"]["answer_start"][0]
            end = begin + len(row["answers"]["text"][0])
            places = ([t for t in inside if offsets[t][0] == begin], [t for t in inside if offsets[t][1] == end])
        else:
            places = ([0], [0])
        if all(places):
            with torch.no_grad():
                whole = model(**inputs, start_positions=torch.tensor(places[0]), end_positions=torch.tensor(places[1]))
            likelihoods.append(-2 * float(whole.loss))  # transformers takes the mean of start and end
    score, answer = max(spans, key=lambda each: each[0])
    return "" if no_answers and min(nones) > score else answer, np.mean(likelihoods)


@pytest.mark.parametrize("no_answers", [False, True])
def test_what_is_kept_is_what_a_search_finds(no_answers, tmp_path):
    rows = questions(15, seed=3, no_answers=no_answers)
    subject = answering(tmp_path, rows)
    batches = subject.batches(subject.task.load("validation"))
    assert max(np.diff(batches.rows)) > 2  # several windows
    kept = predict(subject.model, batches)
    for row, (exact, f1, likelihood) in zip(rows, kept, strict=True):
        answer, wanted = found_by_search(subject.model, batches, row, no_answers)
        assert (exact, f1) == pytest.approx(official(answer, row["answers"]["text"]))
        assert likelihood == pytest.approx(wanted, rel=1e-4)
    metrics = subject.objective.metrics(kept, batches.references)
    assert metrics == pytest.approx({"exact_match": kept[:, 0].mean(), "f1": kept[:, 1].mean()})
    assert batches.references.tolist() == [len(row["answers"]["text"]) > 0 for row in rows]


def test_a_model_may_say_that_there_is_no_answer_only_where_questions_have_none(tmp_path):
    subject = answering(tmp_path, questions(6, no_answers=True))
    batches = subject.batches(subject.task.load("validation"))
    batch = batches.batch(np.arange(6))
    with torch.no_grad():
        outputs = subject.model(**batch.inputs)
    for logits in (outputs.start_logits, outputs.end_logits):
        logits[:, 0] = 1e3
    kept = batches.objective.read(outputs, batch).numpy()
    assert kept[:, 0].tolist() == [float(not has) for has in batches.references]
    spans = replace(batches.objective, may_be_none=False).read(outputs, batch).numpy()
    assert spans[:, 0].tolist()[0] == 0  # a span, though there is no answer
    assert batches.objective.settings(subject.model) != subject.objective.settings(subject.model)


@pytest.mark.parametrize("stride", [0, 5])
def test_windows_cover_the_context_and_share_the_stride(stride, tmp_path):
    subject = answering(tmp_path, [SOME], doc_stride=stride)
    (offsets,) = subject.tokens(subject.task.load("validation")).beside["windows"]
    windows = [each[each[:, 0] >= 0] for each in offsets]  # the tokens of the context
    assert windows[0][0].tolist() == [0, 2]
    assert windows[-1][-1].tolist() == [len(LONG) - 6, len(LONG)]
    for one, other in itertools.pairwise(windows):
        assert one[len(one) - stride :].tolist() == other[:stride].tolist()
    whole = replace(subject, max_length=64)
    assert whole.tokens(whole.task.load("validation")).rows.tolist() == [0, 1]


def test_an_answer_longer_than_what_windows_share_is_asked_by_its_ends(tmp_path):
    answer = LONG.removeprefix("we saw ").removesuffix(" dog sleeps")
    row = {**SOME, "answers": {"text": [answer], "answer_start": [7]}}
    subject = answering(tmp_path, [row], max_length=16, doc_stride=2)
    batches = subject.batches(subject.task.load("validation"))
    assert np.isfinite(predict(subject.model, batches)).all()


def test_all_files_hold_the_same(tmp_path):
    for no_answers, version in ((False, "1.1"), (True, "v2.0")):
        rows = questions(9, no_answers=no_answers)
        squad = tmp_path / f"{version}.json"
        squad.write_text(json.dumps(as_squad(rows, version)))
        listed = [
            {
                **row,
                "answers": [
                    {"text": text, "answer_start": start}
                    for text, start in zip(row["answers"]["text"], row["answers"]["answer_start"], strict=True)
                ],
            }
            for row in rows
        ]
        parquet = tmp_path / "rows.parquet"
        datasets.Dataset.from_list(rows).to_parquet(parquet)
        (tmp_path / "rows.json").write_text(json.dumps(rows))
        files = [
            squad,
            write_questions(tmp_path / "rows.jsonl", rows),
            write_questions(tmp_path / "listed.jsonl", listed),
            tmp_path / "rows.json",
            parquet,
        ]
        tasks = [load_task(TASK, own=OwnData({"validation": file}, kind=TASK)) for file in files]
        assert len({task.load("validation").fingerprint for task in tasks}) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answers": {"text": ["cat"], "answer_start": [0]}}, "'cat' must be at 0, got 'we '"),
        ({"answers": {"text": ["cat"], "answer_start": [500]}}, "'cat' must be at 500, got ''"),
        ({"answers": {"text": ["cat"], "answer_start": [-3]}}, "the answers must be"),
        ({"answers": {"text": ["cat"], "answer_start": []}}, "the answers must be"),
        ({"answers": "cat"}, "the answers must be"),
        ({"answers": None}, "the answers must be"),
        ({"answers": [{"text": "cat"}]}, "the answers must be"),
        ({"answers": {"text": [""], "answer_start": [0]}}, "the text must not be empty"),
        ({"context": " "}, "the text must not be empty"),
        ({"question": 3}, "the text must be text"),
    ],
)
def test_a_row_at_fault_is_named(change, said, tmp_path):
    file = write_questions(tmp_path / "rows.jsonl", [SOME, {**SOME, **change}])
    task = load_task(TASK, own=OwnData({"validation": file}, kind=TASK))
    with pytest.raises(DataError, match=r"rows\.jsonl line 2: ") as refused:
        task.load("validation")
    assert said in str(refused.value)
    left = load_task(TASK, own=OwnData({"validation": file}, kind=TASK), skip_invalid=True).load("validation")
    assert (len(left), len(left.left_out)) == (1, 1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"version": "1.1", "data": [{"title": "x"}]}', "it must be SQuAD's JSON"),
        ('{"version": "1.1", "data": [{"paragraphs": [{"qas": [3]}]}]}', "it must be SQuAD's JSON"),
        ('{"data": []}', "at least one example must be there"),
        ('{"data": ', "the file cannot be read"),
        ('[{"question": "?", "context": "a"}]', "the column answers must be there once"),
    ],
)
def test_a_file_at_fault_is_named(content, said, tmp_path):
    (tmp_path / "dev.json").write_text(content)
    task = load_task(TASK, own=OwnData({"validation": tmp_path / "dev.json"}, kind=TASK))
    with pytest.raises(DataError, match=re.escape(said)):
        task.load("validation")


def test_a_question_that_leaves_no_room_is_named(tmp_path):
    subject = answering(tmp_path, [SOME, {**SOME, "question": " ".join(WORDS)}], max_length=16)
    with pytest.raises(DataError, match=r"example 2 of validation: the question must leave room for the context in 16"):
        subject.tokens(subject.task.load("validation"))


def test_a_tokenizer_must_say_where_its_tokens_are(tmp_path):
    subject = answering(tmp_path, [SOME])
    slow = subject.classifier._replace(tokenizer=object())
    with pytest.raises(CheckpointError, match="must say where its tokens stand"):
        QuestionAnswering.bind(slow, subject.task.spec)


def test_rows_in_memory_give_the_numbers_of_a_file(tmp_path):
    rows = questions(8)
    subject = answering(tmp_path, rows)
    kept = predict(subject.model, batches := subject.batches(subject.task.load("validation")))
    wanted = subject.objective.metrics(kept, batches.references)
    model = BertForQuestionAnswering.from_pretrained(tmp_path / "model")
    renamed = [{**row, "passage": row["context"]} for row in rows]
    for data, columns in ((rows, None), (datasets.Dataset.from_list(renamed), {"context": "passage"})):
        ev = Evaluator(model, data, tokenizer=tiny_tokenizer(), max_length=24, columns=columns)
        assert ev.evaluate().metrics == pytest.approx(wanted)
        assert ev.score("gradient").values


@pytest.fixture(scope="module")
def on(tmp_path_factory):
    """Words that name the model and its questions, SQuAD 2.0's as they are."""
    folder = tmp_path_factory.mktemp("questions")
    train = write_questions(folder / "train.jsonl", questions(12, 1))
    dev = folder / "dev.json"
    dev.write_text(json.dumps(as_squad(questions(12, 2, no_answers=True), "v2.0")))
    files = ("--train-file", train, "--validation-file", dev, "--max-length", 24)
    return ("--model", save_answering(folder / "model"), "--task", TASK, *files)


@pytest.mark.slow
def test_scores_ablations_curves_and_runs(on, invoke, tmp_path):
    for words in (
        ("score", *on),
        ("ablate", *on),
        ("curve", *on, "--criterion", "gradient", "--steps", "2"),
        ("run", *on, "--curve", "--mode", "remove", "--save-checkpoint"),
        ("correlate", tmp_path / "score", tmp_path / "ablate"),
    ):
        done = invoke(*words, "--output", tmp_path / words[0])
        assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["question_answering"] == {"doc_stride": 8, "max_tokens": 24, "longest_answer": LONGEST_ANSWER}
    assert [row["metric"] for row in record["rows"]] == ["exact_match", "f1"]
    again = ("evaluate", "--model", tmp_path / "run" / "checkpoint", *on[2:], "--json")
    found = json.loads(invoke(*again).stdout)["metrics"]
    assert found == pytest.approx({row["metric"]: row["pruned"] for row in record["rows"]})


def test_a_second_call_reads_the_store_and_another_stride_does_not(on, invoke, own_store):
    def stored():
        return sum(path.is_file() for path in own_store.rglob("*"))

    first = invoke("evaluate", *on, "--heads", "1:1", "--json")
    assert stored() == 1
    again = invoke("evaluate", *on, "--heads", "1:1", "--batch-size", "1", "--json")
    assert json.loads(first.stdout) == json.loads(again.stdout)
    assert stored() == 1
    for i, other in enumerate((("--doc-stride", "2"), ("--max-length", "64")), 2):
        assert invoke("evaluate", *on, "--heads", "1:1", *other).exit_code == 0
        assert stored() == i


@pytest.mark.parametrize("to", ["dense", pytest.param("onnx", marks=pytest.mark.thorough)])
def test_the_model_is_pruned_and_exported_as_itself(to, on, invoke, tmp_path):
    """Without a task: the checkpoint names its head."""
    done = invoke("prune", *on[:2], "--heads", "1:1,2", "--mode", "remove", "--output", tmp_path / "pruned")
    assert done.exit_code == 0, done.output
    pruned = tmp_path / "pruned" / "checkpoint"
    done = invoke("export", pruned, "--heads", "2:1", "--to", to, "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert invoke("info", pruned).exit_code == 0
    if to == "dense":
        outputs = BertForQuestionAnswering.from_pretrained(tmp_path / "out")(input_ids=torch.tensor([[2, 6, 3]]))
    else:
        from prune_heads.checkpoints.onnx import run_onnx

        inputs = tiny_tokenizer()(["we"], ["saw it"], return_tensors="pt")
        ((start, end),) = run_onnx(tmp_path / "out", [dict(inputs)])
        assert start.shape == end.shape == (1, inputs["input_ids"].shape[1])
        return
    assert outputs.start_logits.shape == outputs.end_logits.shape == (1, 3)


def test_multiply_adds_are_those_that_torch_counts(on):
    """The head works on every token."""
    model = BertForQuestionAnswering.from_pretrained(on[1], attn_implementation="eager").eval()
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        model(input_ids=torch.arange(5, 12)[None])
    assert counted.get_total_flops() == 2 * budget(model, "", 7)["multiply_adds"]["before"]["total"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("finetune", "--output", "out"), "a kind of task that it can train, which question-answering is not yet"),
        (("evaluate", "--objective", "causal-lm"), "the objective must be one of question-answering, got causal-lm"),
        (("evaluate", "--metric", "f1"), "--metric must not be given beside --task question-answering"),
        (("evaluate", "--beams", "2"), "--beams must be given for translation only"),
        (("evaluate", "--text-column", "question"), "text columns must be 2 in number, got 1"),
        (("evaluate", "--text-column", "asked", "--text-column", "context"), "the column asked must be there once"),
        (("evaluate", "--label-column", "right"), "the column right must be there once"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(words, said, on, invoke):
    done = invoke(words[0], *on, *words[1:])
    assert done.exit_code in (1, 2)
    assert done.stdout == ""
    assert said in done.stderr.splitlines()[-1]


def test_models_and_tasks_of_other_kinds_are_refused(on, checkpoint, invoke):
    done = invoke("evaluate", "--model", checkpoint, *on[2:])
    assert "a checkpoint must have a trained question answering head" in done.stderr
    done = invoke("evaluate", *on[:2], "--task", "mini-inference")
    assert "BertForQuestionAnswering" in done.stderr
    done = invoke("evaluate", "--task", "mini-inference", "--doc-stride", "2")
    assert "--doc-stride must be given for question-answering only" in done.stderr
    done = invoke("evaluate", *on[:2], "--task", TASK)
    assert "needs texts of your own" in done.stderr
