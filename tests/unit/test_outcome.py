"""The row of an outcome, which log lines and report.json share."""

import pytest

from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.reference import Reference

IMAGE = Image("here", Reference("a.io", "app", "1"), Reference("b.io", "app", "2"))


def test_a_row_has_every_key() -> None:
    outcome = Outcome(IMAGE, Status.FAILED, "sha256:0", "copy failed", 3, 1.23456, host="b.io", reason="failed")
    assert outcome.row() == {
        "source": "a.io/app:1",
        "target": "b.io/app:2",
        "outcome": "failed",
        "digest": "sha256:0",
        "error": "copy failed",
        "attempt": 3,
        "seconds": 1.235,
    }


def test_a_row_has_a_warning_only_if_there_is_one() -> None:
    assert Outcome(IMAGE, Status.WOULD_COPY, warning="no access").row()["warning"] == "no access"
    row = Outcome(IMAGE, Status.SKIPPED).row()
    assert row == {"source": "a.io/app:1", "target": "b.io/app:2", "outcome": "skipped"} | {
        "digest": None,
        "error": None,
        "attempt": 0,
        "seconds": 0.0,
    }


@pytest.mark.parametrize("error", [None, "copy failed"])
def test_the_error_of_an_interrupted_image_is_a_word(error: str | None) -> None:
    row = Outcome(IMAGE, Status.INTERRUPTED, error=error).row()
    assert (row["outcome"], row["error"]) == ("interrupted", "interrupted")


def test_the_words_for_outcomes_are_those_of_the_report() -> None:
    assert [str(status) for status in Status] == ["copied", "skipped", "failed", "would-copy", "interrupted"]
