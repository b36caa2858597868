"""Kills at random moments, full and read-only disks, a clock that is set back: the next pass must converge."""

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from campaign import Campaign, Table, quiet
from support import (
    BUNDLE,
    SUPERCRONIC,
    Hook,
    Registry,
    Run,
    Running,
    User,
    alive,
    certify,
    descendants,
    processes,
    stored_digest,
    wait_for,
)

ACCOUNT = ("fire", "k1ll-p4ssword")
IMAGES, LARGE = 16, 3  # so many of the images have a layer of LAYER bytes
LAYER = 8 << 20
LIMIT = 60.0  # seconds in which everything must have ended
SETTINGS = {"JOBS": "4", "RETRIES": "1"}


@dataclass
class Scene:
    """The registries and the user of all kills."""

    user: User
    source: Registry
    target: Registry
    data: Path  # of the target
    digests: dict[str, str]
    random: random.Random
    environ: dict[str, str]
    seconds: float = 1.0  # of an undisturbed pass

    def empty_target(self) -> None:
        """Remove all content of the target."""
        shutil.rmtree(self.data, ignore_errors=True)

    def at_target(self) -> dict[str, str]:
        """Return the digests at the target, read from its disk."""
        return {name: digest for name in self.digests if (digest := stored_digest(self.data, name))}

    def sync(self, *flags: str, **env: str) -> Run:
        """Run sync.py to its end."""
        return self.user.sync(*flags, **SETTINGS | self.environ | env)

    @contextmanager
    def running(self, script: str, **env: str) -> Iterator[Running]:
        """Run a script meanwhile."""
        with quiet(), self.user.running(script, **SETTINGS | self.environ | env) as running:
            yield running

    def sleep(self, longest: float) -> None:
        """Wait until a random moment."""
        time.sleep(self.random.uniform(0, longest))

    def after(self, what: str, below: dict[int, list[str]], table: Table, *, is_clean: bool) -> None:
        """Check what a kill has left, and that the next pass converges. `below` are the processes of the killed one."""
        ours = {pid for pid, argv in below.items() if argv}
        with suppress(AssertionError):
            wait_for(lambda: not alive(ours), "all processes have ended", LIMIT)
        table.check(not alive(ours), f"{what}: still running: {[below[pid][:3] for pid in alive(ours)]}")
        if is_clean:
            table.check(not list(self.user.tmp.iterdir()), f"{what}: a private directory is left")
        self.check_tags(what, table)
        last = self.sync()
        table.check(last.code == 0, f"{what}: the next pass ended with {last.code}")
        table.check(self.at_target() == self.digests, f"{what}: the next pass has not converged")
        table.check(not list(self.user.tmp.iterdir()), f"{what}: the next pass has left the private directory")

    def check_tags(self, what: str, table: Table) -> None:
        """Check that each tag at the target is right."""
        wrong = {name for name, digest in self.at_target().items() if digest != self.digests[name]}
        table.check(not wrong, f"{what}: a wrong tag: {wrong}")


def kill_pass(scene: Scene, table: Table, number: signal.Signals) -> str:
    """Kill sync.py."""
    what = f"sync.py, {number.name}"
    with scene.running("sync.py") as running:
        scene.sleep(scene.seconds)
        below = descendants(running.process.pid)
        running.process.send_signal(number)
        code = running.process.wait(LIMIT)
    if number is signal.SIGTERM:
        # Before Python has a handler the signal ends it.
        table.check(code in {0, 143, -signal.SIGTERM}, f"{what}: exit code {code}")
    scene.after(what, below, table, is_clean=number is signal.SIGTERM)
    return what


def kill_crane(scene: Scene, table: Table, number: signal.Signals) -> str:
    """Kill a crane of the pass; the pass goes on."""
    what = f"crane, {number.name}"
    with scene.running("sync.py") as running:
        scene.sleep(scene.seconds)
        cranes: list[int] = []
        while not cranes and running.process.poll() is None:
            cranes = [pid for pid, argv in descendants(running.process.pid).items() if argv and argv[0].endswith("/crane")]
        for pid in cranes[:1]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        code = running.process.wait(LIMIT)
    # With one more attempt, a copy succeeds. A killed `auth login` or `ls` may fail its rule.
    table.check(code in {0, 1, 2}, f"{what}: exit code {code}")
    scene.after(what, {}, table, is_clean=True)
    return what


def kill_service(scene: Scene, table: Table, number: signal.Signals, *, supercronic: bool = False) -> str:
    """Kill entrypoint.py, or its supercronic, while a pass runs every second."""
    what = f"{'supercronic' if supercronic else 'entrypoint.py'}, {number.name}"
    with scene.running("entrypoint.py", CRON="* * * * * * *") as running:
        scene.sleep(scene.seconds + 1.5)
        below = descendants(running.process.pid)
        cron = [pid for pid, argv in below.items() if argv[:1] == [str(SUPERCRONIC)]]
        for pid in cron if supercronic else [running.process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if not supercronic or cron:
            code = running.process.wait(LIMIT)
            if number is signal.SIGTERM and not supercronic:
                table.check(code in {143, -signal.SIGTERM}, f"{what}: exit code {code}")
            # supercronic may have begun another pass since; a pass ends by itself, and then nothing of it is left.
            below |= {pid: argv for pid, argv in of_user(scene.user).items() if pid != running.process.pid}
        else:
            running.process.kill()
            running.process.wait()
            below |= of_user(scene.user)
        with suppress(AssertionError):
            wait_for(lambda: not alive(below), "everything has ended", LIMIT)
    scene.after(what, below, table, is_clean=number is signal.SIGTERM and not supercronic)
    return what


def kill_hook(scene: Scene, table: Table, number: signal.Signals) -> str:
    """Kill hook.py while pushes arrive; an accepted push is never lost."""
    what = f"hook.py, {number.name}"
    accepted = set()
    names = scene.random.sample(sorted(scene.digests), 8)
    with scene.running("hook.py", **Hook.ENV) as running:
        hook = Hook(running)
        end = time.monotonic() + scene.random.uniform(0, 0.2)
        for name in names:
            if time.monotonic() > end:
                running.process.send_signal(number)
                end = float("inf")
            with suppress(OSError):
                status, _ = hook.hook(f"{scene.source}/{name}")
                accepted |= {name} if status == 202 else set()
        running.process.send_signal(number)
        code = running.process.wait(LIMIT)
    if number is signal.SIGTERM:
        table.check(code == 143, f"{what}: exit code {code}")
    run = scene.sync("--queue")
    table.check(run.code == 0, f"{what}: the queue run ended with {run.code}")
    lost = {name for name in accepted if scene.at_target().get(name) != scene.digests[name]}
    table.check(not lost, f"{what}: {len(lost)} accepted pushes were lost")
    scene.after(what, {}, table, is_clean=False)
    return what


def full_disk(scene: Scene, table: Table, variable: str) -> str:
    """Run a pass with a random number of bytes free in DATA_DIR or TMPDIR."""
    what = f"disk of {variable} full"
    size = scene.random.randrange(4096, 600_000)
    done = in_mount(scene, variable, f"-o size={size},nr_inodes=30")
    finished = scene.at_target() == scene.digests
    table.check(done.code in {0, 1, 2} and "Traceback" not in done.output, f"{what} ({size} bytes): exit code {done.code}")
    table.check(done.code or finished, f"{what} ({size} bytes): exit code 0, but not all is copied")
    scene.after(what, {}, table, is_clean=True)
    return what


def read_only(scene: Scene, table: Table) -> str:
    """Run a pass with a DATA_DIR that cannot be written to."""
    what = "DATA_DIR read-only"
    done = in_mount(scene, "DATA_DIR", "-o ro")
    table.check(done.code == 2 and "Traceback" not in done.output, f"{what}: exit code {done.code}")
    table.check(not scene.at_target(), f"{what}: something was copied")
    scene.after(what, {}, table, is_clean=True)
    return what


def in_mount(scene: Scene, variable: str, options: str) -> Run:
    """Run sync.py with a file system of its own for the directory that `variable` names."""
    folder = scene.user.home / "mounted"
    folder.mkdir(exist_ok=True)
    script = f"mount -t tmpfs {options} tmpfs {folder} && exec {sys.executable} {BUNDLE / 'sync.py'}"
    environ = SETTINGS | scene.environ | {variable: str(folder)}
    return scene.user.execute(["unshare", "--mount", "sh", "-c", script], environ, LIMIT)


def clock_set_back(scene: Scene, table: Table) -> str:
    """Set the clock back by days at a random moment of a pass, and again before the next, which trusts its records."""
    what = "clock set back"
    clock = scene.user.home / "clock"
    faked = {
        "LD_PRELOAD": str(next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TRUST_RECORDS": "86400",
    }
    clock.write_text("+5d")
    with scene.running("sync.py", **faked) as running:
        scene.sleep(scene.seconds)
        clock.write_text("+2d")
        code = running.process.wait(LIMIT)
    table.check(code == 0, f"{what}: exit code {code}")
    table.check(scene.at_target() == scene.digests, f"{what}: not all is copied")
    scene.empty_target()
    run = scene.sync(TRUST_RECORDS="86400")
    table.check(run.code == 0, f"{what}: exit code {run.code}")
    table.check(scene.at_target() == scene.digests, f"{what}: records of the future were trusted")
    scene.after(what, {}, table, is_clean=True)
    return what


def of_user(user: User) -> dict[int, list[str]]:
    """Return the running processes that work in the user's folder, with their argv."""
    found = {}
    for pid, (_, argv) in processes().items():
        with suppress(OSError):
            if Path(f"/proc/{pid}/cwd").readlink() == user.folder:
                found[pid] = argv
    return found


# What to do, and how often of 200.
ATTACKS: tuple[tuple[Callable[[Scene, Table], str], int], ...] = (
    (partial(kill_pass, number=signal.SIGKILL), 50),
    (partial(kill_pass, number=signal.SIGTERM), 40),
    (partial(kill_crane, number=signal.SIGKILL), 25),
    (partial(kill_crane, number=signal.SIGTERM), 15),
    (partial(kill_service, number=signal.SIGKILL), 15),
    (partial(kill_service, number=signal.SIGTERM), 15),
    (partial(kill_service, number=signal.SIGKILL, supercronic=True), 10),
    (partial(kill_service, number=signal.SIGTERM, supercronic=True), 5),
    (partial(kill_hook, number=signal.SIGKILL), 15),
    (partial(kill_hook, number=signal.SIGTERM), 10),
)
DISKS: tuple[tuple[Callable[[Scene, Table], str], int], ...] = (
    (partial(full_disk, variable="DATA_DIR"), 12),
    (partial(full_disk, variable="TMPDIR"), 12),
    (read_only, 1),
    (clock_set_back, 4),
)
PER_SHORT = 25  # of this many, the short form does one
TEXT = f"""\
{IMAGES} images, {LARGE} of them with {2 * LAYER >> 20} MiB, are copied to an empty registry with TLS and an account. A
process is killed at a random moment of the pass, {sum(count for _, count in ATTACKS)} times in all. Afterwards none of its
processes was left, not even after SIGKILL, and each tag at the target was right. After SIGTERM no private directory was
left. The next pass ended with 0 and all targets equal, and it had removed what SIGKILL had left. A push that the webhook
receiver had accepted (202) was copied by the next queue run. A full disk has 4 to 600 KB free. The pass then ended with 1
or 2 and said so, or with 0 and everything copied."""


@contextmanager
def scene_of(campaign: Campaign) -> Iterator[Scene]:
    """Serve the registries, and measure an undisturbed pass."""
    folder = campaign.folder
    chance = campaign.random("kills")
    authority = certify(folder)
    with (
        Registry.serve(folder / "source.log") as source,
        Registry.guarded(folder / "target", authority, ACCOUNT) as target,
    ):
        user = User(folder / "user")
        contents = [chance.randbytes(LAYER if number < LARGE else 1000).hex() for number in range(IMAGES)]
        digests = {f"app{number}:v1": source.push(f"app{number}:v1", content) for number, content in enumerate(contents)}
        user.images(*((f"{source}/{name}", f"{target}/{name}") for name in digests))
        user.accounts(target)
        scene = Scene(user, source, target, folder / "target" / "data", digests, chance, target.environ)
        began = time.monotonic()
        assert scene.sync().code == 0
        scene.seconds = time.monotonic() - began
        yield scene


def run(campaign: Campaign) -> Table:
    """Return one row for each kind of attack."""
    table = Table("Kills, disks and the clock", TEXT, ("what", "times", "broken promises"))
    with scene_of(campaign) as scene:
        for attack, times in (*ATTACKS, *DISKS):
            before = len(table.findings)
            count = campaign.pick(long=times, short=-(-times // PER_SHORT))
            for _ in range(count):
                scene.empty_target()
                what = attack(scene, table)
            table.add(what, count, len(table.findings) - before)
    return table
