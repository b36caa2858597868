"""What the tests stand on: real registries on loopback, and a user's folder to run the scripts in."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from loguru import logger
from support import CRANE, REGISTRY_BINARY, Registry, User, certify

# Machines are shared and noisy: no example is judged by its time, and every run tries the same ones.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _no_loguru_sinks() -> Iterator[None]:
    """Logging is global: no test inherits what another configured."""
    yield
    logger.remove()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Registry]:
    """A registry to copy from (`crane registry serve`, anonymous, plain HTTP)."""
    with Registry.serve(tmp_path / "source.log") as registry:
        yield registry


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Registry]:
    """Another one, to copy to."""
    with Registry.serve(tmp_path / "target.log") as registry:
        yield registry


@pytest.fixture
def user(tmp_path: Path) -> User:
    """A user with an empty folder and an empty home."""
    return User(tmp_path / "user")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of a private authority; beside it a server's certificate and key for 127.0.0.1."""
    return certify(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, authority: Path) -> Iterator[Registry]:
    """A distribution registry that wants an account (htpasswd), with TLS of a private authority."""
    account = ("alice", f"p@ss:wörd/{os.urandom(8).hex()}")
    with Registry.guarded(tmp_path_factory.mktemp("distribution"), authority, account) as registry:
        yield registry


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--no-skips`: a test that is skipped has failed; for CI, which has all that the tests can use."""
    parser.addoption("--no-skips", action="store_true", help="count a skipped test as a failure")


def pytest_configure(config: pytest.Config) -> None:
    """Early versions of Python 3.12 take `?1` in SQL for a named parameter, and warn (python/cpython#117995)."""
    if sys.version_info[:2] == (3, 12):
        config.addinivalue_line("filterwarnings", r"ignore:Binding \d+ \('\?\d+'\) is a named parameter:DeprecationWarning")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """See `--no-skips`."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and session.config.getoption("--no-skips") and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def _tools_are_built() -> None:
    """Real tools or no tests: nothing is skipped where one is missing."""
    for tool in (CRANE, REGISTRY_BINARY, CRANE.with_name("supercronic")):
        assert tool.exists(), f"{tool} is missing: run `make test`"
    assert sys.version_info >= (3, 11)
    subprocess.run([str(CRANE), "version"], check=True, capture_output=True)
