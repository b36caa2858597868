"""Load: memory, threads, file descriptors and files stay what they are, in large passes and over thousands of passes."""

import json
import math
import os
import shutil
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from campaign import Campaign, Table
from measure import SAMPLE_SECONDS, measured
from registries import ACCOUNT, MIRROR, Name, Store, stores
from support import BUNDLE, Hook, Running, User, descendants, processes, start, wait_for

SYNC = str(BUNDLE / "sync.py")
MB = 1e6
LIMIT = 7200.0  # seconds, for a pass and for the service
PATIENCE = 120.0  # seconds: the service and the other passes share the machine
TAGS = 20  # the service gets the next push of a tag after as many others
WINDOW = 5  # passes over which the service is sampled
MEMORY = 4 * MB  # an allocator's arenas, and garbage that is not yet collected
BYTES_AN_IMAGE = 7000
SQLITE_LOG = 1001 * 4120  # bytes: SQLite begins it anew after 1,000 pages of 4 KiB
# How much larger the last figure may be than the first, besides MEMORY.
SPARE = {
    "seconds": math.inf,
    "memory with cranes": 32 * MB,  # a crane that lives so briefly that few samples have it
    "most threads": 8,  # two cranes more that run at once
    "most descriptors": 24,
    "bytes in DATA_DIR": 512,  # the seconds in report.json have more digits or fewer
    "threads of supercronic": 4,  # Go keeps a thread for each system call that ever blocked at the same time
}

TEXT = """\
The registries are distribution with TLS and an account, on loopback. Each pass must exit with 0, leave no file in TMPDIR, and
make the targets equal to their sources. Of the passes in a row, `first` and `last` are the highest figures of the first and
the last ten (of seconds, the median).

The scheduled service is `entrypoint.py`, with a pass every second and a queue run every five, and `hook.py`. It runs at the
same time as the other rows. Every push that `hook.py` accepts must be synced. Its figures are the lowest of many samples in
five passes. Only memory may grow (by a tenth and 4 MB), SQLite's log (to 4 MB), and Go's threads (by four)."""

Figures = dict[str, float]


def held_by(pid: int, memory: str) -> Figures:
    """Return what the process `pid` holds: its `memory` (VmRSS, or VmHWM for the peak); nothing if it has ended."""
    with suppress(OSError, LookupError):  # a zombie has no memory
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return {"memory": int(status[memory][0]) * 1024, "threads": int(status["Threads"][0]), "descriptors": descriptors}
    return {}


def held_in(folder: Path) -> Figures:
    """Return how many files DATA_DIR holds, and how many bytes."""
    sizes = []
    for path in folder.iterdir():
        with suppress(OSError):  # it is gone
            sizes.append(path.stat().st_size)
    return {"files in DATA_DIR": len(sizes), "bytes in DATA_DIR": sum(sizes)}


def combine(choose: Callable[[Iterable[float]], float], figures: Sequence[Figures]) -> Figures:
    """Return what `choose` makes of all values of each figure."""
    names = dict.fromkeys(name for one in figures for name in one)
    return {name: choose(one[name] for one in figures if name in one) for name in names}


def add_rows(table: Table, what: str, size: str, first: Figures, last: Figures, spare: Mapping[str, float]) -> None:
    """Add a row for each figure, and a finding if it grew."""
    for name, value in first.items():
        is_memory = name.startswith("memory")
        shown = [f"{one / MB:.1f} MB" if is_memory else f"{round(one, 2):,}" for one in (value, last[name])]
        table.add(what, size, name, *shown)
        limit = value * 1.1 + MEMORY if is_memory else value
        table.check(last[name] <= limit + spare.get(name, 0), f"{what}, {size}: {name} grew from {shown[0]} to {shown[1]}")


@contextmanager
def watching() -> Iterator[list[Figures]]:
    """Yield a list, and add to it what the sync.py holds that this process starts meanwhile."""
    samples: list[Figures] = []
    over = threading.Event()

    def follow() -> None:
        pid = None
        while not over.wait(SAMPLE_SECONDS):
            if pid:
                samples.append(held_by(pid, "VmHWM"))
            else:
                children = ((child, argv) for child, (parent, argv) in processes().items() if parent == os.getpid())
                pid = next((child for child, argv in children if argv[1:] == [SYNC]), None)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(follow)
        try:
            yield samples
        finally:
            over.set()


class Mirror:
    """A user who mirrors `source` to `target`, and whose passes are measured."""

    def __init__(self, table: Table, folder: Path, registries: tuple[Store, Store]) -> None:
        folder.mkdir()
        self.table, self.user = table, User(folder / "work")
        self.source, self.target = registries
        self.hosts = [store.addresses["bare"] for store in registries]
        self.data = self.user.folder / "data"
        self.env = self.user.environ({"SSL_CERT_FILE": str(self.source.authority)})
        rows = [{"registry": host, "username": ACCOUNT[0], "password": ACCOUNT[1]} for host in self.hosts]
        self.user.write("accounts.json", rows)

    def rules(self, names: Iterable[Name]) -> dict[str, str]:
        """Return a rule for each repository and tag; an empty tag means every tag."""
        return {f"{self.hosts[0]}/{name}{tag and f':{tag}'}": f"{self.hosts[1]}/{MIRROR}/{name}" for name, tag in names}

    def run(self, what: str, copied: int, skipped: int) -> Figures:
        """Run sync.py, which must copy and skip so many images; return what it took."""
        with watching() as samples:
            done = measured([sys.executable, SYNC], self.user.folder, self.env, LIMIT)
        report = json.loads((self.data / "report.json").read_text())
        found = (done.code, *(report[key] for key in ("copied", "skipped", "failed")))
        end = (self.user.folder / "output.log").read_text(errors="replace")[-500:]
        self.table.check(found == (0, copied, skipped, 0), f"{what}: exit code, copied, skipped, failed: {found}; {end!r}")
        self.table.check(not list(self.user.tmp.iterdir()), f"{what}: a pass left files in TMPDIR")
        most = {name if name == "memory" else f"most {name}": value for name, value in combine(max, samples).items()}
        return most | {"memory with cranes": done.memory, "seconds": done.wall}

    def differing(self, names: Sequence[Name]) -> int:
        """Return how many images differ from their sources."""
        found = self.target.digests((f"{MIRROR}/{repository}", tag) for repository, tag in names)
        return sum(found[f"{MIRROR}/{name[0]}", name[1]] != self.source.pushed[name] for name in names)


def run_large(mirror: Mirror, what: str, names: Sequence[Name], copies: int, rules: Sequence[dict[str, str]]) -> None:
    """Run a pass that copies `copies` images, one that copies none, and one over a tenth. `rules`: for all, for a tenth."""
    count, tenth = len(names), len(names) // 10
    costs = []
    for content, copied, skipped in ((rules[0], copies, count - copies), (rules[0], 0, count), (rules[1], 0, tenth)):
        mirror.user.write("images.json", content)
        costs.append(mirror.run(what, copied, skipped))
    mirror.table.check(not mirror.differing(names), f"{what}: targets differ from their sources")
    add_rows(mirror.table, f"{what}; {copies} to copy, then none", f"{count:,}", costs[0], costs[1], SPARE)
    del costs[2]["memory with cranes"]  # there are none
    spare = SPARE | {"memory": BYTES_AN_IMAGE * (count - tenth)}
    add_rows(mirror.table, f"{what}; none to copy", f"{tenth:,}, then {count:,}", costs[2], costs[1], spare)


def run_many(mirror: Mirror, count: int) -> None:
    """Run `count` passes over 20 images, of which another one has changed each time."""
    what, names = "passes in a row over 20 images, of which one changed", [("series", f"v{number}") for number in range(20)]
    mirror.source.push_small(names)
    mirror.user.write("images.json", mirror.rules(names))
    mirror.run(what, len(names), 0)
    costs = []
    for number in range(count):
        changed = names[number % len(names)]
        mirror.source.push_small([changed])
        costs.append(mirror.run(f"{what}, pass {number + 1}", 1, len(names) - 1))
        mirror.table.check(not mirror.differing([changed]), f"{what}, pass {number + 1}: the target is not the new image")
        costs[-1] |= held_in(mirror.data)
    mirror.table.check(not mirror.differing(names), f"{what}: targets differ from their sources")
    ends = costs[:10], costs[-10:]
    first, last = (combine(max, end) | {"seconds": statistics.median(one["seconds"] for one in end)} for end in ends)
    add_rows(mirror.table, what, f"{count:,}", first, last, SPARE)


def run_both(mirror: Mirror, campaign: Campaign) -> None:
    """Run large passes over many repositories, and over many tags of one."""
    count, missing = campaign.pick(long=10_000, short=300), campaign.pick(long=200, short=20)
    names = [(f"image{number // 20:03}", f"v{number % 20}") for number in range(count)]
    mirror.source.push_small(names)
    mirror.target.mirror(mirror.source, dict.fromkeys(repository for repository, _ in names[:-missing]))
    run_large(mirror, "images", names, missing, (mirror.rules(names), mirror.rules(names[::10])))

    count, missing = campaign.pick(long=20_000, short=1_500), 50
    names = [("many", f"v{number}") for number in range(count)]
    mirror.source.push_tags("many", [tag for _, tag in names], images=50)
    mirror.target.mirror(mirror.source, ["many"])
    tags = mirror.target.folder / f"data/docker/registry/v2/repositories/{MIRROR}/many/_manifests/tags"
    for _, tag in names[:missing]:
        shutil.rmtree(tags / tag)
    run_large(mirror, "tags of a repository", names, missing, (mirror.rules([("many", "")]), mirror.rules([("many", "/7$/")])))


class Service:
    """A schedule and a webhook receiver that share DATA_DIR, and the pushes that the receiver has accepted."""

    def __init__(self, mirror: Mirror, schedule: Running, hook: Hook, stop: threading.Event) -> None:
        self.schedule, self.hook = schedule, hook
        self.lines: list[str] = []  # of the log, where a pass or a queue run ended, or something failed
        self.pushed: list[Name] = []
        self._log = schedule.log.open(errors="replace")
        self._mirror, self._stop, self._deadline = mirror, stop, time.monotonic() + LIMIT

    def count(self, text: str) -> int:
        """Return how many lines of the log have said `text`."""
        self.lines += [line for line in self._log if " done: " in line or " ERROR " in line]
        return sum(text in line for line in self.lines)

    def push(self) -> None:
        """Push an image that no rule has, and call the receiver. The last push of the same tag must be synced by then."""
        number, name = len(self.pushed), ("pushed/app", f"v{len(self.pushed) % TAGS}")
        if number >= TAGS:
            wait_for(lambda: not self._mirror.differing([name]), f"push {number - TAGS} is synced", PATIENCE)
        self._mirror.source.push_small([name])
        status, content = self.hook.hook(f"{self._mirror.hosts[0]}/{name[0]}:{name[1]}")
        assert status == 202, f"push {number}: {status} {content}"
        self.pushed.append(name)

    def advance(self, passes: int, observe: Callable[[], object] = lambda: None) -> None:
        """Push an image during each pass, until so many passes have ended; call `observe` meanwhile."""
        while (seen := self.count(" pass done: ")) < passes:
            is_over = self._stop.is_set() or time.monotonic() > self._deadline
            assert not is_over, f"there were only {seen} passes"
            self.push()
            wait_for(lambda: observe() or self.count(" pass done: ") > seen, f"pass {seen + 1} ends", PATIENCE)

    def sample(self) -> Figures:
        """Return the least of each figure during the next WINDOW passes."""
        samples: list[Figures] = []
        self.advance(self.count(" pass done: ") + WINDOW, lambda: samples.append(self._figures()))
        return combine(min, samples)

    def _figures(self) -> Figures:
        pids = {"entrypoint.py": self.schedule.process.pid, "hook.py": self.hook.running.process.pid}
        below = descendants(self.schedule.process.pid)
        pids["supercronic"] = next(iter(below), 0)  # the nearest; it forks, so others may have its name
        found: Figures = {"processes below entrypoint.py": len(below)}
        for name, pid in pids.items():
            found |= {f"{figure} of {name}": value for figure, value in held_by(pid, "VmRSS").items()}
        return found | held_in(self._mirror.data) | {"files in TMPDIR": len(list(self._mirror.user.tmp.iterdir()))}


def run_service(mirror: Mirror, campaign: Campaign, stop: threading.Event) -> Callable[[], None]:
    """Run the service over 2,000 passes; return what adds its rows."""
    table, user = mirror.table, mirror.user
    names = [("app", f"v{number}") for number in range(5)]
    mirror.source.push_small(names)
    user.write("images.json", mirror.rules(names))
    row = {"sourceName": mirror.hosts[0], "namespace": "pushed", "destinationName": f"{mirror.hosts[1]}/{MIRROR}"}
    (user.folder / "configs").mkdir()
    user.write("configs/sync.yaml", {"registry": {"reg": [row]}})
    cron = {"CRON": "* * * * * * *", "HOOK_CRON": "*/5 * * * * * *"}  # with seconds
    env = mirror.env | Hook.ENV | cron | {"ALIVE_FILE": str(user.home / "alive")}
    command, logs = [sys.executable, str(BUNDLE / "entrypoint.py")], [user.home / name for name in ("hook", "schedule")]
    with start([*command, "hook"], logs[0], env, cwd=user.folder) as receiver, ThreadPoolExecutor(64) as pool:
        hook = Hook(Running(receiver, logs[0]))
        list(pool.map(lambda _: hook.call("/status"), range(64)))  # now its own pool of threads is complete
        with start(command, logs[1], env, cwd=user.folder) as schedule:
            service = Service(mirror, Running(schedule, logs[1]), hook, stop)
            service.advance(campaign.pick(long=20, short=5))
            while not service.count(" queue run done: "):  # a pass may take all pushes; the first queue run writes its report
                service.advance(service.count(" pass done: ") + 1)
            first = service.sample()
            service.advance(campaign.pick(long=2000, short=15) - WINDOW)
            last = service.sample()
            with suppress(AssertionError):
                wait_for(lambda: not hook.call("/status")[1]["queue"]["images"], "the queue is empty", PATIENCE)
            table.check(not (queue := hook.call("/status")[1]["queue"]["waiting"]), f"not synced: {queue}")
            codes = [running.end(signal.SIGTERM).code for running in (service.schedule, service.hook.running)]
    table.check(codes == [143, 143], f"the service and the receiver ended with {codes}")
    left = [folder for folder in Path("/proc").glob("[0-9]*/cwd") if os.path.realpath(folder) == str(user.folder)]
    table.check(not left, f"the service left {len(left)} processes")
    table.check(not list(user.tmp.iterdir()), "the service left files in TMPDIR")
    table.check(not service.count(" ERROR "), f"the service logged errors: {service.lines[:3]}")
    table.check(not mirror.differing([*names, *set(service.pushed)]), "the service left targets that differ")
    counts = service.count(" pass done: "), service.count(" queue run done: "), len(service.pushed)
    size = "{:,} passes, {:,} queue runs, {:,} pushes".format(*counts)
    return lambda: add_rows(table, "scheduled service", size, first, last, SPARE | {"bytes in DATA_DIR": SQLITE_LOG})


def run(campaign: Campaign) -> Table:
    """Run large passes and many passes, and a scheduled service at the same time."""
    table = Table("Load", TEXT, ("what", "number", "figure", "first", "last"))
    stop = threading.Event()
    folder, other = campaign.folder, campaign.folder / "service"
    other.mkdir()
    with stores(folder) as registries, stores(other) as others, ThreadPoolExecutor(1) as pool:
        service = pool.submit(run_service, Mirror(table, other / "user", others), campaign, stop)
        try:
            run_both(Mirror(table, folder / "user", registries), campaign)
            run_many(Mirror(table, folder / "another", registries), campaign.pick(long=1_000, short=20))
        except BaseException:
            stop.set()
            raise
        try:
            service.result()()
        except AssertionError as error:
            table.check(None, f"the scheduled service: {error}")
    return table
