"""Hostile registries, files and disks: memory, time and log lines stay bounded, and nothing wrong passes for success."""

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support import BUNDLE, SUPERCRONIC, UNSET, Hook, Registry, Run, User, alive, descendants, wait_for

from imageporter.config.file_formats import LARGEST
from imageporter.registry.errors import RegistryError
from imageporter.system.errors import MOST_PROBLEMS

Respond = Callable[[BaseHTTPRequestHandler], None]
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a small tmpfs")
DIGEST = "sha256:" + "0" * 64


@contextmanager
def hostile(respond: Respond) -> Iterator[str]:
    """A registry on loopback that answers the ping, and leaves everything else to `respond`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with suppress(OSError):
                if self.path == "/v2/":
                    send(self, 200, b"{}")
                else:
                    respond(self)

        do_HEAD = do_GET  # noqa: N815 (the base class calls it so)

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


def endless(handler: BaseHTTPRequestHandler, piece: bytes) -> None:
    """Send `piece` again and again, until the client hangs up."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
    handler.send_header("Connection", "close")
    handler.end_headers()
    if handler.command != "HEAD":
        while True:
            handler.wfile.write(piece)


def silence(_: BaseHTTPRequestHandler) -> None:
    """Do not answer within the time that a test takes."""
    threading.Event().wait(20)


PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=sys.stderr)
sys.exit(code)
"""


def sync_with_peak(user: User) -> tuple[Run, int]:
    """Run sync.py with the JSON log; return how it ended, and the largest resident set of any of its processes in MB."""
    command = [sys.executable, "-c", PEAK, sys.executable, str(BUNDLE / "sync.py")]
    environ = user.environ({"LOG_FORMAT": "json"})
    done = subprocess.run(command, cwd=user.folder, env=environ, capture_output=True, text=True, check=False, timeout=120)
    return Run(done.returncode, done.stdout), int(done.stderr.split()[-1])


def test_a_manifest_without_an_end_fills_no_memory(user: User, target: Registry) -> None:
    with hostile(lambda handler: endless(handler, b"x" * (1 << 20))) as source:
        user.images((f"{source}/app:1", f"{target}/app:1"))
        run, peak = sync_with_peak(user)
    assert run.code == 1
    error = run.events("image.done")[0]["error"]
    assert error == "source failed: the registry's response is too large: crane needs too much memory to read it"
    assert "goroutine" not in run.output
    assert peak < 250


def test_a_manifest_without_an_end_during_a_copy_fills_no_memory(user: User, target: Registry) -> None:
    """HEAD has a digest, so crane copies, and reads the manifest."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        if handler.command == "HEAD":
            types = {"Content_Type": "application/vnd.oci.image.manifest.v1+json", "Docker_Content_Digest": DIGEST}
            send(handler, 200, b"x" * 300, **types)
        else:
            endless(handler, b"x" * (1 << 20))

    with hostile(respond) as source:
        user.images((f"{source}/app:1", f"{target}/app:1"))
        run, peak = sync_with_peak(user)
    assert run.code == 1
    error = run.events("image.done")[0]["error"]
    assert error == "copy failed: the registry's response is too large: crane needs too much memory to read it"
    assert peak < 350


@pytest.mark.parametrize(
    "text",
    [
        "fatal error: runtime: out of memory",
        "fatal error: out of memory allocating heap arena map",
        "fatal error: runtime: cannot allocate memory",
        "SIGSEGV: segmentation violation",
    ],
)
def test_every_way_in_which_crane_runs_out_of_memory(text: str) -> None:
    stderr = f"2026/11/24 16:45:08 HEAD request failed, falling back on GET\n{text}\n\nruntime stack:\ngoroutine 1 [running]:"
    error = RegistryError.from_crane_stderr("source", stderr, 2)
    assert str(error) == "source failed: the registry's response is too large: crane needs too much memory to read it"


def test_pages_of_tags_without_an_end_are_cut_off(user: User, target: Registry) -> None:
    tags = [f"a-very-long-name-of-a-tag-{number:06}" for number in range(20_000)]

    def respond(handler: BaseHTTPRequestHandler) -> None:
        body = json.dumps({"name": "app", "tags": tags}).encode()
        send(handler, 200, body, Link='</v2/app/tags/list?n=1000&last=x>; rel="next"')

    with hostile(respond) as source:
        user.write("images.json", {f"{source}/app": f"{target}/app"})
        run, peak = sync_with_peak(user)
    assert run.code == 1
    assert run.events("image.done")[0]["error"] == "source failed: crane printed more than 32 MiB"
    assert peak < 350


@pytest.mark.parametrize("tags", [[], None])
def test_an_empty_list_of_tags_is_never_a_success(user: User, target: Registry, tags: list[str] | None) -> None:
    with hostile(lambda handler: send(handler, 200, json.dumps({"name": "app", "tags": tags}).encode())) as source:
        user.write("images.json", {f"{source}/app": f"{target}/app"})
        run = user.sync()
    assert run.code == 1
    assert run.events("image.done")[0]["error"] == f"source not found: {source}/app has no tags; push one, or remove the rule"


def test_a_repository_of_signatures_only_is_no_failure(user: User, target: Registry) -> None:
    tags = json.dumps({"name": "app", "tags": ["sha256-" + "0" * 64 + ".sig"]}).encode()
    with hostile(lambda handler: send(handler, 200, tags)) as source:
        user.write("images.json", {f"{source}/app": f"{target}/app"})
        assert user.sync().code == 0


def test_half_a_million_tags_in_one_page(user: User, target: Registry) -> None:
    tags = json.dumps({"name": "app", "tags": [f"a-name-of-a-tag-{number:06}" for number in range(900_000)]}).encode()
    with hostile(lambda handler: send(handler, 200, tags)) as source:
        user.write("images.json", {f"{source}/app:/^none$/": f"{target}/app"})
        assert user.sync().code == 0


def test_a_lower_limit_of_the_machine_is_no_obstacle(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    script = f"ulimit -d 500000; exec {shlex.join([sys.executable, str(BUNDLE / 'sync.py')])}"
    environ = user.environ({"FAST_LOOKUPS": "false"})
    assert subprocess.run(["bash", "-c", script], cwd=user.folder, env=environ, check=False).returncode == 0


def test_files_from_a_pipe(user: User) -> None:
    command = shlex.join([sys.executable, str(BUNDLE / "sync.py")])
    fifo = user.folder / "images.json"
    os.mkfifo(fifo)
    with subprocess.Popen(["sh", "-c", f"sleep 0.5; echo '[]' >{fifo}"]):
        done = subprocess.run(["sh", "-c", command], cwd=user.folder, env=user.environ({}), check=False, timeout=60)
    assert done.returncode == 0


def test_a_list_of_exactly_one_page_is_a_warning(user: User, target: Registry) -> None:
    tags = json.dumps({"name": "app", "tags": [f"v{number}" for number in range(1000)]}).encode()
    with hostile(lambda handler: send(handler, 200, tags)) as source:
        user.write("images.json", {f"{source}/app:/^v7$/": f"{target}/app"})
        run = user.sync()
    message = (
        f"{source}/app lists exactly 1000 tags: if it has more, its registry cuts the list without a link to the next page"
    )
    assert next(row["message"] for row in run.rows if row["level"] == "WARNING") == message


def test_an_error_text_forges_no_line(user: User, target: Registry) -> None:
    text = "no\n2026-01-01 00:00:00 INFO    pass done: 9 copied\r\x1b[2J{}"
    body = json.dumps({"errors": [{"code": "UNKNOWN", "message": text}]}).encode()
    with hostile(lambda handler: send(handler, 400, body)) as source:
        user.images((f"{source}/app:1", f"{target}/app:1"))
        run = user.run("sync.py")
    assert run.code == 1
    assert "\x1b" not in run.output
    assert not [line for line in run.output.splitlines() if line.startswith("2026-01-01")]


def test_tokens_and_signed_urls_that_a_registry_echoes_are_masked(user: User, target: Registry) -> None:
    text = "Bearer eyJhbGciOi.payload.signature was refused at https://cdn.example/blob?X-Amz-Signature=deadbeef&scope=pull"
    body = json.dumps({"errors": [{"code": "UNKNOWN", "message": text}]}).encode()
    with hostile(lambda handler: send(handler, 400, body)) as source:
        user.images((f"{source}/app:1", f"{target}/app:1"))
        error = user.sync().events("image.done")[0]["error"]
    assert error.endswith("Bearer *** was refused at https://cdn.example/blob?X-Amz-Signature=***&scope=pull")


def test_a_corrupt_blob_is_the_source_s_fault(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    manifest = json.dumps(source.manifest("app:1")).encode()
    digest = source.digest("app:1")
    raw = source.crane("manifest", f"{source}/app:1")
    types = {"Content_Type": source.manifest("app:1")["mediaType"], "Docker_Content_Digest": digest}

    def respond(handler: BaseHTTPRequestHandler) -> None:
        if "/manifests/" in handler.path:
            send(handler, 200, raw.encode(), **types)
        else:
            send(handler, 200, b"x" * 100)

    assert manifest
    with hostile(respond) as broken:
        user.images((f"{broken}/app:1", f"{target}/app:1"))
        run = user.sync()
    assert run.code == 1
    assert run.events("image.done")[0]["error"].startswith("source failed: ")
    assert target.digest("app:1") == ""


def test_references_smuggle_no_flag_and_no_shell_text(user: User, target: Registry) -> None:
    for text in ("--insecure", "-h", "a.io/x:--insecure", "$(touch pwned)", "a.io/x;touch pwned", "a.io/x\n--insecure"):
        user.images((text, f"{target}/app:1"))
        run = user.run("sync.py")
        assert (run.code, len(run.lines)) == (2, 2)
    assert not (user.folder / "pwned").exists()


@pytest.mark.parametrize("variable", ["IMAGES_FILE", "ACCOUNTS_FILE", "CONFIG_FILE"])
def test_a_file_that_is_no_file_does_not_hang(user: User, variable: str) -> None:
    user.write("images.json", [])
    os.mkfifo(user.folder / "fifo.json")
    (user.folder / "zero.json").symlink_to("/dev/zero")
    for name in ("fifo.json", "zero.json"):
        run = user.run("sync.py", **{variable: name})
        assert run.code == 2
        reason = "nobody writes to it" if name == "fifo.json" else "it is not a regular file"
        assert f"ERROR   {name}: cannot be read: {reason}; name a regular file" in run.output


def test_a_giant_file_and_a_bomb_are_rejected(user: User) -> None:
    with open(user.folder / "images.json", "wb") as file:
        file.truncate(LARGEST + 1)
    run = user.run("sync.py")
    assert (run.code, run.lines[-1]) == (2, "ERROR images.json: is larger than 32 MiB; split it")
    (user.folder / "images.json").unlink()
    lists = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    merges = "\n".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))
    for bomb in (f"a0: &a0 [x]\n{lists}", f"a0: &a0 {{x: y}}\n{merges}"):
        user.write("images.yaml", bomb)
        run = user.run("sync.py")
        assert (run.code, run.lines[-1]) == (2, "ERROR images.yaml: has too many aliases in aliases; write the values out")


def test_a_secret_file_that_is_no_file(user: User) -> None:
    user.write("images.json", [])
    run = user.run("hook.py", HOOK_TOKEN_FILE="/dev/zero")
    assert run.code == 2
    assert run.lines[-1] == "ERROR HOOK_TOKEN: the file in HOOK_TOKEN_FILE cannot be read; correct it"


def test_a_hundred_thousand_mistakes_write_a_few_lines(user: User) -> None:
    user.write("images.json", [{"source": "A", "target": "b.io/bb"}] * 100_000)
    run = user.run("sync.py")
    assert run.code == 2
    assert len(run.lines) == MOST_PROBLEMS + 2
    assert run.lines[-1] == f"ERROR and {100_000 - MOST_PROBLEMS} more problems; correct these first"


def test_misplaced_passwords_are_not_shown(user: User) -> None:
    for content in (
        {"user:hunter2@host.io/x:/^1": "b.io/bb"},
        {"user:hunter2@host.io/x:1": "b.io/bb"},
        {"user:hunter2@sha256:abc/x": "b.io/bb"},
        {"passwd": "hunter2"},
        [{"source": "user:hunter2@host.io/x", "target": "user:hunter2@host.io/x:/1/"}],
    ):
        user.write("images.json", content)
        run = user.run("sync.py")
        assert (run.code, "hunter2" in run.output) == (2, False), run.output
        assert "hunter2" not in (user.folder / "data" / "report.json").read_text()


def test_crane_sees_no_secret_of_the_environment(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    user.write("accounts.json", {"a.example": {"username": "me", "password": "$ACCOUNT_PASSWORD"}})
    seen = user.home / "seen"
    crane = user.crane_wrapper(f'env >>{seen}; exec "$CRANE" "$@"')
    secrets = {"HOOK_PASSWORD": "canary-1", "HOOK_TOKEN": "canary-2", "ACCOUNT_PASSWORD": "canary-3", "AWS_SECRET": "canary-4"}
    assert user.sync(CRANE=crane, **secrets).code == 0
    assert "DOCKER_CONFIG=" in seen.read_text()
    assert "canary" not in seen.read_text()


@pytest.mark.parametrize("proxy", ["http://", "ftp://proxy:1", "http://user:pa ss@[::1", "://x"])
def test_a_proxy_that_is_no_url_is_reported_without_its_password(user: User, proxy: str) -> None:
    user.write("images.json", [])
    seen = user.home / "seen"
    crane = user.crane_wrapper(f'env >>{seen}; exec "$CRANE" "$@"')
    run = user.run("sync.py", CRANE=crane, HTTPS_PROXY=proxy)
    assert (run.code, run.lines[-1]) == (
        2,
        "ERROR HTTPS_PROXY: is not the URL of a proxy; write one like http://proxy.example.com:3128",
    )
    assert "PATH=" in seen.read_text()
    assert "PROXY" not in seen.read_text(), "`crane version` sends no requests"


def test_the_modes_of_what_is_written(user: User) -> None:
    user.write("images.json", [])
    victim = user.write("victim", "precious")
    data = user.folder / "data"
    script = f"umask 000; exec {shlex.join([sys.executable, str(BUNDLE / 'sync.py')])}"
    subprocess.run(["sh", "-c", script], cwd=user.folder, env=user.environ({}), check=True, stdout=subprocess.DEVNULL)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    (data / ".report.json.new").symlink_to(victim)
    data.chmod(0o777)
    run = user.run("sync.py")
    assert run.code == 0
    assert "WARNING DATA_DIR: data is writable for everybody; run `chmod o-w` on it" in run.lines
    assert victim.read_text() == "precious"
    assert json.loads((data / "report.json").read_text())["exit_code"] == 0


@AS_ROOT
@pytest.mark.parametrize(("variable", "size", "inodes"), [("TMPDIR", "4k", "20"), ("DATA_DIR", "4k", "1")])
def test_a_full_disk_is_a_clear_error(
    user: User, source: Registry, target: Registry, variable: str, size: str, inodes: str
) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    full = user.folder / "full"
    full.mkdir()
    mount = f"mount -t tmpfs -o size={size},nr_inodes={inodes} tmpfs {full}"
    script = f"{mount} && exec {shlex.join([sys.executable, str(BUNDLE / 'sync.py')])}"
    environ = user.environ({variable: str(full)})
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=user.folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "unexpected" not in done.stdout
    assert "No space left on device; make room there" in done.stdout
    assert target.digest("app:1") == ""


def test_a_killed_entry_point_leaves_nothing_behind_and_its_pass_ends_well(
    user: User, source: Registry, target: Registry
) -> None:
    """Outside a container, supercronic dies with the entry point. A pass that runs is not part of it and finishes."""
    digest = source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    crane = user.crane_wrapper('case $1 in copy) sleep 2;; esac; exec "$CRANE" "$@"')
    with user.running("entrypoint.py", CRON="* * * * * * *", CRANE=crane) as running:
        wait_for(lambda: any("copy" in argv for argv in descendants(running.process.pid).values()), "a copy")
        scheduler = [pid for pid, argv in descendants(running.process.pid).items() if argv[:1] == [str(SUPERCRONIC)]]
        running.process.kill()
        wait_for(lambda: not alive(scheduler), "supercronic is gone")
        wait_for(lambda: target.digest("app:1") == digest, "the pass ends")
        wait_for(lambda: list(user.tmp.iterdir()) == [], "nothing is left")


def test_a_sigkill_of_the_pass_takes_its_look_ups_along(user: User, target: Registry) -> None:
    with hostile(silence) as source:
        user.images(*((f"{source}/app{n}:1", f"{target}/app{n}:1") for n in range(4)))
        with user.running("sync.py", FAST_LOOKUPS="false", SLEEP_TIME=UNSET) as running:
            wait_for(lambda: len(descendants(running.process.pid)) >= 4, "look-ups run")
            below = descendants(running.process.pid)
            os.kill(running.process.pid, signal.SIGKILL)
            wait_for(lambda: not alive(below), "no crane survives", 10)


def test_no_secret_in_a_place_for_something_else_reaches_the_hook_s_log(user: User) -> None:
    user.write("images.json", [])
    with Hook.of(user) as hook:
        status, content = hook.call("/images/sync/hook?name=user:hunter2@host.io/a/b&tag=1")
        assert (status, "hunter2" in json.dumps(content)) == (400, False)
        assert "hunter2" not in hook.running.output
