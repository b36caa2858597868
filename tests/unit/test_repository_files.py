"""The files for those who change ImagePorter: the map of the package, CI, Renovate, pre-commit and the forms."""

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import re2
from ruamel.yaml import YAML
from support import BUNDLE

PICTURE = BUNDLE / "docs" / "pictures" / "package.svg"
SCRIPTS = {"sync.py", "entrypoint.py", "hook.py"}
GITHUB = BUNDLE / ".github"
FORM_KEYS = {"name", "description", "body"}
RENOVATE: dict[str, Any] = json.loads((BUNDLE / "renovate.json").read_text())
TOOLS = tuple(sorted(BUNDLE.glob("tools.txt")) + sorted(BUNDLE.glob("*/tools.txt")))


def load_yaml(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def matches(path: Path) -> list[dict[str, str]]:
    """Return what Renovate's regex managers find in a file, with its regular expressions and its templates."""
    name, found = str(path.relative_to(BUNDLE)), []
    for manager in RENOVATE["customManagers"]:
        if not any(re2.search(pattern.strip("/"), name) for pattern in manager["managerFilePatterns"]):
            continue
        for pattern in manager["matchStrings"]:
            # RE2, which Renovate uses, too, takes the groups of Python.
            for one in re2.finditer(pattern.replace("(?<", "(?P<"), path.read_text()):
                fixed = {"depName": manager["depNameTemplate"]} if "depNameTemplate" in manager else {}
                found.append({"datasource": manager["datasourceTemplate"]} | fixed | one.groupdict())
    return found


def test_the_map_of_the_package_is_the_one_that_the_code_draws() -> None:
    draw = runpy.run_path(str(BUNDLE / "docs" / "package_picture.py"))["draw"]
    assert PICTURE.read_text() == draw(), "run docs/package_picture.py"


def test_the_map_names_every_sub_package() -> None:
    elements = ET.parse(PICTURE).iter("{http://www.w3.org/2000/svg}text")
    names = [one.text for one in elements if one.get("class") == "name"]
    packages = {path.parent.name for path in (BUNDLE / "imageporter").glob("*/__init__.py")}
    assert len(names) == len(set(names))
    assert set(names) == SCRIPTS | packages


def test_the_map_has_two_modes_and_fetches_nothing() -> None:
    text = PICTURE.read_text()
    assert "@media (prefers-color-scheme: dark)" in text
    assert re.findall(r"https?://[^\"' ]+", text) == ["http://www.w3.org/2000/svg"]


def test_contributing_shows_the_map_and_names_files_that_exist() -> None:
    text = (BUNDLE / "CONTRIBUTING.md").read_text()
    assert "](docs/pictures/package.svg)" in text
    named = re.findall(r"`((?:imageporter|tests|docs|schemas|examples|fire|bench|audit|release)/[\w./-]*[\w/])`", text)
    assert len(named) > 30
    assert [name for name in named if not (BUNDLE / name).exists()] == []


def test_contributing_has_every_goal_of_make() -> None:
    goals = set(re.findall(r"^([a-z-]+):.*## ", (BUNDLE / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", (BUNDLE / "CONTRIBUTING.md").read_text())) == goals - {"help"}


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: str(path.relative_to(BUNDLE)))
def test_renovate_finds_every_tool(path: Path) -> None:
    lines = path.read_text().split()
    found = matches(path)
    assert [one["currentValue"] for one in found] == [line.partition("@")[2] for line in lines]
    for one, line in zip(found, lines, strict=True):
        assert one["datasource"] == "go"
        assert re.fullmatch(rf"{re.escape(one['depName'])}(/cmd/[^/]+)?@{re.escape(one['currentValue'])}", line)


def test_renovate_finds_the_base_images() -> None:
    arguments = dict(re.findall(r"^ARG (GO|PYTHON)_VERSION=(.*)$", (BUNDLE / "Dockerfile").read_text(), re.MULTILINE))
    assert matches(BUNDLE / "Dockerfile") == [
        {"datasource": "docker", "depName": "golang", "currentValue": arguments["GO"]},
        {"datasource": "docker", "depName": "python", "currentValue": arguments["PYTHON"]},
    ]


def test_renovate_finds_the_rendered_requirements() -> None:
    (pattern,) = RENOVATE["pip-compile"]["managerFilePatterns"]
    rendered = {path.with_suffix(".txt").name for path in BUNDLE.glob("requirements*.in")}
    assert {path.name for path in BUNDLE.iterdir() if re2.search(pattern.strip("/"), path.name)} == rendered


@pytest.mark.parametrize("name", sorted(path.name for path in BUNDLE.glob("requirements*.in")))
def test_renovate_can_render_the_requirements(name: str) -> None:
    """It runs the command in the header, if that is uv's, and if each value follows a `=`."""
    rendered = (BUNDLE / name).with_suffix(".txt")
    command = rendered.read_text().splitlines()[1].removeprefix("#    ")
    options = "--universal --python-version=3.11 --generate-hashes"
    assert command == f"uv pip compile {options} --output-file={rendered.name} {name}"


@pytest.mark.parametrize("name", sorted(path.name for path in BUNDLE.glob("requirements*.in")))
def test_the_rendered_requirements_have_the_pinned_versions(name: str) -> None:
    """A version that is changed by hand needs `make requirements`."""
    pins = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)
    rendered = set(pins.findall((BUNDLE / name).with_suffix(".txt").read_text()))
    pinned = {(package.replace(".", "-").lower(), version) for package, version in pins.findall((BUNDLE / name).read_text())}
    assert pinned <= rendered


def test_the_workflow_runs_ci_and_pins_the_actions() -> None:
    path = GITHUB / "workflows" / "ci.yml"
    workflow = load_yaml(path)
    assert set(workflow["on"]) == {"push", "pull_request"}
    assert workflow["permissions"] == {"contents": "read"}
    (job,) = workflow["jobs"].values()
    assert job["timeout-minutes"] == 90
    assert job["steps"][-1] == {"run": ".ci/run"}
    assert (BUNDLE / ".ci" / "run").stat().st_mode & 0o111
    uses = re.findall(r"uses: (.*)", path.read_text())
    assert uses
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40} # v[0-9.]+", one) for one in uses)


def test_the_hooks_of_pre_commit_are_the_commands_of_make_check() -> None:
    (repository,) = load_yaml(BUNDLE / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    entries = [hook["entry"].split() for hook in repository["hooks"]]
    assert {entry[0].removeprefix(".venv/bin/") for entry in entries} == {"ruff", "mypy", "lint-imports"}
    assert all((Path(sys.executable).parent / entry[0].removeprefix(".venv/bin/")).exists() for entry in entries)
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (BUNDLE / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    # `.` and --check are for all files, --force-exclude is for those of a commit.
    commands = re.findall(r"\$\(VENV\)/bin/(ruff \w+|[\w-]+)", recipe[1])
    assert [" ".join(entry[:2]).removeprefix(".venv/bin/") for entry in entries] == commands


@pytest.mark.parametrize("name", ["bug.yml", "feature.yml"])
def test_a_form_has_what_github_requires(name: str) -> None:
    form = load_yaml(GITHUB / "ISSUE_TEMPLATE" / name)
    assert set(form) >= FORM_KEYS
    assert all(form[key] for key in FORM_KEYS)
    ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
    assert ids
    assert len(ids) == len(set(ids))
    for field in form["body"]:
        assert field["type"] in {"markdown", "input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"]["value" if field["type"] == "markdown" else "label"]
        assert field["type"] not in {"dropdown", "checkboxes"} or field["attributes"]["options"]


def test_a_bug_has_a_version_a_log_and_no_secrets() -> None:
    fields = {field.get("id"): field for field in load_yaml(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")["body"]}
    assert all(fields[name]["validations"]["required"] for name in ("version", "log"))
    assert "LOG_LEVEL=DEBUG" in fields["log"]["attributes"]["description"]
    (box,) = fields["secrets"]["attributes"]["options"]
    assert box["required"]


def test_vulnerabilities_are_reported_privately() -> None:
    chooser = load_yaml(GITHUB / "ISSUE_TEMPLATE" / "config.yml")
    assert chooser["blank_issues_enabled"] is False
    (link,) = chooser["contact_links"]
    assert link["url"].endswith("/security/advisories/new")
    assert "SECURITY.md" in link["about"]
