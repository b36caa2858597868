"""The CA bundle is what Go would read: one file, every directory, each certificate once."""

from pathlib import Path

import pytest
import trustme

from imageporter.registry.ca_bundle import build_ca_bundle, ca_variables, check_ca_variables
from imageporter.system.errors import Problems


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
