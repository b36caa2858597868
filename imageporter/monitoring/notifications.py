"""Notifications by apprise (https://github.com/caronc/apprise): which runs are worth one, and its delivery.

apprise runs in a process of its own. It may hang or use much memory, its log may show what it should not, and the pass has
no use for it before its end.
"""

import json
import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from loguru import logger

from imageporter.config.settings import Secret, process_environ, tool_environ
from imageporter.model.report import LOCKED, Report, failing_since, is_failure
from imageporter.monitoring.messages import Message, compose
from imageporter.registry.ca_bundle import ca_certificates
from imageporter.system.errors import Problems
from imageporter.system.memory_files import in_memory, path_of
from imageporter.system.processes import bounded_process
from imageporter.system.signals import Shutdown

SENDER = Path(__file__).with_name("apprise_sender.py")
SECONDS = 60
REPEATED = timedelta(hours=1)
TEST = Message("ImagePorter: a test", "This is what `sync.py --notify-test` sends. Notifications arrive here.")
ADVICE = "write one like mailto://..., slack://... or ntfy://... (https://github.com/caronc/apprise/wiki)"


@dataclass(frozen=True)
class Delivery:
    """What became of the message to one URL: `delivered` is None if that is not known."""

    service: str | None = None
    delivered: bool | None = None
    status: str | None = None


def check(urls: Secret, problems: Problems, shutdown: Shutdown) -> None:
    """Add a problem for each of `urls` that apprise does not understand. None is shown. Raises InterruptedPassError."""
    found = _apprise(urls, None, shutdown)
    if isinstance(found, str):
        problems.add("NOTIFY_URLS", f"apprise does not work: {found}; install the Python packages in requirements.txt")
        return
    for number, one in enumerate(found, start=1):
        if one.service is None:
            which = f"URL {number} of {len(found)}" if len(found) > 1 else "it"
            problems.add("NOTIFY_URLS", f"apprise does not understand {which}; {ADVICE}")


def notify(urls: Secret, wanted: frozenset[str], report: Report, previous: Report | None, shutdown: Shutdown) -> None:
    """Send one message about a run, if it is one of the occasions in `wanted` (NOTIFY_ON). Raises InterruptedPassError."""
    if occasions(report, previous) & wanted:
        _deliver(urls, compose(report, previous), shutdown)


def send_test(urls: Secret, shutdown: Shutdown) -> bool:
    """Send a message that says no more than that it arrives; return whether all of `urls` took it."""
    return _deliver(urls, TEST, shutdown)


def occasions(report: Report, previous: Report | None) -> frozenset[str]:
    """Return what happened in a run, in the words of NOTIFY_ON. `previous` is the report before.

    An interrupted run is no occasion, and neither is the first one that finds another one running. Queue runs come every few
    minutes, so only the first of those that fail in a row is one. A container that cannot start may be restarted every
    minute, so the same problems are one once an hour.
    """
    was_failing = failing_since(previous) is not None
    found = {"always"}
    if report["exit_code"] == 0:
        found |= {"recovery"} if was_failing else set()
    elif not is_failure(report["exit_code"], previous) or _is_repeated(report, previous):
        return frozenset()
    elif report["run"] == "pass" or not was_failing:
        found.add("failure")
    else:
        found.clear()
    return frozenset(found | ({"change"} if report["copied"] else set()))


def _is_repeated(report: Report, previous: Report | None) -> bool:
    """Return whether the run before could not start because of the same problems, less than an hour ago."""
    if previous is None or not report.get("problems") or report["exit_code"] == LOCKED:
        return False
    with suppress(ValueError, KeyError, TypeError):
        passed = datetime.fromisoformat(report["finished"]) - datetime.fromisoformat(previous["finished"])
        return report.get("problems") == previous.get("problems") and timedelta() <= passed < REPEATED
    return False


def _deliver(urls: Secret, message: Message, shutdown: Shutdown) -> bool:
    """Send `message` to all of `urls`. What is not delivered is logged."""
    found = _apprise(urls, message, shutdown)
    if isinstance(found, str):
        logger.warning("the notification was not sent: {}", found)
        return False
    for number, one in enumerate(found, start=1):
        if one.delivered:
            logger.info("notified by {}", one.service)
        elif one.service:  # else it is one of the problems
            late = f": no end after {SECONDS} seconds" if one.delivered is None else ""
            status = f": HTTP status {one.status}" if one.status else late
            logger.warning("notification {} of {} ({}) could not be delivered{}", number, len(found), one.service, status)
    return all(one.delivered for one in found)


def _apprise(urls: Secret, message: Message | None, shutdown: Shutdown) -> list[Delivery] | str:
    """Return what apprise says about each of `urls`, after it has sent `message`, if there is one; or why it could not run."""
    content = {"urls": [url.rstrip(",") for url in urls.value.split()]} | (asdict(message) if message else {})
    with ExitStack() as stack:

        def share(data: bytes) -> int:
            descriptor = in_memory(data)
            stack.callback(os.close, descriptor)
            return descriptor

        task = share(json.dumps(content).encode())
        descriptors, environ = [task], tool_environ(requests=True)
        if certificates := ca_certificates(process_environ()):
            descriptors.append(share(certificates))
            environ |= dict.fromkeys(("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"), path_of(descriptors[-1]))
        # Its own folder is none that it imports from, but the libraries may be where only PYTHONPATH says.
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        given = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
        environ |= dict.fromkeys(("NO_PROXY", "no_proxy"), no_proxy(given))  # the library prefers the small letters
        command = (sys.executable, "-P", str(SENDER), path_of(task))
        output = ""
        try:
            with bounded_process(command, SECONDS, shutdown, environ, descriptors) as process:
                output, _ = process.communicate()
            if process.returncode:
                return f"it exited with {process.returncode}"
        except subprocess.TimeoutExpired:
            pass  # what was delivered is known
        except OSError as error:
            return error.strerror or "it could not be run"
    return deliveries(output, len(content["urls"]))


def deliveries(output: str, count: int) -> list[Delivery]:
    """Return what the lines in `output` say about each of `count` URLs."""
    lines: dict[int, dict[str, Any]] = {number: {} for number in range(count)}
    for line in output.splitlines():
        with suppress(ValueError, KeyError, TypeError):  # the last line may be cut
            found = json.loads(line)
            lines[found.pop("number")] |= found
    return [Delivery(**line) for line in lines.values()]


def no_proxy(given: str) -> str:
    """Return NO_PROXY as the library under apprise must get it, to mean what it means to crane.

    Go never uses a proxy for this machine, and takes `*.example.com` for `.example.com`.
    """
    names = [name.strip().removeprefix("*") if name.strip() != "*" else "*" for name in given.split(",")]
    return ",".join([*filter(None, names), "localhost", "127.0.0.0/8", "::1"])
