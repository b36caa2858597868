"""Who is told how a run has ended. What is not set costs nothing: its module is not even imported."""

from imageporter.config.settings import Settings
from imageporter.model.report import Report
from imageporter.system import logs
from imageporter.system.errors import Problems
from imageporter.system.signals import InterruptedPassError, Shutdown


def check(settings: Settings, problems: Problems, shutdown: Shutdown) -> None:
    """Add a problem for each setting that names nobody who could be told. Raises InterruptedPassError."""
    if settings.ping_url:
        from imageporter.monitoring import pings  # noqa: PLC0415

        pings.check(settings.ping_url, problems)
    if settings.metrics_file:
        from imageporter.monitoring import metrics_file  # noqa: PLC0415

        metrics_file.check(settings.metrics_file, problems)
    if settings.notify_urls:
        from imageporter.monitoring import notifications  # noqa: PLC0415

        notifications.check(settings.notify_urls, problems, shutdown)


def announce_start(settings: Settings, shutdown: Shutdown) -> None:
    """Tell that a run begins, without waiting for a response."""
    if settings.ping_url and _is_pass(settings):
        from imageporter.monitoring import pings  # noqa: PLC0415

        pings.ping_start(settings.ping_url, shutdown)


def announce(settings: Settings, report: Report, previous: Report | None, shutdown: Shutdown) -> None:
    """Tell how a run has ended, of which `report` says everything, and `previous` how the run before it ended.

    What goes wrong is logged. A dry run tells nobody, because it says nothing about the targets. Neither does a run over
    images that somebody has given by hand, and watches, and a pass of a shard: `sync.py --merge-reports` speaks for all.
    """
    if settings.dry_run or settings.image_arguments or (settings.shard and not settings.queue_only):
        return
    for tell in (_write_metrics, _write_page, _notify, _ping):
        try:
            tell(settings, report, previous, shutdown)
        except InterruptedPassError:
            continue
        except Exception as error:  # the run itself is done
            logs.log_bug(error)


def _is_pass(settings: Settings) -> bool:
    """Return whether the run is one whose absence a dead man's switch should notice."""
    return not (settings.dry_run or settings.queue_only or settings.image_arguments or settings.shard)


def _write_metrics(settings: Settings, report: Report, _: Report | None, __: Shutdown) -> None:
    if settings.metrics_file:
        from imageporter.monitoring import metrics_file  # noqa: PLC0415

        metrics_file.write(settings.metrics_file, settings, is_known="problems" in report)


def _write_page(settings: Settings, report: Report, _: Report | None, __: Shutdown) -> None:
    if settings.report_html:
        from imageporter.monitoring import report_page  # noqa: PLC0415

        report_page.write(settings, report)


def _notify(settings: Settings, report: Report, previous: Report | None, shutdown: Shutdown) -> None:
    if settings.notify_urls:
        from imageporter.monitoring import notifications  # noqa: PLC0415

        notifications.notify(settings.notify_urls, settings.notify_on, report, previous, shutdown)


def _ping(settings: Settings, report: Report, previous: Report | None, shutdown: Shutdown) -> None:
    if settings.ping_url and _is_pass(settings):
        from imageporter.monitoring import pings  # noqa: PLC0415

        pings.ping(settings.ping_url, report, previous, shutdown)
