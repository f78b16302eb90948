"""Every number of the README and of the results' page comes from a record, or says why it does not.

A page has a file of claims in tests/documents. A claim is a text with `{}` for each number, and a source for each
(`documents/sources.py`); it must stand in the page as its records render it. `[[fixed]]` names what is no measurement,
and why; `[[tested]]` what a test holds, and which. A number that none of them covers is a fault.
"""

import io
import json
import re
import tomllib

import pytest
from documents.sources import ROOT, shown
from rich.console import Console

from prune_heads.reporting.terminal import run_report

PAGES = {"README.md": "README.toml", "results/README.md": "results.toml"}
PRESENT = [page for page in PAGES if (ROOT / page).is_file()]
NUMBER = re.compile(r"(?<![\w.,])(?<![A-Za-z]-)\d(?:[\d,]*\d)?(?:\.\d+)?(?:e-?\d+)?")  # not the 2 of SST-2
CODE_SPAN = re.compile(r"`[^`]*`")


def read(page):
    claims = tomllib.loads((ROOT / "tests/documents" / PAGES[page]).read_text(encoding="utf-8"))
    return (ROOT / page).read_text(encoding="utf-8"), claims


def prose(text):
    """A page without blocks of code, tags and the targets of links, on one line."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    text = re.sub(r"(?<=\n\n)(    .*\n|\n)+", "\n", text)
    text = re.sub(r"<[a-z][^>]*>", "", text)
    return " ".join(re.sub(r"\]\([^)]*\)", "]", text).split())


def rendered(claim):
    """The text of a claim with its numbers, and where in it they stand."""
    *befores, end = " ".join(claim["text"].split()).split("{}")
    text, spans = "", []
    for before, source in zip(befores, claim["of"], strict=True):
        text += before
        value = shown(source, claim.get("from"))
        spans.append((len(text), len(text) + len(value)))
        text += value
    return text + end, spans


def faults(text, claims):
    """What is wrong with a page, a line each: claims that it does not make, numbers without a source."""
    page = prose(text)
    found, covered = [], [match.span() for match in CODE_SPAN.finditer(page)]
    for claim in claims.get("claim", []):
        said, spans = rendered(claim)
        starts = [match.start() for match in re.finditer(re.escape(said), page)]
        covered += [(start + low, start + high) for start in starts for low, high in spans]
        if not starts:
            found.append(f"the records say: {said}")
    for excuse in [*claims.get("fixed", []), *claims.get("tested", [])]:
        pattern = excuse.get("pattern") or re.escape(" ".join(excuse["text"].split()))
        spans = [match.span() for match in re.finditer(pattern, page)]
        covered += spans
        if not spans:
            found.append(f"excused, but not there: {pattern}")
    for number in NUMBER.finditer(page):
        low, high = number.span()
        if not any(start <= low and high <= end for start, end in covered):
            found.append(
                f"without a source: ...{page[max(low - 40, 0) : low]}>{number[0]}<{page[high : high + 20]}..."
            )
    return found


@pytest.mark.parametrize("page", PRESENT)
def test_every_number_has_a_source(page):
    assert faults(*read(page)) == []


@pytest.mark.parametrize("page", PRESENT)
def test_every_excuse_has_a_reason(page):
    _, claims = read(page)
    assert all(excuse["why"] for excuse in claims.get("fixed", []))
    assert all(excuse["by"] for excuse in claims.get("tested", []))
    assert set(claims) <= {"claim", "fixed", "tested"}
    assert all(claim["of"] for claim in claims.get("claim", []))


@pytest.mark.parametrize("page", PRESENT)
def test_a_number_that_a_test_holds_stands_in_it(page):
    for excuse in read(page)[1].get("tested", []):
        held = {
            float(number)
            for number in NUMBER.findall((ROOT / excuse["by"]).read_text(encoding="utf-8"))
            if "," not in number
        }
        assert {float(number) for number in NUMBER.findall(excuse["text"])} <= held, excuse["text"]


@pytest.mark.parametrize("page", PRESENT)
def test_every_claim_says_of_what_its_numbers_are(page):
    """A bare number would be found wherever another one is the same."""
    _, claims = read(page)
    bare = [
        claim["text"] for claim in claims.get("claim", []) if not re.search(r"[A-Za-z]{2}", claim["text"])
    ]
    assert bare == []


@pytest.mark.parametrize("page", PRESENT)
def test_a_wrong_digit_is_found_wherever_a_claim_stands(page):
    text, claims = read(page)
    flat = prose(text)
    for claim in claims.get("claim", []):
        said, spans = rendered(claim)
        for low, high in spans:
            digits = [place for place in range(low, high) if said[place].isdigit()]
            for place in digits[-1:]:
                wrong = said[:place] + str((int(said[place]) + 1) % 10) + said[place + 1 :]
                assert faults(flat.replace(said, wrong), {"claim": [claim]})[:1] == [
                    f"the records say: {said}"
                ]


@pytest.mark.parametrize("page", PRESENT)
def test_a_new_number_is_found(page):
    text, claims = read(page)
    (fault,) = faults(text + "\n\nIt is 17.3x as fast on SST-2, with `--steps 5`.\n", claims)
    assert ">17.3<" in fault


def test_a_claim_must_match_to_the_last_digit():
    claims = {
        "claim": [{"text": "accuracy {}", "from": "sst2-curve/record.json", "of": ["rows[0].base | .3f"]}]
    }
    assert faults("accuracy 0.894", claims) == []
    assert len(faults("accuracy 0.8945", claims)) == 1
    assert len(faults("accuracy 0.895", claims)) == 2
    assert len(faults("accuracy 0.894, and 12", claims)) == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("sst2-curve/record.json: rows[split=validation].n_examples", "872"),
        ("mnli-curve/record.json: rows[*].n_examples | max", "9,832"),
        ("sst2-curve/record.json: n_heads and mini-curve/record.json: n_heads | difference", "48"),
        ("mini-curve/record.json: parameters.pruned | / 1000 | .1f", "49.7"),
        ("prune_heads/paper/michel2019.toml: table6.delta_pp | count > 0 | word", "two"),
        ("benchmark/mnli.json: ratios | .1f | join \", \"", "4.1, 4.2, 4.1"),
        ("michel2019/records/*.bench.json: task | join \", \"", "mnli"),
        ("benchmark/mnli.json: relative_difference_of_scores | .0e", "3e-7"),
    ],
)  # fmt: skip
def test_sources(source, expected):
    assert shown(source) == expected


def example(command, page="README.md"):
    """What a page shows below `command`: an indented block, or one of text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    indented = re.search(rf"^    \$ {command}\n((    .*\n|\n)+)", text, re.M)
    if indented:
        return [line[4:] for line in trimmed(indented[1])]
    return trimmed(re.search(rf"^```text\n\$ {command}\n(.*?)^```$", text, re.M | re.S)[1])


def trimmed(text):
    return [line.rstrip() for line in text.rstrip().splitlines()]


def test_the_example_run_is_its_record():
    folder = ROOT / "results/mini-curve"
    record = json.loads((folder / "record.json").read_text()) | {"curve": []}
    stream = io.StringIO()
    Console(file=stream, width=100).print(
        run_report(record, json.loads((folder / "scores.json").read_text()))
    )
    *made, seconds = trimmed(stream.getvalue())
    *there, other_seconds = example("prune-heads run")
    assert there == made
    assert re.sub(r"[\d.]+", "", other_seconds) == re.sub(r"[\d.]+", "", seconds).replace(", curve ", "")


def test_the_example_of_the_doctor_is_what_it_says(tmp_path, invoke, monkeypatch):
    (tmp_path / "scripts").mkdir()
    lines = {7: "outputs = model(**inputs, head_mask=mask)", 13: "model.prune_heads({2: [0, 4]})"}
    script = "\n".join(lines.get(number, "") for number in range(1, 14)) + "\n"
    (tmp_path / "scripts" / "importance.py").write_text(script)
    monkeypatch.chdir(tmp_path)
    done = invoke("doctor", "scripts", COLUMNS="80")
    assert done.exit_code == 1
    assert trimmed(done.stdout) == example("prune-heads doctor scripts", "prune_heads/guide/errors.md")
