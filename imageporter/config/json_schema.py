"""JSON Schemas of the files, for editors, generated from the models that validate them (`make schema`)."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter

from imageporter.config.accounts_file import AccountEntry, Credentials
from imageporter.config.configuration import CombinedFile
from imageporter.config.images_file import ImageEntry, MapValue
from imageporter.config.rule_options import OptionsEntry
from imageporter.config.sync_file import Sync
from imageporter.model.report import Report

AccountsFile = list[AccountEntry] | dict[str, Credentials]
ImagesFile = list[ImageEntry] | dict[str, MapValue]


class ConfigFile(CombinedFile):
    """The combined file with the shape of its parts, which are validated one by one."""

    auth: dict[str, Credentials] | list[AccountEntry] | None = Field(None, description="as in the accounts file")
    images: dict[str, MapValue] | list[ImageEntry] = Field(description="as in the images file")
    sync: Sync = Field(Sync(), description="values of image-syncer")
    defaults: OptionsEntry | None = Field(None, description="options of every rule that has none of its own")


SHAPES: dict[str, Any] = {"accounts": AccountsFile, "images": ImagesFile, "config": ConfigFile, "report": Report}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each file, by its name."""
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"ImagePorter's {name} file"}
        | TypeAdapter(shape).json_schema(by_alias=True)
        for name, shape in SHAPES.items()
    }


def main(folder: Path) -> None:
    """Write the schemas into `folder`, as `accounts.schema.json` and so on."""
    folder.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
