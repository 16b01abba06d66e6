"""A socket as the test cases use it, over the PyPI package `websockets`."""

import asyncio
import json

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

WAIT_S = 8
# As in catalog.json: a public token of each channel, a secret one of the app, and one for the read side.
TW, TA, TS, ADMIN = "token-public-web", "token-public-app", "token-secret-app", "token-admin"


class Socket:
    """One connection of the protocol. Frames that a case does not wait for are kept in `skipped`."""

    def __init__(self, raw):
        self.raw = raw
        self.welcome = None
        self.skipped = []

    @classmethod
    async def connect(cls, url, **options):
        options.setdefault("subprotocols", ["lodestone.v1.json"])
        return cls(await connect(url, max_size=None, compression=None, **options))

    @classmethod
    async def hello(cls, url, token, anonymous=None, user=None, **fields):
        """Connects and says hello; the answer is in `welcome`."""
        socket = await cls.connect(url)
        hello = {"t": "hello", "v": 1, "token": token, **fields}
        if anonymous:
            hello["anonymousId"] = anonymous
        if user:
            hello["userId"] = user
        await socket.send(hello)
        socket.welcome = await socket.wait("welcome")
        return socket

    async def send(self, *frames):
        for frame in frames:
            await self.raw.send(frame if isinstance(frame, (str, bytes)) else json.dumps(frame))

    async def next(self, timeout_s=WAIT_S):
        return json.loads(await asyncio.wait_for(self.raw.recv(), timeout_s))

    async def wait(self, kind, timeout_s=WAIT_S, **fields):
        """The next frame of a kind with these fields; others before it go to `skipped`."""
        for index, frame in enumerate(self.skipped):
            if frame["t"] == kind and all(frame.get(k) == v for k, v in fields.items()):
                return self.skipped.pop(index)
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    frame = json.loads(await self.raw.recv())
                    if frame["t"] == kind and all(frame.get(k) == v for k, v in fields.items()):
                        return frame
                    self.skipped.append(frame)
        except TimeoutError:
            raise AssertionError(f"no {kind} {fields} came; only {self.skipped}") from None

    async def quiet(self, kind, during_s=0.3):
        """Whether no frame of a kind comes for a while."""
        try:
            await self.wait(kind, during_s)
            return False
        except AssertionError:
            return True

    async def results(self, count):
        """The next results of plain acks, in order, until there are so many."""
        found = []
        while len(found) < count:
            found += (await self.wait("ack"))["results"]
        return found

    async def closed(self, timeout_s=WAIT_S):
        """The code with which the server closes; frames before it go to `skipped`."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self.skipped.append(json.loads(await self.raw.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        except TimeoutError:
            return None

    async def close(self):
        await self.raw.close()

    def cut(self):
        """Drops the connection without a goodbye."""
        self.raw.transport.abort()


def track(id, event="Page Viewed", properties=None, **fields):
    """A track frame; the default event is valid."""
    properties = {"page": "/"} if properties is None and event == "Page Viewed" else properties
    frame = {"t": "track", "id": id, "event": event, "properties": properties, **fields}
    return {key: value for key, value in frame.items() if value is not None}


CHECKOUT = {"total": 10, "items": 1}
