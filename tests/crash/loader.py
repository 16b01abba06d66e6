#!/usr/bin/env python3
"""The load of the crash test, in a process of its own: it survives the server and remembers what it was told.

    loader.py PORT RECORDS

Commands come on stdin, one a line: `load N` starts cycle N, `quiesce` sends nothing new, waits until
everything sent is acknowledged, and answers on stdout with the path of the record of the cycle.
Whenever the connection breaks, everything that was not acknowledged is sent again under its old id.

Four sockets send ticks of many users with a secret token and compact acks. Three threads let new users
accept coupons over HTTP, each act under one message id until it has a final answer.
"""

import asyncio
import http.client
import json
import random
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.environment import with_packages

with_packages("websockets==17.4")

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

TOKEN = "ls_sk_load"
SOCKETS = 4
USERS_PER_SOCKET = 5
ACCEPT_THREADS = 3
RETRY_S = 0.02


class Cycle:
    """What was sent and what was answered in one cycle."""

    def __init__(self, number):
        self.number = number
        self.sent = {}
        self.acked = 0
        self.duplicates = 0
        self.refused = 0
        self.accepts = {}
        self.problems = []


class Load:
    """The state that the sockets, the threads and the commands share."""

    def __init__(self, port, records):
        self.port = port
        self.records = Path(records)
        self.cycle = None
        self.loading = False
        self.busy_threads = 0
        # Users that live through all cycles: their messages so far.
        self.forever = {}

    def record(self):
        """Writes down the cycle; returns the path."""
        cycle = self.cycle
        path = self.records / f"cycle-{cycle.number}.json"
        path.write_text(json.dumps({
            "sent": cycle.sent, "forever": self.forever, "acked": cycle.acked, "duplicates": cycle.duplicates,
            "refused": cycle.refused, "accepts": cycle.accepts, "problems": cycle.problems[:20]}))
        return path


class Feeder:
    """One socket that is always there again."""

    def __init__(self, load, index):
        self.load = load
        self.index = index
        self.random = random.Random(index)
        self.unacked = {}
        self.batches = {}
        self.batch_number = 0

    def fresh_item(self):
        """A new message: of a user of this cycle, or now and then of one who stays."""
        cycle = self.load.cycle
        if self.random.random() < 0.02:
            user, counts = f"forever-{self.index}", self.load.forever
        else:
            user, counts = f"c{cycle.number}-{self.index}-{self.random.randrange(USERS_PER_SOCKET)}", cycle.sent
        n = counts.get(user, 0)
        counts[user] = n + 1
        id = f"{user}:{n}"
        pad = "x" * self.random.randrange(200)
        self.unacked[id] = json.dumps({"t": "track", "id": id, "userId": user, "event": "Tick", "properties": {"n": n, "pad": pad}})
        return id

    async def run(self):
        while True:
            try:
                # No proxy, no compression, no keepalive: only what the test is about.
                async with connect(f"ws://127.0.0.1:{self.load.port}/v1/ws", subprotocols=["lodestone.v1.json"], proxy=None,
                                   compression=None, ping_interval=None, open_timeout=10) as socket:
                    await self.feed(socket)
            except (OSError, WebSocketException, EOFError, TimeoutError):
                await asyncio.sleep(RETRY_S)

    async def feed(self, socket):
        await socket.send(json.dumps({"t": "hello", "v": 1, "token": TOKEN, "anonymousId": f"loader-{self.index}", "ack": "compact"}))
        welcome = json.loads(await socket.recv())
        if welcome["t"] != "welcome":
            await asyncio.sleep(RETRY_S)
            return
        credit = welcome["credit"]
        self.batches = {}
        queue = list(self.unacked)
        while True:
            if self.load.loading and not queue:
                queue = [self.fresh_item() for _ in range(self.random.choice((1, 1, 10, 100)))]
            if queue and credit >= min(len(queue), 100):
                ids, queue = queue[:100], queue[100:]
                credit -= len(ids)
                self.batch_number += 1
                self.batches[str(self.batch_number)] = ids
                await socket.send('{"t":"batch","id":"%d","messages":[%s]}' % (self.batch_number, ",".join(self.unacked[id] for id in ids)))
                continue
            try:
                frame = json.loads(await asyncio.wait_for(socket.recv(), 0.05))
            except TimeoutError:
                continue
            credit += frame.get("credit") or 0
            if frame["t"] == "ack":
                again = self.acknowledge(frame)
                if again:
                    # Refused for now, as on a full disk: a pause, and then the same again.
                    await asyncio.sleep(0.05)
                    queue = again + queue
            elif frame["t"] == "error":
                if frame["code"] == "unavailable":
                    return
                self.load.cycle.problems.append(frame)

    def acknowledge(self, ack):
        """Strikes off what is stored; returns the ids that must be sent again."""
        cycle = self.load.cycle
        ids = self.batches.pop(ack["batch"])
        odd = {result["id"]: result for result in ack["results"]}
        again = []
        for id in ids:
            status = odd[id]["status"] if id in odd else "stored"
            if status in ("stored", "duplicate"):
                if self.unacked.pop(id, None) is None:
                    cycle.problems.append(f"{id} acknowledged twice")
                cycle.acked += 1
                cycle.duplicates += status == "duplicate"
            elif odd[id].get("code") == "unavailable":
                cycle.refused += 1
                again.append(id)
            else:
                cycle.problems.append(odd[id])
                self.unacked.pop(id, None)
        if len(ids) - len(odd) != ack["stored"]:
            cycle.problems.append(f"ack counts {ack['stored']} of {len(ids)} with {len(odd)} named")
        return again


class Acceptor(threading.Thread):
    """Lets new users accept coupons, one after the other."""

    def __init__(self, load, index, actions):
        super().__init__(daemon=True)
        self.load = load
        self.index = index
        self.actions = actions
        self.http = None

    def run(self):
        number = 0
        while True:
            if not self.load.loading:
                time.sleep(0.005)
                continue
            self.load.busy_threads += 1
            cycle = self.load.cycle
            number += 1
            user = f"a{cycle.number}-{self.index}-{number}"
            action = self.actions[cycle.number // 10 % len(self.actions)]
            self.until_answered("/v1/track", {"userId": user, "event": "Tick", "properties": {"n": 0}, "messageId": f"{user}:t"})
            status, code = self.until_answered("/v1/actions/act", {"userId": user, "actionId": action, "event": "accept", "messageId": f"{user}:a"})
            if status == 200 or code == "action_cap_reached":
                cycle.accepts[user] = [action, status == 200]
            else:
                cycle.problems.append(f"accept by {user} answered {status} {code}")
            self.load.busy_threads -= 1
            time.sleep(0.004)

    def until_answered(self, path, body):
        """Repeats a call under its message id until the server gives a final answer."""
        while True:
            try:
                if not self.http:
                    self.http = http.client.HTTPConnection("127.0.0.1", self.load.port, timeout=10)
                self.http.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {TOKEN}"})
                answer = self.http.getresponse()
                answer.read()
                if answer.status < 500:
                    return answer.status, answer.headers.get("X-Lodestone-Error")
            except (OSError, http.client.HTTPException):
                self.http = None
            time.sleep(RETRY_S)


def coupons(port):
    """The ids of the coupon actions, by name."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/v1/actions", json.dumps({"userId": "looker", "type": "coupon"}), {"Authorization": f"Bearer {TOKEN}"})
    listed = json.loads(connection.getresponse().read())
    return [action["id"] for action in sorted(listed, key=lambda action: action["properties"]["number"])]


async def main():
    load = Load(int(sys.argv[1]), sys.argv[2])
    feeders = [Feeder(load, index) for index in range(SOCKETS)]
    actions = coupons(load.port)
    for index in range(ACCEPT_THREADS):
        Acceptor(load, index, actions).start()
    tasks = [asyncio.create_task(feeder.run()) for feeder in feeders]
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command, *arguments = line.split()
        if command == "load":
            load.cycle = Cycle(int(arguments[0]))
            load.loading = True
        elif command == "quiesce":
            load.loading = False
            while load.busy_threads or any(feeder.unacked for feeder in feeders):
                if any(task.done() for task in tasks):
                    for task in tasks:
                        if task.done():
                            task.result()
                await asyncio.sleep(0.005)
            print(load.record(), flush=True)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
