"""Sends one message to some URLs with apprise: a program of its own, because the pass does not pay for apprise.

The file in argv[1] is JSON: `urls`, and `title`, `body` and `kind`, if there is something to send. The result goes to
stdout as lines of JSON, at once: for each URL its `service` (null if apprise does not understand the URL), and then whether
it was `delivered`, with the HTTP `status` of a refusal, if there was one. Nothing else is printed, because what apprise logs
may hold secrets.
"""

import json
import logging
import re
import sys
import threading
from pathlib import Path
from typing import Any

import apprise

STATUS = re.compile(r"error=(\d{3})\b")


class _Statuses(logging.Handler):
    """Keeps the last HTTP status that apprise logs in each thread, and no text."""

    def __init__(self) -> None:
        super().__init__()
        self.by_thread: dict[int, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if found := STATUS.findall(record.getMessage()):
            self.by_thread[threading.get_ident()] = found[-1]


def send(number: int, url: str, content: dict[str, Any], statuses: _Statuses) -> None:
    """Print the lines of one URL. One that hangs does not keep the others waiting."""
    asset = apprise.AppriseAsset(app_id="ImagePorter", app_desc="ImagePorter", secure_logging=True, async_mode=False)
    service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    show({"number": number, "service": None if service is None else str(service.service_name)})
    if service is not None and "body" in content:
        title, body, kind = content["title"], content["body"], content["kind"]
        delivered = bool(service.notify(body=body, title=title, notify_type=kind, body_format="text"))
        status = None if delivered else statuses.by_thread.get(threading.get_ident())
        show({"number": number, "delivered": delivered, "status": status})


def show(line: dict[str, Any]) -> None:
    """Print a line."""
    sys.stdout.write(f"{json.dumps(line)}\n")
    sys.stdout.flush()


def main() -> None:
    """Do what the file in argv[1] says."""
    statuses = _Statuses()
    for name in (None, "apprise"):
        logging.getLogger(name).handlers = [statuses]
    content = json.loads(Path(sys.argv[1]).read_bytes())
    threads = [
        threading.Thread(target=send, args=(number, url, content, statuses)) for number, url in enumerate(content["urls"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
