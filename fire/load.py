"""Load: memory, threads, file descriptors and files stay what they are, in large passes and over thousands of passes."""

import json
import os
import shutil
import signal
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from http import HTTPStatus
from pathlib import Path
from typing import Any

from campaign import Campaign, Table
from measure import SAMPLE_SECONDS, measured
from registries import ACCOUNT, MIRROR, Name, Store, stores
from support import BUNDLE, Hook, Running, User, descendants, processes, start, wait_for

MB = 1e6
LIMIT = 1800.0  # seconds for one pass
SERVICE_LIMIT = 7200.0  # seconds for all passes of the service
PATIENCE = 120.0  # seconds for a pass or a push of the service, which shares the machine with the other passes
SPARE = 4 * MB  # of memory: an allocator's arenas, and the garbage of a runtime that collects it
BYTES_AN_IMAGE = 8000
MOST_THREADS = 40  # of a pass, however many images it has
MOST_DESCRIPTORS = 100
WAL = 1001 * 4120  # bytes: SQLite begins its log anew after 1,000 pages of 4 KiB
DIGITS = 512  # bytes: report.json holds seconds, which have more digits or fewer
TAGS = 20  # the service gets another push of an image after as many pushes
WINDOW = 5  # passes over which the service is sampled
CALLS = 64  # to the receiver at once, so that it has started all threads of its pool

TEXT = """\
Distribution registries with TLS and an account, on loopback. A row fails if its last figure is larger than the first; memory
may be a tenth and 4 MB larger. After every pass all targets are compared with their sources. The scheduled service
(`entrypoint.py` with a pass and a queue run every second, and `hook.py`) runs at the same time as the other rows. Every push
that it accepts must be synced. Its figures are the least of all samples during five passes: the first five after twenty
passes, and the last five."""


@dataclass(frozen=True)
class Sample:
    """What a process holds: bytes of memory, and the most that it ever held, threads, file descriptors."""

    memory: int = 0
    peak: int = 0
    threads: int = 0
    descriptors: int = 0

    def most(self, other: "Sample") -> "Sample":
        """Return the larger of each figure."""
        return Sample(*map(max, zip(vars(self).values(), vars(other).values(), strict=True)))


@dataclass(frozen=True)
class Cost:
    """What a pass took: seconds, bytes of the whole tree, the most that sync.py itself held, and how it ended."""

    seconds: float
    tree: int
    own: Sample
    code: int


@dataclass(frozen=True)
class Growth:
    """A row of the table. The figure must not grow by more than `spare`; None: it is only shown."""

    what: str
    size: str
    figure: str
    first: float
    last: float
    spare: float | None = 0.0

    def add_to(self, table: Table) -> None:
        """Add the row, and a finding if the figure grew."""
        is_memory = self.figure.startswith("memory")
        first, last = (f"{one / MB:.1f} MB" if is_memory else f"{round(one, 2):,}" for one in (self.first, self.last))
        table.add(self.what, self.size, self.figure, first, last)
        if self.spare is not None:
            limit = self.first * (1.1 if is_memory else 1) + self.spare
            table.check(self.last <= limit, f"{self.what}, {self.figure}: from {first} to {last}")


def sample(pid: int) -> Sample | None:
    """Return what the process `pid` holds now; None if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
        status = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        memory, peak, threads = (int(status[name][0]) for name in ("VmRSS", "VmHWM", "Threads"))
        return Sample(memory * 1024, peak * 1024, threads, len(list(Path(f"/proc/{pid}/fd").iterdir())))
    except (OSError, LookupError):  # a zombie has no memory
        return None


def files(folder: Path) -> list[int]:
    """Return the size of each file below `folder`."""
    found = []
    for path in folder.rglob("*"):
        try:
            found += [path.stat().st_size] if path.is_file() else []
        except OSError:  # it is gone
            continue
    return found


class Watch(threading.Thread):
    """Follow the sync.py that this process starts next: `most` is the most that it held."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = Sample()
        self._over = threading.Event()

    def run(self) -> None:
        pid = None
        while not self._over.wait(SAMPLE_SECONDS):
            if pid is None:
                below = ((child, argv[1:2]) for child, (parent, argv) in processes().items() if parent == os.getpid())
                pid = next((child for child, script in below if script == [str(BUNDLE / "sync.py")]), None)
            elif found := sample(pid):
                self.most = self.most.most(found)

    def stop(self) -> None:
        """Stop following."""
        self._over.set()
        self.join()


class Mirror:
    """A user who mirrors `source` to `target`, and whose passes are measured."""

    def __init__(self, folder: Path, source: Store, target: Store) -> None:
        folder.mkdir()
        self.user = User(folder / "work")
        self.source, self.target = source, target
        self.hosts = [store.addresses["bare"] for store in (source, target)]
        self.data = self.user.folder / "data"
        self.env = self.user.environ({"SSL_CERT_FILE": str(source.authority), "LOG_FORMAT": "json"})
        rows = [{"registry": host, "username": ACCOUNT[0], "password": ACCOUNT[1]} for host in self.hosts]
        self.user.write("accounts.json", rows)

    def rule(self, end: str, tags: str = "") -> tuple[str, str]:
        """Return the source and the target of `end`, a repository with or without a tag."""
        return f"{self.hosts[0]}/{end}{tags}", f"{self.hosts[1]}/{MIRROR}/{end}"

    def run(self) -> Cost:
        """Run sync.py and measure it."""
        watch = Watch()
        watch.start()
        done = measured([sys.executable, str(BUNDLE / "sync.py")], self.user.folder, self.env, LIMIT)
        watch.stop()
        return Cost(done.wall, done.memory, watch.most, done.code)

    def differing(self, names: Sequence[Name]) -> int:
        """Return how many images differ from their sources."""
        found = self.target.digests((f"{MIRROR}/{repository}", tag) for repository, tag in names)
        return sum(found[f"{MIRROR}/{name[0]}", name[1]] != self.source.pushed[name] for name in names)


def run_large(table: Table, mirror: Mirror, what: str, names: Sequence[Name], copies: int, rules: Sequence[Any]) -> None:
    """Run a pass that copies the missing images, one that finds all equal, and one over a tenth. `rules`: all, a tenth."""
    tenth = len(names) // 10
    costs = []
    for content, missing, count in ((rules[0], copies, len(names)), (rules[0], 0, len(names)), (rules[1], 0, tenth)):
        mirror.user.write("images.json", content)
        costs.append(mirror.run())
        report = json.loads((mirror.data / "report.json").read_text())
        found = (costs[-1].code, *(report[key] for key in ("copied", "skipped", "failed")))
        table.check(found == (0, missing, count - missing, 0), f"{what}: exit code, copied, skipped and failed: {found}")
        table.check(not list(mirror.user.tmp.iterdir()), f"{what}: a pass left files in TMPDIR")
    differing = mirror.differing(names)
    table.check(not differing, f"{what}: {differing} targets differ from their sources")

    copying, equal, part = costs
    first, size = f"{what}: {copies} copied, then none", f"{len(names):,}"
    then, sizes, spare = f"{what}: all equal", f"{tenth:,}, then {size}", SPARE + BYTES_AN_IMAGE * (len(names) - tenth)
    for row in (
        Growth(first, size, "memory of all processes", copying.tree, equal.tree),
        Growth(first, size, "threads", copying.own.threads, equal.own.threads),
        Growth(first, size, "descriptors", copying.own.descriptors, equal.own.descriptors),
        Growth(first, size, "seconds", copying.seconds, equal.seconds, None),
        Growth(then, sizes, "memory", part.own.peak, equal.own.peak, spare),
        Growth(then, sizes, "threads", part.own.threads, equal.own.threads),
        Growth(then, sizes, "descriptors", part.own.descriptors, equal.own.descriptors),
        Growth(then, sizes, "seconds", part.seconds, equal.seconds, None),
    ):
        row.add_to(table)
    table.check(copying.own.threads <= MOST_THREADS, f"{first}: {copying.own.threads} threads")
    table.check(copying.own.descriptors <= MOST_DESCRIPTORS, f"{first}: {copying.own.descriptors} descriptors")


def run_many(table: Table, mirror: Mirror, count: int) -> None:
    """Run `count` passes over 20 images, of which another one has changed each time."""
    names = [("series", f"v{number}") for number in range(20)]
    mirror.source.push_small(names)
    mirror.user.images(*(mirror.rule(f"{repository}:{tag}") for repository, tag in names))
    table.check(mirror.run().code == 0, "the pass before the passes in a row failed")
    costs, kept, left = [], [], 0
    for number in range(count):
        changed = names[number % len(names)]
        mirror.source.push_small([changed])
        costs.append(mirror.run())
        table.check(costs[-1].code == 0, f"pass {number + 1} in a row: exit code {costs[-1].code}")
        table.check(not mirror.differing([changed]), f"pass {number + 1} in a row did not copy the image")
        kept.append(files(mirror.data))
        left = max(left, len(list(mirror.user.tmp.iterdir())))
    table.check(not mirror.differing(names), "after the passes in a row, targets differ from their sources")

    what, size, ends = "passes in a row over 20 images, 1 copied", f"{count:,}", (costs[:10], costs[-10:])
    first, last = (reduce(Sample.most, (cost.own for cost in end)) for end in ends)
    for row in (
        Growth(what, size, "memory", first.peak, last.peak, SPARE),
        Growth(what, size, "threads", first.threads, last.threads),
        Growth(what, size, "descriptors", first.descriptors, last.descriptors),
        Growth(what, size, "files in DATA_DIR", len(kept[0]), len(kept[-1])),
        Growth(what, size, "bytes in DATA_DIR", sum(kept[0]), sum(kept[-1]), DIGITS),
        Growth(what, size, "files in TMPDIR after any pass", 0, left),
        Growth(what, size, "seconds per pass", *(statistics.median(cost.seconds for cost in end) for end in ends), None),
    ):
        row.add_to(table)


class Log:
    """What a scheduled service has logged."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""
        self._passes = 0
        self.queue_runs = 0
        self.errors: list[str] = []

    def passes(self) -> int:
        """Return how many passes have ended."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for row in map(json.loads, lines):
            self._passes += row["message"].startswith("pass done")
            self.queue_runs += row["message"].startswith("queue run done")
            self.errors += [row["message"]] if row["level"] == "ERROR" else []
        return self._passes


class Service:
    """A schedule and a webhook receiver that share DATA_DIR, and the pushes that the receiver has accepted."""

    def __init__(self, mirror: Mirror, schedule: Running, hook: Hook, stop: threading.Event) -> None:
        self.mirror, self.schedule, self.hook = mirror, schedule, hook
        self.log = Log(schedule.log)
        self.pushes: list[Name] = []
        self._stop = stop
        self._deadline = time.monotonic() + SERVICE_LIMIT

    def push(self) -> None:
        """Push an image that no rule has, and call the receiver. The last push of the same tag must be synced by then."""
        name = ("pushed/app", f"v{len(self.pushes) % TAGS}")
        if name in self.pushes[-TAGS:]:
            wait_for(lambda: not self.mirror.differing([name]), f"push {len(self.pushes) - TAGS} is synced", PATIENCE)
        self.mirror.source.push_small([name])
        status, content = self.hook.hook(f"{self.mirror.hosts[0]}/{name[0]}:{name[1]}")
        assert status == HTTPStatus.ACCEPTED, f"push {len(self.pushes)}: {status} {content}"
        self.pushes.append(name)

    def advance(self, passes: int, observe: Callable[[], None] = lambda: None) -> None:
        """Push an image during each pass until so many passes have ended; call `observe` again and again."""
        while (seen := self.log.passes()) < passes:
            assert not self._stop.is_set() and time.monotonic() < self._deadline, f"the service had only {seen} passes"
            self.push()

            def has_ended(seen: int = seen) -> bool:
                observe()
                return self.log.passes() > seen

            wait_for(has_ended, f"pass {seen + 1} ends", PATIENCE)

    def sample(self) -> dict[str, float]:
        """Return the least of each figure during the next WINDOW passes: what a running pass adds is no growth."""
        least: dict[str, float] = {}

        def observe() -> None:
            for figure, value in self._figures():
                least[figure] = min(value, least.get(figure, value))

        self.advance(self.log.passes() + WINDOW, observe)
        return least

    def _figures(self) -> Iterator[tuple[str, float]]:
        pids = {"entrypoint.py": self.schedule.process.pid, "hook.py": self.hook.running.process.pid}
        below = [descendants(pid) for pid in pids.values()]
        pids |= {"supercronic": pid for pid, argv in below[0].items() if argv and Path(argv[0]).name == "supercronic"}
        for name, pid in pids.items():
            if found := sample(pid):
                yield from {f"memory of {name}": found.memory, f"threads of {name}": found.threads}.items()
                yield f"descriptors of {name}", found.descriptors
        yield "processes", len(below[0]) + len(below[1]) + 2
        yield "files in TMPDIR", len(files(self.mirror.user.tmp))
        yield "files in DATA_DIR", len(found_files := files(self.mirror.data))
        yield "bytes in DATA_DIR", sum(found_files)


@contextmanager
def serve(mirror: Mirror, stop: threading.Event) -> Iterator[Service]:
    """Start a schedule of passes and queue runs every second, and a receiver for the same DATA_DIR."""
    cron = dict.fromkeys(("CRON", "HOOK_CRON"), "* * * * * * *")
    env = mirror.env | Hook.ENV | cron | {"ALIVE_FILE": str(mirror.user.home / "alive")}
    logs = [mirror.user.home / f"{script}.log" for script in ("hook.py", "entrypoint.py")]
    more: dict[str, Any] = {"env": env, "cwd": mirror.user.folder, "start_new_session": True}
    with start([sys.executable, str(BUNDLE / "hook.py")], logs[0], **more) as receiver:
        hook = Hook(Running(receiver, logs[0]))
        with ThreadPoolExecutor(CALLS) as pool:
            list(pool.map(lambda _: hook.call("/status"), range(CALLS)))
        with start([sys.executable, str(BUNDLE / "entrypoint.py")], logs[1], **more) as schedule:
            yield Service(mirror, Running(schedule, logs[1]), hook, stop)


def run_service(table: Table, mirror: Mirror, passes: int, warm: int, stop: threading.Event) -> list[Growth]:
    """Run `passes` passes, the first `warm` before the first sample; return the rows."""
    fixed = [("app", f"v{number}") for number in range(5)]
    mirror.source.push_small(fixed)
    mirror.user.images(*(mirror.rule(f"{repository}:{tag}") for repository, tag in fixed))
    row = {"sourceName": mirror.hosts[0], "namespace": "pushed", "destinationName": f"{mirror.hosts[1]}/{MIRROR}"}
    (mirror.user.folder / "configs").mkdir()
    mirror.user.write("configs/sync.yaml", {"registry": {"reg": [row]}})
    with serve(mirror, stop) as service:
        service.advance(warm)
        first = service.sample()
        service.advance(passes - WINDOW)
        last = service.sample()
        wait_for(lambda: not service.hook.call("/status")[1]["queue"]["images"], "the queue is empty", PATIENCE)
        codes = [running.end(signal.SIGTERM).code for running in (service.schedule, service.hook.running)]
        done = service.log.passes()
    table.check(codes == [143, 143], f"the service and the receiver ended with {codes}")
    table.check(not service.log.errors, f"the service logged {len(service.log.errors)} errors, first {service.log.errors[:1]}")
    differing = mirror.differing([*fixed, *set(service.pushes)])
    table.check(not differing, f"after the service ended, {differing} targets differ from their sources")
    left = [pid for pid in processes() if belongs_to(pid, mirror.user.folder)]
    table.check(not left, f"the service left {len(left)} processes")
    table.check(not files(mirror.user.tmp), "the service left files in TMPDIR")

    size = f"{done:,} passes, {service.log.queue_runs:,} queue runs, {len(service.pushes):,} pushes"
    spares = {"memory": SPARE, "bytes": WAL + DIGITS}
    return [
        Growth("scheduled service", size, figure, value, last[figure], spares.get(figure.split()[0], 0))
        for figure, value in first.items()
    ]


def belongs_to(pid: int, folder: Path) -> bool:
    """Return whether the process runs in `folder`."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == folder
    except OSError:
        return False


def run(campaign: Campaign) -> Table:
    """Run large passes and many passes, and a scheduled service at the same time."""
    table = Table("Load", TEXT, ("what", "number", "figure", "first", "last"))
    stop = threading.Event()
    folders = [campaign.folder / name for name in ("passes", "service")]
    for folder in folders:
        folder.mkdir()
    with stores(folders[0]) as registries, stores(folders[1]) as others, ThreadPoolExecutor(1) as pool:
        passes, warm = campaign.pick(long=2000, short=15), campaign.pick(long=20, short=5)
        service = pool.submit(run_service, table, Mirror(folders[1] / "user", *others), passes, warm, stop)
        try:
            run_passes(table, Mirror(folders[0] / "user", *registries), campaign)
        except BaseException:
            stop.set()
            raise
        try:
            for row in service.result():
                row.add_to(table)
        except AssertionError as error:  # of wait_for, among others
            table.check(False, f"the scheduled service: {error}")
    return table


def run_passes(table: Table, mirror: Mirror, campaign: Campaign) -> None:
    """Run the passes that need no service."""
    count, missing = campaign.pick(long=10_000, short=300), campaign.pick(long=200, short=20)
    names = [(f"image{number // 20:03}", f"v{number % 20}") for number in range(count)]
    mirror.source.push_small(names)
    mirror.target.mirror(mirror.source, dict.fromkeys(repository for repository, _ in names[:-missing]))
    rules = [dict(mirror.rule(f"{repository}:{tag}") for repository, tag in part) for part in (names, names[::10])]
    run_large(table, mirror, "images", names, missing, rules)

    count, missing = campaign.pick(long=20_000, short=1_500), 50
    tags = [f"v{number}" for number in range(count)]
    mirror.source.push_tags("many", tags, images=50)
    mirror.target.mirror(mirror.source, ["many"])
    for tag in tags[:missing]:
        shutil.rmtree(mirror.target.folder / f"data/docker/registry/v2/repositories/{MIRROR}/many/_manifests/tags/{tag}")
    rules = [dict([mirror.rule("many")]), dict([mirror.rule("many", ":/7$/")])]
    run_large(table, mirror, "tags of a repository", [("many", tag) for tag in tags], missing, rules)

    run_many(table, mirror, campaign.pick(long=1_000, short=20))
