"""Two registries with TLS and basic auth, the latency before them, and their content."""

import gzip
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from support import BUNDLE, REGISTRY_BINARY, Registry, certify, free_port, log_of, start, wait_for

ACCOUNT = ("bench", "b3nch-p4ssword")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
TOXIPROXY = BUNDLE / ".tools" / "toxiproxy"
# crane takes 127.0.0.1 for a registry without TLS, and then refuses the second page of a list of tags over HTTPS.
HOST = "127.0.0.2"
LATENCY = 15  # milliseconds, each way
CONNECTIONS = 4
MIRROR = "mirror"  # what the targets' repositories are called below

Name = tuple[str, str]  # repository and tag


@dataclass
class Store:
    """A registry: its addresses over each network, and the digests that were pushed.

    `anonymous` has the addresses of a second server for the same content, which wants no account. The bench
    pushes and looks up there, because checking passwords would take most of its time.
    """

    folder: Path
    authority: Path
    addresses: dict[str, str]
    anonymous: dict[str, str]
    pushed: dict[Name, str] = field(default_factory=dict)

    def empty(self) -> None:
        """Delete all content."""
        shutil.rmtree(self._data, ignore_errors=True)

    def mirror(self, source: "Store", repositories: Iterable[str]) -> None:
        """Replace all content by a copy of some repositories of `source`, below MIRROR.

        The registry's files are copied, because pushing them takes longer than the runs to be measured.
        """
        self.empty()
        ours, theirs = (store._data / "docker/registry/v2" for store in (self, source))  # noqa: SLF001
        for repository in repositories:
            shutil.copytree(theirs / "repositories" / repository, ours / "repositories" / MIRROR / repository)
        # Blobs never change: links will do.
        shutil.copytree(theirs / "blobs", ours / "blobs", copy_function=os.link)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def client(self) -> "Client":
        """Return a connection of its own."""
        return Client(self.anonymous["bare"], self.authority)

    def digests(self, names: Iterable[Name]) -> dict[Name, str]:
        """Return the digest of each repository and tag; empty if it does not exist."""

        def look_up(part: Sequence[Name]) -> list[tuple[Name, str]]:
            client = self.client()
            return [(name, client.digest(*name)) for name in part]

        return dict(_in_parallel(look_up, list(names)))

    def push_small(self, names: Iterable[Name]) -> None:
        """Push a new image of 8 KiB under each repository and tag."""

        def push(part: Sequence[Name]) -> list[tuple[Name, str]]:
            client = self.client()
            return [(name, client.push(*name, [os.urandom(8192)])) for name in part]

        self.pushed.update(_in_parallel(push, list(names)))

    def push_large(self, name: Name, sizes: Iterable[int]) -> None:
        """Push an image with a layer of random content for each of `sizes`, in bytes."""
        self.pushed[name] = self.client().push(*name, (os.urandom(size) for size in sizes))

    def push_tags(self, repository: str, tags: Sequence[str], images: int) -> None:
        """Push `images` small images under all `tags` of one repository, in turn."""
        firsts = [(repository, tag) for tag in tags[:images]]
        self.push_small(firsts)
        client = self.client()
        manifests = [client.manifest(*name) for name in firsts]

        def push(part: Sequence[int]) -> list[tuple[Name, str]]:
            client = self.client()
            return [
                ((repository, tags[number]), client.push_manifest(repository, tags[number], manifests[number % images]))
                for number in part
            ]

        self.pushed.update(_in_parallel(push, range(len(firsts), len(tags))))


def _in_parallel(work: Callable[[Any], list[tuple[Name, str]]], items: Sequence[Any]) -> list[tuple[Name, str]]:
    """Do `work` on CONNECTIONS parts of the items at once."""
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        return [row for rows in pool.map(work, [items[number::CONNECTIONS] for number in range(CONNECTIONS)]) for row in rows]


class Client:
    """A connection to a registry."""

    def __init__(self, address: str, authority: Path) -> None:
        context = ssl.create_default_context(cafile=str(authority))
        self._connection = http.client.HTTPSConnection(address, context=context)

    def _request(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream"
    ) -> tuple[int, Any, bytes]:
        headers = {"Content-Type": kind, "Accept": MANIFEST}
        self._connection.request(method, path, body or None, headers)
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()

    def digest(self, repository: str, tag: str) -> str:
        """Return the digest of a tag; empty if there is none."""
        status, headers, _ = self._request("HEAD", f"/v2/{repository}/manifests/{tag}")
        return str(headers["Docker-Content-Digest"]) if status == http.client.OK else ""

    def manifest(self, repository: str, tag: str) -> bytes:
        """Return the manifest of a tag."""
        status, _, content = self._request("GET", f"/v2/{repository}/manifests/{tag}")
        assert status == http.client.OK, status
        return content

    def _push_blob(self, repository: str, data: bytes, kind: str) -> dict[str, Any]:
        digest = _sha256(data)
        status, headers, _ = self._request("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == http.client.ACCEPTED, status
        path = headers["Location"].partition("/v2/")[2]
        status, _, _ = self._request("PUT", f"/v2/{path}&digest={digest}", data)
        assert status == http.client.CREATED, status
        return {"mediaType": kind, "size": len(data), "digest": digest}

    def push(self, repository: str, tag: str, layers: Iterable[bytes]) -> str:
        """Push an image of `layers` and return its digest.

        The layers are gzip files, because skopeo compresses others and so changes the digest.
        """
        pushed, diffs = [], []
        for layer in layers:
            pushed.append(self._push_blob(repository, gzip.compress(layer, compresslevel=1, mtime=0), LAYER))
            diffs.append(_sha256(layer))
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
        descriptor = self._push_blob(repository, json.dumps(config).encode(), CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": descriptor, "layers": pushed}
        return self.push_manifest(repository, tag, json.dumps(manifest).encode())

    def push_manifest(self, repository: str, tag: str, manifest: bytes) -> str:
        """Push a manifest whose blobs are there and return its digest."""
        status, _, _ = self._request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, MANIFEST)
        assert status == http.client.CREATED, status
        return _sha256(manifest)


def _sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Listener:
    """A server on loopback that accepts one connection and never responds."""

    def __init__(self) -> None:
        self.connected = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        self._connection, _ = self._socket.accept()
        self.connected.set()


@contextmanager
def stores(folder: Path) -> Iterator[tuple[Store, Store]]:
    """Serve a source and a target, with ACCOUNT and without, directly and behind LATENCY."""
    authority = certify(folder)
    api = free_port()
    with (
        start([str(TOXIPROXY), "-host", "127.0.0.1", "-port", str(api)], folder / "toxiproxy.log"),
        _store(folder / "source", authority, api) as source,
        _store(folder / "target", authority, api) as target,
    ):
        yield source, target


@contextmanager
def _store(folder: Path, authority: Path, api: int) -> Iterator[Store]:
    with Registry.guarded(folder, authority, ACCOUNT, HOST) as registry, _without_accounts(folder) as anonymous:
        yield Store(
            folder,
            authority,
            {"bare": registry.address, "slow": _add_latency(api, registry.address)},
            {"bare": anonymous, "slow": _add_latency(api, anonymous)},
        )


@contextmanager
def _without_accounts(folder: Path) -> Iterator[str]:
    """Serve the content of the registry in `folder` a second time without accounts; yield the address."""
    address = f"{HOST}:{free_port()}"
    config = {
        "version": 0.1,
        "log": {"level": "info", "formatter": "json"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {
            "addr": address,
            "tls": {"certificate": str(folder.parent / "server.pem"), "key": str(folder.parent / "server.key")},
        },
    }
    path = folder / "anonymous.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    log = folder / "anonymous.log"
    with start([str(REGISTRY_BINARY), "serve", str(path)], log, env={"OTEL_TRACES_EXPORTER": "none"}):
        wait_for(lambda: "listening on" in log_of(log), f"distribution: {log}")
        yield address


def _add_latency(api: int, upstream: str) -> str:
    """Return the address of a proxy before `upstream`, LATENCY away in either direction."""
    listen = f"{HOST}:{free_port()}"

    def post(path: str, content: object) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{api}{path}", json.dumps(content).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10):
            pass

    name = listen.replace(":", "-")

    def created() -> bool:
        try:
            post("/proxies", {"name": name, "listen": listen, "upstream": upstream, "enabled": True})
        except urllib.error.HTTPError:
            raise
        except OSError:
            return False
        return True

    wait_for(created, "toxiproxy's API")
    for stream in ("upstream", "downstream"):
        toxic = {"type": "latency", "stream": stream, "attributes": {"latency": LATENCY}}
        post(f"/proxies/{name}/toxics", toxic)
    return listen
