"""registries.md in both languages: its scripts, crontabs and the recipe for a registry of one's own are run.

`aws` is a stand-in. The registries are real: distribution, with TLS of a private authority and a password.
"""

import os
import re
import subprocess
from pathlib import Path

import bcrypt
import pytest
from ruamel.yaml import YAML
from support import BUNDLE, REGISTRY_BINARY, Registry, Run, User, free_port, log_of, start, wait_for

PAGES = {language: BUNDLE / "docs" / folder / "registries.md" for language, folder in (("en", "."), ("zh", "zh"))}
ECR = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
AWS = """#!/bin/sh
[ -e "$0.fails" ] && { echo "Unable to locate credentials" >&2; exit 255; }
case "$*" in
    "ecr get-login-password --region eu-central-1") cat "$0.password" ;;
    "ecr-public get-login-password --region us-east-1") echo public ;;
    *) echo "aws: $*" >&2; exit 2 ;;
esac
"""


@pytest.fixture(params=PAGES.values(), ids=list(PAGES))
def page(request: pytest.FixtureRequest) -> str:
    """One page after the other."""
    path = request.param
    assert isinstance(path, Path)
    return path.read_text(encoding="utf-8")


def blocks(page: str, title: str, name: str) -> list[str]:
    """The blocks `name` of the recipe `title`."""
    section = re.split(rf"^## {re.escape(title)}\n", page, maxsplit=1, flags=re.MULTILINE)[1].split("\n## ")[0]
    return re.findall(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```", section, re.DOTALL)


def block(page: str, title: str, name: str) -> str:
    """The only block of this name."""
    (found,) = blocks(page, title, name)
    return found


class Cron:
    """A crontab, run as cron does it: by /bin/sh, in another directory, with next to no environment."""

    def __init__(self, user: User, crontab: str, path: str = "/usr/bin:/bin", **more: str) -> None:
        lines = [user.here(line) for line in crontab.splitlines()]
        variables = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
        self.jobs = [line.split(" ", 5)[5] for line in lines if not re.match(r"[A-Z_]+=", line)]
        self.environ = {"HOME": str(user.home), "LOGNAME": "me", "PATH": path, "SHELL": "/bin/sh"} | variables | more

    def run(self, job: int) -> Run:
        """Run the job of this line."""
        command = ["/bin/sh", "-c", self.jobs[job]]
        done = subprocess.run(command, cwd="/", env=self.environ, capture_output=True, text=True, check=False)
        return Run(done.returncode, done.stdout + done.stderr)


def script(user: User, name: str, text: str) -> Path:
    path = user.write(name, text)
    path.chmod(0o755)
    return path


def test_the_password_of_ecr_is_renewed(page: str, user: User, source: Registry, authority: Path, tmp_path: Path) -> None:
    password = os.urandom(16).hex()
    digest = source.push("library/redis:8")
    tools = tmp_path / "tools"
    tools.mkdir()
    aws = tools / "aws"
    aws.write_text(AWS)
    aws.chmod(0o755)
    (tools / "aws.password").write_text(f"{password}\n")
    with Registry.guarded(tmp_path / "ecr", authority, ("AWS", password)) as ecr:
        user.write("accounts.yaml", block(page, "Amazon ECR", "accounts.yaml").replace(ECR, str(ecr)))
        rules = block(page, "Amazon ECR", "images.yaml").replace(ECR, str(ecr)).replace("docker.io", str(source))
        user.write("images.yaml", rules)
        script(user, "ecr-password.sh", block(page, "Amazon ECR", "ecr-password.sh"))
        cron = Cron(
            user,
            block(page, "Amazon ECR", "crontab"),
            path=f"{tools}:/usr/bin:/bin",
            SSL_CERT_FILE=str(authority),
            SLEEP_TIME="0",
            RETRY_DELAY_TIME="0",
            TMPDIR=str(user.tmp),
        )
        file = user.folder / "ecr" / "password"

        assert cron.run(1).code == 2  # no password yet
        assert cron.run(0) == Run(0, "")
        assert (file.read_text(), file.stat().st_mode & 0o777) == (f"{password}\n", 0o600)
        assert cron.run(1) == Run(0, "")
        assert ecr.digest("mirror/redis:8") == digest

        # aws fails: the last password stays, and the pass goes on with it
        (tools / "aws.fails").touch()
        assert cron.run(0) == Run(255, "Unable to locate credentials\n")
        assert file.read_text() == f"{password}\n"
        assert cron.run(1) == Run(0, "")
        assert "1 skipped" in (user.folder / "sync.log").read_text()

        # the password has expired, and is renewed
        file.write_text("expired\n")
        assert cron.run(1).code == 1
        assert "target unauthorised" in (user.folder / "sync.log").read_text()
        (tools / "aws.fails").unlink()
        assert [cron.run(0), cron.run(1)] == [Run(0, ""), Run(0, "")]
        assert password not in (user.folder / "sync.log").read_text()


def test_the_container_reads_the_file_that_the_script_writes(page: str, user: User) -> None:
    (service,) = YAML(typ="safe").load(block(page, "Amazon ECR", "compose"))["services"].values()
    (volume,) = service["volumes"]
    here, there, mode = volume.split(":")
    assert mode == "ro"
    path = Path(service["environment"]["ECR_PASSWORD_FILE"]).relative_to(there)
    on_host = user.folder / here / path
    assert on_host == user.folder / "ecr" / "password"


def test_the_script_with_the_lines_for_ecr_public(page: str, user: User, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    aws = tools / "aws"
    aws.write_text(AWS)
    aws.chmod(0o755)
    (tools / "aws.password").write_text("private\n")
    lines = block(page, "Amazon ECR", "ecr-password.sh") + block(page, "Amazon ECR Public", "ecr-public.sh")
    path = script(user, "ecr-password.sh", lines)
    done = subprocess.run([path], cwd="/", env={"PATH": f"{tools}:/usr/bin:/bin"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {one.name: one.read_text() for one in (user.folder / "ecr").iterdir()} == {
        "password": "private\n",
        "public": "public\n",
    }


def test_the_key_of_google(page: str, user: User, source: Registry, authority: Path, tmp_path: Path) -> None:
    """The registry's passwords (bcrypt) have at most 72 bytes, so the key is a short one."""
    title, host = "Google Artifact Registry", "europe-west3-docker.pkg.dev"
    user.write("key.json", '{\n  "type": "service_account"\n}\n')
    digest = source.push("library/redis:8")
    command = block(page, title, "google-key")
    subprocess.run(["/bin/sh", "-c", command], cwd=user.folder, env={"PATH": "/usr/bin:/bin"}, check=True)
    key = (user.folder / "google-key").read_text()
    with Registry.guarded(tmp_path / "google", authority, ("_json_key_base64", key)) as google:
        accounts = block(page, title, "accounts.yaml").replace(host, str(google))
        user.write("accounts.yaml", accounts)
        rules = block(page, title, "images.yaml").replace(host, str(google)).replace("docker.io", str(source))
        user.write("images.yaml", rules)
        run = user.sync(GOOGLE_KEY_FILE="google-key", SSL_CERT_FILE=str(authority))
        assert run.code == 0, run.output
        assert google.digest("acme-prod/mirror/library/redis:8") == digest
        # the file itself
        user.write("accounts.yaml", accounts.replace("_json_key_base64", "_json_key"))
        run = user.run("sync.py", GOOGLE_KEY_FILE="key.json")
        assert run.code == 2
        assert "has a line break" in run.output


def test_the_three_mistakes(page: str, user: User) -> None:
    found = re.search(r"<!-- mistakes -->\n```text\n(.*?)```", page, re.DOTALL)
    assert found
    robot, number = re.findall(r"`(robot\$[a-z+]+|username: \d+)`", page)[:2]
    user.write("images.json", [])
    user.write("key.json", '{\n  "type": "service_account"\n}\n')
    user.write(
        "accounts.yaml",
        f"""
harbor.example.com: {{username: {robot}, password: x}}
ccr.ccs.tencentyun.com: {{{number}, password: x}}
europe-west3-docker.pkg.dev: {{username: _json_key, password: $GOOGLE_KEY}}
""",
    )
    run = user.run("sync.py", GOOGLE_KEY_FILE="key.json")
    assert run.code == 2
    assert run.lines == found[1].splitlines()


def title_of_the_last_recipe(page: str) -> str:
    titles: list[str] = re.findall(r"^## (.+)$", page, re.MULTILINE)
    return titles[-1]


def test_a_registry_in_the_network(page: str, user: User, source: Registry, authority: Path, tmp_path: Path) -> None:
    """With TLS of a private authority and a password: the page's configuration, files and crontab."""
    title, host = title_of_the_last_recipe(page), "nas.example.com:5000"
    digest = source.push_index("library/redis:8")
    address = f"127.0.0.1:{free_port()}"
    data = tmp_path / "nas"
    data.mkdir()
    for name in ("server.pem", "server.key"):
        (data / name).write_bytes((authority.parent / name).read_bytes())
    (data / "htpasswd").write_text(f"imageporter:{bcrypt.hashpw(b'pa$$word', bcrypt.gensalt(rounds=4)).decode()}\n")
    config = block(page, title, "config.yml").replace("addr: :5000", f"addr: {address}")
    config = config.replace("/etc/distribution", str(data)).replace("/var/lib/registry", str(data / "registry"))
    (data / "config.yml").write_text(config)
    log = data / "log"
    with start([str(REGISTRY_BINARY), "serve", str(data / "config.yml")], log, env={"OTEL_TRACES_EXPORTER": "none"}):
        wait_for(lambda: "listening on" in log_of(log), f"distribution: {log}")
        nas = Registry(address, data / "docker", ("imageporter", "pa$$word"), authority)
        nas.login()
        user.write("accounts.yaml", blocks(page, title, "accounts.yaml")[0].replace(host, address))
        rules = blocks(page, title, "images.yaml")[0].replace(host, address).replace("docker.io", str(source))
        user.write("images.yaml", rules)
        user.write("ca.pem", authority.read_text())
        user.write("nas-password", "pa$$word\n")
        cron = Cron(user, block(page, title, "nas-crontab"), SLEEP_TIME="0", TMPDIR=str(user.tmp))
        assert cron.run(0) == Run(0, ""), (user.folder / "sync.log").read_text()
        assert nas.digest("mirror/library/redis:8") == digest
        # without the authority
        del cron.environ["SSL_CERT_FILE"]
        assert cron.run(0).code == 1
        assert "set SSL_CERT_FILE to the certificate of its authority" in (user.folder / "sync.log").read_text()


def test_a_registry_in_the_network_without_tls(
    page: str, user: User, source: Registry, target: Registry, tmp_path: Path
) -> None:
    """127.0.0.2 stands for the name, because crane does not take it for a local address; 127.0.0.1 for the private one."""
    title = title_of_the_last_recipe(page)
    digests = {name: source.push(f"library/{name}", name) for name in ("redis:8", "postgres:18")}
    with Registry.serve(tmp_path / "plain.log", "127.0.0.2:0") as plain:
        plain.address, plain.insecure = plain.address.replace("127.0.0.1", "127.0.0.2"), True
        accounts, rules = blocks(page, title, "accounts.yaml")[1], blocks(page, title, "images.yaml")[1]
        user.write("accounts.yaml", accounts.replace("nas.example.com:5000", str(plain)))
        for shown, here in (("nas.example.com:5000", plain), ("192.168.1.10:5000", target), ("docker.io", source)):
            rules = rules.replace(shown, str(here))
        user.write("images.yaml", rules)
        run = user.sync()
        assert run.code == 0, run.output
        assert plain.digest("mirror/library/redis:8") == digests["redis:8"]
        assert target.digest("mirror/library/postgres:18") == digests["postgres:18"]
        (user.folder / "accounts.yaml").unlink()
        run = user.sync("--dry-run")
        assert {outcome for name, outcome in run.outcomes.items() if str(plain) in name} == {"failed"}
