"""The tools that do the same work, at their defaults and at the best settings that were found for it."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from registries import MIRROR, Name
from support import BUNDLE

TOOLS = BUNDLE / ".tools"
CRANE = str(TOOLS / "crane")
REGSYNC_TUNED_SETTINGS = "parallel 16, reqConcurrent 32"

LOOP = """
set -f
one() {
  if [ "$("$CRANE" digest "$1")" != "$("$CRANE" digest "$2" 2>/dev/null)" ]; then "$CRANE" copy "$1" "$2" 2>/dev/null; fi
}
"""


@dataclass(frozen=True)
class Job:
    """The work of a tool: make each of `names` at the second host equal to the first.

    `every_tag`: the names are all tags of their repositories, so the tool's rules name only these.
    """

    folder: Path
    authority: Path
    hosts: tuple[str, str]
    account: tuple[str, str] | None
    names: Sequence[Name]
    every_tag: bool = False

    @property
    def tags(self) -> dict[str, list[str]]:
        """The tags of each repository."""
        tags: dict[str, list[str]] = {}
        for name, tag in self.names:
            tags.setdefault(name, []).append(tag)
        return tags

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Source and target of each image, or of each repository if it is about every tag."""
        here, there = self.hosts
        ends = list(self.tags) if self.every_tag else [f"{name}:{tag}" for name, tag in self.names]
        return [(f"{here}/{end}", f"{there}/{MIRROR}/{end}") for end in ends]

    @property
    def logins(self) -> dict[str, tuple[str, str]]:
        """The user and password of each host that wants them."""
        return dict.fromkeys(self.hosts, self.account) if self.account else {}

    def write(self, name: str, content: Any) -> None:
        """Write a file of the tool as JSON, which is YAML too."""
        (self.folder / name).write_text(json.dumps(content))


Prepare = Callable[[Job], tuple[list[str], Mapping[str, str]]]


@dataclass(frozen=True)
class Tool:
    """A tool at certain settings: `prepare` writes its files and returns its command and environment.

    `keeps_records`: it skips work that its earlier run has recorded, so such a run precedes the measured
    ones unless the work starts from nothing. `anonymous`: it uses the servers that want no account.
    """

    name: str
    settings: str
    prepare: Prepare
    keeps_records: bool = False
    anonymous: bool = False

    @property
    def label(self) -> str:
        """The tool as the tables show it."""
        return f"{self.name}, {self.settings}"


def environ(job: Job, **more: str) -> dict[str, str]:
    """Return the environment of every tool: the certificate authority, and the accounts in docker's file."""
    docker = job.folder / "docker"
    docker.mkdir(exist_ok=True)
    auths = {host: {"auth": base64.b64encode(":".join(login).encode()).decode()} for host, login in job.logins.items()}
    (docker / "config.json").write_text(json.dumps({"auths": auths}))
    home = str(job.folder)
    own = {"PATH": os.environ["PATH"], "HOME": home, "TMPDIR": home, "SSL_CERT_FILE": str(job.authority)}
    return own | {"DOCKER_CONFIG": str(docker), "REGISTRY_AUTH_FILE": str(docker / "config.json"), "CRANE": CRANE} | more


def imageporter(**settings: str) -> Prepare:
    """Run sync.py with some variables."""

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        accounts = [{"registry": host, "username": user, "password": word} for host, (user, word) in job.logins.items()]
        job.write("accounts.json", accounts)
        # Without a tag, a list means `latest` and a map means every tag.
        listed = [{"source": source, "target": target} for source, target in job.pairs]
        job.write("images.json", dict(job.pairs) if job.every_tag else listed)
        return [sys.executable, str(BUNDLE / "sync.py")], environ(job, **settings)

    return prepare


def regsync(parallel: int | None = None, concurrent: int | None = None, *, split: bool = False) -> Prepare:
    """Run `regsync once`, with a rule for each image or repository; with `split`, for each pattern of its tags."""

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        shared: dict[str, Any] = {"tls": "enabled", "regcert": job.authority.read_text()}
        if concurrent:
            shared["reqConcurrent"] = concurrent
        logins = {host: {"user": user, "pass": word} for host, (user, word) in job.logins.items()}
        kind = "repository" if job.every_tag else "image"
        rules: list[dict[str, Any]] = [{"source": source, "target": target, "type": kind} for source, target in job.pairs]
        if split:
            rules = [rule | {"tags": {"allow": [pattern]}} for rule in rules for pattern in TAG_PATTERNS]
        config = {
            "version": 1,
            "creds": [{"registry": host, **shared, **logins.get(host, {})} for host in job.hosts],
            "defaults": {"parallel": parallel} if parallel else {},
            "sync": rules,
        }
        job.write("regsync.yaml", config)
        return [str(TOOLS / "regsync"), "once", "-c", "regsync.yaml"], environ(job)

    return prepare


def skopeo(job: Job) -> tuple[list[str], Mapping[str, str]]:
    """Run `skopeo sync` from a file; it has no setting for several images at once."""
    here, there = job.hosts
    images: dict[str, list[str]] = {name: [] for name in job.tags} if job.every_tag else job.tags  # [] is every tag
    job.write("skopeo.yaml", {here: {"images": images}})
    job.write("policy.json", {"default": [{"type": "insecureAcceptAnything"}]})
    command = ["skopeo", "--policy", "policy.json", "sync", "--src", "yaml", "--dest", "docker", "--all"]
    return [*command, "skopeo.yaml", f"{there}/{MIRROR}"], environ(job)


def loop(width: int | None = None) -> Prepare:
    """Run a shell loop of `crane digest`, `crane digest`, `crane copy`; or `width` such at once."""

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        (job.folder / "pairs").write_text("".join(f"{source} {target}\n" for source, target in job.pairs))
        each = 'while read -r left right; do one "$left" "$right"; done <pairs'
        if width:
            (job.folder / "one.sh").write_text(f'{LOOP}\none "$1" "$2"\n')
            each = f"xargs -P{width} -L1 sh one.sh <pairs"
        return ["sh", "-c", f"{LOOP}\n{each}"], environ(job)

    return prepare


def crane_copy(job: Job) -> tuple[list[str], Mapping[str, str]]:
    """Run `crane copy`, 16 at once, without asking whether it is needed."""
    (job.folder / "pairs").write_text("".join(f"{source} {target}\n" for source, target in job.pairs))
    return ["sh", "-c", 'xargs -P16 -L1 "$CRANE" copy <pairs'], environ(job)


def image_syncer(workers: int | None = None) -> Prepare:
    """Run Aliyun's image-syncer; it compares manifests and skips equal ones (its `--force` would not)."""

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        job.write("auth.json", {host: {"username": user, "password": word} for host, (user, word) in job.logins.items()})
        job.write("image-syncer.json", dict(job.pairs))
        command = [_found("IMAGE_SYNCER") or "", "--auth", "auth.json", "--images", "image-syncer.json"]
        return [*command, *(["--proc", str(workers)] if workers else [])], environ(job)

    return prepare


def ocync(*, tuned: bool = False) -> Prepare:
    """Run `ocync sync`, where no account is needed, because it cannot log in with Basic.

    Tuned: HEAD requests before the source's manifest is fetched, and no requests for referrers, which the
    others do not copy either. Its concurrency adapts itself, up to 50.
    """

    def prepare(job: Job) -> tuple[list[str], Mapping[str, str]]:
        source, target = job.hosts
        config = {
            "registries": {
                "source": {"url": source, "auth_type": "anonymous", "head_first": tuned},
                "target": {"url": target, "auth_type": "anonymous"},
            },
            "defaults": {"source": "source", "targets": "target", "artifacts": {"enabled": not tuned}},
            "mappings": [
                {"from": name, "to": f"{MIRROR}/{name}", "tags": {"glob": ["*"] if job.every_tag else tags}}
                for name, tags in job.tags.items()
            ],
        }
        job.write("ocync.yaml", config)
        return [_found("OCYNC") or "", "sync", "-c", "ocync.yaml"], environ(job)

    return prepare


def _found(variable: str) -> str | None:
    """Return the path of an optional tool: its variable, or its name in TOOLS."""
    return shutil.which(os.environ.get(variable) or TOOLS / variable.lower().replace("_", "-"))


# regsync takes the tags of one rule one after another, whatever `parallel` is, and its rules at once: more
# rules for the same repository are faster. 50 were the fastest for 5,000 tags, of 10, 20 and 50.
TAG_PATTERNS = [
    f"v(.*[{tens}]){'?' if '0' in tens else ''}{digit}" for tens in ("05", "16", "27", "38", "49") for digit in range(10)
]
WITHOUT_ACCOUNT = "; no account"


def without_account(tool: Tool) -> Tool:
    """Return the tool at the servers without accounts.

    A registry spends about a millisecond of CPU on the password of each request, which decides some works:
    tools are only comparable if all send one or none.
    """
    return replace(tool, settings=f"{tool.settings}{WITHOUT_ACCOUNT}", anonymous=True)


OURS = Tool("ImagePorter", "SLEEP_TIME=0", imageporter(SLEEP_TIME="0"))
OURS_WIDE = Tool("ImagePorter", "JOBS=32 SLEEP_TIME=0", imageporter(SLEEP_TIME="0", JOBS="32"))
# At 30 ms the default of 32 look-ups at once allows about 1,000 look-ups a second.
OURS_PROBING = Tool("ImagePorter", "PROBES=128 SLEEP_TIME=0", imageporter(SLEEP_TIME="0", PROBES="128"))
OURS_AS_IS = Tool("ImagePorter", "defaults (SLEEP_TIME=5)", imageporter())
OURS_BY_CRANE = Tool("ImagePorter", "SLEEP_TIME=0 FAST_LOOKUPS=false", imageporter(SLEEP_TIME="0", FAST_LOOKUPS="false"))
TRUSTING = imageporter(SLEEP_TIME="0", TRUST_RECORDS="86400")
OURS_TRUSTING = Tool("ImagePorter", "SLEEP_TIME=0 TRUST_RECORDS=86400", TRUSTING, keeps_records=True)
REGSYNC = Tool("regsync", "defaults", regsync())
REGSYNC_TUNED = Tool("regsync", REGSYNC_TUNED_SETTINGS, regsync(16, 32))
REGSYNC_SPLIT = Tool("regsync", f"{REGSYNC_TUNED_SETTINGS}, 50 rules by tag", regsync(16, 32, split=True))
SKOPEO = Tool("skopeo sync", "defaults; no setting for more at once", skopeo)
LOOP_ONE = Tool("shell loop", "one by one", loop())
LOOP_WIDE = Tool("shell loop", "xargs -P16", loop(16))
CRANE_ALONE = Tool("crane copy", "alone", lambda job: ([CRANE, "copy", *job.pairs[0]], environ(job)))
CRANE_WIDE = Tool("crane copy", "xargs -P16", crane_copy)
IMAGE_SYNCER = Tool("image-syncer", "defaults", image_syncer())
IMAGE_SYNCER_WIDE = Tool("image-syncer", "--proc 32", image_syncer(32))
OCYNC = without_account(Tool("ocync", "defaults", ocync(), keeps_records=True))
OCYNC_TUNED = without_account(Tool("ocync", "head_first, no artifacts", ocync(tuned=True), keeps_records=True))

PEERS = (REGSYNC, REGSYNC_TUNED, SKOPEO, LOOP_ONE, LOOP_WIDE, IMAGE_SYNCER, IMAGE_SYNCER_WIDE)
# The others take each image alone, so (c) and (d) cost them five times (b). Only the xargs loop, and on
# loopback skopeo, do (c) too, to show that; the loop one by one would take ten minutes more.
MANY = (REGSYNC, REGSYNC_TUNED, IMAGE_SYNCER_WIDE)
OPEN = (OCYNC, OCYNC_TUNED, without_account(OURS), without_account(REGSYNC_TUNED))


def tools(work: str, network: str) -> tuple[Tool, ...]:
    """Return the tools that do a work over a network; ours come first."""
    found: tuple[Tool, ...]
    slow = network == "slow"
    match work:
        case "a":  # OURS_AS_IS waits for four minutes, over any network: once is enough
            found = (OURS, OURS_WIDE, *((OURS_AS_IS,) if slow else ()), CRANE_WIDE, *PEERS)
            found += (OCYNC, OCYNC_TUNED, without_account(OURS_WIDE), without_account(REGSYNC_TUNED))
        case "b":
            found = (OURS, OURS_PROBING, OURS_BY_CRANE, OURS_TRUSTING, *PEERS, *OPEN)
        case "c":
            found = (OURS, OURS_PROBING, OURS_BY_CRANE, OURS_TRUSTING, *MANY, *(() if slow else (SKOPEO,)), LOOP_WIDE, *OPEN)
        case "d":
            found = (OURS, OURS_PROBING, OURS_BY_CRANE, OURS_TRUSTING, *MANY, *OPEN)
        case "e":
            found = (OURS, CRANE_ALONE, *PEERS, OCYNC, OCYNC_TUNED)
        case _:
            # skopeo would take 20 minutes over the slow network. image-syncer fails there: it leaves its
            # connections open until TLS handshakes time out.
            found = (OURS, OURS_PROBING, REGSYNC, REGSYNC_SPLIT, *(() if slow else (SKOPEO, IMAGE_SYNCER_WIDE)))
            found += (OCYNC, OCYNC_TUNED, without_account(OURS), without_account(REGSYNC_SPLIT))
    absent = missing()
    return tuple(tool for tool in found if tool.name not in absent and not (tool.anonymous and "ocync" in absent))


def missing() -> dict[str, str]:
    """Return the optional tools that are not here, with the variable for their path."""
    variables = {"image-syncer": "IMAGE_SYNCER", "ocync": "OCYNC"}
    return {name: variable for name, variable in variables.items() if not _found(variable)}


def versions() -> dict[str, str]:
    """Return the version of each tool: its own answer, or the pinned one."""
    commands = {"crane": [CRANE, "version"], "skopeo": ["skopeo", "--version"]}
    if path := _found("OCYNC"):
        commands["ocync"] = [path, "version"]
    answers = {
        name: subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0].split()[-1]
        for name, command in commands.items()
    }
    pins = (Path(__file__).parent / "tools.txt").read_text().split()
    return answers | {"regsync": next(pin.partition("@")[2] for pin in pins if "/regsync@" in pin)}
