"""Learning from another model: distances and their gradients by hand, the labels' order, and who may teach."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from loading import load_classifier
from torch.nn import functional

from prune_heads.checkpoints import fingerprint
from prune_heads.errors import OptionError, UnfitError
from prune_heads.evaluation import Subject
from prune_heads.objectives.batches import IGNORED
from prune_heads.options import Recipe, Setup
from prune_heads.progress import Reporter
from prune_heads.studies.distilling import WEIGHTS, Teacher, apart, hidden_error
from prune_heads.studies.finetuning import finetune
from prune_heads.tasks.task import load_task

SETUP = Setup("mini", "mini-sentiment", max_examples=64)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.fixture
def logits():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(5, 3, generator=generator, dtype=torch.float64, requires_grad=i == 0) for i in range(2)]


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_distance_and_gradient_of_answers_by_hand(logits, temperature):
    """T^2 KL, whose gradient is T (softmax(s / T) - softmax(t / T))."""
    ours, theirs = logits
    found = apart(ours, theirs, "single_label_classification", temperature)
    p, q = (softmax(each.detach().numpy() / temperature) for each in (theirs, ours))
    np.testing.assert_allclose(found.detach().numpy(), temperature**2 * (p * np.log(p / q)).sum(axis=1), atol=1e-12)
    (gradient,) = torch.autograd.grad(found.sum(), ours)
    np.testing.assert_allclose(gradient.numpy(), temperature * (q - p), atol=1e-12)


def test_labels_that_are_there_or_not_are_classes_of_two(logits):
    ours, theirs = logits
    pairs = [torch.stack([each, torch.zeros_like(each)], dim=-1) for each in logits]
    each = apart(*pairs, "single_label_classification", 2.0)
    torch.testing.assert_close(apart(ours, theirs, "multi_label_classification", 2.0), each.mean(dim=1))
    score = apart(ours[:, :1], theirs[:, :1], "regression", 2.0)
    torch.testing.assert_close(score, (ours[:, 0] - theirs[:, 0]) ** 2)


def test_hidden_states_are_compared_where_there_are_tokens():
    generator = torch.Generator().manual_seed(1)
    states = [[torch.randn(2, 3, 4, generator=generator) for _ in range(2)] for _ in range(2)]
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    shares = []
    for ours, theirs in states:
        a, b = (each[mask.bool()].numpy() for each in (ours, theirs))
        shares.append(((a - b) ** 2).sum() / (b**2).sum())
    ours = states[0][0].requires_grad_()
    found = hidden_error([tuple(pair) for pair in states], mask)
    assert float(found.detach()) == pytest.approx(np.mean(shares), rel=1e-5)
    (gradient,) = torch.autograd.grad(found, ours)
    assert not gradient[0, 2].any()
    assert gradient[0, 1].any()


def subject(classifier):
    return Subject.of(classifier, load_task("mini-sentiment"))


def turned(classifier):
    """The same classifier with its outputs the other way round."""
    model = copy.deepcopy(classifier.model)
    for weight in model.classifier.parameters():
        weight.data = weight.data.flip(0)
    model.config.id2label, model.config.label2id = {0: "Positive", 1: "negative"}, {"Positive": 0, "negative": 1}
    return classifier._replace(model=model)


def test_a_teacher_with_labels_in_another_order_says_the_same():
    pupil = subject(start := load_classifier("mini", task="mini-sentiment"))
    split = pupil.task.load("train", 32)
    teacher = Teacher(subject(turned(start)), pupil, split, 2.0)
    assert teacher.shows_hidden
    batch = pupil.batches(split).batch(np.arange(4))
    given = {**batch.inputs, "labels": batch.targets}
    with torch.no_grad():
        outputs = pupil.model(**given, output_hidden_states=True)
    assert float(teacher.loss(outputs.loss, outputs, given)) == pytest.approx(0.5 * float(outputs.loss), abs=1e-6)
    outputs.logits = outputs.logits.flip(1)
    more = float(teacher.loss(outputs.loss, outputs, given)) - 0.5 * float(outputs.loss)
    wanted = functional.kl_div(
        *(each.log_softmax(1) for each in (outputs.logits / 2, outputs.logits.flip(1) / 2)),
        reduction="batchmean",
        log_target=True,
    )
    assert more == pytest.approx(WEIGHTS["answers"] * 4 * float(wanted), rel=1e-4)


def test_hidden_states_of_other_shapes_are_left_out_and_words_without_a_label():
    pupil = subject(start := load_classifier("mini", task="mini-sentiment"))
    shorter = copy.deepcopy(start.model)
    shorter.bert.encoder.layer = shorter.bert.encoder.layer[:2]
    teacher = Teacher(subject(start._replace(model=shorter)), pupil, pupil.task.load("train", 32), 2.0)
    assert teacher.about() == {"temperature": 2.0, "weights": {"labels": 0.5, "answers": 0.5, "hidden": 0.0}}

    class Words:
        """Of two words each, the second without a label."""

        def __init__(self, logits):
            self.logits = logits

    teacher.order, labels = [0, 1], torch.tensor([[0, IGNORED], [1, IGNORED]])
    teacher.subject = replace(
        teacher.subject, classifier=start._replace(model=lambda **given: Words(torch.zeros(2, 2, 2)))
    )
    said = torch.tensor([[[1.0, 0.0], [50.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
    one = apart(said[:1, 0], torch.zeros(1, 2), "single_label_classification", 2.0)
    found = teacher.loss(torch.tensor(0.0), Words(said), {"labels": labels})
    assert float(found.detach()) == pytest.approx(0.5 * float(one), rel=1e-5)


def test_what_is_distilled_is_recorded_and_the_teacher_stays(tmp_path):
    recipe = Recipe(epochs=1, learning_rate=1e-3, distill_from="mini", temperature=3.0)
    _, record = finetune(SETUP, recipe, tmp_path, Reporter())
    assert record["teacher"] == record["model"]
    assert record["distilled"] == {"temperature": 3.0, "weights": WEIGHTS}
    assert record["configuration"]["temperature"] == 3.0
    _, other = finetune(SETUP, replace(recipe, distill_from=None, temperature=None), tmp_path / "plain", Reporter())
    assert other["finetuned"] != record["finetuned"]
    assert not {"teacher", "distilled", "heads_pruned", "held_out"} & other.keys()
    assert fingerprint(load_classifier("mini", task="mini-sentiment").model) == record["teacher"]["fingerprint"]


def test_who_cannot_teach_is_refused(checkpoint, tmp_path):
    with pytest.raises(UnfitError, match="must name a model that reads texts as mini does; tiny has another tokenizer"):
        finetune(SETUP, Recipe(epochs=1, distill_from=str(checkpoint)), tmp_path, Reporter())
    for words, said in (
        ({"temperature": 3.0}, "--temperature belongs to --distill-from"),
        ({"schedule": "v"}, "--schedule belongs to --head-dropout"),
    ):
        with pytest.raises(OptionError, match=said):
            Recipe.of(words)
