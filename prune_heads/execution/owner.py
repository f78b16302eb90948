"""The owner of a claim: a process, told apart from all others on all machines, and whether it is alive."""

import os
import platform
import secrets
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process, told apart from all others on all machines."""

    host: str
    """Processes with the same host can see whether the others are alive; see `machine`."""
    pid: int
    token: str

    @classmethod
    def me(cls) -> "Owner":
        """This process."""
        return cls(machine(), os.getpid(), secrets.token_hex(8))


@cache
def machine() -> str:
    """Where process numbers mean the same; two hosts or containers of one name differ in boot or namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{platform.node()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return f"{platform.node()} {uuid.getnode():x}"


def lives(pid: object) -> bool:
    """Whether this machine has a process of that number that has not ended."""
    if not isinstance(pid, int):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:  # on Linux; a killed process that nobody waits for stays as a zombie, as in many containers
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return True
