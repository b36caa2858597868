"""What no registry can be made to do: a mistake of ours in the midst of a pass."""

from pathlib import Path
from typing import Any, cast

import pytest

from imageporter import logs, rules
from imageporter.crane import Crane
from imageporter.files import Place
from imageporter.records import Records
from imageporter.reference import Reference
from imageporter.report import Outcome, Word
from imageporter.settings import Settings
from imageporter.stages import Stages
from imageporter.stop import Stop

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
