"""Rows of the configuration files of regsync, skopeo sync, dregsy and image-syncer.

Each has its own filters of tags; those that mean something else here are reported, not converted.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from imageporter.config.files import Location
from imageporter.config.foreign_files import ROOT, Entries, Entry, TargetMissingError, find_variable
from imageporter.model import reference, target_name
from imageporter.model.rule import parse_selector

ACCOUNTS = "accounts and certificates are not converted; write the account into the accounts file"
INSECURE = "is not converted; write `insecure: true` into the accounts file"
# Keys of regsync that choose no images: when and how fast it copies.
_REGSYNC_TIMING = frozenset(
    {"interval", "schedule", "ratelimit", "parallel", "fastCheck", "forceRecursive"}
    | {"skipDockerConfig", "userAgent", "cacheCount", "cacheTime", "blobLimit"}
)
_REGSYNC_REFERRERS = frozenset({"referrers", "digestTags"})
_REGSYNC_ROW = frozenset({"source", "target", "type", "tags", "platform", "platforms"})
_DREGSY_FILTER = re.compile(r"\s*(\w+):\s*(.*?)\s*", re.DOTALL)


def is_regsync(data: Mapping[Any, Any]) -> bool:
    """Return whether `data` is a regsync.yml."""
    return isinstance(data.get("sync"), list)


def from_regsync(data: Mapping[Any, Any]) -> Entries:
    """Yield the rows of a regsync.yml, and a reason for each of its options that has no counterpart."""
    if data.get("creds"):
        yield Entry("creds", reason=ACCOUNTS)
    defaults = _mapping(data.get("defaults"))
    yield from _not_converted(defaults, ROOT["defaults"], _REGSYNC_TIMING | _REGSYNC_REFERRERS)
    for index, entry in enumerate(data["sync"]):
        here = ROOT["sync"][index]
        kind, source, target = (_text(entry, key) for key in ("type", "source", "target"))
        if reason := find_variable(source) or find_variable(target):
            yield Entry(here.inside, reason=reason)
        elif kind not in {"image", "repository"}:
            what = "a whole registry" if kind == "registry" else "neither an image nor a repository"
            yield Entry(here["type"].inside, reason=f"is {what}; write a row for each of its repositories by hand")
        else:
            row: dict[str, Any] = {"source": source, "target": target}
            tags = _mapping(entry.get("tags"))
            if kind == "repository" and (set(tags) - {"allow", "deny"} or entry.get("tagSets")):
                yield Entry(here["tags"].inside, reason="has more than allow and deny; write the row by hand")
                continue
            if kind == "repository":
                row["tags"] = _regsync_tags(tags)
            if platforms := entry.get("platform") or entry.get("platforms"):  # one wins over several
                row["platforms"] = platforms
            if any(entry.get(key, defaults.get(key)) for key in _REGSYNC_REFERRERS):
                row["referrers"] = True
            yield Entry(here.inside, row)
            yield from _not_converted(entry, here, _REGSYNC_TIMING | _REGSYNC_ROW | _REGSYNC_REFERRERS)


def _regsync_tags(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Return regsync's filter as ours. regsync puts ^ and $ around each expression, without brackets."""
    allow, deny = ([f"^{one}$" for one in _list(tags.get(key))] for key in ("allow", "deny"))
    chosen: dict[str, Any] = {"match": f"/{'|'.join(allow)}/"} if allow else {}
    return chosen | ({"exclude": [f"/{one}/" for one in deny]} if deny else {})


def _not_converted(entry: Any, at: Location, known: frozenset[str]) -> Entries:
    for key, value in _items(entry):
        if value and key not in known:
            yield Entry(at[key].inside, reason="is not converted; the row is without it")


def is_skopeo(data: Mapping[Any, Any]) -> bool:
    """Return whether `data` maps registries to images, as `skopeo sync --src yaml` reads it."""
    hosts = [str(key) for key in data]
    entries = [value for value in data.values() if isinstance(value, dict)]
    has_images = any(key in entry for entry in entries for key in _SKOPEO_KINDS)
    return has_images and all({".", ":"} & set(host) or host == "localhost" for host in hosts)


def from_skopeo(data: Mapping[Any, Any], target: str | None) -> Entries:
    """Yield the rows of the YAML file of `skopeo sync`, which has no targets. Raises TargetMissingError."""
    if target is None:
        raise TargetMissingError
    for host, entry in _items(data):
        at = ROOT[host]
        for key in ("credentials", "cert-dir"):
            if _mapping(entry).get(key):
                yield Entry(at[key].inside, reason=ACCOUNTS)
        if _mapping(entry).get("tls-verify") is False:
            yield Entry(at["tls-verify"].inside, reason=INSECURE)
        for kind, convert in _SKOPEO_KINDS.items():
            for name, chosen in _items(_mapping(entry).get(kind)):
                where = at[kind][name].inside
                try:
                    for row in convert(f"{host}/{name}", chosen):
                        yield Entry(where, {"source": row["source"], "target": target} | row)
                except ValueError as error:
                    yield Entry(where, reason=str(error))


def _skopeo_images(source: str, listed: Any) -> list[dict[str, Any]]:
    tags = [str(tag) for tag in _list(listed)]
    digests = [tag for tag in tags if reference.is_digest(tag)]
    names = [tag for tag in tags if tag not in digests]
    rows: list[dict[str, Any]] = [{"source": f"{source}@{digest}"} for digest in digests]
    if names or not tags:  # an empty list means every tag
        rows.insert(0, {"source": source, "tags": {"include": names} if names else {}})
    return rows


def _skopeo_pattern(source: str, pattern: Any) -> list[dict[str, Any]]:
    if not isinstance(pattern, str):
        raise ValueError("has no pattern")
    return [{"source": source, "tags": {"match": f"/{pattern}/"}}]


def _skopeo_semver(source: str, written: Any) -> list[dict[str, Any]]:
    if difference := _range_difference(str(written)):
        raise ValueError(difference)
    return [{"source": source, "tags": {"semver": re.sub(r"\s*,\s*", " ", str(written))}}]


_SKOPEO_KINDS = {
    "images": _skopeo_images,
    "images-by-tag-regex": _skopeo_pattern,
    "images-by-semver": _skopeo_semver,
}


def _range_difference(text: str) -> str:
    """Return why the range `text` of Masterminds/semver or blang/semver is none of npm, or means something else there."""
    if "!" in text:
        return f"{text!r} has '!', which ranges of npm do not have; write the row by hand"
    if re.search(r"\d-[0-9A-Za-z]", text):
        return f"{text!r} names a prerelease, which ranges of npm treat differently; write the row by hand"
    return ""


def is_dregsy(data: Mapping[Any, Any]) -> bool:
    """Return whether `data` is a configuration of dregsy."""
    tasks = data.get("tasks")
    return isinstance(tasks, list) and any(isinstance(task, dict) and "mappings" in task for task in tasks)


def from_dregsy(data: Mapping[Any, Any]) -> Entries:
    """Yield the rows of a configuration of dregsy, whose tag filters add to each other."""
    for index, task in enumerate(data["tasks"]):
        at = ROOT["tasks"][index]
        sides = {key: _mapping(_mapping(task).get(key)) for key in ("source", "target")}
        for key, side in sides.items():
            if side.get("auth") not in (None, "", "none") or side.get("auth-refresh"):
                yield Entry(at[key]["auth"].inside, reason=ACCOUNTS)
            if side.get("skip-tls-verify") is True:
                yield Entry(at[key]["skip-tls-verify"].inside, reason=INSECURE)
        hosts = [_text(sides[key], "registry") for key in ("source", "target")]
        for number, mapping in enumerate(_list(_mapping(task).get("mappings"))):
            yield from _from_dregsy_mapping(mapping, hosts, at["mappings"][number])


def _from_dregsy_mapping(mapping: Any, hosts: list[str], at: Location) -> Entries:
    source = _text(mapping, "from")
    target = _text(mapping, "to") or source
    if "regex:" in source + target:
        yield Entry(at.inside, reason="is a pattern of repositories; write a row for each of them by hand")
        return
    ranges, include = [], []
    for index, tag in enumerate(_list(_mapping(mapping).get("tags"))):
        here = at["tags"][index].inside
        found = _DREGSY_FILTER.fullmatch(str(tag))
        kind, text = (found[1], found[2]) if found else ("", str(tag))
        difference = _range_difference(text) if kind == "semver" else ""
        if not found:
            include.append(text)
        elif kind == "regex" and not text.startswith("!"):
            include.append(f"/{_whole_line(text)}/")
        elif kind == "semver" and not difference:
            ranges.append(text)
            # blang/semver compares prereleases like other versions; `1.2.3-alpine` is one.
            reason = f"{text!r} takes prereleases as well there (1.2.3-rc1), but not here; add them to `include`"
            yield Entry(here, reason=reason)
        else:
            yield Entry(here, reason=difference or f"{str(tag)!r} has no counterpart; write the row by hand")
            return
    tags: dict[str, Any] = {"semver": " || ".join(ranges)} if ranges else {}
    row = {"source": f"{hosts[0]}/{source.strip('/')}", "target": f"{hosts[1]}/{target.strip('/')}"}
    platform = _text(mapping, "platform")
    platforms = {"platforms": platform} if platform not in {"", "all"} else {}
    yield Entry(at.inside, row | {"tags": tags | ({"include": include} if include else {})} | platforms)


def _whole_line(pattern: str) -> str:
    """Return `pattern` as dregsy compiles it, which adds ^ and $ where they are missing, without brackets."""
    return f"{'' if pattern.startswith('^') else '^'}{pattern}{'' if pattern.endswith('$') else '$'}"


def is_image_map(data: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether `data` maps images to images, as image-syncer does. Some may be without a registry and a tag: `redis`."""
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        return False
    has_targets = all(isinstance(value, str | list) or "target" in _mapping(value) for value in data.values())
    return has_targets and any({"/", ":"} & set(text) for item in data.items() for text in item if isinstance(text, str))


def from_image_map(data: Mapping[str, Any], at: Location) -> Entries:
    """Yield the rows of image-syncer's map, in which no tag means every tag, or the source's tag."""
    for source, value in data.items():
        options = dict(value) if isinstance(value, dict) else {"target": value}
        targets = options.pop("target", None)
        row: dict[str, Any] = {"source": source, "target": targets, **options}
        try:
            selector = parse_selector(source)
        except ValueError:
            yield Entry(at[source].inside, reason=find_variable(source)) if "$" in source else Entry(at[source].inside, row)
            continue
        if selector.image_count is None and not selector.filter:
            row.setdefault("tags", {})
        if selector.image_count == 1:
            suffix = f"@{selector.digest}" if selector.digest else f":{(selector.tags or ('',))[0]}"
            names = targets if isinstance(targets, list) else [targets]
            completed = [_with_tag(one, suffix) for one in names]
            row["target"] = completed if isinstance(targets, list) else completed[0]
        yield Entry(at[source].inside, row)


def _with_tag(target: Any, suffix: str) -> Any:
    """Return `target` with the tag or digest `suffix`, if it has none: without, it would be `latest`."""
    if not isinstance(target, str) or target_name.depends_on_source(target) or {":", "@"} & set(target.rpartition("/")[2]):
        return target
    return f"{target}{suffix}"


def _text(entry: Any, key: str) -> str:
    """Return the string at `key`; an empty one if there is none, which no reference is."""
    value = _mapping(entry).get(key)
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    return ((str(key), one) for key, one in _mapping(value).items())


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
