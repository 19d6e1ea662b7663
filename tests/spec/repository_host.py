"""A small repository host on loopback, over real HTTP: pull requests that are opened, judged and read."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class RepositoryHost:
    """State of the host. `first_pull` numbers the first pull request; `refuse_next` makes that many requests fail."""

    def __init__(self, *, first_pull: int = 1) -> None:
        self._lock = threading.Condition()
        self._next = first_pull
        self.pulls: dict[int, dict[str, Any]] = {}
        self.refuse_next = 0
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    def open_pull(self, repository: str, title: str, key: str) -> dict[str, Any]:
        """The pull request of this key, opened if there is none."""
        with self._lock:
            for pull in self.pulls.values():
                if pull["key"] == key:
                    return pull
            pull = {"number": self._next, "repository": repository, "title": title, "key": key, "state": "open"}
            self.pulls[self._next] = pull
            self._next += 1
            self._lock.notify_all()
            return pull

    def wait_for_pulls(self, count: int) -> None:
        """Until so many pull requests are open; an AssertionError after ten seconds."""
        with self._lock:
            assert self._lock.wait_for(lambda: len(self.pulls) >= count, timeout=10), f"only {len(self.pulls)} pulls"

    def judge(self, number: int, state: str) -> None:
        """A person's verdict on a pull request."""
        with self._lock:
            self.pulls[number]["state"] = state

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """The answer to one request."""
        self.requests.append((method, path))
        if self.refuse_next:
            self.refuse_next -= 1
            return 503, {"message": "try again"}
        if method == "POST":
            return 201, self.open_pull(path.removesuffix("/pulls").lstrip("/"), body["title"], body["key"])
        number = int(path.rpartition("/")[2])
        return (200, self.pulls[number]) if number in self.pulls else (404, {"message": "not found"})


@contextmanager
def serving(host: RepositoryHost) -> Iterator[RepositoryHost]:
    """Serve on a free port of the loopback interface."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", {})

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self._answer("POST", json.loads(self.rfile.read(length)))

        def _answer(self, method: str, body: dict[str, Any]) -> None:
            status, value = host.answer(method, self.path, body)
            payload = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    host.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def request(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The JSON that the host answers. Raises ConnectionError for its refusals, as a client library would."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=data), timeout=10) as response:
            value: dict[str, Any] = json.load(response)
            return value
    except urllib.error.HTTPError as error:
        error.close()
        raise ConnectionError(f"{url}: {error.code}") from error
