"""Image classification: the logits of transformers, whatever carries the images, and what is refused."""

import io
import json
import shutil

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from tiny import save_tiny_checkpoint
from tiny_images import ANIMALS, loaded_vit, noise, save_images, save_vit
from transformers import AutoImageProcessor, AutoModelForImageClassification

from prune_heads import Evaluator, gate_gradients, gates_of, predictions
from prune_heads.errors import CheckpointError, DataError, LabelError, TaskError
from prune_heads.evaluation import Subject, predict
from prune_heads.gating import gated
from prune_heads.heads import HeadMask
from prune_heads.importance.gradient import ESTIMATORS
from prune_heads.objectives import images as module
from prune_heads.objectives.images import Picture
from prune_heads.predictions import Predictions
from prune_heads.progress import Reporter
from prune_heads.store import PredictionStore
from prune_heads.tasks.own import OwnData
from prune_heads.tasks.task import load_task

KIND = "image-classification"
N = 7


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_vit(tmp_path_factory.mktemp("models") / "vit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("images") / "birds.v2", N)  # a folder's name may have a dot


@pytest.fixture(scope="module")
def files(folder):
    """In the order of the folder."""
    return sorted(folder.rglob("*.png"))


def as_data_set(files):
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(ANIMALS))})
    rows = {"image": [str(file) for file in files], "label": [file.parent.name for file in files]}
    return datasets.Dataset.from_dict(rows, features=features)


def subject_of(model, file, **options):
    task = load_task(KIND, own=OwnData({"validation": file}, **options, kind=KIND))
    return Subject.of(loaded_vit(model), task, batch_size=3)


def reference(model, pictures):
    """By transformers alone, an image at a time."""
    processor = AutoImageProcessor.from_pretrained(model)
    network = AutoModelForImageClassification.from_pretrained(model).eval()
    with torch.no_grad():
        rows = [network(**processor([picture], return_tensors="pt")).logits for picture in pictures]
    return torch.cat(rows).numpy()


def test_the_logits_are_those_of_transformers(model, folder, files):
    subject = subject_of(model, folder)
    split = subject.task.load("validation")
    assert [ANIMALS[label] for label in split.columns["label"]] == [file.parent.name for file in files]
    kept = predict(subject.model, subject.batches(split))
    expected = reference(model, [Image.open(file) for file in files])
    np.testing.assert_allclose(kept, expected, rtol=1e-5, atol=1e-6)
    truth = [ANIMALS.index(file.parent.name) for file in files]
    accuracy = np.mean(expected.argmax(axis=1) == truth)
    assert subject.objective.metrics(kept, np.asarray(truth)) == {"accuracy": pytest.approx(accuracy)}


def test_images_of_all_kinds_are_read_in_rgb_and_upright(model, tmp_path):
    whole = Image.fromarray(noise(1)[0])
    for mode in ("RGB", "L", "RGBA", "P"):
        file = tmp_path / "a" / f"{mode}.png"
        file.parent.mkdir(exist_ok=True)
        whole.convert(mode).save(file)
    turned, exif = tmp_path / "b" / "turned.jpg", Image.Exif()
    exif[0x0112] = 6  # to be turned by 270 degrees
    turned.parent.mkdir()
    whole.save(turned, exif=exif, quality=100)
    subject = subject_of(save_vit(tmp_path / "model", labels=("a", "b")), tmp_path, labels=("a", "b"))
    kept = predict(subject.model, subject.batches(subject.task.load("validation")))
    expected = [Image.open(file).convert("RGB") for file in sorted(tmp_path.glob("a/*.png"))]
    expected.append(Image.open(turned).transpose(Image.Transpose.ROTATE_270))
    np.testing.assert_allclose(kept, reference(tmp_path / "model", expected), rtol=1e-5, atol=1e-6)


def sources(files, tmp_path):
    """The same images and labels, each time carried otherwise."""
    data = as_data_set(files)
    data.save_to_disk(tmp_path / "saved")
    data.to_parquet(tmp_path / "images.parquet")
    shutil.copytree(files[0].parents[1], tmp_path / "copy")
    (tmp_path / "copy" / "notes.txt").write_text("no image")
    (tmp_path / "copy" / "cat" / "Thumbs.db").write_text("no image")
    shutil.copytree(files[0].parents[1], tmp_path / "beside")
    lines = [f"beside/{file.parent.name}/{file.name},{file.parent.name}" for file in files]
    (tmp_path / "images.csv").write_text("\n".join(["image,label", *lines]) + "\n")
    return [tmp_path / name for name in ("copy", "saved", "images.parquet", "images.csv")]


@pytest.mark.filterwarnings("ignore:.*tqdm.*")
def test_whatever_carries_them_images_are_the_same(model, folder, files, tmp_path, own_store):
    subject = subject_of(model, folder)
    split = subject.task.load("validation")
    key = Predictions(subject, split, PredictionStore(own_store), Reporter()).key(HeadMask((4, 4, 4)))
    for file in sources(files, tmp_path):
        other = subject_of(model, file)
        again = other.task.load("validation")
        assert again.fingerprint == split.fingerprint, file
        assert Predictions(other, again, PredictionStore(own_store), Reporter()).key(HeadMask((4, 4, 4))) == key
    kept = predict(subject.model, subject.batches(split))
    checkpoint = loaded_vit(model)
    rows = [{"image": Image.open(file).copy(), "label": file.parent.name} for file in files]
    for data in (as_data_set(files), rows):
        ev = Evaluator(checkpoint.model, data, tokenizer=checkpoint.tokenizer)
        np.testing.assert_allclose(ev._predictions.of(HeadMask((4, 4, 4))), kept, rtol=1e-5, atol=1e-6)
        assert ev.evaluate().metrics == subject.objective.metrics(kept, np.asarray(split.columns["label"]))


def test_the_evaluator_takes_a_checkpoint_by_its_name_and_columns_by_theirs(model, files):
    data = as_data_set(files).rename_columns({"image": "img", "label": "fine"})
    ev = Evaluator(str(model), data, columns={"image": "img", "label": "fine"})
    assert len(ev.score().values) == 3
    assert ev.ablate().n_examples == N
    with pytest.raises(DataError, match="the column image must be there once, got the columns img, fine"):
        Evaluator(str(model), data)
    with pytest.raises(DataError, match="images its image processor"):
        Evaluator(loaded_vit(model).model, as_data_set(files))


def test_arrays_are_images(model):
    checkpoint = loaded_vit(model)

    def evaluator(images):
        rows = [{"image": image, "label": ANIMALS[i % 3]} for i, image in enumerate(images)]
        return Evaluator(checkpoint.model, rows, tokenizer=checkpoint.tokenizer)

    expected = evaluator(map(Image.fromarray, noise(N)))._predictions.of(HeadMask((4, 4, 4)))
    for images in (noise(N), map(torch.from_numpy, noise(N))):
        np.testing.assert_array_equal(evaluator(images)._predictions.of(HeadMask((4, 4, 4))), expected)
    with pytest.raises(DataError, match=r"must be of uint8 \(height, width, 3\); got float32 \(3, 8, 8\)"):
        evaluator([torch.ones(3, 8, 8)])
    with pytest.raises(DataError, match="example 1: the image must be one of Pillow, the path of a file"):
        evaluator([7])


@pytest.mark.parametrize("model_type", ["beit", "clip", "data2vec-vision", "dinov2", "siglip"])
def test_other_types_of_images_compute_and_count(model_type, folder, tmp_path):
    kept = subject_of(save_vit(tmp_path / model_type, model_type), folder)
    assert kept.n_heads == (4, 4, 4)
    assert loaded_vit(tmp_path / model_type).usual_length() >= 16


def test_a_processor_that_does_not_fit_its_model_is_named(model, folder, tmp_path, invoke):
    other = tmp_path / "vit2"
    shutil.copytree(model, other)
    processor = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps(processor | {"size": {"height": 20, "width": 20}}))
    done = invoke("evaluate", "--model", other, "--task", KIND, "--validation-file", folder)
    said = done.stderr.splitlines()[-1]
    assert "vit2 must compute on the task's images; got ValueError: Input image size (20*20) doesn't match" in said
    assert said.endswith("(16*16). Check its preprocessor_config.json")


def test_a_key_is_of_the_images_and_of_how_they_are_processed(model, folder, tmp_path, own_store):
    def key(model, folder):
        subject = subject_of(model, folder)
        split = subject.task.load("validation")
        return Predictions(subject, split, PredictionStore(own_store), Reporter()).key(HeadMask((4, 4, 4)))

    other, changed = tmp_path / "model", tmp_path / "images"
    shutil.copytree(model, other)
    shutil.copytree(folder, changed)
    assert key(other, changed) == key(model, folder)
    processor = json.loads((other / "preprocessor_config.json").read_text())
    (other / "preprocessor_config.json").write_text(json.dumps(processor | {"resample": 0}))
    assert key(other, folder).objective != key(model, folder).objective
    Image.fromarray(noise(1, seed=9)[0]).save(changed / "cat" / "000.png")
    assert key(model, changed).data != key(model, folder).data


def test_no_more_than_a_batch_is_decoded_at_once(model, folder, monkeypatch):
    opened, batches = [], []
    monkeypatch.setattr(Picture, "decoded", lambda self, of=Picture.decoded: opened.append(1) or of(self))
    subject = subject_of(model, folder)
    made = subject.batches(subject.task.load("validation"))
    assert not opened
    for batch in made:
        batches.append(len(opened))
        del batch
    assert batches == [3, 6, 7]


def test_labels_are_matched_by_name(folder, tmp_path):
    shuffled = subject_of(save_vit(tmp_path / "a", labels=("fish", "Cat", "dog")), folder)
    assert shuffled.objective.model_index == (1, 2, 0)
    with pytest.raises(LabelError, match="task has cat, dog, fish; the checkpoint has cat, cow, fish"):
        subject_of(save_vit(tmp_path / "b", labels=("cat", "cow", "fish")), folder)
    unsaid = save_vit(tmp_path / "c", labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    assert "LABEL_0 = cat, LABEL_1 = dog, LABEL_2 = fish" in subject_of(unsaid, folder).objective.note


@pytest.mark.parametrize("model_type", ["deit", "swin"])
def test_derivatives_by_gates_are_those_of_differences(model_type, folder, tmp_path):
    """Also where windows of an image are rows of their own."""
    subject = subject_of(save_vit(tmp_path / model_type, model_type), folder)
    batches = subject.batches(subject.task.load("validation"))
    gradients = gate_gradients(subject.model, batches)
    gates, step = gates_of(subject.model, HeadMask(subject.n_heads)), 1e-2
    batch = batches.batch(np.arange(N))

    def losses(changed):
        with torch.no_grad(), gated(subject.model, changed):
            return subject.objective.losses(subject.model(**batch.inputs), batch).double().numpy()

    column = 0
    for i, gate in enumerate(gates):
        for head in range(len(gate)):
            both = []
            for sign in (1, -1):
                moved = [each.clone() for each in gates]
                moved[i][head] += sign * step
                both.append(losses(moved))
            expected = (both[0] - both[1]) / (2 * step)
            np.testing.assert_allclose(gradients.signed[:, column], expected, rtol=0.05, atol=2e-3)
            column += 1
    assert column == gradients.signed.shape[1]
    n_tokens = {"deit": [18, 18, 1], "swin": [64, 64, 16, 16]}[model_type]
    assert gradients.n_tokens.tolist() == [n_tokens] * N
    assert np.isfinite(np.concatenate(ESTIMATORS["token"].score(gradients, 3).values)).all()


def test_bfloat16_is_given_its_own_pixels(model, folder):
    from prune_heads.checkpoints import load_checkpoint
    from prune_heads.objectives.images import ImageClassification

    task = load_task(KIND, own=OwnData({"validation": folder}, kind=KIND))
    half = load_checkpoint(str(model), ImageClassification.head_of, dtype=torch.bfloat16)
    batches = Subject.of(half, task).batches(task.load("validation"))
    assert batches.batch(np.arange(2)).inputs["pixel_values"].dtype == torch.bfloat16


# What is refused


def broken(files, tmp_path, content):
    folder = tmp_path / "broken"
    shutil.copytree(files[0].parents[1], folder)
    (folder / "dog" / "x.jpg").write_bytes(content)
    return folder


def test_what_is_no_image_is_refused_by_name_or_left_out(model, files, tmp_path, invoke):
    folder = broken(files, tmp_path, b"hello")
    words = ("evaluate", "--model", model, "--task", KIND, "--validation-file", folder)
    done = invoke(*words)
    fault = "broken/dog/x.jpg: the image must be one that Pillow reads, got x.jpg: not an image"
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, f"error: {fault}")
    done = invoke(*words, "--skip-invalid")
    assert done.exit_code == 0, done.output
    assert f"1 invalid row of the file is left out, the first: {fault}" in done.stderr


def test_a_damaged_image_is_refused_by_name(model, files, tmp_path):
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(whole, "JPEG")
    subject = subject_of(model, broken(files, tmp_path, whole.getvalue()[:700]))
    with pytest.raises(DataError, match=r"broken: example 6: the image must be whole, got x.jpg: .*truncated"):
        predict(subject.model, subject.batches(subject.task.load("validation")))


def test_folders_that_hold_something_else_are_refused(model, files, tmp_path):
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match=r"empty: a folder of images must hold .* got cat, without images"):
        subject_of(model, tmp_path / "empty")
    data = as_data_set(files)
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "all")
    with pytest.raises(DataError, match=r"one split .* must be named \(all/test, all/train\)"):
        subject_of(model, tmp_path / "all")
    assert subject_of(model, tmp_path / "all" / "test").task.spec.labels == ANIMALS
    (tmp_path / "all" / "test" / "state.json").write_text("{")
    with pytest.raises(DataError, match="test: the data set cannot be read"):
        subject_of(model, tmp_path / "all" / "test")
    data.rename_column("label", "fine").save_to_disk(tmp_path / "fine")
    with pytest.raises(DataError, match="column label must be there once, got the columns image, fine"):
        subject_of(model, tmp_path / "fine")
    with pytest.raises(DataError, match="which is no file"):
        subject_of(model, tmp_path / "nowhere.csv")
    (tmp_path / "images.csv").write_text("image,label\ngone.png,cat\n,dog\n")
    task = load_task(KIND, own=OwnData({"validation": tmp_path / "images.csv"}, kind=KIND))
    with pytest.raises(DataError, match=r"row 1: the image must be a readable file; got .*gone\.png \(No such file"):
        task.load("validation")


def test_models_and_tasks_of_other_kinds_are_refused(model, folder, tmp_path):
    with pytest.raises(CheckpointError, match="must have a trained image classification head"):
        subject_of(save_tiny_checkpoint(tmp_path / "bert"), folder)
    bare = tmp_path / "bare"
    shutil.copytree(model, bare)
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"must hold its image processor, .*; bare holds none"):
        loaded_vit(bare)


def test_the_extra_is_named_where_it_is_missing(model, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TaskError, match=r"pip install 'prune-heads\[images\]'"):
        loaded_vit(model)


# Commands


@pytest.fixture
def words(model, folder):
    return ("--model", model, "--task", KIND, "--train-file", folder, "--validation-file", folder)


@pytest.mark.slow
def test_commands_work_on_images(words, invoke, tmp_path, monkeypatch):
    def report(command, *more):
        done = invoke(command, *words, *more, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    evaluated = report("evaluate", "--heads", "1:1", "--objective", KIND)
    with monkeypatch.context() as patch:
        patch.delattr(predictions, "predict")  # what is stored is not computed again
        assert report("evaluate", "--heads", "1:1", "--objective", KIND)["metrics"] == evaluated["metrics"]
    run = report("run", "--fraction", "0.25", "--mode", "remove", "--save-checkpoint", "--output", tmp_path / "run")
    assert run["n_pruned"] == 3
    assert (tmp_path / "run" / "checkpoint" / "preprocessor_config.json").is_file()
    pruned = ("--model", tmp_path / "run" / "checkpoint")
    value = json.loads(invoke("evaluate", *pruned, *words[2:], "--json").stdout)["metrics"]["accuracy"]
    assert value == run["rows"][0]["pruned"]
    for command in ("ablate", "curve"):
        report(command, *(("--steps", "2") if command == "curve" else ()))
    tuned = report("finetune", "--epochs", "1", "--output", tmp_path / "tuned")
    assert tuned["labels"] == list(ANIMALS)
    taught = report("finetune", "--epochs", "1", "--distill-from", tmp_path / "tuned", "--output", tmp_path / "taught")
    assert taught["distilled"]["weights"]["hidden"] == 1
    rescaled = report("run", "--fraction", "0.25", "--criterion", "magnitude", "--rescale")
    assert rescaled["rescaled"]["n_examples"] == rescaled["rescaled_on"]["n_examples"]
    assert (tmp_path / "tuned" / "preprocessor_config.json").is_file()


def test_info_counts_the_tokens_of_an_image(model, invoke):
    assert json.loads(invoke("info", model, "--json").stdout)["n_tokens"] == 17


def test_commands_of_texts_refuse_images_by_name(words, model, invoke, tmp_path):
    for command in (
        ("export", model, "--to", "dense", "--output", tmp_path / "out"),
        ("bench", *words[:4], "--validation-file", words[-1], "--heads", "1:1"),
    ):
        done = invoke(*command)
        assert done.exit_code == 1
        assert KIND in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()
