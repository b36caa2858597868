#!/usr/bin/env python3
"""One pass: make every target image equal to its source image. With --queue, only the queued pushes.

Exit codes: 0 success, 1 at least one image failed, 2 invalid settings or files (nothing was attempted),
75 another pass holds the lock, 130 or 143 interrupted (SIGINT, SIGTERM).
"""

import gc
import sys

from imageporter.config import command_line
from imageporter.system.libraries import require_libraries
from imageporter.system.signals import InterruptedPassError, Shutdown, exit_on_signals

if __name__ == "__main__":
    exit_on_signals()
    command_line.print_help(sys.argv[1:])  # before the slow imports
    require_libraries()
    # TLS is libcurl's and crane's business. asyncio would load Python's OpenSSL as well: 7 MB, which every fork copies.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    gc.set_threshold(100_000)  # thousands of rules are no garbage: without this, a fifth of the time to read them is gc's

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from imageporter.config.configuration import Parts, load_configuration, warn_of_misspelt_variables
from imageporter.config.settings import Settings, configure_logs, process_environ, tool_environ
from imageporter.config.sharding import rules_of, with_shard
from imageporter.engine import expansion, merging, summary
from imageporter.engine.referrers import Referrers
from imageporter.engine.reporting import Reporter
from imageporter.engine.sync import Registries, SyncPass
from imageporter.model.account import Accounts
from imageporter.model.outcome import Outcome
from imageporter.model.rule import Rule
from imageporter.model.traffic import Traffic
from imageporter.monitoring import announcements
from imageporter.registry.ca_bundle import build_ca_bundle, ca_variables, check_ca_variables
from imageporter.registry.cosign import Cosign
from imageporter.registry.crane import Crane
from imageporter.registry.crane_process import TimeLimits
from imageporter.registry.lookup import DigestLookup
from imageporter.registry.program import Threads
from imageporter.registry.proxies import check_proxy_variables
from imageporter.schedule.supercronic import Supercronic
from imageporter.store import locks, push_queue
from imageporter.store.records import Records, open_records
from imageporter.system.errors import Problems, UserError, error_handler
from imageporter.system.programs import check_crane, find_program
from imageporter.system.stopwatch import Stopwatch

if __name__ == "__main__":
    del sys.modules["ssl"]  # the library of METRICS_FILE imports it, at the end of the pass


@dataclass(frozen=True)
class Plan:
    """What a pass is about to do, read and validated."""

    settings: Settings
    accounts: Accounts
    rules: tuple[Rule, ...]
    crane: str
    cosign: str


def main(argv: Sequence[str]) -> int:
    """Run one pass with the flags `argv`; return its exit code."""
    if listing := command_line.list_from(argv):
        from imageporter.config import list_from  # noqa: PLC0415 (a pass does not pay for it)

        return list_from.print_rows(*listing)
    with Shutdown() as shutdown:
        if command_line.is_notify_test(argv):
            return notify_test(argv, shutdown)
        if folders := command_line.merge_reports(argv):
            return merge_reports(argv, folders, shutdown)
        plan = read(argv, shutdown)
        data_dir, queue_only, state_dir = plan.settings.data_dir, plan.settings.queue_only, plan.settings.state_dir
        reporter = Reporter(plan.settings, shutdown)
        with reporter.refusal_reported():
            is_done = queue_only and push_queue.is_empty(data_dir, plan.settings.shard)
        if is_done:
            reporter.report_empty_queue()
            return 0
        with (
            reporter.refusal_reported(),
            locks.hold(data_dir, shutdown, queue_only=queue_only, shard=plan.settings.shard) as private,
            open_records(state_dir) as records,
            push_queue.open_queue(
                data_dir, required=queue_only, read_only=plan.settings.dry_run, shard=plan.settings.shard
            ) as queue,
        ):
            if plan.settings.explain is not None:
                opened = open_pass(plan, plan.rules, private, records, shutdown, queue.settle)
                exit_code = asyncio.run(explain(opened, plan.rules, plan.settings.explain))
                return shutdown.exit_code or exit_code
            reporter.report_start()
            rules = plan.rules if plan.settings.image_arguments else (*plan.rules, *queue.take())
            name = summary.QUEUE_RUN if queue_only else summary.PASS
            stopwatch = summary.log_pass_start(rules, name, dry_run=plan.settings.dry_run)
            opened = open_pass(plan, rules, private, records, shutdown, queue.settle)
            outcomes, traffic = asyncio.run(run_pass(opened, rules))
            exit_code = shutdown.exit_code or summary.exit_code(outcomes)

            record_outcomes(records, plan.settings, outcomes, stopwatch, exit_code)
            report = reporter.write(outcomes, stopwatch, exit_code, traffic, next_pass(plan.settings, shutdown))
            summary.log_pass_done(outcomes, name, stopwatch, plan.accounts)
        reporter.announce(report)
    return exit_code


async def run_pass(opened: AbstractAsyncContextManager[SyncPass], rules: Sequence[Rule]) -> tuple[list[Outcome], Traffic]:
    """Make every target of `rules` equal to its source; return the outcomes, and what was asked of the registries."""
    async with opened as sync_pass:
        return await sync_pass.run(rules), sync_pass.traffic


async def explain(opened: AbstractAsyncContextManager[SyncPass], rules: Sequence[Rule], image: str) -> int:
    """Print which tags each of `rules` takes, or what happens to `image`; return the exit code."""
    async with opened as sync_pass:
        lines = await sync_pass.explain(rules, image)
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return int(any(line.startswith((expansion.FAILED, expansion.NO_RULE)) for line in lines))


def record_outcomes(
    records: Records, settings: Settings, outcomes: Sequence[Outcome], stopwatch: Stopwatch, exit_code: int
) -> None:
    """Record how each image has ended. A full pass that came to its end has seen every image of the files."""
    if not (settings.dry_run or settings.image_arguments):
        is_complete = exit_code in {0, 1} and not settings.queue_only
        records.record_outcomes(outcomes, stopwatch, is_complete=is_complete)


def next_pass(settings: Settings, shutdown: Shutdown) -> str | None:
    """Return when the schedule comes next, if the pass is one of a schedule."""
    program = find_program("supercronic", settings.supercronic, Problems()) if settings.scheduled else ""
    with suppress(InterruptedPassError):
        return Supercronic(program, settings.tz, shutdown).next_run(settings.cron) if program else None
    return None


def merge_reports(argv: Sequence[str], folders: Sequence[str], shutdown: Shutdown) -> int:
    """Write one report of all shards below `folders`, and tell how they ended; return the worst of their exit codes."""
    problems = Problems()
    settings = replace(command_line.load_settings(argv, problems), shard=None)
    configure_logs(settings)
    locks.prepare(settings.data_dir, settings.data_dir, problems)
    announcements.check(settings, problems, shutdown)
    problems.raise_if_any()
    reporter = Reporter(settings, shutdown)
    with reporter.refusal_reported():
        found = merging.read_reports([Path(folder) for folder in folders])
        if not found:
            raise UserError([f"--merge-reports: there is no report of a shard in {', '.join(folders)}"])
    report = reporter.write_merged(found)
    summary.log_merged(report)
    reporter.announce(report)
    return report["exit_code"]


def notify_test(argv: Sequence[str], shutdown: Shutdown) -> int:
    """Send a test to NOTIFY_URLS; return the exit code. Nothing else is read or written, and nobody else is told."""
    from imageporter.monitoring import notifications  # noqa: PLC0415 (a pass without notifications does not pay for it)

    problems = Problems()
    settings = command_line.load_settings(argv, problems)
    configure_logs(settings)
    if settings.notify_urls is not None:
        notifications.check(settings.notify_urls, problems, shutdown)
    elif not len(problems):
        problems.add("NOTIFY_URLS", "is not set, so there is nobody to notify; set it to an apprise URL")
    problems.raise_if_any()
    return 0 if settings.notify_urls and notifications.send_test(settings.notify_urls, shutdown) else 1


@asynccontextmanager
async def open_pass(
    plan: Plan,
    rules: Sequence[Rule],
    private: Path,
    records: Records,
    shutdown: Shutdown,
    on_outcome: Callable[[Outcome], None],
) -> AsyncIterator[SyncPass]:
    """A pass over `rules` with a client and a crane of its own, which end with the context."""
    settings, environ = plan.settings, process_environ()
    bundle = build_ca_bundle(environ, private)
    limits = TimeLimits(settings.copy_timeout, settings.probe_timeout, settings.stall_timeout)
    threads = Threads(settings.probes + settings.jobs)
    crane = Crane(plan.crane, private, plan.accounts, tool_environ(requests=True) | ca_variables(bundle), limits, threads)
    cosign = Cosign(plan.cosign, crane, plan.accounts, limits, threads) if plan.cosign else None
    client, referrers = None, None
    wants_referrers = any(rule.referrers for rule in rules)
    if settings.fast_lookups or wants_referrers:
        from imageporter.registry.client import Client  # noqa: PLC0415 (FAST_LOOKUPS=false does not pay for libcurl)

        client = Client(plan.accounts, bundle, environ, settings.probes)
    try:
        lookup = DigestLookup(client if settings.fast_lookups else None, crane, settings.probe_timeout)
        if client is not None and wants_referrers:
            referrers = Referrers(client, crane, lookup, settings.probe_timeout)
        yield SyncPass(Registries(lookup, crane, referrers, cosign), records, settings, shutdown, on_outcome)
    finally:
        if referrers is not None:
            await referrers.close()
        threads.close()
        if client is not None:
            await client.close()


def read(argv: Sequence[str], shutdown: Shutdown) -> Plan:
    """Read the settings and the files that they name. Raises UserError with every mistake in them."""
    problems = Problems()
    plan = read_into(argv, problems, shutdown)
    with Reporter(plan.settings, shutdown).refusal_reported():
        problems.raise_if_any()
    return plan


def read_into(argv: Sequence[str], problems: Problems, shutdown: Shutdown) -> Plan:
    """Read the settings and the files that they name. Every mistake is added to `problems`."""
    settings = command_line.load_settings(argv, problems)
    configure_logs(settings)
    warn_of_misspelt_variables(settings)
    is_for_all = settings.image_arguments or settings.explain is not None
    settings = replace(settings, shard=None) if is_for_all else with_shard(settings, problems)
    configuration = load_configuration(settings, problems, Parts(images=not settings.queue_only))
    rules = rules_of(settings.shard, configuration.rules, problems)
    locks.prepare(settings.data_dir, settings.state_dir, problems, quiet=settings.scheduled)
    check_ca_variables(process_environ(), problems)
    check_proxy_variables(process_environ(), problems)
    announcements.check(settings, problems, shutdown)
    crane = find_program("crane", settings.crane, problems)
    if crane:
        check_crane(crane, tool_environ(requests=False), problems, shutdown)
    # Queued images may need it, too, but then a missing cosign is their failure.
    needs_cosign = any(rule.signed_by for rule in rules)
    cosign = find_program("cosign", settings.cosign, problems if needs_cosign else Problems())
    return Plan(configuration.settings, configuration.accounts, rules, crane, cosign)


if __name__ == "__main__":
    sys.exit(error_handler(lambda: main(sys.argv[1:])))
