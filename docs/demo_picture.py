"""`make demo-picture`: what `make demo` prints on a terminal, in colour, as docs/pictures/demo.svg.

Arguments: the Python and the crane to use. The picture asks no other host for anything.
"""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

BUNDLE = Path(__file__).resolve().parent.parent
PICTURE = BUNDLE / "docs" / "pictures" / "demo.svg"
COLUMNS = 132
# The fonts of rich's picture, which browsers would fetch from another host, and a comment.
LEFT_OUT = re.compile(r"@font-face \{\{.*?\}\}\s*|<!--.*?-->\s*", re.DOTALL)


def run_demo(python: str, crane: str) -> str:
    """Return what the demo prints on a terminal. A dumb one has colours, and no line that changes."""
    main, other = pty.openpty()
    command = [str(BUNDLE / "examples" / "demo.sh"), python, crane]
    with subprocess.Popen(command, stdout=other, stderr=other, env=os.environ | {"TERM": "dumb"}) as process:
        os.close(other)
        output = b""
        while True:
            try:
                output += os.read(main, 65536)
            except OSError:  # the demo has ended
                break
    os.close(main)
    if process.returncode:
        sys.exit(output.decode())
    return output.decode().replace("\r\n", "\n").strip("\n")


def to_svg(output: str) -> str:
    """Return a picture of the terminal."""
    with open(os.devnull, "w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        console.print(Text.from_ansi(f"$ make demo\n\n{output}"), soft_wrap=False)
        template = LEFT_OUT.sub("", CONSOLE_SVG_FORMAT)
        return console.export_svg(title="make demo", theme=SVG_EXPORT_THEME, code_format=template, unique_id="demo")


if __name__ == "__main__":
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(to_svg(run_demo(*sys.argv[1:])))
