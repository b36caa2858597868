"""What no registry can be made to do: a bug in the middle of a pass."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from imageporter.config.files import Location
from imageporter.config.images_file import validate_images
from imageporter.config.settings import Settings
from imageporter.engine.sync import Registries, SyncPass
from imageporter.model.outcome import Outcome, Status
from imageporter.model.reference import Reference
from imageporter.registry.crane import Crane
from imageporter.registry.lookup import DigestLookup
from imageporter.store.records import Records
from imageporter.system import logs
from imageporter.system.errors import Problems
from imageporter.system.signals import Shutdown

DIGEST = "sha256:" + "0" * 64


class Broken:
    """Look-ups whose code is wrong for one image, and a crane without work."""

    async def login(self) -> None:
        """Do nothing."""

    async def list_tags(self, _: Reference) -> tuple[str, ...]:
        raise RuntimeError("ours")

    async def digest(self, _: str, image: Reference, **__: object) -> str:
        secret = "a secret in a variable"  # noqa: F841 (what a careless traceback would show)
        if image.path == "library/broken":
            raise RuntimeError("ours")
        return DIGEST


@pytest.mark.parametrize("width", [1, 4])
def test_a_bug_fails_its_image_alone(capsys: pytest.CaptureFixture[str], width: int) -> None:
    problems = Problems()
    data = {f"{name}:1": f"ghcr.io/{name}" for name in ("broken", "good")} | {"listed": "ghcr.io/listed"}
    rules = validate_images(data, Location(Path("images.json")), problems)
    settings = Settings(jobs=width, probes=width)
    logs.configure("DEBUG")
    reported: list[Outcome] = []
    broken = cast("Any", Broken())

    async def run() -> list[Outcome]:
        registries = Registries(cast("DigestLookup", broken), cast("Crane", broken))
        one = SyncPass(registries, Records(None), settings, Shutdown(), reported.append)
        return await one.run(rules)

    outcomes = asyncio.run(run())
    assert not problems
    assert [(outcome.status, outcome.error) for outcome in outcomes] == [
        (Status.FAILED, "unexpected RuntimeError"),
        (Status.SKIPPED, None),
        (Status.FAILED, "unexpected RuntimeError"),
    ]
    assert {id(outcome) for outcome in reported} == {id(outcome) for outcome in outcomes}
    output = capsys.readouterr().out
    assert "unexpected RuntimeError; this is a bug in ImagePorter (LOG_LEVEL=DEBUG shows where)" in output
    assert "Traceback (most recent call last):" in output
    assert "a secret in a variable" not in output.replace('secret = "a secret in a variable"', "")
