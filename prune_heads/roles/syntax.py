"""Parses: words, and relations between them, from constituency trees (by head rules) or CoNLL-U; words as tokens.

The relations are those of Universal Dependencies that `definitions.toml` names.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prune_heads.errors import DataError
from prune_heads.visible import brief

Arc = tuple[int, int, str]  # places of a dependent and of its head among the words, from 0; the relation

_SAME = {"dobj": "obj", "nsubjpass": "nsubj"}  # names of relations before Universal Dependencies 2
_QUOTES = ('"', "``", "''", "\u201c", "\u201d", "'", "`", "\u2018", "\u2019")
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}
_DASHES = ("--", "\u2014", "\u2013", "-")
_BE = frozenset(["be", "is", "are", "was", "were", "am", "been", "being", "'s", "'re", "'m"])
_NOUNS = ("NN", "NNS", "NNP", "NNPS")
_VERBS = ("VB", "VBD", "VBG", "VBN", "VBP", "VBZ")
_ADJECTIVES = ("JJ", "JJR", "JJS")
_CLAUSES = ("S", "SQ", "SINV")


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


@dataclass
class _Node:
    label: str
    children: "list[_Node]"
    word: int = -1  # of a leaf: which word it is
    form: str = ""

    def head(self) -> "_Node":
        """The leaf that stands for it: Collins (1999, appendix A), but a verb phrase has its innermost verb phrase's.

        So auxiliaries have no arguments, as in Universal Dependencies; of a copula the verb is the head, not what
        follows it.
        """
        node = self
        while node.children:
            node = node._head_child()
        return node

    def _head_child(self) -> "_Node":
        kids = self.children
        if self.label in ("NP", "NX", "WHNP"):
            return _last(kids, (*_NOUNS, "NX")) or _first(kids, ("NP", "WHNP")) or _last(kids, _PRONOUNS) or kids[-1]
        if self.label == "VP":
            return _first(kids, ("VP",)) or _first(kids, _VERBS) or _first(kids, ("MD", "TO")) or kids[0]
        if self.label in (*_CLAUSES, "SBAR", "SBARQ", "ROOT"):
            return _first(kids, ("VP",)) or _first(kids, (*_CLAUSES, "SBAR")) or _first(kids, _VERBS) or kids[0]
        if self.label in ("PP", "WHPP"):
            return _first(kids, ("IN", "TO")) or kids[0]
        return _last(kids, (*_ADJECTIVES, "RB", "CD")) or kids[-1]


_PRONOUNS = ("PRP", "CD", "JJ", "DT", "EX", "FW", "QP", "ADJP", "WP")


def _first(nodes: Sequence[_Node], labels: Sequence[str]) -> _Node | None:
    return next((node for node in nodes if node.label in labels), None)


def _last(nodes: Sequence[_Node], labels: Sequence[str]) -> _Node | None:
    return _first(list(reversed(nodes)), labels)


def from_tree(tree: str, text: str) -> Parse:
    """From a bracketed tree of the Penn treebank's form, such as `(ROOT (S (NP (PRP It)) (VP (VBZ works))))`.

    Rules: a subject is the noun phrase of a clause nearest before its verb phrase; an object the last noun phrase
    right of a verb that is no form of "be", in its phrase; determiners (DT) and adjectives are those of a noun phrase.

    Raises:
        ValueError: Saying why, if it is no tree, or its words are not those of the text.
    """
    root, leaves = _read(tree)
    words, at = list[tuple[int, int]](), 0
    for leaf in leaves:
        words.append(_next(text, at, list(_forms(leaf.form))))
        at = words[-1][1]
    if rest := text[at:].strip():
        raise ValueError(f"the parse must cover the text; it lacks {brief(rest)}")
    return Parse(text, tuple(words), tuple(dict.fromkeys(_arcs(root))))


def _next(text: str, at: int, forms: Sequence[str]) -> tuple[int, int]:
    """Where a word begins and ends that follows in a text, in one of its forms; a `ValueError` where none does."""
    at += len(text[at:]) - len(text[at:].lstrip())
    for form in forms:
        if text.startswith(form, at):
            return at, at + len(form)
    raise ValueError(f"the word {brief(forms[0])} must follow in the text, got {brief(text[at : at + 20])}")


def _forms(word: str) -> Iterator[str]:
    """How a text may write a word of the treebank."""
    plain = _BRACKETS.get(word, word).replace("\\/", "/")
    yield plain
    yield from _QUOTES if word in _QUOTES else _DASHES if word == "--" else ("\u2026",) if word == "..." else ()
    yield plain.replace("'", "\u2019")


def _read(tree: str) -> tuple[_Node, list[_Node]]:
    """The root and the leaves of a bracketed tree; it does not recurse, for a file may be nested to any depth."""
    top, leaves = _Node("", []), list[_Node]()
    open_: list[_Node] = [top]
    for token in re.findall(r"\([^\s()]*|\)|[^\s()]+", tree):
        if token.startswith("("):
            open_[-1].children.append(node := _Node(re.split(r"[-=]", token[1:])[0] or token[1:], []))
            open_.append(node)
        elif token == ")":
            if len(open_) == 1:
                raise ValueError("brackets must be closed as often as they are opened")
            node = open_.pop()
            if bool(node.children) == bool(node.form):
                raise ValueError("each bracket must hold a word or others")
        else:
            node = open_[-1]
            if node.form or node is top:
                raise ValueError("each word must have a bracket of its own")
            node.word, node.form = len(leaves), token
            leaves.append(node)
    if len(open_) > 1 or len(top.children) != 1:
        raise ValueError("it must be one tree, with all its brackets closed")
    return top, leaves


def _arcs(root: _Node) -> Iterator[Arc]:
    left = [root]
    while left:
        node = left.pop()
        left += node.children
        yield from _arcs_of(node)


def _arcs_of(node: _Node) -> Iterator[Arc]:
    kids = [child for child in node.children if child.children or child.form]
    if node.label in _CLAUSES and (verb := _first(kids, ("VP",))):
        before = kids[: next(i for i, kid in enumerate(kids) if kid is verb)]
        if subject := _last(before, ("NP",)):
            yield subject.head().word, verb.head().word, "nsubj"
    if node.label == "VP" and (verb := _first(kids, _VERBS)) and verb.form.lower() not in _BE:
        after = kids[next(i for i, kid in enumerate(kids) if kid is verb) + 1 :]
        if thing := _last(after, ("NP",)):
            yield thing.head().word, verb.word, "obj"
    if node.label == "NP":
        head = node.head()
        for kid in kids:
            leaf = kid.head()
            if leaf is not head and kid.label == "DT":
                yield leaf.word, head.word, "det"
            if leaf is not head and leaf.label in _ADJECTIVES and kid.label in (*_ADJECTIVES, "ADJP"):
                yield leaf.word, head.word, "amod"


def from_conllu(content: str, name: str) -> list[Parse]:
    """The sentences of a CoNLL-U file (https://universaldependencies.org/format.html).

    Words of a multiword token share its place in the text; empty nodes are left out.

    Raises:
        DataError: Naming the line that is not in the format, or the sentence whose words are not those of its text.
    """
    found, lines = list[Parse](), list[tuple[int, list[str]]]()
    text: str | None = None

    def fail(number: int, problem: str) -> DataError:
        return DataError(f"{name} line {number}: {problem}. A CoNLL-U file must be as universaldependencies.org says")

    for number, line in enumerate([*content.split("\n"), ""], start=1):
        line = line.removesuffix("\r")
        if line.startswith("#"):
            text = line.partition("=")[2].strip() if re.match(r"# *text *=", line) else text
        elif line.strip():
            fields = line.split("\t")
            if len(fields) != 10 or not re.fullmatch(r"[0-9]+([-.][0-9]+)?", fields[0]):
                got = f"{len(fields)} fields" if len(fields) != 10 else f"the ID {brief(fields[0])}"
                raise fail(number, f"a word must have ten tab-separated fields and a number; got {got}")
            lines.append((number, fields))
        elif lines:
            try:
                found.append(_sentence([fields for _, fields in lines], text))
            except ValueError as error:
                raise fail(lines[0][0], str(error)) from error
            lines, text = [], None
    if not found:
        raise DataError(f"{name}: the file must hold a sentence; got none. A CoNLL-U file has one word a line")
    return found


def _sentence(lines: Sequence[Sequence[str]], text: str | None) -> Parse:
    plain = [fields for fields in lines if fields[0].isdecimal()]
    if [int(fields[0]) for fields in plain] != list(range(1, len(plain) + 1)):
        raise ValueError("words must be numbered 1, 2, 3 and so on")
    spans, covered, ends = list[tuple[int, int]](), 0, {}
    made = ""
    for fields in lines:
        first, _, last = fields[0].partition("-")
        if "." in fields[0] or (not last and int(first) <= covered):
            continue
        covered = int(last or first)
        if not int(first) <= covered <= len(plain):
            raise ValueError("a token of several words must have these words after it")
        ends[int(first)] = (covered, fields[1])
        made += fields[1] + ("" if "SpaceAfter=No" in fields[9] else " ")
    text, at = made.rstrip() if text is None else text, 0
    for begin, (end, form) in ends.items():
        spans += [_next(text, at, [form])] * (end - begin + 1)
        at = spans[-1][1]
    arcs = []
    for fields in plain:
        if not fields[6].isdecimal() or int(fields[6]) > len(plain):
            raise ValueError(f"the head of a word must be another word or 0; got {brief(fields[6])}")
        if fields[6] != "0":
            arcs.append((int(fields[0]) - 1, int(fields[6]) - 1, relation_of(fields[7])))
    return Parse(text, tuple(spans), tuple(arcs))


def relation_of(label: str) -> str:
    """A relation without its subtype, as Universal Dependencies 2 calls it: `nsubj` of `nsubj:pass`."""
    plain = label.partition(":")[0]
    return _SAME.get(plain, plain)


def aligned(parse: Parse, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> Sentence | None:
    """The words as places of tokens, by their characters; None where a word has no token.

    Words that share a token are one word: those of a multiword token, or the two of "don't" in tokens "don", "'", "t".

    Args:
        parse: The words.
        ids: Tokens, special ones included.
        offsets: Where each begins and ends in the text; special ones are empty.
    """
    words, of = list[dict[int, None]](), list[int]()
    for first, last in parse.words:
        tokens = dict.fromkeys(i for i, (begin, end) in enumerate(offsets) if max(begin, first) < min(end, last))
        if not tokens:
            return None
        if words and words[-1].keys() & tokens.keys():
            words[-1] |= tokens
        else:
            words.append(tokens)
        of.append(len(words) - 1)
    arcs = ((of[dependent], of[head], relation) for dependent, head, relation in parse.arcs)
    return Sentence(tuple(ids), tuple(map(tuple, words)), tuple(arc for arc in arcs if arc[0] != arc[1]))


def by_spacy(nlp: Any, texts: Sequence[str]) -> Iterator[Parse]:
    """Texts as a pipeline of spaCy parses them, one sentence or more each."""
    for text, document in zip(texts, nlp.pipe(texts), strict=True):
        spans = tuple((token.idx, token.idx + len(token.text)) for token in document if not token.is_space)
        places = {token.i: place for place, token in enumerate(t for t in document if not t.is_space)}
        arcs = [
            (places[token.i], places[token.head.i], relation_of(token.dep_))
            for token in document
            if token.i in places and token.head.i in places and token.head.i != token.i
        ]
        yield Parse(text, spans, tuple(arcs))
