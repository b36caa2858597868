"""Errors of registries, from crane's stderr as the real crane prints it, and from responses."""

import pytest

from imageporter.registry.errors import ErrorKind, RegistryError, insecure_advice, process_limit_advice

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
        ("Error: GET https://r.io/token: DENIED: requested access", ErrorKind.DENIED, None),
        ("Error: GET https://r.io/v2/a/manifests/1: TOOMANYREQUESTSX: x", ErrorKind.OTHER, None),
        ("Error: GET https://r.io/v2/: unexpected status code 404 Not Found: <p>: EOF", ErrorKind.NOT_FOUND, 404),
        ("Error: GET https://r.io/v2/: unexpected status code 404 Not Found: dial tcp", ErrorKind.NOT_FOUND, 404),
        ("Error: DENIED: x", ErrorKind.DENIED, None),
        ("Error: GET https://r.io/v2/: UNKNOWN: it is DENIED", ErrorKind.OTHER, None),
        ("Error: GET https://r.io/v2/: UNKNOWN: x; GET https:// and no host", ErrorKind.OTHER, None),
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
    "reason",
    [
        *("net/http: TLS handshake timeout", "read tcp: i/o timeout", "unexpected EOF", "EOF", "write tcp: broken pipe"),
        *("dial tcp 127.0.0.1:1: connect: connection refused", "read tcp 127.0.0.1:1: read: connection reset by peer"),
        *("remote error: tls: internal error", "proxyconnect tcp: gone", "net/http: timeout awaiting response headers"),
    ],
)
def test_a_connection_that_breaks_is_an_outage(reason: str) -> None:
    error = RegistryError.from_crane_stderr("source", f'Error: Get "https://r.io/v2/": {reason}', 1)
    assert error.is_outage
    assert error.concerns_registry


@pytest.mark.parametrize("reason", ["no dial tone", "EOFX", "no tls at all", "x509 is a number", "a proxyconnects"])
def test_what_only_looks_like_a_broken_connection_is_none(reason: str) -> None:
    error = RegistryError.from_crane_stderr("source", f"Error: GET https://r.io/v2/: UNKNOWN: {reason}", 1)
    assert (error.kind, error.is_outage, error.concerns_registry) == (ErrorKind.OTHER, False, False)


def test_a_response_that_crane_introduces_may_quote_a_certificate() -> None:
    stderr = 'Error: fetching "a": GET https://r.io/v2/a/manifests/1: UNKNOWN: Get "https://up.io/": no: x509: unknown'
    assert RegistryError.from_crane_stderr("source", stderr, 1).kind is not ErrorKind.NOT_TRUSTED


def test_an_attempt_at_another_host_is_part_of_a_response() -> None:
    tls = 'Get "https://r.io/v2/": tls: first record does not look like a TLS handshake'
    stderr = f"Error: {tls}; GET http://r.io/v2/: unexpected status code 400 no; GET http://rx.io/: unexpected status code 404"
    assert RegistryError.from_crane_stderr("source", stderr, 1).status == 400
    first = 'Get "https://r.io/v2/": tls: no: x509: unknown authority; Get "http://x.io/": b'
    error = RegistryError.from_crane_stderr("source", f"Error: {first}; GET http://r.io/v2/: unexpected status code 400", 1)
    assert (error.kind, error.detail) == (ErrorKind.NOT_TRUSTED, first)


def test_an_attempt_may_follow_other_words() -> None:
    stderr = 'Error: fetching; Get "https://r.io/v2/": EOF; GET http://r.io/v2/: unexpected status code 404 Not Found'
    error = RegistryError.from_crane_stderr("source", stderr, 1)
    assert (error.kind, error.status) == (ErrorKind.NOT_FOUND, 404)
    stderr = 'Error: Get "https://r.io": EOF; GET http://r.io/v2/: unexpected status code 404 Not Found'
    assert RegistryError.from_crane_stderr("source", stderr, 1).status == 404


def test_only_crane_s_error_line_is_shown() -> None:
    stderr = "2026/11/24 11:21:43 retrying GET ...\nError: fetching: HEAD https://r.io: unexpected status code 500"
    assert str(RegistryError.from_crane_stderr("copy", stderr, 1)) == (
        "copy failed: fetching: HEAD https://r.io: unexpected status code 500"
    )
    assert str(RegistryError.from_crane_stderr("copy", "", 137)) == "copy failed: crane exited with 137"
    for stderr, detail in (
        ("\nError: a\nError: b\n\n", "a\nError: b"),
        ("Error: reading Error: a\n", "reading Error: a"),
        ("an odd Error: a\nError: b", "b"),
        ("a warning\n", "a warning"),
        ("Error: HEAD https://r.io/v2/ (HEAD responses have no body, use GET for details): a", "HEAD https://r.io/v2/: a"),
    ):
        assert RegistryError.from_crane_stderr("copy", stderr, 1).detail == detail


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


@pytest.mark.parametrize(
    "text",
    ["Resource temporarily unavailable", "fork: Resource temporarily unavailable!", "new OS thread", "can't start new thread"],
)
def test_a_limit_of_processes_has_an_advice(text: str) -> None:
    advice = "no more processes are allowed here (docker's --pids-limit, ulimit -u); allow more, or lower PROBES and JOBS"
    assert process_limit_advice(text) == advice


@pytest.mark.parametrize(
    ("text", "is_memory"),
    [
        *(("fatal error: runtime: out of memory", True), ("fatal error: memory", True)),
        *(("x\nfatal error: cannot allocate memory\n", True), ("[signal SIGSEGV: segmentation violation code=1]", True)),
        *(("fatal error:\nmemory", False), ("fatal error: all goroutines are asleep", False), ("memory", False), ("", False)),
    ],
)
def test_too_little_memory_is_explained(text: str, is_memory: bool) -> None:  # noqa: FBT001
    advice = "the registry's response is too large: crane needs too much memory to read it"
    assert process_limit_advice(text) == (advice if is_memory else "")


@pytest.mark.parametrize(
    ("kind", "words", "permanent", "concerns"),
    [
        (ErrorKind.NOT_FOUND, "not found", True, False),
        (ErrorKind.UNAUTHORIZED, "unauthorised", True, False),
        (ErrorKind.DENIED, "denied", True, False),
        (ErrorKind.RATE_LIMITED, "too many requests", False, True),
        (ErrorKind.TIMED_OUT, "timed out", False, True),
        (ErrorKind.WITHOUT_TLS, "without TLS", True, True),
        (ErrorKind.NOT_TRUSTED, "not trusted", True, True),
        (ErrorKind.REJECTED, "rejected", True, False),
        (ErrorKind.UNREACHABLE, "unreachable", False, True),
        (ErrorKind.OTHER, "failed", False, False),
    ],
)
def test_what_each_kind_means(kind: ErrorKind, words: str, permanent: bool, concerns: bool) -> None:  # noqa: FBT001
    error = RegistryError("copy", kind, "detail", account="as alice")
    assert (str(error), error.account) == (f"copy {words}: detail (as alice)", "as alice")
    assert (error.is_permanent, error.concerns_registry) == (permanent, concerns)
    assert error.is_outage == (kind in {ErrorKind.TIMED_OUT, ErrorKind.UNREACHABLE})
    assert len(ErrorKind) == 10


@pytest.mark.parametrize(("status", "outage"), [(499, False), (500, True), (599, True), (600, False)])
def test_an_error_of_the_server_is_an_outage(status: int, outage: bool) -> None:  # noqa: FBT001
    assert RegistryError("copy", ErrorKind.OTHER, "detail", status=status).is_outage == outage


def test_the_reason_of_many_images_is_what_they_share() -> None:
    error = RegistryError("source", ErrorKind.REJECTED, "a.io/b@sha256:0 is not signed: no", shared="is not signed")
    assert error.reason == "source rejected: is not signed"
    digest = "sha256:" + "0123456789abcdef" * 4
    error = RegistryError("copy", ErrorKind.OTHER, f'{digest} of "https://r.io/v2/a": {digest}0 at https://r.io/v2/b:c/d: x')
    assert error.reason == 'copy failed: sha256:... of "https://r.io": sha256:...0 at https://r.io: x'
    for text, reason in (
        ("GET http://r.io:1/v2/a", "GET http://r.io:1"),
        ("GET http://r.io/", "GET http://r.io"),
        ("GET http://r.io and more", "GET http://r.io and more"),
        ('Get "http://r.io": no "/v2/a" here', 'Get "http://r.io": no "/v2/a" here'),
        ('Get "http://r.io/a" b"', 'Get "http://r.io" b"'),
    ):
        assert RegistryError("copy", ErrorKind.OTHER, text).reason == f"copy failed: {reason}"


@pytest.mark.parametrize(
    ("kind", "detail", "advice"),
    [
        (ErrorKind.WITHOUT_TLS, "unknown authority", "if it is meant to have no TLS, "),
        (
            ErrorKind.NOT_TRUSTED,
            "x509: certificate signed by unknown authority",
            "set SSL_CERT_FILE to the certificate of its authority or, to trust any certificate, ",
        ),
        (
            ErrorKind.NOT_TRUSTED,
            "x509: self-signed certificate",
            "set SSL_CERT_FILE to the certificate of its authority or, to trust any certificate, ",
        ),
        (ErrorKind.NOT_TRUSTED, "x509: expired", "correct its certificate or its name or, to trust any certificate, "),
    ],
)
def test_what_to_do_about_a_registry_without_a_trusted_certificate(kind: ErrorKind, detail: str, advice: str) -> None:
    assert insecure_advice(RegistryError("source", kind, detail)) == advice
