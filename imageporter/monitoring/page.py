"""The page with the last pass and every image, as HTML: the status page of the hook, and report.html.

It works without JavaScript, and asks no other host for anything.
"""

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2

from imageporter import __version__
from imageporter.model.report import Report
from imageporter.monitoring.chinese import CHINESE, CHINESE_HEADLINES
from imageporter.monitoring.messages import ENGLISH_HEADLINES, headline
from imageporter.store.image_states import ImageState

HEADLINES = {"en": ENGLISH_HEADLINES, "zh": CHINESE_HEADLINES}
FOLDER = Path(__file__).with_name("templates")
IMAGES_PER_PAGE = 200
PAGES_AROUND = 3
OUTCOMES = ("failed", "interrupted", "copied", "skipped")


@dataclass(frozen=True)
class View:
    """What a page shows: of the images only some, if there are `pages`."""

    report: Report | None
    images: Sequence[ImageState]
    counts: Mapping[str, int]  # of the images found, by outcome
    queue: Mapping[str, Any] | None = None
    queued: Mapping[str, float] = field(default_factory=dict)  # since when, by target
    notes: Sequence[str] = ()
    token: str = ""  # proves that a form is ours; without one there are no buttons
    search: str = ""
    outcome: str = ""
    page: int = 1
    language: str = "en"
    standalone: bool = False  # a file, with its style sheet in it


def render(view: View) -> str:
    """Return the HTML of `view`."""
    now = datetime.now().astimezone()
    return _template().render(
        t=translator(view.language),
        css=style_sheet() if view.standalone else "",
        version=__version__,
        now=now.isoformat(),
        zone=now.tzname(),
        report=view.report or {},
        failures=view.counts.get("failed", 0),
        verdict=_verdict(view.report, view.language),
        host=socket.gethostname(),
        queue=view.queue,
        queued=view.queued,
        notes=view.notes,
        token=view.token,
        images=view.images,
        filters=None if view.standalone else _filters(view),
        pages=None if view.standalone else _pages(view),
        search=view.search,
        outcome=view.outcome,
        language="zh-CN" if view.language == "zh" else "en",
    )


def _verdict(report: Report | None, language: str) -> str:
    """Return how the last pass ended, in one line."""
    try:
        return headline(report, HEADLINES[language]) if report else ""
    except (KeyError, TypeError):  # somebody has edited the report
        return ""


@cache
def style_sheet() -> str:
    """Return the style sheet."""
    return (FOLDER / "page.css").read_text(encoding="utf-8")


def translator(language: str) -> Callable[[str], str]:
    """Return a function that says English words in `language`: `zh`, or `en`."""
    words = CHINESE if language == "zh" else {"skipped": "up to date"}
    return lambda text: words.get(text, text)


def preferred_language(accepted: str) -> str:
    """Return `zh` or `en`, whichever the header Accept-Language prefers (RFC 9110, 12.5.4)."""
    best, weight = "en", 0.0
    for entry in accepted.lower().split(",")[:20]:
        name, _, quality = entry.replace(" ", "").partition(";q=")
        language = name.partition("-")[0]
        try:
            value = float(quality or 1)
        except ValueError:
            continue
        if language in {"en", "zh"} and weight < value <= 1:
            best, weight = language, value
    return best


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.ChainableUndefined, trim_blocks=True
    )
    environment.filters |= {"time": _time, "seconds": _seconds, "is_past": _is_past}
    return environment.get_template("page.html")


def _time(value: str | float | None) -> str:
    """Return a time of a report, or seconds since 1970, for people: `2026-11-27 03:24:07`."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value or 0)  # noqa: DTZ006
        return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if value else ""
    except (ValueError, OverflowError, OSError):
        return ""


def _is_past(value: str) -> bool:
    """Return whether a time of a report is over."""
    try:
        return datetime.fromisoformat(value).timestamp() < time.time()
    except (ValueError, TypeError):
        return False


def _seconds(value: object) -> str:
    return f"{value:.1f} s" if isinstance(value, int | float) else ""


def _filters(view: View) -> list[dict[str, Any]]:
    """Return a link for each outcome, with its number of images."""
    outcomes = ["", *(one for one in OUTCOMES if view.counts.get(one) or one == view.outcome)]
    return [
        {
            "name": one or "all",
            "number": view.counts.get(one, 0) if one else sum(view.counts.values()),
            "link": _link(view.search, one, 1),
            "current": one == view.outcome,
        }
        for one in outcomes
    ]


def _pages(view: View) -> list[dict[str, Any]]:
    """Return links to the first and the last page, and to those around this one; none if there is one page only."""
    found = view.counts.get(view.outcome, 0) if view.outcome else sum(view.counts.values())
    last = max(-(-found // IMAGES_PER_PAGE), 1)
    around = range(max(view.page - PAGES_AROUND, 1), min(view.page + PAGES_AROUND, last) + 1)
    numbers = sorted({1, last, *around}) if last > 1 else []
    return [{"name": one, "link": _link(view.search, view.outcome, one), "current": one == view.page} for one in numbers]


def _link(search: str, outcome: str, page: int) -> str:
    query = {"q": search, "outcome": outcome, "page": page if page > 1 else ""}
    return "?" + urlencode({name: value for name, value in query.items() if value})
