"""Expanding rules to images. The tags of a repository are listed once, however many rules need them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from imageporter.engine.backoff import Operation
from imageporter.engine.retry import Attempts, FailedError, IndexedImage, Step
from imageporter.engine.slots import Slots
from imageporter.model import reference
from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.reference import Reference
from imageporter.model.rule import Rule, expand
from imageporter.model.tag_filter import Selection
from imageporter.registry.crane import Crane
from imageporter.system import logs

FAILED = "  failed: "  # begins the line of a rule that cannot be explained
NO_RULE = "no rule has the source "  # begins the only line if there is nothing to explain

# The tags of each repository, or how listing them failed.
Listed = Mapping[Reference, tuple[str, ...] | Outcome]


def repositories_to_list(rules: Sequence[Rule]) -> list[IndexedImage]:
    """Return the repositories whose tags `rules` need, each as the source of an image of the first rule that needs it."""
    repositories = {rule.source.repository: rule.as_image for rule in reversed(rules) if rule.needs_listing}
    return [
        IndexedImage(image, index, frozenset({image.source.host}))
        for index, image in enumerate(reversed(repositories.values()))
    ]


async def list_tags(repository: IndexedImage, crane: Crane, attempts: Attempts, slots: Slots) -> tuple[str, ...] | Outcome:
    """Return the tags of the source of `repository`, or how listing them failed."""
    step = Step(Operation.LOOKUP, repository.hosts, slots)
    try:
        return await attempts.run(repository, step, lambda: crane.list_tags(repository.image.source))
    except FailedError as error:
        return error.outcome(repository)
    except Exception as error:
        logs.log_bug(error)
        return FailedError(f"unexpected {type(error).__name__}").outcome(repository)


def expand_rules(rules: Sequence[Rule], listed: Listed) -> list[Image | Outcome]:
    """Return the images of `rules` in their order. A rule or an image that has already failed is an outcome instead."""
    expanded: list[Image | Outcome] = []

    def tags_of(rule: Rule) -> tuple[str, ...] | None:
        tags = listed[rule.source.repository]
        if not isinstance(tags, Outcome):
            return tags
        expanded.append(replace(tags, image=rule.as_image))
        return None

    def refuse(image: Image, reason: str) -> None:
        expanded.append(Outcome(image, Status.FAILED, error=reason))

    for image in expand(rules, tags_of, refuse):
        expanded.append(image)  # noqa: PERF402 (the other two append as well)
    return expanded


def explain(rules: Sequence[Rule], listed: Listed, image: str) -> Iterator[str]:
    """Yield lines that say which tags each of `rules` takes, or why it drops the tag of `image`, if that is not empty."""
    wanted = reference.parse(image) if image else None
    covering = [rule for rule in rules if wanted is None or rule.source.repository.repository == wanted.repository]
    if wanted and not covering:
        yield f"{NO_RULE}{wanted.repository}"
    for rule in covering:
        yield f"{rule.location}: {rule.text}"
        tags = listed.get(rule.source.repository, ())
        if isinstance(tags, Outcome):
            yield f"{FAILED}{tags.error}"
            continue
        selection = rule.source.select(tags)
        sources = rule.tagged(selection.tags) if rule.needs_listing else rule.sources()
        if wanted is not None:
            yield f"  {_fate(rule, selection, sources, wanted)}"
            continue
        if rule.needs_listing:
            yield f"  {selection.counts}"
        yield from (f"  {_shown(rule, one)}" for one in sources)
        if rule.source.filter and len(sources) < rule.source.filter.minimum:
            yield f"{FAILED}takes {len(sources)} tags, and `min` is {rule.source.filter.minimum}"


def _fate(rule: Rule, selection: Selection, sources: Sequence[Reference], wanted: Reference) -> str:
    """Return what `rule`, which takes `sources`, does with one tag or digest."""
    wanted = wanted if wanted.digest else replace(wanted, tag=wanted.tag or reference.DEFAULT_TAG)
    if wanted in sources:
        return _shown(rule, wanted)
    if not rule.needs_listing:
        return f"{wanted}: dropped, because the rule does not name it"
    tag = wanted.tag or ""
    if tag not in selection.listed:
        return f"{wanted}: not taken, because the repository does not list it"
    return f"{wanted}: dropped by {selection.why_dropped(tag)}"


def _shown(rule: Rule, source: Reference) -> str:
    """Return an image of `rule`, or why it cannot be one."""
    try:
        if len(rule.target.tags or ()) > 1:
            return f"{source} -> one of {', '.join(map(str, rule.target.references()))}"
        return str(rule.pair([source])[0])
    except ValueError as error:
        return f"{source}: {error}"
