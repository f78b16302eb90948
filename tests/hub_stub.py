"""A hub on this machine that serves one small repository and answers as the real one does."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class _Hub(BaseHTTPRequestHandler):
    files: Mapping[str, bytes]
    sha: str
    requests: list[str]
    name: str
    api: str
    resolve: str

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.requests.append(f"{self.command} {self.path}")
        if path == self.api or path.startswith(f"{self.api}/revision/"):
            siblings = [{"rfilename": name} for name in self.files]
            self._json({"id": self.name, "sha": self.sha, "siblings": siblings})
        elif path.startswith(f"{self.api}/tree/"):
            _, _, folder = path.removeprefix(f"{self.api}/tree/").partition("/")
            self._json(self._children(folder))
        elif path.startswith(self.resolve):
            _, _, name = path.removeprefix(self.resolve).partition("/")
            self._file(name)
        else:
            self._missing()

    do_HEAD = do_GET

    def _children(self, folder: str) -> list[dict[str, object]]:
        inside = {name.removeprefix(f"{folder}/" if folder else ""): name for name in self.files}
        inside = {rest: name for rest, name in inside.items() if not folder or rest != name}
        folders = sorted({rest.split("/")[0] for rest in inside if "/" in rest})
        files = [self._entry(name) for rest, name in inside.items() if "/" not in rest]
        return [{"type": "directory", "oid": "0" * 40, "size": 0, "path": name} for name in folders] + files

    def _entry(self, name: str) -> dict[str, object]:
        return {"type": "file", "oid": self._oid(name), "size": len(self.files[name]), "path": name}

    def _oid(self, name: str) -> str:
        return hashlib.sha1(self.files[name]).hexdigest()

    def _file(self, name: str) -> None:
        if name not in self.files:
            self._missing()
            return
        headers = {"ETag": f'"{self._oid(name)}"', "X-Repo-Commit": self.sha}
        content, asked = self.files[name], self.headers.get("Range", "").removeprefix("bytes=")
        if not asked:
            self._send(200, content, headers)
            return
        first, _, last = asked.partition("-")
        part = content[int(first) : int(last or len(content)) + 1]
        self._send(206, part, headers | {"Content-Range": f"bytes {asked}/{len(content)}"})

    def _json(self, answer: object) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _missing(self) -> None:
        self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": self.sha})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve_repository(
    files: Mapping[str, bytes], sha: str, *, name: str = "nyu-mll/glue", kind: str = "datasets"
) -> Iterator[tuple[str, list[str]]]:
    """Serve the files as a repository; yields the address and the list of requests so far."""
    requests: list[str] = []
    places = {"api": f"/api/{kind}/{name}", "resolve": f"/{'datasets/' if kind == 'datasets' else ''}{name}/resolve/"}
    handler = type("Hub", (_Hub,), {"files": files, "sha": sha, "requests": requests, "name": name, **places})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer_of(script: str, *words: str, home: Path, endpoint: str, timeout: float, **settings: str) -> Any:
    """The JSON that a script prints in a process of its own, which knows no other hub: settings are read at import."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", **settings}
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
