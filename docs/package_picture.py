"""The map of the package in CONTRIBUTING.md, docs/pictures/package.svg, drawn from the code.

The layers are those that import-linter checks (pyproject.toml), each text is the first line of a docstring, and the imports
are those of the modules. The picture follows the light or dark mode of the reader.
"""

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from html import escape
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent.parent
PICTURE = BUNDLE / "docs" / "pictures" / "package.svg"
PACKAGE = "imageporter"
SCRIPTS = ("sync.py", "entrypoint.py", "hook.py")

WIDTH, MARGIN, GAP, PADDING = 960, 16, 14, 14
LINE, NAME_LINE = 18, 22  # pixels from one line of text to the next
LETTER = 7.0  # the width of a letter, rather too much than too little
STYLE = """\
  <style>
    rect { fill: #f6f8fa; stroke: #8c959f }
    text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
    .page { fill: #ffffff; stroke: none }
    .name { font-size: 15px; font-weight: 600; fill: #0550ae }
    .imports { fill: #59636e }
    @media (prefers-color-scheme: dark) {
      rect { fill: #151b23; stroke: #656c76 }
      text { fill: #f0f6fc }
      .page { fill: #0d1117 }
      .name { fill: #79c0ff }
      .imports { fill: #9198a1 }
    }
  </style>"""


def draw() -> str:
    """Return the picture."""
    rows = [list(SCRIPTS), *layers()]
    shapes: list[str] = []
    top = MARGIN
    for row in rows:
        width = (WIDTH - 2 * MARGIN - GAP * (len(row) - 1)) / len(row)
        boxes = [(name, *texts(name, width)) for name in row]
        height = max(NAME_LINE + LINE * (len(about) + len(imports)) for _, about, imports in boxes) + 2 * PADDING - 6
        for column, (name, about, imports) in enumerate(boxes):
            left = MARGIN + column * (width + GAP)
            shapes.append(f'<rect x="{left:g}" y="{top}" width="{width:g}" height="{height}" rx="6"/>')
            shapes += lines_of_text(left + PADDING, top + PADDING + 10, name, about, imports)
        top += height + GAP
    height = top - GAP + MARGIN
    description = "; ".join(f"{name}: {' '.join(texts(name, WIDTH)[0])}" for row in rows for name in row)
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title desc">',
            '  <title id="title">The scripts and the sub-packages of imageporter: imports only point down</title>',
            f'  <desc id="desc">{escape(description)}</desc>',
            STYLE,
            f'  <rect class="page" width="{WIDTH}" height="{height}"/>',
            *(f"  {shape}" for shape in shapes),
            "</svg>\n",
        )
    )


def layers() -> list[list[str]]:
    """Return the sub-packages, layer by layer from the top."""
    configuration = tomllib.loads((BUNDLE / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = configuration["tool"]["importlinter"]["contracts"]
    rows = next(one["layers"] for one in contracts if one["type"] == "layers")
    return [row.split(" | ") for row in rows]


def texts(name: str, width: float) -> tuple[list[str], list[str]]:
    """Return the description of a script or sub-package and the list of its imports, wrapped to the width of its box."""
    paths = [BUNDLE / name] if name in SCRIPTS else sorted((BUNDLE / PACKAGE / name).rglob("*.py"))
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
    about = (ast.get_docstring(trees[0]) or "").partition("\n")[0]
    found = {module for tree in trees for module in imported(tree)} - {name}
    order = [one for row in layers() for one in row if one in found]
    letters = int((width - 2 * PADDING) / LETTER)
    return textwrap.wrap(about, letters), textwrap.wrap(f"imports {', '.join(order) or 'no other'}", letters)


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield the sub-packages that a module imports, including imports inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
            yield (node.module or "").split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith(f"{PACKAGE}."))


def lines_of_text(left: float, baseline: float, name: str, about: list[str], imports: list[str]) -> Iterator[str]:
    """Yield the elements of the texts of a box, whose first line stands on `baseline`."""
    yield f'<text class="name" x="{left:g}" y="{baseline:g}">{escape(name)}</text>'
    baseline += NAME_LINE - LINE
    for index, line in enumerate(about + imports, start=1):
        kind = "about" if index <= len(about) else "imports"
        yield f'<text class="{kind}" x="{left:g}" y="{baseline + LINE * index:g}">{escape(line)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
