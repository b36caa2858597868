"""Mutation testing of imageporter.model and imageporter.registry: which changes of the code does no unit test notice?

Each mutant is one small change of a module's syntax tree. It is compiled in a forked process, which runs the unit tests that
cover the changed line: all tests of the module where the line runs at its import, or behind a cache. No file is changed.
`make mutation` runs it:

    PYTHONPATH=tests python -m mutation.mutate [--processes 2] [--results FILE] [--again FILE] [MODULE ...]

A module is a name like `model.rule`; without one, all of both packages take about an hour of a processor. --again only
tests the survivors in the results of an earlier run, and --sample 6 only every sixth mutant. Most of the survivors that are
left are equivalent, or change a text that no test repeats.
"""

import argparse
import ast
import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import coverage
import hypothesis
import pytest
from mutation.operators import Change, changes

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "imageporter"
EXAMPLES = 25  # of hypothesis, per test
SLOWNESS = 3  # a mutant may take as many times as long as the original, and GRACE
GRACE = 5  # seconds
SURVIVED, KILLED, NO_MODULE = 0, 1, 99  # exit codes; a mutant that cannot be imported is no mutant

NO_FAILURE = frozenset({pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED})

# The unit tests of each module, the fast ones first. A module that is missing here is only tested end to end.
TESTS = {
    "model.account": ("accounts_file",),
    "model.image": ("image", "platforms"),
    "model.outcome": ("outcome", "sync"),
    "model.platforms": ("platforms",),
    "model.push_route": ("routes",),
    "model.reference": ("image_reference",),
    "model.report": ("report", "messages"),
    "model.rule": ("rule", "tag_filter", "images_file", "shard"),
    "model.shard": ("shard",),
    "model.tag_filter": ("tag_filter", "rule", "images_file"),
    "model.target_name": ("target_name", "rule"),
    "model.traffic": ("report", "records"),
    "registry.authenticator": ("access", "authenticator", "client"),
    "registry.ca_bundle": ("ca_bundle",),
    "registry.challenge": ("challenge",),
    "registry.client": ("client", "authenticator"),
    "registry.cosign": ("cosign",),
    "registry.crane": ("crane",),
    "registry.crane_process": ("crane_process",),
    "registry.credentials": ("credentials",),
    "registry.errors": ("errors",),
    "registry.lookup": ("lookup",),
    "registry.program": ("program",),
    "registry.proxies": ("proxies",),
    "registry.redaction": ("redaction",),
    "registry.responses": ("responses",),
}


@dataclass(frozen=True)
class Mutant:
    """A change of a module, and its end: killed, timed out or survived; invalid if the module cannot be imported with it."""

    module: str
    line: int
    change: str
    end: str
    seconds: float


class MutantLoader(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the module `name` from the syntax tree `tree` instead of its file."""

    def __init__(self, name: str, path: Path, tree: ast.Module) -> None:
        self.name = name
        self.path = path
        self.code = compile(tree, str(path), "exec")

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        """Take the one module."""
        del path, target
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutant."""
        exec(self.code, module.__dict__)


class Chosen:
    """A plugin of pytest: few examples, and only some of the tests (None: all)."""

    def __init__(self, names: frozenset[str] | None) -> None:
        self.names = names

    def pytest_configure(self) -> None:
        """Replace the profile that conftest.py has loaded."""
        few = hypothesis.settings(deadline=None, derandomize=True, max_examples=EXAMPLES, database=None)
        hypothesis.settings.register_profile("mutation", few)
        hypothesis.settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out the tests that do not cover the changed line."""
        if self.names is not None:
            items[:] = [item for item in items if item.nodeid in self.names]


class Recorder(Chosen):
    """A plugin of pytest that records which test runs which lines."""

    def __init__(self, measured: coverage.Coverage) -> None:
        super().__init__(None)
        self.measured = measured

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Name the test whose lines follow."""
        self.measured.switch_context(item.nodeid)


def run_pytest(files: Iterable[str], plugin: Chosen) -> int:
    """Run the tests in `files`, to the first one that fails."""
    # Plain assertions, because pytest would warn of modules that it can no longer rewrite.
    options = ("-x", "-q", "--tb=no", "--assert=plain", "-p", "no:cacheprovider")
    return int(pytest.main([*options, *files], plugins=[plugin]))


class Tested:
    """One module with its tests."""

    def __init__(self, name: str) -> None:
        self.name = f"{PACKAGE}.{name}"
        self.short = name
        self.path = ROOT.joinpath(*self.name.split(".")).with_suffix(".py")
        self.tree = ast.parse(self.path.read_text())
        files = (f"tests/unit/test_{test}.py" for test in TESTS.get(name, ()))
        self.files = tuple(file for file in files if (ROOT / file).exists())
        self.covering: dict[int, list[str]] = {}
        self.seconds = 0.0

    def import_the_others(self) -> None:
        """Import what does not import this module, and all libraries, so that each fork need not."""
        imports = {name: set(imported_by(path)) for name, path in modules().items()}
        importers = {self.name}
        while more := {name for name, others in imports.items() if others & importers} - importers:
            importers |= more
        libraries = {name for others in imports.values() for name in others if not name.startswith(PACKAGE)}
        for name in ("support", *sorted(imports.keys() - importers), *sorted(libraries)):
            if not name.endswith("__init__"):
                with suppress(ImportError):  # `a.b` may be a name in the module `a`
                    importlib.import_module(name)

    def measure(self) -> None:
        """Find out which test covers which line, and how long all of them take."""
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            silence()
            measured = coverage.Coverage(data_file=None, include=[str(self.path)], config_file=False)
            measured.start()
            code = run_pytest(self.files, Recorder(measured))
            measured.stop()
            found = measured.get_data().contexts_by_lineno(str(self.path))
            with open(write, "w") as pipe:
                json.dump({"code": code, "lines": found}, pipe)
            os._exit(0)
        os.close(write)
        began = time.monotonic()
        with open(read) as pipe:
            result = json.load(pipe)
        os.waitpid(pid, 0)
        self.seconds = time.monotonic() - began
        if result["code"]:
            sys.exit(f"the tests of {self.short} fail without a mutant: {' '.join(self.files)}")
        self.covering = {int(line): names for line, names in result["lines"].items()}

    def tests_of(self, change: Change) -> frozenset[str] | None:
        """Return the tests that cover the changed statement; None for all, where it runs when the module is imported."""
        found = {name for line in change.lines for name in self.covering.get(line, [])}
        return None if "" in found else frozenset(found)

    def start(self, change: Change) -> int:
        """Test a mutant in a process of its own; return its ID."""
        pid = os.fork()
        if pid:
            return pid
        os.setsid()
        silence()
        change.apply()
        try:
            loader = MutantLoader(self.name, self.path, ast.fix_missing_locations(self.tree))
            sys.meta_path.insert(0, loader)
            importlib.import_module(self.name)
        except BaseException:  # whatever it is
            os._exit(NO_MODULE)
        names = self.tests_of(change)
        survives = True
        if names:
            files = sorted({name.partition("::")[0] for name in names}, key=self.files.index)
            survives = run_pytest(files, Chosen(names)) in NO_FAILURE
        # Where a cache may have hidden that other tests cover the line as well, all of them.
        if survives and self.files and (names is None or "lru_cache" in self.path.read_text()):
            survives = run_pytest(self.files, Chosen(None)) in NO_FAILURE
        os._exit(SURVIVED if survives else KILLED)


def silence() -> None:
    """Give this process no output and no input."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def modules() -> dict[str, Path]:
    """Return all modules of the package, by name."""
    found = sorted((ROOT / PACKAGE).rglob("*.py"))
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in found}


def imported_by(path: Path) -> Iterator[str]:
    """Yield the names of all modules that a file imports, and of what it imports from them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def run_mutants(tested: Tested, chosen: Sequence[Change], processes: int) -> Iterator[Mutant]:
    """Test the mutants of a module, some at once."""
    limit = SLOWNESS * tested.seconds + GRACE
    waiting = list(reversed(chosen))
    running: dict[int, tuple[Change, float]] = {}
    while waiting or running:
        while waiting and len(running) < processes:
            change = waiting.pop()
            running[tested.start(change)] = (change, time.monotonic())
        time.sleep(0.005)
        for pid, (change, began) in list(running.items()):
            seconds = time.monotonic() - began
            ended, status = os.waitpid(pid, os.WNOHANG)
            if not ended and seconds < limit:
                continue
            end = "timed out"
            if ended:
                ends = {SURVIVED: "survived", NO_MODULE: "invalid"}
                end = ends.get(os.waitstatus_to_exitcode(status), "killed")
            else:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            del running[pid]
            yield Mutant(tested.short, change.lines.start, change.text, end, round(seconds, 2))


def main() -> None:
    """Test the mutants of each module, and print the survivors and a table."""
    parser = argparse.ArgumentParser(description="mutation testing of the model and the registry")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--results", type=Path, default=Path(".cache/mutation.json"))
    parser.add_argument("--again", type=Path, help="only the survivors in these results")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="only every Nth mutant")
    parser.add_argument("--list", action="store_true", help="only say how many mutants there are")
    given = parser.parse_args()
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # a fifth of each run
    sys.path.insert(0, str(ROOT))
    os.chdir(ROOT)
    earlier = [Mutant(**row) for row in json.loads(given.again.read_text())] if given.again else []
    survivors = {(row.module, row.line, row.change) for row in earlier if row.end == "survived"}
    results: list[Mutant] = []
    for name in given.modules or [name.removeprefix(f"{PACKAGE}.") for name in modules() if name.split(".")[1] in LAYERS]:
        if name.endswith("__init__"):
            continue
        tested = Tested(name)
        chosen = list(changes(tested.tree))[:: given.sample]
        if given.again:
            chosen = [one for one in chosen if (name, one.lines.start, one.text) in survivors]
        if given.list or not chosen:
            print(f"{name}: {len(chosen)} mutants, {', '.join(tested.files)}")
            continue
        # Each module in a process of its own, because the modules to import differ.
        read, write = os.pipe()
        if not (pid := os.fork()):
            with open(write, "w", buffering=1) as pipe:
                tested.import_the_others()
                tested.measure()
                ended = run_mutants(tested, chosen, given.processes)
                pipe.writelines(json.dumps(asdict(mutant)) + "\n" for mutant in ended)
            sys.exit()
        os.close(write)
        with open(read) as pipe:
            for line in pipe:
                results.append(Mutant(**json.loads(line)))
                if results[-1].end in {"survived", "timed out"}:
                    print("{module}:{line}: {end}: {change}".format(**asdict(results[-1])), flush=True)
        os.waitpid(pid, 0)
        given.results.parent.mkdir(parents=True, exist_ok=True)
        given.results.write_text(json.dumps([asdict(row) for row in results], indent=1) + "\n")
        print(summary(name, [row for row in results if row.module == name]), flush=True)
    print(summary("all", results))


LAYERS = frozenset({"model", "registry"})


def summary(name: str, rows: Sequence[Mutant]) -> str:
    """Return one line on the mutants of a module."""
    ends = Counter(row.end for row in rows)
    valid = len(rows) - ends["invalid"]
    shares = ", ".join(f"{ends[end]} {end}" for end in ("killed", "timed out", "survived"))
    return f"{name}: {valid} mutants, {shares}; {sum(row.seconds for row in rows):.0f} s"


if __name__ == "__main__":
    main()
