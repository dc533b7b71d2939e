"""A model hub on this machine: the part of its HTTP interface that sharing operators uses.

A real server, so that the hub's own client talks to it over a real connection. It keeps
repositories in memory, and does what it is told to do wrong.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_a_token_that_may_write"
READER = "hf_a_token_that_may_read"


@dataclass
class Repo:
    """A repository: the files of every commit, the newest last."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    def commit(self, files: dict[str, bytes]) -> str:
        content = {**(self.commits[-1][1] if self.commits else {}), **files}
        oid = hashlib.sha1(repr(sorted(content.items())).encode()).hexdigest()
        self.commits.append((oid, content))
        return oid

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        if revision == "main" and self.commits:
            return self.commits[-1]
        return next((commit for commit in self.commits if commit[0] == revision), None)


@dataclass
class Hub:
    """The state of the server, which tests look at and change."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)  # large files by sha256
    asked: list[tuple[str, str]] = field(default_factory=list)  # method and path
    ranges: list[str] = field(default_factory=list)
    refuse: dict[str, list[int]] = field(default_factory=dict)  # part of a path: next statuses
    cut_after: list[int] = field(default_factory=list)  # bytes of the next downloads

    def paths(self, method: str) -> list[str]:
        return [path for made, path in self.asked if made == method]


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        self._answer("POST")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_GET(self) -> None:
        self._answer("GET")

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def _answer(self, method: str) -> None:
        path = unquote(urlsplit(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.hub.asked.append((method, path))
        for part, statuses in self.hub.refuse.items():
            if part in path and statuses:
                return self._json({"error": "refused"}, statuses.pop(0))
        parts = path.strip("/").split("/")
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return self._json({"errors": [], "warnings": []})
        if parts[:2] == ["api", "models"]:
            return self._api("/".join(parts[2:4]), parts[4:], body)
        if parts[0] == "lfs":
            self.hub.stored[parts[1]] = body
            return self._json({})
        if path.endswith(".git/info/lfs/objects/batch"):
            return self._batch(json.loads(body))
        if len(parts) > 4 and parts[2] == "resolve":
            return self._resolve(method, "/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        return self._json({"error": "no such page"}, 404)

    def _may(self, write: bool) -> bool:
        """Whether the token may do it; otherwise the answer is given."""
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token == TOKEN or (token == READER and not write):
            return True
        if token == READER:
            self._json({"error": "Forbidden"}, 403)
        else:
            self._json({"error": "Invalid username or password."}, 401)
        return False

    def _create(self, given: dict[str, Any]) -> None:
        if not self._may(write=True):
            return
        name = f"{given['organization']}/{given['name']}"
        known = name in self.hub.repos
        private = given.get("visibility") == "private" or given.get("private") is True
        self.hub.repos.setdefault(name, Repo(private))
        self._json({"url": f"{self.hub.url}/{name}", "name": name}, 409 if known else 200)

    def _api(self, name: str, rest: list[str], body: bytes) -> None:
        if rest[:1] in (["preupload"], ["commit"]):
            if self._may(write=True):
                (self._preupload if rest[0] == "preupload" else self._commit)(name, body)
            return
        revision = rest[1] if len(rest) > 1 else "main"
        found = self._find(name, revision)
        if found is None:
            return
        oid, files = found
        if rest[:1] == ["tree"]:
            tree = [
                {"type": "file", "path": path, "size": len(content), "oid": _blob(content)}
                for path, content in files.items()
            ]
            return self._json(tree)
        siblings = [{"rfilename": path} for path in files]
        self._json({"id": name, "sha": oid, "siblings": siblings, "private": False, "tags": []})

    def _find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self._is_known()):
            self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
            return None
        found = repo.at(revision)
        if found is None:
            self._json({"error": "no revision"}, 404, {"X-Error-Code": "RevisionNotFound"})
        return found

    def _is_known(self) -> bool:
        return self.headers.get("Authorization") in (f"Bearer {TOKEN}", f"Bearer {READER}")

    def _preupload(self, name: str, body: bytes) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        self._json({"files": files})

    def _batch(self, given: dict[str, Any]) -> None:
        if not self._may(write=True):
            return
        objects = []
        for one in given["objects"]:
            actions = {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}"}}
            new = one["oid"] not in self.hub.stored
            objects.append({**one, **({"actions": actions} if new else {})})
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, body: bytes) -> None:
        files: dict[str, bytes] = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.stored[value["oid"]]
        oid = self.hub.repos[name].commit(files)
        url = f"{self.hub.url}/{name}/commit/{oid}"
        self._json({"success": True, "commitOid": oid, "commitUrl": url})

    def _resolve(self, method: str, name: str, revision: str, file: str) -> None:
        found = self._find(name, revision)
        if found is None:
            return
        oid, files = found
        if file not in files:
            return self._json({"error": "none"}, 404, {"X-Error-Code": "EntryNotFound"})
        content = files[file]
        start = 0
        if asked := self.headers.get("Range"):
            self.hub.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{_blob(content)}"')
        self.send_header("X-Repo-Commit", oid)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if method == "GET":
            self._send(content[start:], file)

    def _send(self, content: bytes, file: str) -> None:
        if file.endswith(".safetensors") and self.hub.cut_after:
            self.wfile.write(content[: self.hub.cut_after.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        else:
            self.wfile.write(content)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        content = b"" if self.command == "HEAD" else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _blob(content: bytes) -> str:
    """The name that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that listens on a port of this machine inside the block."""
    hub = Hub()
    handler = type("OwnHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
