"""`--json`; the other options are in `prune_heads.options`."""

from typing import Annotated

from typer import Option

Json = Annotated[bool, Option("--json", help="Print one JSON object and nothing else to stdout.")]
