"""Notifications: real receivers get one message when something breaks, and one when it works again."""

import fcntl
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from receivers import Receiver, mail_server, tunnels_to
from support import BUNDLE, Hook, Proxy, Refuse, Registry, Run, User

PAGES = (BUNDLE / "docs" / "monitoring.md", BUNDLE / "docs" / "zh" / "monitoring.md")
TOKEN = "TOKEN1234567890"
NAME = f"ImagePorter on {socket.gethostname()}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver.serve() as one:
        yield one


def url_of(receiver: Receiver) -> str:
    """apprise's URL of a JSON webhook."""
    return f"json://{receiver.address}/hook/{TOKEN}"


def failing(user: User, source: Registry, target: Registry, count: int = 1) -> None:
    """Write images of which `count` do not exist."""
    source.push("app:1")
    gone = [(f"{source}/gone:{number}", f"{target}/gone:{number}") for number in range(count)]
    user.images((f"{source}/app:1", f"{target}/app:1"), *gone)


def shown(time: str) -> str:
    """A time of a report as people are shown it."""
    return time[:19].replace("T", " ")


def warnings(run: Run) -> list[str]:
    return [row["message"] for row in run.rows if row["level"] == "WARNING" and "notification" in row["message"]]


def test_one_message_if_something_breaks_and_one_if_it_works_again(
    user: User, source: Registry, target: Registry, receiver: Receiver
) -> None:
    failing(user, source, target, 12)
    env = {"NOTIFY_URLS": url_of(receiver)}
    for copied in (1, 0):
        run = user.sync(**env)
        assert run.code == 1
        assert run.rows[-1]["message"] == "notified by JSON"
        assert TOKEN not in run.output
        (message,) = receiver.take()
        assert message.path == f"/hook/{TOKEN}"
        assert message.json["title"] == f"{NAME}: 12 of 13 images failed{', 1 copied' if copied else ''}"
        assert message.json["type"] == "failure"
        lines = message.json["message"].splitlines()
        if not copied:
            report = json.loads((user.folder / "data" / "report.json").read_text())
            assert lines[:2] == [f"Broken since {shown(report['failing_since'])}.", ""]
            lines = lines[2:]
        reason = f"source not found: GET http://{source}/v2/gone/manifests/0: NAME_UNKNOWN: Unknown name"
        assert lines[0] == f"- {source}/gone:0 -> {target}/gone:0: {reason}"
        assert lines[10:14] == [
            "and 2 more, which report.json has",
            "",
            "Not found: push the image, or correct or remove its rule.",
            "The next pass tries again.",
        ]

    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert user.sync(**env).code == 0
    (message,) = receiver.take()
    assert (message.json["title"], message.json["type"]) == (f"{NAME}: works again: the image is up to date", "success")
    broken = f"It was broken for less than a minute, since {shown(report['failing_since'])}."
    assert message.json["message"].splitlines()[0] == broken
    assert user.sync(**env).code == 0
    assert receiver.take() == [], "nothing has happened"


def test_notify_on(user: User, source: Registry, target: Registry, receiver: Receiver) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    env = {"NOTIFY_URLS": url_of(receiver), "NOTIFY_ON": "change"}
    titles = []
    for more in ({"DRY_RUN": "true"}, {}, {}, {"NOTIFY_ON": "Recovery, always"}):
        assert user.sync(**env | more).code == 0
        titles.append([one.json["title"] for one in receiver.take()])
    assert titles == [[], [f"{NAME}: the image is up to date, 1 copied"], [], [f"{NAME}: the image is up to date"]]
    failing(user, source, target)
    assert user.sync(**env | {"NOTIFY_ON": "recovery"}).code == 1
    assert receiver.take() == []


def test_a_pass_that_cannot_start_notifies(user: User, receiver: Receiver) -> None:
    user.write("images.json", [{"source": "UPPER", "target": "b.io/bb"}])
    run = user.run("sync.py", NOTIFY_URLS=url_of(receiver), JOBS="many")
    assert run.code == 2
    (message,) = receiver.take()
    assert message.json["title"] == f"{NAME}: could not start"
    assert message.json["message"].splitlines()[:4] == [
        "- JOBS: 'many' is not a whole number from 1 to 256",
        "- images.json: [0].source: 'UPPER' is not an image reference (host/repository:tag); a repository is written in small "
        "letters",
        "",
        "Correct these settings or files. Nothing was looked up or copied.",
    ]


def test_queue_runs_notify_when_they_begin_to_fail_and_when_they_work_again(
    user: User, source: Registry, target: Registry, receiver: Receiver
) -> None:
    user.write("images.json", {f"{source}/app": f"{target}/app"})
    queue = {"HOOK_USERNAME": "me", "HOOK_PASSWORD": "word"}
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/app:1")[0] == 202
    titles = []
    for code in (1, 1, 0, 0):
        if not code:
            source.push("app:1")
        assert user.sync("--queue", NOTIFY_URLS=url_of(receiver), **queue).code == code
        titles.append([one.json["title"] for one in receiver.take()])
    assert titles == [
        [f"{NAME}: queue run: 1 of 1 images failed"],
        [],
        [f"{NAME}: works again: queue run: the image is up to date, 1 copied"],
        [],
    ]


def test_what_cannot_be_delivered_is_a_warning(user: User, source: Registry, target: Registry, receiver: Receiver) -> None:
    failing(user, source, target)
    receiver.status = 403
    dead = "json://127.0.0.1:1/x"
    run = user.sync(NOTIFY_URLS=f"{url_of(receiver)} {dead}")
    assert run.code == 1
    assert warnings(run) == [
        "notification 1 of 2 (JSON) could not be delivered: HTTP status 403",
        "notification 2 of 2 (JSON) could not be delivered",
    ]
    assert TOKEN not in run.output


def test_the_test_of_notifications(user: User, receiver: Receiver) -> None:
    secret = user.write("urls", f"{url_of(receiver)}\n")
    run = user.run("sync.py", "--notify-test", NOTIFY_URLS_FILE=str(secret))
    assert (run.code, run.lines[-1]) == (0, "INFO notified by JSON")
    (message,) = receiver.take()
    assert message.json["title"] == "ImagePorter: a test"
    receiver.status = 500
    run = user.run("sync.py", "--notify-test", NOTIFY_URLS_FILE=str(secret))
    assert (run.code, run.lines[-1]) == (1, "WARNING notification 1 of 1 (JSON) could not be delivered: HTTP status 500")
    assert not (user.folder / "data").exists(), "a test is no pass"
    run = user.run("sync.py", "--notify-test", NOTIFY_URLS="nonsense://x", PING_URL=f"http://{receiver.address}/")
    assert (run.code, receiver.take()[1:]) == (2, []), "nobody else hears of a test"
    run = user.run("sync.py", "--notify-test")
    line = "ERROR NOTIFY_URLS: is not set, so there is nobody to notify; set it to an apprise URL"
    assert (run.code, run.lines[-1]) == (2, line)


def test_what_is_set_wrongly_is_reported_at_start_without_its_value(user: User) -> None:
    user.write("images.json", [])
    user.write("readonly", "")
    run = user.run(
        "sync.py",
        NOTIFY_URLS=f"json://localhost/ nonsense://{TOKEN} {TOKEN}",
        NOTIFY_ON="failure,success",
        PING_URL=f"hc-ping.com/{TOKEN}",
        METRICS_FILE="nowhere/metrics.prom",
    )
    assert run.code == 2
    assert [line for line in run.lines if line.startswith("ERROR")] == [
        "ERROR NOTIFY_ON: a text of 7 characters is not known; write some of failure, recovery, change, always",
        "ERROR PING_URL: is not the URL of a check; write one like https://hc-ping.com/...",
        "ERROR METRICS_FILE: the directory of 'nowhere/metrics.prom' does not exist; create it, or name another file",
        *(
            f"ERROR NOTIFY_URLS: apprise does not understand URL {number} of 3; write one like mailto://..., slack://... "
            "or ntfy://... (https://github.com/caronc/apprise/wiki)"
            for number in (2, 3)
        ),
    ]
    assert TOKEN not in run.output
    assert TOKEN not in (user.folder / "data" / "report.json").read_text()


def test_mail(user: User, source: Registry, target: Registry) -> None:
    failing(user, source, target)
    with mail_server() as (port, mails):
        run = user.sync(NOTIFY_URLS=f"mailto://127.0.0.1:{port}/?from=mirror@example.com&to=ops@example.com&mode=insecure")
        assert run.rows[-1]["message"] == "notified by E-Mail"
        ((recipients, text),) = mails
    assert recipients == ["ops@example.com"]
    assert re.search(rf"^Subject: {NAME}: 1 of 2 images failed, 1 copied\r?$", text, re.MULTILINE)


def test_ntfy(user: User, source: Registry, target: Registry, receiver: Receiver) -> None:
    failing(user, source, target)
    assert user.sync(NOTIFY_URLS=f"ntfy://{receiver.address}/mirrors").code == 1
    (message,) = receiver.take()
    assert (message.json["topic"], message.json["title"]) == ("mirrors", f"{NAME}: 1 of 2 images failed, 1 copied")


def test_slack_through_a_proxy_with_an_own_authority(user: User, source: Registry, target: Registry, tmp_path: Path) -> None:
    """The proxy leads to a server that has a certificate for Slack, by an authority that only SSL_CERT_FILE names."""
    failing(user, source, target)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("hooks.slack.com").configure_cert(tls)
    url = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#mirrors"
    with Receiver.serve(tls) as slack, tunnels_to(slack.address) as proxy:
        trusted = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1"}
        run = user.sync(NOTIFY_URLS=url, **trusted)
        (message,) = slack.take()
        assert user.sync(NOTIFY_URLS=url, HTTPS_PROXY=proxy, NO_PROXY="127.0.0.1").code == 1
        assert slack.take() == [], "a server with an unknown certificate gets nothing"
    assert run.rows[-1]["message"] == "notified by Slack"
    assert message.path == "/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
    assert message.json["channel"] == "#mirrors"
    assert message.json["attachments"][0]["title"] == f"{NAME}: 1 of 2 images failed, 1 copied"


def test_a_message_has_no_password_even_if_the_registry_quotes_it(
    user: User, source: Registry, target: Registry, receiver: Receiver
) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "you said hunter2hunter2"}]})
    proxy = Proxy(source, Refuse(1000, "403 Forbidden", body))
    user.write("accounts.json", [{"registry": str(proxy), "username": "bob", "password": "hunter2hunter2"}])
    user.images((f"{proxy}/app:1", f"{target}/app:1"))
    assert user.sync(NOTIFY_URLS=url_of(receiver)).code == 1
    (message,) = receiver.take()
    assert "Denied: check what the registry's account may pull and push." in message.body
    assert "hunter2" not in message.body


def test_the_message_in_the_documentation(user: User, source: Registry, target: Registry, receiver: Receiver) -> None:
    """The program only speaks English, so the Chinese page has the same one."""
    failing(user, source, target)
    source.push("gone:2")
    user.images((f"{source}/app:1", f"{target}/app:1"), (f"{source}/none:1", f"{target}/none:1"))
    assert user.sync(NOTIFY_URLS=url_of(receiver)).code == 1
    (message,) = receiver.take()
    text = f"{message.json['title']}\n\n{message.json['message']}\n".replace("/none", "/gone")
    text = (
        text.replace("http://", "https://")
        .replace(str(source), "registry.example.com")
        .replace(str(target), "nas.example.com")
    )
    variable = r"^\S+: pass from [-:0-9 ]+ to [-:0-9 ]+,|^ImagePorter on \S+:"
    for page in PAGES:
        found = re.search(r"<!-- message -->\n```text\n(.*?)```", page.read_text(), re.DOTALL)
        assert found
        assert re.sub(variable, "", found[1], flags=re.MULTILINE) == re.sub(variable, "", text, flags=re.MULTILINE)


def test_the_services_of_the_chinese_page(user: User, source: Registry, target: Registry, tmp_path: Path) -> None:
    """A stand-in for all of them gets a message, with the keyword that the page names, and WeCom's in short ones."""
    urls = set(re.findall(r"(?:dingtalk|wecombot|feishu|schan|barks?)://[^\s`]+", PAGES[1].read_text()))
    hosts = ("oapi.dingtalk.com", "qyapi.weixin.qq.com", "open.feishu.cn", "sctapi.ftqq.com", "api.day.app")
    long = "x" * 100
    user.images(*((f"{source}/{long}/{number}:1", f"{target}/{long}/{number}:1") for number in range(12)))
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*hosts).configure_cert(tls)
    with Receiver.serve(tls) as services, tunnels_to(services.address) as proxy:
        environ = {"SSL_CERT_FILE": str(tmp_path / "ca.pem"), "HTTPS_PROXY": proxy, "NO_PROXY": "127.0.0.1"}
        run = user.sync(NOTIFY_URLS=" ".join(sorted(urls)), **environ)
        messages = services.take()
    assert warnings(run) == []
    notified = [row["message"] for row in run.rows if row["message"].startswith("notified by ")]
    assert sorted(notified) == [
        *(f"notified by {name}" for name in ("Bark", "DingTalk", "DingTalk", "Feishu", "ServerChan", "WeCom Bot"))
    ]
    to_wecom = [message for message in messages if message.headers["Host"] == "qyapi.weixin.qq.com"]
    assert len(to_wecom) > 1
    assert all(len(message.json["text"]["content"].encode()) <= 2048 for message in to_wecom)
    others = [message for message in messages if message not in to_wecom]
    assert {message.headers["Host"] for message in messages} == set(hosts)
    assert all("ImagePorter" in message.body for message in (to_wecom[0], *others))
    assert [message.path for message in others if "sign=" in message.path] != [], "a secret signs"


def test_images_given_by_hand_say_nothing_of_the_mirror(
    user: User, source: Registry, target: Registry, receiver: Receiver
) -> None:
    failing(user, source, target)
    env = {"NOTIFY_URLS": url_of(receiver), "PING_URL": f"http://{receiver.address}/check"}
    assert user.sync(**env).code == 1
    receiver.take()
    before = (user.folder / "data" / "report.json").read_text()
    assert user.sync(f"{source}/app:1", f"{target}/other:1", **env).code == 0
    assert receiver.take() == []
    assert (user.folder / "data" / "report.json").read_text() == before
    report = json.loads((user.folder / "data" / "report-images.json").read_text())
    assert (report["run"], report["copied"]) == ("images", 1)


def test_only_the_second_pass_in_a_row_that_finds_another_one_notifies(user: User, receiver: Receiver) -> None:
    user.write("images.json", [])
    (user.folder / "data").mkdir()
    with open(user.folder / "data" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        titles = []
        for _ in range(2):
            assert user.run("sync.py", NOTIFY_URLS=url_of(receiver)).code == 75
            titles.append([one.json["title"] for one in receiver.take()])
    assert titles == [[], [f"{NAME}: another pass is still running"]]
    assert user.sync(NOTIFY_URLS=url_of(receiver)).code == 0
    (message,) = receiver.take()
    assert message.json["title"] == f"{NAME}: works again: there are no images"


def test_a_queue_that_becomes_empty_is_a_recovery(user: User, source: Registry, target: Registry, receiver: Receiver) -> None:
    """A full pass has copied what the queue run could not."""
    user.write("images.json", {f"{source}/app:1": f"{target}/app:1"})
    with Hook.of(user) as hook:
        assert hook.hook(f"{source}/app:1")[0] == 202
    env = {"NOTIFY_URLS": url_of(receiver)}
    assert user.sync("--queue", **env).code == 1
    source.push("app:1")
    assert user.sync().code == 0
    receiver.take()
    assert user.sync("--queue", **env).code == 0
    (message,) = receiver.take()
    assert message.json["title"] == f"{NAME}: works again: queue run: there are no images"
    assert user.sync("--queue", **env).code == 0
    assert receiver.take() == []


def test_who_only_looks_tells_nobody(user: User, receiver: Receiver) -> None:
    env = {"NOTIFY_URLS": url_of(receiver), "PING_URL": f"http://{receiver.address}/check"}
    assert user.run("sync.py", "--explain", "--images", "nope.json", **env).code == 2
    user.write("images.json", [])
    with open(user.folder / "data" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert user.run("sync.py", "--explain", **env).code == 75
    assert receiver.take() == []
    assert not (user.folder / "data" / "report.json").exists()


def test_the_same_problems_notify_once_an_hour(user: User, receiver: Receiver) -> None:
    """A container that cannot start may be restarted every minute."""
    env = {"NOTIFY_URLS": url_of(receiver)}
    counts = []
    for images in ("[", "[", "{"):
        user.write("images.json", images)
        assert user.run("sync.py", **env).code == 2
        counts.append(len(receiver.take()))
    assert counts == [1, 0, 1]
    report = json.loads((user.folder / "data" / "report.json").read_text())
    user.write("data/report.json", report | {"finished": "2026-11-01T00:00:00+00:00"})
    assert user.run("sync.py", **env).code == 2
    assert len(receiver.take()) == 1


def test_one_url_that_hangs_does_not_keep_the_others_waiting(
    user: User, source: Registry, target: Registry, receiver: Receiver
) -> None:
    failing(user, source, target)
    with Receiver.serve() as silent:
        silent.stalled = threading.Event()
        hanging = f"json://{silent.address}/x?rto=3"
        run = user.sync(NOTIFY_URLS=f"{hanging}, {url_of(receiver)}", HTTP_PROXY="http://127.0.0.1:1")
        silent.stalled.set()
    assert len(receiver.take()) == 1, "and no proxy is used for this machine, as crane uses none"
    assert warnings(run) == ["notification 1 of 2 (JSON) could not be delivered"]
    assert [row["message"] for row in run.rows][-1] == "notified by JSON"
