#!/usr/bin/env python3
"""The webhook receiver: it queues pushed images, which the next queue run syncs.

Exit codes: 2 invalid settings or files, 130 or 143 interrupted (SIGINT, SIGTERM), 1 if the server ends by itself.
"""

import sys

from imageporter.config import command_line
from imageporter.system.libraries import require_libraries
from imageporter.system.signals import Shutdown, exit_on_signals

if __name__ == "__main__":
    exit_on_signals()
    command_line.print_settings_help(sys.argv[1:], __doc__)  # before the slow imports
    require_libraries()

import shlex
from collections.abc import Sequence

from imageporter.config.configuration import FOR_HOOK, load_configuration, warn_of_misspelt_variables
from imageporter.config.settings import configure_logs, read_settings
from imageporter.hook import authentication, server
from imageporter.hook.app import create_app
from imageporter.hook.reload import RouteReloader
from imageporter.store import locks
from imageporter.store.push_queue import open_queue
from imageporter.system.errors import Problems, UserError, error_handler


def main(argv: Sequence[str]) -> int:
    """Receive webhooks until a signal arrives; return the exit code. There are no arguments."""
    if argv:
        raise UserError([f"hook.py takes no arguments, found {shlex.join(argv)}; settings are environment variables"])
    with Shutdown() as shutdown:
        problems = Problems()
        given = read_settings({}, problems)
        configure_logs(given)
        warn_of_misspelt_variables(given)
        configuration = load_configuration(given, problems, FOR_HOOK)
        settings = configuration.settings
        locks.prepare(settings.data_dir, settings.data_dir, problems)
        authentication.require_credentials(settings, problems)
        problems.raise_if_any()

        reloader = RouteReloader(given, configuration)
        with open_queue(settings.data_dir, required=True) as queue:
            return server.serve(create_app(settings, reloader, queue), settings, shutdown)


if __name__ == "__main__":
    sys.exit(error_handler(lambda: main(sys.argv[1:])))
