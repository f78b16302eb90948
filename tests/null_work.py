"""A worker on a sweep of null trials, in this process."""

from null_trial import KNOWN, begin

from prune_heads.execution.folder import SweepFolder
from prune_heads.execution.pool import Pool
from prune_heads.execution.spec import sweep_of
from prune_heads.execution.worker import Job, Worker


def sweep(**content):
    return sweep_of(content, KNOWN, name="s", shown="s.toml")


def started(log):
    """Trial -> how often it was begun."""
    names = [path.name.rsplit(".", 2)[0] for path in log.iterdir()]
    return {name: names.count(name) for name in names}


def work(root, sweep, policy=(), stopping=lambda: False, **options):
    events = []
    folder = SweepFolder.open(root, sweep)
    workers = options.pop("workers", here)
    job = Job(folder, sweep.trials, begin, **dict(policy))
    Worker(job, workers, events.append, stopping, **options).work()
    return folder, events


def kinds(events):
    return [event.kind for event in events]


def bytes_of(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "timing.json")
    return {path.relative_to(root): path.read_bytes() for path in files}


class Here:
    """A crew of one worker in this process, and the link to it: a double of processes, which take their time."""

    def __init__(self, begin):
        self.begin = begin
        self.answers = []

    def start(self, number):
        self.work = self.begin(number)
        self.answers = [None]
        return self

    def wait(self, links, seconds):
        return links if self.answers else ()

    def send(self, unit):
        self.answers.append(self.work(unit))

    def receive(self):
        return self.answers.pop(0)

    def kill(self):
        pass


def here(begin, n):
    return Pool(Here(begin), 1)
