"""Object stores for tests: one of our own in a process of its own, spoken with by HTTP, and S3 where moto is there."""

import http.client
import json
import multiprocessing
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch
from urllib.parse import quote, unquote

import fsspec
from fsspec.spec import AbstractFileSystem


class _Handler(BaseHTTPRequestHandler):
    """PUT, GET (of a range too) and DELETE of whole objects; GET of a name that ends in * lists by prefix."""

    objects: dict[str, bytes]

    def do_PUT(self):
        self.objects[unquote(self.path)] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_GET(self):
        name = unquote(self.path)
        if name.endswith("*"):
            there = self.objects.copy()
            found = {key: len(there[key]) for key in there if key.startswith(name[:-1])}
            return self._answer(json.dumps(found).encode())
        content = self.objects.get(name)
        if content is not None and (span := re.match(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))):
            content = content[int(span[1]) : int(span[2]) + 1]
        self._answer(content)

    def do_DELETE(self):
        self._answer(b"" if self.objects.pop(unquote(self.path), None) is not None else None)

    def _answer(self, content):
        refused = "locked" in self.path
        self.send_response(403 if refused else 404 if content is None else 200)
        self.end_headers()
        self.wfile.write(b"" if refused else content or b"")

    def log_message(self, *words):
        pass


class ObjectsOverHttp(AbstractFileSystem):
    """`objects://host:port/prefix`. What is `locked` there is refused."""

    protocol = "objects"

    def cat_file(self, path, start=None, end=None, **extra):
        return self._ask("GET", path, headers={} if end is None else {"Range": f"bytes={start}-{end - 1}"})

    def pipe_file(self, path, value, **extra):
        self._ask("PUT", path, value)

    def rm_file(self, path):
        self._ask("DELETE", path)

    def find(self, path, detail=False, **extra):
        host = path.partition("/")[0]
        found = json.loads(self._ask("GET", f"{path}/*"))
        return {host + name: {"name": host + name, "size": size} for name, size in found.items()}

    def _ask(self, method, path, body=None, headers=None):
        host, _, name = path.partition("/")
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request(method, "/" + quote(name, safe="/*"), body=body, headers=headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status != 200:
            raise {404: FileNotFoundError, 403: PermissionError}[answer.status](f"{method} {path}")
        return content


fsspec.register_implementation("objects", ObjectsOverHttp, clobber=True)


@contextmanager
def serving():
    """The URL of an object store that is there for the length of the block, as a process of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"objects": {}}))
    process = multiprocessing.get_context("fork").Process(target=server.serve_forever, daemon=True)
    process.start()
    server.server_close()
    try:
        yield f"objects://127.0.0.1:{server.server_port}"
    finally:
        process.terminate()
        process.join()


@contextmanager
def serving_s3():
    """The URL of a bucket of moto's, the same way; by s3fs, as users have it."""
    from s3fs import S3FileSystem

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    environment = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + 60
        while True:
            with socket.socket() as sock:
                if sock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < end
            time.sleep(0.1)
        S3FileSystem.clear_instance_cache()
        with patch.dict(os.environ, environment):
            S3FileSystem().mkdir("bucket")
            yield "s3://bucket"
    finally:
        process.terminate()
        process.wait()
