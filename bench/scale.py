"""What an image costs, at 1,000 to 100,000 images: `make bench-scale` measures it and writes the figures in docs/scale.md.

The registries are stand-ins (bench/standin) that compute a digest from the name, so that they are not the bottleneck. All
images are unchanged: that is what a pass does most.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(BUNDLE), str(BUNDLE / "tests"), str(BUNDLE / "bench")]

from measure import measured, processor  # noqa: E402
from support import User, certify, start, wait_for  # noqa: E402

STANDIN = BUNDLE / ".tools" / "standin"
PAGE = BUNDLE / "docs" / "scale.md"
RESULTS = BUNDLE / "bench" / "scale.json"
HOST = "127.0.0.2"  # which crane and the client take for a registry with TLS
TAGS = 100  # of each repository
SIZES = (1_000, 10_000, 100_000)
LATENCIES = ((30, 32), (30, 256), (150, 32), (150, 256))  # milliseconds, PROBES
LATENCY_IMAGES = 10_000
LIMIT = 3600.0  # seconds
MB = 1e6


@dataclass(frozen=True)
class Figures:
    """What a pass over so many `images` took: seconds, bytes."""

    images: int
    delay: int
    probes: int
    wall: float
    cpu: float
    memory: int
    requests: int
    network: int
    records: int


def main() -> int:
    """Measure, or write the figures of the last measurement into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="1,000 images only; writes nothing")
    given = parser.parse_args()
    if given.short:
        with tempfile.TemporaryDirectory() as folder, standins(Path(folder), 0) as (authority, hosts):
            print(run(Path(folder), authority, hosts, SIZES[0], 0, 32))
        return 0
    figures = []
    limit = 0
    with tempfile.TemporaryDirectory() as folder, standins(Path(folder), 0) as (authority, hosts):
        limit = int(subprocess.run([STANDIN, "-load", "5s", "-address", hosts[0]], capture_output=True, check=True).stdout)
        print(f"the stand-in answers {limit:,} requests per second", flush=True)
        for images in SIZES:
            figures.append(run(Path(folder), authority, hosts, images, 0, 32))
            print(figures[-1], flush=True)
    for delay, probes in LATENCIES:
        with tempfile.TemporaryDirectory() as folder, standins(Path(folder), delay) as (authority, hosts):
            figures.append(run(Path(folder), authority, hosts, LATENCY_IMAGES, delay, probes))
            print(figures[-1], flush=True)
    machine = f"{os.cpu_count()} cores, {processor()}, Python {platform.python_version()}"
    kept = {"day": datetime.now(UTC).date().isoformat(), "machine": machine, "limit": limit}
    RESULTS.write_text(json.dumps(kept | {"figures": [asdict(one) for one in figures]}, indent=1) + "\n")
    write_page()
    return 0


@contextmanager
def standins(folder: Path, delay: int) -> Iterator[tuple[Path, list[str]]]:
    """Two stand-ins whose responses take `delay` milliseconds; gives the certificate of their authority, and their hosts."""
    authority = certify(folder)
    hosts = []
    with ExitStack() as stack:
        for name in ("source", "target"):
            log = folder / f"{name}.log"
            files = ("-cert", str(folder / "server.pem"), "-key", str(folder / "server.key"))
            stack.enter_context(start([str(STANDIN), *files, "-address", f"{HOST}:0", "-delay", f"{delay}ms"], log))
            wait_for(lambda log=log: "serving on port" in log.read_text(), "the stand-in")  # type: ignore[misc]
            hosts.append(f"{HOST}:{log.read_text().split('port ')[1].split()[0]}")
        yield authority, hosts


def run(folder: Path, authority: Path, hosts: Sequence[str], images: int, delay: int, probes: int) -> Figures:
    """Run a pass, without latency one whose records are there already; return what it took."""
    home = folder / f"run-{images}"
    home.mkdir()
    user = User(home / "work")
    names = [f"team-{number // 1000}/app-{number // TAGS}:v{number % TAGS}" for number in range(images)]
    user.write("images.json", [{"source": f"{hosts[0]}/{one}", "target": f"{hosts[1]}/mirror/{one}"} for one in names])
    environ = user.environ({"SSL_CERT_FILE": str(authority), "PROBES": str(probes), "LOG_LEVEL": "WARNING"})
    for _ in range(1 if delay else 2):
        before, sent = served(hosts, authority), loopback_bytes()
        done = measured([sys.executable, str(BUNDLE / "sync.py")], user.folder, environ, LIMIT)
        report = json.loads((user.folder / "data" / "report.json").read_text())
        if (done.code, report["skipped"]) != (0, images):
            sys.exit(f"exit code {done.code}, {report['skipped']} of {images} skipped")
    records = sum(path.stat().st_size for path in (user.folder / "data").glob("records.db*"))
    requests, network = served(hosts, authority) - before, loopback_bytes() - sent
    shutil.rmtree(home)
    return Figures(images, delay, probes, done.wall, done.cpu, done.memory, requests, network, records)


def served(hosts: Sequence[str], authority: Path) -> int:
    """Return how many requests the stand-ins have answered."""
    command = ("curl", "--silent", "--write-out", "\n", "--cacert", str(authority))
    urls = [f"https://{host}/served" for host in hosts]
    output = subprocess.run([*command, *urls], capture_output=True, text=True, check=True).stdout
    return sum(int(line.split()[0]) for line in output.splitlines())


def loopback_bytes() -> int:
    """Return how many bytes went over loopback so far."""
    line = next(line for line in Path("/proc/net/dev").read_text().splitlines() if line.strip().startswith("lo:"))
    return int(line.split()[1])


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return a and b of the straight line a + b * x through `points` with the least squares of the *relative* residuals."""
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    above = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    slope = above / sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    return mean_y - slope * mean_x, slope


def write_page() -> None:
    """Write the figures of RESULTS into docs/scale.md."""
    kept = json.loads(RESULTS.read_text())
    figures = [Figures(**one) for one in kept["figures"]]
    text = PAGE.read_text()
    for name, lines in (("cost", cost_lines(kept, figures)), ("hour", hour_lines(figures))):
        block = "\n".join(lines)
        text, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\g<1>{block}\n\g<2>", text, flags=re.DOTALL)
        if not count:
            sys.exit(f"docs/scale.md has no place for {name}")
    PAGE.write_text(text)


def cost_lines(kept: dict[str, object], figures: Sequence[Figures]) -> Iterator[str]:
    """Yield the table of what images cost, and the fit."""
    sizes = [one for one in figures if not one.delay]
    yield "| images | seconds | CPU seconds | memory | requests | bytes on the network | records.db |"
    yield "|---|---|---|---|---|---|---|"
    for one in sizes:
        mb = [f"{value / MB:,.1f} MB" for value in (one.memory, one.network, one.records)]
        yield f"| {one.images:,} | {one.wall:.1f} | {one.cpu:.1f} | {mb[0]} | {one.requests:,} | {mb[1]} | {mb[2]} |"
    yield ""
    yield "| of one image | fit: a + b for each image | residuals |"
    yield "|---|---|---|"
    for what, unit, scale, values in (
        ("CPU", "ms", 1000.0, [(one.images, one.cpu) for one in sizes]),
        ("memory", "kB", 1e-3, [(one.images, one.memory) for one in sizes]),
        ("requests", "requests", 1.0, [(one.images, one.requests) for one in sizes]),
        ("network", "bytes", 1.0, [(one.images, one.network) for one in sizes]),
        ("records.db", "bytes", 1.0, [(one.images, one.records) for one in sizes]),
    ):
        a, b = fit([(float(x), float(y)) for x, y in values])
        residuals = ", ".join(f"{100 * (y / (a + b * x) - 1):+.1f} %" for x, y in values)
        yield f"| {what} | {a * scale:,.0f} + {b * scale:.3g} {unit} | {residuals} |"
    yield ""
    yield f"<sub>{kept['day']}, {kept['machine']}. The stand-in answers {kept['limit']:,} requests per second.</sub>"


def hour_lines(figures: Sequence[Figures]) -> Iterator[str]:
    """Yield the table of what one process looks up in an hour."""
    yield "| response time | `PROBES` | images per second | images in an hour | CPU |"
    yield "|---|---|---|---|---|"
    for one in (one for one in figures if one.delay):
        rate, share = one.images / one.wall, one.cpu / one.wall
        hour = f"{3600 * rate / 1e6:.2f} million"
        yield f"| {one.delay} ms | {one.probes} | {rate:,.0f} | {hour} | {100 * share:.0f} % of a core |"


if __name__ == "__main__":
    sys.exit(main())
