"""What an image costs, at 1,000 to 100,000 images: `make bench-scale` measures it and writes the figures in scale.md.

The registries are stand-ins (bench/standin) that compute a digest from the name, so that they are not the bottleneck. All
images are unchanged: that is what a pass does most.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(BUNDLE), str(BUNDLE / "tests"), str(BUNDLE / "bench")]

from measure import measured, processor  # noqa: E402
from scale_page import RESULTS, Figures, write_pages  # noqa: E402
from support import User, certify, start, wait_for  # noqa: E402

STANDIN = BUNDLE / ".tools" / "standin"
HOST = "127.0.0.2"  # which crane and the client take for a registry with TLS
TAGS = 100  # of each repository
SIZES = (1_000, 10_000, 100_000)
LATENCIES = ((30, 32), (30, 256), (150, 32), (150, 256))  # milliseconds, PROBES
LATENCY_IMAGES = 10_000
LIMIT = 3600.0  # seconds


def main() -> int:
    """Measure, and write the figures into the pages; or only write those of the last measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="1,000 images only; writes nothing")
    parser.add_argument("--page", action="store_true", help="only write the figures of the last measurement into the pages")
    given = parser.parse_args()
    if given.page:
        write_pages()
        return 0
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
    write_pages()
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


if __name__ == "__main__":
    sys.exit(main())
