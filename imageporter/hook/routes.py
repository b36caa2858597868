"""Where a push goes: to the targets of every rule that names it, and of every row of `registry.reg`."""

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from loguru import logger

from imageporter.model import reference
from imageporter.model.reference import Reference
from imageporter.model.rule import Image, Rule

# As `crane ls --omit-digest-tags` has it: what others (signatures, say) hang on an image.
DIGEST_TAG = "sha256-"


@dataclass(frozen=True)
class Row:
    """A row of image-syncer's `registry.reg[]`: `source/namespace/image:tag` goes to `destination/namespace/image:tag`.

    `sources` and `destinations` are registries, or parts of them (`quay.io/mirror`).
    """

    place: str
    sources: tuple[str, ...]
    namespaces: tuple[str, ...]
    destinations: tuple[str, ...]

    def images(self, pushed: Reference) -> Iterable[Image]:
        """The images that it makes of the push of a tag."""
        for source in self.sources:
            for namespace in self.namespaces:
                if not pushed.repository.startswith(f"{source}/{namespace}/"):
                    continue
                rest = pushed.repository.removeprefix(f"{source}/")
                for destination in self.destinations:
                    with suppress(ValueError):  # together they may be too long
                        target = reference.parse(f"{destination}/{rest}")
                        yield Image(self.place, pushed, replace(target, tag=pushed.tag))


class Routes:
    """All ways that a push may go."""

    def __init__(self, rules: Iterable[Rule], rows: Iterable[Row]) -> None:
        self._rules: dict[str, list[Rule]] = defaultdict(list)
        self._claimed: dict[Reference, Image] = {}
        for rule in rules:
            self._rules[rule.source.repository.repository].append(rule)
            if not rule.open:
                self._claimed |= {image.target: image for image in rule.images()}
        self._rows = tuple(rows)

    def of(self, pushed: Reference) -> tuple[Image, ...]:
        """The images, each pair once, that the push of a tag asks for: `pushed` is its repository and tag."""
        found = [image for rule in self._rules.get(pushed.repository, ()) for image in _images(rule, pushed)]
        found += [image for row in self._rows for image in row.images(pushed) if self._is_free(image)]
        return tuple({(image.source, image.target): image for image in found if image.source != image.target}.values())

    def left(self, pushed: Reference) -> Rule | None:
        """A rule that wants the push, but leaves it to the full pass: only the list of all tags says which becomes which."""
        wanting = (rule for rule in self._rules.get(pushed.repository, ()) if _wants(rule, pushed))
        return next((rule for rule in wanting if rule.target.counted), None)

    def _is_free(self, image: Image) -> bool:
        """Whether no rule has the target of `image` with another source."""
        claim = self._claimed.get(image.target, image)
        if claim.source == image.source:
            return True
        logger.warning(
            "{}: {} is the target of {} already, from {}; it stays so", image.place, image.target, claim.place, claim.source
        )
        return False


def _images(rule: Rule, pushed: Reference) -> Iterable[Image]:
    """What `rule` makes of the push: a tag that it names or matches; a digest is not moved by a push."""
    if not rule.open:
        return [image for image in rule.images() if image.source == pushed]
    return rule.images([pushed.tag or ""]) if _wants(rule, pushed) and not rule.target.counted else []


def _wants(rule: Rule, pushed: Reference) -> bool:
    """Whether the open `rule` names the tag, which is not one that a full pass leaves out."""
    tag = pushed.tag or ""
    return rule.open and not tag.startswith(DIGEST_TAG) and bool(rule.sources([tag]))
