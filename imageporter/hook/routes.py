"""Routes: which images a push asks for, by the rules of the images file and the rows of `registry.reg`."""

from collections import defaultdict
from collections.abc import Iterable

from loguru import logger

from imageporter.model.image import Image
from imageporter.model.push_route import PushRoute
from imageporter.model.reference import DIGEST_TAG, Reference
from imageporter.model.rule import Rule


class Routes:
    """The targets of a push: those of each rule that covers it, and of each of `push_routes`."""

    def __init__(self, rules: Iterable[Rule], push_routes: Iterable[PushRoute]) -> None:
        self._rules: dict[str, list[Rule]] = defaultdict(list)
        self._image_of_target: dict[Reference, Image] = {}
        for rule in rules:
            self._rules[rule.source.repository.repository].append(rule)
            if not rule.needs_listing:
                self._image_of_target |= {image.target: image for image in rule.images()}
        self._push_routes = tuple(push_routes)

    def images(self, pushed: Reference) -> tuple[Image, ...]:
        """Return the images that the push of the tag `pushed` asks for, each pair once."""
        found = [image for rule in self._rules.get(pushed.repository, ()) for image in _images(rule, pushed)]
        found += [image for route in self._push_routes for image in route.images(pushed) if not self._is_taken(image)]
        return tuple({(image.source, image.target): image for image in found if image.source != image.target}.values())

    def image_of(self, source: Reference, target: Reference) -> Image | None:
        """Return the image of these two that a rule or row has now; None if none has, or if only a full pass can tell."""
        return next((image for image in self.images(source) if image.target == target), None)

    def deferring_rule(self, pushed: Reference) -> Rule | None:
        """Return a rule that covers the push but renames tags, if there is one.

        Only a full pass, which lists all tags, can pair them with their new names.
        """
        covering = (rule for rule in self._rules.get(pushed.repository, ()) if _covers(rule, pushed))
        return next((rule for rule in covering if rule.target.image_count), None)

    def drop_reason(self, pushed: Reference) -> str | None:
        """Return why the filter of a rule drops the push; None if there is no such rule."""
        rules = self._rules.get(pushed.repository, ())
        with_options = (rule for rule in rules if rule.source.filter and not rule.source.filter.is_pattern)
        return next((reason for rule in with_options if (reason := _drop_reason(rule, pushed.tag or ""))), None)

    def _is_taken(self, image: Image) -> bool:
        """Return whether a rule has the target of `image` with another source."""
        other = self._image_of_target.get(image.target, image)
        if other.source == image.source:
            return False
        message = "{}: {} is already the target of {}, with the source {}; the push is not copied there"
        logger.warning(message, image.location, image.target, other.location, other.source)
        return True


def _images(rule: Rule, pushed: Reference) -> Iterable[Image]:
    """Return the images of `rule` for the push. A rule with a digest has none, because a push does not move a digest."""
    if not rule.needs_listing:
        return [image for image in rule.images() if image.source == pushed]
    return rule.pair([pushed]) if _covers(rule, pushed) and not rule.target.image_count else []


def _covers(rule: Rule, pushed: Reference) -> bool:
    """Return whether `rule`, whose tags are listed, would find the tag in a full pass."""
    tag = pushed.tag or ""
    return rule.needs_listing and not tag.startswith(DIGEST_TAG) and _drop_reason(rule, tag) is None


def _drop_reason(rule: Rule, tag: str) -> str | None:
    """Return why the filter of `rule` drops a tag. `newest` is left to the full pass, which knows all tags."""
    return rule.source.filter.drop_reason(tag) if rule.source.filter else None
