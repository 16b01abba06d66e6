"""A server under test: start, kill, stop, and ask its read side."""

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from .environment import binary

READY_TIMEOUT_S = 60


def free_port():
    """A port that nobody listens on. Taken again by the server within a moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """One data folder, and the process that serves it now.

    `data` is the data folder; everything the process says goes to `<data>.log`.
    """

    def __init__(self, data, catalog=None, admin_token=None, options=(), env=None):
        self.data = Path(data)
        self.log = self.data.parent / (self.data.name + ".log")
        self.catalog = catalog
        self.admin_token = admin_token
        self.options = list(options)
        self.env = {**os.environ, **(env or {})}
        self.port = free_port()
        self.process = None
        self._http = None

    def spawn(self, *more):
        """Starts the process without waiting for it."""
        command = [binary(), "serve", "--data-dir", self.data, "--listen", f"127.0.0.1:{self.port}"]
        if self.catalog:
            command += ["--catalog", self.catalog]
        log = open(self.log, "ab")
        arguments = [str(part) for part in [*command, *self.options, *more]]
        self.process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        log.close()
        return self

    def start(self, *more):
        """Starts the process and waits until it is ready."""
        self.spawn(*more)
        self.wait_ready()
        return self

    def wait_ready(self):
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"the server exited with {self.process.returncode}\n{self.tail()}")
            try:
                if self.request("GET", "/readyz")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.01)
        raise RuntimeError(f"the server is not ready after {READY_TIMEOUT_S} s\n{self.tail()}")

    def tail(self, lines=20):
        """The last lines that it wrote."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def kill(self):
        """SIGKILL, and wait until it is gone."""
        if self.process:
            self.process.kill()
            self.process.wait()
        self.hang_up()

    def stop(self, timeout_s=30):
        """SIGTERM; the exit code."""
        self.hang_up()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def hang_up(self):
        if self._http:
            self._http.close()
            self._http = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.kill()

    @property
    def ws(self):
        return f"ws://127.0.0.1:{self.port}/v1/ws"

    def request(self, method, path, body=None, token=None, headers=None):
        """One HTTP request on a kept-alive connection: (status, headers in lower case, body bytes)."""
        headers = dict(headers or {})
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        for attempt in (1, 2):
            reused = self._http is not None
            if not reused:
                self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                self._http.request(method, path, body, headers)
                answer = self._http.getresponse()
                content = answer.read()
                return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content
            except (http.client.HTTPException, OSError) as error:
                self.hang_up()
                # A kept-alive connection may have been closed meanwhile; a fresh one was not.
                if not reused or attempt == 2:
                    raise error if isinstance(error, OSError) else OSError(str(error)) from error

    def read(self, path):
        """An admin GET that must succeed, as JSON."""
        status, _, content = self.request("GET", path, token=self.admin_token)
        if status != 200:
            raise RuntimeError(f"GET {path} answered {status}: {content[:300]!r}")
        return json.loads(content)

    def profile(self, user_id):
        """The profile of a user id, or None."""
        found = self.read(f"/api/v1/profiles?userId={quote(user_id, safe='')}")["data"]
        return found[0] if found else None
