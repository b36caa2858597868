"""The image, as the Dockerfile makes it, on a real Docker engine; without one these tests are skipped by name."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from docker import IMAGE, Network, docker, logs, make_image, started, wait_for


@pytest.fixture(scope="session", autouse=True)
def _image() -> None:
    """The image of this tree."""
    if shutil.which("docker") is None or docker("info", check=False).returncode:
        pytest.skip("no Docker engine answers")
    done = make_image(IMAGE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """See Network. The registries are the image's own crane."""
    name = f"imageporter-{uuid.uuid4().hex[:8]}"
    tmp_path.chmod(0o755)
    docker("network", "create", name)
    serve = ("--entrypoint", "crane", IMAGE, "registry", "serve", "--address", "0.0.0.0:5000")
    try:
        with (
            started("--network", name, *serve) as source,
            started("--network", name, *serve) as target,
        ):
            wait_for(lambda: all("serving on port" in logs(one) for one in (source, target)), "crane registry serve")
            yield Network(name, tmp_path, {"source": source, "target": target})
    finally:
        with suppress(AssertionError):
            docker("network", "rm", name)
