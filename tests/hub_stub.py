"""A hub on this machine that serves one small repository and answers as the real one does, and who asks it.

The hub's client reads its settings when it is imported. So who asks is a process of its own, which has imported
everything under the settings of this hub; it forks for each question, which then starts at once.
"""

import hashlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from forked import Ended


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


class HubAddress:
    """An address on this machine that refuses connections, but while something is served there."""

    def __init__(self) -> None:
        self._kept = socket.socket()  # bound, so that nobody else takes the port, and deaf
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind(("127.0.0.1", 0))
        self.port = self._kept.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    @contextmanager
    def serve(
        self, files: Mapping[str, bytes], sha: str, *, name: str = "nyu-mll/glue", kind: str = "datasets"
    ) -> Iterator[list[str]]:
        """Serve the files as a repository; yields the list of requests so far."""
        requests: list[str] = []
        folder = "datasets/" if kind == "datasets" else ""
        places = {"api": f"/api/{kind}/{name}", "resolve": f"/{folder}{name}/resolve/"}
        handler = type("Hub", (_Hub,), {"files": files, "sha": sha, "requests": requests, "name": name, **places})
        server_class = type("Server", (ThreadingHTTPServer,), {"allow_reuse_port": True})
        server = server_class(("127.0.0.1", self.port), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield requests
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Accept connections and never answer."""
        with socket.create_server(("127.0.0.1", self.port), reuse_port=True):
            yield

    def close(self) -> None:
        self._kept.close()


class Online:
    """A process that may ask the hub at an address, and no other."""

    def __init__(self, folder: Path, address: HubAddress) -> None:
        """Start it.

        Args:
            folder: A new one, for the streams of what it runs and for its cache where a question names no other.
            address: Where its hub is.
        """
        self._folder, self._n = folder, 0
        self._home = folder / "hf"
        self._keep_in(folder / "first")
        tests = Path(__file__).resolve().parent
        paths = [str(tests), str(tests.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        settings = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        settings |= {"HF_HOME": str(self._home), "HF_ENDPOINT": address.endpoint, "NO_PROXY": "127.0.0.1"}
        settings |= {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "200"}
        command = [sys.executable, "-c", "import hub_stub; hub_stub.answer()"]
        self._process = subprocess.Popen(
            command, env=settings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def run(self, *words: object, home: Path, script: str | None = None, seconds: float = 120) -> "Ended":
        """Run `prune-heads` with these words, or a script, in a process that starts at once.

        Args:
            words: Its arguments.
            home: The folder of the hub's cache.
            script: Python code that runs instead.
            seconds: How long it may take.
        """
        from forked import Ended

        self._keep_in(home)
        self._n += 1
        streams = self._folder / f"streams {self._n}"
        store = os.environ.get("PRUNE_HEADS_STORE", str(self._folder / "store"))  # a fixture of a session has none
        asked = {"words": [*map(str, words)], "script": script, "streams": str(streams), "store": store}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            raise TimeoutError(f"{words} took more than {seconds} seconds")
        code = int(self._process.stdout.readline())
        return Ended(code, *((streams / name).read_text() for name in ("stdout", "stderr")))

    def answer(self, script: str, *words: object, home: Path) -> Any:
        """The JSON that a script prints."""
        ended = self.run(*words, home=home, script=script)
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _keep_in(self, home: Path) -> None:
        """The setting is of one path, which leads to the folder that is asked for."""
        home.mkdir(parents=True, exist_ok=True)
        self._home.unlink(missing_ok=True)
        self._home.symlink_to(home)


def answer() -> None:
    """Fork for each question on stdin; answer with the exit code."""
    import pkgutil
    from importlib import import_module

    import prune_heads

    for name in ("datasets", "transformers.models.bert.modeling_bert", "scipy.stats", "matplotlib.figure"):
        import_module(name)
    for module in pkgutil.walk_packages(prune_heads.__path__, "prune_heads."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    from forked import Forked, main

    for line in sys.stdin:
        asked = json.loads(line)
        script, settings = asked["script"], {"PRUNE_HEADS_STORE": asked["store"]}
        program = main if script is None else lambda code=script: exec(code, {"__name__": "__main__"})
        process = Forked(
            Path(asked["streams"]),
            *asked["words"],
            before=lambda settings=settings: os.environ.update(settings),
            program=program,
        )
        print(process.wait().code, flush=True)
