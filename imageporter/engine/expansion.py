"""Expanding rules to images. The tags of a repository are listed once, however many rules need them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from imageporter.engine.backoff import Operation
from imageporter.engine.retry import Attempts, FailedError, IndexedImage, Step
from imageporter.engine.slots import Slots
from imageporter.model.image import Image
from imageporter.model.outcome import Outcome, Status
from imageporter.model.reference import Reference
from imageporter.model.rule import Rule, expand
from imageporter.registry.crane import Crane
from imageporter.system import logs

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
