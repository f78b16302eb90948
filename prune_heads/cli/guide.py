"""`prune-heads guide`: the pages that explain the program, offline."""

from typing import Annotated

from typer import Argument, BadParameter

from prune_heads.guide import TOPICS, page, title


def _topic(value: str | None) -> str | None:
    if value is not None and value not in TOPICS:
        raise BadParameter(f"{value!r} is not one of {', '.join(TOPICS)}.")
    return value


def guide(
    topic: Annotated[
        str | None, Argument(metavar="TOPIC", callback=_topic, help=f"One of {', '.join(TOPICS)}.")
    ] = None,
) -> None:
    """Read the guide in the terminal, a topic at a time; without a topic, list them."""
    from rich.markdown import Markdown

    from prune_heads.reporting.layout import console, speaking

    listed = (f"- `prune-heads guide {each}`: {title(each)}" for each in TOPICS)
    text = page(topic).rstrip() if topic else "\n".join(listed)
    terminal = console()
    with speaking():
        if terminal.is_terminal:
            terminal.print(Markdown(text))
        else:
            print(text)
