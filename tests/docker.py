"""Docker, and two registries in a network of their own."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import BUNDLE

from imageporter import __version__

IMAGE = f"imageporter/imageporter:{__version__}"
PATIENCE = 90.0


def docker(*command: str, check: bool = True, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run docker."""
    done = subprocess.run(["docker", *command], capture_output=True, text=True, check=False, timeout=600, **more)
    assert not check or done.returncode == 0, f"docker {command}: {done.stdout}{done.stderr}"
    return done


def make_image(image: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`make image`, with variables in its environment."""
    # Without BuildKit's plugin (which Debian does not have) the old builder does it.
    environ = {"DOCKER_BUILDKIT": "0"} | os.environ | env
    command = ["make", "-C", str(BUNDLE), "image", "BUILD=--network host", f"IMAGE={image}"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def wait_for(condition: Callable[[], Any], what: Callable[[], str] | str, seconds: float = PATIENCE) -> None:
    """Wait until `condition` holds; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
        time.sleep(0.2)


def logs(container: str) -> str:
    """What a container has written so far."""
    done = docker("logs", container, check=False)
    return done.stdout + done.stderr


@dataclass
class Network:
    """A network of its own, with two registries in it, which are containers, and a user's folder."""

    name: str
    folder: Path
    containers: Mapping[str, str]

    def __getitem__(self, registry: str) -> str:
        """The address of the registry `source` or `target`: a private one, to which crane speaks plain HTTP."""
        networks = inspected(self.containers[registry])["NetworkSettings"]["Networks"]
        return f"{networks[self.name]['IPAddress']}:5000"

    def crane(self, *command: str) -> str:
        """Run the image's crane in the network."""
        run = ("run", "--rm", "--network", self.name, "--user", f"{os.getuid()}", "-v", f"{self.folder}:{self.folder}")
        return docker(*run, "--entrypoint", "crane", IMAGE, *command).stdout.strip()

    def push(self, image: str, content: bytes) -> str:
        """Push an image of one file to the source; gives its digest."""
        layer = self.folder / "layer.tar"
        (self.folder / "file").write_bytes(content)
        subprocess.run(["tar", "-cf", str(layer), "-C", str(self.folder), "file"], check=True)
        self.crane("append", "--new_layer", str(layer), "--new_tag", f"{self['source']}/{image}")
        return self.digest("source", image)

    def digest(self, registry: str, image: str) -> str:
        """The digest of an image there."""
        return self.crane("digest", f"{self[registry]}/{image}")

    def files(self, *pairs: tuple[str, str]) -> None:
        """Write the user's two files, with images of the source and the target, for user 1000 to read."""
        images = [{"source": f"{self['source']}/{left}", "target": f"{self['target']}/{right}"} for left, right in pairs]
        for name, content in (("images", images), ("accounts", [])):
            path = self.folder / f"{name}.json"
            path.write_text(json.dumps(content))
            path.chmod(0o644)

    def run(self, *options: str, command: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
        """`docker run --rm` of the specification, in this network and folder."""
        quick = {"SLEEP_TIME": "0", "RETRY_DELAY_TIME": "0", "RETRIES": "0", "RUN_ONCE": "true"} | env
        variables = [word for name, value in quick.items() for word in ("-e", f"{name}={value}")]
        mounts = ["-v", "./images.json:/app/images.json:ro", "-v", "./accounts.json:/app/accounts.json:ro"]
        words = ("run", "--rm", "--network", self.name, *variables, *mounts, *options, IMAGE, *command)
        return docker(*words, check=False, cwd=self.folder)


@contextmanager
def started(*words: str) -> Iterator[str]:
    """A container, removed at the end; gives its ID."""
    container = docker("run", "--detach", *words).stdout.strip()
    try:
        yield container
    finally:
        print(logs(container)[-5000:])
        docker("rm", "--force", "--volumes", container, check=False)


def inspected(what: str) -> Mapping[str, Any]:
    """What `docker inspect` says of it."""
    found = json.loads(docker("inspect", what).stdout)[0]
    assert isinstance(found, dict)
    return found
