"""Canary passwords, and the search for them in everything that a run leaves or shows."""

import base64
import html
import json
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

from support import processes

SAMPLE_SECONDS = 0.01


def new_canary(place: str) -> str:
    """Return a password with characters that every encoding changes; `place` says where it was."""
    return f"canary+{place}/{secrets.token_hex(8)}&=é"


def forms_of(username: str, password: str) -> set[bytes]:
    """Return how a password might look where it leaks."""
    pair = f"{username}:{password}".encode()
    texts = {password, quote(password), quote(password, safe=""), quote_plus(password), html.escape(password)}
    texts |= {json.dumps(password)[1:-1], password.encode().hex(), pair.hex()}
    for raw in (password.encode(), pair):
        for encoded in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
            texts |= {encoded.decode(), encoded.decode().rstrip("=")}
    return {text.encode() for text in texts}


class Search:
    """Searches for the passwords of `accounts` (by username) and counts the bytes and samples it has seen."""

    def __init__(self, accounts: Mapping[str, str]) -> None:
        self.found: list[str] = []
        self.bytes = 0
        self.samples = 0
        self.canaries = accounts
        self._forms = {form: name for name, password in accounts.items() for form in forms_of(name, password)}

    def search(self, place: str, content: bytes) -> None:
        """Search `content`."""
        self.bytes += len(content)
        self.found += [f"the password of {name} in {place}" for form, name in self._forms.items() if form in content]

    def forms(self) -> list[str]:
        """Return all passwords in every encoding."""
        return [form.decode() for form in self._forms]

    def search_files(self, folders: Iterable[Path], except_for: Iterable[str] = ()) -> None:
        """Search every regular file below `folders`, except for those of a name where a password belongs."""
        for path in (path for folder in folders for path in folder.rglob("*")):
            if path.name not in except_for and path.is_file() and not path.is_symlink():
                with suppress(FileNotFoundError):
                    self.search(str(path), path.read_bytes())

    @contextmanager
    def watching(self, own: int) -> Iterator[None]:
        """Search the command line of every process, and the environment of crane, every 10 ms; `own` is not searched."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(SAMPLE_SECONDS):
                self.samples += 1
                for pid, (_, argv) in processes().items():
                    if pid != own:
                        self.search("a command line", " ".join(argv).encode(errors="surrogateescape"))
                    if argv and argv[0].endswith("/crane"):
                        with suppress(OSError):
                            self.search("the environment of crane", Path(f"/proc/{pid}/environ").read_bytes())

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
