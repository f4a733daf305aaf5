"""A hub that speaks what Hugging Face's client asks of it: commits, large files, and reading."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LARGE_BYTES = 4096
TOKEN = "hf_write"  # noqa: S105 - of no hub


@dataclass
class Hub:
    """A hub that runs.

    Attributes:
        endpoint: its URL.
        files: by the name of a repository, the files of its only branch.
        private: the names of private repositories.
        large: contents that were sent beside a commit, by their SHA-256.
        tokens: the tokens of all requests; empty: none was sent.
    """

    endpoint: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    large: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)

    def commit(self, name: str) -> str:
        """Returns the id of the newest commit of a repository."""
        whole = b"".join(path.encode() + data for path, data in sorted(self.files[name].items()))
        return hashlib.sha1(whole).hexdigest()  # noqa: S324 - as git does


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Starts a hub on a free port."""
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: ClassVar[Hub]
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True  # the client has left, or read enough

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self._read()

    def do_GET(self) -> None:
        self._read()

    def do_PUT(self) -> None:
        self.hub.large[self.path.rpartition("/")[2]] = self._body()
        self._answer(200, {})

    def do_POST(self) -> None:
        body = self._body()
        if self._token() != TOKEN:
            self._answer(401, {"error": "Invalid username or password."})
        elif self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", self.path):
            sizes = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            self._answer(
                200,
                {
                    "files": [
                        {
                            "path": one["path"],
                            "uploadMode": modes[one["size"] > LARGE_BYTES],
                            "shouldIgnore": False,
                        }
                        for one in sizes
                    ]
                },
            )
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.path.endswith("/info/lfs/objects/batch"):
            self._large(json.loads(body)["objects"])
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", self.path):
            self._commit(found[1], body)
        else:
            self._answer(404, {"error": f"no address {self.path}"})

    def _create(self, told: Mapping[str, Any]) -> None:
        name = f"{told['organization']}/{told['name']}"
        if name in self.hub.files:
            self._answer(409, {"url": f"{self.hub.endpoint}/{name}"})
            return
        self.hub.files[name] = {}
        if told.get("private"):
            self.hub.private.add(name)
        self._answer(200, {"url": f"{self.hub.endpoint}/{name}"})

    def _large(self, objects: list[dict[str, Any]]) -> None:
        wanted = [
            {
                **one,
                "actions": {"upload": {"href": f"{self.hub.endpoint}/large/{one['oid']}"}},
            }
            for one in objects
        ]
        self._answer(200, {"transfer": "basic", "objects": wanted})

    def _commit(self, name: str, body: bytes) -> None:
        files = self.hub.files[name]
        for line in body.splitlines():
            told = json.loads(line)
            value = told["value"]
            if told["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif told["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif told["key"] == "deletedFile":
                files.pop(value["path"], None)
        commit = self.hub.commit(name)
        url = f"{self.hub.endpoint}/{name}/commit/{commit}"
        self._answer(200, {"commitUrl": url, "commitOid": commit, "success": True})

    def _read(self) -> None:
        path = self.path.partition("?")[0]
        found = re.fullmatch(
            r"/(?:api/models/(?P<listed>[^/]+/[^/]+)/(?:revision|tree)/(?P<at>[^/]+)"
            r"|(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+))",
            path,
        )
        name = found and (found["listed"] or found["name"])
        if not name or name not in self.hub.files or not self._may_see(name):
            self._answer(404, {"error": "Repository not found"}, code="RepoNotFound")
            return
        assert found is not None
        commit = self.hub.commit(name)
        if (found["at"] or found["revision"]) not in {"main", commit}:
            self._answer(404, {"error": "Invalid rev id"}, code="RevisionNotFound")
        elif found["listed"]:
            files = self.hub.files[name]
            if "/tree/" in path:
                rows = [
                    {"type": "file", "path": one, "size": len(data), "oid": _blob(data)}
                    for one, data in files.items()
                ]
                self._answer(200, rows)
                return
            siblings = [{"rfilename": one} for one in files]
            self._answer(200, {"id": name, "modelId": name, "sha": commit, "siblings": siblings})
        elif found["file"] not in self.hub.files[name]:
            self._answer(404, {"error": "Entry not found"}, code="EntryNotFound")
        else:
            data = self.hub.files[name][found["file"]]
            self._answer(200, data, etag=_blob(data), commit=commit)

    def _may_see(self, name: str) -> bool:
        return name not in self.hub.private or self._token() == TOKEN

    def _token(self) -> str:
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        self.hub.tokens.add(token)
        return token

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "") == "chunked":
            pieces = []
            while size := int(self.rfile.readline().strip(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("content-length", 0)))

    def _answer(
        self, status: int, body: Any, *, code: str = "", etag: str = "", commit: str = ""
    ) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"X-Error-Code": code, "ETag": etag and f'"{etag}"', "X-Repo-Commit": commit}
        for name, value in headers.items():
            if value:
                self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 - as git does
