"""The tools that do the same work, at their defaults and at the best settings that were found for it."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from registries import ACCOUNT, Store
from support import BUNDLE

TOOLS = BUNDLE / ".tools"
CRANE = str(TOOLS / "crane")
Names = Sequence[tuple[str, str]]

LOOP = """
set -f
one() {
  if [ "$("$CRANE" digest "$1")" != "$("$CRANE" digest "$2" 2>/dev/null)" ]; then "$CRANE" copy "$1" "$2" 2>/dev/null; fi
}
"""


@dataclass(frozen=True)
class Job:
    """What a tool is to do: make each of `names` on `target` what it is on `source`, over `network`."""

    folder: Path
    source: Store
    target: Store
    network: str
    names: Names

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Source and target of each image."""
        here, there = (store.address(self.network) for store in (self.source, self.target))
        return [(f"{here}/{name}:{tag}", f"{there}/mirror/{name}:{tag}") for name, tag in self.names]


@dataclass(frozen=True)
class Tool:
    """A tool at certain settings: `prepare` writes its files and gives the command and its variables."""

    name: str
    settings: str
    prepare: Callable[[Job], tuple[list[str], Mapping[str, str]]]

    @property
    def label(self) -> str:
        """As the table shows it."""
        return f"{self.name}, {self.settings}"


def environ(job: Job, **more: str) -> dict[str, str]:
    """What every tool gets: the certificate's authority, and the accounts in docker's file."""
    docker = job.folder / "docker"
    docker.mkdir(exist_ok=True)
    hosts = [store.address(job.network) for store in (job.source, job.target)]
    encoded = base64.b64encode(":".join(ACCOUNT).encode()).decode()
    auths = {host: {"auth": encoded} for host in hosts}
    (docker / "config.json").write_text(json.dumps({"auths": auths}))
    authority = str(job.source.registry.authority)
    own = {"PATH": os.environ["PATH"], "HOME": str(job.folder), "TMPDIR": str(job.folder), "SSL_CERT_FILE": authority}
    return own | {"DOCKER_CONFIG": str(docker), "REGISTRY_AUTH_FILE": str(docker / "config.json"), "CRANE": CRANE} | more


def imageporter(**settings: str) -> Callable[[Job], tuple[list[str], Mapping[str, str]]]:
    """sync.py with some variables."""

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        hosts = [store.address(job.network) for store in (job.source, job.target)]
        rows = [{"registry": host, "username": ACCOUNT[0], "password": ACCOUNT[1]} for host in hosts]
        (job.folder / "accounts.json").write_text(json.dumps(rows))
        (job.folder / "images.json").write_text(json.dumps([{"source": a, "target": b} for a, b in job.pairs]))
        return [sys.executable, str(BUNDLE / "sync.py")], environ(job, **settings)

    return prepare


def regsync(
    parallel: int | None = None, concurrent: int | None = None
) -> Callable[[Job], tuple[list[str], Mapping[str, str]]]:
    """`regsync once`."""

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        certificate = Path(str(job.source.registry.authority)).read_text()
        hosts = [store.address(job.network) for store in (job.source, job.target)]
        limit = {"reqConcurrent": concurrent} if concurrent else {}
        login = {"user": ACCOUNT[0], "pass": ACCOUNT[1], "tls": "enabled", "regcert": certificate}
        config = {
            "version": 1,
            "creds": [{"registry": host, **login, **limit} for host in hosts],
            "defaults": {"parallel": parallel} if parallel else {},
            "sync": [{"source": left, "target": right, "type": "image"} for left, right in job.pairs],
        }
        (job.folder / "regsync.yaml").write_text(json.dumps(config))  # JSON is YAML
        return [str(TOOLS / "regsync"), "once", "-c", "regsync.yaml"], environ(job)

    return prepare


def skopeo(job: Job) -> tuple[list[str], Mapping[str, str]]:
    """`skopeo sync` from a file; it has no setting for several images at once."""
    here, there = (store.address(job.network) for store in (job.source, job.target))
    tags: dict[str, list[str]] = {}
    for name, tag in job.names:
        tags.setdefault(name, []).append(tag)
    (job.folder / "skopeo.yaml").write_text(json.dumps({here: {"images": tags}}))
    policy = job.folder / "policy.json"
    policy.write_text(json.dumps({"default": [{"type": "insecureAcceptAnything"}]}))
    command = ["skopeo", "--policy", str(policy), "sync", "--src", "yaml", "--dest", "docker", "--all"]
    return [*command, "skopeo.yaml", f"{there}/mirror"], environ(job)


def loop(width: int | None = None) -> Callable[[Job], tuple[list[str], Mapping[str, str]]]:
    """A shell loop of `crane digest`, `crane digest`, `crane copy`; or several such at once."""

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        (job.folder / "pairs").write_text("".join(f"{left} {right}\n" for left, right in job.pairs))
        each = 'while read -r left right; do one "$left" "$right"; done <pairs'
        if width:
            (job.folder / "one.sh").write_text(f'{LOOP}\none "$1" "$2"\n')
            each = f"xargs -P{width} -L1 sh one.sh <pairs"
        return ["sh", "-c", f"{LOOP}\n{each}"], environ(job)

    return prepare


def image_syncer(workers: int | None = None) -> Callable[[Job], tuple[list[str], Mapping[str, str]]]:
    """Aliyun's image-syncer."""

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        hosts = [store.address(job.network) for store in (job.source, job.target)]
        auth = {host: {"username": ACCOUNT[0], "password": ACCOUNT[1]} for host in hosts}
        (job.folder / "auth.json").write_text(json.dumps(auth))
        (job.folder / "image-syncer.json").write_text(json.dumps(dict(job.pairs)))
        command = [image_syncer_path() or "", "--auth", "auth.json", "--images", "image-syncer.json", "--force"]
        return [*command, *(["--proc", str(workers)] if workers else [])], environ(job)

    return prepare


def image_syncer_path() -> str | None:
    """Where image-syncer is, if it is here."""
    return shutil.which(os.environ.get("IMAGE_SYNCER", str(TOOLS / "image-syncer")))


OURS = Tool("ImagePorter", "SLEEP_TIME=0", imageporter(SLEEP_TIME="0"))
OURS_TUNED = Tool("ImagePorter", "JOBS=16 SLEEP_TIME=0", imageporter(SLEEP_TIME="0", JOBS="16"))
OURS_TRUSTING = Tool(
    "ImagePorter", "JOBS=16 SLEEP_TIME=0 TRUST_RECORDS=86400", imageporter(SLEEP_TIME="0", JOBS="16", TRUST_RECORDS="86400")
)
OURS_AS_IS = Tool("ImagePorter", "defaults (SLEEP_TIME=5)", imageporter())
BARE_CRANE = Tool("crane copy", "alone", lambda job: ([CRANE, "copy", *job.pairs[0]], environ(job)))
PEERS = (
    Tool("regsync", "defaults", regsync()),
    Tool("regsync", "parallel 16, reqConcurrent 32", regsync(16, 32)),
    Tool("skopeo sync", "defaults; no setting for more at once", skopeo),
    Tool("shell loop", "one by one", loop()),
    Tool("shell loop", "xargs -P16", loop(16)),
)
IMAGE_SYNCER = (
    Tool("image-syncer", "defaults", image_syncer()),
    Tool("image-syncer", "--proc 32", image_syncer(32)),
)


def peers() -> tuple[Tool, ...]:
    """The peers that are here; what is not is told."""
    if image_syncer_path():
        return PEERS + IMAGE_SYNCER
    print("image-syncer is not here (see the Makefile): its rows are missing", flush=True)
    return PEERS


def versions() -> dict[str, str]:
    """The version of each tool, as it says itself."""
    commands = {"crane": [CRANE, "version"], "skopeo": ["skopeo", "--version"]}
    return {
        name: subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        for name, command in commands.items()
    }
