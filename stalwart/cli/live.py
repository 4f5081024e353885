"""A live picture in a browser page on this machine: one moving JPEG, no script, nothing fetched."""

from __future__ import annotations

import io
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING

from stalwart.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_BOUNDARY = "picture"
_WAIT_S = 5.0
"""How long a viewer waits for the next picture before it is let go."""
_PAGE = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>stalwart drive</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self'; style-src 'unsafe-inline'">
<style>body{margin:0;background:#15171b;color:#cfd3da;font:15px system-ui,sans-serif;display:grid;place-items:center;
min-height:100vh}img{width:min(96vw,1500px);border-radius:6px}</style></head>
<body><img src="live.mjpg" alt="The camera's picture, and the world from above"></body></html>
"""


class Live:
    """Serves the newest picture at http://127.0.0.1:PORT/ for as long as the block lasts.

    Args:
        port: 0 for one that is free.

    Raises:
        InputError: the port is taken, or may not be used.
    """

    def __init__(self, port: int = 0) -> None:
        self._changed = threading.Condition()
        self._jpeg, self._number, self._closed = b"", 0, False
        live = self

        class Handler(_Handler):
            source = live

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"port {port} cannot be used: {getattr(error, 'strerror', None) or error}.") from None
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def show(self, picture: NDArray[np.uint8]) -> None:
        """Make (H, W, 3) the newest picture."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=85)
        with self._changed:
            self._jpeg, self._number = file.getvalue(), self._number + 1
            self._changed.notify_all()

    def after(self, number: int) -> tuple[int, bytes] | None:
        """The first picture after the `number`-th; None where none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._number > number or self._closed, _WAIT_S)
            return None if self._closed or self._number <= number else (self._number, self._jpeg)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    source: Live
    server_version = "stalwart"
    sys_version = ""

    def do_GET(self) -> None:
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost"):  # a page elsewhere whose name was made to lead here
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.path == "/":
            self._head("text/html; charset=utf-8", len(_PAGE))
            self.wfile.write(_PAGE)
        elif self.path == "/live.mjpg":
            self._stream()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _head(self, kind: str, length: int | None = None) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def _stream(self) -> None:
        self._head(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        number = 0
        try:
            while (found := self.source.after(number)) is not None:
                number, jpeg = found
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # the viewer has gone

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the terminal is for what the command says."""
