#!/usr/bin/env python3
"""Drives the protocol with clients that are not ours: PyPI `websockets` and Python's own HTTP client.

Starts the server by itself ($LODESTONE_BIN). Prints 'N passed, M failed'. Arguments choose cases by a
part of their name.
"""

import asyncio
import json
import sys
import tempfile
import traceback
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.environment import with_packages

with_packages("websockets==17.4")

from protocol import http_cases, socket_cases
from protocol.client import ADMIN
from support.check import Checks
from support.server import Server

CATALOG = Path(__file__).resolve().parent / "catalog.json"
CASE_TIMEOUT_S = 60


class Test(Checks):
    """What a case works with: the server, short ways to call it, and the checks."""

    def __init__(self, folder):
        super().__init__()
        self.folder = Path(folder)
        self.servers = 0
        self.current = ""
        self.server = self.new_server()

    def new_server(self, config=None):
        self.servers += 1
        name = f"data-{self.servers}"
        options = []
        if config:
            path = self.folder / f"{name}.toml"
            lines = []
            for section, keys in config.items():
                lines += [f"[{section}]"] + [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
            path.write_text("\n".join(lines) + "\n")
            options = ["--config", path]
        return Server(self.folder / name, CATALOG, ADMIN, options)

    @contextmanager
    def another_server(self, config):
        """A second server with other settings, for one case."""
        with self.new_server(config) as server:
            yield server.start()

    def that(self, holds, what):
        return super().that(holds, lambda: f"{self.current}: {what() if callable(what) else what}")

    def post(self, path, token, body):
        return self.server.request("POST", path, body, token)

    def track(self, token, user, event, properties, **fields):
        return self.track_on(self.server, token, user, event, properties, **fields)

    def track_on(self, server, token, user, event, properties, **fields):
        body = {"userId": user, "event": event, **fields}
        if properties is not None:
            body["properties"] = properties
        return server.request("POST", "/v1/track", body, token)

    @property
    def catalog(self):
        return CATALOG

    def reactions(self, user, kind):
        """The reactions of one kind in a profile's log."""
        return [e for e in self.server.profile(user)["events"] if e["type"] == "reaction" and e["event"] == kind]

    def invalid(self):
        """The invalid-events log, newest first."""
        return self.server.read("/api/v1/invalid-events?limit=500")["data"]

    async def until(self, read, good, timeout_s=5):
        """Reads until the answer is good; the last answer either way."""
        deadline = asyncio.get_running_loop().time() + timeout_s
        while True:
            answer = read()
            if (answer is not None and good(answer)) or asyncio.get_running_loop().time() > deadline:
                return answer
            await asyncio.sleep(0.02)


async def run(test, cases):
    for function in cases:
        test.current = function.__name__
        before = test.failed
        try:
            async with asyncio.timeout(CASE_TIMEOUT_S):
                await function(test)
        except Exception:
            test.that(False, traceback.format_exc(limit=-3))
        print(f"{'ok    ' if test.failed == before else 'FAILED'} {function.__name__}", flush=True)


def main():
    chosen = [c for c in http_cases.CASES + socket_cases.CASES if not sys.argv[1:] or any(a in c.__name__ for a in sys.argv[1:])]
    with tempfile.TemporaryDirectory(prefix="lodestone-protocol-") as folder:
        test = Test(folder)
        with test.server.start():
            asyncio.run(run(test, chosen))
            test.current = "at the end"
            test.equal(test.server.process.poll(), None, "the server still runs")
            test.equal(test.server.stop(), 0, "exit code of a graceful stop")
        panics = [line for log in Path(folder).glob("*.log") for line in log.read_text(errors="replace").splitlines() if "panicked" in line]
        test.equal(panics, [], "panics in the logs")
    test.finish()


if __name__ == "__main__":
    main()
