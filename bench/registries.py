"""Two registries with TLS and basic auth, the latency before them, and what is in them."""

import base64
import gzip
import hashlib
import http.client
import json
import os
import shutil
import ssl
import urllib.request
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import BUNDLE, Registry, certify, free_port, log_of, start, wait_for

ACCOUNT = ("bench", "b3nch-p4ssword")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
TOXIPROXY = BUNDLE / ".tools" / "toxiproxy"
LATENCY = 15  # milliseconds, each way


@dataclass
class Store:
    """A registry: its own address, the one behind the latency, and a client of the bench's own."""

    registry: Registry
    slow: str
    folder: Path

    def address(self, network: str) -> str:
        """Where tools find it, `bare` or `slow`."""
        return self.slow if network == "slow" else self.registry.address

    def empty(self) -> None:
        """Forget everything that was pushed."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)

    def client(self) -> "Client":
        """A connection of its own."""
        return Client(self.registry)

    def digests(self, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """The digest of each repository and tag; empty where there is none."""
        client = self.client()
        return {name: client.digest(*name) for name in names}


class Client:
    """A connection to a registry."""

    def __init__(self, registry: Registry) -> None:
        context = ssl.create_default_context(cafile=str(registry.authority))
        host, port = registry.address.split(":")
        self._connection = http.client.HTTPSConnection(host, int(port), context=context)
        self._auth = "Basic " + base64.b64encode(":".join(ACCOUNT).encode()).decode()

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> tuple[int, Any]:
        headers = {"Authorization": self._auth, "Content-Type": kind, "Accept": MANIFEST}
        self._connection.request(method, path, body or None, headers)
        response = self._connection.getresponse()
        response.read()
        return response.status, response.headers

    def digest(self, repository: str, tag: str) -> str:
        """The digest of a tag; empty where there is none."""
        status, headers = self._ask("HEAD", f"/v2/{repository}/manifests/{tag}")
        return str(headers["Docker-Content-Digest"]) if status == http.client.OK else ""

    def _push_blob(self, repository: str, data: bytes, kind: str) -> dict[str, Any]:
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        status, headers = self._ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == http.client.ACCEPTED, status
        place = headers["Location"].partition("/v2/")[2]
        status, _ = self._ask("PUT", f"/v2/{place}&digest={digest}", data)
        assert status == http.client.CREATED, status
        return {"mediaType": kind, "size": len(data), "digest": digest}

    def push(self, repository: str, tag: str, layers: Iterable[bytes]) -> None:
        """Push an image of `layers`, as gzip files: skopeo would compress, and so change, what is none."""
        pushed, diffs = [], []
        for layer in layers:
            pushed.append(self._push_blob(repository, gzip.compress(layer, compresslevel=1, mtime=0), LAYER))
            diffs.append("sha256:" + hashlib.sha256(layer).hexdigest())
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diffs}}
        described = self._push_blob(repository, json.dumps(config).encode(), CONFIG)
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": pushed}
        status, _ = self._ask("PUT", f"/v2/{repository}/manifests/{tag}", json.dumps(manifest).encode(), MANIFEST)
        assert status == http.client.CREATED, status


def push_small(store: Store, names: Iterable[tuple[str, str]]) -> None:
    """Push a new image of 8 KiB under each repository and tag."""

    def push(part: list[tuple[str, str]]) -> None:
        client = store.client()
        for name in part:
            client.push(*name, [os.urandom(8192)])

    wanted = list(names)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(push, [wanted[number::4] for number in range(4)]))


@contextmanager
def stores(folder: Path) -> Iterator[tuple[Store, Store]]:
    """A source and a target, both also behind LATENCY."""
    authority = certify(folder)
    api = free_port()
    log = folder / "toxiproxy.log"
    with (
        Registry.guarded(folder / "source", authority, ACCOUNT) as source,
        Registry.guarded(folder / "target", authority, ACCOUNT) as target,
        start([str(TOXIPROXY), "-host", "127.0.0.1", "-port", str(api)], log),
    ):
        wait_for(lambda: "API HTTP server" in log_of(log) or "starting" in log_of(log).lower(), f"toxiproxy: {log}")
        slow = [_slowed(api, registry) for registry in (source, target)]
        yield Store(source, slow[0], folder / "source"), Store(target, slow[1], folder / "target")


def _slowed(api: int, registry: Registry) -> str:
    """The address of a proxy before `registry`, LATENCY away in either direction."""
    listen = f"127.0.0.1:{free_port()}"

    def post(path: str, content: object) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{api}{path}", json.dumps(content).encode())
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10):
            pass

    name = listen.replace(":", "-")

    def there() -> bool:
        try:
            post("/proxies", {"name": name, "listen": listen, "upstream": registry.address, "enabled": True})
        except urllib.error.HTTPError:
            raise
        except OSError:
            return False
        return True

    wait_for(there, "toxiproxy's API")
    for stream in ("upstream", "downstream"):
        toxic = {"type": "latency", "stream": stream, "attributes": {"latency": LATENCY}}
        post(f"/proxies/{name}/toxics", toxic)
    return listen
