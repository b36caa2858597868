"""JSON Schemas of the files, for editors, generated from the models that validate them (`make schema`)."""

import json
import sys
from pathlib import Path
from typing import Any

from imageporter.config import accounts_file, configuration, images_file

SCHEMAS = {
    "accounts": accounts_file.JSON_SCHEMA,
    "images": images_file.JSON_SCHEMA,
    "config": configuration.JSON_SCHEMA,
}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema of each file, by its name."""
    return {
        name: {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"ImagePorter's {name} file"}
        | shape.json_schema(by_alias=True)
        for name, shape in SCHEMAS.items()
    }


def main(folder: Path) -> None:
    """Write the schemas into `folder`, as `accounts.schema.json` and so on."""
    folder.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.schema.json").write_text(json.dumps(schema, indent=2) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
