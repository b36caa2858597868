"""Every mistake in the user's files, with its exact line."""

from pathlib import Path

import pytest

from imageporter.config import accounts_file, file_formats, files, images_file
from imageporter.system.errors import Problems

LINE = "images.json: line 1, column"
NO_REGISTRY = "is not a registry; write its host, like docker.io or localhost:5000, or host/namespace"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def problems_in(name: str, content: str | bytes) -> list[str]:
    path = Path(name)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    problems = Problems()
    if name.startswith("accounts"):
        accounts_file.load_accounts(path, problems, {})
    else:
        images_file.load_images(path, problems)
    return list(problems)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("", ["images.json: is empty; an empty list is written []"]),
        ("[", ["images.json: line 1, column 2: expecting value; correct the JSON there"]),
        ('[{"source": "a" "target"}]', ["images.json: line 1, column 17: expecting ',' delimiter; correct the JSON there"]),
        ("[]  []", ["images.json: line 1, column 5: extra data; correct the JSON there"]),
        (
            "[]  // the end",
            [f"{LINE} 5: found a comment, which JSON does not have; remove it, or write YAML into a .yaml file"],
        ),
        ('[\uff5b"source"', [f"{LINE} 2: found the full-width '\uff5b'; write it half-width"]),
        ('[{\u201csource\u201d: "a"', [f'{LINE} 3: found a curly quote; write "']),
        ('[{"source": \u201ca', [f'{LINE} 13: found a curly quote; write "']),
        ('[{"source"\uff1a "a"', [f"{LINE} 11: found the full-width '\uff1a'; write it half-width"]),
        ("[\u201csource", [f'{LINE} 2: found a curly quote; write "']),
        ("- source: a", [f"{LINE} 1: found YAML; give the file a name in .yaml"]),
        (b"\xff\xfe[]", ["images.json: is not UTF-8 text (byte 0); save it as UTF-8"]),
        ("[" * 100_000, ["images.json: is nested too deeply or holds a number too long to read"]),
        # Python 3.13 reports the comma, older versions the bracket
        ('[{"source": "a",}]', [f"{LINE} 16: found a comma before '}}'; remove it"]),
        ('[{"source": "a",\n }]', [f"{LINE} 16: found a comma before '}}'; remove it"]),
        ('[{"source": "a"}, ]', [f"{LINE} 17: found a comma before ']'; remove it"]),
        ("[,]", [f"{LINE} 2: found a comma before ']'; remove it"]),
        ('[{"source": "a", x}]', [f"{LINE} 18: expecting property name enclosed in double quotes; correct the JSON there"]),
        (
            '{"source": "a", "target": "b"}',
            [
                'images.json: "source" and "target" are keys of an entry, but the brackets of the list are missing; '
                "write [ before it and ] after it"
            ],
        ),
        (
            '{"source": "a"}',
            [
                'images.json: "source" is a key of an entry, but the brackets of the list are missing; '
                "write [ before it and ] after it"
            ],
        ),
        ("3", ["images.json: must be a list, found a number"]),
        ("null", ["images.json: must be a list, found nothing"]),
        ('["a"]', ["images.json: [0]: must be an object, found a string"]),
        ('[{"source": "a"}]', ["images.json: [0].target: is missing; add it"]),
        (
            '[{"source": 1, "target": 2}, {"src": "a", "target": "b"}]',
            [
                "images.json: [0].source: must be a string, found a number; put it in quotes",
                "images.json: [0].target: must be a reference, or a list of references, found a number",
                "images.json: [1].source: is missing; add it",
                "images.json: [1].src: is not a known key; "
                "the keys are source, target, tags, platforms, referrers, signed and flatten",
            ],
        ),
        (
            '[{"source": "a", "target": ["b", "C", 3]}, {"source": "https://a", "target": []}]',
            [
                "images.json: [0].target[1]: 'C' is not an image reference (host/repository:tag); "
                "a repository is written in small letters",
                "images.json: [0].target[2]: must be a string, found a number; put it in quotes",
                "images.json: [1].source: 'https://a' begins with a scheme; write host/repository:tag, without it",
                "images.json: [1].target: is empty; add at least one",
            ],
        ),
        (
            '[{"source": "a", "source": "b", "target": "c", "target": "d"}]',
            [
                "images.json: [0].source: is a duplicate key; keep one",
                "images.json: [0].target: is a duplicate key; keep one",
            ],
        ),
        (
            '[{"source": "a", "target": "busybox"}, {"source": "b", "target": "docker.io/library/busybox:latest"},'
            ' {"source": "c", "target": ["d", "index.docker.io/library/busybox"]}]',
            [
                "images.json: [1].target: docker.io/library/busybox:latest is the target at [0].target already; keep one",
                "images.json: [2].target[1]: docker.io/library/busybox:latest is the target at [0].target already; keep one",
            ],
        ),
        (
            '[{"source": "a", "target": "b@sha256:' + "0" * 64 + '"}]',
            [
                "images.json: [0].target: 'a' -> 'b@sha256:" + "0" * 64 + "' has a digest on the right "
                "that is not the one on the left; leave it out",
            ],
        ),
    ],
)
def test_problems_in_images_json(content: str | bytes, lines: list[str]) -> None:
    assert problems_in("images.json", content) == lines


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (
            "- {source: a",
            ["images.yaml: line 1, column 13: expected ',' or '}', but got '<stream end>'; correct the YAML there"],
        ),
        ("- source: a\n  source: b\n", ["images.yaml: line 2, column 3: duplicate key source; keep one"]),
        ("- source: 1.10\n  target: a\n", ["images.yaml: [0].source: must be a string, found a number; put it in quotes"]),
        ("- source: on\n  target: a:on\n", []),
        (
            "source: a\ntarget: b\n",
            [
                'images.yaml: "source" and "target" are keys of an entry, but the list is missing; '
                'write "- " before its first key'
            ],
        ),
        (
            "a/b: {target: c/d, newest: 3, referrers: yes, tags: [1.2], signed: cosign.pub}\n",
            [
                'images.yaml: ["a/b"].tags: must be an object, found a list; its keys are match, semver, exclude, include, '
                "sort, newest and min",
                'images.yaml: ["a/b"].referrers: must be a boolean, found a string; write true or false',
                'images.yaml: ["a/b"].signed: must be an object, found a string; its only key is key',
                'images.yaml: ["a/b"].newest: is a key of `tags`; move it there',
            ],
        ),
        (
            'a/b: {target: c/d, tags: {include: 1.2, newest: "3", key: x}}\n',
            [
                'images.yaml: ["a/b"].tags.include[0]: must be a string, found a number; put it in quotes',
                'images.yaml: ["a/b"].tags.newest: must be a number, found a string; write it without quotes',
                'images.yaml: ["a/b"].tags.key: is a key of `signed`; move it there',
            ],
        ),
        *(
            (
                f"a/b: {text}\n",
                [f"images.yaml: line 1, column {column}: {what}; correct the YAML there, or put the text in quotes"],
            )
            for text, column, what in (
                ("{tags: {exclude: *-rc*}}", 23, "found undefined alias ..."),
                ("{tags: {match: /a{1,2}/}}", 23, "expected ',' or '}', but got '{'"),
                ("{tags: {semver: >=7}}", 22, "found character '>' that cannot start any token"),
                ("c: d", 7, "mapping values are not allowed here"),
            )
        ),
        ("--- []\n--- []\n", ["images.yaml: line 2, column 1: but found another document; correct the YAML there"]),
    ],
)
def test_problems_in_images_yaml(content: str, lines: list[str]) -> None:
    assert problems_in("images.yaml", content) == lines


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("3", ["accounts.json: must be a list, found a number"]),
        (
            '{"registry": "docker.io", "username": "me", "password": "secret"}',
            [
                'accounts.json: "registry", "username" and "password" are keys of an entry, but the brackets of the list are '
                "missing; write [ before it and ] after it"
            ],
        ),
        (
            '[{"registry": "https://ghcr.io", "username": "", "password": ""},'
            ' {"registry": "ghcr.io", "username": 1, "pass": 2}]',
            [
                "accounts.json: [0].username: is empty; give a username, or remove the account",
                "accounts.json: [0].password: is empty; give a password, or remove the account",
                f"accounts.json: [0].registry: {NO_REGISTRY}",
                "accounts.json: [1].username: must be a string, found a number; put it in quotes",
                "accounts.json: [1]: holds a key that is not known; the keys are registry, username, password and insecure",
            ],
        ),
        (
            '[{"registry": "docker.io", "username": "a", "password": "b"},'
            ' {"registry": "index.docker.io", "username": "c", "password": "d"}]',
            ["accounts.json: [1].registry: docker.io has an account at [0] already; keep one"],
        ),
        (
            '[{"registry": "docker.io", "username": "a:b", "password": "c\\nd"}]',
            [
                "accounts.json: [0].username: has a colon, which no account can have",
                "accounts.json: [0].password: has a line break or another control character in it; remove it",
            ],
        ),
    ],
)
def test_problems_in_accounts_json(content: str, lines: list[str]) -> None:
    assert problems_in("accounts.json", content) == lines


def test_files_that_cannot_be_read() -> None:
    Path("images.json").mkdir()
    Path("list.txt").write_text("[]")
    Path("dangling.json").symlink_to("nowhere")
    texts = []
    for name in ("images.json", "gone.json", "list.txt", "dangling.json"):
        with pytest.raises(file_formats.UnreadableError) as caught:
            file_formats.read(Path(name))
        texts.append(str(caught.value))
    assert texts == [
        "images.json: is a directory, not a file; `docker run -v` makes one where the file is missing on the host: "
        "remove the directory there and put the file in its place",
        f"gone.json: not found in {Path.cwd()}; create it or correct the path",
        "list.txt: is neither .json nor .yaml nor .yml; rename it",
        f"dangling.json: not found in {Path.cwd()}; create it or correct the path",
    ]


def test_a_byte_order_mark_is_no_problem() -> None:
    assert problems_in("images.json", b"\xef\xbb\xbf[]") == []


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], None),
        (["auth.yml"], "auth.yml"),
        (["auth.json", "accounts.yml"], "accounts.yml"),
        (["accounts.yml", "accounts.yaml", "accounts.json"], "accounts.json"),
    ],
)
def test_the_accounts_file_is_found_in_order(there: list[str], found: str | None) -> None:
    for name in there:
        Path(name).touch()
    assert accounts_file.find_accounts_file() == (Path(found) if found else None)


@pytest.mark.parametrize(
    ("keys", "shown"),
    [
        ((), "images.json"),
        ((3, "target"), "images.json: [3].target"),
        (("auth", "quay.io/coreos", "password"), 'images.json: auth["quay.io/coreos"].password'),
    ],
)
def test_location(keys: tuple[str | int, ...], shown: str) -> None:
    assert str(files.Location(Path("images.json"), keys)) == shown
