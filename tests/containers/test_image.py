"""The image itself, and one pass in it."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from docker import IMAGE, Network, docker, inspected, logs, make_image, started, wait_for
from support import BUNDLE

from imageporter import __version__
from imageporter.config.settings import VARIABLES

PAIR = ("app:1", "mirror/app:1")


def inside(script: str) -> str:
    """What a shell in the image prints."""
    return docker("run", "--rm", "--entrypoint", "sh", IMAGE, "-c", script).stdout.strip()


def test_what_is_in_it() -> None:
    config = inspected(IMAGE)["Config"]
    assert config["User"] == "1000:1000"
    assert config["Labels"]["org.opencontainers.image.title"] == "ImagePorter"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    assert config["Labels"]["org.opencontainers.image.version"] == __version__
    assert config["Healthcheck"]["Test"] == ["CMD", "sh", "/app/healthcheck.sh"]
    found = inside(
        "cd /app && find . -not -path '*/__pycache__*' -not -path './imageporter/*' -not -path './libraries/*' | sort"
    )
    assert found.split() == [
        ".",
        "./LICENSE",
        "./crontab.tmpl",
        "./entrypoint.py",
        "./healthcheck.sh",
        "./hook.py",
        "./imageporter",
        "./libraries",
        "./sync.py",
    ]
    assert inside("for each in go gcc cc make git; do command -v $each; done; true") == ""
    assert inside("id -u; id -g") == "1000\n1000"


def test_it_is_small() -> None:
    """What the quick start says of its size: MB that it adds to python slim."""
    base = re.findall(r"/(python:.*-slim)$", (BUNDLE / "Dockerfile").read_text(), re.MULTILINE)[0]
    version = re.findall(r"^ARG PYTHON_VERSION=(.*)$", (BUNDLE / "Dockerfile").read_text(), re.MULTILINE)[0]
    added = inspected(IMAGE)["Size"] - inspected(base.replace("${PYTHON_VERSION}", version))["Size"]
    (output,) = re.findall(r"adds (\d+) MB to Python's slim one", (BUNDLE / "docs" / "quick-start.md").read_text())
    assert abs(added / 1e6 - int(output)) < 2


def test_notifications_metrics_and_the_page_work_in_it() -> None:
    """Their libraries are not where Python itself looks."""
    script = "python /app/sync.py; cat /data/metrics.prom /data/report.html; python /app/sync.py --notify-test"
    more = ("-e", "METRICS_FILE=/data/metrics.prom", "-e", "REPORT_HTML=true", "-e", "NOTIFY_URLS=json://127.0.0.1:1")
    command = ("--entrypoint", "sh", IMAGE, "-c", f"echo '[]' >/tmp/images.json; cd /tmp; {script}")
    done = docker("run", "--rm", *more, *command, check=False)
    assert "imageporter_last_run_exit_code" in done.stdout
    assert "<title>ImagePorter</title>" in done.stdout
    assert "notification 1 of 1 (JSON) could not be delivered" in done.stdout
    assert done.returncode == 1


def test_both_programs_are_static_and_stripped() -> None:
    for name in ("crane", "supercronic"):
        described = inside(f"python - <<'END'\n{STATIC}\nprint(described('/usr/local/bin/{name}'))\nEND")
        assert described == "interpreter: False, symbols: False"


# ELF64: a program header of type 3 names a dynamic linker, a section of type 2 holds symbols.
STATIC = """
import struct
def described(path):
    data = open(path, 'rb').read()
    phoff, shoff = struct.unpack_from('<QQ', data, 32)
    phsize, phnum, shsize, shnum = struct.unpack_from('<HHHH', data, 54)
    kinds = {struct.unpack_from('<I', data, phoff + phsize * n)[0] for n in range(phnum)}
    sections = {struct.unpack_from('<I', data, shoff + shsize * n + 4)[0] for n in range(shnum)}
    return f'interpreter: {3 in kinds}, symbols: {2 in sections}'
"""


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--user", "4321:4321"),
        ("--user", "0:0"),
        ("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/data:mode=1777"),
        ("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        ("--read-only", "--tmpfs", "/tmp", "--tmpfs", "/data:mode=1777", "--cap-drop", "ALL", "--user", "4321"),
        ("--init",),
    ],
    ids=" ".join,
)
def test_one_pass(network: Network, options: tuple[str, ...]) -> None:
    digest = network.push("app:1", b"content")
    network.files(PAIR)
    done = network.run(*options, TZ="Asia/Shanghai", DRY_RUN="false")
    assert (done.returncode, done.stderr) == (0, "")
    assert "pass done: 1 copied, 0 skipped, 0 failed" in done.stdout
    assert network.digest("target", "mirror/app:1") == digest


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", "docs/quick-start.md", "docs/zh/quick-start.md"])
def test_the_command_of_the_documents(network: Network, name: str) -> None:
    digest = network.push("app:1", b"content")
    network.files(PAIR)
    (command,) = re.findall(r"```shell\ncd /srv/imageporter\n\n(docker run .*?)```", (BUNDLE / name).read_text(), re.DOTALL)
    command = command.replace("docker run", f"docker run --network {network.name}", 1)
    done = subprocess.run(["sh", "-c", command], cwd=network.folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert network.digest("target", "mirror/app:1") == digest


COMMANDS = sorted(
    {
        command
        for path in (BUNDLE / "docs").rglob("*.md")
        for command in re.findall(r"`(docker run --rm [^`]*)`", path.read_text())
    }
)


def test_the_commands_within_the_documents_are_found() -> None:
    assert len(COMMANDS) > 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_within_the_documents(command: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "images.json").write_text('[{"source": "r.example.com/app:1", "target": "nas.example.com/app:1"}]')
    (tmp_path / "images.yaml").write_text("r.example.com/app:1: nas.example.com/app:1")
    (tmp_path / "regsync.yml").write_text(
        "sync: [{source: 'r.example.com/app:1', target: 'nas.example.com/app:1', type: image}]"
    )
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    output = done.stdout + (tmp_path / "images.yaml").read_text()
    assert any(word in output for word in (f"ImagePorter {__version__}", "environment:", "nas.example.com/app:1"))


def test_a_release(tmp_path: Path) -> None:
    """`make release`, without the checks that run anyway, in a clone."""
    environ = os.environ | {"DOCKER_BUILDKIT": "0", "BUILD": "--network host", "CHECKS": "", "IMAGES": "released/imageporter"}
    for name in ("AUTHOR", "COMMITTER"):
        environ |= {f"GIT_{name}_NAME": "a", f"GIT_{name}_EMAIL": "a@b.example"}
    clone = tmp_path / "clone"
    for command in (
        ("git", "clone", "--quiet", "--no-tags", str(BUNDLE), str(clone)),
        ("git", "-C", str(clone), "checkout", "--quiet", "-B", "main"),
        ("make", "-C", str(clone), "release", f"VERSION={__version__}"),
    ):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    try:
        tags = docker("images", "--format", "{{.Tag}}", "released/imageporter").stdout.split()
        major, minor, _ = __version__.split(".")
        assert set(tags) == {__version__, f"{major}.{minor}", major, "latest"}
        assert docker("run", "--rm", "released/imageporter", "--version").stdout == f"ImagePorter {__version__}\n"
        assert subprocess.check_output(["git", "-C", clone, "tag"], text=True) == f"v{__version__}\n"
    finally:
        docker("rmi", *(f"released/imageporter:{tag}" for tag in tags))


def test_the_tools_for_another_platform() -> None:
    """The builder stage alone: the rest is Python's own image for that platform."""
    build = ("build", "--quiet", "--network", "host", "--target", "tools", "--build-arg", "TARGETARCH=arm64")
    image = docker(*build, str(BUNDLE), env={"DOCKER_BUILDKIT": "0"} | os.environ).stdout.strip()
    for tool in ("crane", "supercronic"):
        head = docker("run", "--rm", image, "od", "-An", "-tx1", "-j18", "-N2", f"/tools/{tool}").stdout
        assert head.split() == ["b7", "00"]  # EM_AARCH64


def test_the_exit_codes(network: Network) -> None:
    network.push("app:1", b"content")
    network.files(("gone:1", "gone:1"))
    assert network.run().returncode == 1
    network.files(("UPPER", "xx"))
    assert network.run().returncode == 2
    network.files(PAIR)
    with started("-v", "/data", "--entrypoint", "python", IMAGE, "-c", HOLDER) as holder:
        wait_for(lambda: "held" in logs(holder), "the lock is held")
        assert network.run("--volumes-from", holder).returncode == 75
    done = network.run(command=("--dry-run",))
    assert done.returncode == 2
    assert "entrypoint.py takes no argument, or hook, or sync and the flags of sync.py; found --dry-run" in done.stdout
    done = network.run(command=("sync", "--dry-run"))
    assert (done.returncode, "1 would-copy" in done.stdout) == (0, True), done.stdout


HOLDER = """
import fcntl, time
file = open('/data/lock', 'w')
fcntl.flock(file, fcntl.LOCK_EX)
print('held', flush=True)
time.sleep(600)
"""


def test_a_file_that_is_missing_on_the_host(network: Network) -> None:
    """docker makes a directory of it."""
    done = network.run()
    assert done.returncode == 2
    assert "ERROR   images.json: is a directory, not a file; `docker run -v` makes one" in done.stdout
    assert (network.folder / "images.json").is_dir()


def test_a_read_only_root_without_a_tmpfs_is_reported(network: Network) -> None:
    network.files(PAIR)
    done = network.run("--read-only")
    assert done.returncode == 2
    assert "TMPDIR: there is no directory for temporary files; set it to one, or mount a tmpfs at /tmp" in done.stdout


def healthy(container: str) -> bool:
    """What the image's health check says now, which docker asks but once a minute."""
    return docker("exec", container, "sh", "/app/healthcheck.sh", check=False).returncode == 0


def test_the_health_of_a_scheduler(network: Network) -> None:
    network.files()
    mount = ("-v", f"{network.folder}/images.json:/app/images.json:ro")
    with started(*mount, "-e", "CRON=0 0 1 1 *", IMAGE) as container:
        wait_for(lambda: "scheduled: " in logs(container), "the schedule")
        assert healthy(container)
        # as if it had shown no life for four minutes
        old = time.strftime("%Y%m%d%H%M.%S", time.gmtime(time.time() - 240))
        docker("exec", "-e", "TZ=UTC", container, "touch", "-t", old, "/dev/shm/imageporter-alive")
        assert not healthy(container)
        wait_for(lambda: healthy(container), "supercronic shows that it lives", 90)
        # a stuck scheduler shows nothing any more
        docker("exec", "--user", "0", container, "python", "-c", STOP)
        docker("exec", "-e", "TZ=UTC", container, "touch", "-t", old, "/dev/shm/imageporter-alive")
        deadline = time.monotonic() + 70
        while time.monotonic() < deadline:
            assert not healthy(container)
            time.sleep(5)


STOP = """
import os, pathlib, signal
for path in pathlib.Path('/proc').glob('[0-9]*/comm'):
    if path.read_text().strip() == 'supercronic':
        os.kill(int(path.parent.name), signal.SIGSTOP)
"""


def test_the_health_of_a_hook_and_of_one_pass(network: Network) -> None:
    network.files()
    mount = ("-v", f"{network.folder}/images.json:/app/images.json:ro")
    with started(*mount, "-e", "HOOK_USERNAME=me", "-e", "HOOK_PASSWORD=word", IMAGE, "hook") as container:
        wait_for(lambda: "the hook listens" in logs(container), "the hook")
        wait_for(lambda: healthy(container), "the hook shows that it lives", 10)

    network.push("app:1", b"content")
    network.files(PAIR)
    docker("pause", network.containers["target"])  # so that the pass lasts
    with started("--network", network.name, *mount, "-e", "RUN_ONCE= Yes", IMAGE) as container:
        wait_for(lambda: "pass of 1 image" in logs(container), "the pass")
        assert healthy(container)
        docker("unpause", network.containers["target"])
        wait_for(lambda: "1 copied" in logs(container), "the copy")


def test_an_alive_file_is_a_file_and_no_option() -> None:
    check = ("--entrypoint", "sh", "--user", "0", IMAGE, "-c", "sh /app/healthcheck.sh; ls /app/sync.py")
    assert docker("run", "--rm", "-e", "ALIVE_FILE=-delete", *check).stdout == "/app/sync.py\n"
    done = docker("run", "--rm", "-e", "ALIVE_FILE=/data", "-e", "IMAGES_FILE=/dev/null", IMAGE, check=False)
    assert "ALIVE_FILE: '/data' cannot be written: Is a directory; name a file in a directory that exists" in done.stdout


def test_two_users_on_one_volume(network: Network) -> None:
    network.push("app:1", b"content")
    network.files(PAIR)
    volume = docker("volume", "create").stdout.strip()
    try:
        assert network.run("-v", f"{volume}:/data", "--user", "0").returncode == 0
        done = network.run("-v", f"{volume}:/data")
    finally:
        docker("volume", "rm", volume)
    words = (
        "DATA_DIR: '/data/lock' belongs to user 0, and this is user 1000; run `chown -R 1000 /data` as root "
        "(on the host, if it is mounted), or run this as user 0"
    )
    assert (done.returncode, words in done.stdout) == (2, True), done.stdout


def test_data_that_cannot_be_written_and_what_to_do(network: Network) -> None:
    network.files()
    done = network.run("--read-only", "--tmpfs", "/tmp")
    words = (
        "DATA_DIR: '/data' is on a read-only file system; mount a volume there (docker run -v imageporter-data:/data), "
        "or name another directory"
    )
    assert (done.returncode, words in done.stdout) == (2, True), done.stdout
    done = network.run("-e", "DATA_DIR=/srv/data")
    words = (
        "DATA_DIR: user 1000 cannot create '/srv/data'; run `install -d -o 1000 /srv/data` as root, or name another directory"
    )
    assert (done.returncode, words in done.stdout) == (2, True), done.stdout


def test_the_help_lists_the_variables() -> None:
    done = docker("run", "--rm", IMAGE, "--help")
    for name in VARIABLES:
        assert f"\n  {name} " in done.stdout
    assert docker("run", "--rm", IMAGE, "--version").stdout == f"ImagePorter {__version__}\n"


def test_the_mirrors_of_a_build() -> None:
    """Each of the three is really used: a build fails with one that offers nothing, and no address stays in the image."""
    name = "imageporter-mirrored:latest"
    try:
        done = make_image(name, GOPROXY="off")
        assert done.returncode != 0
        assert "module lookup disabled by GOPROXY=off" in done.stdout + done.stderr
        done = make_image(name, PIP_INDEX_URL="http://me:password@127.0.0.1:9/simple")
        assert done.returncode != 0
        assert "No matching distribution found" in done.stdout + done.stderr
        done = make_image(name, BASE_REGISTRY="127.0.0.1:9/mirror")
        assert done.returncode != 0
        assert "http://127.0.0.1:9/v2/" in done.stdout + done.stderr
    finally:
        docker("image", "rm", "--force", name, check=False)
    history = docker("history", "--no-trunc", IMAGE).stdout
    assert "PIP_INDEX_URL" not in history
    assert "GOPROXY" not in history


def test_too_few_processes_are_explained(network: Network) -> None:
    network.push("app:1", b"content")
    network.files(*((PAIR[0], f"mirror/app{number}:1") for number in range(40)))
    done = network.run("--pids-limit", "20", FAST_LOOKUPS="false")  # each of 32 look-ups needs a thread and a crane
    assert done.returncode == 1
    assert (
        "no more processes are allowed here (docker's --pids-limit, ulimit -u); allow more, or lower PROBES and JOBS"
        in done.stdout
    )
    assert "goroutine" not in done.stdout
    assert network.run("--pids-limit", "40", PROBES="1", JOBS="1").returncode == 0


def test_a_dead_scheduler_ends_the_container(network: Network) -> None:
    network.files()
    mount = ("-v", f"{network.folder}/images.json:/app/images.json:ro")
    with started(*mount, IMAGE) as container:
        wait_for(lambda: "scheduled: " in logs(container), "the schedule")
        docker("exec", container, "python", "-c", STOP.replace("SIGSTOP", "SIGKILL"))
        wait_for(lambda: not inspected(container)["State"]["Running"], "the end of the container")
        assert inspected(container)["State"]["ExitCode"] == 137
        assert "supercronic ended by itself" in logs(container)
