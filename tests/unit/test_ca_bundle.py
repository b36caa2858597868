"""The CA bundle is what Go would read: one file, every directory, each certificate once."""

from pathlib import Path

import pytest
import trustme

from imageporter.registry import ca_bundle
from imageporter.registry.ca_bundle import build_ca_bundle, ca_certificates, ca_variables, check_ca_variables
from imageporter.system.errors import Problems, UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    return tmp_path


def certificate(path: Path, *more: bytes) -> bytes:
    path.parent.mkdir(exist_ok=True)
    text = trustme.CA().cert_pem.bytes()
    path.write_bytes(text + b"".join(more))
    return text.strip()


def test_the_file_and_every_directory_each_certificate_once(folder: Path) -> None:
    first = certificate(folder / "one" / "a.pem")
    second = certificate(folder / "two" / "b.crt", first + b"\n")
    third = certificate(folder / "bundle.pem", first + b"\n")
    (folder / "one" / "README").write_text("no certificate")
    (folder / "one" / "gone.pem").symlink_to(folder / "nowhere")
    (folder / "two" / "nested").mkdir()
    given = {"SSL_CERT_FILE": str(folder / "bundle.pem"), "SSL_CERT_DIR": f"{folder}/one:{folder}/two:{folder}/three"}
    path = build_ca_bundle(given, folder / "private")
    assert path is not None
    bundle = path.read_bytes()
    assert [bundle.count(one) for one in (first, second, third)] == [1, 1, 1]
    assert bundle.count(b"BEGIN CERTIFICATE") == 3
    variables = ca_variables(path)
    assert variables["SSL_CERT_FILE"] == str(path)
    assert list(Path(variables["SSL_CERT_DIR"]).iterdir()) == []


def test_variables_that_name_no_certificate_are_problems(folder: Path) -> None:
    certificate(folder / "good" / "a.pem")
    (folder / "empty").mkdir()
    (folder / "text.pem").write_text("no certificate")
    certificate(folder / "space.pem")
    (folder / "space.pem").write_bytes((folder / "space.pem").read_bytes().replace(b"CATE-----\n", b"CATE----- \n"))
    advice = "it needs PEM text, which begins with -----BEGIN CERTIFICATE-----"
    missing = "cannot be read: No such file or directory; correct the path, or mount the"
    for variable, value, lines in (
        ("SSL_CERT_FILE", "good/a.pem", []),
        ("SSL_CERT_FILE", "", []),
        ("SSL_CERT_FILE", "text.pem", [f"contains no certificate; {advice}"]),
        ("SSL_CERT_FILE", "gone.pem", [f"{missing} file"]),
        ("SSL_CERT_FILE", "good", ["cannot be read: Is a directory; correct the path, or mount the file"]),
        ("SSL_CERT_DIR", "good", []),
        ("SSL_CERT_FILE", "space.pem", []),
        ("SSL_CERT_DIR", "empty", [f"contains no certificate; {advice}"]),
        ("SSL_CERT_DIR", "gone", [f"{missing} directory"]),
    ):
        problems = Problems()
        path = f"{folder}/{value}" if value else ""
        check_ca_variables({variable: path}, problems)
        assert list(problems) == [f"{variable}: {path!r} {line}" for line in lines]
    problems = Problems()
    check_ca_variables({"SSL_CERT_DIR": f"{folder}/good:{folder}/gone"}, problems)
    assert list(problems) == []  # Go passes over a directory that is missing


def test_nothing_found_changes_nothing(folder: Path) -> None:
    given = {"SSL_CERT_FILE": str(folder / "none"), "SSL_CERT_DIR": str(folder / "private")}
    assert build_ca_bundle(given, folder / "private") is None
    assert ca_variables(None) == {}
    assert list((folder / "private").iterdir()) == []


def test_a_directory_that_cannot_be_read_is_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate(folder / "one" / "a.pem")
    closed = folder / "closed"
    closed.mkdir()
    iterdir = Path.iterdir

    def refusing(path: Path) -> object:
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    given = {"SSL_CERT_FILE": str(folder / "none"), "SSL_CERT_DIR": f"{closed}:{folder}/one"}
    path = build_ca_bundle(given, folder / "private")
    assert path is not None
    assert path.read_bytes().count(b"BEGIN") == 1


def test_without_variables_the_places_are_those_of_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # crypto/x509, root_linux.go
    assert ca_bundle.FILES == (
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/pki/tls/cacert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/cert.pem",
    )
    assert ca_bundle.DIRECTORIES == ("/etc/ssl/certs", "/etc/pki/tls/certs")
    found = [certificate(folder / name) for name in ("a.pem", "b.pem", "one/a.pem", "two/a.pem")]
    monkeypatch.setattr(ca_bundle, "FILES", tuple(f"{folder}/{name}" for name in ("gone.pem", "a.pem", "b.pem")))
    monkeypatch.setattr(ca_bundle, "DIRECTORIES", (f"{folder}/two", f"{folder}/gone", f"{folder}/one"))
    # the first file alone, and every directory
    for environ in ({}, {"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}):
        assert ca_certificates(environ) == b"".join(found[index] + b"\n" for index in (0, 3, 2))


def test_the_certificates_of_a_directory_are_in_the_order_of_their_names(folder: Path) -> None:
    found = {name: certificate(folder / "one" / name) for name in ("b.pem", "c.pem", "a.pem", "d.pem", "e.pem")}
    environ = {"SSL_CERT_FILE": str(folder / "none"), "SSL_CERT_DIR": str(folder / "one")}
    assert ca_certificates(environ) == b"".join(found[name] + b"\n" for name in sorted(found))


def test_a_certificate_may_follow_a_comment(folder: Path) -> None:
    text = certificate(folder / "a.pem")
    (folder / "a.pem").write_bytes(b"# my authority\n" + text + b"\n")
    problems = Problems()
    check_ca_variables({"SSL_CERT_FILE": str(folder / "a.pem")}, problems)
    assert list(problems) == []


def test_a_bundle_that_is_too_large_is_a_problem(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca_bundle, "LARGEST", 1 << 20)
    path = folder / "large.pem"
    path.write_bytes(b"x" * ((1 << 20) + 1))
    problems = Problems()
    check_ca_variables({"SSL_CERT_FILE": str(path)}, problems)
    advice = "it needs PEM text, which begins with -----BEGIN CERTIFICATE-----"
    assert list(problems) == [f"SSL_CERT_FILE: {str(path)!r} is larger than 1 MiB; {advice}"]


def test_other_systems_have_authorities_of_their_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate(folder / "a.pem")
    monkeypatch.setattr("sys.platform", "darwin")
    problems = Problems()
    check_ca_variables({"SSL_CERT_FILE": "/gone", "SSL_CERT_DIR": "/gone"}, problems)
    assert list(problems) == []
    assert ca_certificates({"SSL_CERT_FILE": str(folder / "a.pem")}) == b""


def test_a_bundle_without_room_is_an_error_of_the_directory(folder: Path) -> None:
    certificate(folder / "a.pem")
    private = folder / "gone"
    with pytest.raises(UserError) as caught:
        build_ca_bundle({"SSL_CERT_FILE": str(folder / "a.pem")}, private)
    assert caught.value.lines == (
        f"TMPDIR: {private} cannot be written in: No such file or directory; make room there, or name another directory",
    )
