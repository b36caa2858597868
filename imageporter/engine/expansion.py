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
    failed = (one for one in expand_rules(rules, listed) if isinstance(one, Outcome))
    refused = {(one.image.location, one.image.source): one for one in failed}
    for rule in covering:
        yield f"{rule.location}: {rule.text}{_options(rule)}"
        tags = listed.get(rule.source.repository, ())
        if not isinstance(tags, Outcome):
            selection = rule.source.select(tags)
            sources = rule.tagged(selection.tags) if rule.needs_listing else rule.sources()
            if rule.needs_listing and wanted is None:
                yield f"  {selection.counts}"
            images = _pairs(rule, sources)
            for one in sources if wanted is None else [_complete(wanted)]:
                fate = images[one] if one in images else f"{one}: {_why_dropped(rule, selection, one)}"
                refusal = refused.get((rule.location, one))
                yield f"{FAILED}{refusal.image}: {refusal.error}" if refusal else f"  {fate}"
        if refusal := refused.get((rule.location, rule.source.repository)):
            yield f"{FAILED}{refusal.error}"


def _options(rule: Rule) -> str:
    """Return the options that say what of an image is copied, as text that can follow a rule's own."""
    options = [f"platforms {rule.platforms}"] if rule.platforms else []
    options += ["with referrers"] if rule.referrers else []
    options += [f"only if signed with {rule.signed_by}"] if rule.signed_by else []
    return f" ({', '.join(options)})" if options else ""


def _complete(wanted: Reference) -> Reference:
    return wanted if wanted.digest or wanted.tag else replace(wanted, tag=reference.DEFAULT_TAG)


def _why_dropped(rule: Rule, selection: Selection, wanted: Reference) -> str:
    """Return why `rule` does not take one tag or digest."""
    if not rule.needs_listing:
        return "dropped, because the rule does not name it"
    tag = wanted.tag or ""
    if tag not in selection.listed:
        return "not taken, because the repository does not list it"
    return f"dropped by {selection.why_dropped(tag)}"


def _pairs(rule: Rule, sources: Sequence[Reference]) -> dict[Reference, str]:
    """Return the image of each of `sources` as text; only the source if `rule` is refused, because its sides do not fit."""
    try:
        return {image.source: str(image) for image in rule.pair(sources)}
    except ValueError:
        return {source: str(source) for source in sources}
