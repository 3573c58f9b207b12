"""A local server in the layout of KinDEL's bucket, which misbehaves on request."""

from __future__ import annotations

import hashlib
import io
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pandas as pd

BIG = "mapk14_1M.parquet"


def content_of(frame: pd.DataFrame) -> bytes:
    """A table as the bytes of a parquet file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


@dataclass
class Bucket:
    """What the server holds, what it shall do wrong, and what it was asked.

    Args:
        files: path below the base -> content.
        faults: path -> what to do with the next requests, one each; then it behaves.
        etag: content -> entity tag; S3's for a single-part upload by default.
    """

    files: dict[str, bytes]
    faults: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    etag: Callable[[bytes], str] = lambda content: f'"{hashlib.md5(content).hexdigest()}"'
    url: str = ""

    def ranges(self, path: str) -> list[str]:
        """The Range headers of all requests for a file, "" where there was none."""
        return [asked for name, asked in self.asked if name == path]


class _Handler(BaseHTTPRequestHandler):
    bucket: Bucket

    def do_GET(self) -> None:
        path = self.path.removeprefix("/data/")
        bucket = self.bucket
        bucket.asked.append((path, self.headers.get("Range", "")))
        fault = bucket.faults[path].pop(0) if bucket.faults[path] else ""
        if fault.isdigit():
            return self._refuse(int(fault))
        if path not in bucket.files:
            return self._refuse(404)
        content = bucket.files[path]
        tag = bucket.etag(content)
        start = 0
        asked = self.headers.get("Range", "")
        unchanged = self.headers.get("If-Range") == tag or fault == "ignores If-Range"
        if asked and unchanged and fault != "ignores Range":
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                return self._refuse(416)
        if fault == "other range":
            start += 1
        body = content[start:]
        if fault == "corrupts":
            body = body[:-20] + bytes(byte ^ 255 for byte in body[-20:])
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if fault in ("says no size", "ends early"):
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("ETag", tag)
        for name, value in bucket.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault in ("truncates", "ends early", "stalls", "drops at once"):
            body = body[: len(body) // 2 if fault != "drops at once" else 0]
        self.wfile.write(body)
        self.wfile.flush()
        if fault == "stalls":
            time.sleep(0.8)
        self.close_connection = True

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, value in self.bucket.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


class Server:
    """Serves a bucket on a free port while in its ``with`` block."""

    def __init__(self, bucket: Bucket) -> None:
        handler = type("Handler", (_Handler,), {"bucket": bucket})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        bucket.url = f"http://127.0.0.1:{self._server.server_address[1]}/data"

    def __enter__(self) -> Server:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
