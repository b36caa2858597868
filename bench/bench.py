#!/usr/bin/env python3
"""The same work by this program and its peers, side by side in one run -> a table and results.json."""

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from measure import Measured, measured  # noqa: E402
from peers import BARE_CRANE, OURS, OURS_AS_IS, OURS_TRUSTING, OURS_TUNED, Job, Names, Tool, peers, versions  # noqa: E402
from registries import Store, push_small, stores  # noqa: E402
from support import wait_for  # noqa: E402

LIMIT = 1800
MIB = 1 << 20
PREFACE = """# What `make bench` found

{date}, {machine}; {latency}. Seconds of the clock, the ratio to the first row of the same work, seconds of CPU of the whole
process tree and of our Python in it, and the tree's peak memory. `make bench` writes this file and `results.json`.
"""
WORKS = {
    "a": "200 small images, cold",
    "b": "200 unchanged",
    "c": "1,000 unchanged",
    "d": "1,000, of which 10 changed",
    "e": "one image of 4 x 128 MiB",
    "f": "10,000 rules, to the first look-up",
}


def small(count: int) -> Names:
    """`count` images, 20 tags a repository."""
    return [(f"image{number // 20:03}", f"v{number % 20}") for number in range(count)]


class Bench:
    """A run over some works, networks and tools."""

    def __init__(self, folder: Path, source: Store, target: Store, out: Path, part: int) -> None:
        self._part = part
        self._folder = folder
        self._source = source
        self._target = target
        self._out = out
        self._versions = versions()
        self._peers = peers()
        self.rows: list[dict[str, Any]] = []

    def run(self, work: str, network: str) -> None:
        """One work over one network, by every tool."""
        if work == "f":
            self._many_rules()
            return
        names: Names = [("large", "v0")] if work == "e" else small((200 if work in "ab" else 1000) // self._part)
        ours = {"a": (OURS, OURS_TUNED), "d": (OURS, OURS_TUNED, OURS_TRUSTING)}.get(work, (OURS, OURS_TRUSTING))
        more = (OURS_AS_IS,) if work in "ad" else ()
        tools = (OURS, BARE_CRANE, *self._peers) if work == "e" else (*ours, *more, *self._peers)
        if work in "bcd":  # so that all are unchanged, whoever copied them
            self._target.empty()
            self._measure(OURS_TUNED, self._job(names, "bare"))
        for tool in tools:
            if work in "ae":
                self._target.empty()
            if tool is OURS_TRUSTING:  # whose records are those of the pass before
                self._measure(tool, self._job(names, network))
            if work == "d":
                push_small(self._source, names[:: 100 // min(self._part, 10)])
            self._note(work, network, tool, self._measure(tool, self._job(names, network)))

    def _job(self, names: Names, network: str) -> Job:
        self._folder.mkdir(exist_ok=True)
        return Job(self._folder, self._source, self._target, network, names)

    def _measure(self, tool: Tool, job: Job) -> Measured:
        """Run the tool; fails unless the target holds what the source holds afterwards."""
        command, env = tool.prepare(job)
        result = measured(command, job.folder, env, LIMIT)
        wanted = self._source.digests(job.names)
        found = self._target.digests((f"mirror/{name}", tag) for name, tag in job.names)
        missing = sum(found[f"mirror/{name}", tag] != digest for (name, tag), digest in wanted.items())
        if missing or result.code or not all(wanted.values()):
            log = (job.folder / "output.log").read_text(errors="replace")[-3000:]
            sys.exit(f"{tool.label}: {missing} of {len(job.names)} images are not there, exit code {result.code}:\n{log}")
        return result

    def _many_rules(self) -> None:
        """10,000 rules: a crane that notes when it is asked first, and a pass that is stopped then."""
        rules = [
            {"source": f"source.example.com/app{n}:1", "target": f"target.example.com/app{n}:1"}
            for n in range(10_000 // self._part)
        ]
        folder = self._folder
        folder.mkdir(exist_ok=True)
        (folder / "accounts.json").write_text("[]")
        (folder / "images.json").write_text(json.dumps(rules))
        crane = folder / "crane"
        crane.write_text(
            f'#!/bin/sh\n[ "$1" = version ] && exit 0\ndate +%s.%N >>{folder}/asked\nkill -TERM $(cat {folder}/pid)\n'
        )
        crane.chmod(0o755)
        script = f'echo $$ >{folder}/pid; exec "$0" "$1"'
        command = ["sh", "-c", script, sys.executable, str(HERE.parent / "sync.py")]
        env = {"PATH": os.environ["PATH"], "CRANE": str(crane), "LOG_LEVEL": "WARNING", "TMPDIR": str(folder)}
        began = time.time()
        result = measured(command, folder, env, LIMIT)
        wait_for((folder / "asked").exists, "the first look-up")
        first = float((folder / "asked").read_text().split()[0]) - began
        row = Measured(first, result.cpu, result.own_cpu, result.memory, 0)
        self._note("f", "none", OURS, row)

    def _note(self, work: str, network: str, tool: Tool, result: Measured) -> None:
        row = {"work": work, "network": network, "tool": tool.name, "settings": tool.settings, **asdict(result)}
        self.rows.append(row)
        print(f"{work} {network:5} {tool.label:50} {result.wall:8.2f} s  CPU {result.cpu:7.2f} s", flush=True)
        self.save()

    def save(self) -> None:
        """Write what is known so far."""
        about = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": f"{os.cpu_count()} cores, {_cpu()}, Linux {platform.release()}, Python {platform.python_version()}",
            "versions": self._versions,
            "latency": "15 ms each way (slow), none (bare)",
            "rows": self.rows,
        }
        self._out.write_text(json.dumps(about, indent=1) + "\n")


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def table(results: dict[str, Any]) -> str:
    """The rows as a Markdown table; the ratio is to the first row of the same work and network."""
    lines = ["| work | network | tool | seconds | ratio | CPU s | Python's | MiB |", "|---|---|---|---|---|---|---|---|"]
    first: dict[tuple[str, str], float] = {}
    for row in results["rows"]:
        base = first.setdefault((row["work"], row["network"]), row["wall"])
        where = {"slow": "30 ms", "bare": "loopback", "none": ""}[row["network"]]
        cells = (
            f"({row['work']}) {WORKS[row['work']]}",
            where,
            f"{row['tool']}, {row['settings']}",
            f"{row['wall']:.1f}",
            f"{row['wall'] / base:.2f}",
            f"{row['cpu']:.1f}",
            f"{row['own_cpu']:.1f}" if row["tool"] == "ImagePorter" else "",
            f"{row['memory'] / MIB:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(results: dict[str, Any], network: str) -> str:
    """The seconds of each tool over one network as a Markdown table, with the ratio to ours of the first row."""
    rows = [row for row in results["rows"] if row["network"] == network]
    works = sorted({row["work"] for row in rows})
    seconds: dict[str, dict[str, float]] = {}
    for row in rows:
        seconds.setdefault(f"{row['tool']}, {row['settings']}", {})[row["work"]] = row["wall"]
    first = next(iter(seconds.values()))
    lines = ["| | " + " | ".join(f"({work}) {WORKS[work]}" for work in works) + " |", "|---" * (len(works) + 1) + "|"]
    for label, known in sorted(seconds.items(), key=lambda item: not item[0].startswith("ImagePorter")):
        cells = (f"{known[work]:.1f} s ({known[work] / first[work]:.2g})" if work in known else "" for work in works)
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run the bench."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--works", default="abcdef", help="some of abcdef")
    parser.add_argument("--networks", default="bare,slow")
    parser.add_argument(
        "--part", type=int, default=1, metavar="N", help="only the Nth part of the work, to try the bench itself"
    )
    parser.add_argument("--out", type=Path, help="where the figures go (bench/results.json)")
    parser.add_argument("--table", action="store_true", help="only print the table of an earlier run")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server is left behind
    if asked.out is None:
        asked.out = HERE / "results.json" if asked.part == 1 else Path(tempfile.gettempdir()) / "imageporter-bench.json"
    if not asked.table:
        with tempfile.TemporaryDirectory() as folder, stores(Path(folder)) as (source, target):
            push_small(source, small(1000 // asked.part))
            if "e" in asked.works:
                source.client().push("large", "v0", (os.urandom(128 * MIB // asked.part) for _ in range(4)))
            bench = Bench(Path(folder) / "work", source, target, asked.out, asked.part)
            for network in asked.networks.split(","):
                for work in asked.works.replace("f", ""):
                    bench.run(work, network)
            if "f" in asked.works:
                bench.run("f", "none")
    results = json.loads(asked.out.read_text())
    print(table(results))
    if asked.out == HERE / "results.json":
        (HERE / "RESULTS.md").write_text(f"{PREFACE.format(**results)}\n{table(results)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
