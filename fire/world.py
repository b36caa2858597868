"""Two registries with a token service, each behind a gateway and toxiproxy, and a user who mirrors 50 images.

`elsewhere.test` is a server that nobody may send a password to.

The names `source.test`, `target.test` and so on lead to a gateway (127.0.0.1), through toxiproxy (127.0.0.2), or to
nothing (127.0.0.3). The hosts file that says so is mounted for the user's programs only.
"""

import json
import os
import shutil
import socket
import ssl
import sys
import threading
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trustme
from canaries import Search, new_canary
from gateway import Backend, Gateway, Request, Response, Upstream
from support import BUNDLE, REGISTRY_BINARY, Registry, Run, User, free_port, log_of, start, stored_digest, wait_for
from token_server import ISSUER, SERVICE, TokenServer

REGISTRIES = ("source", "target")
SIDES = (*REGISTRIES, "tokens", "elsewhere")
DIRECT, TOXIC, NOWHERE = "127.0.0.1", "127.0.0.2", "127.0.0.3"
_PID = os.getpid()  # two campaigns may run side by side
NAME_SERVER, DEAD_NAME_SERVER = (f"127.{_PID >> 8 & 255}.{_PID & 255}.{last}" for last in (4, 5))
NAMESPACE = "mirror"
LISTED = f"{NAMESPACE}/listed"
TAGS = 10  # of the repository that a rule lists
OLD = f"{NAMESPACE}/old:v1"
EQUAL, OUTDATED = 15, 5  # so many of the first images are at the target already
TOXIPROXY = BUNDLE / ".tools" / "toxiproxy"
ACCOUNTS_FILE = "accounts.json"


@dataclass
class World:
    """The registries on disk, the gateways by side, and the user."""

    folder: Path
    gateways: dict[str, Gateway]
    ports: dict[str, int]
    toxiproxy: int
    accounts: dict[str, str]
    authority: Path
    user: User
    digests: dict[str, str] = field(default_factory=dict)  # of the source, by repository:tag
    outdated: dict[str, str] = field(default_factory=dict)  # at the target before the first pass

    def digest(self, side: str, name: str) -> str:
        """Return the digest that a registry has for repository:tag on its disk; empty if there is none."""
        return stored_digest(self.folder / side / "data", name)

    def reset_target(self) -> None:
        """Give the target what it has before each scenario."""
        shutil.rmtree(self.folder / "target" / "data", ignore_errors=True)
        shutil.copytree(self.folder / "template", self.folder / "target" / "data")
        shutil.rmtree(self.user.folder / "data", ignore_errors=True)

    def write_images(self, count: int, other_names: int = 0, side: str = "source") -> dict[str, str]:
        """Write images.json for `count` images; return source name by target reference.

        The first `other_names` of them use another host name for the registry of `side`.
        """
        names = [name for name in self.digests if not name.startswith(LISTED)][: count - TAGS]
        pairs = {}
        rows = []
        for number, name in enumerate(names):
            hosts = {each: f"{each}.test:{self.ports[each]}" for each in REGISTRIES}
            if number < other_names:
                hosts[side] = f"other-{hosts[side]}"
            rows.append({"source": f"{hosts['source']}/{name}", "target": f"{hosts['target']}/{name}"})
            pairs[rows[-1]["target"]] = name
        host, target = (f"{each}.test:{self.ports[each]}" for each in REGISTRIES)
        rows.append({"source": f"{host}/{LISTED}:/^v/", "target": f"{target}/{LISTED}"})
        pairs |= {f"{target}/{LISTED}:v{number}": f"{LISTED}:v{number}" for number in range(TAGS)}
        self.user.write("images.json", rows)
        return pairs

    def lead(self, sides: Iterable[str], address: str | None, prefix: str = "", resolver: str = NAME_SERVER) -> None:
        """Let the names of `sides` lead to `address`; None: they do not exist. All others lead to the gateways."""
        (self.folder / "resolv.conf").write_text(f"nameserver {resolver}\noptions timeout:1 attempts:1\n")
        lines = ["127.0.0.1 localhost"]
        for side in SIDES:
            for name in ("", "other-"):
                to = address if side in sides and name == prefix else DIRECT
                lines += [f"{to} {name}{side}.test"] if to else []
        (self.folder / "hosts").write_text("\n".join(lines) + "\n")

    def poison(self, sides: Iterable[str], toxics: Sequence[Mapping[str, Any]]) -> None:
        """Let toxiproxy apply `toxics` to connections to `sides`."""
        self._toxiproxy("/reset", {})
        for side in sides:
            for toxic in toxics:
                self._toxiproxy(f"/proxies/{side}/toxics", toxic)

    def _toxiproxy(self, path: str, content: object) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.toxiproxy}{path}", json.dumps(content).encode())
        with urllib.request.urlopen(request, timeout=10):
            pass

    def command(self, *argv: str) -> list[str]:
        """Return the command that runs `argv` with the hosts file, and with no name server."""
        hosts, resolver = self.folder / "hosts", self.folder / "resolv.conf"
        mount = 'mount --bind "$1" /etc/hosts && mount --bind "$2" /etc/resolv.conf && shift 2 && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", mount, "sh", str(hosts), str(resolver), *argv]

    def sync(self, seconds: float, **env: str) -> Run:
        """Run sync.py to its end; fails after `seconds`."""
        environ = {"SSL_CERT_FILE": str(self.authority), "LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"} | env
        command = self.command(sys.executable, str(BUNDLE / "sync.py"))
        return self.user.execute(command, environ, seconds, errors="replace")

    def search(self) -> Search:
        """Return a search for the passwords of all accounts."""
        return Search(self.accounts)


@contextmanager
def world(folder: Path, seed: int, images: int) -> Iterator[World]:
    """Serve all of it; the source has `images` images, and the target some of them."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    ports = {side: free_port() for side in SIDES}
    accounts = {f"{side}-user": new_canary(side) for side in REGISTRIES}
    tokens = TokenServer({name: (password, [NAMESPACE]) for name, password in accounts.items()})
    tokens.realm = f"https://tokens.test:{ports['tokens']}/token"
    tokens.write_jwks(folder / "jwks.json")
    with ExitStack() as stack:
        stack.enter_context(_name_server())
        upstreams: dict[str, Upstream] = {}
        for side in REGISTRIES:
            (folder / side).mkdir()
            port = free_port()
            with _distribution(folder / side, port, "{}"):
                registry = Registry(f"127.0.0.1:{port}", folder / "docker")
                if side == "source":
                    digests = _fill(registry, images)
                else:
                    outdated = registry.push(OLD, "outdated")
            authentication = (
                f'{{token: {{realm: "{tokens.realm}", service: {SERVICE}, issuer: {ISSUER}, jwks: {folder}/jwks.json}}}}'
            )
            stack.enter_context(_distribution(folder / side, port, authentication))
            upstreams[side] = Backend(port)
        upstreams |= {"tokens": _token_service(tokens), "elsewhere": _lure}
        gateways = {
            side: stack.enter_context(
                Gateway(upstreams[side], _certificates(authority), ports[side], f"{seed}/{side}").serve()
            )
            for side in SIDES
        }
        api = free_port()
        stack.enter_context(start([str(TOXIPROXY), "-host", "127.0.0.1", "-port", str(api)], folder / "toxiproxy.log"))
        one = World(folder, gateways, ports, api, accounts, folder / "ca.pem", User(folder / "user"), digests)
        wait_for(lambda: _listens(api), "toxiproxy's API")
        for side, port in ports.items():
            one._toxiproxy(  # noqa: SLF001 (it is this module's)
                "/proxies", {"name": side, "listen": f"{TOXIC}:{port}", "upstream": f"{DIRECT}:{port}", "enabled": True}
            )
        one.outdated = dict.fromkeys(list(digests)[EQUAL : EQUAL + OUTDATED], outdated)
        _make_template(one)
        one.lead([], DIRECT)
        rows = [
            {
                "registry": f"{prefix}{side}.test:{ports[side]}",
                "username": f"{side}-user",
                "password": accounts[f"{side}-user"],
            }
            for side in REGISTRIES
            for prefix in ("", "other-")
        ]
        one.user.write(ACCOUNTS_FILE, rows)
        yield one


@contextmanager
def _name_server() -> Iterator[None]:
    """Serve DNS at NAME_SERVER: no name exists. At DEAD_NAME_SERVER every question is read, and never answered."""

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            while question_and_client := server.recvfrom(512):
                question, client = question_and_client
                if not question:  # the end
                    return
                # RFC 1035: the question comes back as a response (0x8000) that the name does not exist (3).
                server.sendto(question[:2] + b"\x81\x83" + question[4:6] + bytes(6) + question[12:], client)

    with socket.socket(type=socket.SOCK_DGRAM) as server, socket.socket(type=socket.SOCK_DGRAM) as silent:
        server.bind((NAME_SERVER, 53))
        silent.bind((DEAD_NAME_SERVER, 53))
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield
        finally:
            silent.sendto(b"", (NAME_SERVER, 53))
            thread.join()


def _listens(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/version", timeout=1):
            return True
    except OSError:
        return False


def _fill(registry: Registry, images: int) -> dict[str, str]:
    """Push `images` images, and another repository of TAGS tags; return the digests by repository:tag."""
    names = [f"{NAMESPACE}/app{number}:v1" for number in range(images - TAGS)]
    names += [f"{LISTED}:v{number}" for number in range(TAGS)]
    return {name: registry.push(name, name * 100) for name in names}


def _make_template(one: World) -> None:
    """Make what the target has before each scenario: EQUAL images of the source, and OUTDATED other ones."""
    target = one.folder / "target" / "data"
    template = one.folder / "template"
    ours, theirs = (folder / "docker" / "registry" / "v2" for folder in (template, one.folder / "source" / "data"))
    old = target / "docker" / "registry" / "v2"
    shutil.copytree(old / "blobs", ours / "blobs")
    shutil.copytree(theirs / "blobs", ours / "blobs", dirs_exist_ok=True)
    for number, name in enumerate(list(one.digests)[: EQUAL + OUTDATED]):
        repository = name.partition(":")[0]
        origin = theirs / "repositories" / repository if number < EQUAL else old / "repositories" / OLD.partition(":")[0]
        shutil.copytree(origin, ours / "repositories" / repository)
    shutil.rmtree(target)


def _token_service(tokens: TokenServer) -> Upstream:
    async def respond(request: Request) -> Response:
        status, content = tokens.answer(request.target.partition("?")[2], request.header("authorization"))
        return Response(status, [(b"Content-Type", b"application/json")], json.dumps(content).encode())

    return respond


async def _lure(_: Request) -> Response:
    """Ask every client for a password. No account belongs to this server."""
    return Response(401, [(b"WWW-Authenticate", b'Basic realm="elsewhere"')])


@contextmanager
def _distribution(folder: Path, port: int, authentication: str) -> Iterator[None]:
    """Run distribution without TLS, which only the gateway and the campaign reach."""
    (folder / "config.yml").write_text(f"""
version: 0.1
log: {{level: info, formatter: json}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
auth: {authentication}
http: {{addr: "127.0.0.1:{port}", relativeurls: true}}
""")
    log = folder / "log"
    with start([str(REGISTRY_BINARY), "serve", str(folder / "config.yml")], log, env={"OTEL_TRACES_EXPORTER": "none"}):
        wait_for(lambda: "listening on" in log_of(log), f"distribution: {log}")
        yield


def _certificates(authority: trustme.CA) -> dict[str, ssl.SSLContext]:
    """Return a good certificate for the names, and bad ones."""
    names = [f"{prefix}{side}.test" for side in SIDES for prefix in ("", "other-")]
    yesterday = datetime.now(UTC) - timedelta(days=1)
    issued = {
        "good": authority.issue_cert(*names),
        "HTTP/2": authority.issue_cert(*names),
        "wrong name": authority.issue_cert("stranger.test"),
        "expired": authority.issue_cert(*names, not_before=yesterday - timedelta(days=30), not_after=yesterday),
        "unknown authority": trustme.CA().issue_cert(*names),
    }
    contexts = {}
    for name, certificate in issued.items():
        contexts[name] = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        certificate.configure_cert(contexts[name])
        contexts[name].set_alpn_protocols(["h2"] if name == "HTTP/2" else ["http/1.1"])
    return contexts
