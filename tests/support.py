"""Helpers of the tests: processes, registries, images, a user's folder, a meddling proxy."""

import base64
import http.client
import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import bcrypt
import trustme

BUNDLE = Path(__file__).resolve().parent.parent
TOOLS = BUNDLE / ".tools"
CRANE = TOOLS / "crane"
SUPERCRONIC = BUNDLE / ".tools" / "supercronic"
REGISTRY_BINARY = BUNDLE / ".tools" / "registry"
PATIENCE = 60.0
UNSET = "(unset)"  # as the value of a variable: it is left out


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> None:
    """Wait until `condition` holds; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def log_of(path: Path) -> str:
    """What a process has written so far."""
    return path.read_text(errors="replace") if path.exists() else ""


def stored_digest(data: Path, name: str) -> str:
    """The digest of repository:tag on the disk of a distribution registry; empty where it is not there."""
    repository, _, tag = name.partition(":")
    link = data / "docker/registry/v2/repositories" / repository / "_manifests/tags" / tag / "current/link"
    return link.read_text() if link.exists() else ""


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def certify(folder: Path) -> Path:
    """Make a private authority in `folder`, and a server's certificate and key for 127.0.0.1 and .2; gives the authority's."""
    ca = trustme.CA()
    server = ca.issue_cert("127.0.0.1", "127.0.0.2")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    server.cert_chain_pems[0].write_to_path(folder / "server.pem")
    server.private_key_pem.write_to_path(folder / "server.key")
    return folder / "ca.pem"


@contextmanager
def start(command: Sequence[str], log: Path, env: Mapping[str, str] = {}, **more: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose output goes to `log`, ended with the context."""
    environ = {"PATH": os.environ["PATH"], **env}
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environ, **more)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass
class Registry:
    """A registry, with a crane of the test's own to look into it."""

    address: str
    config: Path
    account: tuple[str, str] | None = None
    authority: Path | None = None
    insecure: bool = False

    @classmethod
    @contextmanager
    def serve(cls, log: Path, address: str = "127.0.0.1:0") -> Iterator["Registry"]:
        """`crane registry serve`, on a free port."""
        with start([str(CRANE), "registry", "serve", "--address", address], log):
            wait_for(lambda: "serving on port" in log_of(log), f"crane registry serve: {log}")
            port = log_of(log).split("serving on port ")[1].split()[0]
            yield cls(f"127.0.0.1:{port}", log.with_suffix(".docker"))

    @classmethod
    @contextmanager
    def guarded(cls, folder: Path, authority: Path, account: tuple[str, str], host: str = "127.0.0.1") -> Iterator["Registry"]:
        """A distribution registry that wants `account` (htpasswd), with the TLS certificate beside `authority`'s."""
        folder.mkdir(exist_ok=True)
        hashed = bcrypt.hashpw(account[1].encode(), bcrypt.gensalt(rounds=4)).decode()
        (folder / "htpasswd").write_text(f"{account[0]}:{hashed}\n")
        port = free_port()
        (folder / "config.yml").write_text(f"""
version: 0.1
log: {{level: info, formatter: json}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}
http:
  addr: {host}:{port}
  tls: {{certificate: {authority.parent}/server.pem, key: {authority.parent}/server.key}}
""")
        log = folder / "log"
        with start([str(REGISTRY_BINARY), "serve", str(folder / "config.yml")], log, env={"OTEL_TRACES_EXPORTER": "none"}):
            wait_for(lambda: "listening on" in log_of(log), f"distribution: {log}")
            registry = cls(f"{host}:{port}", folder / "docker", account, authority)
            registry.login()
            yield registry

    def __str__(self) -> str:
        return self.address

    @property
    def environ(self) -> dict[str, str]:
        """What a crane, or a pass, needs in its environment to trust this registry."""
        return {"SSL_CERT_FILE": str(self.authority)} if self.authority else {}

    def crane(self, *command: str, check: bool = True, stdin: str | None = None) -> str:
        """Run the real crane with this registry's account; gives its stdout."""
        environ = {"PATH": os.environ["PATH"], "DOCKER_CONFIG": str(self.config), **self.environ}
        flags = ["--insecure"] if self.insecure else []
        done = subprocess.run(
            [str(CRANE), *flags, *command], env=environ, capture_output=True, text=True, check=False, input=stdin
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout.strip()

    def login(self) -> None:
        """Give the test's own crane the account."""
        assert self.account
        self.crane("auth", "login", self.address, "-u", self.account[0], "--password-stdin", stdin=self.account[1])

    def push(self, name: str, content: str = "content") -> str:
        """Push a small image whose one layer holds `content`; gives its digest."""
        with tempfile.NamedTemporaryFile(suffix=".tar") as layer:
            with tarfile.open(fileobj=layer, mode="w") as tar:
                entry = tarfile.TarInfo("file")
                entry.size = len(content.encode())
                tar.addfile(entry, io.BytesIO(content.encode()))
            layer.flush()
            self.crane("append", "--new_layer", layer.name, "--new_tag", f"{self}/{name}")
        return self.digest(name)

    def push_index(self, name: str, platforms: Sequence[str] = ("linux/amd64", "linux/arm64")) -> str:
        """Push an index of one small image for each of `platforms`; gives its digest."""
        repository = name.partition(":")[0]
        children = []
        for platform in platforms:
            tag = platform.replace("/", "-")
            self.push(f"{repository}:{tag}", platform)
            self.crane(
                "mutate", f"{self}/{repository}:{tag}", "--set-platform", platform, "--tag", f"{self}/{repository}:{tag}"
            )
            children += ["--manifest", f"{self}/{repository}:{tag}"]
        self.crane("index", "append", *children, "--tag", f"{self}/{name}")
        return self.digest(name)

    def digest(self, name: str) -> str:
        """The digest of what `name` is here; empty where it is not here."""
        return self.crane("digest", f"{self}/{name}", check=False)

    def manifest(self, name: str) -> Any:
        """The manifest of `name`, as JSON."""
        return json.loads(self.crane("manifest", f"{self}/{name}"))

    def tags(self, repository: str) -> list[str]:
        """The tags of `repository`; empty where it is not here."""
        return self.crane("ls", f"{self}/{repository}", check=False).split()


@dataclass
class Run:
    """How a script ended."""

    code: int
    output: str

    @property
    def lines(self) -> list[str]:
        """The text log without time stamps: `ERROR   images.json: ...` becomes `ERROR images.json: ...`."""
        return [" ".join([line.split()[2], line[28:]]) for line in self.output.splitlines()]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The JSON log."""
        return [json.loads(line) for line in self.output.splitlines()]

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events `name` of the JSON log."""
        return [row for row in self.rows if row.get("event") == name]

    @property
    def outcomes(self) -> dict[str, str]:
        """The outcome of each target, from the JSON log."""
        return {row["target"]: row["outcome"] for row in self.events("image.done")}


class User:
    """A folder with a user's files, and the scripts run in it as a user runs them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started = 0
        self.home = folder.with_name("home")
        self.tmp = folder.with_name("tmp")
        for each in (self.folder, self.home, self.tmp):
            each.mkdir()

    def write(self, name: str, content: Any) -> Path:
        """Write a file: text as it is, anything else as JSON."""
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    def images(self, *pairs: tuple[str, str | list[str]]) -> None:
        """Write images.json."""
        self.write("images.json", [{"source": source, "target": target} for source, target in pairs])

    def accounts(self, *registries: Registry) -> None:
        """Write accounts.json."""
        rows = [(str(one), *one.account) for one in registries if one.account]
        self.write("accounts.json", [{"registry": r, "username": u, "password": p} for r, u, p in rows])

    def crane_wrapper(self, script: str) -> str:
        """A shell script to stand in for crane, beside the real one in $CRANE."""
        path = self.home / "crane"
        path.write_text(f"#!/bin/bash\nCRANE={CRANE}\nexec 3>/dev/null\n{script}\n")
        path.chmod(0o755)
        return str(path)

    def noting_crane(self) -> tuple[str, Path]:
        """The real crane behind a wrapper that notes its calls, a line each; and the file of the notes."""
        notes = self.home / "notes"
        return self.crane_wrapper(f'echo "$@" >>{notes}; exec "$CRANE" "$@"'), notes

    def here(self, command: str) -> str:
        """A shell command of the README, with this user's places in place of the README's."""
        for shown, here in (
            ("/opt/imageporter/.venv/bin/python", sys.executable),
            ("/opt/imageporter", str(BUNDLE)),
            ("/srv/imageporter", str(self.folder)),
        ):
            command = command.replace(shown, shlex.quote(here))
        return command

    def environ(self, env: Mapping[str, str]) -> dict[str, str]:
        """The environment of a run: quick waits, and nothing of the tester's own."""
        quick = {"SLEEP_TIME": "0", "RETRY_DELAY_TIME": "0", "RETRIES": "0"}
        # `FAST_LOOKUPS=false pytest tests/e2e` runs all of it with crane's look-ups.
        quick |= {name: value for name, value in os.environ.items() if name in {"FAST_LOOKUPS", "COVERAGE_PROCESS_CONFIG"}}
        own = {"PATH": "/usr/bin:/bin", "HOME": str(self.home), "TMPDIR": str(self.tmp)}
        return {name: value for name, value in (own | quick | dict(env)).items() if value != UNSET}

    def run(self, script: str, *flags: str, **env: str) -> Run:
        """Run a script of the bundle to its end."""
        return self.execute([sys.executable, str(BUNDLE / script), *flags], env)

    def execute(self, command: Sequence[str], env: Mapping[str, str], seconds: float = 2 * PATIENCE, **more: Any) -> Run:
        """Run a command in the folder to its end, at most for `seconds`."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
            **more,
        )
        return Run(done.returncode, done.stdout)

    def sync(self, *flags: str, **env: str) -> Run:
        """Run sync.py with the JSON log."""
        return self.run("sync.py", *flags, LOG_FORMAT="json", **env)

    @contextmanager
    def running(self, script: str, *flags: str, **env: str) -> Iterator["Running"]:
        """A script that runs meanwhile."""
        self.started += 1
        log = self.folder / f"output{self.started}.log"
        command = [sys.executable, str(BUNDLE / script), *flags]
        # A session of its own: the whole tree can be found, and none is left behind.
        with start(command, log, env=self.environ(env), cwd=self.folder, start_new_session=True) as process:
            try:
                yield Running(process, log)
            finally:
                print(f"{script} (exit code {process.poll()}) wrote:\n{log_of(log)[-10_000:]}")  # where its test fails
                for pid in descendants(process.pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)


@dataclass
class Running:
    """A script that runs."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def output(self) -> str:
        """What it has written so far."""
        return log_of(self.log)

    def end(self, number: signal.Signals, seconds: float = PATIENCE) -> Run:
        """Send it a signal and wait for its end."""
        self.process.send_signal(number)
        return Run(self.process.wait(timeout=seconds), self.output)


class Hook:
    """A receiver that runs, and a caller of it."""

    ACCOUNT = ("me", "p@ss:wörd")
    ENV: ClassVar = {"HOOK_LISTEN": "127.0.0.1:0", "HOOK_USERNAME": ACCOUNT[0], "HOOK_PASSWORD": ACCOUNT[1]}

    def __init__(self, running: Running) -> None:
        self.running = running
        wait_for(lambda: "listens on http://" in running.output or running.process.poll() is not None, "the hook listens")
        assert running.process.poll() is None, running.output
        self.address = running.output.split("the hook listens on http://")[1].split()[0].rstrip('",')

    @classmethod
    @contextmanager
    def of(cls, user: User, **env: str) -> Iterator["Hook"]:
        """The receiver of a user's files."""
        with user.running("hook.py", **(cls.ENV | env)) as running:
            yield cls(running)

    def call(self, *words: Any, **more: Any) -> tuple[int, Any]:
        """Call it, as `request` does; gives the status and the JSON of the answer."""
        status, text = self.text(*words, **more)
        return status, json.loads(text) if text else None

    def text(self, *words: Any, **more: Any) -> tuple[int, str]:
        """Call it, as `request` does; gives the status and the text of the answer."""
        return self.request(*words, **more)[:2]

    def request(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        account: tuple[str, str] | None = ACCOUNT,
    ) -> tuple[int, str, Mapping[str, str]]:
        """Call it; gives the status, the text and the headers of the answer."""
        encoded = base64.b64encode(":".join(account).encode()).decode() if account else ""
        given = ({"Authorization": f"Basic {encoded}"} if account else {}) | dict(headers)
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), dict(answer.headers)
        finally:
            connection.close()

    def hook(self, image: str, **more: Any) -> tuple[int, Any]:
        """The call of the specification, for `registry/namespace/image:tag`."""
        name, _, tag = image.rpartition(":")
        return self.call(f"/images/sync/hook?{urllib.parse.urlencode({'name': name, 'tag': tag})}", **more)


def processes() -> dict[int, tuple[int, list[str]]]:
    """All processes: parent and argv by process ID."""
    found: dict[int, tuple[int, list[str]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            parent = int((folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            argv = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
            found[int(folder.name)] = (parent, argv)
    return found


def descendants(pid: int) -> dict[int, list[str]]:
    """The running processes below `pid`, with their argv."""
    known = processes()
    below: dict[int, list[str]] = {}
    parents = {pid}
    while parents:
        children = {child: argv for child, (parent, argv) in known.items() if parent in parents}
        below |= children
        parents = set(children)
    return below


def alive(pids: Iterable[int]) -> list[int]:
    """Those of the processes that still run; a dead one may wait for init to notice."""
    known = []
    for pid in pids:
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z":
                known.append(pid)
    return known


class Proxy:
    """A TCP proxy in front of a registry that shows each request to `meddle` first.

    `meddle` gets the bytes a client sent and gives what to answer in the registry's place, or None to
    let them pass. It may block: then the request is stalled.
    """

    def __init__(self, registry: Registry, meddle: Callable[[bytes], bytes | None]) -> None:
        host, port = registry.address.split(":")
        self._upstream = (host, int(port))
        self._meddle = meddle
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __str__(self) -> str:
        return self.address

    def close(self) -> None:
        """Take no more connections."""
        self._socket.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(self._upstream) as server:
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            while data := client.recv(65536):
                if (answer := self._meddle(data)) is not None:
                    client.sendall(answer)
                    return
                server.sendall(data)


def _pump(origin: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while data := origin.recv(65536):
            destination.sendall(data)
        destination.shutdown(socket.SHUT_WR)


class Stall:
    """A `meddle` that holds every request with `part` in it until `release` is set; by default every upload."""

    def __init__(self, part: bytes = b"/blobs/uploads/") -> None:
        self.part = part
        self.held = 0
        self.holding = threading.Event()
        self.release = threading.Event()

    def __call__(self, request: bytes) -> bytes | None:
        if self.part in request:
            self.held += 1
            self.holding.set()
            self.release.wait(PATIENCE)
        return None


class Refuse:
    """A `meddle` that answers the first `times` requests for a manifest with a status."""

    def __init__(self, times: int, status: str = "429 Too Many Requests", body: str = "") -> None:
        self.left = times
        self.answer = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()

    def __call__(self, request: bytes) -> bytes | None:
        if b"/manifests/" not in request or self.left <= 0:
            return None
        self.left -= 1
        return self.answer
