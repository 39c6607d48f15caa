"""A hub of one's own: as much of the Hugging Face hub's HTTP as its client asks for here."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Hub(ThreadingHTTPServer):
    """Models by id, each a dict of files; ``gated`` ones are not given."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.models: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.requests: list[str] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def commit(self, model: str) -> str:
        content = b"".join(name.encode() + data for name, data in self.models[model].items())
        return hashlib.sha1(content).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    thread = Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append(f"{self.command} {path}")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            model, revision = found[1], found[2] or "main"
            if self._may_read(model, revision):
                names = [{"rfilename": name} for name in self.server.models[model]]
                sha = self.server.commit(model)
                self._json({"id": model, "modelId": model, "sha": sha, "siblings": names})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", path):
            if self._may_read(found[1], found[2]):
                files = self.server.models[found[1]].items()
                entries = [
                    {"type": "file", "path": name, "size": len(data), "oid": _etag(data)}
                    for name, data in files
                ]
                self._json(entries)
        elif found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if self._may_read(found[1], found[2]):
                self._file(found[1], found[3])
        else:
            self._json({"error": f"unknown {path}"}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        self.server.requests.append(f"POST {path}")
        if self.headers.get("Authorization") != "Bearer right":
            self._json({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            asked = json.loads(body)
            owner = asked.get("organization") or "me"
            model = f"{owner}/{asked['name']}"
            status = 409 if model in self.server.models else 200
            self.server.models.setdefault(model, {})
            self._json({"url": f"{self.server.endpoint}/{model}", "id": model}, status)
        elif path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path.endswith("/preupload/main"):
            files = json.loads(body)["files"]
            modes = {"uploadMode": "regular", "shouldIgnore": False}
            self._json({"files": [{"path": file["path"], **modes} for file in files]})
        elif found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.server.models[found[1]][line["value"]["path"]] = content
            sha = self.server.commit(found[1])
            url = f"{self.server.endpoint}/{found[1]}/commit/{sha}"
            self._json({"success": True, "commitOid": sha, "commitUrl": url})
        else:
            self._json({"error": f"unknown {path}"}, 404)

    def _may_read(self, model: str, revision: str) -> bool:
        if model not in self.server.models:
            # As the hub does for those who are not logged in.
            self._json({"error": "Repository not found"}, 401, {"X-Error-Code": "RepoNotFound"})
        elif model in self.server.gated:
            self._json({"error": "Access is restricted"}, 403, {"X-Error-Code": "GatedRepo"})
        elif revision not in ("main", self.server.commit(model)):
            self._json({"error": "Invalid rev"}, 404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return True
        return False

    def _file(self, model: str, name: str) -> None:
        data = self.server.models[model].get(name)
        commit = {"X-Repo-Commit": self.server.commit(model)}
        if data is None:
            self._json({"error": "no"}, 404, {"X-Error-Code": "EntryNotFound", **commit})
            return
        start = 0
        if found := re.match(r"bytes=(\d+)-", self.headers.get("Range", "")):
            start = int(found[1])
        self._answer(206 if start else 200, data[start:], {"ETag": f'"{_etag(data)}"', **commit})

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        kind = {"Content-Type": "application/json", **(headers or {})}
        message = {"X-Error-Message": value["error"]} if status >= 400 and "error" in value else {}
        self._answer(status, json.dumps(value).encode(), {**kind, **message})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
