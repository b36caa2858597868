"""Metrics: Prometheus' own tool checks them, and the alerts and the dashboard of the examples get samples from them."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import BUNDLE, Hook, Proxy, Registry, User

from imageporter import __version__

BUILT = BUNDLE / ".tools" / "promtool"
PROMTOOL = str(BUILT) if BUILT.exists() else shutil.which("promtool")
MONITORING = BUNDLE / "examples" / "monitoring"
PER_IMAGE = "imageporter_image_"


def samples(text: str) -> dict[str, float]:
    """The samples of an exposition: `name{label=value}`, with the labels in the order of their names."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


def promtool(*words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
    """Run Prometheus' own tool."""
    if PROMTOOL is None:
        pytest.skip("there is no promtool")
    return subprocess.run([PROMTOOL, *words], capture_output=True, text=True, check=False, **more)


def check(text: str) -> None:
    """Let Prometheus' own tool look at the text."""
    done = promtool("check", "metrics", input=text)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_a_file_for_node_exporter(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"), (f"{source}/gone:1", f"{target}/gone:1"))
    before = time.time()
    assert user.sync(METRICS_FILE="metrics.prom").code == 1
    text = (user.folder / "metrics.prom").read_text()
    check(text)
    found = samples(text)
    assert found[f"imageporter_build_info{{version={__version__}}}"] == 1
    assert found["imageporter_last_run_exit_code{run=pass}"] == 1
    assert found["imageporter_last_run_images{outcome=copied,run=pass}"] == 1
    assert found["imageporter_last_run_images{outcome=failed,run=pass}"] == 1
    assert found["imageporter_last_success_timestamp_seconds{run=pass}"] == 0
    assert before - 2 < found["imageporter_failing_since_timestamp_seconds{run=pass}"] < time.time()
    assert before - 2 < found["imageporter_last_run_timestamp_seconds{run=pass}"] < time.time()
    assert found["imageporter_last_run_lookups{run=pass}"] > 3
    assert not any(name.startswith(PER_IMAGE) for name in found), "no series for each image unless asked for"
    assert (user.folder / "metrics.prom").stat().st_mode & 0o777 == 0o644, "node_exporter is another user"
    source.push("gone:1")
    assert user.sync(METRICS_FILE="metrics.prom", METRICS_PER_IMAGE="true").code == 0
    text = (user.folder / "metrics.prom").read_text()
    check(text)
    found = samples(text)
    assert found["imageporter_last_success_timestamp_seconds{run=pass}"] >= before - 2
    assert found["imageporter_failing_since_timestamp_seconds{run=pass}"] == 0
    assert found[f"imageporter_image_up_to_date{{source={source}/gone:1,target={target}/gone:1}}"] == 1
    assert list(user.folder.glob(".metrics*")) == []


def limited_once(source: Registry) -> Proxy:
    """Make a proxy before `source` that answers as Docker Hub does after too many pulls, to the first look-up."""
    response = b"HTTP/1.1 429 Too Many Requests\r\nRateLimit-Remaining: 76;w=21600\r\nContent-Length: 0\r\n\r\n"
    limited: list[bytes] = []

    def meddle(data: bytes) -> bytes | None:
        if not data.startswith(b"HEAD ") or limited:
            return None
        limited.append(data)
        return response

    return Proxy(source, meddle)


def test_pulls_left(user: User, source: Registry, target: Registry) -> None:
    """Docker Hub says so in the response to each look-up."""
    source.push("app:1")
    proxy = limited_once(source)
    user.images((f"{proxy}/app:1", f"{target}/app:1"))
    assert user.sync(METRICS_FILE="metrics.prom").code == 0
    found = samples((user.folder / "metrics.prom").read_text())
    assert found[f"imageporter_registry_pulls_left{{registry={proxy}}}"] == 76
    assert found["imageporter_last_run_backoffs{run=pass}"] == 1
    report = json.loads((user.folder / "data" / "report.json").read_text())
    assert (report["pulls_left"], report["backoffs"]) == ({str(proxy): 76}, 1)


def test_the_metrics_of_the_hook(user: User, source: Registry, target: Registry) -> None:
    source.push("app:1")
    user.write("images.json", {f"{source}/app": f"{target}/app"})
    with Hook.of(user, HOOK_TOKEN="a-token-of-length") as hook:
        assert hook.text("/metrics", account=None)[0] == 401
        assert hook.text("/metrics", headers={"Authorization": "Bearer a-token-of-length"}, account=None)[0] == 200
        assert hook.hook(f"{source}/app:1")[0] == 202
        status, text = hook.text("/metrics")
        check(text)
        found = samples(text)
        assert (status, found["imageporter_queue_length"]) == (200, 1)
        assert 0 <= found["imageporter_queue_oldest_age_seconds"] < 60
        assert user.sync("--queue").code == 0
        found = samples(hook.text("/metrics")[1])
        assert found["imageporter_queue_length"] == 0
        assert found["imageporter_last_run_images{outcome=copied,run=queue}"] == 1
        assert "the metrics" not in hook.running.output, "Prometheus asks every few seconds"


def test_a_file_that_cannot_be_written(user: User) -> None:
    user.write("images.json", [])
    name = "m" * 253  # there is no room for the ending of its successor's name
    run = user.run("sync.py", METRICS_FILE=name)
    assert (run.code, run.lines[-1]) == (0, f"ERROR METRICS_FILE: {name} cannot be written: File name too long")
    (user.folder / "kernel").symlink_to("/proc/self")
    for path, reason in {
        "kernel/metrics.prom": "user 0 may not write in the directory of 'kernel/metrics.prom'; correct its owner, or name "
        "another file",
        "kernel": "'kernel' is a directory; name a file in it, like imageporter.prom",
        "/dev/null": "'/dev/null' exists and is not a metrics file; it would be replaced: name another",
        "images.json": "'images.json' exists and is not a metrics file; it would be replaced: name another",
    }.items():
        run = user.run("sync.py", METRICS_FILE=path)
        assert (run.code, run.lines[-1]) == (2, f"ERROR METRICS_FILE: {reason}")


@pytest.mark.parametrize("content", ["my precious text", "# HELP smart_temp x\n", ""])
def test_a_file_of_somebody_else_stays(user: User, content: str) -> None:
    """Also if there are so many mistakes that this one is not among those that are shown."""
    user.write("precious.txt", content)
    user.write("images.json", [{"source": "UPPER", "target": "b.io/bb"}] * 300)
    assert user.run("sync.py", METRICS_FILE="precious.txt").code == 2
    assert (user.folder / "precious.txt").read_text() == content


def test_the_alerts(tmp_path: Path) -> None:
    """`promtool test rules` evaluates each alert on series that should raise it, and on some that should not."""
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = promtool(*command, cwd=MONITORING)
        assert done.returncode == 0, done.stdout + done.stderr
    assert tmp_path.exists()


def queries() -> list[str]:
    """Every query of the dashboard."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def test_the_dashboard_finds_what_is_scraped(user: User, source: Registry, target: Registry, tmp_path: Path) -> None:
    """Prometheus' own engine evaluates each query of the dashboard on the samples of a real pass."""
    source.push("app:1")
    user.images((f"{source}/app:1", f"{target}/app:1"))
    assert user.sync(METRICS_FILE="metrics.prom", METRICS_PER_IMAGE="true").code == 0
    text = (user.folder / "metrics.prom").read_text()
    series = [
        {"series": line.rpartition(" ")[0], "values": f"{float(line.rpartition(' ')[2]):f}x10"}
        for line in text.splitlines()
        if not line.startswith("#")
    ]
    series.append({"series": 'imageporter_registry_pulls_left{registry="docker.io"}', "values": "76x10"})
    tests = [{"expr": query, "eval_time": "5m", "exp_samples": []} for query in queries()]
    content = {"tests": [{"interval": "1m", "input_series": series, "promql_expr_test": tests}]}
    (tmp_path / "test.yml").write_text(json.dumps(content))
    done = promtool("test", "rules", "test.yml", cwd=tmp_path)
    # Each fails, because it is said to find nothing, and promtool then says what it has found.
    found = re.findall(r"expr: \"(.*)\", time: 5m,\s+exp: nil\s+got: ?(\S.*)?", done.stdout + done.stderr)
    assert len(queries()) > 5
    missing = [query for query in queries() if query not in {json.loads(f'"{one}"') for one, got in found if got}]
    assert missing == [], done.stdout + done.stderr


@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_the_examples_only_use_metrics_that_exist(user: User, name: str) -> None:
    user.write("images.json", [])
    assert user.sync(METRICS_FILE="metrics.prom", METRICS_PER_IMAGE="true").code == 0
    known = set(re.findall(r"^# TYPE (\S+)", (user.folder / "metrics.prom").read_text(), re.MULTILINE))
    used = set(re.findall(r"imageporter_\w+", (MONITORING / name).read_text()))
    assert used <= known


def table_of(folder: Path) -> dict[str, tuple[list[str], str]]:
    """The labels and the meaning of each metric, in the table of a folder's monitoring.md."""
    rows = re.findall(r"^\| `(imageporter_\w+)` \|([^|]*)\| (.*) \|$", (folder / "monitoring.md").read_text(), re.MULTILINE)
    return {name: (sorted(re.findall(r"`(\w+)`", labels)), meaning) for name, labels, meaning in rows}


def test_the_table_in_the_documentation(user: User, source: Registry, target: Registry) -> None:
    """The Chinese one has meanings of its own."""
    source.push("app:1")
    user.images((f"{limited_once(source)}/app:1", f"{target}/app:1"))
    assert user.sync(METRICS_FILE="metrics.prom", METRICS_PER_IMAGE="true").code == 0
    text = (user.folder / "metrics.prom").read_text()
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, re.MULTILINE))
    labels = {one.name: sorted(one.labels) for family in text_string_to_metric_families(text) for one in family.samples}
    english, chinese = table_of(BUNDLE / "docs"), table_of(BUNDLE / "docs" / "zh")
    assert english == {name: (labels[name], meaning) for name, meaning in helps.items()}
    assert {name: row[0] for name, row in chinese.items()} == labels
    meanings = {meaning for _, meaning in chinese.values() if not meaning.isascii()}
    assert len(meanings) == len(helps), "each has a meaning of its own, in Chinese"
