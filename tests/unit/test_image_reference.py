"""Image references: docker's grammar, normalised, and errors that show no password."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageporter.model.reference import parse, parse_host, parse_path, parse_prefix, shown

TAG = "has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"
SHA = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox"),
        ("docker.io/library/busybox:latest", "docker.io/library/busybox:latest"),
        ("index.docker.io/library/busybox", "docker.io/library/busybox"),
        ("grafana/grafana", "docker.io/grafana/grafana"),
        ("ghcr.io/a/b/c:v1", "ghcr.io/a/b/c:v1"),
        ("Registry.Example.COM/app", "registry.example.com/app"),
        ("localhost/app:1", "localhost/app:1"),
        ("0" * 65, "docker.io/library/" + "0" * 65),
        ("localhost:5000/app", "localhost:5000/app"),
        ("127.0.0.1:5000/app", "127.0.0.1:5000/app"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        ("[FE80::09af]/app:_1.-", "[fe80::09af]/app:_1.-"),
        ("a--b.io/a-b-9", "a--b.io/a-b-9"),
        ("REG:443/app", "reg:443/app"),
        (f"busybox@{SHA}", f"docker.io/library/busybox@{SHA}"),
        (f"quay.io/a/b:1@{SHA}", f"quay.io/a/b:1@{SHA}"),
        ("ghcr.io/" + "a" * 247, "ghcr.io/" + "a" * 247),
        ("a/b__c-d--e.f_g:" + "t" * 128, "docker.io/a/b__c-d--e.f_g:" + "t" * 128),
    ],
)
def test_parse_normalises_and_prints_what_it_parses(text: str, normalised: str) -> None:
    assert str(parse(text)) == normalised
    assert parse(normalised) == parse(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty; write one, like host/repository:tag"),
        (" busybox", "' busybox' begins or ends with white space; remove it"),
        ("https://ghcr.io/a/b", "'https://ghcr.io/a/b' begins with a scheme; write host/repository:tag, without it"),
        ("Git+ssh-1.x://ghcr.io/a", "'Git+ssh-1.x://ghcr.io/a' begins with a scheme; write host/repository:tag, without it"),
        ("x://a", "'x://a' begins with a scheme; write host/repository:tag, without it"),
        ("1x://a", "'1x:' is not a registry; write its host alone, like docker.io or localhost:5000"),
        ("x:/a", "'x:' is not a registry; write its host alone, like docker.io or localhost:5000"),
        ("ghcr.io/ab:x://a", f"'ghcr.io/ab:x://a' {TAG}"),
        ("a:V_.-?", f"'a:V_.-?' {TAG}; as a source, all tags like it are :/^V_[.]-.$/ (with no tag at the target)"),
        ("a:v*,b*", f"'a:v*,b*' {TAG}"),
        ("a:*.*", f"'a:*.*' {TAG}; as a source, all tags like it are :/[.]/ (with no tag at the target)"),
        ("a:?", f"'a:?' {TAG}; as a source, all tags like it are :/^.$/ (with no tag at the target)"),
        ("a:(*", f"'a:(*' {TAG}"),
        ("a:v*(", f"'a:v*(' {TAG}"),
        ("gIT://ghcr.io/a", "'gIT://ghcr.io/a' begins with a scheme; write host/repository:tag, without it"),
        ("ghcr.io/ab-", "'ghcr.io/ab-' is not an image reference (host/repository:tag)"),
        ("ghcr.io/a._b", "'ghcr.io/a._b' is not an image reference (host/repository:tag)"),
        ("ghcr.io/a___b", "'ghcr.io/a___b' is not an image reference (host/repository:tag)"),
        ("Busybox", "'Busybox' is not an image reference (host/repository:tag); a repository is written in small letters"),
        ("ghcr.io/a//b", "'ghcr.io/a//b' is not an image reference (host/repository:tag)"),
        ("ghcr.io/", "'ghcr.io/' is not an image reference (host/repository:tag)"),
        ("a b", "'a b' is not an image reference (host/repository:tag)"),
        ("busybox\n", "'busybox\\n' begins or ends with white space; remove it"),
        ("a:b:c", "'a:b:c' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
        ("a:", "'a:' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
        ("a:" + "t" * 129, "'a:" + "t" * 129 + "' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'"),
        ("a:1.*", f"'a:1.*' {TAG}; as a source, all tags like it are :/^1[.]/ (with no tag at the target)"),
        ("a:*", f"'a:*' {TAG}; as a source, all tags like it are :/./ (with no tag at the target)"),
        ("a:*-rc", f"'a:*-rc' {TAG}; as a source, all tags like it are :/-rc$/ (with no tag at the target)"),
        ("a:v?-*-x", f"'a:v?-*-x' {TAG}; as a source, all tags like it are :/^v.-.*-x$/ (with no tag at the target)"),
        (
            "nas/mirror/img:1",
            "'nas/mirror/img:1' cannot be on Docker Hub, where a name has one or two parts; "
            "if nas is a registry, write its host with a dot or a port, like nas.example.com or nas:443",
        ),
        (
            "docker.io/a/b/c",
            "'docker.io/a/b/c' cannot be on Docker Hub, where a name has one or two parts; correct it",
        ),
        (f"a@{SHA}0", f"'a@{SHA}0' has a digest that is not sha256: and 64 hexadecimal digits"),
        ("a@sha256:abc", "'a@sha256:abc' has a digest that is not sha256: and 64 hexadecimal digits"),
        (
            "0123456789abcdef" * 4,
            "'" + "0123456789abcdef" * 4 + "' is an image ID, not a reference; write host/repository:tag",
        ),
        ("REG/app", "'REG' has neither a dot nor a port; write its whole name (docker.io for Docker Hub), or REG:443"),
        ("ghcr.io/a", "'ghcr.io/a' has a repository of one letter, which crane does not take; give it a longer name"),
        (
            "busybox\uff1alatest",
            "'busybox\uff1alatest' is not an image reference (host/repository:tag); "
            "it has a letter or sign that no reference has, perhaps a full-width one like '\uff1a'",
        ),
        ("-a.io/app", "'-a.io' is not a registry; write its host alone, like docker.io or localhost:5000"),
        ("ghcr.io/" + "a" * 248, "'ghcr.io/" + "a" * 32 + "'... is longer than 255 characters"),
        ("a/" * 130 + "b", "'a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/'... is longer than 255 characters"),
        (
            "user:password@ghcr.io/a",
            "'***@ghcr.io/a' has a digest that is not sha256: and 64 hexadecimal digits",
        ),
    ],
)
def test_parse_refuses_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse(text)


def test_at_names_the_same_repository_by_digest_alone() -> None:
    assert str(parse("ghcr.io/ab:1").at(SHA)) == f"ghcr.io/ab@{SHA}"


@pytest.mark.parametrize(
    ("text", "host"),
    [("docker.io", "docker.io"), ("index.docker.io", "docker.io"), ("GHCR.io", "ghcr.io"), ("localhost", "localhost")],
)
def test_parse_host(text: str, host: str) -> None:
    assert parse_host(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://ghcr.io",
        "ghcr.io/",
        "ghcr.io/me",
        "a b",
        "myregistry",
        "a:b",
        "a-.io",
        "-a.io",
        "[]:1",
        "ghcr.io:",
        "a..io",
        "[g::]",
    ],
)
def test_parse_host_refuses(text: str) -> None:
    with pytest.raises(ValueError, match=r"is empty|is not a registry|neither a dot nor a port"):
        parse_host(text)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("busybox", "busybox"),
        ("me:secret@ghcr.io/a", "***@ghcr.io/a"),
        ("https://me:sec/ret@ghcr.io/a", "https://***@ghcr.io/a"),
        ("me:se@cret@ghcr.io/a", "***@ghcr.io/a"),
        (f"me:secret@ghcr.io/a@{SHA}", f"***@ghcr.io/a@{SHA}"),
        (f"host:5000/a@{SHA}", f"host:5000/a@{SHA}"),
        ("HTTPS://me:secret@ghcr.io/a", "HTTPS://***@ghcr.io/a"),
        ("gIt+ssh-1.x://me:secret@ghcr.io/a", "gIt+ssh-1.x://***@ghcr.io/a"),
        ("x://me:secret@ghcr.io/a", "x://***@ghcr.io/a"),
        ("1x://me:secret@ghcr.io/a", "***@ghcr.io/a"),
        ("://me:secret@ghcr.io/a", "***@ghcr.io/a"),
        ("@ghcr.io/a", "***@ghcr.io/a"),
        ("me:sec\nret@ghcr.io/a", "***@ghcr.io/a"),
        ("me x://me:secret@ghcr.io/a", "***@ghcr.io/a"),
        ("host/a@sha256:ABCDEF", "host/a@sha256:ABCDEF"),
        ("host/a@sha256:", "host/a@sha256:"),
        ("host/a@sha256:abc,", "host/a@sha256:abc,"),
        ("host/a@sha256:abc,1.0", "host/a@sha256:abc,1.0"),
        ("me:secret@sha256:abc,a/b", "***@sha256:abc,a/b"),
        ("me:secret@sha256:abc.io/b", "***@sha256:abc.io/b"),
        ("me:secret@sha256:abcx,b", "***@sha256:abcx,b"),
        ("me:secret@sha:abc", "***@sha:abc"),
    ],
)
def test_shown_hides_a_password(text: str, safe: str) -> None:
    assert shown(text) == safe


def test_a_host_has_no_space_around() -> None:
    with pytest.raises(ValueError, match=r"^is empty; write one, like docker.io or localhost:5000$"):
        parse_host(" ")
    with pytest.raises(ValueError, match=r"^'a.io ' begins or ends with white space; remove it$"):
        parse_host("a.io ")


@pytest.mark.parametrize("text", ["quay.io", "quay.io/coreos", "quay.io/a/b-c", "localhost:5000/a"])
def test_a_prefix_is_a_registry_or_a_part_of_one(text: str) -> None:
    assert parse_prefix(text) == text
    assert parse_prefix(text.replace("quay.io", "QUAY.io")) == text


@pytest.mark.parametrize("text", ["quay.io/", "quay.io/A", "quay.io/a:1", "me:pw@quay.io/A"])
def test_what_is_no_prefix(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a registry, or host/namespace$") as caught:
        parse_prefix(text)
    assert "pw" not in str(caught.value)


def test_a_path_has_no_registry_and_no_tag() -> None:
    assert [parse_path(text) for text in ("library", "team/app")] == ["library", "team/app"]
    for text in ("", "Team", "team/", "a:1"):
        with pytest.raises(ValueError, match=r"is not a namespace; write it in small letters, like library or team/app$"):
            parse_path(text)


# docker's grammar (distribution/reference, regexp.go), said once more as what may be generated
host_names = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?){1,2}(:[0-9]{1,5})?\Z")
components = st.from_regex(r"\A[a-z0-9]{2,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}\Z")
paths = st.lists(components, min_size=1, max_size=4).map("/".join)
tags = st.none() | st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z")
digests = st.none() | st.from_regex(r"\Asha256:[a-f0-9]{64}\Z")


def written(host: str | None, path: str, tag: str | None, digest: str | None) -> str:
    """A reference as a person writes it."""
    return (f"{host}/" if host else "") + path + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")


@given(host=host_names, path=paths, tag=tags, digest=digests)
def test_whatever_dockers_grammar_allows_is_read_and_printed_as_it_was(
    host: str, path: str, tag: str | None, digest: str | None
) -> None:
    path = path if host != "index.docker.io" else "/".join(path.split("/")[:2])
    text = written(host, path, tag, digest)
    parsed = parse(text)
    if host != "index.docker.io":
        assert (parsed.host, parsed.tag, parsed.digest) == (host, tag, digest)
    assert parse(str(parsed)) == parsed
    assert str(parse(text.replace(host, host.upper(), 1))) == str(parsed)


@given(path=paths, tag=tags, digest=digests)
def test_all_spellings_of_docker_hub_are_one(path: str, tag: str | None, digest: str | None) -> None:
    path = "/".join(path.split("/")[:2])  # Docker Hub has no longer names
    spellings = [written("docker.io", path, tag, digest), written("index.docker.io", path, tag, digest)]
    if "/" not in path:
        spellings.append(written("docker.io/library", path, tag, digest))
    if "." not in path.partition("/")[0] or "/" not in path:
        spellings.append(written(None, path, tag, digest))
    assert len({parse(text) for text in spellings}) == 1


@given(st.text(max_size=40) | st.text("abAB01.-_:/@ \n", max_size=40))
def test_any_text_is_a_reference_or_a_reason(text: str) -> None:
    """What is taken is taken again; nothing but ValueError is raised."""
    try:
        parsed = parse(text)
    except ValueError:
        return
    assert parse(str(parsed)) == parsed
