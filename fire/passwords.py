"""Canary passwords in every place that can hold one, and servers that ask for a password that is not theirs."""

import base64
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from campaign import Campaign, Table, quiet
from canaries import Search, new_canary
from gateway import Break, Request, Response
from scenarios import phase_of, status
from support import BUNDLE, Hook, descendants, wait_for
from world import ACCOUNTS_FILE, DIRECT, World, world

IMAGES = 40
SETTINGS = {"RETRIES": "0", "PROBE_TIMEOUT": "10", "JOBS": "8"}
LIMIT = 120  # seconds
DEBUG = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": "text"}
TEXT = """\
A canary password is put in every place that can hold one, and in places where it does not belong. Then everything that was
written is searched for it, as it is and as URLs, HTML, JSON, hex and base64 encode it: the log at DEBUG, DATA_DIR, TMPDIR
and HOME, every command line and crane's environment (sampled every 10 ms), and core files. For the core files, their size
is unlimited, and the processes are killed with SIGABRT. `elsewhere` is a server with a valid certificate that asks
everybody for a password. The faults of the first table search for canaries, too."""
WAYS = ("true", "false")  # of FAST_LOOKUPS: the client and crane must be equally careful

# A password where it does not belong, as `{}`: files by name.
MISPLACED: Mapping[str, Mapping[str, Any]] = {
    "user information of a source": {"images.json": [{"source": "me:{}@a.io/x:1", "target": "b.io/x"}]},
    "user information of a key": {"images.json": {"me:{}@a.io/x:1": "b.io/x"}},
    "user information before a pattern": {"images.json": {"me:{}@a.io/x:/^1/": "b.io/x"}},
    "user information before a digest": {"images.json": [{"source": "me:{}@sha256:abc/x", "target": "b.io/x"}]},
    "unknown key of an account": {ACCOUNTS_FILE: [{"registry": "a.io", "username": "me", "passwd": "{}"}]},
    "password of a wrong type": {ACCOUNTS_FILE: [{"registry": "a.io", "username": "me", "password": ["{}"]}]},
    "registry of an account": {ACCOUNTS_FILE: [{"registry": "https://me:{}@a.io", "username": "me", "password": "x"}]},
    "account that is a text": {ACCOUNTS_FILE: {"a.io": "me:{}"}},
    "variable that does not exist": {ACCOUNTS_FILE: {"a.io": {"username": "me", "password": "${{}}"}}},
    "accounts file that is no JSON": {ACCOUNTS_FILE: '[{"registry": "a.io", "password": "{}"'},
    "images file that is no JSON": {"images.json": '{"me:{}@a.io/x": '},
    "account in a combined file": {"config.json": {"auth": {"a.io": {"user": "me", "password": "{}"}}, "images": {}}},
}
# Variables that refuse a password instead of a value. The names of files are shown, because they are no secrets.
VARIABLES = (
    *("JOBS", "PROBES", "RETRIES", "SLEEP_TIME", "TZ", "CRON", "RUN_ONCE", "DRY_RUN", "LOG_LEVEL", "LOG_FORMAT", "CRANE"),
    *("HOOK_LISTEN", "HOOK_QUEUE", "HTTPS_PROXY", "COPY_TIMEOUT"),
)


def run(campaign: Campaign) -> Table:
    """Return one row for each kind of place."""
    table = Table("Passwords", TEXT, ("place", "runs", "bytes searched", "samples", "found"))
    with world(campaign.folder, campaign.seed, IMAGES) as one:
        one.write_images(IMAGES)
        accounts = (one.user.folder / ACCOUNTS_FILE).read_text()
        for what, attack in (
            ("accounts of a pass, and other variables of the environment", in_a_pass),
            ("accounts that a registry echoes in its errors", partial(echoed, limit=campaign.pick(long=4, short=1))),
            ("credentials of callers of the hook", in_the_hook),
            ("core files of sync.py, crane and hook.py", in_core_files),
            ("wrong places in the files", partial(misplaced, limit=campaign.pick(long=99, short=3))),
            ("values of other variables", partial(in_variables, limit=campaign.pick(long=99, short=4))),
        ):
            one.user.write(ACCOUNTS_FILE, accounts)
            one.write_images(IMAGES)
            one.reset_target()
            search = Search(one.accounts | {"somebody": new_canary("somewhere")})
            with search.watching(os.getpid()):
                runs = attack(one, search, table)
            search.search_files([one.user.folder, one.user.tmp, one.user.home], except_for=[ACCOUNTS_FILE])
            found = sorted(set(search.found))
            table.check(not found, f"{what}: {', '.join(found[:5])}")
            table.add(what, runs, f"{search.bytes:,}", f"{search.samples:,}", len(found))
        one.user.write(ACCOUNTS_FILE, accounts)
        one.write_images(IMAGES)
        for what, break_ in campaign.random("lures").sample(list(LURES.items()), campaign.pick(long=len(LURES), short=3)):
            lure(one, what, break_, table)
    return table


def in_a_pass(one: World, search: Search, table: Table) -> int:
    """Take a password from a variable. Other variables hold passwords that the pass does not need."""
    canary = search.canaries["somebody"]
    rows = json.loads((one.user.folder / ACCOUNTS_FILE).read_text())
    secret = rows[0]["password"]
    rows[0]["password"] = "$SOURCE_PASSWORD"
    rows += [{"registry": "other.test", "username": "other", "password": "$OTHER"}]
    one.user.write(ACCOUNTS_FILE, rows)
    environ = {"SOURCE_PASSWORD": secret, "OTHER": canary, "HOOK_PASSWORD": canary, "AWS_SECRET_ACCESS_KEY": canary}
    for way in WAYS:
        one.reset_target()
        done = one.sync(LIMIT, **SETTINGS | DEBUG | environ | {"FAST_LOOKUPS": way})
        table.check(done.code == 0, f"a pass with accounts: exit code {done.code}")
        search.search("the log", done.output.encode())
    return len(WAYS)


def echoed(one: World, search: Search, table: Table, limit: int) -> int:
    """Let the registries quote the credentials of each request, in every encoding."""

    def quote(phase: str, request: Request) -> Break | None:
        if phase_of(request) != phase:
            return None
        sent = request.header("authorization") or ""
        decoded = base64.b64decode(sent.partition(" ")[2] + "==", validate=False).decode(errors="replace")
        names = Search(one.accounts).forms()
        body = {"errors": [{"code": "DENIED", "message": f"{sent} {decoded} {' '.join(names)}"}]}
        return Break(Response(403, [(b"Content-Type", b"application/json")], json.dumps(body).encode()))

    for way in WAYS:
        for phase in ("token", "look-up", "copy", "listing")[:limit]:
            with breaking(one, partial(quote, phase)):
                done = one.sync(LIMIT, **SETTINGS | DEBUG | {"FAST_LOOKUPS": way})
            table.check(done.code in {0, 1}, f"credentials echoed during {phase}: exit code {done.code}")
            search.search("the log", done.output.encode())
    return len(WAYS) * limit


@contextmanager
def breaking(one: World, fault: Callable[[Request], Break | None]) -> Iterator[None]:
    """Break the requests of every connection."""
    for gateway in one.gateways.values():
        gateway.heal()
        gateway.fault, gateway.share = fault, 1.0
    one.gateways["elsewhere"].fault = None
    try:
        yield
    finally:
        for gateway in one.gateways.values():
            gateway.heal()


def in_the_hook(one: World, search: Search, table: Table) -> int:
    """Call the hook with the right password, with wrong ones, and with one in the wrong place."""
    canary = search.canaries["somebody"]
    environ = Hook.ENV | DEBUG | {"HOOK_USERNAME": "somebody", "HOOK_PASSWORD": canary, "HOOK_TOKEN": canary}
    with quiet(), one.user.running("hook.py", **environ) as running:
        hook = Hook(running)
        for account in (("somebody", canary), ("somebody", canary + "x"), (canary, "x"), None):
            for path in ("/images/sync/hook?name=a.io/x&tag=1", f"/hooks/{canary}/harbor", f"/status?password={canary}"):
                for headers in ({}, {"X-Token": canary}, {"Authorization": f"Bearer {canary}"}):
                    with suppress(OSError, ValueError, UnicodeError):
                        hook.call(path, "POST", canary.encode(), headers, account)
        running.end(signal.SIGTERM)
        search.search("the log of the hook", running.output.encode())
        table.check(running.process.returncode == 143, "the hook did not end well")
    return 36


def in_core_files(one: World, search: Search, table: Table) -> int:
    """Crash sync.py, one of its cranes, and hook.py, where core files may be large."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    canary = search.canaries["somebody"]
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    table.check(before[1], "core files: they are forbidden on this machine, so nothing was tried")
    try:
        for victim in ("sync.py", "crane"):
            one.reset_target()
            process = subprocess.Popen(
                one.command(sys.executable, str(BUNDLE / "sync.py")),
                cwd=one.user.folder,
                env=one.user.environ({"SSL_CERT_FILE": str(one.authority), "FAST_LOOKUPS": "false"} | SETTINGS),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            cranes: list[int] = []

            def found(pid: int = process.pid, cranes: list[int] = cranes) -> bool:
                cranes[:] = [each for each, argv in descendants(pid).items() if argv[1:2] == ["digest"]]
                return bool(cranes)

            wait_for(found, "a crane")
            with suppress(ProcessLookupError):
                os.kill(process.pid if victim == "sync.py" else cranes[0], signal.SIGABRT)
            process.wait(LIMIT)
            # The next pass removes the private directory, where passwords belong.
            table.check(one.sync(LIMIT, **SETTINGS).code == 0, f"core files: the pass after that of {victim} failed")
        with (
            quiet(),
            one.user.running("hook.py", **Hook.ENV | {"HOOK_USERNAME": "somebody", "HOOK_PASSWORD": canary}) as running,
        ):
            Hook(running)
            running.end(signal.SIGABRT)
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)
    cores = [path for path in one.user.folder.rglob("core*") if path.is_file()]
    table.check(not cores, f"core files were written: {[path.name for path in cores]}")
    return 3


def misplaced(one: World, search: Search, table: Table, limit: int) -> int:
    """Write a password where the files have no place for one."""
    canary = search.canaries["somebody"]
    for what, files in list(MISPLACED.items())[:limit]:
        for name in (ACCOUNTS_FILE, "images.json"):
            one.user.write(name, "[]")
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            one.user.write(name, text.replace("{}", canary))
        if "config.json" in files:
            (one.user.folder / "images.json").unlink()
        done = one.user.run("sync.py", **DEBUG)
        table.check(done.code in {0, 2}, f"{what}: exit code {done.code}")
        search.search(what, done.output.encode())
        for name in files:
            (one.user.folder / name).unlink()
    return min(limit, len(MISPLACED))


def in_variables(one: World, search: Search, table: Table, limit: int) -> int:
    """Give a password as the value of a variable that is something else."""
    canary = search.canaries["somebody"]
    one.user.write("images.json", "[]")
    for name in VARIABLES[:limit]:
        for script in ("sync.py", "entrypoint.py"):
            value = f"http://me:{canary}@[::1" if name.endswith("PROXY") else canary
            once = "false" if (script, name) == ("entrypoint.py", "CRON") else "true"
            done = one.user.run(script, **DEBUG | {"RUN_ONCE": once} | {name: value})
            table.check(done.code in {0, 2}, f"{name}: exit code {done.code}")
            search.search(f"the log, from {name}", done.output.encode())
    return 2 * min(limit, len(VARIABLES))


def redirect(code: int) -> Callable[[str], Break]:
    """Lead to another server."""
    return lambda to: status(code, Location=f"{to}/v2/mirror/stolen")


def realm(scheme: str, host: str) -> Callable[[str], Break]:
    """Name another token service. What follows the rules of go-containerregistry for realms is not tried."""

    def respond(to: str) -> Break:
        url = f"{scheme}://{host or to.partition('//')[2].partition(':')[0]}:{to.rpartition(':')[2]}/token"
        return status(401, WWW_Authenticate=f'Bearer realm="{url}",service="registry.test"')

    return respond


def upload(to: str) -> Break:
    """Accept an upload, which another server is to receive."""
    return Break(Response(202, [(b"Location", f"{to}/v2/mirror/stolen/blobs/uploads/1".encode())]))


def on(phase: str, method: str = "") -> Callable[[Request], bool]:
    """Choose the requests of a phase."""
    return lambda request: phase_of(request) == phase and request.method.startswith(method)


# What leads elsewhere: which requests, and the response as a function of the other server's URL.
LURES: Mapping[str, tuple[Callable[[Request], bool], Callable[[str], Break]]] = {
    "realm without TLS": (on("ping"), realm("http", "")),
    "realm that is a loopback address": (on("ping"), realm("https", DIRECT)),
    "redirect of the ping": (on("ping"), redirect(307)),
    "redirect of the token request": (on("token"), redirect(307)),
    "redirect of a look-up (302)": (on("look-up"), redirect(302)),
    "redirect of a look-up (308)": (on("look-up"), redirect(308)),
    "redirect of a list of tags": (on("listing"), redirect(307)),
    "redirect of a blob or manifest": (on("copy", "GET"), redirect(307)),
    "redirect of an upload": (on("copy", "P"), redirect(307)),
    "Location of an upload": (on("copy", "POST"), upload),
}


def lure(one: World, what: str, lead: tuple[Callable[[Request], bool], Callable[[str], Break]], table: Table) -> None:
    """Let every registry lead elsewhere, and look at what arrives there."""
    chooses, respond = lead
    elsewhere = one.gateways["elsewhere"]
    search = Search(one.accounts)
    to = f"https://elsewhere.test:{one.ports['elsewhere']}"
    elsewhere.received.clear()
    for way in WAYS:
        one.reset_target()
        with breaking(one, lambda request: respond(to) if chooses(request) else None), search.watching(os.getpid()):
            done = one.sync(LIMIT, **SETTINGS | DEBUG | {"FAST_LOOKUPS": way})
            broken = sum(gateway.broken for gateway in one.gateways.values())
        table.check(broken, f"{what}: nothing led elsewhere")
        table.check(done.code in {0, 1}, f"{what}: exit code {done.code}")
        search.search("the log", done.output.encode())
    requests = list(elsewhere.received)
    for request in requests:
        search.search("a request elsewhere", request)
        table.check(b"authorization: bearer" not in request.lower(), f"{what}: a token was sent elsewhere")
    table.check(not search.found, f"{what}: {', '.join(sorted(set(search.found)))}")
    shown = f"{what}: {len(requests)} requests elsewhere"
    table.add(shown, len(WAYS), f"{search.bytes:,}", f"{search.samples:,}", len(set(search.found)))
