"""The example files do what they say, and an editor with the schemas accepts them."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML
from support import BUNDLE, Hook, Registry, User

from imageporter.config.json_schema import schemas

EXAMPLES = BUNDLE / "examples"
PASSWORDS = {"NAS_PASSWORD": "for-the-nas", "BACKUP_PASSWORD": "for-the-backup"}


def content(path: Path) -> Any:
    """What an editor sees."""
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else YAML(typ="safe", pure=True).load(text)


def test_the_schemas_are_those_of_the_models() -> None:
    """`make schema` was run."""
    for name, schema in schemas().items():
        assert json.loads((BUNDLE / "schemas" / f"{name}.schema.json").read_text()) == schema


@pytest.mark.parametrize("name", ["images.json", "images.yaml", "accounts.json", "accounts.yaml", "config.yaml"])
def test_an_editor_accepts_the_examples(name: str) -> None:
    schema = schemas()[name.partition(".")[0]]
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(content(EXAMPLES / name), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{"source": "a", "tagret": "b"}], schema)


@pytest.mark.parametrize(
    ("files", "arrived"),
    [
        (
            ["images.json", "accounts.json"],
            {"mirror/web": ["1"], "mirror/db": ["1", "2"], "backup/db": ["1", "2"]},
        ),
        (
            ["images.yaml", "accounts.yaml"],
            {
                "mirror/web": ["1", "edge"],
                "mirror/db": ["2"],
                "renamed/db": ["new", "old"],
                "mirror/tools": ["1"],
                "backup/tools": ["one"],
            },
        ),
        (["config.yaml"], {"mirror/web": ["1", "edge"], "mirror/db": ["2"]}),
    ],
)
def test_the_examples_do_what_they_say(
    user: User, source: Registry, target: Registry, files: list[str], arrived: dict[str, list[str]]
) -> None:
    for name in ("web:1", "web:edge", "db:1", "db:2", "tools:1"):
        source.push(f"library/{name}", name)
    for name in files:
        text = (EXAMPLES / name).read_text()
        user.write(name, text.replace("registry.example.com", str(source)).replace("nas.example.com:5000", str(target)))
    run = user.sync(**PASSWORDS)
    assert run.code == 0, run.output
    assert {repository: sorted(target.tags(repository)) for repository in arrived} == arrived
    assert user.run("sync.py").code == 2  # without the passwords


def test_the_example_of_image_syncers_own_file(user: User) -> None:
    (user.folder / "configs").mkdir()
    user.write("configs/sync.yaml", (EXAMPLES / "configs" / "sync.yaml").read_text())
    env = {name: value for name, value in Hook.ENV.items() if name == "HOOK_LISTEN"}
    with user.running("hook.py", **env, HOOK_PASSWORD="word") as running:
        status, output = Hook(running).hook("registry.example.com/team/app:1", account=("me", "word"))
    assert (status, [row["target"] for row in output["queued"]]) == (202, ["nas.example.com:5000/team/app:1"])
