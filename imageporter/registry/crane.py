"""crane's verbs: login, ls, digest, manifest, copy, index filter."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from loguru import logger

from imageporter.model.account import Account, Accounts
from imageporter.model.reference import DIGEST_TAG, Reference, is_digest, is_tag
from imageporter.registry.crane_process import Limit, TimeLimits
from imageporter.registry.credentials import PLACEHOLDER, CraneCredentials, registry_of
from imageporter.registry.errors import (
    INSECURE,
    LONGEST_DETAIL,
    REFUSED,
    ErrorKind,
    RegistryError,
    insecure_advice,
)
from imageporter.registry.program import Program, Threads
from imageporter.registry.redaction import SecretMasker
from imageporter.system.errors import UserError
from imageporter.system.plain_log import to_plain_line

CORRUPT = "error verifying sha256 checksum"
PAGES = frozenset({100, 1000})  # how many tags registries put into a page
# These would override DOCKER_CONFIG.
FOREIGN_CREDENTIALS = frozenset({"DOCKER_AUTH_CONFIG", "REGISTRY_AUTH_FILE"})
# Go's HTTP/2 puts all layers on one connection, of which Go's servers accept 1 MiB per round trip: at 30 ms a big image
# takes four times as long as over HTTP/1.1. In GODEBUG the last setting counts, so the user's own wins.
HTTP_1 = "http2client=0"


class Crane:
    """crane, with its own credentials in `private`, a directory that only this user can read.

    The user's docker configuration is neither read nor written. Every method raises RegistryError if crane fails. A method
    that is cancelled has ended its process.
    """

    def __init__(
        self,
        executable: str,
        private: Path,
        accounts: Accounts,
        environ: Mapping[str, str],
        limits: TimeLimits,
        threads: Threads,
    ) -> None:
        self._private = private
        self._accounts = accounts
        self._probe_limit, self._listing_limit, self._copy_limit = limits.of_calls()
        self._credentials = CraneCredentials(private, accounts)
        self._masker = SecretMasker()
        self._rejected: dict[tuple[str, bool], RegistryError] = {}  # (host, insecure): a thousand images need one crane
        self._environ = {name: value for name, value in environ.items() if name not in FOREIGN_CREDENTIALS}
        self._environ["GODEBUG"] = ",".join(filter(None, (HTTP_1, self._environ.get("GODEBUG"))))
        self._crane = Program(executable, threads)

    async def login(self) -> None:
        """Write every account into the private credentials (`crane auth login`, which sends no request).

        The passwords travel by stdin. Raises UserError if crane rejects an account.
        """
        accounts = [account for account in self._accounts if account.username is not None and account.password is not None]
        results = await asyncio.gather(*(self._login(account) for account in accounts), return_exceptions=True)
        lines = []
        for account, result in zip(accounts, results, strict=True):
            if isinstance(result, RegistryError):
                lines.append(f"{account.prefix}: {result}")
            elif isinstance(result, BaseException):
                raise result
        if lines:
            raise UserError(lines)

    async def _login(self, account: Account) -> None:
        assert account.username is not None  # noqa: S101 (for mypy: login skips the others)
        assert account.password is not None  # noqa: S101
        self._masker.add(account.username, account.password)
        # A username may be a token, which argv must not show. CraneCredentials writes the real one.
        command = ("auth", "login", account.host, f"--username={PLACEHOLDER}", "--password-stdin")
        directory = self._credentials.login_directory(account)
        await self._run("login", command, directory, self._probe_limit, account.password)

    async def list_tags(self, repository: Reference) -> tuple[str, ...]:
        """Return the tags of `repository`, without the tags that are digests of other images (`crane ls`)."""
        listed = [tag for tag in await self._list(repository) if not tag.startswith(DIGEST_TAG)]
        tags = tuple(tag for tag in listed if is_tag(tag))
        if len(tags) < len(listed):
            logger.warning("{} lists {} invalid tags; they are ignored", repository, len(listed) - len(tags))
        return tags

    async def list_digest_tags(self, repository: Reference) -> frozenset[str]:
        """Return the tags of `repository` that are digests of other images (`crane ls`)."""
        return frozenset(tag for tag in await self._list(repository) if tag.startswith(DIGEST_TAG))

    async def _list(self, repository: Reference) -> list[str]:
        output = await self._run_for("source", repository, ("ls", repository.repository), self._listing_limit)
        listed = output.splitlines(keepends=True)
        if not listed or not listed[-1].endswith("\n"):  # nothing, or half a line: never take that for success
            shared = "has no tags; push one, or remove the rule"
            raise RegistryError("source", ErrorKind.NOT_FOUND, f"{repository} {shared}", repository.host, shared=shared)
        if len(listed) in PAGES:
            message = "{} lists exactly {} tags: if it has more, its registry cuts the list without a link to the next page"
            logger.warning(message, repository, len(listed))
        return [line.rstrip("\n") for line in listed]

    async def digest(self, subject: str, image: Reference, seconds: float | None = None) -> str:
        """Return the digest (`sha256:...`) of the manifest or index that `image` names (`crane digest`).

        `subject` is what an error calls the image: `source` or `target`. `seconds` are what is left of PROBE_TIMEOUT.
        """
        limit = self._probe_limit if seconds is None else replace(self._probe_limit, seconds=seconds)
        digest = (await self._run_for(subject, image, ("digest", str(image)), limit)).strip()
        if not is_digest(digest):
            detail = f"crane printed {to_plain_line(digest)[:80]!r} instead of a digest"
            raise self.redact(RegistryError(subject, ErrorKind.OTHER, detail))
        return digest

    async def manifest(self, subject: str, image: Reference) -> str:
        """Return the manifest or index that `image` names, as JSON (`crane manifest`)."""
        return await self._run_for(subject, image, ("manifest", str(image)), self._probe_limit)

    async def config(self, subject: str, image: Reference) -> str:
        """Return the configuration of one image, as JSON (`crane config`)."""
        return await self._run_for(subject, image, ("config", str(image)), self._probe_limit)

    async def filter_index(self, source: Reference, target: Reference, platforms: Sequence[str]) -> None:
        """Copy the images of `platforms` in an index, and an index of them (`crane index filter`)."""
        if self._accounts.is_insecure(source) != self._accounts.is_insecure(target):
            detail = "an index cannot be filtered between a registry with and one without `insecure`; leave out `platforms`"
            raise RegistryError("copy", ErrorKind.DENIED, detail)
        flags = tuple(f"--platform={platform}" for platform in platforms)
        await self._run_copy(("index", "filter", str(source), *flags, f"--tag={target}"), source, target)

    async def copy(self, source: Reference, target: Reference) -> None:
        """Copy an image, or an index with all its children, and keep the digest (`crane copy`)."""
        if self._accounts.is_insecure(source) == self._accounts.is_insecure(target):
            await self._run_copy(("copy", str(source), str(target)), source, target)
        else:
            await self._copy_through_directory(source, target)

    async def _run_copy(self, command: tuple[str, ...], source: Reference, target: Reference) -> None:
        """Run a `command` that copies; an error names the registry at fault, if crane says so."""
        command = (*_insecure_flag(self._accounts.is_insecure(target)), *command)
        try:
            await self._run("copy", command, self._credentials.directory(source, target), self._copy_limit)
        except RegistryError as error:
            if CORRUPT in error.detail:  # the target only refuses what the source has sent
                raise self._explain(error, "source", source) from None
            sides = {"source": source, "target": target}
            named = [(side, image) for side, image in sides.items() if f"//{registry_of(image)}/" in error.detail]
            if source.host == target.host:
                named = [("copy", target)]
            raise (self._explain(error, *named[0]) if len(named) == 1 else error) from None

    async def _copy_through_directory(self, source: Reference, target: Reference) -> None:
        """Copy with `crane pull` and `crane push`, so that `--insecure` applies to one side only.

        crane's flag applies to the whole process: one `crane copy` would also trust a bad certificate of the secure side,
        or send its password without TLS. An OCI layout keeps the digests of images and indexes.
        """
        with tempfile.TemporaryDirectory(dir=self._private) as directory:
            for subject, image, command in (
                ("source", source, ("pull", "--format=oci", str(source), directory)),
                ("target", target, ("push", directory, str(target))),
            ):
                flag = _insecure_flag(self._accounts.is_insecure(image))
                try:
                    await self._run(subject, (*flag, *command), self._credentials.directory(image), self._copy_limit)
                except RegistryError as error:
                    raise self._explain(error, subject, image) from None

    async def _run_for(self, subject: str, image: Reference, command: tuple[str, ...], limit: Limit) -> str:
        """Run crane for one image, with its account and security; an error names its registry."""
        is_insecure = self._accounts.is_insecure(image)
        if known := self._rejected.get((image.host, is_insecure)):
            raise self._explain(known, subject, image)
        directory = self._credentials.directory(image)
        try:
            return await self._run(subject, (*_insecure_flag(is_insecure), *command), directory, limit)
        except RegistryError as error:
            if error.kind in INSECURE and f'//{registry_of(image)}/v2/"' in error.detail:
                self._rejected[image.host, is_insecure] = error
            raise self._explain(error, subject, image) from None

    def _explain(self, error: RegistryError, subject: str, image: Reference) -> RegistryError:
        """Return `error` as an error of `image`, with the account that was refused, or what to do."""
        detail, account = error.detail, None
        if error.kind in REFUSED:
            found = self._accounts.find(image)
            account = f"as {found.username}" if found and found.username else f"no account for {image.host}"
            account = self._masker.mask(account)  # a token may be both the username and the password
        elif error.kind in INSECURE:
            detail += f"; {insecure_advice(error)}{self._accounts.insecure_advice(image)}"
        return RegistryError(subject, error.kind, detail, image.host, status=error.status, account=account)

    async def _run(
        self, subject: str, command: tuple[str, ...], directory: Path, limit: Limit, stdin: str | None = None
    ) -> str:
        """Run crane with the credentials in `directory`, and return its stdout (of a copy: nothing)."""
        environ = self._environ | {"DOCKER_CONFIG": str(directory)}
        result = await self._crane.run(subject, command, environ, limit, stdin)
        if result.exit_code:
            raise self.redact(RegistryError.from_crane_stderr(subject, result.stderr, result.exit_code))
        return result.stdout

    def environ_for(self, image: Reference) -> dict[str, str]:
        """Return the environment in which a program has the account of `image`."""
        return self._environ | {"DOCKER_CONFIG": str(self._credentials.directory(image))}

    def redact(self, error: RegistryError) -> RegistryError:
        """Return `error` without passwords and line breaks."""
        detail = to_plain_line(self._masker.mask(error.detail))[:LONGEST_DETAIL]
        return RegistryError(error.subject, error.kind, detail, error.host, status=error.status, shared=error.shared)


def _insecure_flag(insecure: bool) -> tuple[str, ...]:  # noqa: FBT001
    """Return crane's flag for plain HTTP and unknown certificates."""
    return ("--insecure",) if insecure else ()
