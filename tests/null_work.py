"""A worker on a sweep of null trials, in this process."""

from functools import partial

from null_trial import KNOWN, begin

from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.pool import Pool, outcome
from prune_heads.execution.spec import sweep_of
from prune_heads.execution.worker import Worker, begin_trials


def sweep(**content):
    return sweep_of(content, KNOWN, name="s", shown="s.toml")


def started(log):
    """Trial -> how often it was begun."""
    names = [path.name.rsplit(".", 2)[0] for path in log.iterdir()]
    return {name: names.count(name) for name in names}


def work(root, sweep, stopping=lambda: False, **options):
    events = []
    folder = SweepFolder.open(root, sweep)
    workers = options.pop("workers", here)
    Worker(folder, sweep.trials, begin, workers, events.append, stopping, **options).work()
    return folder, events


def kinds(events):
    return [event.kind for event in events]


def bytes_of(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "timing.json")
    return {path.relative_to(root): path.read_bytes() for path in files}


class Here(Pool):
    """A worker in this process, and the link to it: a double of processes, which take their time."""

    def start(self, number):
        self.number, self.work, self.answers = number, self.begin(number), [None]
        return self

    def heard(self, seconds):
        return [self] if self.answers else ()

    def send(self, unit):
        self.answers.append(outcome(self.work, unit))

    def receive(self):
        return self.answers.pop(0)

    def kill(self):
        pass


def here(begin, n):
    return Here(partial(begin_trials, begin, None, ()), 1)
