"""The webhook receiver: real requests to it, and queue runs after them."""

import hashlib
import hmac
import http.client
import json
import re
import signal
import socket
import sqlite3
import threading
import time
import urllib.parse
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import BUNDLE, REGISTRY_BINARY, Hook, Proxy, Registry, Stall, User, free_port, log_of, start, wait_for

from imageporter import __version__
from imageporter.hook.rate_limit import LOG_LINES, MAX_BODIES, SMALL_BODY
from imageporter.hook.server import BODY_SECONDS, MAX_CONNECTIONS_PER_ADDRESS
from imageporter.hook.webhooks import MAX_EVENTS
from imageporter.store import queue_rows

TOKEN = "t0ken-of-length"
PAYLOADS = Path(__file__).parent.parent / "payloads"


def waiting(user: User) -> list[tuple[str, str, int, str | None]]:
    connection = sqlite3.connect(user.folder / "data" / queue_rows.FILE)
    try:
        return connection.execute("SELECT source, target, attempts, error FROM waiting ORDER BY source, target").fetchall()
    finally:
        connection.close()


def test_a_push_and_the_next_queue_run(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("team/app:1.0.3")
    user.write("images.json", {f"{source}/team/app": f"{target}/mirror/app"})
    pair = {"source": f"{source}/team/app:1.0.3", "target": f"{target}/mirror/app:1.0.3"}
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/team/app:1.0.3") == (202, {"queued": [pair], "already": []})
        assert hook.hook(f"{source}/team/app:1.0.3", method="POST") == (200, {"queued": [], "already": [pair]})
        run = user.sync("--queue")
        assert (run.code, run.outcomes) == (0, {pair["target"]: "copied"})
        assert target.digest("mirror/app:1.0.3") == digest
        assert waiting(user) == []
        # the queue is empty: nothing is done, and the report of the last run stays
        before = (user.folder / "data" / "report-queue.json").read_text()
        run = user.sync("--queue")
        assert (run.code, run.output) == (0, "")
        assert (user.folder / "data" / "report-queue.json").read_text() == before
        assert not (user.folder / "data" / "report.json").exists()

        status, content = hook.call("/status")
        assert (status, content["queue"]) == (200, {"images": 0, "oldest": None, "waiting": []})
        assert content["last_pass"] is None
        assert content["version"] == __version__
        assert content["last_queue_run"]["copied"] == 1
        run = hook.running.end(signal.SIGTERM)
    assert run.code == 143
    assert "the hook has stopped" in run.output


@pytest.mark.parametrize(
    ("query", "status", "reason"),
    [
        ("", 400, "name is missing; write ?name=registry/namespace/image&tag=1.0.3"),
        ("name=a.example/b/c", 400, "tag is missing; write ?name=registry/namespace/image&tag=1.0.3"),
        ("name=a.example/b/c&tag=", 400, "tag is missing; write ?name=registry/namespace/image&tag=1.0.3"),
        ("name=a.example/b/c&tag=1&tag=2", 400, "tag is given more than once; write ?name=registry/namespace/image&tag=1.0.3"),
        ("name=app&tag=1", 406, "'app' has fewer than two parts; write registry/namespace/image"),
        (
            "name=a.example/b/c&tag=1-SNAPSHOT",
            406,
            "'1-SNAPSHOT' is a SNAPSHOT tag, which is not synced; HOOK_SNAPSHOTS=true accepts it",
        ),
        (
            "name=a.example/b/c&tag=SNAPSHOT-1",
            406,
            "'SNAPSHOT-1' is a SNAPSHOT tag, which is not synced; HOOK_SNAPSHOTS=true accepts it",
        ),
        ("name=a.example/b/d&tag=1", 404, "no rule and no row of registry.reg has the source a.example/b/d:1"),
        (
            "name=a.example/B/c&tag=1",
            400,
            "'a.example/B/c' is not an image reference (host/repository:tag); a repository is written in small letters",
        ),
        (
            "name=me:word@a.example/b&tag=1",
            400,
            "'***@a.example/b' has a digest that is not sha256: and 64 hexadecimal digits",
        ),
        ("name=a.example/b/c:1&tag=1", 400, "'a.example/b/c:1' has a tag or digest; give the repository alone"),
        ("name=a.example/b/c&tag=-", 400, "'-' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
        ("name=a.example/b/c&tag=%ff", 400, "'\ufffd' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
    ],
)
def test_invalid_requests(calls: Hook, query: str, status: int, reason: str) -> None:
    assert calls.call(f"/images/sync/hook?{query}") == (status, {"error": reason})


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Any:
    user = User(tmp_path_factory.mktemp("calls") / "user")
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    with Hook.of(user, HOOK_TOKEN=TOKEN, HOOK_RATE="0") as hook:
        yield hook


def test_snapshots_with_hook_snapshots(user: User) -> None:
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    with Hook.of(user, HOOK_SNAPSHOTS="true") as hook:
        assert hook.hook("a.example/b/c:1-SNAPSHOT")[0] == 202


def test_authentication(calls: Hook) -> None:
    wrong: list[tuple[str, str] | None] = [None, ("me", "word"), ("you", Hook.ACCOUNT[1]), ("", ""), ("me", "")]
    for account in wrong:
        for path in ("/images/sync/hook?name=a.example/b/c&tag=1", "/status"):
            assert calls.call(path, account=account) == (401, {"error": "wrong or no credentials"})
        assert calls.call("/hooks/quay", "POST", b"{}", account=account)[0] == 401
    for header in ("Basic !", "Basic bWU=", "Bearer", "Bearer  ", "", "Basic", TOKEN[:-1], "Bearer x"):
        assert calls.call("/status", account=None, headers={"Authorization": header})[0] == 401
    for header in (TOKEN, f"Bearer {TOKEN}"):
        assert calls.call("/status", account=None, headers={"Authorization": header})[0] == 200
    assert calls.call("/status", account=None, headers={"X-Hook-Token": TOKEN})[0] == 200
    assert calls.call(f"/hooks/quay/{TOKEN}", "POST", b"{}", account=None)[0] == 200
    assert calls.call("/hooks/quay/other", "POST", b"{}", account=None)[0] == 401
    assert calls.call("/healthz", account=None) == (200, {"status": "ok"})
    body = b"{}"
    signature = "sha256=" + hmac.new(TOKEN.encode(), body, hashlib.sha256).hexdigest()
    signed = {"X-Hub-Signature-256": signature, "X-GitHub-Event": "ping"}
    assert calls.call("/hooks/github", "POST", body, signed, account=None)[0] == 200
    assert calls.call("/hooks/github", "POST", body + b" ", signed, account=None)[0] == 401
    connection = http.client.HTTPConnection(calls.address)
    connection.request("GET", "/status")
    assert connection.getresponse().headers["WWW-Authenticate"] == 'Basic realm="ImagePorter", charset="UTF-8"'
    connection.close()


def test_a_token_may_have_slashes(user: User) -> None:
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    with Hook.of(user, HOOK_TOKEN="a/b+c=") as hook:
        for path in ("a/b+c=", "a%2Fb%2Bc%3D"):
            assert hook.call(f"/hooks/quay/{path}", "POST", b"{}", account=None)[0] == 200
        # the token beside the login of somebody else, a proxy perhaps
        assert hook.call("/status", headers={"X-Hook-Token": "a/b+c="}, account=("you", "word"))[0] == 200
    run = user.run("hook.py", HOOK_TOKEN="tok\udcff")
    assert "ERROR HOOK_TOKEN: is not UTF-8; choose letters that are" in run.lines


def test_a_pattern_with_exponential_backtracking_elsewhere(user: User) -> None:
    """RE2 runs in linear time, so nobody's push can stop the hook."""
    user.write("images.json", {"a.example/b/c:/^(a+)+$/": "b.example/cc"})
    with Hook.of(user) as hook:
        pushed = f"a.example/b/c:{'a' * 127}b"
        began = time.monotonic()
        assert hook.hook(pushed) == (404, {"error": f"no rule and no row of registry.reg has the source {pushed}"})
        assert time.monotonic() - began < 1
        assert hook.hook(f"a.example/b/c:{'a' * 128}")[0] == 202
        assert hook.running.end(signal.SIGTERM).code == 143


def test_a_pattern_with_a_posix_class(user: User) -> None:
    user.write("images.json", {"a.example/b/c:/^v[[:digit:]]+$/": "b.example/cc"})
    with Hook.of(user) as hook:
        assert hook.hook("a.example/b/c:v12")[0] == 202
        assert hook.hook("a.example/b/c:vx")[0] == 404


def test_an_invalid_event_does_not_stop_the_others(calls: Hook) -> None:
    good = {"action": "push", "target": {"repository": "b/c", "tag": "odd"}, "request": {"host": "a.example"}}
    for odd in ({"action": "push", "target": {"tag": "x"}}, "x", {"action": "push", "target": {"tag": 5, "repository": "x"}}):
        status, content = calls.call("/hooks/distribution", "POST", json.dumps({"events": [odd, good]}).encode())
        assert [*content["queued"], *content["already"]] == [{"source": "a.example/b/c:odd", "target": "b.example/cc:odd"}], (
            status
        )


def test_something_other_than_http_and_too_many_connections(user: User) -> None:
    user.write("images.json", [])
    with Hook.of(user) as hook:
        host, port = hook.address.split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"nonsense\r\n\r\n")
            assert connection.recv(1000).endswith(b'{"error": "Invalid HTTP request received."}')
        connections = [
            socket.create_connection((host, int(port)), timeout=10) for _ in range(MAX_CONNECTIONS_PER_ADDRESS + 20)
        ]
        assert connections[-1].recv(1000).endswith(b'{"error": "too many connections; send it again later"}')
        for connection in connections:
            connection.close()
        wait_for(lambda: hook.call("/healthz")[0] == 200, "there is room again")


def test_no_secret_reaches_the_log(user: User) -> None:
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    with Hook.of(user, HOOK_TOKEN=TOKEN, LOG_LEVEL="DEBUG") as hook:
        hook.call(f"/hooks/quay/{TOKEN}", "POST", b"{}", account=None)
        hook.call(f"/hooks/quay/{TOKEN}?token={TOKEN}", "POST", b"{", account=None)
        hook.call(f"/hooks/{TOKEN}", "POST", b"{")
        hook.call(f"/images/sync/hook?name=a.example/b/c&tag=1&password={Hook.ACCOUNT[1]}".replace("ö", "%C3%B6"))
        hook.call(f"/images/sync/hook?name=me:{TOKEN}@a.example/b/c&tag=1")
        output = hook.running.end(signal.SIGTERM).output
    assert output.count("hook: ") == 5
    for secret in (TOKEN, Hook.ACCOUNT[1], "p@ss", "cEBzczp3w7ZyZA"):
        assert secret not in output


def test_what_registries_send(user: User) -> None:
    """Each sender's own payload, on its own path. A push without a rule is answered 200, or it would be sent for ever."""
    sources = {
        "distribution-v1": "registry.example.com:5000/library/test:latest",
        "distribution-v2": "registry.example.com:5000/library/test:v2",
        "dockerhub": "docker.io/svendowideit/testhook:latest",
        "harbor": "hub.harbor.com/test-webhook/debian:latest",
        "quay": "quay.io/dgangaia/test:latest",
        "github-registry_package": "ghcr.io/codertocat/hello_docker:latest",
        "acr": "registry.cn-hangzhou.aliyuncs.com/namespace/repotest:latest",
    }
    rules = {image.rpartition(":")[0]: f"mirror.example/app{index}" for index, image in enumerate(sources.values())}
    rules |= {"proxied.example/dgangaia/test": "mirror.example/proxied"}
    user.write("images.json", rules)
    with Hook.of(user, HOOK_TOKEN=TOKEN) as hook:
        for name, image in sources.items():
            sender = name.partition("-")[0]
            body = (PAYLOADS / f"{name}.json").read_bytes()
            status, content = hook.call(f"/hooks/{sender}/{TOKEN}", "POST", body, account=None)
            assert (status, [row["source"] for row in content["queued"]]) == (202, [image]), content
        quay = (PAYLOADS / "quay.json").read_bytes()
        status, content = hook.call("/hooks/quay?registry=proxied.example", "POST", quay)
        assert (status, content["queued"][0]["source"]) == (202, "proxied.example/dgangaia/test:latest")
        form = {"Content-Type": "application/x-www-form-urlencoded", "X-GitHub-Event": "package"}
        github = b"payload=" + "".join(f"%{byte:02x}" for byte in (PAYLOADS / "github-package.json").read_bytes()).encode()
        status, content = hook.call("/hooks/github", "POST", github, form)
        assert (status, len(content["already"])) == (200, 1)

        nothing = {"queued": [], "already": [], "ignored": ["not a push of a tag"]}
        for name in ("harbor-deleted", "harbor-untagged", "quay-build", "github-npm"):
            body = (PAYLOADS / f"{name}.json").read_bytes()
            assert hook.call(f"/hooks/{name.partition('-')[0]}", "POST", body) == (200, nothing)
        assert "not a push of a tag" not in hook.running.output, "registries send these with each pull"
        unknown = quay.replace(b"quay.io", b"other.example")
        message = "no rule and no row of registry.reg has the source other.example/dgangaia/test:latest"
        assert hook.call("/hooks/quay", "POST", unknown) == (200, {"queued": [], "already": [], "ignored": [message]})

        assert hook.call("/hooks/quay", "POST", b"[]") == (400, {"error": "the body is not what quay sends"})
        assert hook.call("/hooks/quay", "POST", b"")[0] == 400
        assert hook.call("/hooks/quay", "POST", b"[" * 100_000)[0] == 400
        senders = "unknown sender; the senders are distribution, dockerhub, harbor, quay, github, acr"
        assert hook.call("/hooks/jfrog", "POST", b"{}") == (404, {"error": senders})
        assert hook.call("/hooks/quay")[0] == 405


def test_a_real_registry_notifies(user: User, target: Registry, tmp_path: Path) -> None:
    """A `crane push` to a distribution registry, and the image at the other one after the next queue run."""
    page = (BUNDLE / "docs" / "webhooks.md").read_text()
    (shown,) = re.findall(r"```yaml\n(notifications:.*?)```", page, re.DOTALL)
    port = free_port()
    user.write("images.json", {f"127.0.0.1:{port}/team/app:1": f"{target}/mirror/app"})
    with Hook.of(user, HOOK_TOKEN=TOKEN) as hook:
        (tmp_path / "config.yml").write_text(f"""
version: 0.1
log: {{level: info, formatter: json, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {tmp_path}/registry}}}}
http: {{addr: "127.0.0.1:{port}"}}
{shown.replace("imageporter.example.com:8080", hook.address).replace("TOKEN", TOKEN)}""")
        log = tmp_path / "registry.log"
        command = [str(REGISTRY_BINARY), "serve", str(tmp_path / "config.yml")]
        with start(command, log, env={"OTEL_TRACES_EXPORTER": "none"}):
            wait_for(lambda: "listening on" in log_of(log), f"distribution: {log}")
            registry = Registry(f"127.0.0.1:{port}", tmp_path / "docker")
            registry.push("team/other:1")  # it has no rule, and must not stop the others
            digest = registry.push_index("team/app:1")
            wait_for(lambda: waiting(user), "the notification")
            run = user.sync("--queue")
            assert run.outcomes == {f"{target}/mirror/app:1": "copied"}, run.output
            assert target.digest("mirror/app:1") == digest
            assert waiting(user) == []


def test_rows_of_configs_sync_yaml(user: User, source: Registry, target: Registry) -> None:
    """image-syncer's own file alone: its port and account, its rows; neither images nor accounts beside it."""
    source.push("team/app:1")
    (user.folder / "configs").mkdir()
    reg = [{"sourceName": str(source), "namespace": "team,more", "destinationName": str(target)}]
    port = free_port()
    data: dict[str, Any] = {"app": {"port": port}, "auth": {"username": "fork", "password": "$WORD"}, "registry": {"reg": reg}}
    user.write("configs/sync.yaml", data)
    with user.running("hook.py", WORD="word") as running:
        wait_for(lambda: f"listens on http://0.0.0.0:{port}" in running.output, "the hook listens")
        hook = Hook(running)
        hook.address = f"127.0.0.1:{port}"
        assert hook.hook(f"{source}/team/app:1", account=("fork", "word"))[0] == 202
        assert hook.hook(f"{source}/team/app:1")[0] == 401
        assert hook.hook(f"{source}/other/app:1", account=("fork", "word"))[0] == 404
        run = user.sync()  # a full pass takes the queue too, and does not need the hook's account
        assert (run.code, run.outcomes) == (0, {f"{target}/team/app:1": "copied"})
        assert waiting(user) == []


def test_invalid_settings_of_the_hook(user: User) -> None:
    user.write("images.json", [])
    assert user.run("hook.py").lines == [
        "ERROR HOOK_USERNAME, HOOK_PASSWORD: are not set; set both (or HOOK_TOKEN), so that not everybody can call"
    ]
    run = user.run("entrypoint.py", "hook", HOOK_USERNAME="me", HOOK_LISTEN="8080")
    assert (run.code, run.lines) == (
        2,
        [
            "ERROR HOOK_LISTEN: '8080' is not an address to listen on; write one like 0.0.0.0:8080 or [::]:8080",
            "ERROR HOOK_PASSWORD: is not set, but HOOK_USERNAME is; set both",
        ],
    )
    password = user.write("password", "word\n")
    run = user.run("hook.py", HOOK_USERNAME="me", HOOK_PASSWORD="x", HOOK_PASSWORD_FILE=str(password), HOOK_TOKEN=" ")
    assert run.lines == [
        "ERROR HOOK_PASSWORD: HOOK_PASSWORD and HOOK_PASSWORD_FILE are both set; remove one",
    ]
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = user.run("hook.py", **(Hook.ENV | {"HOOK_LISTEN": address}))
    message = f"HOOK_LISTEN: {address!r} cannot be listened on: Address already in use; choose another address"
    assert (run.code, run.lines) == (2, [f"ERROR {message}"])
    run = user.run("hook.py", "--port", "80")
    assert run.lines == ["ERROR hook.py takes no arguments, found --port 80; settings are environment variables"]


def test_the_password_from_a_file(user: User) -> None:
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    password = user.write("password", Hook.ACCOUNT[1] + "\n")
    with Hook.of(user, HOOK_PASSWORD="unset", HOOK_TOKEN=TOKEN) as hook:
        assert hook.hook("a.example/b/c:1")[0] == 401
    env = {name: value for name, value in Hook.ENV.items() if name != "HOOK_PASSWORD"}
    with user.running("hook.py", **env, HOOK_PASSWORD_FILE=str(password)) as running:
        assert Hook(running).hook("a.example/b/c:1")[0] == 202


def test_changed_files_are_reloaded(user: User) -> None:
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    with Hook.of(user) as hook:
        assert hook.hook("a.example/b/new:1")[0] == 404
        user.write("images.json", {"a.example/b/new": "b.example/new"})
        assert hook.hook("a.example/b/new:1")[0] == 202
        user.write("images.json", "{")
        assert hook.hook("a.example/b/new:2")[0] == 202
        assert "images.json: line 1, column 2: " in hook.running.output


def test_a_failed_image_stays_queued_for_a_day(user: User, source: Registry, target: Registry) -> None:
    user.write("images.json", {f"{source}/team/app": f"{target}/mirror/app", f"{source}/team/good": f"{target}/mirror/good"})
    source.push("team/good:1")
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/team/app:1")[0] == hook.hook(f"{source}/team/good:1")[0] == 202
        run = user.sync("--queue")
        assert (run.code, run.outcomes[f"{target}/mirror/good:1"]) == (1, "copied")
        ((_, _, attempts, error),) = waiting(user)
        assert attempts == 1
        assert error is not None
        assert error.startswith("source not found: ")
        row = hook.call("/status")[1]["queue"]["waiting"][0]
        assert (row["source"], row["attempts"], row["error"]) == (f"{source}/team/app:1", 1, error)
        connection = sqlite3.connect(user.folder / "data" / queue_rows.FILE)
        with connection:
            connection.execute("UPDATE waiting SET failing = failing - ?", (queue_rows.DAY,))
        connection.close()
        assert user.sync("--queue").code == 1
        assert len(waiting(user)) == 1  # two attempts are not enough
        run = user.sync("--queue")
        message = f"given up after a day and 3 runs: {source}/team/app:1 -> {target}/mirror/app:1: source not found: "
        assert any(row["level"] == "ERROR" and row["message"].startswith(message) for row in run.rows)
        assert waiting(user) == []


def test_a_dry_run_removes_nothing_from_the_queue(user: User, source: Registry, target: Registry) -> None:
    source.push("team/app:1")
    user.write("images.json", {f"{source}/team/app": f"{target}/mirror/app"})
    with Hook.of(user) as hook:
        hook.hook(f"{source}/team/app:1")
        hook.hook(f"{source}/team/app:gone")
        before = waiting(user)
        run = user.sync("--queue", DRY_RUN="true")
        assert run.outcomes == {f"{target}/mirror/app:1": "would-copy", f"{target}/mirror/app:gone": "failed"}
        assert waiting(user) == before  # no attempt is counted
        assert hook.call("/status")[1]["last_queue_run"] is None
        # an image that is at its target already stays, too
        target.push("mirror/app:1")
        assert user.sync("--queue", DRY_RUN="true").outcomes[f"{target}/mirror/app:1"] == "skipped"
        assert waiting(user) == before


def test_a_rule_that_renames_is_left_to_the_full_pass(user: User) -> None:
    user.write("images.json", {"a.example/b/c:/^v/": "b.example/cc:latest"})
    rule = "'a.example/b/c:/^v/' -> 'b.example/cc:latest'"
    message = f"a.example/b/c:v1 is left to the next full pass, because {rule} renames the tags that it matches"
    with Hook.of(user) as hook:
        assert hook.hook("a.example/b/c:v1") == (200, {"queued": [], "already": [], "ignored": [message]})
        assert hook.hook("a.example/b/c:w1")[0] == 404


def test_a_full_queue(user: User) -> None:
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    with Hook.of(user, HOOK_QUEUE="2") as hook:
        assert [hook.hook(f"a.example/b/c:{tag}")[0] for tag in (1, 2, 2)] == [202, 202, 200]
        assert hook.hook("a.example/b/c:3") == (
            503,
            {"error": "the queue is full: it holds 2 images at most; send it again later"},
        )


def test_a_flood(user: User) -> None:
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    with Hook.of(user, HOOK_RATE="1") as hook:
        answers = [hook.hook("a.example/b/c:1") for _ in range(15)]
        assert answers[0][0] == 202
        assert (429, {"error": "more than 1 requests per second"}) in answers
        assert hook.call("/healthz")[0] == 200
        wait_for(lambda: hook.hook("a.example/b/c:1")[0] == 200, "the flood is over")


def test_a_body_that_is_too_large(calls: Hook) -> None:
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        connection = http.client.HTTPConnection(calls.address)
        connection.putrequest("POST", "/hooks/quay")
        connection.putheader("X-Hook-Token", TOKEN)
        for name, value in (headers or {"Content-Length": str((1 << 20) + 1)}).items():
            connection.putheader(name, value)
        connection.endheaders()
        if headers:
            with suppress(OSError):  # it may have hung up already
                for _ in range(20):
                    connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())) == (413, {"error": "the body is larger than 1048576 bytes"})
        connection.close()


def test_slow_callers_are_cut_off(calls: Hook) -> None:
    host, port = calls.address.split(":")
    began = time.monotonic()
    slow = [b"", b"GET /healthz HT", b"POST /hooks/quay HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"]
    for sent in slow:
        with socket.create_connection((host, int(port)), timeout=3 * BODY_SECONDS) as connection:
            connection.sendall(sent)
            with suppress(ConnectionResetError):
                connection.recv(1000)
    assert time.monotonic() - began >= BODY_SECONDS
    assert calls.call("/healthz")[0] == 200


SIGNED = f"POST /hooks/github HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256={'0' * 64}\r\nContent-Length: 100\r\n\r\n"


def test_a_pipelined_request_without_its_body_is_cut_off_too(calls: Hook) -> None:
    host, port = calls.address.split(":")
    pipelined = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    for request in (SIGNED.encode(), b"POST /hooks/quay HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", b"GET /x HT"):
        with socket.create_connection((host, int(port)), timeout=3 * BODY_SECONDS) as connection:
            connection.sendall(pipelined + request)
            with suppress(ConnectionResetError):
                while connection.recv(1000):
                    pass  # until the hook hangs up; else this times out


LARGE = SIGNED.replace("Content-Length: 100", f"Content-Length: {SMALL_BODY + 1}")


def test_slow_strangers_do_not_delay_signed_calls(user: User) -> None:
    """They hold every slot for a large body, and send none."""
    user.write("images.json", {"ghcr.io/a/b": "b.example/cc"})
    with Hook.of(user, HOOK_TOKEN=TOKEN) as hook:
        host, port = hook.address.split(":")
        slow = [socket.create_connection((host, int(port)), timeout=30) for _ in range(MAX_BODIES)]
        for connection in slow:
            connection.sendall(LARGE.encode())
        body = b"{}"
        signature = "sha256=" + hmac.new(TOKEN.encode(), body, hashlib.sha256).hexdigest()
        headers = {"X-Hub-Signature-256": signature}
        for _ in range(20):  # small ones need no slot
            assert hook.call("/hooks/github", "POST", body, headers, None)[0] in {200, 400}
        assert {connection.recv(100).split()[1] for connection in slow} == {b"408"}
        for connection in slow:
            connection.close()
        # the signature covers neither the path nor the query
        assert hook.call("/hooks/quay", "POST", body, headers, None)[0] == 401
        assert hook.call("/hooks/github?registry=other.example", "POST", body, headers, None)[0] == 401


def test_a_kept_connection_answers_at_once(calls: Hook) -> None:
    """Without TCP_NODELAY the second half of each response waits 40 ms for the client's acknowledgement."""
    connection = http.client.HTTPConnection(calls.address, timeout=30)
    began = time.monotonic()
    for _ in range(50):
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    connection.close()
    assert time.monotonic() - began < 50 * 0.04


def test_no_redirect_to_what_the_caller_calls_the_host(calls: Hook) -> None:
    assert calls.call("/status/", headers={"Host": "evil.example"})[0] == 404


def test_rejected_calls_write_a_few_lines(user: User) -> None:
    user.write("images.json", [])
    with Hook.of(user, HOOK_RATE="1") as hook:
        statuses = [hook.call("/status", "HEAD", account=None)[0] for _ in range(100)]
        assert statuses.count(429) > LOG_LINES  # HEAD counts, too
        assert hook.running.output.count("hook: 429 to 127.0.0.1: ") == LOG_LINES
        message = "hook: further requests of 127.0.0.1 that are rejected with 429 are not logged for 60 s"
        assert message in hook.running.output


def test_an_envelope_of_too_many_events(calls: Hook) -> None:
    envelope = json.dumps({"events": [{}] * (MAX_EVENTS + 1)}).encode()
    assert calls.call("/hooks/distribution", "POST", envelope)[0] == 400


PATHS = ["/images/sync/hook", "/status", "/healthz", *(f"/hooks/{name}" for name in ("quay", "harbor", "github", "x"))]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    path=st.sampled_from(PATHS),
    query=st.dictionaries(st.sampled_from(["name", "tag", "registry", "x"]), st.text() | st.binary(), max_size=3)
    | st.sampled_from([{"name": "a.example/b/c", "tag": "1"}, {"name": "a.example/b/c", "tag": "\ud800"}]),
    body=st.binary()
    | st.recursive(
        st.none() | st.integers() | st.text() | st.floats(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["updated_tags", "docker_url", "type", "data"]), inner)
        ),
    ).map(lambda value: json.dumps(value).encode()),
    header=st.tuples(
        st.sampled_from(["Authorization", "X-Hook-Token", "X-GitHub-Event", "Content-Type", "X-Hub-Signature-256"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
    ),
    account=st.sampled_from([Hook.ACCOUNT, None]),
)
def test_never_a_500(
    calls: Hook,
    method: str,
    path: str,
    query: dict[str, Any],
    body: bytes,
    header: tuple[str, str],
    account: tuple[str, str] | None,
) -> None:
    encoded = urllib.parse.urlencode(query, errors="surrogatepass")
    status, content = calls.call(f"{path}?{encoded}", method, body, dict([header]), account)
    assert status in {200, 202, 400, 401, 404, 405, 406, 413}, content


def test_a_full_pass_waits_for_a_queue_run(user: User, source: Registry, target: Registry) -> None:
    """The nightly pass must not be lost because a queue run began a moment earlier."""
    source.push("team/app:1")
    stall = Stall()
    proxy = Proxy(target, stall)
    user.write("images.json", {f"{source}/team/app:1": f"{proxy}/mirror/app:1"})
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/team/app:1")[0] == 202
    done: list[Any] = []
    queue_run = threading.Thread(target=lambda: done.append(user.sync("--queue")))
    queue_run.start()
    wait_for(stall.holding.is_set, "the copy began")
    assert user.sync("--queue").code == 75
    with user.running("sync.py") as running:
        wait_for(lambda: "a shard holds data/queue.lock; this pass waits until it ends" in running.output, "it waits")
        stall.release.set()
        assert running.process.wait(60) == 0
        assert "pass done: 0 copied, 1 skipped, 0 failed" in running.output
    queue_run.join()
    assert done[0].code == 0
    assert waiting(user) == []


def test_a_queue_run_does_not_wait_for_a_full_pass(user: User, source: Registry, target: Registry) -> None:
    source.push("team/app:1")
    stall = Stall()
    proxy = Proxy(target, stall)
    user.write("images.json", {f"{source}/team/app:1": f"{proxy}/mirror/app:1"})
    with Hook.of(user) as hook, user.running("sync.py") as running:
        wait_for(stall.holding.is_set, "the copy began")
        assert hook.hook(f"{source}/team/app:1")[0] == 202
        run = user.run("sync.py", "--queue")
        message = "INFO    another pass is running: it holds data/queue.lock; the queued images wait for the next queue run"
        assert (run.code, run.output.splitlines()[-1][20:]) == (75, message)
        stall.release.set()
        assert running.process.wait(60) == 0
        assert len(waiting(user)) == 1  # it was queued after the pass had looked up the digest


def test_the_schedule_runs_the_queue(user: User, source: Registry, target: Registry) -> None:
    digest = source.push("team/app:1")
    user.write("images.json", {f"{source}/team/app:1": f"{target}/mirror/app:1"})
    env = {"CRON": "0 0 1 1 *", "HOOK_CRON": "* * * * * * *"}
    with Hook.of(user) as hook, user.running("entrypoint.py", **env) as running:
        assert hook.hook(f"{source}/team/app:1")[0] == 202
        wait_for(lambda: waiting(user) == [], "the queue run")
        assert target.digest("mirror/app:1") == digest
        run = running.end(signal.SIGTERM)
    assert run.code == 143
    assert "ERROR" not in run.output


def test_an_invalid_schedule_of_the_queue(user: User) -> None:
    user.write("images.json", [])
    run = user.run("entrypoint.py", CRON="61 * * * *", HOOK_CRON="x")
    assert [line.partition(": ")[0] for line in run.lines if line.startswith("ERROR")] == ["ERROR CRON", "ERROR HOOK_CRON"]


def test_5000_pushes_while_the_hook_is_killed(user: User) -> None:
    """50 clients; the hook is killed and started again: every image that was answered 202 is queued."""
    user.write("images.json", {"a.example/b/c": "b.example/cc"})
    port = free_port()
    env = {"HOOK_LISTEN": f"127.0.0.1:{port}", "HOOK_RATE": "0"}
    accepted: list[str] = []
    refused: list[tuple[int, Any]] = []
    lock = threading.Lock()

    def client(number: int, hook: Hook) -> None:
        for each in range(100):
            image = f"a.example/b/c:{number}-{each}"
            deadline = time.monotonic() + 60
            while True:
                try:
                    status, content = hook.hook(image)
                    break
                except (OSError, http.client.HTTPException):
                    assert time.monotonic() < deadline, "the hook does not come back"
                    time.sleep(0.05)
            with lock:
                (accepted.append(image) if status in {200, 202} else refused.append((status, content)))

    with Hook.of(user, **env) as hook:
        clients = [threading.Thread(target=client, args=(number, hook)) for number in range(50)]
        for thread in clients:
            thread.start()
        wait_for(lambda: len(accepted) > 2000, "2,000 pushes", 120)
        hook.running.process.kill()
        hook.running.process.wait()
    with Hook.of(user, **env):
        for thread in clients:
            thread.join()
    assert refused == []
    assert len(accepted) == 5000
    assert {row[0] for row in waiting(user)} == set(accepted)


def test_a_queue_run_that_is_killed(user: User, source: Registry, target: Registry) -> None:
    """Verified images left the queue, the others stay. The next run does the rest, and no image is copied twice."""
    for number in range(12):
        source.push(f"team/app{number}:1", str(number))
    user.write("images.json", {f"{source}/team/app{number}": f"{target}/mirror/app{number}" for number in range(12)})
    crane, notes = user.noting_crane()
    with Hook.of(user) as hook:
        for number in range(12):
            assert hook.hook(f"{source}/team/app{number}:1")[0] == 202
    with user.running("sync.py", "--queue", SLEEP_TIME="0.3", JOBS="2", CRANE=crane) as running:
        wait_for(lambda: 0 < len(waiting(user)) < 8, "some are done")
        running.process.kill()
        running.process.wait()
    left = {row[1] for row in waiting(user)}
    assert left
    for number in range(12):
        there = f"{target}/mirror/app{number}:1"
        assert there in left or target.digest(f"mirror/app{number}:1") == source.digest(f"team/app{number}:1")
    run = user.sync("--queue", CRANE=crane)
    assert (run.code, set(run.outcomes)) == (0, left)
    assert waiting(user) == []
    copies = re.findall(r"^copy \S+ (\S+)$", notes.read_text(), re.MULTILINE)
    assert set(copies) == {f"{target}/mirror/app{number}:1" for number in range(12)}
