"""cosign's verb verify: is an image signed with a key?"""

import re
from pathlib import Path

from imageporter.model.account import Accounts
from imageporter.model.reference import Reference
from imageporter.registry.crane import Crane
from imageporter.registry.crane_process import TimeLimits
from imageporter.registry.errors import ErrorKind, RegistryError
from imageporter.registry.program import Program, Result, Threads

# cosign's exit codes (cmd/cosign/errors/exit_codes.go): no signature, no such tag, none that matches, no certificate.
REJECTED = frozenset({10, 11, 12, 13})
_ERROR = re.compile(r"^Error: (.*)", re.MULTILINE)
_UNKNOWN_FLAG = "unknown flag"
# The signatures of cosign 3 are referrers, and those of cosign 1 and 2 tags. cosign 3 looks for one or the other.
OLD_FORMAT = "--new-bundle-format=false"


class Cosign:
    """cosign, with the credentials and the environment of `crane`."""

    def __init__(self, executable: str, crane: Crane, accounts: Accounts, limits: TimeLimits, threads: Threads) -> None:
        self._program = Program(executable, threads)
        self._crane = crane
        self._accounts = accounts
        self._limit = limits.of_cosign()

    async def verify(self, image: Reference, key: Path) -> None:
        """Raise RegistryError unless `image`, a digest, is signed with the private key of the public `key`.

        The transparency log is not asked. The signature may be a referrer or a tag.
        """
        failure = await self._verify(image, key)
        if not failure.exit_code:
            return
        result = await self._verify(image, key, OLD_FORMAT)
        if not result.exit_code:
            return
        if _UNKNOWN_FLAG not in result.stderr:
            failure = result
        found = _ERROR.search(failure.stderr)
        detail = found[1] if found else f"cosign exited with {failure.exit_code}"
        if failure.exit_code not in REJECTED:
            error = RegistryError("source", ErrorKind.OTHER, f"cosign verify {image}: {detail}", image.host)
        else:
            shared = f"is not signed with {key}"
            error = RegistryError("source", ErrorKind.REJECTED, f"{image} {shared}: {detail}", image.host, shared=shared)
        raise self._crane.redact(error)

    async def _verify(self, image: Reference, key: Path, *flags: str) -> Result:
        insecure = ("--allow-http-registry", "--allow-insecure-registry") if self._accounts.is_insecure(image) else ()
        command = ("verify", f"--key={key}", "--insecure-ignore-tlog=true", *flags, *insecure, str(image))
        return await self._program.run("source", command, self._crane.environ_for(image), self._limit)
