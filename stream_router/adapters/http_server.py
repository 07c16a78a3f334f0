"""What a process serves over HTTP: /metrics for Prometheus, /livez and /readyz for its supervisor."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import MetricsHandler

from stream_router.adapters.health import Health
from stream_router.errors import SettingError
from stream_router.settings import Settings


@contextmanager
def serving(settings: Settings, health: Health) -> Iterator[str]:
    """Serve in threads where settings.metrics_port says so; yields the address that was taken, or "off".

    Raises SettingError for an address that cannot be taken.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if port is None:
        yield "off"
        return
    try:
        server = _Server(host, port, health)
    except OSError as error:
        raise SettingError(
            f"metrics_host is {host!r} and metrics_port is {port}: {error.strerror}; name an address of this machine "
            "and a free port, or 0 for any",
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="http", daemon=True)
    thread.start()
    try:
        yield server.address
    finally:
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, health: Health) -> None:
        self.health = health
        self.address_family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        super().__init__((str(where[0]), port), _Handler)
        shown = f"[{where[0]}]" if self.address_family == socket.AF_INET6 else where[0]
        self.address = f"http://{shown}:{self.server_port}/metrics"


class _Handler(MetricsHandler):
    timeout = 10.0
    server: _Server

    def do_GET(self) -> None:  # noqa: N802 - the name that http.server calls
        path = self.path.partition("?")[0]
        if path == "/metrics":
            super().do_GET()
        elif path == "/livez":
            stands = self.server.health.stands()
            self._answer(stands is None, {"alive": stands is None, "why": stands})
        elif path == "/readyz":
            unmet = self.server.health.unmet()
            is_ready = not any(unmet.values())
            shown = {name: why or "ready" for name, why in unmet.items()}
            self._answer(is_ready, {"ready": is_ready, "conditions": shown})
        else:
            self.send_error(HTTPStatus.NOT_FOUND, "there are /metrics, /livez and /readyz")

    def _answer(self, fine: bool, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
