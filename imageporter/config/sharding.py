"""Which shard a pass is, and which rules belong to it."""

from collections.abc import Iterable
from dataclasses import replace

from imageporter.config.settings import Settings
from imageporter.model.rule import Rule
from imageporter.model.shard import Shard
from imageporter.system.errors import Problems

INDEX = "JOB_COMPLETION_INDEX"


def with_shard(settings: Settings, problems: Problems) -> Settings:
    """Return `settings` with the shard that SHARDS and JOB_COMPLETION_INDEX name. Mistakes are added to `problems`.

    Kubernetes sets the index in every Indexed Job, so it means nothing without SHARDS.
    """
    count, index = settings.shards, settings.job_completion_index
    if count is None or "SHARDS" in {line.partition(":")[0] for line in problems}:
        return settings
    if settings.shard is not None:
        problems.add("SHARDS", "is set, and so is SHARD; set one or the other")
    elif index is None:
        problems.add(INDEX, "is not set, but SHARDS is; run an Indexed Job, or set SHARD instead, like 2/8")
    elif index >= count:
        problems.add(INDEX, f"is {index}, but the last of {count} shards is {count - 1}; set SHARDS to the Job's completions")
    else:
        return replace(settings, shard=Shard(index + 1, count))
    return settings


def rules_of(shard: Shard | None, rules: Iterable[Rule], problems: Problems) -> tuple[Rule, ...]:
    """Return the `rules` that belong to `shard`; all of them without one.

    The target's repository decides, before anything is listed. A rule for which it depends on the tags is added to
    `problems`.
    """
    if shard is None:
        return tuple(rules)
    own = []
    for rule in rules:
        if rule.target.depends_on_tag:
            text = f"{rule.text} has {{tag}} in the target's repository, which a shard must know before it lists the tags"
            problems.add(rule.location, f"{text}; name the repository")
        elif shard.has(rule.target.repository):
            own.append(rule)
    return tuple(own)
