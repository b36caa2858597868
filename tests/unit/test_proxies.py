"""The proxy rules, against a table that Go's golang.org/x/net/http/httpproxy (v0.37.0) filled in."""

import pytest

from imageporter.registry.proxies import check_proxy_variables, proxy_for
from imageporter.system.errors import Problems

# scheme, authority, NO_PROXY, whether Go uses the proxy
GO_SAYS = [
    ("https", "reg.example", "", True),
    ("https", "localhost:5000", "", False),
    ("https", "127.0.0.1:5000", "", False),
    ("https", "127.9.9.9", "", False),
    ("https", "[::1]:5000", "", False),
    ("https", "[::1]", "", False),
    ("https", "my.localhost:5000", "", True),
    ("http", "reg.example", "", True),
    ("https", "reg.example", "*", False),
    ("https", "reg.example", "other.example, *", False),
    ("https", "reg.example", "*.*", True),
    ("https", "reg.example", "reg.example", False),
    ("https", "REG.example", "reg.EXAMPLE", False),
    ("https", "my.reg.example", "reg.example", False),
    ("https", "myreg.example", "reg.example", True),
    ("https", "reg.example", ".reg.example", True),
    ("https", "my.reg.example", ".reg.example", False),
    ("https", "reg.example", "*.reg.example", True),
    ("https", "my.reg.example", "*.reg.example", False),
    ("https", "my.reg.example", "*reg.example", True),
    ("https", "reg.example:5000", "reg.example:5000", False),
    ("https", "reg.example:5001", "reg.example:5000", True),
    ("https", "reg.example:5000", "reg.example:", False),
    ("https", "reg.example", "reg.example:443", False),
    ("http", "reg.example", "reg.example:443", True),
    ("http", "reg.example", "reg.example:80", False),
    ("https", "reg.example:5000", "reg.example", False),
    ("https", "10.1.2.3:5000", "10.0.0.0/8", False),
    ("https", "11.1.2.3:5000", "10.0.0.0/8", True),
    ("https", "10.1.2.3:5000", "10.9.9.9/8", False),
    ("https", "10.1.2.3:5000", "10.0.0.0/255.0.0.0", True),
    ("https", "10.1.2.3:5000", "10.0.0.0/33", True),
    ("https", "reg.example", "0.0.0.0/0", True),
    ("https", "10.1.2.3:5000", "10.1.2.3", False),
    ("https", "10.1.2.3:5000", "10.1.2.3:5000", False),
    ("https", "10.1.2.3:5001", "10.1.2.3:5000", True),
    ("https", "10.1.2.3:5000", "10.1.2", True),
    ("https", "10.1.2.3", ".3", True),
    ("https", "10.1.2.3", "2.3", True),
    ("https", "my.10.1.2.3", "10.1.2.3", True),
    ("https", "[fd00::1]:5000", "fd00::/8", False),
    ("https", "[fd00::1]:5000", "fd00::1", False),
    ("https", "[fd00::1]:5000", "[fd00::1]", True),
    ("https", "[fd00::1]:5000", "[fd00::1]:5000", False),
    ("https", "[fd00::1]:5000", "[fd00::1]:5001", True),
    ("https", "[FD00::1]:5000", "fd00:0::1", False),
    ("https", "[::ffff:10.1.2.3]:5000", "10.0.0.0/8", False),
    ("https", "[::ffff:127.0.0.1]:5000", "", False),
    ("https", "reg.example", " , reg.example ,", False),
    ("https", "reg.example", ":443", True),
    ("https", "reg.example", ".", True),
    ("https", "reg.example", "example", False),
    ("https", "reg.example", "reg.example.", True),
    ("https", "reg.example", "http://reg.example", True),
]


@pytest.mark.parametrize(("scheme", "authority", "no_proxy", "proxied"), GO_SAYS)
def test_no_proxy_means_what_it_means_to_go(scheme: str, authority: str, no_proxy: str, proxied: bool) -> None:  # noqa: FBT001
    environ = {"HTTP_PROXY": "http://plain:1", "HTTPS_PROXY": "http://secure:2", "NO_PROXY": no_proxy}
    proxy = {"http": "http://plain:1", "https": "http://secure:2"}[scheme]
    assert proxy_for(scheme, authority, environ) == (proxy if proxied else "")


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, ""),
        ({"HTTPS_PROXY": ""}, ""),
        ({"HTTP_PROXY": "http://plain:1"}, ""),
        ({"ALL_PROXY": "http://all:1"}, ""),
        ({"https_proxy": "http://lower:1"}, "http://lower:1"),
        ({"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:1"}, "http://upper:1"),
        ({"HTTPS_PROXY": "", "https_proxy": "http://lower:1"}, "http://lower:1"),
        ({"HTTPS_PROXY": "http://upper:1", "no_proxy": "reg.example"}, ""),
        ({"HTTPS_PROXY": "http://upper:1", "NO_PROXY": "other.example", "no_proxy": "reg.example"}, "http://upper:1"),
        ({"HTTPS_PROXY": "proxy:3128"}, "http://proxy:3128"),
        ({"HTTPS_PROXY": "https://proxy"}, "https://proxy"),
        ({"HTTPS_PROXY": "socks5://proxy:1080"}, "socks5h://proxy:1080"),
        ({"HTTPS_PROXY": "SOCKS5://proxy"}, "socks5h://proxy"),
        ({"HTTPS_PROXY": "http://me:p%40ss@proxy:3128"}, "http://me:p%40ss@proxy:3128"),
    ],
)
def test_the_variables_are_read_as_go_reads_them(environ: dict[str, str], proxy: str) -> None:
    assert proxy_for("https", "reg.example", environ) == proxy


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"])
@pytest.mark.parametrize(
    ("proxy", "is_proxy"),
    [
        ("", True),
        ("proxy:3128", True),
        ("http://proxy:3128", True),
        ("HTTPS://proxy", True),
        ("socks5://proxy:1", True),
        ("socks5h://proxy:65535", True),
        ("http://me:p%40%aF%0dss@[::1]:3128", True),
        ("ftp://proxy", False),
        ("http://", False),
        ("http://:3128", False),
        ("http://proxy:0", False),
        ("http://proxy:65536", False),
        ("http://[::1", False),
        ("http://pro xy", False),
        ("http://proxy\u00a0", False),
        ("http://proxy\x01", False),
        ("http://proxy\x7f", False),
        ("http://proxy\\x", False),
        ("http://me:p%4@proxy", False),
        ("http://me:p%g0@proxy", False),
        ("http://me:p%0g@proxy", False),
        ("://proxy", False),
    ],
)
def test_what_is_no_proxy_is_a_problem_that_shows_nothing(name: str, proxy: str, is_proxy: bool) -> None:  # noqa: FBT001
    problems = Problems()
    check_proxy_variables({name: proxy}, problems)
    line = f"{name.upper()}: is not the URL of a proxy; write one like http://proxy.example.com:3128"
    assert list(problems) == ([] if is_proxy else [line])
