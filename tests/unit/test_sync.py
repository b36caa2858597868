"""What no registry can be made to do: a mistake of ours in the midst of a pass."""

from pathlib import Path
from typing import Any, cast

import pytest

from imageporter.system import logs
from imageporter.model import rule
from imageporter.registry.crane import Crane
from imageporter.config.files import Place
from imageporter.store.records import Records
from imageporter.model.reference import Reference
from imageporter.engine.summary import Outcome, Word
from imageporter.config.settings import Settings
from imageporter.engine.sync import Stages
from imageporter.system.signals import Stop

DIGEST = "sha256:" + "0" * 64


class Broken:
    """A crane whose code is wrong for one image."""

    def digest(self, _: str, image: Reference) -> str:
        secret = "a secret in a variable"  # noqa: F841 (what a careless traceback would show)
        if image.path == "library/broken":
            raise RuntimeError("ours")
        return DIGEST


def test_a_mistake_of_ours_fails_its_image_alone(capsys: pytest.CaptureFixture[str]) -> None:
    mistakes: list[str] = []
    data = [{"source": name, "target": f"ghcr.io/{name}"} for name in ("broken", "good")]
    wanted = rules.check(data, Place(Path("images.json")), mistakes)
    settings = Settings(log_level="DEBUG")
    logs.configure(settings)
    told_of: list[Outcome] = []
    outcomes = Stages(cast("Crane", cast("Any", Broken())), settings, Stop(), Records(None), told_of.append).run(wanted)
    assert [(outcome.word, outcome.error) for outcome in outcomes] == [
        (Word.FAILED, "unexpected RuntimeError"),
        (Word.SKIPPED, None),
    ]
    assert {id(outcome) for outcome in told_of} == {id(outcome) for outcome in outcomes}
    told = capsys.readouterr().out
    assert "unexpected RuntimeError; this is a mistake of ImagePorter's (LOG_LEVEL=DEBUG shows where)" in told
    assert "Traceback (most recent call last):" in told
    assert "a secret in a variable" not in told.replace('secret = "a secret in a variable"', "")
