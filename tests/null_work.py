"""A worker on a sweep of null trials, in this process."""

from null_trial import KNOWN, begin

from prune_heads.execution.folder import SweepFolder
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
    Worker(Job(folder, sweep.trials, begin, **dict(policy)), events.append, stopping, **options).work()
    return folder, events


def kinds(events):
    return [event.kind for event in events]


def bytes_of(root):
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and path.name != "timing.json")
    return {path.relative_to(root): path.read_bytes() for path in files}
