"""choosing-images.md in both languages: each recipe is run, and its output is what the pages show.

`PYTHONPATH=.:tests python tests/e2e/test_choosing_page.py` writes the outputs into both pages.
"""

import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import BUNDLE, Registry, User

from imageporter.config.images_file import load_images
from imageporter.system.errors import Problems

PAGES = {language: BUNDLE / "docs" / folder / "choosing-images.md" for language, folder in (("en", ""), ("zh", "zh"))}
RECIPE = re.compile(r"### (\d+)\. [^\n]+\n\n```yaml\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", re.DOTALL)
WHY = re.compile(r"<!-- why -->\n```text\n(.*?)```", re.DOTALL)
REPOSITORIES = re.compile(r"<!-- repositories -->\n```text\n(.*?)```", re.DOTALL)
LIST_FROM = re.compile(r"<!-- list-from (\S+) -->\n```yaml\n(.*?)```\n\n```text\n\$ sync.py ([^\n]+)\n(.*?)```", re.DOTALL)
ASKED = ("7.2.0-rc1", "7.2.5-alpine", "7.2.5", "nightly")
WHY_RECIPE = 3


@dataclass
class Shop:
    """The registries of the pages."""

    user: User
    source: Registry
    target: Registry

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, page: str) -> Iterator["Shop"]:
        """Serve the repositories that `page` lists."""
        with Registry.serve(folder / "source.log") as source, Registry.serve(folder / "target.log") as target:
            shop = cls(User(folder / "user"), source, target)
            found = REPOSITORIES.search(page)
            assert found
            for line in found[1].splitlines():
                name, _, tags = line.partition(": ")
                first, *others = tags.split()
                name = shop.here(name).partition("/")[2]
                source.push(f"{name}:{first}")
                for tag in others:
                    source.crane("tag", f"{source}/{name}:{first}", tag)
            yield shop

    def here(self, text: str) -> str:
        """Replace the page's registries."""
        for host in ("docker.io", "ghcr.io"):
            text = text.replace(host, self.source.address)
        return text.replace("registry.example.com", self.target.address)

    def there(self, text: str, recipe: str) -> str:
        """Replace ours."""
        host = "ghcr.io" if "ghcr.io" in recipe else "docker.io"
        lines = [
            line.replace(self.source.address, "ghcr.io" if "acme/" in line else "docker.io" if "redis" in line else host)
            for line in text.splitlines()
        ]
        return "\n".join(lines).replace(self.target.address, "registry.example.com") + "\n"

    def explain(self, recipe: str, *image: str) -> str:
        """Return what `sync.py --explain` prints for a recipe, in the page's words."""
        self.user.write("images.yaml", self.here(recipe))
        run = self.user.run("sync.py", "--explain", *map(self.here, image))
        assert run.code == 0, run.output
        return self.there(run.output, recipe)


def recipes(page: str) -> dict[int, tuple[str, str]]:
    """The YAML and the output of each recipe, by its number."""
    return {int(number): (recipe, output) for number, recipe, output in RECIPE.findall(page)}


def why(shop: Shop, page: str) -> str:
    """What the page shows about single tags."""
    recipe = recipes(page)[WHY_RECIPE][0]
    outputs = []
    for tag in ASKED:
        image = f"docker.io/library/redis:{tag}"
        outputs.append(f"$ sync.py --explain {image}\n{shop.explain(recipe, image)}")
    return "".join(outputs)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    texts = [path.read_text() for path in PAGES.values()]
    listed = [found[0] for text in texts if (found := REPOSITORIES.search(text))]
    assert listed == [listed[0]] * len(PAGES)
    with Shop.opened(tmp_path_factory.mktemp("shop"), texts[0]) as opened:
        yield opened


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> str:
    """One page after the other."""
    return PAGES[request.param].read_text()


@pytest.mark.parametrize("number", range(1, 11))
def test_a_recipe(shop: Shop, page: str, number: int) -> None:
    recipe, output = recipes(page)[number]
    assert shop.explain(recipe) == output
    # what it says is what a pass does
    wanted = re.findall(rf"-> {re.escape('registry.example.com')}/(\S+)", output)
    shop.user.write("images.yaml", shop.here(recipe))
    run = shop.user.sync()
    assert run.code == 0
    assert sorted(run.outcomes) == sorted(f"{shop.target}/{name}" for name in wanted if ":" in name)


def test_why_a_tag_is_not_there(shop: Shop, page: str) -> None:
    found = WHY.search(page)
    assert found
    assert found[1] == why(shop, page)


def test_every_other_block_is_valid(page: str, tmp_path: Path) -> None:
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL):
        if {"defaults:", "services:", "sync:"} & set(block.split()):
            continue
        path = tmp_path / "images.yaml"
        key = tmp_path / "cosign.pub"
        key.write_text("-----BEGIN PUBLIC KEY-----\n")
        path.write_text(block.replace("cosign.pub", str(key)))
        problems = Problems()
        assert load_images(path, problems)
        assert list(problems) == []


def listed(user: User, name: str, content: str, flags: str) -> str:
    """What `sync.py --list-from` prints for a file of the page."""
    user.write(name, content)
    run = user.run("sync.py", *flags.split())
    assert run.code in {0, 1}
    return run.output


def test_rows_from_other_files(user: User, page: str) -> None:
    found = LIST_FROM.findall(page)
    assert len(found) == 2
    for name, content, flags, output in found:
        assert listed(user, name, content, flags) == output


def write_outputs(argv: Sequence[str]) -> None:
    """Write what the program prints into the pages."""
    assert not argv
    for path in PAGES.values():
        path.write_text(with_outputs(path.read_text()))


def with_outputs(page: str) -> str:
    """Return `page` with what the program prints."""
    with tempfile.TemporaryDirectory() as folder, Shop.opened(Path(folder), page) as shop:

        def with_output(found: "re.Match[str]") -> str:
            head = found[0].partition("```text")[0].rstrip()
            return f"{head}\n\n```text\n{shop.explain(found[2])}```\n"

        page = RECIPE.sub(with_output, page)
        page = WHY.sub(lambda _: f"<!-- why -->\n```text\n{why(shop, page)}```", page)
        return LIST_FROM.sub(
            lambda found: found[0][: found.start(4) - found.start()] + f"{listed(shop.user, *found.groups()[:3])}```", page
        )


if __name__ == "__main__":
    write_outputs(sys.argv[1:])
