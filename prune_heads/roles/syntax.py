"""Parses: words, and relations between them, from constituency trees (by head rules) or CoNLL-U; words as tokens.

`definitions.toml` has the relations that are measured, those of Universal Dependencies, and the head rules.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

import numpy as np

from prune_heads.errors import DataError, OptionError, first_line
from prune_heads.roles.definitions import RELATION_SCORES, TREEBANK
from prune_heads.visible import brief

Arc = tuple[int, int, str]  # places of a dependent and of its head among the words, from 0; the relation


@dataclass(frozen=True)
class Parse:
    """A sentence with its words and their relations."""

    text: str
    words: tuple[tuple[int, int], ...]  # where each begins and ends in the text
    arcs: tuple[Arc, ...]


@dataclass(frozen=True)
class Sentence:
    """The same as a model is given it."""

    ids: tuple[int, ...]
    words: tuple[tuple[int, ...], ...]  # places of the tokens of each word
    arcs: tuple[Arc, ...]

    def pairs(self, is_causal: bool) -> Iterator[tuple[str, int, int]]:
        """The relations that are measured, both ways: name of the score, word that looks, word to find.

        Where it `is_causal`, only those whose word comes before that which looks.
        """
        for dependent, head, relation in self.arcs:
            for way, query, key in (("to-head", dependent, head), ("from-head", head, dependent)):
                if (name := f"{relation}-{way}") in RELATION_SCORES and (key < query or not is_causal):
                    yield name, query, key


def best_offsets(sentences: Iterable[Sentence], is_causal: bool) -> dict[str, dict[str, Any]]:
    """Of each score that has some: how many pairs there are, their most frequent distance, and its share of them."""
    distances = {name: Counter[int]() for name in RELATION_SCORES}
    for sentence in sentences:
        for name, query, key in sentence.pairs(is_causal):
            distances[name][key - query] += 1
    return {
        name: {"n_pairs": of.total(), "best_offset": best, "share_there": float(f"{n / of.total():.6g}")}
        for name, of in distances.items()
        for best, n in of.most_common(1)
    }


@dataclass(eq=False)
class _Node:
    label: str
    children: "list[_Node]" = field(default_factory=list)
    form: str = ""  # of a leaf
    word: int = -1  # which word stands for it, by the rules of `treebank.heads`, and the label of that
    tag: str = ""


def _child(nodes: Sequence[_Node], which: str, *labels: str) -> _Node | None:
    """The first or the last of these that has one of these labels, or any where none is named."""
    order = nodes if which == "first" else reversed(nodes)
    return next((node for node in order if not labels or node.label in labels), None)


def from_tree(tree: str, text: str) -> Parse:
    """From a bracketed tree of the Penn treebank's form, such as `(ROOT (S (NP (PRP It)) (VP (VBZ works))))`.

    Rules: a subject is the noun phrase of a clause nearest before its verb phrase; an object the last noun phrase right
    of a verb that is no form of "be", in its phrase; determiners (DT) and adjectives are those of a noun phrase. A
    `ValueError` says why if it is no tree, or its words are not those of the text.
    """
    nodes = _read(tree)
    words = _placed(text, [_forms(node.form) for node in nodes if node.form])
    if rest := text[words[-1][1] :].strip():
        raise ValueError(f"the parse must cover the text; it lacks {brief(rest)}")
    return Parse(text, tuple(words), tuple(dict.fromkeys(chain(*map(_arcs_of, reversed(nodes))))))


def _placed(text: str, words: Iterable[Sequence[str]]) -> list[tuple[int, int]]:
    """Where words begin and end that follow in a text, each in one of its forms; a `ValueError` where one does not."""
    spans, at = list[tuple[int, int]](), 0
    for forms in words:
        at = len(text) - len(text[at:].lstrip())
        form = next((form for form in forms if text.startswith(form, at)), None)
        if form is None:
            raise ValueError(f"the word {brief(forms[0])} must follow in the text, got {brief(text[at : at + 20])}")
        spans.append((at, at + len(form)))
        at += len(form)
    return spans


def _forms(word: str) -> list[str]:
    """How a text may write a word of the treebank."""
    plain = TREEBANK["brackets"].get(word, word).replace("\\/", "/")
    alike: list[str] = next((row["texts"] for row in TREEBANK["written"] if word in row["words"]), [])
    return [plain, *alike, plain.replace("'", "\u2019")]


def _read(tree: str) -> list[_Node]:
    """All nodes of a bracketed tree, children before parents; without recursion, for it may be of any depth."""
    must = "it must be one tree of brackets, each around a word or others, and closed"
    nodes, open_, n_words = list[_Node](), [_Node("")], 0
    for token in re.findall(r"\([^\s()]*|\)|[^\s()]+", tree):
        node = open_[-1]
        is_sound = bool(node.children) != bool(node.form) if token == ")" else not node.form
        if token.startswith("("):
            open_.append(_Node(re.split(r"[-=]", token[1:])[0] or token[1:]))
            node.children.append(open_[-1])
        elif len(open_) == 1 or not is_sound:
            raise ValueError(must)
        elif token != ")":
            node.form, node.word, node.tag = token, n_words, node.label
            n_words += 1
        else:
            nodes.append(open_.pop())
            rules = next(row["rules"] for row in TREEBANK["heads"] if node.label in row["of"] or not row["of"])
            if kid := next(filter(None, (_child(node.children, *rule.split()) for rule in rules)), None):
                node.word, node.tag = kid.word, kid.tag
    if len(open_) > 1 or len(open_[0].children) != 1:
        raise ValueError(must)
    return nodes


def _arcs_of(node: _Node) -> Iterator[Arc]:
    kids, adjectives = node.children, TREEBANK["adjectives"]
    for relation, phrases, labels in (("nsubj", TREEBANK["clauses"], ["VP"]), ("obj", ["VP"], TREEBANK["verbs"])):
        verb = _child(kids, "first", *labels)
        if node.label in phrases and verb and verb.form.lower() not in TREEBANK["be"]:
            at = kids.index(verb)
            if thing := _child(kids[:at] if relation == "nsubj" else kids[at:], "last", "NP"):
                yield thing.word, verb.word, relation
    for kid in (kid for kid in kids if node.label == "NP" and kid.word != node.word):
        if kid.label == "DT":
            yield kid.word, node.word, "det"
        elif kid.tag in adjectives and kid.label in (*adjectives, "ADJP"):
            yield kid.word, node.word, "amod"


def from_conllu(content: str, name: str) -> list[Parse]:
    """The sentences of a CoNLL-U file (https://universaldependencies.org/format.html).

    Words of a multiword token share its place in the text; empty nodes are left out. A `DataError` names the line
    that is not in the format, or the sentence whose words are not those of its text.
    """
    found, form = list[Parse](), "A CoNLL-U file must be as universaldependencies.org says"
    every = ((number, line.removesuffix("\r")) for number, line in enumerate(content.split("\n"), start=1))
    for has_text, group in groupby(every, lambda line: bool(line[1].strip())):
        block = list(group) if has_text else []
        said = [line.partition("=")[2].strip() for _, line in block if re.match(r"# *text *=", line)]
        words = [(number, line.split("\t")) for number, line in block if not line.startswith("#")]
        for number, fields in words:
            if len(fields) != 10 or not re.fullmatch(r"[0-9]+([-.][0-9]+)?", fields[0]):
                got = f"{len(fields)} fields" if len(fields) != 10 else f"the ID {brief(fields[0])}"
                must = "a word must have ten tab-separated fields and a number"
                raise DataError(f"{name} line {number}: {must}; got {got}. {form}")
        if words:
            try:
                found.append(_sentence([fields for _, fields in words], *said[-1:]))
            except ValueError as error:
                raise DataError(f"{name} line {words[0][0]}: {error}. {form}") from error
    if not found:
        raise DataError(f"{name}: the file must hold a sentence; got none. A CoNLL-U file has one word a line")
    return found


def _sentence(lines: Sequence[Sequence[str]], text: str | None = None) -> Parse:
    words = [fields for fields in lines if fields[0].isdecimal()]
    if not words or [int(fields[0]) for fields in words] != list(range(1, len(words) + 1)):
        raise ValueError("words must be numbered 1, 2, 3 and so on")
    written, covered = list[tuple[int, Sequence[str]]](), 0  # what stands in the text, each with its number of words
    for fields in lines:
        first, _, last = fields[0].partition("-")
        end = int(last or first) if "." not in first else covered  # an empty node has no word
        if not last and end <= covered:
            continue
        if not int(first) == covered + 1 <= end <= len(words):
            raise ValueError("a token of several words must have these words after it")
        written.append((end - covered, fields))
        covered = end
    made = "".join(f"{fields[1]}{'' if 'SpaceAfter=No' in fields[9] else ' '}" for _, fields in written)
    text = made.rstrip() if text is None else text
    spans = _placed(text, [fields[1:2] for _, fields in written])
    places = [span for span, (n_words, _) in zip(spans, written, strict=True) for _ in range(n_words)]
    for fields in words:
        if not fields[6].isdecimal() or int(fields[6]) > len(words):
            raise ValueError(f"the head of a word must be another word or 0; got {brief(fields[6])}")
    arcs = ((i, int(of[6]) - 1, relation_of(of[7])) for i, of in enumerate(words) if int(of[6]))
    return Parse(text, tuple(places), tuple(arcs))


def relation_of(label: str) -> str:
    """A relation without its subtype, as Universal Dependencies 2 calls it: `nsubj` of `nsubj:pass`."""
    plain = label.partition(":")[0]
    return TREEBANK["renamed"].get(plain, plain)


def aligned(parse: Parse, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Sentence | None:
    """The words as places of tokens, by their characters; None where a word has no token.

    Words that share a token are one word: those of a multiword token, or the two of "don't" in tokens "don", "'", "t".

    Args:
        parse: The words.
        ids: Tokens, special ones included.
        offsets: Where each begins and ends in the text; special ones are empty.
    """
    spans, places = np.asarray(parse.words), np.asarray(offsets).reshape(-1, 2)
    within = np.maximum.outer(spans[:, 0], places[:, 0]) < np.minimum.outer(spans[:, 1], places[:, 1])
    if not within.any(axis=1).all():
        return None
    of = np.cumsum([0, *~(within[1:] & within[:-1]).any(axis=1)]).tolist()  # word of the parse -> word of the model
    words = [tuple(np.flatnonzero(within[np.equal(of, word)].any(axis=0)).tolist()) for word in range(of[-1] + 1)]
    arcs = ((of[dependent], of[head], relation) for dependent, head, relation in parse.arcs)
    return Sentence(tuple(ids), tuple(words), tuple(arc for arc in arcs if arc[0] != arc[1]))


def by_spacy(model: str, texts: Sequence[str]) -> Iterator[Parse]:
    """Texts as a model of spaCy parses them, a sentence or more each; an `OptionError` if either is not installed."""
    try:
        import spacy

        parser = spacy.load(model)
    except (ImportError, OSError, ValueError) as error:
        must = f"--spacy must name a model that is installed with spaCy (extra 'spacy'); got {model}"
        raise OptionError(f"{must}: {first_line(error)}. Or give parses by --conllu") from error
    for text, document in zip(texts, parser.pipe(texts), strict=True):
        words = {token.i: token for token in document if not token.is_space}
        spans = tuple((token.idx, token.idx + len(token.text)) for token in words.values())
        places = {i: place for place, i in enumerate(words)}
        heads = [(places[i], places.get(token.head.i), relation_of(token.dep_)) for i, token in words.items()]
        yield Parse(text, spans, tuple((i, head, label) for i, head, label in heads if head not in (None, i)))
