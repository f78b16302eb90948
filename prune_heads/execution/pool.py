"""Workers that do one unit of work after another, wherever they run; one that dies is replaced.

A unit is whatever its workers take: a trial of a sweep, a shard of batches, a chain of steps.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from prune_heads.errors import PruneHeadsError, RunError, first_line

Begin = Callable[[int], Callable[[Any], Any]]
"""Called once in each worker with its number, from 0; gives what does a unit. Importable by name, or a partial."""

Name = TypeVar("Name", bound=Hashable)

MOST_DEATHS = 3
"""Workers that may die of one unit, or in a row before they have loaded."""


class LostError(Exception):
    """A worker's process or node is gone; the message says how."""


class Link(Protocol):
    """The connection to one worker. The first answer is None: it has loaded. Then it answers each unit."""

    def send(self, unit: Any) -> None:
        """Hand a unit to the worker."""

    def receive(self) -> Any:
        """Its answer, once `Crew.wait` has said that there is one.

        Raises:
            LostError: If the worker is gone.
            Exception: What the worker raised.
        """

    def kill(self) -> None:
        """End the worker at once."""


class Crew(Protocol):
    """Where workers run."""

    def start(self, number: int) -> Link:
        """Start a worker; it loads by itself."""

    def wait(self, links: Sequence[Any], seconds: float) -> Sequence[Any]:
        """Those of the links that have an answer, or whose worker is gone."""


@dataclass
class _Slot(Generic[Name]):
    number: int
    link: Link
    is_ready: bool = False
    doing: Name | None = None
    n_deaths: int = 0
    """In a row, before it was ready."""


class Pool(Generic[Name]):
    """So many workers. Use it in a `with` block, which ends them all."""

    def __init__(self, crew: Crew, n: int) -> None:
        self.crew = crew
        self.slots: list[_Slot[Name]] = []
        self.n = n

    def __enter__(self) -> Self:
        for number in range(self.n):
            self.slots.append(_Slot(number, self.crew.start(number)))
        return self

    def __exit__(self, *error: object) -> None:
        for slot in self.slots:
            slot.link.kill()

    @property
    def has_room(self) -> bool:
        """Whether a worker has loaded and has nothing to do."""
        return any(slot.is_ready and slot.doing is None for slot in self.slots)

    @property
    def is_working(self) -> bool:
        """Whether a unit is being done."""
        return any(slot.doing is not None for slot in self.slots)

    def submit(self, name: Name, unit: Any) -> None:
        """Hand a unit to a worker with nothing to do."""
        slot = next(slot for slot in self.slots if slot.is_ready and slot.doing is None)
        slot.doing = name
        slot.link.send(unit)

    def wait(self, seconds: float) -> list[tuple[Name, Any]]:
        """The units that have ended, each with its answer or exception; `LostError` if its worker died.

        Raises:
            RunError: If the last worker cannot be started.
            PruneHeadsError: What a worker raised as it loaded.
        """
        slots = {id(slot.link): slot for slot in self.slots}
        ended: list[tuple[Name, Any]] = []
        for link in self.crew.wait([slot.link for slot in self.slots], seconds):
            slot = slots[id(link)]
            try:
                answer = link.receive()
            except LostError as lost:
                self._replace(slot, lost)
                answer = lost
            except Exception as error:
                if not slot.is_ready:
                    raise _not_loaded(error) from error
                answer = error
            else:
                slot.is_ready = True
            if slot.doing is not None:
                ended.append((slot.doing, answer))
                slot.doing = None
        return ended

    def _replace(self, slot: _Slot[Name], lost: LostError) -> None:
        slot.link.kill()
        slot.n_deaths = 0 if slot.is_ready else slot.n_deaths + 1
        if slot.n_deaths < MOST_DEATHS:
            slot.link, slot.is_ready = self.crew.start(slot.number), False
            return
        self.slots.remove(slot)
        if not self.slots:
            raise RunError(
                f"workers must start; worker {slot.number + 1} died {MOST_DEATHS} times in a row while it loaded "
                f"({lost}). Each needs prune-heads, and memory for the model"
            ) from lost


def _not_loaded(error: Exception) -> PruneHeadsError:
    if isinstance(error, PruneHeadsError):
        return error
    return RunError(f"workers must start; one says {type(error).__name__}: {first_line(error)}")
