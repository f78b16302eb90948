"""Asks the Hugging Face hub for the commit of a repository, within seconds."""

import threading
from concurrent.futures import Future
from typing import Literal

REQUEST_SECONDS = 5.0  # how long one connection or one answer may take before the hub counts as out of reach
PATIENCE_SECONDS = 8.0  # for all together: a host with many addresses, or a silent name server, takes turn after turn


def revision_of(repository: str, kind: Literal["model", "dataset"]) -> str:
    """The present commit of a repository; the hub's own libraries retry for minutes when it cannot be reached.

    What `huggingface_hub` raises comes out, or a TimeoutError.
    """
    from huggingface_hub import HfApi

    answer = Future[str]()

    def ask() -> None:
        try:
            found = HfApi().repo_info(repository, repo_type=kind, timeout=REQUEST_SECONDS, expand=["sha"])
            answer.set_result(str(found.sha))
        except Exception as error:
            answer.set_exception(error)

    # A daemon: a pool would wait for a connection that hangs before it lets the program end.
    threading.Thread(target=ask, daemon=True).start()
    try:
        return answer.result(timeout=PATIENCE_SECONDS)
    except TimeoutError:
        raise TimeoutError(f"no answer within {PATIENCE_SECONDS:g} s") from None
