"""Sends one message to some URLs with apprise: a program of its own, because the pass does not pay for apprise.

The file in argv[1] is JSON: `urls`, and `title`, `body` and `kind`, if there is something to send. The result goes to
stdout, an object for each URL: its `service` (null if apprise does not understand the URL), whether it was `delivered`, and
the HTTP `status` of a refusal, if there was one. Nothing else is printed, because what apprise logs may hold secrets.
"""

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import apprise

STATUS = re.compile(r"error=(\d{3})\b")


class _Statuses(logging.Handler):
    """Keeps the HTTP status of each refusal that apprise logs, and no text."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found += STATUS.findall(record.getMessage())


def send(url: str, content: dict[str, Any], statuses: _Statuses) -> dict[str, Any]:
    """Return the object for `url`."""
    asset = apprise.AppriseAsset(app_id="ImagePorter", app_desc="ImagePorter", secure_logging=True, async_mode=False)
    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    delivered = False
    if service is not None and "body" in content:
        statuses.found.clear()
        title, body, kind = content["title"], content["body"], content["kind"]
        delivered = bool(service.notify(body=body, title=title, notify_type=kind, body_format="text"))
    return {
        "service": None if service is None else str(service.service_name),
        "delivered": delivered,
        "status": statuses.found[-1] if statuses.found and not delivered else None,
    }


def main() -> None:
    """Do what the file in argv[1] says."""
    statuses = _Statuses()
    for name in (None, "apprise"):
        logging.getLogger(name).handlers = [statuses]
    content = json.loads(Path(sys.argv[1]).read_bytes())
    json.dump([send(url, content, statuses) for url in content["urls"]], sys.stdout)


if __name__ == "__main__":
    main()
