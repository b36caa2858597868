"""The results as Markdown: every row, the summary for the pages on speed, the goals."""
# ruff: noqa: RUF001 (Chinese has its own commas)

import re
from collections.abc import Iterator
from typing import Any

from peers import REGSYNC_TUNED_SETTINGS, WITHOUT_ACCOUNT
from translation import Translate, translator, with_names

MIB = 1 << 20
WORKS = {
    "a": "200 small images, cold",
    "b": "200 unchanged",
    "c": "1,000 unchanged",
    "d": "1,000, of which 10 changed",
    "e": "one image of 4 x 128 MiB",
    "f": "10,000 rules, to the first request",
    "g": "5,000 tags of one repository, unchanged",
}
NETWORKS = {"slow": "30 ms", "bare": "loopback", "none": ""}
# What `summary` and `with_results` write into the Chinese page. Names and settings of programs stay as they are.
UNCHANGED = (
    *("ImagePorter", "crane copy", "image-syncer", "ocync", "regsync", "skopeo sync"),
    *("SLEEP_TIME={}", "JOBS={} SLEEP_TIME={}", "PROBES={} SLEEP_TIME={}"),
    *("SLEEP_TIME={} FAST_LOOKUPS=false", "SLEEP_TIME={} TRUST_RECORDS={}"),
    *("--proc {}", "head_first", "parallel {}", "reqConcurrent {}", "xargs -P{}"),
)
CHINESE = {
    **{text: text for text in UNCHANGED},
    "(a) {} small images, cold": "（a）{} 个小镜像，首次同步",
    "(b) {} unchanged": "（b）{} 个，无变化",
    "(c) {} unchanged": "（c）{} 个，无变化",
    "(d) {}, of which {} changed": "（d）{} 个，其中 {} 个有变化",
    "(e) one image of {} x {} MiB": "（e）一个 {} × {} MiB 的镜像",
    "(g) {} tags of one repository, unchanged": "（g）一个存储库的 {} 个标签，无变化",
    "shell loop": "shell 循环",
    "crane copy, alone": "单独的 crane copy",
    "defaults": "默认设置",
    "defaults (SLEEP_TIME={})": "默认设置（SLEEP_TIME={}）",
    "one by one": "逐个",
    "no account": "不用账户",
    "no artifacts": "关闭 artifacts",
    "no setting for more at once": "不能设置并发",
    "{} rules by tag": "按标签分成 {} 条规则",
    "{} s": "{} 秒",
    "{} s ({})": "{} 秒（{}）",
    "{} cores": "{} 核",
}
to_chinese = translator(CHINESE, "bench/tables.py")
PREFACE = """# What `make bench` found

{date}, {machine}; {latency}. Seconds of the clock, the ratio to the first row of the same work, the ratio to regsync at the
best settings that were found for it, seconds of CPU of the whole process tree and of our Python in it, the tree's peak memory.
Runs of less than 15 s by ImagePorter, regsync and ocync in (b), (c), (d), (f) and (g) were repeated twice; the row is the run
with the median of the seconds. *No account*: at servers that check no password, because ocync cannot log in with Basic;
compare these rows with each other only. `make bench` writes this file and `results.json`.
"""

Results = dict[str, Any]
Row = dict[str, Any]


def table(results: Results) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| work | network | tool | seconds | ratio | to regsync tuned | CPU s | Python's | MiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    first: dict[tuple[str, str], float] = {}
    for row in results["rows"]:
        place = (row["work"], row["network"])
        base = first.setdefault(place, row["wall"])
        ending = WITHOUT_ACCOUNT if row["settings"].endswith(WITHOUT_ACCOUNT) else ""
        tuned = _find(results, *place, "regsync", REGSYNC_TUNED_SETTINGS, ending) if row["work"] != "e" else None
        cells = (
            f"({row['work']}) {WORKS[row['work']]}",
            NETWORKS[row["network"]],
            f"{row['tool']}, {row['settings']}",
            f"{row['wall']:.1f}",
            f"{row['wall'] / base:.2f}",
            f"{row['wall'] / tuned['wall']:.2f}" if tuned else "",
            f"{row['cpu']:.1f}",
            f"{row['own_cpu']:.1f}" if row["tool"] == "ImagePorter" else "",
            f"{row['memory'] / MIB:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def summary(results: Results, network: str, translate: Translate = str) -> str:
    """Return the seconds of each tool over one network as a Markdown table, with the ratio to our first row."""
    rows = [row for row in results["rows"] if row["network"] == network]
    works = sorted({row["work"] for row in rows})
    seconds: dict[str, dict[str, float]] = {}
    for row in rows:
        seconds.setdefault(f"{row['tool']}, {row['settings']}", {})[row["work"]] = row["wall"]
    first = next(iter(seconds.values()))
    heads = (translate(f"({work}) {WORKS[work]}") for work in works)
    lines = [f"| | {' | '.join(heads)} |", "|---" * (len(works) + 1) + "|"]
    for label, known in sorted(seconds.items(), key=lambda item: not item[0].startswith("ImagePorter")):
        cells = (
            translate(f"{known[work]:.1f} s ({_two_digits(known[work] / first[work])})") if work in known else ""
            for work in works
        )
        lines.append(f"| {translate(label)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def goals(results: Results) -> str:
    """Return our goals and what was found as a Markdown table, the missed ones too."""
    lines = ["| goal | at most | found | |", "|---|---|---|---|"]
    lines += [
        f"| {text} | {limit:g} | {found:.2f} | {'met' if found <= limit else '**missed**'} |"
        for text, limit, found in _goals(results)
    ]
    return "\n".join(lines)


def document(results: Results) -> str:
    """Return the content of RESULTS.md."""
    failures = [f"- {failure}" for failure in results.get("failures", ())]
    parts = [
        PREFACE.format(**results),
        goals(results),
        table(results),
        *(["Failed:", "\n".join(failures)] if failures else []),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def with_results(page: str, results: Results, translate: Translate = str) -> str:
    """Return a page with these results in place of its own: two tables, the date and the machine.

    Raises ValueError if the page does not have all of them once, UntranslatedError if `translate` does not know a text.
    """
    for network, old in zip(("slow", "bare"), re.findall(r"^\| \| \Wa\W.*\n(?:\|.*\n)+", page, re.MULTILINE), strict=True):
        page = page.replace(old, f"{summary(results, network, translate)}\n")
    cores, *names = results["machine"].split(", ")
    machine = with_names(cores, names, translate)
    page, places = re.subn(
        r"\d{4}-\d\d-\d\d(\W{1,2})\d+ (?:cores|核).*?Python [\d.]*\d",
        lambda found: f"{results['date']}{found[1]}{machine}",
        page,
    )
    if places != 1:
        raise ValueError(f"{places} places with a date and a machine")
    return page


def _two_digits(ratio: float) -> str:
    """Return a ratio with at least two significant digits, and never as 1e+02."""
    return f"{ratio:.0f}" if ratio >= 99.5 else f"{ratio:.2g}"


def _find(results: Results, work: str, network: str, tool: str, settings: str = "", ending: str = "") -> Row | None:
    """Return the first row of a tool whose settings begin with `settings` and end with `ending`."""
    return next(
        (
            row
            for row in results["rows"]
            if (row["work"], row["network"], row["tool"]) == (work, network, tool)
            and row["settings"].startswith(settings)
            and row["settings"].endswith(ending)
        ),
        None,
    )


def _goals(results: Results) -> Iterator[tuple[str, float, float]]:
    """Yield the text, the limit and the figure of each goal whose rows were measured."""

    def ratio(work: str, network: str, settings: str, tool: str, peer: str = "") -> float | None:
        ours = _find(results, work, network, "ImagePorter", settings)
        theirs = _find(results, work, network, tool, peer)
        return ours["wall"] / theirs["wall"] if ours and theirs else None

    def ours(work: str, network: str, figure: str, unit: float = 1) -> float | None:
        row = _find(results, work, network, "ImagePorter", "SLEEP_TIME=0")
        return row[figure] / unit if row else None

    tuned = ("regsync", REGSYNC_TUNED_SETTINGS)
    wide = "JOBS=32 SLEEP_TIME=0"
    wanted = [
        *((f"({work}) at 30 ms, to regsync tuned", 1.0, ratio(work, "slow", "SLEEP_TIME=0", *tuned)) for work in "bcd"),
        *((f"({work}) on loopback, to regsync tuned", 1.4, ratio(work, "bare", "SLEEP_TIME=0", *tuned)) for work in "bcd"),
        ("(c) at 30 ms, seconds of CPU of the whole tree", 1.5, ours("c", "slow", "cpu")),
        ("(c) at 30 ms, peak memory in MB", 80, ours("c", "slow", "memory", 1e6)),
        ("(a) at 30 ms with JOBS=32, to regsync tuned", 1.6, ratio("a", "slow", wide, *tuned)),
        ("(a) at 30 ms with JOBS=32, to regsync's defaults", 1.0, ratio("a", "slow", wide, "regsync", "defaults")),
        ("(a) at 30 ms with JOBS=32, to skopeo", 1.0, ratio("a", "slow", wide, "skopeo sync")),
        ("(a) at 30 ms with JOBS=32, to image-syncer --proc 32", 1.0, ratio("a", "slow", wide, "image-syncer", "--proc 32")),
        ("(a) at 30 ms with JOBS=32, to xargs -P16 crane copy", 1.0, ratio("a", "slow", wide, "crane copy", "xargs -P16")),
        ("(e) at 30 ms, to skopeo", 1.0, ratio("e", "slow", "SLEEP_TIME=0", "skopeo sync")),
        ("(e) on loopback, to crane copy alone", 1.05, ratio("e", "bare", "SLEEP_TIME=0", "crane copy", "alone")),
        ("(f) seconds to the first request", 1.0, ours("f", "none", "wall")),
        ("(f) peak memory in MB until then", 60, ours("f", "none", "memory", 1e6)),
        ("(g) at 30 ms, to regsync's defaults", 0.1, ratio("g", "slow", "SLEEP_TIME=0", "regsync", "defaults")),
    ]
    yield from ((text, limit, found) for text, limit, found in wanted if found is not None)
