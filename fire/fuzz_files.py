"""Hostile files, variables, flags, references and lists of tags, given to the functions that a pass reads them with."""

import asyncio
import io
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import hostile_input as hostile
from feeder import Target, check_messages, expect
from hostile_input import CANARY, Document
from hypothesis import strategies as st

from imageporter.config import accounts_file, command_line, images_file, values
from imageporter.config.configuration import FOR_HOOK, Parts, load_configuration, warn_of_misspelt_variables
from imageporter.config.settings import VARIABLES, Settings, process_environ, tool_environ
from imageporter.engine.expansion import expand_rules
from imageporter.hook.authentication import require_credentials
from imageporter.hook.routes import Routes
from imageporter.model import reference
from imageporter.model.account import Accounts
from imageporter.model.image import Image
from imageporter.model.reference import Reference
from imageporter.model.rule import Rule, parse_selector
from imageporter.monitoring import metrics_file, pings
from imageporter.registry.ca_bundle import check_ca_variables
from imageporter.registry.crane import Crane
from imageporter.registry.crane_process import TimeLimits
from imageporter.registry.errors import RegistryError
from imageporter.registry.program import Threads
from imageporter.registry.proxies import check_proxy_variables, proxy_for
from imageporter.registry.redaction import SecretMasker
from imageporter.schedule.crontab import render
from imageporter.system.errors import Problems
from imageporter.system.memory_files import in_memory
from imageporter.system.plain_log import to_plain_line
from imageporter.system.programs import find_program

ENVIRON = {
    "SECRET": CANARY,
    "FILE_SECRET_FILE": "secret",
    "BOTH": CANARY,
    "BOTH_FILE": "secret",
    "DIRECTORY_FILE": "directory",
}
CONFIGURATION_STEMS = ("config", "images", "configs/sync")
PARTS = (Parts(), Parts(images=False), FOR_HOOK)
PUSHED = tuple(reference.parse(text) for text in ("a.example/app:1", "busybox:latest", "localhost/team/app:v1"))
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
EXIT_CODES = {0, 2}
CRONTAB_LINES = 3


def targets(stack: ExitStack, folder: Path) -> Iterator[Target]:
    """Yield the targets. The working directory is `folder`."""
    (folder / "secret").write_text(f"{CANARY}\n")
    (folder / "bytes").write_bytes(b"\xff\0\n")
    (folder / "big").write_bytes(b"x" * 70_000)
    (folder / "directory").mkdir()
    (folder / "configs").mkdir()
    crane = PrintingCrane(folder)
    stack.callback(crane.close)
    yield Target("accounts file", hostile.documents(hostile.ACCOUNTS), read_accounts, 25_000, 500)
    yield Target("images file", hostile.documents(hostile.IMAGES), read_images, 30_000, 600)
    combined = st.tuples(hostile.documents(hostile.COMBINED), hostile.documents(hostile.SYNC_FILES), st.sampled_from(PARTS))
    yield Target("config.* and configs/sync.yaml", combined, read_configuration, 8_000, 150)
    yield Target("environment", hostile.ENVIRONS, read_environment, 12_000, 200)
    yield Target("command line", hostile.ARGUMENTS, read_flags, 10_000, 150)
    yield Target("references and values", st.one_of(hostile.REFERENCES, hostile.TEXT), parse, 50_000, 900)
    rules = st.lists(st.tuples(hostile.GOOD_REFERENCES, hostile.GOOD_REFERENCES), min_size=1, max_size=4)
    printed = st.tuples(hostile.LISTED.map("\n".join), st.sampled_from(("\n", "\n", "\n", "", "\n\n"))).map("".join)
    yield Target("lists of tags", st.tuples(rules, printed), crane.expand, 12_000, 200)


def check_problems(problems: Problems, *, may_show: bool = False) -> None:
    """Raise BrokenPromiseError if one of `problems`, as error_handler logs it, forges a line or shows a password."""
    check_messages(map(to_plain_line, problems), "\0" if may_show else CANARY)


def write(stem: str | Path, document: Document) -> Path:
    """Write a file, and return its path. In a damaged file, a place for something else may hold the password: it has none."""
    path = Path(f"{stem}{document.suffix}")
    content = document.content
    path.write_bytes(content.replace(CANARY.encode(), b"x") if document.is_mutated else content)
    return path


def read_accounts(document: Document) -> None:
    """Read an accounts file, and use its accounts."""
    problems = Problems()
    accounts = accounts_file.load_accounts(write("accounts", document), problems, ENVIRON)
    check_problems(problems)
    if not problems:
        masker = SecretMasker()
        for account in accounts:
            masker.add(account.username or "", account.password or "")
        for pushed in PUSHED:
            accounts.insecure_advice(pushed)


def read_images(document: Document) -> None:
    """Read an images file, and use its rules."""
    problems = Problems()
    rules = images_file.load_images(write("images", document), problems)
    check_problems(problems)
    use_rules(rules, Routes(rules, ()))


def use_rules(rules: Sequence[Rule], routes: Routes) -> None:
    """Expand `rules` and route pushes. What is logged is checked by the feeder."""
    for pushed in PUSHED:
        routes.images(pushed)
        routes.deferring_rule(pushed)
    listed = {rule.source.repository: ("1", "latest", "v1") for rule in rules}
    expand_rules(rules, listed)


def read_configuration(given: tuple[Document, Document, Parts]) -> None:
    """Read one file for accounts and images, and image-syncer's own file."""
    for stem in CONFIGURATION_STEMS:
        for suffix in (".json", ".yaml", ".yml"):
            Path(stem + suffix).unlink(missing_ok=True)
    combined, sync, parts = given
    write("config", combined)
    write("configs/sync", sync)
    problems = Problems()
    with patch.dict(os.environ, ENVIRON):
        found = load_configuration(Settings(), problems, parts)
    check_problems(problems)
    use_rules(found.rules, Routes(found.rules, found.routes))
    os.close(in_memory(render(found.settings)))


def read_environment(environ: Mapping[str, str]) -> None:
    """Read every variable as sync.py, hook.py and entrypoint.py do."""
    problems = Problems()
    with patch.dict(os.environ, environ, clear=True):
        settings = command_line.load_settings([], problems)
        warn_of_misspelt_variables(settings)
        check_ca_variables(process_environ(), problems)
        check_proxy_variables(process_environ(), problems)
        for scheme, authority in (("https", "a.example"), ("http", "[::1]:80"), ("https", "10.0.0.1:5000")):
            proxy_for(scheme, authority, process_environ())
        find_program("crane", settings.crane, problems)
        if settings.ping_url:
            pings.check(settings.ping_url, problems)
        if settings.metrics_file:
            metrics_file.check(settings.metrics_file, problems)
        expect(not tool_environ(requests=True).keys() & VARIABLES.keys(), "crane sees a setting")
        require_credentials(settings, problems)
    # A path is shown, and so is a schedule: they are not where a password goes.
    shown = {
        "CRON",
        "HOOK_CRON",
        *(name for name, one in VARIABLES.items() if one.parse is values.path),
        "CRANE",
        "SUPERCRONIC",
    }
    check_problems(problems, may_show=any(CANARY in value for name, value in environ.items() if name in shown))
    crontab = render(settings)  # with the default in place of a mistake
    lines = render(Settings(alive_file=settings.alive_file)).count(b"\n") - (not settings.hook_cron)
    expect(crontab.count(b"\n") == lines, "a variable adds a line to the crontab")
    os.close(in_memory(crontab))


def read_flags(argv: Sequence[str]) -> None:
    """Read the flags of sync.py."""
    problems = Problems()
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        try:
            command_line.print_help(argv)
            command_line.load_settings(argv, problems)
        except SystemExit as ended:
            expect(ended.code in EXIT_CODES, f"the exit code is {ended.code}")
    check_problems(problems, may_show=True)


def parse(text: str) -> None:
    """Parse a text with every parser. Each returns a value or raises ValueError."""
    parsers: list[Callable[[str], object]] = [parse_selector, reference.parse_prefix, reference.parse_path]
    for parser in (*parsers, *(one.parse for one in VARIABLES.values())):
        with suppress(ValueError):
            parser(text)
    try:
        parsed = reference.parse(text)
    except ValueError as error:
        has_userinfo = f"{CANARY}@" in text and not re.search(r"@sha\d+:[0-9a-f]*\Z", text)
        check_messages([to_plain_line(str(error))], CANARY if has_userinfo else "\0")
    else:
        expect(reference.parse(str(parsed)) == parsed, "a normalised reference is another reference")
        expect(str(parsed).isascii() and str(parsed).isprintable(), "a reference has an odd letter")


class PrintingCrane(Crane):
    """A crane that has printed a list of tags."""

    def __init__(self, folder: Path) -> None:
        self._own_threads = Threads(1)
        super().__init__("true", folder, Accounts({}), {}, TimeLimits(1, 1, 1), self._own_threads)
        self._printed = ""
        self._loop = asyncio.new_event_loop()

    async def _run(self, *_: Any, **__: Any) -> str:
        return self._printed

    def close(self) -> None:
        """Close the event loop, too."""
        self._loop.close()
        self._own_threads.close()

    def expand(self, given: tuple[Sequence[tuple[str, str]], str]) -> None:
        """Let rules choose from a printed list of tags."""
        sides, self._printed = given
        rules = [
            Rule(f"[{index}]", f"{left!r} -> {right!r}", parse_selector(left), parse_selector(right))
            for index, (left, right) in enumerate(sides)
        ]
        repository = Reference("a.example", "app")
        try:
            tags = self._loop.run_until_complete(self.list_tags(repository))
        except RegistryError as error:
            check_messages([str(error)])
            return
        expect(self._printed.endswith("\n"), "half a list of tags is taken for a list")
        expanded = expand_rules(rules, {rule.source.repository: tags for rule in rules})
        found = [image for image in expanded if isinstance(image, Image)]
        for image in found:
            tag = image.source.tag
            named = image.source.digest or any(tag in (rule.source.tags or ()) for rule in rules)
            expect(named or (tag in self._printed.split("\n") and TAG.fullmatch(tag or "")), "a tag is invented")
            for one in (image.source, image.target):
                expect(reference.parse(str(one)) == one, "an image has an invalid reference")
        expect(len({image.target for image in found}) == len(found), "two images have one target")
