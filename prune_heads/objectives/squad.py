"""Questions, contexts and answers as SQuAD publishes them, and as `datasets` hold them."""

import re
from pathlib import Path
from typing import Any

from prune_heads.errors import DataError
from prune_heads.objectives.formats import READERS, Columns, Wanted, checked
from prune_heads.objectives.values import text
from prune_heads.reading import json_of, read_bytes, text_of
from prune_heads.visible import brief


def read_squad(path: Path, wanted: Wanted, left_out: list[str] | None) -> Columns:
    """SQuAD's own JSON, 1.1 and 2.0: articles, their paragraphs, and the questions of each. Other JSON as elsewhere."""
    content = text_of(read_bytes(path, path.name, DataError), path.name, DataError)
    if not re.match(r'\s*\{\s*"(data|version)"\s*:', content):
        return READERS[".json"](path, wanted, left_out)
    is_not = f"{path.name}: the file cannot be read"
    squad: Any = json_of(content, is_not, DataError)
    found = Columns(checked(("question", "context", "answers", "id"), wanted, path), left_out=left_out)
    try:
        for article in squad["data"]:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    row = {"context": paragraph["context"], "answers": [], **asked}
                    found.rows.append([row.get(name) for name in wanted])
                    found.places.append(f"{path.name} question {len(found.rows)}")
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f'{is_not}: it must be SQuAD\'s JSON, {{"data": [{{"paragraphs": [{{"context": ..., "qas": [...]}}]}}]}}; '
            f"after {len(found.rows)} questions it is not ({type(error).__name__}: {error})"
        ) from error
    return found


def answers_of(value: object) -> dict[str, list[Any]]:
    """The right answers as `datasets` hold them: the `text` of each and its `answer_start`; no answer is empty lists.

    Raises:
        ValueError: If they are neither so nor as in SQuAD's files.
    """
    if isinstance(value, list) and all(isinstance(each, dict) for each in value):
        value = {key: [each.get(key) for each in value] for key in ("text", "answer_start")}
    found = value if isinstance(value, dict) else {}
    texts, starts = found.get("text"), found.get("answer_start")
    if not (isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts)) or not all(
        type(start) is int and start >= 0 for start in starts
    ):
        raise ValueError(
            'the answers must be {"text": [...], "answer_start": [...]} or a list of {"text": ..., "answer_start": '
            f"...}}, empty for a question without an answer; got {brief(value)}"
        )
    return {"text": [text(each) for each in texts], "answer_start": starts}
