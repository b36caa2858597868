"""A password goes to crane's stdin and into one private file, and nowhere else."""

import base64
import html
import json
from pathlib import Path
from urllib.parse import quote, quote_plus

from support import Proxy, Refuse, Registry, User


def forms(registry: Registry) -> list[str]:
    """How the password might look where it leaks."""
    assert registry.account
    name, password = registry.account
    token = base64.b64encode(f"{name}:{password}".encode()).decode()
    return [password, quote(password), quote(password, safe=""), json.dumps(password)[1:-1], token]


def test_a_password_is_nowhere_but_in_the_private_keychain(user: User, source: Registry, guarded: Registry) -> None:
    source.push("app:1")
    user.accounts(guarded)
    user.images((f"{source}/app:1", f"{guarded}/secrets/app:1"), (f"{source}/gone:1", f"{guarded}/secrets/gone:1"))
    seen = user.home / "seen"
    wrapper = user.crane_wrapper(f"""
        {{ echo "argv: $*"; env | sed 's/^/env: /'; }} >> {seen}
        find "$DOCKER_CONFIG" -printf 'config: %M %U %P\\n' >> {seen}
        exec "$CRANE" "$@"
    """)

    run = user.run("sync.py", CRANE=wrapper, LOG_LEVEL="DEBUG", LOG_FORMAT="json", **guarded.environ)
    assert run.outcomes[f"{guarded}/secrets/app:1"] == "copied"

    calls = seen.read_text()
    assert f"argv: auth login {guarded} --username=imageporter --password-stdin" in calls
    assert {line.split()[1] for line in calls.splitlines() if line.startswith("config: ")} == {"drwx------", "-rw-------"}
    everything = {"output": run.output, "argv and environment": calls}
    for folder in (user.folder, user.tmp, user.home):
        for path in folder.rglob("*"):
            if path.is_file() and path.name != "accounts.json":
                everything[str(path)] = path.read_bytes().decode(errors="replace")
    assert any(name.endswith("report.json") for name in everything)
    for secret in forms(guarded):
        assert [name for name, text in everything.items() if secret in text] == []
    assert list(user.tmp.iterdir()) == []


def test_a_registry_that_answers_with_the_password_is_not_quoted(user: User, source: Registry, target: Registry) -> None:
    password = 'hunter2 "&" hunter2'
    token = base64.b64encode(f"bob:{password}".encode()).decode()
    said = [password, token, quote(password, safe=""), quote(password).lower(), quote_plus(password)]
    said += [json.dumps(password)[1:-1], html.escape(password), base64.b64encode(password.encode()).decode()]
    said += [json.dumps(password)[1:-1].replace("&", "\\u0026")]
    body = json.dumps({"errors": [{"code": "DENIED", "message": "you said " + ", that is ".join(said)}]})
    proxy = Proxy(source, Refuse(1000, "403 Forbidden", body))
    rows = [(str(proxy), password), ("other.example.com", "hunter2")]  # one begins like the other
    user.write("accounts.json", [{"registry": one, "username": "bob", "password": secret} for one, secret in rows])
    user.images((f"{proxy}/app:1", f"{target}/app:1"))
    run = user.sync(LOG_LEVEL="DEBUG")
    assert run.code == 1
    assert run.events("image.done")[0]["error"].endswith(
        "DENIED: you said " + ", that is ".join(["***"] * len(said)) + " (as bob)"
    )
    for form in (*said, "hunter2"):
        assert form not in run.output + (user.folder / "data" / "report.json").read_text()


def test_the_users_own_docker_configuration_is_neither_read_nor_written(
    user: User, source: Registry, guarded: Registry
) -> None:
    """Logged in to the very registry, in every place that crane would look at."""
    source.push("app:1")
    user.images((f"{source}/app:1", f"{guarded}/own/app:1"))
    own = (guarded.config / "config.json").read_text()
    (user.home / ".docker").mkdir()
    files = [user.home / ".docker" / "config.json", user.home / "auth.json"]
    for path in files:
        path.write_text(own)

    run = user.sync(
        **guarded.environ, DOCKER_CONFIG=str(user.home / ".docker"), REGISTRY_AUTH_FILE=str(files[1]), DOCKER_AUTH_CONFIG=own
    )
    assert run.code == 1
    assert run.events("image.done")[0]["error"].startswith("target unauthorised: ")

    user.accounts(guarded)
    assert user.sync(**guarded.environ, DOCKER_CONFIG=str(user.home / ".docker")).code == 0
    assert [path.read_text() for path in files] == [own, own]


def test_an_account_goes_to_its_registry_alone(user: User, source: Registry, target: Registry) -> None:
    requests: list[bytes] = []

    def ask_for_an_account(request: bytes) -> bytes | None:
        requests.append(request)
        if request.startswith(b"GET /v2/ ") and b"Authorization" not in request:
            challenge = b'WWW-Authenticate: Basic realm="all"'
            return b"HTTP/1.1 401 Unauthorized\r\n" + challenge + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return None

    digest = source.push("app:1")
    ours, others = Proxy(source, ask_for_an_account), Proxy(target, ask_for_an_account)
    user.write("accounts.json", [{"registry": str(ours), "username": "bob", "password": "for-ours-alone"}])
    user.images((f"{ours}/app:1", f"{others}/app:1"))
    assert user.sync().code == 0
    assert target.digest("app:1") == digest
    carrying = {line for one in requests if b"Authorization: " in one for line in one.split(b"\r\n") if b"Host: " in line}
    assert carrying == {f"Host: {ours}".encode()}
    assert any(f"Host: {others}".encode() in one for one in requests)


def test_mistakes_in_the_accounts_show_no_value(user: User, tmp_path: Path) -> None:
    user.write("images.json", [])
    secret = "s3cret-value"
    for content in (
        [{"registry": "docker.io", "username": "a", "password": [secret]}],
        [{"registry": "docker.io", "username": "a", "passwort": secret}],
        [{"registry": "docker.io", "username": f"a:{secret}", "password": "x"}],
        [f"a:{secret}@docker.io"],
        {"docker.io": secret},
        f'[{{"registry": "docker.io", "username": "a", "password": "{secret}"',
        f'[{{"password": "{secret}", "password": "{secret}"}}]',
        f'[{{"{secret}": "a", "{secret}": "b"}}]',
        [{"registry": f"me:{secret}", "username": "a", "password": "x"}],
        [{"registry": f"{secret}@ghcr.io", "username": "a", "password": "x"}],
        [{"registry": f"https://me:{secret}@ghcr.io ", "username": "a", "password": "x"}],
        [{"registry": f"me\n:{secret}@ghcr.io", "username": "a", "password": "x"}],
    ):
        user.write("accounts.json", content)
        run = user.run("sync.py", LOG_LEVEL="DEBUG")
        assert run.code == 2
        assert secret not in run.output
    (user.folder / "accounts.json").unlink()
    for content in (
        f"- {{password: {secret}, password: {secret}}}",
        f"- password: *{secret}",
        f"- password: !{secret} x",
        f"- password: 'a\n {secret}",
        f"- password: {secret}: x",
        f"- {{registry: docker.io, username: me, password:{secret}}}",
        f"- {{{secret}: 1, {secret}: 2}}",
        f"- {{[{secret}]: 1}}",
        f"- password: !!bool {secret}",
        f"- password: !!timestamp {secret}",
        "&a [*a]",
        f"- [&p {secret}, &p {secret}]",
        f"- password: |{secret}",
        f'- password: "\\{secret}"',
        f"- {{registry: a.io, 314159: {secret}}}",
    ):
        user.write("accounts.yaml", content)
        run = user.run("sync.py", LOG_LEVEL="DEBUG")
        assert run.code == 2
        assert secret not in run.output
        assert "314159" not in run.output
    assert tmp_path.exists()


def test_a_key_that_no_terminal_can_show(user: User) -> None:
    user.write("images.json", '[{"source": "a", "target": "b", "x\\u001b[31m\\nFAKE": 1}]')
    run = user.run("sync.py", LOG_FORMAT="json")
    assert run.code == 2
    (message,) = [row["message"] for row in run.rows if row["level"] == "ERROR"]
    keys = "source, target, tags, platforms, referrers, signed and flatten"
    assert message == f'images.json: [0]["x [31m FAKE"]: is not a known key; the keys are {keys}'


def test_a_valid_file_that_yaml_warns_of_is_read_in_silence(user: User) -> None:
    user.write("images.json", [])
    rows = [f"- {{registry: {name}.example.com, username: u, password: &p secret-of-{name}}}" for name in ("one", "two")]
    user.write("accounts.yaml", "\n".join(rows))
    run = user.run("sync.py")
    assert run.code == 0
    assert "secret-of" not in run.output
