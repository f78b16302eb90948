"""`prune-heads roles`: its record and files, every kind of model, parses, runs beside it, and what is refused."""

import copy
import json
import sys

import numpy as np
import pytest
from matplotlib.text import Text
from tiny import save_tiny_checkpoint
from tiny_images import save_images, save_vit
from tiny_texts import save_language_model, tiny_language_model, write_texts

from prune_heads.reporting.roles import roles_figure, roles_page
from prune_heads.roles import ROLES, SCORES, Parse
from prune_heads.statistics import correlate_within
from prune_heads.studies.explaining import agreement

FEW = ("--max-examples", 12)
TREES = {
    "The cat saw a dog.": "(ROOT (S (NP (DT The) (NN cat)) (VP (VBD saw) (NP (DT a) (NN dog))) (. .)))",
    "A red film runs": "(ROOT (S (NP (DT A) (JJ red) (NN film)) (VP (VBZ runs))))",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("roles")


@pytest.fixture
def ran(invoke, folders, json_of):
    """The record of a command and its folder, made once."""

    def run(name, *words):
        folder = folders / name
        if not folder.exists():
            done = invoke(*words, "--output", folder)
            assert done.exit_code == 0, done.output
        return json.loads((folder / "record.json").read_text()), folder

    return run


@pytest.fixture
def mini(ran):
    return ran("mini", "roles", *FEW)


@pytest.mark.drawn
def test_the_record_has_columns_for_all_that_draw_them(mini):
    record, folder = mini
    assert {path.name for path in folder.iterdir()} == {"record.json", "roles.png", "roles.svg", "table.md"}
    shape = [block["n_heads"] for block in record["blocks"]]
    role, *scores = record["columns"]
    assert (role["name"], role["kind"], role["group"]) == ("role", "category", "role")
    assert [each["name"] for each in scores] == [
        name for name, score in SCORES.items() if score.on != "parses" and name in {each["name"] for each in scores}
    ]
    assert {"previous", "induction", "entropy", "output"} <= {each["name"] for each in scores}
    for column in record["columns"]:
        assert [len(row) for row in column["values"]] == shape
        assert column["note"].endswith(".")
    for column in scores:
        for part in ("low", "high", "null"):
            assert [len(row) for row in column[part]] == shape
        low, values, high = (np.asarray(column[part], dtype=float) for part in ("low", "values", "high"))
        assert ((low <= values + 1e-6) & (values <= high + 1e-6)).all()
    for row, names in zip(role["values"], record["roles"], strict=True):
        assert row == [each[0] if each else "none" for each in names]
    assert {name for row in record["roles"] for each in row for name in each} <= ROLES.keys()
    assert record["syntax"] is None
    svg = (folder / "roles.svg").read_text()
    assert "none of these" in svg


@pytest.mark.slow
def test_a_model_beside_itself_agrees_and_importance_is_explained(ran, mini, monkeypatch):
    monkeypatch.setattr("prune_heads.studies.explaining.N_SHUFFLES", 50)
    _, folder = mini
    _, scores = ran("scores", "score", *FEW)
    ablated, ablations = ran("ablated", "ablate", *FEW, "--blocks", "1,2")
    runs = [word for each in (folder, scores, ablations) for word in ("--against", each)]
    record, made = ran("beside", "roles", *FEW, *runs)
    same, scored, ablation = record["compared"]
    assert record["against"] == ["mini", "scores", "ablated"]
    assert (same["kind"], same["agreement"]["share"]) == ("roles", 1)
    assert all(pair["spearman"]["value"] in (None, pytest.approx(1)) for pair in same["scores"])
    (series,) = scored["series"]
    values = json.loads((scores / "scores.json").read_text())["scores"]
    layers = np.repeat(np.arange(6), 4)
    for pair in series["correlations"]:
        column = next(each for each in record["columns"] if each["name"] == pair["score"])
        wanted = correlate_within(np.ravel(column["values"]), np.ravel(values), layers)
        assert pair["within"] == pytest.approx(wanted, nan_ok=True)
    first = next(each for each in ablation["series"] if "matched" in each["name"])
    assert (first["turned"], first["explained"]["n_heads"]) == (True, 8)
    table = next(each for each in ablated["tables"] if each["split"] == "validation_matched")
    (pair,) = (each for each in first["correlations"] if each["score"] == "entropy")
    assert pair["n_heads"] == 8
    column = next(each for each in record["columns"] if each["name"] == "entropy")
    loss = [[None if cell is None else -cell for cell in row] for row in table["delta"]]
    flat = [np.asarray([value for row in rows for value in row], dtype=float) for rows in (column["values"], loss)]
    assert pair["within"] == pytest.approx(correlate_within(*flat, layers), nan_ok=True)
    text = (made / "table.md").read_text()
    assert "Importance: gradient (example) on train" in text
    assert "100% of 24 heads share their role" in text


def test_a_conllu_file_that_fits_no_sentence_is_refused_before_the_work(refused, tmp_path, monkeypatch):
    monkeypatch.setattr("prune_heads.roles.Roles.look", lambda *args, **options: pytest.fail("the work has begun"))
    file = tmp_path / "x.conllu"
    file.write_text("# text = a\u200bb\n1\ta\t_\t_\t_\t_\t2\tnsubj\t_\t_\n2\t\u200b\t_\t_\t_\t_\t0\troot\t_\t_\n")
    said = refused("roles", *FEW, "--conllu", file)
    assert "x.conllu: some parse must have relations, and fit its text and the tokens of the model; none of 1" in said


@pytest.mark.parametrize(
    ("beside", "share", "reason", "said"),
    [
        ("broad", 1.0, "all heads have one and the same role", "100% of 24 heads share their role"),
        ("local", 0.0, None, "0% of 24 heads share their role"),
        (None, None, "no head has a role in both", "no heads share their role"),
    ],
)
def test_the_share_of_equal_roles_is_said_where_kappa_is_undefined(mini, beside, share, reason, said):
    found = agreement([["broad"] * 4] * 6, [[beside] * 4] * 6)
    assert (found["share"], found["reason"]) == (share, reason)
    assert found["kappa"] == (None if reason else 0)
    record = {**mini[0], "compared": [{"kind": "roles", "name": "x", "source": "x", "agreement": found, "scores": []}]}
    text = roles_page(record).to_markdown()
    assert f"{said}; Cohen's kappa {f'undefined ({reason})' if reason else '0.00'}" in text


def test_people_read_the_names_of_broad_and_narrow_heads(mini):
    record = copy.deepcopy(mini[0])
    record["columns"][0]["values"] = [["broad", "narrow", "none", None]] * len(record["blocks"])
    figure = roles_figure(record)
    texts = {text.get_text() for text in figure.findobj(Text)}
    assert {"broad", "narrow", "none of these"} <= texts
    assert not {"wide", "thin"} & {word for text in texts for word in text.split()}


@pytest.fixture
def parsed(tmp_path, checkpoint):
    """A folder of MNLI whose training file has parses, one of which does not fit; and the model for it."""
    labels = ("contradiction", "entailment", "neutral")
    model = save_tiny_checkpoint(tmp_path / "model", labels)
    folder = tmp_path / "MNLI"
    folder.mkdir()
    names = ("index", "sentence1_parse", "sentence2_parse", "sentence1", "sentence2", "gold_label")
    (first, one), (second, two) = TREES.items()
    rows = [("0", one, two, first, second, labels[0]), ("1", one, two, first, "Another", labels[1])]
    rows += [("2", "", "", "not", "parsed", labels[2])]
    for name in ("train", "dev_matched", "dev_mismatched"):
        lines = ["\t".join(each) for each in (names, *rows)]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return ("--model", model, "--task", "mnli", "--data-dir", folder)


def test_parses_of_the_data_give_relations(invoke, parsed, json_of):
    done = invoke("roles", *parsed, "--parses", "--json")
    record = json_of(done)
    assert "MNLI/train.tsv: 1 sentences are left out" in done.stderr
    syntax = record["syntax"]
    assert (syntax["source"], syntax["n_sentences"], syntax["n_left_out"]) == ("MNLI/train.tsv", 2, 1)
    assert syntax["relations"]["nsubj-to-head"] == {"n_pairs": 2, "best_offset": 1, "share_there": 1.0}
    assert syntax["relations"]["det-to-head"]["n_pairs"] == 3
    columns = {column["name"]: column for column in record["columns"]}
    assert columns["amod-to-head"]["null"][0] == [1.0] * 4
    shown = invoke("roles", *parsed, "--parses", COLUMNS="80").stdout
    assert "nsubj-to-head" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80 or "A head may" in shown


def test_a_conllu_file_gives_the_same_relations_as_trees(invoke, parsed, json_of, tmp_path):
    words = [("The", 2, "det"), ("cat", 3, "nsubj"), ("saw", 0, "root"), ("a", 5, "det"), ("dog", 3, "obj")]
    lines = [f"{i}\t{form}\t_\t_\t_\t_\t{head}\t{relation}\t_\t_" for i, (form, head, relation) in enumerate(words, 1)]
    file = tmp_path / "x.conllu"
    file.write_text("\n".join([*lines, ""]))
    record = json_of(invoke("roles", *parsed, "--conllu", file, "--json"))
    assert (
        record["parsed"]["fingerprint"]
        != json_of(invoke("roles", *parsed, "--parses", "--json"))["parsed"]["fingerprint"]
    )
    assert record["syntax"]["relations"]["obj-to-head"] == {"n_pairs": 1, "best_offset": -2, "share_there": 1.0}


def test_spacy_parses_the_texts_where_it_is_installed(invoke, parsed, json_of, monkeypatch):
    parse = Parse("The cat saw a dog.", ((0, 3), (4, 7)), ((0, 1, "det"),))
    monkeypatch.setattr("prune_heads.studies.roles.by_spacy", lambda model, texts: [parse] * (model == "en"))
    record = json_of(invoke("roles", *parsed, "--spacy", "en", "--json"))
    assert (record["syntax"]["source"], record["syntax"]["n_sentences"]) == ("spaCy en", 1)


@pytest.mark.parametrize("model_type", ["gpt2", "bert", "t5"])
def test_language_models_have_roles(invoke, json_of, tmp_path, model_type):
    model = save_language_model(tmp_path / "model", tiny_language_model(model_type))
    texts = write_texts(tmp_path / "texts", model_type, n_train=4, n_dev=6)
    record = json_of(invoke("roles", "--model", model, *texts, "--json"))
    kinds = {"t5": "EAD"}.get(model_type, "E")
    columns = {column["name"]: column["values"] for column in record["columns"]}
    n = len(record["blocks"]) // len(kinds)
    assert len(columns["induction"]) == n * len(kinds)
    for start, kind in zip(range(0, len(record["blocks"]), n), ("E", "A", "D"), strict=False):
        filled = [value is not None for row in columns["previous"][start : start + n] for value in row]
        assert set(filled) == {kind != "A"}


def test_removed_heads_have_no_role_and_others_keep_their_numbers(invoke, on_sst2, tmp_path, json_of):
    _, model, *rest = on_sst2
    done = invoke("prune", "--model", model, "--heads", "1:2 2:1,2,3,4", "--mode", "remove", "-o", tmp_path / "less")
    assert done.exit_code == 0, done.output
    record = json_of(invoke("roles", "--model", tmp_path / "less" / "checkpoint", *rest, "--json"))
    for column in record["columns"]:
        first, second, third = ([value is None for value in row] for row in column["values"])
        if not all(third):
            assert (first, second, any(third)) == ([False, True, False, False], [True] * 4, False)
    assert record["roles"][1] == [None] * 4


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--parses", "--conllu", "x"), 2, "--parses and --conllu exclude each other"),
        (("--parses",), 1, "--parses must be of a GLUE task with its official files"),
        (("--conllu", "missing.conllu"), 1, "missing.conllu must be a readable file"),
        (("--spacy", "en"), 2, "--spacy must name a model that is installed with spaCy"),
        (("--against", "missing"), 1, "missing"),
        (("--split", "nowhere"), 1, "nowhere"),
    ],
)
def test_what_cannot_be_is_refused(refused, words, code, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "spacy", None)
    assert said in refused("roles", *FEW, *words, code=code)


def test_parses_of_which_none_fits_its_text_are_refused(refused, parsed):
    file = parsed[-1] / "train.tsv"
    file.write_text(file.read_text().replace("(", "["))
    assert "MNLI/train.tsv: some parse must have relations" in refused("roles", *parsed, "--parses")


def test_parses_that_are_not_of_this_model_are_refused(refused, on_sst2, tmp_path, mini):
    assert "needs columns of parses, such as sentence1_parse" in refused("roles", *on_sst2, *FEW, "--parses")
    file = tmp_path / "x.conllu"
    file.write_text("# text = a\n1\t\xad\t_\t_\t_\t_\t0\troot\t_\t_\n")
    assert "x.conllu line 2: the word" in refused("roles", *FEW, "--conllu", file)
    _, folder = mini
    assert "--against must be of the same heads" in refused("roles", *on_sst2, *FEW, "--against", folder)


def test_a_run_to_compare_with_is_read_before_the_work(refused, monkeypatch):
    monkeypatch.setattr("prune_heads.roles.Roles.look", lambda *args, **options: pytest.fail("the work has begun"))
    assert "missing" in refused("roles", *FEW, "--against", "missing")


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (None, "is damaged (TypeError"),
        ([{}], "is damaged (KeyError: 'values')"),
        ([{"name": "role", "kind": "number", "values": [["x"]]}], "could not convert string to float: 'x'"),
        ([{"name": "self", "kind": "number", "values": [[0.5]]}], "is damaged (KeyError: 'role')"),
    ],
)
def test_a_damaged_run_to_compare_with_is_refused(refused, tmp_path, columns, said):
    record = {"command": "roles", "model": {"name": "mini"}, "split": "validation", "columns": columns}
    (tmp_path / "record.json").write_text(json.dumps(record))
    assert said in refused("roles", *FEW, "--against", tmp_path)


def test_images_have_no_tokens_and_so_no_roles(refused, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    model, images = save_vit(folder / "vit"), save_images(folder / "images", 6)
    words = ("--model", model, "--task", "image-classification", "--validation-file", images)
    assert "roles must be of a model of texts" in refused("roles", *words)


@pytest.mark.thorough
@pytest.mark.real
def test_the_parses_of_mnli_fit_their_texts_and_its_tokens(shared, invoke, json_of):
    model, data = shared / "models" / "minilm-mnli", shared / "glue" / "MNLI"
    words = ("--model", model, "--task", "mnli", "--data-dir", data, "--max-examples", 80, "--parses")
    syntax = json_of(invoke("roles", *words, "--json"))["syntax"]
    assert syntax["n_left_out"] <= 3
    assert syntax["n_sentences"] > 150
    assert syntax["relations"]["det-to-head"]["best_offset"] == 1
    assert syntax["relations"]["nsubj-to-head"]["best_offset"] == 1
    assert syntax["relations"]["amod-to-head"]["share_there"] > 0.6
