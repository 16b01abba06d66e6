"""Receivers of webhooks, each on a port of its own, that do as badly as they are told."""

import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HUGE = b"x" * (1 << 20)


class Got:
    """One request: when it came, its headers in lower case, its body, and the status that it got."""

    def __init__(self, headers, body, status):
        self.at = time.monotonic()
        self.headers = {name.lower(): value for name, value in headers.items()}
        self.body = body
        self.status = status

    @property
    def act(self):
        return self.headers.get("x-lodestone-act-id")

    @property
    def id(self):
        return self.headers["webhook-id"]


class Sink:
    """A receiver. `manner` is one of good, flaky, hang, redirect, huge, torn."""

    def __init__(self, manner, seed=0):
        self.manner = manner
        self.got = []
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body are two writes: without this each answer waits 40 ms for the other side's acknowledgement.
            disable_nagle_algorithm = True

            def do_POST(self):
                sink.receive(self)

            do_GET = do_POST

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        # A client that was killed is no failure of this side.
        self.server.handle_error = lambda *_: None
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def note(self, request, body, status):
        with self.lock:
            self.got.append(Got(dict(request.headers), body, status))

    def receive(self, request):
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        manner = self.manner
        if manner == "flaky":
            with self.lock:
                bad = self.random.random() < 0.4
            status = 500 if bad else 200
        else:
            status = {"hang": 0, "redirect": 302, "torn": 0}.get(manner, 200)
        self.note(request, body, status)
        if manner == "hang":
            time.sleep(30)
            return
        request.send_response(status or 200)
        if manner == "redirect":
            request.send_header("Location", f"{self.endpoint}/followed")
        if manner == "torn":
            request.send_header("Content-Length", "1000")
            request.end_headers()
            request.wfile.write(b"half an ans")
            request.close_connection = True
            return
        answer = HUGE if manner == "huge" else b"{}"
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def taken(self):
        """The requests that were answered with 200."""
        with self.lock:
            return [got for got in self.got if got.status == 200]

    def all(self):
        with self.lock:
            return list(self.got)
