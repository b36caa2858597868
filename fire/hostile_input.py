"""Strategies of hostile files, references, variables and flags.

Most of it is almost valid, because a parser rejects noise in its first line.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hypothesis import strategies as st

from imageporter.config.accounts_file import KEYS
from imageporter.config.settings import VARIABLES

CANARY = "Canary_p4ss"  # neither a host nor a namespace, so only a place for a password may hold it
OTHER_CANARY = "$%&/Canary+<q>"  # which JSON, URLs and HTML spell differently
HEX = "0123456789abcdef" * 4

Strategy = st.SearchStrategy

# Anything

TRICKS = (
    *("", " ", "\t", "\0", "\n", "a\nb", "\r\n", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "\udcff"),
    *("$", "$$", "$HOME", "${HOME}", "$UNSET_", "${", "$SECRET", "$BOTH", "$DIRECTORY", "{}", "{0.__class__}", "%s", "<red>"),
    *("~", "~nobody_", "..", "../x", "/", "//", "/dev/null", "-", "--", "--help", "*", "\\", '"', "'", "#", "&a", "*a", "!!"),
    *("0", "-1", "1e999", "nan", "0x" + "f" * 5000, "9" * 5000, "\u0663", "\uff10", "true", "null", "1:30", "2001-13-45"),
    *(
        "\uff1a",
        "\u201c",
        "🙂",
        "é",
        "a" * 300,
        "a" * 5000,
        "a/" * 130,
        "sha256:" + HEX,
        "@sha256:" + HEX,
        "://",
        "user@",
        ":@",
    ),
)
TEXT = st.one_of(st.sampled_from(TRICKS), st.text(max_size=12), st.text(st.characters(), max_size=6))
# Python's spelling of any bytes but NUL, as in a variable or an argument.
ONE_LINE = TEXT.map(lambda text: to_bytes(text).replace(b"\0", b"").decode(errors="surrogateescape"))
SCALARS: Strategy[Any] = st.one_of(
    *(TEXT, st.none(), st.booleans(), st.integers(), st.floats()),
    st.builds(int, st.just("9" * 400)),
    st.builds(list),
    st.builds(dict),
)


def pieces(*parts: Strategy[str]) -> Strategy[str]:
    """Return texts of one of each of `parts`."""
    return st.tuples(*parts).map("".join)


@st.composite
def evenly(draw: st.DrawFn, *alternatives: Strategy[Any]) -> Any:
    """Return one of `alternatives`, each as often. (`one_of` would choose among all alternatives of all of them.)"""
    return draw(alternatives[draw(st.integers(0, len(alternatives) - 1))])


def mostly(usual: Strategy[Any], odd: Strategy[Any]) -> Strategy[Any]:
    """Return `usual`, and `odd` once in eight times."""
    return evenly(*[usual] * 7, odd)


def to_bytes(text: str) -> bytes:
    """Return any text as bytes, which may be no UTF-8."""
    return text.encode(errors="surrogatepass")


# References and rules

HOSTS = ("", "docker.io/", "index.docker.io/", "localhost/", "127.0.0.1:5000/", "[::1]:5000/", "a.example/", "A.Example:1/")
ODD_HOSTS = (
    "REG/",
    "nas/",
    "a.example:99999/",
    "https://a.example/",
    "a..b/",
    "-a.b/",
    "\u0430.example/",
    "//",
    f"{HEX * 4}.io/",
)
USERINFO = (f"user:{CANARY}@", f"https://user:{CANARY}@", f"{CANARY}@", f"a@b:{CANARY}@", f"user:{CANARY}@sha256:abc/")
PATHS = ("app", "team/app", "library/busybox", "a/b/c/d", "x", "a__b/c-d.e", "a" * 64, HEX, "a" * 240)
PATTERNS = ("^v?[0-9]+$", ".", "^1[.]", "(?i)RC", "[", "(", "a{1000}{1000}", "(?=a)", r"\1", "\\d", "^(a*)*$", "\n", "")
TAGS = ("1", "latest", "1.0.3", "v1", "SNAPSHOT-1", "a" * 128, "_x", f"sha256-{HEX}.sig")
TAG = mostly(st.sampled_from(TAGS), st.one_of(TEXT, st.sampled_from(("1.*", "?", ".", "-", "a" * 129, "a b", "a,b"))))
TAG_LISTS = st.lists(TAG, min_size=1, max_size=4).map(",".join)
DIGESTS = st.sampled_from((f"sha256:{HEX}", f"sha256:{HEX[1:]}", f"sha512:{HEX * 2}", f"SHA256:{HEX}", "sha256:", HEX, "@"))
SUFFIX: Strategy[str] = evenly(
    st.just(""),
    TAG.map(":{}".format),
    TAG_LISTS.map(":{}".format),
    st.one_of(st.sampled_from(PATTERNS), TEXT).map(":/{}/".format),
    DIGESTS.map("@{}".format),
    st.tuples(TAG, DIGESTS).map("{0[0]}@{0[1]}".format).map(":{}".format),
)
HOST = mostly(st.sampled_from(HOSTS), st.sampled_from(ODD_HOSTS + USERINFO))
# `x:password@sha256:...` may as well be a tag and a digest.
AMBIGUOUS = re.compile(rf"{CANARY}(?=@sha\d+:[^@/]*\Z)")
REFERENCES = mostly(pieces(HOST, mostly(st.sampled_from(PATHS), TEXT), SUFFIX), TEXT).map(
    lambda text: AMBIGUOUS.sub("x", text)
)
PLAIN_TAGS = st.sampled_from(TAGS)
GOOD_SUFFIX: Strategy[str] = evenly(
    st.sampled_from(("", f"@sha256:{HEX}", *(f":/{pattern}/" for pattern in PATTERNS[:4]))),
    st.lists(PLAIN_TAGS, min_size=1, max_size=3).map(",".join).map(":{}".format),
)
GOOD_HOSTS = (*HOSTS[1:], *HOSTS[4:])
GOOD_REFERENCES = pieces(st.sampled_from(GOOD_HOSTS), st.sampled_from(PATHS[:3]), GOOD_SUFFIX)
GOOD_SOURCES = pieces(st.sampled_from(GOOD_HOSTS), st.sampled_from(PATHS[:3]), st.sampled_from(("", ":1", ":v1", ":latest")))
SOURCES = mostly(GOOD_REFERENCES, REFERENCES)
LISTED = st.lists(mostly(PLAIN_TAGS, TEXT), max_size=12)

# Documents and files


class Document(NamedTuple):
    """The content of a file with the `suffix` .json, .yaml or .yml. Mutated, a password may be anywhere in it."""

    suffix: str
    content: bytes
    is_mutated: bool


GOOD_PASSWORDS = (CANARY, CANARY, "$SECRET", "${FILE_SECRET}", f"{CANARY}$$")
PASSWORDS = mostly(st.sampled_from(GOOD_PASSWORDS), evenly(st.just(f"${CANARY}"), TEXT))
GOOD_PREFIXES = ("docker.io", "a.example", "a.example/team", "127.0.0.1:5000", "[::1]:5000/x", "b.example", "c.example:80")
PREFIXES = mostly(st.sampled_from(GOOD_PREFIXES), st.one_of(TEXT, st.sampled_from(("REG", "nas", f"user:{CANARY}@a.example"))))
_MISSPELT = ("user", "Password", f"password:{CANARY}", "registry ", "<one>", "[key]", "auth")


def objects(fields: Mapping[str, Strategy[Any]], odd_keys: Sequence[str]) -> Strategy[dict[str, Any]]:
    """Return objects with the keys of `fields`; some are missing, and some have a value of the wrong type."""
    known = st.fixed_dictionaries({}, optional={key: mostly(value, SCALARS) for key, value in fields.items()})
    odd = st.dictionaries(st.one_of(st.sampled_from(odd_keys), TEXT), st.one_of(st.just(CANARY), SCALARS), max_size=2)
    whole = st.fixed_dictionaries(dict(fields))
    return evenly(whole, whole, whole, known, st.tuples(known, odd).map(lambda pair: pair[0] | pair[1]))


CREDENTIALS = objects(
    {"username": mostly(st.just("alice"), TEXT), "password": PASSWORDS, "insecure": st.booleans()}, _MISSPELT
)
ACCOUNT_ENTRIES = st.tuples(PREFIXES, CREDENTIALS).map(lambda pair: {"registry": pair[0]} | pair[1])
ACCOUNT_LISTS = st.lists(mostly(ACCOUNT_ENTRIES, SCALARS), min_size=1, max_size=3)
ACCOUNT_MAPS = st.dictionaries(PREFIXES, mostly(CREDENTIALS, SCALARS), min_size=1, max_size=3)
ACCOUNTS = mostly(evenly(ACCOUNT_LISTS, ACCOUNT_MAPS), evenly(ACCOUNT_ENTRIES, SCALARS))
TARGETS = evenly(SOURCES, SOURCES, st.lists(mostly(SOURCES, SCALARS), max_size=3))
IMAGE_ENTRIES = objects({"source": SOURCES, "target": TARGETS}, ("sources", "target ", "<source>", "password"))
IMAGE_LISTS = st.lists(mostly(IMAGE_ENTRIES, SCALARS), min_size=1, max_size=3)
IMAGE_MAPS = st.dictionaries(SOURCES, mostly(TARGETS, SCALARS), min_size=1, max_size=3)
MISPLACED_ACCOUNTS = st.dictionaries(st.sampled_from((*KEYS, "Token", "secret")), st.just(CANARY), max_size=3)
IMAGES = mostly(evenly(IMAGE_LISTS, IMAGE_MAPS), evenly(MISPLACED_ACCOUNTS, SCALARS))
NUMBERS = mostly(st.integers(1, 60), evenly(st.integers(-1, 2000), SCALARS))
SYNC = objects({"routineNum": NUMBERS, "retryCount": NUMBERS, "interval": NUMBERS}, ("Interval",))
COMBINED = objects({"auth": ACCOUNTS, "images": IMAGES, "sync": mostly(SYNC, SCALARS)}, ("registry", "app", "image"))
_ROWS = objects(
    {
        "sourceName": st.lists(PREFIXES, min_size=1, max_size=3).map(",".join),
        "namespace": mostly(st.sampled_from(("library", "team, app", "a/b")), TEXT),
        "destinationName": st.lists(PREFIXES, min_size=1, max_size=2).map(", ".join),
    },
    ("source",),
)
SYNC_FILES = objects(
    {
        "app": st.fixed_dictionaries({"port": mostly(st.sampled_from((8080, "8080", ":1")), SCALARS)}),
        "auth": objects({"username": TEXT, "password": PASSWORDS}, _MISSPELT),
        "registry": st.fixed_dictionaries({"reg": st.lists(mostly(_ROWS, SCALARS), max_size=3)}),
        "sync": mostly(SYNC, SCALARS),
    },
    ("images", "sync "),
)


def to_yaml(data: Any, indent: str = "") -> str:
    """Return `data` as a person writes YAML: in blocks, and without quotes that seem unnecessary."""
    if isinstance(data, dict) and data:
        lines = [f"{indent}{_plain(key)}:{_inner(value, indent)}" for key, value in data.items()]
    elif isinstance(data, list) and data:
        lines = [f"{indent}-{_inner(value, indent)}" for value in data]
    else:
        return f"{indent}{_plain(data)}"
    return "\n".join(lines)


def _inner(value: Any, indent: str) -> str:
    return f"\n{to_yaml(value, indent + '  ')}" if isinstance(value, (dict, list)) and value else f" {_plain(value)}"


def _plain(value: Any) -> str:
    is_plain = isinstance(value, str) and value and not set(value) & set("{}[]\"'\n#&*!|>%")
    return str(value) if is_plain else json.dumps(value)


SIGNS = (
    *(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "\\u",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "&a ",
        "*a",
        "!!binary ",
        "!x ",
        "<<: ",
        "? ",
        "| \n",
        "> ",
    ),
    *("---\n", "...\n", "%YAML 1.1\n", "# ", "//", "\ufeff", "0x", "'", "{" * 60, "[" * 200),
)
NOISE = st.one_of(st.sampled_from(SIGNS), st.sampled_from(SIGNS), TEXT)
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(("cut", "insert", "repeat")), st.integers(1, 40), NOISE), max_size=3
)
FORMATS = st.sampled_from((".json", ".json", ".yaml", ".yml"))
ENCODINGS = st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))


def edit(text: str, edits: Sequence[tuple[float, str, int, str]]) -> str:
    """Return `text` with pieces cut out, inserted and repeated."""
    for share, how, length, noise in edits:
        start = int(share * len(text))
        end = start + length
        middle = {"cut": "", "insert": noise + text[start:end], "repeat": text[start:end] * 3}[how]
        text = text[:start] + middle + text[end:]
    return text


@st.composite
def documents(draw: st.DrawFn, data: Strategy[Any]) -> Document:
    """Return files with `data`, whole or damaged, and files of noise."""
    suffix = draw(FORMATS)
    if draw(st.integers(0, 9)) == 0:
        noise = draw(st.one_of(st.binary(max_size=60), st.lists(NOISE, max_size=8).map("".join).map(to_bytes)))
        return Document(suffix, noise, is_mutated=True)
    content = draw(data)
    edits = draw(evenly(st.just([]), st.just([]), st.just([]), EDITS))
    text = json.dumps(content, ensure_ascii=draw(st.booleans()))
    if suffix != ".json" and draw(st.booleans()):
        text = to_yaml(content)
    encoding = draw(ENCODINGS) if edits else "utf-8"
    return Document(suffix, edit(text, edits).encode(encoding, "backslashreplace"), bool(edits))


# The environment and the command line

NAMES = tuple(VARIABLES)
SECRETS = tuple(name for name, variable in VARIABLES.items() if variable.is_secret)
GOOD_VALUES = ("true", "0", "5", "0.5", "INFO", "json", "UTC", "*/5 * * * *", "127.0.0.1:0", "images.json", "a", "", "~/x")
VALUES = evenly(st.sampled_from((*GOOD_VALUES, CANARY)), ONE_LINE)
FILES = st.sampled_from(("secret", "bytes", "directory", "missing", "", "/dev/zero", "big", "a" * 300, "\udcff"))
OTHER_NAMES = ("JOB", "HOOK_PASWORD", "hook_token", "Cron", "JOBS ", "JO\nBS", "RETRY\x1b_DELAY_TIME", "\udcffJOBS", "DRY-RUN")
PROXY_NAMES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "NO_PROXY")
PROXY_VALUES = ("http://u:p@h:1", "socks5://h", "[::1]:1", "h:x", "*", "10.0.0.0/8,.a", "::/0", "1.2.3.4/99", "http://[")
PROXIES = mostly(st.sampled_from(PROXY_VALUES), ONE_LINE)
CA_NAMES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
CA_PATHS = mostly(st.sampled_from(("secret", "directory", "missing", ":", "directory:missing")), ONE_LINE)


def _some(names: Sequence[str], values: Strategy[str], most: int) -> Strategy[dict[str, str]]:
    return st.dictionaries(st.sampled_from(names), values, max_size=most)


ENVIRONS: Strategy[dict[str, str]] = st.tuples(
    _some(NAMES, VALUES, 8),
    _some(SECRETS, st.just(CANARY), 2),
    _some([f"{name}_FILE" for name in SECRETS], FILES, 2),
    _some(OTHER_NAMES, VALUES, 1),
    _some(PROXY_NAMES, PROXIES, 2),
    _some(CA_NAMES, CA_PATHS, 2),
).map(lambda parts: {name: value for part in parts for name, value in part.items()})
FLAGS = st.sampled_from(
    ("--config", "-c", "--accounts", "--images", "--jobs", "--dry-run", "--queue", "--scheduled", "--version", "-h", "--job")
)
ARGUMENTS = st.lists(
    evenly(FLAGS, FLAGS, pieces(FLAGS, st.just("="), VALUES), VALUES, ONE_LINE),
    max_size=5,
)
