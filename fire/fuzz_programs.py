"""Hostile input to whole programs: the scripts, the hook as a process, and a crane that prints anything."""

import asyncio
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlencode

import hostile_input as hostile
import hostile_wire as wire
from feeder import Target, check_messages, expect
from fuzz_files import write
from hostile_input import CANARY, EDITS, Document, edit, evenly, mostly, to_bytes
from hypothesis import strategies as st
from support import BUNDLE, Hook, User

from imageporter.config.settings import VARIABLES
from imageporter.model.account import Account, Accounts
from imageporter.model.reference import Reference, is_digest, is_tag
from imageporter.registry.crane import Crane
from imageporter.registry.crane_process import TimeLimits
from imageporter.registry.errors import RegistryError
from imageporter.registry.program import Threads

EXIT_CODES = {0, 1, 2, 75, 130, 143}
PROGRAM_SECONDS = 3.0  # of this process; after ten times as long, the program is killed
RESPONSE_SECONDS = 0.1
MOST_OUTPUT = 2 << 20  # characters: 200 lines, with texts of 5,000 letters
MOST_MEMORY = 250 << 10  # KiB
BOMB_SECONDS = 3.0  # of processor time: ruamel needs 2 for 1,024 open brackets, and as much for any more of them
STATUS = re.compile(rb"^HTTP/1\.1 (\d{3}) ", re.MULTILINE)
LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) |\{\"timestamp\": ")
NOWHERE = "http://127.0.0.1:1"  # as the proxy, so that nothing leaves this machine
QUICK = {"PROBE_TIMEOUT": "5", "COPY_TIMEOUT": "5", "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE}
# What a process has forked counts its parent's memory too, so the parent is a small one.
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
open(sys.argv[1], "w").write(f"{used.ru_maxrss} {used.ru_utime + used.ru_stime}")
sys.exit(code % 256)
"""
FAKE_CRANE = """#!/bin/sh
if [ "$1" = auth ]; then echo '{"auths": {"a": {"auth": "YTpi"}}}' >"$DOCKER_CONFIG/config.json"; exit 0; fi
cat "$0.out"; cat "$0.err" >&2; exit $(cat "$0.code")
"""

# A crane that prints anything

CRANE_TEXTS = st.one_of(wire.STDERR.map(to_bytes), st.binary(max_size=60), hostile.LISTED.map("\n".join).map(to_bytes))
DIGEST_LINE = f"sha256:{hostile.HEX}\n".encode()
CRANE_OUTPUTS = st.tuples(mostly(CRANE_TEXTS, st.just(DIGEST_LINE)), CRANE_TEXTS, st.integers(0, 255))


class FakeCrane:
    """A program that prints what it is given, run as crane is."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "crane"
        self._program.write_text(FAKE_CRANE)
        self._program.chmod(0o755)
        (private := folder / "private").mkdir()
        accounts = Accounts({"a.example": Account("a.example", "alice", CANARY)})
        threads = Threads(2)
        environ = {"PATH": os.environ["PATH"]}
        self._crane = Crane(str(self._program), private, accounts, environ, TimeLimits(9, 9, 9), threads)
        asyncio.run(self._crane.login())
        self.close = threads.close

    def run(self, given: tuple[bytes, bytes, int]) -> None:
        """Call crane, which prints `given`, in three ways."""
        stdout, stderr, exit_code = given
        for name, content in (("out", stdout), ("err", stderr), ("code", b"%d" % exit_code)):
            self._program.with_name(f"crane.{name}").write_bytes(content)
        asyncio.run(self._run(exit_code))

    async def _run(self, exit_code: int) -> None:
        image = Reference("a.example", "team/app", "v1")
        with reported(exit_code):
            expect(all(map(is_tag, await self._crane.list_tags(image))), "a tag is invalid")
        with reported(exit_code):
            expect(is_digest(await self._crane.digest("source", image)), "a digest is invalid")
        with reported(exit_code):
            await self._crane.copy(image, Reference("b.example", "app", "1"))


@contextmanager
def reported(exit_code: int) -> Iterator[None]:
    """A context in which crane may fail: its error is one line, without a password."""
    try:
        yield
    except RegistryError as error:
        check_messages([str(error), error.reason])
    else:
        expect(exit_code == 0, "a failed crane is taken for a success")


# Raw bytes to the hook


@st.composite
def raw_requests(draw: st.DrawFn) -> bytes:
    """Return what a client of the hook may write, which is often no HTTP."""
    request = draw(wire.HOOK_REQUESTS)
    query = urlencode([(to_bytes(name), to_bytes(value)) for name, value in request.query])
    target = quote(to_bytes(request.path)) + (f"?{query}" if query else "")
    length = [("Content-Length", str(len(request.body)))] if draw(st.booleans()) else []
    lines = [
        f"{request.method} {target} HTTP/1.1",
        "Host: a",
        *(f"{name}: {value}" for name, value in (*request.headers, *length)),
    ]
    text = "\r\n".join(lines)
    head = edit(text, draw(evenly(st.just([]), st.just([]), EDITS)))
    return head.encode("latin-1", "replace") + b"\r\n\r\n" + request.body


class RawHook:
    """The hook as a process."""

    def __init__(self, hook: Hook) -> None:
        self._process = hook.running
        host, _, port = hook.address.rpartition(":")
        self._address = (host, int(port))

    @classmethod
    @contextmanager
    def of(cls, folder: Path) -> Iterator["RawHook"]:
        """Run the hook with a user's files in `folder`, and check its log when it ends."""
        user = User(folder)
        user.write("images.json", wire.RULES)
        settings = {"HOOK_RATE": "0", "HOOK_QUEUE": "200", "HOOK_PASSWORD": CANARY, "HOOK_TOKEN": CANARY}
        with ExitStack() as stack:
            hook = stack.enter_context(Hook.of(user, **settings))
            try:
                yield cls(hook)
            finally:
                with redirect_stdout(io.StringIO()):  # it prints its log
                    stack.close()

    def send(self, raw: bytes) -> None:
        """Send bytes, and check the responses."""
        received = b""
        with socket.create_connection(self._address, timeout=RESPONSE_SECONDS) as client, suppress(OSError):
            client.sendall(raw)
            while not is_complete(received) and (part := client.recv(1 << 16)):
                received += part
        for status in STATUS.findall(received):
            expect(int(status) in wire.HOOK_STATUSES, f"the hook answers {status.decode()}")
        expect(CANARY.encode() not in received, "a response shows a password")
        expect(self._process.process.poll() is None, "the hook has ended")

    def end(self, _: object) -> None:
        """End the hook, and check its log and its memory."""
        process = self._process.process
        status = Path(f"/proc/{process.pid}/status").read_text()
        expect(int(status.split("VmHWM:")[1].split()[0]) <= MOST_MEMORY, "the hook needs much memory")
        ended = self._process.end(signal.SIGTERM)
        check_output(ended.code, ended.output)


def is_complete(received: bytes) -> bool:
    """Return whether `received` is a response and its body."""
    head, end, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(end) and len(body) >= int(length[1] if length else 0)


# Whole programs


def check_output(exit_code: int, output: str) -> None:
    """Raise BrokenPromiseError if a program has ended otherwise than its contract says, or if its log could be forged."""
    expect(exit_code in EXIT_CODES, f"the exit code is {exit_code}")
    expect("Traceback" not in output and "this is a bug" not in output, f"the log has a bug: {bug_in(output)}")
    expect(len(output) <= MOST_OUTPUT, "the output is long")
    lines = output.removesuffix("\n").split("\n")
    check_messages(lines)
    forged = [line for line in lines if line and not LOG_LINE.match(line)]
    expect(not forged, f"a line is not the log's: {forged[:1]}")


def bug_in(output: str) -> str:
    """Return what the log says about a bug."""
    return next((line.partition("ERROR")[2] for line in output.split("\n") if "this is a bug" in line), "a traceback")


class Run(NamedTuple):
    """How a program ended, with its largest memory in KiB and its processor time."""

    exit_code: int
    output: str
    memory: int
    seconds: float


class Case(NamedTuple):
    """A run of a program, with files in its directory, by their names without suffix, and variables."""

    script: str
    files: Mapping[str, Document]
    environ: Mapping[str, str]


UNCHANGED = {"CRON", "RUN_ONCE", "RUN_AT_START", "DATA_DIR", "ALIVE_FILE", "CRANE", "SUPERCRONIC", "HOOK_LISTEN"}
UNCHANGED |= {"RETRIES", "RETRY_DELAY_TIME", "SLEEP_TIME", "PROBE_TIMEOUT", "COPY_TIMEOUT", "STALL_TIMEOUT", "IMAGES_FILE"}
FREE = sorted({*VARIABLES} - UNCHANGED - set(hostile.SECRETS))
ODD_DIRECTORIES = ("d\nx", "d\udcff", "a" * 300, "images.json", "", " ", "x/y/z", "-x", "{}", "\x1b[2J")
DIRECTORIES = mostly(st.just("data"), st.sampled_from(ODD_DIRECTORIES))
PROGRAM_NAMES = st.sampled_from(("", "nothing", "/bin/true", "/bin/false", "/", "\x1b[31m", "./images.json", CANARY))
FREE_VALUES = st.dictionaries(st.sampled_from(FREE), hostile.VALUES.filter(lambda value: value != CANARY), max_size=4)
GOOD_IMAGES = st.lists(st.fixed_dictionaries({"source": hostile.GOOD_SOURCES, "target": hostile.GOOD_SOURCES}), max_size=3)
STEMS = {"accounts": hostile.ACCOUNTS, "config": hostile.COMBINED, "configs/sync": hostile.SYNC_FILES}
FORCED = {
    "sync.py": {},
    "entrypoint.py": {"RUN_ONCE": "true"},
    "entrypoint.py with CRON": {"CRON": "61 * * * *", "RUN_ONCE": "false"},
    "entrypoint.py hook": {"HOOK_RATE": "-1"},
    "hook.py": {"HOOK_RATE": "-1"},
}


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Return runs that end by themselves."""
    script = draw(st.sampled_from((*FORCED, "sync.py", "sync.py", "sync.py", "entrypoint.py", "entrypoint.py")))
    stems = draw(evenly(st.just(set()), st.sets(st.sampled_from(sorted(STEMS)), max_size=2)))
    strategies = {"images": evenly(GOOD_IMAGES, GOOD_IMAGES, hostile.IMAGES)} | {stem: STEMS[stem] for stem in sorted(stems)}
    files = {stem: draw(hostile.documents(strategy)) for stem, strategy in strategies.items()}
    environ: dict[str, str] = draw(evenly(st.builds(dict), st.builds(dict), FREE_VALUES))
    environ |= draw(st.dictionaries(st.sampled_from(hostile.SECRETS), st.just(CANARY), max_size=2))
    environ |= {"DATA_DIR": draw(DIRECTORIES)} | draw(st.dictionaries(st.just("ALIVE_FILE"), DIRECTORIES, max_size=1))
    environ |= draw(mostly(st.just({}), st.dictionaries(st.sampled_from(("CRANE", "SUPERCRONIC")), PROGRAM_NAMES, max_size=1)))
    return Case(script, files, environ | FORCED[script])


def run_program(folder: Path, case: Case) -> None:
    """Run a program, and check its exit code and its output."""
    user = User(folder / "user")
    (user.folder / "configs").mkdir()
    for stem, document in case.files.items():
        write(user.folder / stem, document)
    try:
        run = run_script(user, case.script, case.environ)
        check_output(run.exit_code, run.output)
        if case.script not in {"sync.py", "entrypoint.py"}:
            expect(run.exit_code == 2, f"invalid settings end with {run.exit_code}")
    finally:
        for each in (user.folder, user.home, user.tmp):
            shutil.rmtree(each)


def run_script(user: User, script: str, environ: Mapping[str, str]) -> Run:
    """Run a script to its end."""
    name, *arguments = script.removesuffix(" with CRON").split()
    peak, log = user.tmp / "peak", user.tmp / "log"
    command = [sys.executable, "-c", PEAK, str(peak), sys.executable, str(BUNDLE / name), *arguments]
    with open(log, "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=user.folder,
            env=user.environ(QUICK | dict(environ)),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code = process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    memory, seconds = peak.read_text().split()
    return Run(exit_code, log.read_bytes().decode(errors="replace"), int(memory), float(seconds))


# Bombs


class Bomb(NamedTuple):
    """A small file that stands for much, or a giant one: `head`, and then `piece` again and again."""

    name: str
    head: str
    piece: str
    times: int


def nested_aliases(kind: str, depth: int, width: int) -> Bomb:
    """Return a bomb of aliases in aliases."""
    lines = [{"list": "a0: &a0 [x]", "map": "a0: &a0 {x: y}", "merge": "a0: &a0 {x: y}"}[kind]]
    for number in range(1, depth):
        aliases = ", ".join([f"*a{number - 1}"] * width)
        children = ", ".join(f"k{index}: *a{number - 1}" for index in range(width))
        how = {"list": f"[{aliases}]", "map": f"{{{children}}}", "merge": f"{{<<: [{aliases}]}}"}[kind]
        lines.append(f"a{number}: &a{number} {how}")
    return Bomb("images.yaml", "\n".join(lines), "", 0)


PIECES = ("[", "{", "- ", "? ", "{a: ", "[[", "*a", "!!binary ", "---\n", "#", "\t", "&a ", "'", '"', "<<: ", "a:\n ", "|\n")
JSON_PIECES = ("[", '{"a":', "[[", "9", "-", '"', "\\u", "{", "[{", "null", "//", "\ufeff")
SIZES = st.integers(1_000, 10_000)
JSON_SIZES = st.integers(1_000, 2_000_000)
GIANT = st.sampled_from((34 << 20, 100 << 20))
FILES = ("images.json", "images.yaml", "accounts.json")
BOMBS = st.one_of(
    st.builds(nested_aliases, st.sampled_from(("list", "map", "merge")), st.integers(9, 60), st.integers(4, 20)),
    st.builds(Bomb, st.just("images.yaml"), st.sampled_from(("", "a: ", "- ")), st.sampled_from(PIECES), SIZES),
    st.builds(Bomb, st.just("images.json"), st.sampled_from(("", "[", '"')), st.sampled_from(JSON_PIECES), JSON_SIZES),
    st.builds(Bomb, st.sampled_from(FILES), st.just("["), st.sampled_from(("\0", " ", "x")), GIANT),
)


def explode(folder: Path, bomb: Bomb) -> None:
    """Run sync.py with a bomb."""
    user = User(folder / "user")
    try:
        with open(user.folder / bomb.name, "w") as file:
            file.write(bomb.head)
            if bomb.piece == "\0":
                file.truncate(bomb.times)
            file.writelines(bomb.piece * min(1 << 20, bomb.times - done) for done in range(0, bomb.times, 1 << 20))
        run = run_script(user, "sync.py", {})
        check_output(run.exit_code, run.output)
        expect(run.exit_code == 2, f"a bomb ends with {run.exit_code}")
        expect(run.memory <= MOST_MEMORY, "a bomb needs much memory")
        expect(run.seconds <= BOMB_SECONDS, "a bomb takes long")
    finally:
        for each in (user.folder, user.home, user.tmp):
            shutil.rmtree(each)


def targets(stack: ExitStack, folder: Path) -> Iterator[Target]:
    """Yield the targets. Programs can be run in `folder`."""
    crane = FakeCrane(folder)
    stack.callback(crane.close)
    yield Target("output of crane", CRANE_OUTPUTS, crane.run, 600, 12)
    (place := folder / "hook").mkdir()
    with RawHook.of(place / "user") as hook:
        yield Target("raw bytes to the hook", raw_requests(), hook.send, 3_000, 60, shrinks=False)
        yield Target("the hook after them", st.none(), hook.end, 1, 1, PROGRAM_SECONDS, shrinks=False)
    yield Target("bombs and giant files", BOMBS, partial(explode, folder), 150, 12, PROGRAM_SECONDS, shrinks=False)
    yield Target("whole programs", cases(), partial(run_program, folder), 400, 10, PROGRAM_SECONDS, shrinks=False)
