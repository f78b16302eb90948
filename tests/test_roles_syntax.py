"""Relations of words by head rules and from CoNLL-U, words as tokens, and how often heads find them."""

import sys
import types

import numpy as np
import pytest
import torch
from test_roles import batches_of, bert, gpt2, known  # noqa: F401 (a fixture)

from prune_heads.attention import observing
from prune_heads.errors import DataError
from prune_heads.roles import RELATION_SCORES, Roles, Sentence
from prune_heads.roles.syntax import Parse, aligned, by_spacy, from_conllu, from_tree, relation_of


def named(parse):
    words = [parse.text[begin:end] for begin, end in parse.words]
    return {(words[dependent], relation, words[head]) for dependent, head, relation in parse.arcs}


@pytest.mark.parametrize(
    ("tree", "text", "arcs"),
    [
        (
            "(ROOT (S (NP (DT The) (JJ old) (NN cat)) (VP (VBD saw) (NP (DT a) (NN dog))) (. .)))",
            "The old cat saw a dog.",
            {("The", "det", "cat"), ("old", "amod", "cat"), ("cat", "nsubj", "saw"), ("dog", "obj", "saw")}
            | {("a", "det", "dog")},
        ),
        (  # an auxiliary is no head, and what follows a form of "be" no object
            "(ROOT (S (NP (PRP He)) (VP (VBZ has) (VP (VBN been) (NP (DT a) (NN fool)))) (. .)))",
            "He has been a fool.",
            {("He", "nsubj", "been"), ("a", "det", "fool")},
        ),
        (  # the second of two objects, and the head of a noun phrase with a phrase after it
            "(ROOT (S (NP (NP (NNS Friends)) (PP (IN of) (NP (NNP Ann)))) "
            "(VP (VBD gave) (NP (PRP her)) (NP (NNS nuts)))))",
            "Friends of Ann gave her nuts",
            {("Friends", "nsubj", "gave"), ("nuts", "obj", "gave")},
        ),
        (  # a question, brackets and quotes as the treebank writes them, a possessive
            "(ROOT (SQ (VBD Did) (NP (NP (NNP Bob) (POS 's)) (JJ big) (NN dog)) (VP (VB bark) (-LRB- -LRB-) (`` ``) "
            "(ADVP (RB so)) ('' '') (-RRB- -RRB-)) (. ?)))",
            "Did Bob's big dog bark (\u201cso\u201d)?",
            {("big", "amod", "dog"), ("dog", "nsubj", "bark")},
        ),
        ("(ROOT (NP (ADJP (RB very) (JJ red)) (NNS shoes)))", "very red shoes", {("red", "amod", "shoes")}),
        ("( (FRAG (UH Yes)))", "Yes", set()),
        ("(" * 5000 + "NN cat" + ")" * 5000, "cat", set()),
    ],
)
def test_relations_follow_from_trees_by_head_rules(tree, text, arcs):
    assert named(from_tree(tree, text)) == arcs


@pytest.mark.parametrize(
    ("tree", "text", "said"),
    [
        ("(S (NN cat)", "cat", "must be one tree of brackets"),
        ("(S (NN cat)))", "cat", "must be one tree of brackets"),
        ("(S (NN cat) ())", "cat", "must be one tree of brackets"),
        ("(S (NN cat dog))", "cat dog", "must be one tree of brackets"),
        ("cat", "cat", "must be one tree of brackets"),
        ("", "cat", "must be one tree of brackets"),
        ("(S (NN cat))", "dog", "'cat' must follow in the text"),
        ("(S (NN cat))", "cat dog", "lacks 'dog'"),
        ("(S (NN cat) (NN dog))", "cat", "'dog' must follow"),
    ],
)
def test_what_is_no_tree_of_the_text_is_refused(tree, text, said):
    with pytest.raises(ValueError, match=said):
        from_tree(tree, text)


def line(number, form, head, relation, misc="_"):
    return "\t".join([str(number), form, *"____", str(head), relation, "_", misc])


SAMPLE = [
    "# sent_id = 1",
    "# text = The cats don't eat it.",
    line(1, "The", 2, "det"),
    line(2, "cats", 5, "nsubj:pass"),
    line("3-4", "don't", "_", "_"),
    line(3, "do", 5, "aux"),
    line(4, "n't", 5, "advmod"),
    line(5, "eat", 0, "root"),
    line("5.1", "gone", "_", "_"),
    line(6, "it", 5, "dobj", "SpaceAfter=No"),
    line(7, ".", 5, "punct"),
]


def test_a_conllu_file_is_read():
    plain = [line(1, "Go", 0, "root", "SpaceAfter=No"), line(2, "!", 1, "punct")]
    first, second = from_conllu("\r\n".join([*SAMPLE, "", "", *plain]), "x.conllu")
    assert first.text == "The cats don't eat it."
    assert {(a, b, c) for a, b, c in named(first) if b in ("det", "nsubj", "obj")} == {
        ("The", "det", "cats"),
        ("cats", "nsubj", "eat"),
        ("it", "obj", "eat"),
    }
    assert first.words[2] == first.words[3] == (9, 14)
    assert (second.text, second.words, second.arcs) == ("Go!", ((0, 2), (2, 3)), ((1, 0, "punct"),))
    assert relation_of("nsubjpass") == "nsubj"


@pytest.mark.parametrize(
    ("at", "instead", "said"),
    [
        (2, "1\tThe", "line 3: a word must have ten tab-separated fields and a number; got 2 fields"),
        (2, line("x", "The", 2, "det"), "line 3: .*got the ID 'x'"),
        (2, line(1, "A", 2, "det"), "line 3: the word 'A' must follow in the text, got .The cats"),
        (2, line(1, "The", 12, "det"), "line 3: the head of a word must be another word or 0; got '12'"),
        (2, line(1, "The", "_", "det"), "line 3: the head of a word"),
        (4, line("3-99999999999", "don't", "_", "_"), "line 3: a token of several words must have these words"),
        (4, line("3-2", "don't", "_", "_"), "line 3: a token of several words must have these words"),
        (2, line(2, "The", 2, "det"), "line 3: words must be numbered 1, 2, 3"),
        (slice(2, None), "", "the file must hold a sentence; got none"),
    ],
)
def test_a_faulty_conllu_file_is_refused_by_its_line(at, instead, said):
    lines = list(SAMPLE)
    lines[at] = [instead] if isinstance(at, slice) else instead
    with pytest.raises(DataError, match=rf"x\.conllu:? ?{said}"):
        from_conllu("\n".join(lines), "x.conllu")


def test_words_are_places_of_tokens_by_their_characters():
    parse = Parse("don't eat", ((0, 2), (2, 5), (6, 9)), ((0, 2, "aux"), (1, 0, "advmod"), (2, 0, "x")))
    own = aligned(parse, [2, 7, 8, 9, 3], [(0, 0), (0, 2), (2, 5), (6, 9), (0, 0)])
    assert own.words == ((1,), (2,), (3,))
    # Tokens "don", "'", "t", " ea", "t": the first two words share one, and are one.
    found = aligned(parse, range(7), [(0, 0), (0, 3), (3, 4), (4, 5), (5, 8), (8, 9), (0, 0)])
    assert (found.words, found.arcs) == (((1, 2, 3), (4, 5)), ((0, 1, "aux"), (1, 0, "x")))
    assert aligned(parse, [1, 2], [(0, 2), (2, 5)]) is None  # the last word has no token


SENTENCES = [
    Sentence((2, 10, 11, 12, 13, 3), ((1,), (2, 3), (4,)), ((0, 1, "det"), (1, 2, "nsubj"))),
    Sentence((2, 20, 21, 22, 3), ((1,), (2,), (3,)), ((0, 2, "det"), (1, 2, "amod"), (2, 0, "nsubj"))),
    Sentence((2, 31, 32, 3), ((1,), (2,)), ((0, 1, "det"), (1, 0, "obj"), (0, 1, "punct"))),
]


@pytest.mark.parametrize("make", [bert, gpt2])
def test_accuracies_are_those_of_loops_over_words(known, make):  # noqa: F811
    model, is_causal = make(), make is gpt2
    found = Roles(model, known)
    rows = [sentence.ids for sentence in SENTENCES]
    found.look(batches_of(rows))
    found.look(batches_of(rows, batch_size=2), "parses", sentences=SENTENCES)
    for block in range(len(found.blocks)):
        hits, counts, offsets = {}, {}, {}
        for sentence in SENTENCES:
            with torch.no_grad(), observing(model) as observe:
                weights = observe(input_ids=torch.tensor([sentence.ids]))[1][block].map[0].numpy()
            for dependent, head, relation in sentence.arcs:
                for way, query, key in (("to-head", dependent, head), ("from-head", head, dependent)):
                    others = [w for w in range(len(sentence.words)) if (w < query if is_causal else w != query)]
                    name = f"{relation}-{way}"
                    if name not in RELATION_SCORES or key not in others:
                        continue
                    q = list(sentence.words[query])
                    given = [weights[:, q][:, :, list(sentence.words[w])].sum(axis=2).mean(axis=1) for w in others]
                    hits[name] = hits.get(name, 0) + (np.argmax(given, axis=0) == others.index(key))
                    counts[name] = counts.get(name, 0) + 1
                    offsets.setdefault(name, []).append(key - query)
        for name in RELATION_SCORES:
            if name not in counts:
                assert np.isnan(found.of(block, name).value).all()
                continue
            np.testing.assert_allclose(found.of(block, name).value, hits[name] / counts[name])
            best = max(map(offsets[name].count, offsets[name])) / len(offsets[name])
            np.testing.assert_allclose(found.of(block, name).null, best)


def test_a_pipeline_of_spacy_gives_parses(monkeypatch):
    class Token:
        def __init__(self, i, idx, text, dep_, is_space=False):
            self.i, self.idx, self.text, self.dep_, self.is_space, self.head = i, idx, text, dep_, is_space, self

    cat, blank, runs = Token(0, 0, "Cats", "nsubjpass"), Token(1, 4, "  ", "dep", True), Token(2, 6, "run", "ROOT")
    cat.head = blank.head = runs

    class Pipeline:
        def pipe(self, texts):
            return ([cat, blank, runs] for _ in texts)

    monkeypatch.setitem(sys.modules, "spacy", types.SimpleNamespace(load=lambda model: Pipeline()))
    (parse,) = by_spacy("en", ["Cats  run"])
    assert named(parse) == {("Cats", "nsubj", "run")}
