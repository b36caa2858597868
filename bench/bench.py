#!/usr/bin/env python3
"""Do the same work with this program and its peers, side by side in one run -> a table and results.json."""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from measure import Measured, measured, processor  # noqa: E402
from peers import OURS, Job, Tool, missing, tools, versions  # noqa: E402
from registries import ACCOUNT, MIRROR, Listener, Name, Store, stores  # noqa: E402
from tables import MIB, WORKS, document, goals, table, to_chinese, with_results  # noqa: E402
from translation import Translate  # noqa: E402

LIMIT = 1800
RUNS = 3
REPEATED = ("ImagePorter", "regsync", "ocync")
REPEAT_BELOW = 15.0  # seconds: longer runs vary little
UNCHANGED = "bcdg"  # the works whose images are at the target already, all or nearly all
PAGES: Mapping[str, Translate] = {"docs/speed.md": str, "docs/zh/speed.md": to_chinese}


def small(count: int) -> list[Name]:
    """Return `count` images, 20 tags a repository."""
    return [(f"image{number // 20:03}", f"v{number % 20}") for number in range(count)]


class RunError(Exception):
    """A tool did not do its work."""


class Bench:
    """A run over some works, networks and tools."""

    def __init__(self, folder: Path, source: Store, target: Store, out: Path, part: int) -> None:
        self._part = part
        self._folder = folder
        self._source = source
        self._target = target
        self._out = out
        self._versions = versions()
        self._names: dict[str, list[Name]] = {
            "a": small(200 // part),
            "b": small(200 // part),
            "c": small(1000 // part),
            "d": small(1000 // part),
            "e": [("large", "v0")],
            "g": [("many", f"v{number}") for number in range(5000 // part)],
        }
        self.rows: list[dict[str, Any]] = []
        self.failures: list[str] = []

    def push(self, works: str) -> None:
        """Push what the works need to the source."""
        if set(works) & set("abcd"):
            self._source.push_small(self._names["d"])
        if "e" in works:
            self._source.push_large(self._names["e"][0], [128 * MIB // self._part] * 4)
        if "g" in works:
            self._source.push_tags("many", [tag for _, tag in self._names["g"]], images=50)

    def run(self, work: str, network: str) -> None:
        """Do one work over one network with every tool."""
        names = self._names[work]
        repositories = {repository for repository, _ in names}
        if work in UNCHANGED:  # by no tool
            self._target.mirror(self._source, repositories)
        for tool in tools(work, network):
            try:
                self._folder.mkdir()
                job = self._job(tool, network, names, every_tag=work == "g")
                if tool.keeps_records and work in UNCHANGED:
                    self._measure(tool, job)
                self._note(work, network, tool, self._repeated(work, tool, partial(self._once, work, tool, job)))
            except (RunError, subprocess.TimeoutExpired) as error:
                self._note_failure(work, network, tool, error)
                if work in UNCHANGED:
                    self._target.mirror(self._source, repositories)
            finally:
                shutil.rmtree(self._folder)

    def _job(self, tool: Tool, network: str, names: Sequence[Name], *, every_tag: bool = False) -> Job:
        stores = (self._source, self._target)
        here, there = ((store.anonymous if tool.anonymous else store.addresses)[network] for store in stores)
        return Job(self._folder, self._source.authority, (here, there), None if tool.anonymous else ACCOUNT, names, every_tag)

    def count_rules(self) -> None:
        """Time a pass over 10,000 rules to its first request (work f)."""
        try:
            self._note("f", "none", OURS, self._repeated("f", OURS, self._first_request))
        except (RunError, subprocess.TimeoutExpired) as error:
            self._note_failure("f", "none", OURS, error)

    def _repeated(self, work: str, tool: Tool, run: Callable[[], Measured]) -> list[Measured]:
        """Run once; at full size RUNS times if the tool is one of the fast ones and the state stays the same."""
        results = [run()]
        if self._part == 1 and work in f"f{UNCHANGED}" and tool.name in REPEATED and results[0].wall < REPEAT_BELOW:
            results += [run() for _ in range(RUNS - 1)]
        return results

    def _once(self, work: str, tool: Tool, job: Job) -> Measured:
        if work in "ae":
            self._target.empty()
        if work == "d":
            self._source.push_small(job.names[:: 100 // min(self._part, 10)])
        return self._measure(tool, job)

    def _measure(self, tool: Tool, job: Job) -> Measured:
        """Run the tool; raise RunError unless the target holds what the source holds afterwards."""
        command, env = tool.prepare(job)
        result = measured(command, job.folder, env, LIMIT)
        found = self._target.digests((f"{MIRROR}/{repository}", tag) for repository, tag in job.names)
        differing = sum(found[f"{MIRROR}/{name[0]}", name[1]] != self._source.pushed[name] for name in job.names)
        if differing or result.code:
            log = (job.folder / "output.log").read_text(errors="replace")[-3000:]
            raise RunError(f"{differing} of {len(job.names)} images differ, exit code {result.code}\n{log}")
        return result

    def _first_request(self) -> Measured:
        """Run a pass over 10,000 rules until it connects to a registry, then terminate it."""
        with Listener() as listener:
            host = listener.address
            rules = [
                {"source": f"{host}/app{n}:1", "target": f"{host}/{MIRROR}/app{n}:1"} for n in range(10_000 // self._part)
            ]
            self._folder.mkdir()
            job = self._job(OURS, "bare", [])
            command, env = OURS.prepare(job)
            job.write("images.json", rules)
            result = measured(command, self._folder, env, LIMIT, until=listener.connected)
            if not listener.connected.is_set() or result.code != 128 + signal.SIGTERM:
                raise RunError(f"exit code {result.code}\n{(self._folder / 'output.log').read_text(errors='replace')[-3000:]}")
            shutil.rmtree(self._folder)
        return result

    def _note(self, work: str, network: str, tool: Tool, results: list[Measured]) -> None:
        """Keep the run with the median of the seconds, and the seconds of all."""
        median = sorted(results, key=lambda result: result.wall)[len(results) // 2]
        row = {"work": work, "network": network, "tool": tool.name, "settings": tool.settings, **asdict(median)}
        self.rows.append(row | {"walls": [round(result.wall, 3) for result in results]})
        print(f"{work} {network:5} {tool.label:60} {median.wall:8.2f} s  CPU {median.cpu:7.2f} s", flush=True)
        self._save()

    def _note_failure(self, work: str, network: str, tool: Tool, error: Exception) -> None:
        """Print what happened and keep its first line: the others go on, and the bench fails at its end."""
        print(f"{work} {network:5} {tool.label} FAILED: {error}", flush=True)
        self.failures.append(f"({work}) {network}, {tool.label}: {str(error).partition(chr(10))[0]}")
        self._save()

    def _save(self) -> None:
        """Write the rows so far."""
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} cores, {processor()}, Linux {'.'.join(platform.release().split('.')[:2])}, "
            f"Python {platform.python_version()}",
            "versions": self._versions,
            "latency": "15 ms each way (slow), none (bare)",
            "rows": self.rows,
            "failures": self.failures,
        }
        self._out.write_text(json.dumps(about, indent=1) + "\n")


def _run(works: str, networks: list[str], out: Path, part: int) -> bool:
    """Measure and write `out`; return False if a tool did not do its work."""
    for name, variable in missing().items():
        print(f"{name} is not here, so its rows are missing: set {variable} to its path", flush=True)
    with tempfile.TemporaryDirectory() as folder, stores(Path(folder)) as (source, target):
        bench = Bench(Path(folder) / "work", source, target, out, part)
        bench.push(works)
        for network in networks:
            for work in works.replace("f", ""):
                bench.run(work, network)
        if "f" in works:
            bench.count_rules()
    return not bench.failures


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", default="".join(WORKS), help="some of %(default)s")
    parser.add_argument("--networks", default="bare,slow")
    parser.add_argument(
        "--part", type=int, default=1, metavar="N", help="only the Nth part of the work, to try the bench itself"
    )
    parser.add_argument("--out", type=Path, help="write the figures here (bench/results.json, if it is a full run)")
    parser.add_argument("--table", action="store_true", help="only print the tables of an earlier run")
    parser.add_argument("--pages", action="store_true", help="only write the tables of an earlier run into the pages on speed")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no server behind
    earlier = args.table or args.pages
    whole = (args.part, args.works, args.networks) == tuple(map(parser.get_default, ("part", "works", "networks")))
    if args.out is None:
        args.out = HERE / "results.json" if whole or earlier else Path(tempfile.gettempdir()) / "imageporter-bench.json"
    complete = earlier or _run(args.works, args.networks.split(","), args.out, args.part)
    results = json.loads(args.out.read_text())
    if args.pages:
        for name, translate in PAGES.items():
            path = HERE.parent / name
            path.write_text(with_results(path.read_text(encoding="utf-8"), results, translate), encoding="utf-8")
        return 0
    print(f"{table(results)}\n\n{goals(results)}")
    if args.out == HERE / "results.json":
        (HERE / "RESULTS.md").write_text(document(results))
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
