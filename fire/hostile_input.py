"""Strategies of hostile input: files, references, variables, flags, requests, webhooks, responses of registries.

Most of it is almost valid, because a parser rejects noise in its first line.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from imageporter.config.accounts_file import KEYS
from imageporter.config.settings import VARIABLES
from imageporter.hook.webhooks import SENDERS

CANARY = "Canary_p4ss"  # neither a host nor a namespace, so only a place for a password may hold it
OTHER_CANARY = "$%&/Canary+<q>"  # which JSON, URLs and HTML spell differently
PAYLOADS = Path(__file__).parents[1] / "tests" / "payloads"
HEX = "0123456789abcdef" * 4
NUL = "\0"  # which neither a variable nor an argument can hold

Strategy = st.SearchStrategy

# Anything

TRICKS = (
    *("", " ", "\t", "\0", "\n", "a\nb", "\r\n", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "\udcff"),
    *("$", "$$", "$HOME", "${HOME}", "$UNSET_", "${", "$SECRET", "$BOTH", "$DIRECTORY", "{}", "{0.__class__}", "%s", "<red>"),
    *("~", "~nobody_", "..", "../x", "/", "//", "/dev/null", "-", "--", "--help", "*", "\\", '"', "'", "#", "&a", "*a", "!!"),
    *("0", "-1", "1e999", "nan", "0x" + "f" * 5000, "9" * 5000, "٣", "０", "true", "null", "1:30", "2001-13-45"),
    *("：", "“", "🙂", "é", "a" * 300, "a" * 5000, "a/" * 130, "sha256:" + HEX, "@sha256:" + HEX, "://", "user@", ":@"),
)
TEXT = st.one_of(st.sampled_from(TRICKS), st.text(max_size=12), st.text(st.characters(), max_size=6))
ONE_LINE = TEXT.map(lambda text: text.replace(NUL, ""))
SCALARS: Strategy[Any] = st.one_of(
    *(TEXT, st.none(), st.booleans(), st.integers(), st.floats(), st.just(10**400), st.just([]), st.just({}), st.just([[]])),
)


def pieces(*parts: Strategy[str]) -> Strategy[str]:
    """Return texts of one of each of `parts`."""
    return st.tuples(*parts).map("".join)


def mostly(usual: Strategy[Any], odd: Strategy[Any]) -> Strategy[Any]:
    """Return `usual`, and `odd` once in a while."""
    return st.one_of(usual, usual, usual, odd)


# References and rules

HOSTS = ("", "docker.io/", "index.docker.io/", "localhost/", "127.0.0.1:5000/", "[::1]:5000/", "a.example/", "A.Example:1/")
ODD_HOSTS = ("REG/", "nas/", "a.example:99999/", "https://a.example/", "a..b/", "-a.b/", f"{'a' * 250}.io/", "а.example/", "//")
USERINFO = (f"user:{CANARY}@", f"https://user:{CANARY}@", f"{CANARY}@", f"a@b:{CANARY}@", f"user:{CANARY}@sha256:abc/")
PATHS = ("app", "team/app", "library/busybox", "a/b/c/d", "x", "a__b/c-d.e", "a" * 64, HEX, "a" * 240)
PATTERNS = ("^v?[0-9]+$", ".", "^1[.]", "(?i)RC", "[", "(", "a{1000}{1000}", "(?=a)", r"\1", "\\d", "^(a*)*$", "\n", "")
TAGS = ("1", "latest", "1.0.3", "v1", "SNAPSHOT-1", "a" * 128, "_x", f"sha256-{HEX}.sig")
TAG = mostly(st.sampled_from(TAGS), st.one_of(TEXT, st.sampled_from(("1.*", "?", ".", "-", "a" * 129, "a b", "a,b"))))
TAG_LISTS = st.lists(TAG, min_size=1, max_size=4).map(",".join)
DIGESTS = st.sampled_from((f"sha256:{HEX}", f"sha256:{HEX[1:]}", f"sha512:{HEX * 2}", f"SHA256:{HEX}", "sha256:", f"{HEX}", "@"))
SUFFIX: Strategy[str] = st.one_of(
    st.just(""),
    TAG.map(":{}".format),
    TAG_LISTS.map(":{}".format),
    st.one_of(st.sampled_from(PATTERNS), TEXT).map(":/{}/".format),
    DIGESTS.map("@{}".format),
    st.tuples(TAG, DIGESTS).map("{0[0]}@{0[1]}".format).map(":{}".format),
)
HOST = mostly(st.sampled_from(HOSTS), st.sampled_from(ODD_HOSTS + USERINFO))
REFERENCES = mostly(pieces(HOST, mostly(st.sampled_from(PATHS), TEXT), SUFFIX), TEXT)
PLAIN_TAGS = st.sampled_from(TAGS)
GOOD_SUFFIX: Strategy[str] = st.one_of(
    *(st.just(""), PLAIN_TAGS.map(":{}".format), st.lists(PLAIN_TAGS, min_size=1, max_size=3).map(",".join).map(":{}".format)),
    *(st.sampled_from(PATTERNS[:4]).map(":/{}/".format), st.just(f"@sha256:{HEX}")),
)
GOOD_REFERENCES = pieces(st.sampled_from(HOSTS), st.sampled_from(PATHS[:3]), GOOD_SUFFIX)
SOURCES = mostly(GOOD_REFERENCES, REFERENCES)
LISTED = st.lists(mostly(PLAIN_TAGS, TEXT), max_size=12)

# Documents and files


class Document(NamedTuple):
    """The content of a file with the `suffix` .json, .yaml or .yml. Mutated, a password may be anywhere in it."""

    suffix: str
    content: bytes
    is_mutated: bool


PASSWORDS = mostly(st.just(CANARY), mostly(st.sampled_from(("$SECRET", "${FILE_SECRET}", f"{CANARY}$$", f"${CANARY}")), TEXT))
PREFIXES = mostly(
    st.sampled_from(("docker.io", "a.example", "a.example/team", "127.0.0.1:5000", "REG", "nas", f"user:{CANARY}@a.example")), TEXT
)
_MISSPELT = ("user", "Password", f"password:{CANARY}", "registry ", "<one>", "[key]", "auth")


def objects(fields: Mapping[str, Strategy[Any]], odd_keys: Sequence[str]) -> Strategy[dict[str, Any]]:
    """Return objects with the keys of `fields`; some are missing, and some have a value of the wrong type."""
    known = st.fixed_dictionaries({}, optional={key: mostly(value, SCALARS) for key, value in fields.items()})
    odd = st.dictionaries(st.one_of(st.sampled_from(odd_keys), TEXT), st.one_of(st.just(CANARY), SCALARS), max_size=2)
    whole = st.fixed_dictionaries(dict(fields))
    return st.one_of(whole, whole, known, st.tuples(known, odd).map(lambda pair: pair[0] | pair[1]))


CREDENTIALS = objects({"username": mostly(st.just("alice"), TEXT), "password": PASSWORDS, "insecure": st.booleans()}, _MISSPELT)
ACCOUNT_ENTRIES = st.tuples(PREFIXES, CREDENTIALS).map(lambda pair: {"registry": pair[0]} | pair[1])
ACCOUNTS: Strategy[Any] = st.one_of(
    st.lists(mostly(ACCOUNT_ENTRIES, SCALARS), max_size=4),
    st.dictionaries(PREFIXES, mostly(CREDENTIALS, SCALARS), max_size=4),
    ACCOUNT_ENTRIES,
    SCALARS,
)
TARGETS: Strategy[Any] = st.one_of(SOURCES, SOURCES, st.lists(mostly(SOURCES, SCALARS), max_size=3))
IMAGE_ENTRIES = objects({"source": SOURCES, "target": TARGETS}, ("sources", "target ", "<source>", "password"))
IMAGES: Strategy[Any] = st.one_of(
    st.lists(mostly(IMAGE_ENTRIES, SCALARS), max_size=4),
    st.dictionaries(SOURCES, mostly(TARGETS, SCALARS), max_size=4),
    st.fixed_dictionaries({st.sampled_from((*KEYS, "token", "Secret")).example() if False else "password": st.just(CANARY)}),
    SCALARS,
)
