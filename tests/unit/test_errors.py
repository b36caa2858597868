"""Errors of registries, from crane's stderr as the real crane prints it, and from responses."""

import pytest

from imageporter.registry.errors import ErrorKind, RegistryError

HTTPS_ATTEMPT = 'Get "https://127.0.0.1:5601/v2/": tls: first record does not look like a TLS handshake'


@pytest.mark.parametrize(
    ("stderr", "kind", "status"),
    [
        ("Error: GET https://r.io/v2/a/manifests/1: MANIFEST_UNKNOWN: manifest unknown", ErrorKind.NOT_FOUND, None),
        ("Error: GET https://r.io/v2/a/manifests/1: NAME_UNKNOWN: Unknown name", ErrorKind.NOT_FOUND, None),
        ("Error: GET https://r.io/token: UNAUTHORIZED: authentication required", ErrorKind.UNAUTHORIZED, None),
        ("Error: GET https://r.io/v2/a/manifests/DENIED: MANIFEST_UNKNOWN: x", ErrorKind.NOT_FOUND, None),
        ("Error: GET https://r.io/v2/: TOOMANYREQUESTS: slow down", ErrorKind.RATE_LIMITED, None),
        ("Error: GET https://r.io/v2/: unexpected status code 429 Too Many Requests: x", ErrorKind.RATE_LIMITED, 429),
        ("Error: GET https://r.io/v2/: unexpected status code 502 Bad Gateway: <p>: DENIED", ErrorKind.OTHER, 502),
        ('Error: Get "https://r.io/v2/": dial tcp: lookup r.io: no such host', ErrorKind.UNREACHABLE, None),
        ('Error: Get "https://r.io/v2/": net/http: TLS handshake timeout: EOF', ErrorKind.UNREACHABLE, None),
        ("anything else", ErrorKind.OTHER, None),
        ("", ErrorKind.OTHER, None),
    ],
)
def test_what_crane_prints_is_typed(stderr: str, kind: ErrorKind, status: int | None) -> None:
    error = RegistryError.from_crane_stderr("source", stderr, 1)
    assert (error.kind, error.status) == (kind, status)


@pytest.mark.parametrize(
    ("last", "kind", "status"),
    [
        ("GET http://127.0.0.1:5601/v2/: unexpected status code 429 Too Many Requests", ErrorKind.RATE_LIMITED, 429),
        ("GET http://127.0.0.1:5601/v2/: unexpected status code 403 Forbidden: no", ErrorKind.DENIED, 403),
        ("GET http://127.0.0.1:5601/v2/: unexpected status code 503 Service Unavailable", ErrorKind.OTHER, 503),
        ('Get "http://127.0.0.1:5601/v2/": dial tcp 127.0.0.1:5601: connect: refused', ErrorKind.UNREACHABLE, None),
    ],
)
def test_the_last_attempt_decides_because_crane_tries_https_before_plain_http(
    last: str, kind: ErrorKind, status: int | None
) -> None:
    error = RegistryError.from_crane_stderr("source", f"Error: {HTTPS_ATTEMPT}; {last}", 1)
    assert (error.kind, error.status) == (kind, status)
    assert str(error) == f"source {kind.value}: {HTTPS_ATTEMPT}; {last}"  # the text stays whole


def test_a_bad_certificate_decides_over_the_plain_http_attempt_after_it() -> None:
    stderr = (
        'Error: Get "https://127.0.0.1:1/v2/": tls: failed to verify certificate: '
        "x509: certificate signed by unknown authority; "
        "GET http://127.0.0.1:1/v2/: unexpected status code 400 Bad Request: Client sent an HTTP request to an HTTPS server."
    )
    error = RegistryError.from_crane_stderr("target", stderr, 1)
    assert (error.kind, error.status) == (ErrorKind.NOT_TRUSTED, None)
    # what plain HTTP adds would only mislead
    assert str(error) == (
        'target not trusted: Get "https://127.0.0.1:1/v2/": tls: failed to verify certificate: '
        "x509: certificate signed by unknown authority"
    )


def test_plain_http_where_tls_was_expected_and_untrusted_certificates_are_permanent_and_no_outage() -> None:
    for text, kind in (
        ("http: server gave HTTP response to HTTPS client", ErrorKind.WITHOUT_TLS),
        ("tls: failed to verify certificate: x509: certificate has expired", ErrorKind.NOT_TRUSTED),
    ):
        error = RegistryError.from_crane_stderr("source", f'Error: Get "https://r.io/v2/": {text}', 1)
        assert (error.kind, error.is_permanent, error.is_outage, error.concerns_registry) == (kind, True, False, True)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("UNKNOWN: unknown error", ErrorKind.OTHER),
        ("MANIFEST_UNKNOWN: no", ErrorKind.NOT_FOUND),
        ("TOOMANYREQUESTS: no", ErrorKind.RATE_LIMITED),
    ],
)
@pytest.mark.parametrize(
    "text", ["x509: certificate signed by unknown authority", "http: server gave HTTP response to HTTPS client"]
)
def test_what_a_registry_says_of_another_one_does_not_make_it_untrusted(code: str, kind: ErrorKind, text: str) -> None:
    """A pull-through cache may quote its upstream's error in its response."""
    quoted = f'Get "https://registry-1.docker.io/v2/": {text}'
    for joint in ("; ", ": "):
        stderr = f"Error: GET http://127.0.0.1:1/v2/a/manifests/1: {code}{joint}{quoted}"
        error = RegistryError.from_crane_stderr("source", stderr, 1)
        assert error.kind in {kind, ErrorKind.UNREACHABLE}
        assert error.detail == stderr.removeprefix("Error: ")


def test_the_certificate_of_a_proxy_is_not_that_of_the_registry() -> None:
    stderr = 'Error: Get "https://r.io/v2/": proxyconnect tcp: tls: failed to verify certificate: x509: unknown authority'
    assert RegistryError.from_crane_stderr("source", stderr, 1).kind is ErrorKind.UNREACHABLE


def test_the_reason_leaves_out_what_only_concerns_one_image() -> None:
    error = RegistryError("source", ErrorKind.NOT_FOUND, "GET https://r.io/v2/a/manifests/1: NAME_UNKNOWN", "r.io")
    assert error.reason == "source not found"
    error = RegistryError("target", ErrorKind.DENIED, "HEAD https://r.io/v2/a/manifests/1: 403", "r.io", account="as alice")
    assert error.reason == "target denied (as alice)"
    assert str(error) == "target denied: HEAD https://r.io/v2/a/manifests/1: 403 (as alice)"
    for text, reason in (
        ('Get "https://r.io:5000/v2/": dial tcp: connection refused', 'Get "https://r.io:5000": dial tcp: connection refused'),
        ("GET https://r.io/v2/a/manifests/1: unexpected status code 500", "GET https://r.io: unexpected status code 500"),
    ):
        assert RegistryError("source", ErrorKind.OTHER, text, "r.io").reason == f"source failed: {reason}"


@pytest.mark.parametrize(("status", "kind"), [(503, ErrorKind.OTHER), (429, ErrorKind.RATE_LIMITED), (403, ErrorKind.DENIED)])
def test_a_status_over_https_decides_over_the_plain_http_attempt_after_it(status: int, kind: ErrorKind) -> None:
    stderr = (
        f"Error: GET https://127.0.0.1:1/v2/: unexpected status code {status} Whatever; "
        "GET http://127.0.0.1:1/v2/: unexpected status code 400 Bad Request: Client sent an HTTP request to an HTTPS server."
    )
    error = RegistryError.from_crane_stderr("target", stderr, 1)
    assert (error.kind, error.status) == (kind, status)


@pytest.mark.parametrize(
    "reason", ["net/http: TLS handshake timeout", "read tcp: i/o timeout", "unexpected EOF", "write tcp: broken pipe"]
)
def test_a_connection_that_breaks_is_an_outage(reason: str) -> None:
    error = RegistryError.from_crane_stderr("source", f'Error: Get "https://r.io/v2/": {reason}', 1)
    assert error.is_outage


def test_only_crane_s_error_line_is_shown() -> None:
    stderr = "2026/11/24 11:21:43 retrying GET ...\nError: fetching: HEAD https://r.io: unexpected status code 500"
    assert str(RegistryError.from_crane_stderr("copy", stderr, 1)) == (
        "copy failed: fetching: HEAD https://r.io: unexpected status code 500"
    )
    assert str(RegistryError.from_crane_stderr("copy", "", 137)) == "copy failed: crane exited with 137"


def test_too_few_processes_are_explained() -> None:
    error = RegistryError.from_crane_stderr("copy", "runtime: failed to create new OS thread (have 5)", 2)
    assert "docker's --pids-limit" in str(error)


@pytest.mark.parametrize(
    ("status", "kind", "permanent", "outage"),
    [
        (401, ErrorKind.UNAUTHORIZED, True, False),
        (403, ErrorKind.DENIED, True, False),
        (404, ErrorKind.NOT_FOUND, True, False),
        (418, ErrorKind.OTHER, False, False),
        (429, ErrorKind.RATE_LIMITED, False, False),
        (500, ErrorKind.OTHER, False, True),
        (503, ErrorKind.OTHER, False, True),
    ],
)
def test_responses_are_typed_by_their_status(status: int, kind: ErrorKind, permanent: bool, outage: bool) -> None:  # noqa: FBT001
    error = RegistryError.from_response("target", "HEAD https://r.io/v2/a/manifests/1", "r.io", status, 7)
    assert (error.kind, error.is_permanent, error.is_outage) == (kind, permanent, outage)
    assert str(error) == f"target {kind.value}: HEAD https://r.io/v2/a/manifests/1: unexpected status code {status}"
    assert (error.host, error.retry_after) == ("r.io", 7)
