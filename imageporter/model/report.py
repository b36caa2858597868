"""What report.json says of a run: a pass, or a queue run. `make schema` renders the JSON Schema of the file from it."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic wants it before Python 3.12

SCHEMA_VERSION = 1
LOCKED = 75
INTERRUPTED = frozenset({130, 143})  # neither a success nor a failure

RunKind = Literal["pass", "queue", "images"]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0, description="images of this outcome")]
Seconds = Annotated[float, Field(ge=0, description="how long it took")]
AS_WRITTEN = "as written in the rule, with the tag"


class ImageRow(TypedDict):
    """How one image ended."""

    source: Annotated[str, Field(description=AS_WRITTEN)]
    target: Annotated[str, Field(description=AS_WRITTEN)]
    outcome: Annotated[
        Literal["copied", "skipped", "failed", "would-copy", "interrupted"], Field(description="how the image ended")
    ]
    digest: Annotated[str | None, Field(description="of the source; null if it is not known")]
    error: Annotated[str | None, Field(description="why it failed; null if it did not")]
    attempt: Annotated[int, Field(ge=0, description="how many attempts were made at its last step")]
    seconds: Seconds
    warning: NotRequired[Annotated[str, Field(description="why a dry run doubts that the image would be copied")]]


class Report(TypedDict):
    """How a run ended."""

    schema_version: Annotated[Literal[1], Field(description="grows if a key changes its meaning or goes; new keys may come")]
    run: Annotated[RunKind, Field(description="a full pass, a queue run, or images given by hand")]
    started: Annotated[Time, Field(description="when the run began")]
    finished: Annotated[Time, Field(description="when the run ended")]
    shard: NotRequired[Annotated[str, Field(description="the share of the images that it was about: 2/8")]]
    dry_run: Annotated[bool, Field(description="whether it was a dry run")]
    exit_code: Annotated[
        int, Field(description="0 success, 1 failures, 2 invalid settings, 75 locked, 130 and 143 interrupted")
    ]
    copied: Count
    skipped: Count
    failed: Annotated[int, Field(ge=0, description="interrupted images included")]
    would_copy: Count
    interrupted: NotRequired[Count]
    seconds: Seconds
    lookups: Annotated[int, Field(ge=0, description="look-ups of digests")]
    backoffs: Annotated[int, Field(ge=0, description="back-offs of registries")]
    pulls_left: Annotated[dict[str, int], Field(description="what registries that limit pulls said last, by registry")]
    failing_since: Annotated[Time | None, Field(description="start of the first of the failed runs that this one ends")]
    last_success: Annotated[Time | None, Field(description="end of the last run with exit code 0")]
    next_pass: Annotated[Time | None, Field(description="when the schedule comes next, if there is one")]
    shards: NotRequired[Annotated[dict[str, Time], Field(description="of a merged report: when each shard ended")]]
    missing: NotRequired[Annotated[list[str], Field(description="of a merged report: the shards that have not run")]]
    problems: NotRequired[Annotated[list[str], Field(description="why it could not start")]]
    images: NotRequired[Annotated[list[ImageRow], Field(description="one row for each image")]]


def is_failure(exit_code: int, previous: Report | None) -> bool:
    """Return whether a run with this exit code is one that people must look at.

    A pass that finds another one running is none, unless the one before found the same.
    """
    if exit_code == LOCKED:
        return previous is not None and previous.get("exit_code") == LOCKED
    return exit_code not in {0, *INTERRUPTED}


def failing_since(report: Report | None) -> str | None:
    """Return since when runs fail, if they do. There may be no `report`, or one of an earlier version."""
    return report.get("failing_since") if report else None
