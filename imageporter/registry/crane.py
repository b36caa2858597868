"""The one doorway to crane, through `sh`: login, ls, digest, copy."""

import os
import queue
import shlex
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sh
from loguru import logger

from imageporter.registry import ca_bundle
from imageporter.config.accounts_file import Accounts
from imageporter.registry.errors import CraneError, Kind, crowded, error_words, kind_of
from imageporter.system.errors import UserError
from imageporter.registry.credentials import Keychain, registry_of
from imageporter.system.logs import plain
from imageporter.lookups import LookUps
from imageporter.registry.redaction import Masks
from imageporter.system.processes import dying_with, signal_group
from imageporter.model.reference import Reference, is_digest, is_tag
from imageporter.config.settings import Settings, process_environ
from imageporter.system.signals import InterruptedPassError, Stop

T = TypeVar("T")

LONGEST_REASON = 500
KILL_AFTER = 3
# These would override DOCKER_CONFIG.
FOREIGN_KEYCHAINS = frozenset({"DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"})
# Go's HTTP/2 puts all layers on one connection, of which Go's servers take 1 MiB a round trip: at 30 ms a big image
# takes four times as long as over HTTP/1.1. In GODEBUG the last word counts, so the user's own does.
HTTP_1 = "http2client=0"


def _flags(insecure: bool) -> tuple[str, ...]:  # noqa: FBT001
    """`--insecure` lets crane go on without TLS, and without knowing the certificate."""
    return ("--insecure",) if insecure else ()


class Crane:
    """crane, with keychains of its own in `private`, a directory that nobody else can read.

    The user's docker configuration is neither read nor written. Every method raises CraneError where
    crane fails, and InterruptedPassError where `stop` ended it.
    """

    def __init__(self, executable: str, private: Path, accounts: Accounts, settings: Settings, stop: Stop) -> None:
        self._settings = settings
        self._stop = stop
        self._private = private
        self._accounts = accounts
        self._keychain = Keychain(private, accounts)
        self._masks = Masks()
        self._running: dict[int, sh.RunningCommand] = {}
        self._running_lock = threading.Lock()
        self._environ = {name: value for name, value in process_environ().items() if name not in FOREIGN_KEYCHAINS}
        self._environ |= certificates.put_together(self._environ, private)
        self._environ["GODEBUG"] = ",".join(filter(None, (HTTP_1, self._environ.get("GODEBUG"))))
        ours: dict[str, Any] = {"_preexec_fn": dying_with(os.getpid()), "_new_group": True, "_bg": True, "_bg_exc": False}
        ours |= {"_tty_out": False, "_decode_errors": "replace"}
        self._crane = sh.Command(executable).bake(**ours)
        self._xargs = sh.Command("xargs").bake(**ours)
        self._driver: sh.RunningCommand | None = None
        self._look_ups = LookUps(executable, private, settings.probes + settings.jobs, self._start_look_ups)

    def login(self) -> None:
        """Put every account into the keychain (`crane auth login`, which asks no registry).

        The passwords go by stdin. Raises UserError where crane does not take an account.
        """
        for account in self._accounts:
            if account.username is None or account.password is None:
                continue
            self._masks.add(account.username, account.password)
            command = ("auth", "login", account.host, f"--username={account.username}", "--password-stdin")
            try:
                self._call("login", command, self._keychain.login_folder(account), "PROBE_TIMEOUT", account.password)
            except CraneError as error:
                raise UserError([f"{account.prefix}: {error}"]) from None

    def tags(self, repository: Reference) -> tuple[str, ...]:
        """The tags of `repository`, without those that are digests of others' (`crane ls -O`)."""
        command = ("ls", "--omit-digest-tags", repository.repository)
        told = self._about("source", repository, self._look_up, command).splitlines()
        tags = tuple(tag for tag in told if is_tag(tag))
        if len(tags) < len(told):
            logger.warning("{} lists {} tags that are none; they are left out", repository, len(told) - len(tags))
        return tags

    def digest(self, subject: str, image: Reference) -> str:
        """The digest (`sha256:...`) of the manifest or index that `image` names (`crane digest`).

        `subject` is what an error calls the image: `source` or `target`.
        """
        printed = self._about(subject, image, self._look_up, ("digest", str(image))).strip()
        if not is_digest(printed):
            raise CraneError(subject, Kind.OTHER, f"crane printed {plain(printed)[:80]!r} where a digest belongs")
        return printed

    def copy(self, source: Reference, target: Reference) -> None:
        """Copy an image or an index with all its children, keeping the digest (`crane copy`)."""
        insecure = {self._insecure(image) for image in (source, target)}
        if len(insecure) > 1:
            self._copy_in_two(source, target)
            return
        command = (*_flags(insecure.pop()), "copy", str(source), str(target))
        try:
            self._call("copy", command, self._keychain.folder(source, target))
        except CraneError as error:
            sides = {"source": source, "target": target}
            named = [(side, image) for side, image in sides.items() if f"//{registry_of(image)}/" in error.words]
            raise (self._explained(error, *named[0]) if len(named) == 1 else error) from None

    def _copy_in_two(self, source: Reference, target: Reference) -> None:
        """Copy by way of a folder (`crane pull`, `crane push`), so that `--insecure` holds for one side alone.

        crane's flag is for the whole process: one `crane copy` would also trust a secure side that has a bad
        certificate, or send its password without TLS. An OCI layout keeps the digest of images and indexes.
        """
        with tempfile.TemporaryDirectory(dir=self._private) as folder:
            self._about("source", source, self._call, ("pull", "--format=oci", str(source), folder))
            self._about("target", target, self._call, ("push", folder, str(target)))

    def _about(self, subject: str, image: Reference, call: Callable[..., T], command: tuple[str, ...]) -> T:
        """A `call` about one image, with its account and as securely as it wants; an error says whose it is."""
        try:
            return call(subject, (*_flags(self._insecure(image)), *command), self._keychain.folder(image))
        except CraneError as error:
            raise self._explained(error, subject, image) from None

    def _insecure(self, image: Reference) -> bool:
        account = self._accounts.of(image)
        return account is not None and account.insecure

    def _explained(self, error: CraneError, subject: str, image: Reference) -> CraneError:
        """`error`, which is about `image`; with the account that was refused."""
        words = error.words
        if error.kind in {Kind.UNAUTHORIZED, Kind.DENIED}:
            account = self._accounts.of(image)
            words += f" (as {account.username})" if account and account.username else f" (no account for {image.host})"
        return CraneError(subject, error.kind, words, image.host)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """The context of all calls, to be entered in the main thread: a signal ends every running crane."""
        with self._stop.ending(self._end_running):
            self._look_ups.open()  # here: xargs dies with the thread that starts it
            try:
                yield
            finally:
                self._look_ups.close()
                if self._driver is not None:
                    with suppress(sh.ErrorReturnCode):
                        self._driver.wait()

    def _look_up(self, subject: str, command: tuple[str, ...], config: Path) -> str:
        """Run crane with the keychain in `config`, among the other look-ups, and give its stdout."""
        logger.debug("+ crane {}", shlex.join(command))
        seconds = self._settings.probe_timeout
        self._stop.check()
        try:
            answer = self._look_ups.run(command, config.name, seconds)
        except ChildProcessError as error:
            self._stop.check()
            raise CraneError(subject, Kind.OTHER, f"{error}; this call died with it") from None
        if not answer.code:
            return answer.stdout.decode(errors="replace")
        self._stop.check()
        if answer.timed_out:
            raise _late(subject, seconds, "PROBE_TIMEOUT")
        raise self._typed(subject, answer.stderr, answer.code)

    def _start_look_ups(
        self,
        arguments: Sequence[str],
        lines: "queue.Queue[str | None]",
        told: Callable[[str], None],
        ended: Callable[..., None],
    ) -> None:
        def over(died: sh.RunningCommand, *_: object) -> None:
            signal_group(died.pid, signal.SIGKILL)  # where it was killed, what it ran goes on
            ended()

        try:
            running = self._xargs(*arguments, _in=lines, _out=told, _err=_no_news, _done=over, _env=self._environ)
        except sh.ForkException as error:
            raise OSError(str(error)) from None
        with self._running_lock:
            self._driver = running
        if self._stop.exit_code:  # the signal came before it was listed
            signal_group(running.pid, signal.SIGTERM)

    def _call(
        self, subject: str, command: tuple[str, ...], config: Path, limit: str = "COPY_TIMEOUT", stdin: str | None = None
    ) -> None:
        """Run crane with the keychain in `config`, as a process of its own that is ended exactly.

        It may take the number of seconds in the setting `limit`.
        """
        logger.debug("+ crane {}", shlex.join(command))
        seconds: float = getattr(self._settings, limit.lower())
        self._stop.check()
        try:
            running = self._crane(*command, _in=stdin, _env=self._environ | {"DOCKER_CONFIG": str(config)})
        except (OSError, RuntimeError, sh.ForkException) as error:  # no process or thread is to be had
            words = crowded(str(error)) or f"crane could not be run: {error}"
            raise CraneError(subject, Kind.OTHER, words) from None
        try:
            with self._listed(running), _limited(running, seconds) as timed_out:
                self._stop.check()
                running.wait()
        except sh.ErrorReturnCode as error:
            self._stop.check()
            if timed_out.is_set():
                raise _late(subject, seconds, limit) from None
            raise self._typed(subject, error.stderr, error.exit_code) from None

    def _typed(self, subject: str, stderr: bytes, exit_code: int) -> CraneError:
        told = stderr.decode(errors="replace")
        words = crowded(told) or error_words(told) or f"crane ended with {exit_code}"
        kind = kind_of(words)
        words = self._masks.masked(words).replace(" (HEAD responses have no body, use GET for details)", "")
        return CraneError(subject, kind, plain(words)[:LONGEST_REASON])

    @contextmanager
    def _listed(self, running: sh.RunningCommand) -> Iterator[None]:
        """`running` is among those that a signal ends; a call that is left early is ended as well."""
        with self._running_lock:
            self._running[running.pid] = running
        try:
            yield
        except InterruptedPassError:
            signal_group(running.pid, signal.SIGKILL)  # it has only just begun
            with suppress(sh.ErrorReturnCode):
                running.wait()
            raise
        finally:
            with self._running_lock:
                self._running.pop(running.pid, None)

    def _end_running(self) -> None:
        """SIGTERM to every running crane, SIGKILL to those that still run KILL_AFTER seconds later."""
        with self._running_lock:
            running = [*self._running.values(), *([self._driver] if self._driver is not None else [])]
        for one in running:
            signal_group(one.pid, signal.SIGTERM)

        def kill() -> None:
            for one in running:
                if one is self._driver or one.pid in self._running:
                    signal_group(one.pid, signal.SIGKILL)

        late = threading.Timer(KILL_AFTER, kill)
        late.daemon = True
        late.start()


@contextmanager
def _limited(running: sh.RunningCommand, seconds: float) -> Iterator[threading.Event]:
    """Kill `running` after `seconds`; gives the event that tells so.

    Not sh's `_timeout`: it looks every 0.1 s only, and makes each call that much longer.
    """
    timed_out = threading.Event()

    def kill() -> None:
        timed_out.set()
        signal_group(running.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.start()
    try:
        yield timed_out
    finally:
        timer.cancel()


def _late(subject: str, seconds: float, limit: str) -> CraneError:
    return CraneError(subject, Kind.TIMED_OUT, f"no end after {seconds:g} seconds ({limit})")


def _no_news(_: str) -> None:
    """What xargs says of a death that we see ourselves."""
