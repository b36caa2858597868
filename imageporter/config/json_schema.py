"""`make schema`: JSON Schemas of the accounts and images files, from the models that read them, for editors."""

import json
import sys
from pathlib import Path
from typing import Any

from imageporter.config.configuration import accounts_file
from imageporter.config.configuration import configuration
from imageporter.model import rule

SCHEMAS = {"accounts": accounts.SCHEMA, "images": rules.SCHEMA, "config": config.SCHEMA}


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of each file, by its name."""
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"ImagePorter's {name} file"}
        | shape.json_schema(by_alias=True)
        for name, shape in SCHEMAS.items()
    }


def main(folder: Path) -> None:
    """Write them into `folder`, as `accounts.schema.json` and so on."""
    folder.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
