"""The command line of sync.py."""

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from imageporter import __version__
from imageporter.config.settings import OPTIONS, VARIABLES, Settings, flag_of, read_settings

if TYPE_CHECKING:
    from imageporter.system.errors import Problems

VERSION = f"ImagePorter {__version__}"
EXIT_CODES = """

exit codes: 0 success, 1 at least one image failed, 2 invalid settings or files (nothing was attempted),
75 another pass holds the lock, 130 and 143 interrupted (SIGINT, SIGTERM)"""


def load_settings(argv: Sequence[str], problems: "Problems") -> Settings:
    """Return the settings of the flags `argv` and the environment. Mistakes are added to `problems`.

    `--help` and unknown flags end the program as argparse does (0 and 2).
    """
    parser = _parser()
    flags = _given(parser, argv)
    if len(images := flags.get("image_arguments", ())) % 2:
        took = f"; --explain took {flags['explain']!r} as its image" if flags.get("explain") else ""
        parser.error(f"each image has a source and a target, found an odd number of them ({shlex.join(images)}){took}")
    for name in ("images_file", "config_file"):
        if images and name in flags:
            text = f"{flags[name]!r} is given beside images on the command line; give one or the other"
            problems.add(flag_of(name), text)
    flags.pop("merge_reports", None)
    return read_settings(flags, problems)


def list_from(argv: Sequence[str]) -> tuple[str, str | None] | None:
    """Return the file and the target of `--list-from`, or None if the flags `argv` do not have it."""
    parser = _parser()
    flags = _given(parser, argv)
    name, target = flags.pop("list_from", None), flags.pop("target", None)
    if name is not None and flags:
        parser.error("--list-from takes --target and no other flag")
    if name is None and target is not None:
        parser.error("--target belongs to --list-from")
    return None if name is None else (name, target)


def merge_reports(argv: Sequence[str]) -> tuple[str, ...]:
    """Return the folders of `--merge-reports`; none if the flags `argv` do not have it."""
    return tuple(_given(_parser(), argv).get("merge_reports", ()))


def is_notify_test(argv: Sequence[str]) -> bool:
    """Return whether the flags `argv` ask for a test of the notifications."""
    return "notify_test" in _given(_parser(), argv)


def print_help(argv: Sequence[str]) -> None:
    """Print the help or the version and exit, if `argv` asks for it."""
    if {"-h", "--help", "--version"}.intersection(argv):
        _parser().parse_args(argv)


def print_settings_help(argv: Sequence[str], description: str) -> None:
    """Print the help or the version of a script without flags and exit, if `argv` asks for it."""
    if argv == ["--version"]:
        sys.stdout.write(f"{VERSION}\n")
    elif argv in (["-h"], ["--help"]):
        sys.stdout.write(f"{description}\nenvironment:\n{_variables()}\n")
    else:
        return
    sys.exit(0)


def _variables() -> str:
    """Return a line for each variable: its name, its description and its default."""
    return "\n".join(
        f"  {one.name:17} {one.description}" + ("" if one.default in {None, False} else f" [{shown(one.default)}]")
        for one in VARIABLES.values()
    )


def flags() -> Iterator[tuple[str, str]]:
    """Yield each flag of sync.py with the names of its values, and what `--help` says about it."""
    for action in _parser()._actions:  # noqa: SLF001 (argparse has no other way)
        if action.help is not argparse.SUPPRESS:
            values = action.metavar or ""
            given = f"[{values}]" if action.nargs == "?" else f"{values}..." if action.nargs == "+" else f"{values}"
            names = ", ".join(action.option_strings)
            yield " ".join(part for part in (names, given) if part), str(action.help)


@cache  # four questions are asked of the same flags
def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sync.py",
        description="Make every target image equal to its source image, once.",
        epilog="environment (a flag wins over its variable, and both win over a file):\n" + _variables() + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for name, value in (("config_file", "FILE"), ("accounts_file", "FILE"), ("images_file", "FILE"), ("jobs", "N")):
        option = OPTIONS[name]
        short = ("-c",) if name == "config_file" else ()
        parser.add_argument(*short, flag_of(name), dest=name, metavar=value, help=f"{option.description} ({option.name})")
    dry_run = f"{OPTIONS['dry_run'].description} (DRY_RUN)"
    parser.add_argument("--dry-run", action="store_const", const="true", help=dry_run)
    explain = OPTIONS["explain"].description
    parser.add_argument("--explain", metavar="IMAGE", nargs="?", const="", help=explain)
    list_from = "print rows of an images file for the images in FILE, or in standard input (-), and exit: a Compose file, "
    list_from += "Kubernetes manifests, a Dockerfile, or the configuration of regsync, skopeo, dregsy or image-syncer"
    parser.add_argument("--list-from", metavar="FILE", help=list_from)
    target = "with --list-from: the target of images for which FILE has none, such as registry.example.com/mirror/"
    parser.add_argument("--target", metavar="PREFIX/", help=target)
    images = OPTIONS["image_arguments"].description
    parser.add_argument("image_arguments", metavar="SOURCE TARGET", nargs="*", help=images)
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument("--scheduled", action="store_const", const="true", help=argparse.SUPPRESS)
    notify_test = OPTIONS["notify_test"].description
    parser.add_argument("--notify-test", action="store_const", const="true", help=notify_test)
    merge = "write one report.json for the shards below each DIR into DATA_DIR, tell whom the settings name, "
    merge += "and exit with the worst of their exit codes"
    parser.add_argument("--merge-reports", metavar="DIR", nargs="+", help=merge)
    queue_only = OPTIONS["queue_only"].description
    parser.add_argument("--queue", dest="queue_only", action="store_const", const="true", help=queue_only)
    return parser


def _given(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in vars(parser.parse_args(argv)).items() if value not in (None, [])}


def shown(default: object) -> str:
    """Return a setting's default as its variable would be written; nothing if there is none."""
    if default is None:
        return ""
    if isinstance(default, frozenset):
        return ",".join(sorted(default))
    return str(default).lower() if isinstance(default, bool) else str(default)
