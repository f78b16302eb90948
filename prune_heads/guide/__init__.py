"""The guide: one Markdown page a topic, read on the web or with `prune-heads guide`."""

from importlib import resources

TOPICS = (
    *("start", "concepts", "data", "criteria", "compare", "heads", "statistics", "report"),
    *("fit", "pruning", "models", "sweeps", "paper", "evaluator", "api", "errors", "limits"),
)
"""In the order in which a newcomer reads them; each is a file `TOPIC.md` beside this one."""


def page(topic: str) -> str:
    """The Markdown of a topic, one of `TOPICS`."""
    return resources.files(__name__).joinpath(f"{topic}.md").read_text(encoding="utf-8")


def title(topic: str) -> str:
    """The first heading of a topic."""
    return page(topic).partition("\n")[0].removeprefix("# ")
