"""The rules for plain HTTP, challenges and realms, against tables that go-containerregistry v0.21.9 filled in."""

import pytest

from imageporter.registry.challenge import Bearer, falls_back_to_http, is_allowed_realm, parse_bearer

# host, whether `name.NewRegistry(host).Scheme()` is http
SCHEMES = [
    ("localhost", False),
    ("localhost:5000", True),
    ("localhost:", True),
    ("my.localhost", True),
    ("my.localhost:5000", True),
    ("a.localhost:123456", False),
    ("reg.local", False),
    ("reg.local:5000", False),
    ("127.0.0.1", True),
    ("127.0.0.1:5000", True),
    ("127.0.0.2:5000", False),
    ("127.0.0.1.nip.io", False),
    ("[::1]", True),
    ("[::1]:5000", True),
    ("[fd00::1]:5000", False),
    ("10.0.0.1", True),
    ("10.1.2.3:5000", True),
    ("172.16.0.1:80", True),
    ("172.31.255.255", True),
    ("172.32.0.1", False),
    ("172.15.0.1:5000", False),
    ("192.168.1.1:5000", True),
    ("192.169.1.1", False),
    ("169.254.1.1:5000", False),
    ("100.64.0.1:5000", False),
    ("8.8.8.8:5000", False),
    ("ghcr.io", False),
    ("registry.example:5000", False),
    ("localhost.example:5000", False),
    ("10.0.0.1.example", False),
    ("010.0.0.1:5000", False),
]

# realm, registry, whether the registry speaks plain HTTP, whether validateRealmURL allows it
REALMS = [
    ("https://auth.docker.io/token", "registry-1.docker.io", False, True),
    ("http://auth.example/token", "reg.example", False, False),
    ("http://auth.example/token", "reg.example", True, True),
    ("ftp://auth.example/token", "reg.example", True, False),
    ("//auth.example/token", "reg.example", False, False),
    ("/token", "reg.example", False, False),
    ("https://10.0.0.1/token", "reg.example", False, False),
    ("https://10.0.0.1:5000/token", "10.0.0.1:5000", False, True),
    ("https://10.0.0.1:5001/token", "10.0.0.1:5000", False, False),
    ("http://127.0.0.1:5000/token", "127.0.0.1:5000", True, True),
    ("http://127.0.0.1:5000/token", "127.0.0.1:5000", False, False),
    ("https://127.0.0.1/token", "reg.example", False, False),
    ("https://127.1.2.3/token", "reg.example", False, False),
    ("https://169.254.169.254/latest/meta-data", "reg.example", False, False),
    ("https://172.16.0.1/", "reg.example", False, False),
    ("https://172.32.0.1/", "reg.example", False, True),
    ("https://192.168.0.1/", "reg.example", False, False),
    ("https://8.8.8.8/token", "reg.example", False, True),
    ("https://0.0.0.0/token", "reg.example", False, False),
    ("https://224.0.0.1/token", "reg.example", False, False),
    ("https://[::1]/token", "reg.example", False, False),
    ("https://[::1]:5000/token", "[::1]:5000", False, True),
    ("https://[::]/token", "reg.example", False, False),
    ("https://[fd00:ec2::254]/token", "reg.example", False, False),
    ("https://[fe80::1]/token", "reg.example", False, False),
    ("https://[::ffff:127.0.0.1]/token", "reg.example", False, False),
    ("https://[::ffff:8.8.8.8]/token", "reg.example", False, True),
    ("https://[2001:4860:4860::8888]/token", "reg.example", False, True),
    ("https://localhost:5001/token", "127.0.0.1:5000", False, True),
    ("https://reg.example/token?account=a", "reg.example", False, True),
]

# Go allows most of these. Parsers disagree about some, and the others do not occur.
ODD_REALMS = [
    "https://2130706433/token",
    "https://0x7f.1/token",
    "https://127.1/token",
    "https://127.0.0.1./token",
    "https://user:pw@auth.example/token",
    "https://auth.example\\@127.0.0.1/token",
    "https://auth.example#@127.0.0.1/",
    "https://auth.example/to ken",
    "https://[fe80::1%25eth0]/token",
    "HTTPS://auth.example/token",
    "https://auth.exämple/token",
    "https://192.0.2.1/token",
    "https://auth.example:443:443/token",
    "https://auth.example:999999/token",
    "https://auth..example/token",
    "https://[::1/token",
    "https://[zz]/token",
    "https:///token",
    "https://auth.example/token\r\nX-Header: 1",
    "file:///etc/passwd",
    "",
]


@pytest.mark.parametrize(("host", "plain_http"), SCHEMES)
def test_plain_http_is_tried_where_crane_tries_it(host: str, plain_http: bool) -> None:  # noqa: FBT001
    assert falls_back_to_http(host) == plain_http


@pytest.mark.parametrize(("realm", "host", "plain_http", "allowed"), REALMS)
def test_a_realm_gets_credentials_where_crane_sends_them(realm: str, host: str, plain_http: bool, allowed: bool) -> None:  # noqa: FBT001
    assert is_allowed_realm(realm, host, plain_http=plain_http) == allowed


@pytest.mark.parametrize("realm", ODD_REALMS)
def test_an_odd_realm_gets_nothing(realm: str) -> None:
    assert not is_allowed_realm(realm, "reg.example", plain_http=True)


@pytest.mark.parametrize(
    ("challenge", "bearer"),
    [
        ('Bearer realm="https://a.example/t",service="s"', Bearer("https://a.example/t", "s")),
        ('Bearer realm="https://a.example/t",service="s",scope="repository:a/b:pull"', Bearer("https://a.example/t", "s")),
        ('bearer Realm="https://a.example/t" , SERVICE=s , error="invalid_token"', Bearer("https://a.example/t", "s")),
        ('Bearer realm="https://a.example/t?x=1,2"', Bearer("https://a.example/t?x=1,2", "")),
        ('Bearer   realm="https://a.example/t",service=""', Bearer("https://a.example/t", "")),
        ("Bearer", None),
        ('Bearer realm=""', None),
        ('Bearer service="s"', None),
        ('Bearer realm="https://a.example/t', None),
        ('Bearer realm="https://a.example/t" service="s"', None),
        ('Bearer realm="https://a.example/t", Basic realm="x"', None),
        ('Bearer realm="https://a.example/t",realm="https://b.example/t"', None),
        (r'Bearer realm="https://a.example/\"t"', None),
        ("Bearer realm=https://a.example/t", None),
        ("Bearer realm=a_1.~+/-,service=-/+~.1_a", Bearer("a_1.~+/-", "-/+~.1_a")),
        ('Bearer realm="https://a.example/t", error_description="no"', Bearer("https://a.example/t", "")),
        (r'Bearer realm="https://a.example/t",service="a\b"', None),
        ('Bearer realm="https://a.example/t",service=', None),
        ('Bearer realm="https://a.example/t",="s"', None),
        ('Bearer realm="https://a.example/t",service=é', None),
        ('Bearer realm="https://a.example/t",Realm="https://b.example/t"', None),
        ('Bearer realm="https://a.example/t",?service=s', None),
        ("Bearer " + "a=b," * 10_000 + "?", None),
        ("Bearer " + " " * 50_000 + "!", None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_challenge_is_read_strictly(challenge: str, bearer: Bearer | None) -> None:
    assert parse_bearer(challenge) == bearer


@pytest.mark.parametrize(
    ("host", "plain_http"),
    [
        *((f"{name}:{port}", True) for name in ("127.0.0.1", "[::1]", "my.localhost") for port in ("1", "12345")),
        *((f"{name}:{port}", False) for name in ("127.0.0.1", "[::1]", "my.localhost") for port in ("123456", "٣", "x")),
    ],
)
def test_a_port_has_one_to_five_digits(host: str, plain_http: bool) -> None:  # noqa: FBT001
    assert falls_back_to_http(host) == plain_http


@pytest.mark.parametrize(
    "host",
    [
        "1.example",
        "8.8.8.8.example",
        "0xa.example",
        "auth1",
        "a1.b2",
        "x7f",
        "a.x7",
        "a.0y7",
        "Auth-1.Ex_ample-A:5",
        "auth.example",
    ],
)
def test_a_name_with_digits_is_no_address(host: str) -> None:
    for rest in ("/token", "", "?service=A-z", "/-A._~!$&'()*+,;=:@%/?-"):
        assert is_allowed_realm(f"https://{host}{rest}", "reg.example", plain_http=False)


@pytest.mark.parametrize("host", ["auth.0x7f", "auth.0X7F", "auth.0x", "auth.0x9", "0", "auth.1", "[::ffff:224.0.0.1]", "[]"])
def test_what_only_some_parsers_read_as_an_address_gets_nothing(host: str) -> None:
    assert not is_allowed_realm(f"https://{host}/token", "reg.example", plain_http=False)
