"""The figures in docs/scale.md and docs/zh/scale.md, written from bench/scale.json."""
# ruff: noqa: RUF001 (Chinese has its own commas)

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from translation import Translate, translator, with_names

BUNDLE = Path(__file__).resolve().parent.parent
RESULTS = BUNDLE / "bench" / "scale.json"
MB, GB = 1e6, 1e9
SHARDS, PLANNED = 8, 1_000_000  # of the plan: so many images in so many shards
FAST, FAR = (30, 256), (150, 32)  # of the plan: response time in milliseconds, PROBES

CHINESE = {
    "images": "镜像数",
    "seconds": "用时（秒）",
    "CPU seconds": "CPU 时间（秒）",
    "memory": "内存",
    "requests": "请求数",
    "bytes on the network": "网络流量",
    "records.db": "records.db",
    "CPU": "CPU",
    "network": "网络",
    "of one image": "每个镜像",
    "fit: a + b for each image": "拟合：a + b × 镜像数",
    "residuals": "残差",
    "{} + {} ms": "{} + {} 毫秒",
    "{} + {} kB": "{} + {} kB",
    "{} + {} requests": "{} + {} 个请求",
    "{} + {} bytes": "{} + {} 字节",
    "+{} %": "+{} %",
    "-{} %": "-{} %",
    "The stand-in answers {} requests per second. {}-{}-{}, {} cores": "模拟的镜像仓库每秒能响应 {} 个请求。{}-{}-{}，{} 核",
    "response time": "响应时间",
    "images per second": "每秒镜像数",
    "images in an hour": "每小时镜像数",
    "{} ms": "{} 毫秒",
    "{} % of a core": "一个核的 {} %",
    "for one shard of eight ({} images)": "八个分片中的一个（{} 个镜像）",
    "for all": "全部",
    "memory: {} MB + {} kB × images": "内存：{} MB + {} kB × 镜像数",
    "{} GB, on as many machines as you like": "{} GB，可以分布在任意多台机器上",
    "CPU: {} s + {} ms × images": "CPU：{} 秒 + {} 毫秒 × 镜像数",
    "{} minutes of one core": "一个核的 {} 分钟",
    "requests: {} × images": "请求：{} × 镜像数",
    "network: {} bytes × images": "网络：{} 字节 × 镜像数",
    "records.db: {} bytes × images": "records.db：{} 字节 × 镜像数",
    "time at {} ms, `PROBES={}`: images / {} per second": "响应时间 {} 毫秒、`PROBES={}` 时的用时：镜像数 ÷ 每秒 {} 个",
    "{} s": "{} 秒",
    "{} minutes": "{} 分钟",
    "{} s if all run at once, {} minutes one after the other": "同时运行需 {} 秒，逐个运行需 {} 分钟",
    "{} minutes if all run at once": "同时运行需 {} 分钟",
}
PAGES: Mapping[Path, Translate] = {
    BUNDLE / "docs" / "scale.md": str,
    BUNDLE / "docs" / "zh" / "scale.md": translator(CHINESE, "bench/scale_page.py"),
}


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


def write_pages() -> None:
    """Write the figures of RESULTS into the pages."""
    kept = json.loads(RESULTS.read_text())
    for path, translate in PAGES.items():
        path.write_text(with_figures(path.read_text(encoding="utf-8"), kept, translate), encoding="utf-8")


def with_figures(page: str, kept: Mapping[str, Any], translate: Translate) -> str:
    """Return `page` with the figures of `kept` in place of its own. Raises ValueError if it has no place for some."""
    figures = [Figures(**one) for one in kept["figures"]]
    bare, slow = ([one for one in figures if bool(one.delay) is is_slow] for is_slow in (False, True))
    for name, lines in (
        ("cost", [*cost_lines(bare, translate), "", about(kept, translate)]),
        ("hour", hour_lines(slow, translate)),
        ("plan", plan_lines(bare, slow, translate)),
    ):
        block = "\n".join(lines)
        page, count = re.subn(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\g<1>{block}\n\g<2>", page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"{count} places for {name}")
    return page


def fit(figures: Sequence[Figures], name: str) -> tuple[float, float]:
    """Return a and b of the straight line a + b * images with the least squares of the *relative* residuals."""
    points = [(float(one.images), float(getattr(one, name))) for one in figures]
    weights = [1 / y**2 for _, y in points]
    total = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    above = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    slope = above / sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    return mean_y - slope * mean_x, slope


def row(*cells: str) -> str:
    """Return a line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def header(*cells: str) -> Iterator[str]:
    """Yield the first lines of a Markdown table."""
    yield row(*cells).replace("|  |", "| |")
    yield "|" + "---|" * len(cells)


def cost_lines(figures: Sequence[Figures], translate: Translate) -> Iterator[str]:
    """Yield the table of what images cost, and the fit."""
    names = ("images", "seconds", "CPU seconds", "memory", "requests", "bytes on the network", "records.db")
    yield from header(*map(translate, names))
    for one in figures:
        mb = [f"{value / MB:,.1f} MB" for value in (one.memory, one.network, one.records)]
        yield row(f"{one.images:,}", f"{one.wall:.1f}", f"{one.cpu:.1f}", mb[0], f"{one.requests:,}", *mb[1:])
    yield ""
    yield from header(*map(translate, ("of one image", "fit: a + b for each image", "residuals")))
    for what, name, unit, scale in (
        ("CPU", "cpu", "ms", 1000.0),
        ("memory", "memory", "kB", 1e-3),
        ("requests", "requests", "requests", 1.0),
        ("network", "network", "bytes", 1.0),
        ("records.db", "records", "bytes", 1.0),
    ):
        a, b = fit(figures, name)
        residuals = ", ".join(f"{100 * (getattr(one, name) / (a + b * one.images) - 1):+.1f} %" for one in figures)
        yield row(translate(what), translate(f"{a * scale:,.0f} + {b * scale:.3g} {unit}"), translate(residuals))


def about(kept: Mapping[str, Any], translate: Translate) -> str:
    """Return the line under the tables: when and where they were measured."""
    cores, *names = kept["machine"].split(", ")
    measured = f"The stand-in answers {kept['limit']:,} requests per second. {kept['day']}, {cores}"
    return f"<sub>{with_names(measured, names, translate)}</sub>"


def hour_lines(figures: Sequence[Figures], translate: Translate) -> Iterator[str]:
    """Yield the table of what one process looks up in an hour."""
    names = (translate(name) for name in ("images per second", "images in an hour", "CPU"))
    yield from header(translate("response time"), "`PROBES`", *names)
    for one in figures:
        rate, share = one.images / one.wall, one.cpu / one.wall
        hour = f"{round(3600 * rate, -4):,.0f}"
        cpu = translate(f"{100 * share:.0f} % of a core")
        yield row(translate(f"{one.delay} ms"), str(one.probes), f"{rate:,.0f}", hour, cpu)


def plan_lines(bare: Sequence[Figures], slow: Sequence[Figures], translate: Translate) -> Iterator[str]:
    """Yield the table of what PLANNED images take: one shard of them, and all."""
    images = PLANNED // SHARDS
    yield from header("", translate(f"for one shard of eight ({images:,} images)"), translate("for all"))
    a, b = fit(bare, "memory")
    shard = a + b * images
    machines = translate(f"{SHARDS * shard / GB:.1f} GB, on as many machines as you like")
    yield row(translate(f"memory: {a / MB:.0f} MB + {b / 1000:.3g} kB × images"), f"{shard / MB:,.0f} MB", machines)
    a, b = fit(bare, "cpu")
    shard = a + b * images
    minutes = translate(f"{SHARDS * shard / 60:.1f} minutes of one core")
    yield row(translate(f"CPU: {a:.2f} s + {1000 * b:.3g} ms × images"), translate(f"{shard:.0f} s"), minutes)
    _, b = fit(bare, "requests")
    yield row(translate(f"requests: {b:.3g} × images"), f"{b * images:,.0f}", f"{b * PLANNED:,.0f}")
    _, b = fit(bare, "network")
    yield row(translate(f"network: {b:.3g} bytes × images"), f"{b * images / MB:,.0f} MB", f"{b * PLANNED / GB:.1f} GB")
    _, b = fit(bare, "records")
    yield row(translate(f"records.db: {b:.3g} bytes × images"), f"{b * images / MB:,.0f} MB", f"{b * PLANNED / MB:,.0f} MB")
    for delay, probes in (FAST, FAR):
        rate = next(one.images / one.wall for one in slow if (one.delay, one.probes) == (delay, probes))
        what = translate(f"time at {delay} ms, `PROBES={probes}`: images / {rate:,.0f} per second")
        seconds = images / rate
        if seconds < 120:
            together = f"{seconds:.0f} s if all run at once, {SHARDS * seconds / 60:.0f} minutes one after the other"
            yield row(what, translate(f"{seconds:.0f} s"), translate(together))
        else:
            minutes = f"{seconds / 60:.0f} minutes"
            yield row(what, translate(minutes), translate(f"{minutes} if all run at once"))
