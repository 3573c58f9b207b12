"""A local server in the layout of the Hugging Face hub, which notes what it is asked for."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "c0ffee" + "0" * 34


class LocalHub:
    """Serve folders as repositories while the block runs.

    Args:
        repositories: hub id -> folder.

    Attributes:
        url: for the environment variable HF_ENDPOINT.
        asked: method and path of every request.
    """

    def __init__(self, repositories: dict[str, Path]) -> None:
        self.repositories = repositories
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                status, headers, body = hub.answer(self.path.partition("?")[0])
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path, as the hub would answer."""
        for name, folder in self.repositories.items():
            files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
            if path.startswith(f"/{name}/resolve/"):
                file = files.get(path.split("/", 5)[5])
                if file is None:
                    return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
                content = file.read_bytes()
                tag = f'"{hashlib.sha1(content).hexdigest()}"'
                return 200, {"ETag": tag, "X-Repo-Commit": COMMIT}, content
            if path.startswith(f"/api/models/{name}/tree/"):
                tree = [{"type": "file", "path": n, "size": p.stat().st_size, "oid": ""}
                        for n, p in files.items()]  # fmt: skip
                return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
            if path.startswith(f"/api/models/{name}"):
                about = {"id": name, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}
                return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def __enter__(self) -> LocalHub:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
