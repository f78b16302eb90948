"""Every criterion of the table, by property: a new row is tested by being there. And each by an oracle of its own."""

import copy
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import criteria_page
import numpy as np
import pytest
import torch
from tiny_questions import answering, questions
from tiny_texts import text_tokenizer
from tiny_types import SIZES, tiny_model
from torch.autograd.functional import hessian, jacobian
from torch.nn.functional import cross_entropy

from prune_heads.anatomy import attention_blocks, head_counts
from prune_heads.attention import observing
from prune_heads.checkpoints import Checkpoint
from prune_heads.errors import NotFiniteError, UnfitError, UnsupportedModelError
from prune_heads.evaluation import Subject
from prune_heads.gating import gated
from prune_heads.heads import HeadMask, HeadScores
from prune_heads.importance import CRITERIA, Examples, derivatives, gnorm
from prune_heads.importance.derivatives import Curved, flagged
from prune_heads.importance.fisher import rearranged
from prune_heads.importance.gradient import ESTIMATORS, min_max
from prune_heads.objectives.replacing import measure
from prune_heads.objectives.responses import RESPONSES
from prune_heads.options import Scoring, Setup
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore
from prune_heads.studies.scoring import Lab, score
from prune_heads.surgery import remove_heads
from prune_heads.tasks.task import task_of_rows

SMALL = {**SIZES, "width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 8, "inner": 16}
TYPES = ("bert", "llama", "bart")  # an encoder, a decoder with grouped queries, an encoder-decoder
ON_DATA = [name for name, row in CRITERIA.items() if row.needs_data]
BUDGET = {"masks": 80, "updates": 5}  # of criteria that measure masks or learn
WORDS = "the cat saw a very good film and it was not dull we saw red dog runs".split()  # noqa: SIM905
ROWS = [{"text": " ".join(WORDS[i : i + 1 + 3 * i % 7]), "label": i % 2} for i in range(6)]


def small(model_type, **sizes):
    # BART classifies at the tokenizer's [SEP], 3: at [CLS], which is first, its decoder would see one token alone.
    ends = {"eos_token_id": 3} if model_type == "bart" else {}
    return tiny_model(model_type, sizes={**SMALL, **sizes}, num_labels=2, **ends)


def examples_of(model, store, *, rows=ROWS, batch_size=3, **asked):
    checkpoint = Checkpoint(model, text_tokenizer(), "tiny", None)
    task = task_of_rows(rows, checkpoint)
    subject = Subject.of(checkpoint, task, batch_size=batch_size)
    predictions = Predictions(subject, task.load("own"), PredictionStore(store), Reporter())
    return Examples(model, predictions, response="likelihood", **BUDGET, **asked)


@pytest.fixture(scope="module")
def models():
    return {name: small(name) for name in TYPES}


@pytest.fixture(scope="module")
def scored(models, tmp_path_factory):
    """The scores of each criterion on each type, computed when they are asked for."""
    found = {}

    def get(name, model_type):
        if (name, model_type) not in found:
            examples = examples_of(models[model_type], tmp_path_factory.mktemp("s"))
            found[name, model_type] = CRITERIA[name].score(examples), examples
        return found[name, model_type]

    return get


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("name", ON_DATA)
def test_it_is_defined_for_encoders_decoders_and_both(scored, models, name, model_type):
    scores, examples = scored(name, model_type)
    assert scores.n_heads == head_counts(attention_blocks(models[model_type]))
    assert np.isfinite(scores.flat()).all()
    assert len({*scores.flat().round(12)}) > 1
    assert (scores.standard_error is not None) == CRITERIA[name].has_error
    if scores.standard_error:
        assert np.isfinite(np.concatenate(scores.standard_error)).all()
    assert sum(map(sum, examples.spent.values())) > 0


@pytest.mark.parametrize("name", [name for name in ON_DATA if not CRITERIA[name].draws])
def test_batches_padding_and_order_change_nothing(scored, models, own_store, name):
    expected, before = scored(name, "bart")
    examples = examples_of(models["bart"], own_store, rows=ROWS[::-1], batch_size=len(ROWS))
    got = CRITERIA[name].score(examples)
    np.testing.assert_allclose(got.flat(), expected.flat(), rtol=1e-3, atol=1e-6)
    assert sum(map(sum, examples.spent.values())) == sum(map(sum, before.spent.values()))
    if got.standard_error:
        errors = (np.concatenate(each.standard_error) for each in (got, expected))
        np.testing.assert_allclose(*errors, rtol=5e-3, atol=1e-6)


@pytest.mark.parametrize("name", ON_DATA)
def test_heads_that_are_gone_take_no_part(own_store, name):
    """Removed or masked: the others score the same, also beside a layer without heads; and with one head a layer."""
    n_heads = (2, 2, 2)
    gone = HeadMask.parse("1:1 2:1,2", n_heads)
    removed = remove_heads(small("bert", layers=3), gone)
    expected = CRITERIA[name].score(examples_of(removed, own_store / "a"))
    got = CRITERIA[name].score(examples_of(small("bert", layers=3), own_store / "b", masked=gone))
    there = np.concatenate(gone.keep())
    assert expected.gone == got.gone == gone
    assert not expected.flat()[~there].any()
    assert not got.flat()[~there].any()
    if not CRITERIA[name].draws:
        np.testing.assert_allclose(got.flat(), expected.flat(), rtol=1e-3, atol=1e-6)
    rest = HeadMask.parse("1:1,2 2:1,2 3:1", n_heads)
    assert np.isfinite(CRITERIA[name].score(examples_of(removed, own_store / "c", masked=rest)).flat()).all()


@pytest.mark.parametrize("response", ["metric", "likelihood"])
def test_a_model_without_heads_has_no_scores(own_store, response):
    model = remove_heads(small("bert"), HeadMask.all((2, 2)))
    examples = replace(examples_of(model, own_store), response=response)
    for name in ("ablation", "hies", "regression", "shapley", "l0-gates"):
        found = CRITERIA[name].score(examples)
        assert found.gone == HeadMask.all((2, 2)), name
        assert not min_max(found).flat().any(), name


@pytest.mark.parametrize("name", ON_DATA)
def test_nan_is_refused(models, own_store, name):
    broken = copy.deepcopy(models["bert"])
    with torch.no_grad():
        broken.bert.encoder.layer[1].attention.self.query.weight[0, 0] = float("nan")
    examples = examples_of(broken, own_store).predictions
    with pytest.raises(NotFiniteError):
        score(examples.subject, Scoring(name, **BUDGET), examples)


@pytest.mark.parametrize("name", ["relative-norm", "entropy", "row-sums", "attention-attribution"])
def test_windows_of_an_example_belong_together(own_store, tmp_path, name):
    """Long contexts are rows of their own; a question that is batched with others scores as it does alone."""
    subject = answering(tmp_path, questions(3, seed=3))
    both = []
    for size in (1, 3):
        subject = replace(subject, batch_size=size)
        predictions = Predictions(subject, subject.task.load("validation"), PredictionStore(own_store), Reporter())
        both.append(CRITERIA[name].score(Examples(subject.model, predictions)).flat())
        assert (np.diff(predictions.batches.rows) > 1).any()
    np.testing.assert_allclose(*both, rtol=1e-3, atol=1e-6)


# Forward passes: by hand, from the maps that `eager` returns.


def by_hand(model, rows):
    """`(examples, heads, 5)`: norm, its multiple of the layer's mean, and three of maps; an example at a time."""
    model = copy.deepcopy(model).double()
    model.set_attn_implementation("eager")
    found = []
    contexts = []
    for block in attention_blocks(model):
        block.output.module.register_forward_pre_hook(lambda module, args: contexts.append(args[0][0]))
    for row in rows:
        inputs = text_tokenizer()(row["text"], return_tensors="pt")
        contexts.clear()
        with torch.no_grad():
            maps = model(**inputs, output_attentions=True).attentions
        each = []
        for map, context in zip(maps, contexts, strict=True):
            n_heads, n_queries, _ = map[0].shape
            is_causal = not bool(map[0].triu(1).any())
            norms = [context.view(n_queries, n_heads, -1)[:, h].norm(dim=1).mean().item() for h in range(n_heads)]
            for h in range(n_heads):
                kept = []
                for q in range(n_queries):
                    weights = map[0][h, q, : q + 1] if is_causal else map[0][h, q]
                    if len(weights) > 1:
                        bits = -sum(w * np.log(w) for w in weights.tolist() if w > 0)
                        kept.append((1 - bits / np.log(len(weights)), weights.max().item(), 1 - weights[0].item()))
                each.append([norms[h], norms[h] / np.mean(norms), *np.mean(kept, axis=0)])
        found.append(each)
    return np.array(found)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_forward_criteria_are_means_over_queries(scored, models, model_type):
    by_example = by_hand(models[model_type], ROWS)
    names = ("output-norm", "relative-norm", "entropy", "confidence", "first-token")
    for name, expected in zip(names, by_example.transpose(2, 0, 1), strict=True):
        scores, _ = scored(name, model_type)
        np.testing.assert_allclose(scores.flat(), expected.mean(axis=0), rtol=1e-4, atol=1e-5)
        error = expected.std(axis=0, ddof=1) / len(ROWS) ** 0.5
        np.testing.assert_allclose(np.concatenate(scores.standard_error), error, rtol=1e-3, atol=1e-5)


def test_forward_criteria_share_a_pass_and_count_it_each(scored, models, own_store):
    examples = examples_of(models["bert"], own_store)
    names = ("entropy", "relative-norm", "output-norm", "relative-norm", "first-token", "confidence")
    expected = {name: scored(name, "bert")[0].flat() for name in names}
    first = CRITERIA[names[0]].score(examples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(models["bert"]), "forward", None)
        for name in names[1:]:  # whatever was scored before
            again = replace(examples, spent={})
            assert np.array_equal(CRITERIA[name].score(again).flat(), expected[name])
            assert list(again.spent.values()) == [(1, 0)]
    assert np.array_equal(first.flat(), expected["entropy"])
    assert replace(examples, masked=HeadMask.parse("1:1", (2, 2))).once("forward", lambda: "anew") == "anew"


def test_a_map_that_cannot_be_looked_at_is_named(models, own_store, monkeypatch):
    name = attention_blocks(models["bert"])[1].name
    monkeypatch.setattr("prune_heads.attention.reading.unproved_maps", lambda *asked: {name: f"{name} has a sink"})
    examples = examples_of(models["bert"], own_store)
    with pytest.raises(UnsupportedModelError, match=f"^{name} has a sink. Take a criterion by gradients, or output"):
        CRITERIA["entropy"].score(examples)
    assert CRITERIA["output-norm"].score(examples).flat().all()


def test_hies_is_half_gradient_and_half_concentration(scored):
    gradient, entropy = (scored(name, "bert")[0] for name in ("gradient", "entropy"))
    expected = (min_max(gradient).flat() + min_max(entropy).flat()) / 2
    np.testing.assert_allclose(scored("hies", "bert")[0].flat(), expected)
    concentrated = int(entropy.flat().argmax())  # low entropy is kept
    assert scored("hies", "bert")[0].flat()[concentrated] >= 0.5


# Derivatives.


def losses_by_gates(model, examples):
    """The mean loss of the examples as a function of all gates in a row, in float64, an example at a time."""
    model = copy.deepcopy(model).double()
    model.set_attn_implementation("eager")
    sizes = [block.n_heads for block in attention_blocks(model)]

    def mean(gates):
        losses = []
        for i in range(len(ROWS)):
            batch = examples.batches.batch(np.array([i]))
            with gated(model, gates.split(sizes)):
                losses.append(cross_entropy(model(**batch.inputs).logits, batch.targets))
        return torch.stack(losses).mean()

    return mean, sum(sizes)


@pytest.mark.parametrize("model_type", TYPES)
def test_integrated_gradients_add_up_to_the_loss_of_all_heads(scored, models, model_type):
    scores, examples = scored("integrated-gradients", model_type)
    loss, n = losses_by_gates(models[model_type], examples)
    with torch.no_grad():
        gain = loss(torch.zeros(n)) - loss(torch.ones(n))
    assert scores.flat().sum() == pytest.approx(gain.item(), rel=1e-3)


def test_integrated_gradients_add_up_towards_what_stands_in(models, own_store):
    examples = examples_of(models["bert"], own_store)
    means = measure(models["bert"], examples.batches, "mean")
    examples.predictions.batches = replace(examples.batches, replacement=means)
    batch = examples.batches.batch(np.arange(len(ROWS)))
    losses = []
    for gate in (0.0, 1.0):
        with torch.no_grad(), gated(models["bert"], [torch.full((2,), gate)] * 2, [m.float() for m in means.means]):
            losses.append(examples.objective.losses(models["bert"](**batch.inputs), batch).mean().item())
    scores = CRITERIA["integrated-gradients"].score(examples)
    assert scores.flat().sum() == pytest.approx(losses[0] - losses[1], rel=1e-3)


@pytest.mark.parametrize("model_type", TYPES)
def test_second_derivatives_are_those_of_autograd(scored, models, model_type):
    scores, examples = scored("second-order", model_type)
    loss, n = losses_by_gates(models[model_type], examples)
    ones = torch.ones(n, dtype=torch.float64)
    slope, bent = jacobian(loss, ones), hessian(loss, ones)
    np.testing.assert_allclose(scores.flat(), bent.diag() / 2 - slope, rtol=1e-3, atol=1e-5)
    sums, _ = scored("row-sums", model_type)
    np.testing.assert_allclose(sums.flat(), bent.sum(dim=1) / 2 - slope, rtol=1e-3, atol=1e-5)
    taylor = bent.sum() / 2 - slope.sum()
    assert sums.flat().sum() == pytest.approx(taylor.item(), rel=1e-3)
    first = HeadScores.from_flat(-slope, scores.n_heads).flat()
    signed = ESTIMATORS["signed"].score(examples.gradients, 1).flat()
    np.testing.assert_allclose(signed, first, rtol=1e-3, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.real
def test_a_fine_tuned_model_is_described_to_the_second_order(shared):
    """By ablation: single heads, and by the path all of them together."""
    setup = Setup(str(shared / "models/minilm-sst2"), "sst2", data_dir=shared / "glue/SST-2", max_examples=8)
    lab = Lab(setup, Reporter())
    predictions = lab.examples(Scoring(score_examples=8))
    asked = Examples(lab.subject.model, predictions, response="likelihood")
    exact, second = (CRITERIA[name].score(asked).flat() for name in ("ablation", "second-order"))
    assert np.corrcoef(exact, second)[0, 1] > 0.97
    whole, none = asked.responses([predictions.gone, HeadMask.all(lab.subject.n_heads)]).mean(axis=0)
    assert CRITERIA["integrated-gradients"].score(asked).flat().sum() == pytest.approx(whole - none, rel=1e-3)


def test_screening_measures_the_flagged_heads_alone(scored, models, own_store, monkeypatch):
    found = Curved(np.array([[1.0, -0.2, 0.1]] * 2), np.array([[1.9, 0.4, 0.1], [1.9, 0.4, 0.0]]))
    assert flagged(found).tolist() == [False, True, False]
    examples = examples_of(models["bert"], own_store)
    chosen = np.array([True, False, False, True])
    monkeypatch.setattr(derivatives, "flagged", lambda found: chosen)
    got = CRITERIA["screened"].score(examples).flat()
    second, exact = (scored(name, "bert")[0].flat() for name in ("second-order", "ablation"))
    np.testing.assert_allclose(got, np.where(chosen, exact, second), rtol=1e-4, atol=1e-6)
    assert not np.allclose(second, exact, rtol=1e-3)
    assert sum(f for f, _ in examples.spent.values()) == (1 + 4) + (1 + 2)  # the products; no head, and two heads


def test_written_texts_are_not_screened():
    objective = SimpleNamespace(generates=True, name="translation", response=RESPONSES["sentence-bleu"])
    with pytest.raises(
        UnfitError, match=r"minus the loss.* that of translation is the sentence BLEU\. Take second-order"
    ):
        derivatives.screened(SimpleNamespace(objective=objective))


def test_the_gate_gradient_is_taylor_by_the_weights_of_the_output(scored, models):
    """Sum over a head's block of W_O of w dL/dw: so Taylor by weights is no criterion of its own."""
    _, examples = scored("gradient", "llama")
    model = copy.deepcopy(models["llama"])
    batch = examples.batches.batch(np.arange(len(ROWS)))
    examples.objective.losses(model(**batch.inputs), batch).mean().backward()
    by_weights = [
        (block.output.weight[:, dims] * block.output.module.weight.grad[:, dims]).sum().item()
        for block in attention_blocks(model)
        for dims in map(list, block.output.heads)
    ]
    np.testing.assert_allclose(by_weights, examples.gradients.signed.mean(axis=0), rtol=1e-3, atol=1e-6)


def test_gradients_of_batches_are_summed_in_float32(own_store, monkeypatch):
    """A sum in bfloat16 would forget what small batches add: by 1% of these."""
    model, real, products = small("llama", layers=1, heads=2, kv_heads=2).bfloat16(), gnorm._norms, []

    def norms(*given):
        products.append(np.prod(found := real(*given), axis=0))
        return found

    monkeypatch.setattr(gnorm, "_norms", norms)
    for size in (1, 48):
        CRITERIA["gnorm"].score(examples_of(model, own_store, rows=ROWS * 8, batch_size=size))
    np.testing.assert_allclose(*products, rtol=5e-3)


# The mask search of Kwon et al.


def cost(gradients, heads):
    return np.square(gradients[:, sorted(heads)].sum(axis=1)).mean()


def searched(gradients, n):
    """Their rearrangement from its definition, by sums of vectors."""
    order = sorted(range(gradients.shape[1]), key=lambda head: cost(gradients, [head]))
    pruned = order[:n]
    for head in order[n:]:
        every = [*pruned, head]
        pruned = min((sorted({*every} - {leaves}) for leaves in every), key=lambda heads: cost(gradients, heads))
    return set(pruned) if n else set()


def test_a_layer_is_rearranged_by_the_quadratic_form():
    rng, n_best = np.random.default_rng(0), 0
    for _ in range(40):
        gradients = rng.normal(size=(9, 5)) @ rng.normal(size=(5, 5))
        fisher = gradients.T @ gradients / len(gradients)
        for n in range(6):
            got = set(rearranged(fisher, n))
            assert len(got) == n
            assert got == searched(gradients, n)
            lowest = np.argsort(np.diag(fisher))[:n]
            assert cost(gradients, got) <= cost(gradients, lowest) + 1e-9
            best = min((cost(gradients, heads) for heads in combinations(range(5), n)), default=0)
            n_best += cost(gradients, got) <= best + 1e-9
    assert n_best > 0.8 * 40 * 6
    both = np.array([[1.0, 1.0, -1.0, 0.5]] * 3)  # the second and third cancel each other
    assert sorted(rearranged(both.T @ both / 3, 2)) in ([0, 2], [1, 2])


def test_a_head_scores_how_often_the_searched_mask_keeps_it(scored):
    scores, examples = scored("fisher-search", "bart")
    gradients = examples.gradients.signed.astype(float)
    blocks = np.repeat(np.arange(len(scores.n_heads)), scores.n_heads)
    order, kept = np.argsort(np.square(gradients).mean(axis=0)), np.zeros(len(blocks))
    for n in range(len(blocks)):
        for block in np.unique(blocks):
            own = np.flatnonzero(blocks == block)
            gone = searched(gradients[:, own], sum(blocks[order[:n]] == block))
            kept[[head for i, head in enumerate(own) if i not in gone]] += 1
    np.testing.assert_allclose(scores.flat(), kept / len(blocks))


# Attention attribution.


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_attributions_are_those_by_the_maps_themselves(models, own_store, model_type):
    """Direct autograd through the maps, an example at a time in float64, by 12 points."""
    examples = examples_of(models[model_type], own_store, rows=ROWS[:3])
    scores = CRITERIA["attention-attribution"].score(examples)
    model = copy.deepcopy(models[model_type]).double()
    model.set_attn_implementation("eager")
    nodes, weights = np.polynomial.legendre.leggauss(12)
    found = np.zeros((3, sum(scores.n_heads)))
    for i in range(3):
        batch, start = examples.batches.batch(np.array([i])), 0
        with observing(model) as observe:
            shown = observe(**batch.inputs)[1]
        for each in shown:
            total = 0
            for alpha, weight in zip((1 + nodes) / 2, weights / 2, strict=True):
                map = (alpha * each.map).requires_grad_()
                with observing(model, {each.block.module: lambda _, map=map: map}) as observe:
                    logits = observe(**batch.inputs)[0].logits
                total = total + weight * torch.autograd.grad(logits.softmax(dim=1)[0, batch.targets[0]], map)[0]
            n_heads = each.map.shape[1]
            found[i, start : start + n_heads] = (each.map * total)[0].amax(dim=(1, 2))
            start += n_heads
    np.testing.assert_allclose(scores.flat(), found.mean(axis=0), rtol=2e-3, atol=1e-7)


# Greedy-Gnorm.


def products_by_hand(model, loss):
    """Of a model of the type `bert` or `llama`, from the weights' own gradients."""
    model.zero_grad()
    loss.backward()
    found = []
    for block in attention_blocks(model):
        for head in range(block.n_heads):
            group = head * block.n_kv_heads // block.n_heads
            parts = ((block.query, head), (block.key, group), (block.value, group))
            norms = [part.module.weight.grad[8 * place : 8 * place + 8].norm() for part, place in parts]
            found.append(torch.stack(norms).prod().item())
    return np.array(found)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_gnorm_takes_the_lowest_product_and_asks_again(scored, models, model_type):
    scores, examples = scored("gnorm", model_type)
    model, order = copy.deepcopy(models[model_type]).double(), []
    batch = examples.batches.batch(np.arange(len(ROWS)))
    for _ in range(4):
        gates = torch.tensor([float(head not in order) for head in range(4)])
        with gated(model, gates.split(2)):
            products = products_by_hand(model, cross_entropy(model(**batch.inputs).logits, batch.targets))
        order.append(min({*range(4)} - {*order}, key=products.__getitem__))
    assert np.argsort(scores.flat()).tolist() == order
    assert sorted(scores.flat()) == [1, 2, 3, 4]


def test_gnorm_as_published_adds_up_the_norms_of_batches(own_store):
    """Without dropout it is a function of the logits alone."""
    model = small("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    examples = examples_of(model, own_store, rows=[{**row, "label": 0} for row in ROWS])
    scores = CRITERIA["gnorm-published"].score(examples)
    norms = np.zeros((3, 4))
    for batch in examples.batches:
        model.zero_grad()
        model(**batch.inputs).logits.norm().backward()
        for i, block in enumerate(attention_blocks(model)):
            for row, part in zip(norms, (block.query, block.key, block.value), strict=True):
                row[2 * i : 2 * i + 2] += part.module.weight.grad.view(2, 8, 16).norm(dim=(1, 2)).numpy()
    assert scores.flat().argmin() == norms.prod(axis=0).argmin()


def test_gnorm_leaves_the_model_as_it_was(models, own_store):
    model = copy.deepcopy(models["bert"])
    model.bert.encoder.layer[0].attention.self.query.weight.requires_grad_(False)
    CRITERIA["gnorm-published"].score(examples_of(model, own_store))
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["bert.encoder.layer.0.attention.self.query.weight"]
    assert not any(module.training for module in model.modules())


def test_dropout_is_drawn_by_the_seed(models, own_store):
    def scores(seed):
        torch.manual_seed(99)
        return CRITERIA["gnorm-published"].score(replace(examples, seed=seed)).flat().tolist()

    examples = examples_of(models["bart"], own_store, rows=ROWS[:2])
    assert scores(1) == scores(1)
    assert scores(1) != scores(2)


def test_the_page_has_the_table_of_the_rows():
    page = criteria_page.PAGE.read_text("utf-8")
    assert criteria_page.TABLE.findall(page) == [criteria_page.table()], "python -m tests.criteria_page writes it"
    for row in CRITERIA.values():
        assert row.formula
        assert row.paper
        assert row.cost
