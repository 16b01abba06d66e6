#!/usr/bin/env python3
"""Webhooks seen from outside: their signatures by other people's libraries, and what chaos leaves of them.

Cycles of accepts whose action has a webhook to each of six receivers: a good one, one that fails at random,
one that hangs, one that redirects, one that answers a megabyte, one that breaks off. Each cycle ends with
SIGKILL at a random moment; what was not acknowledged is sent again under its id. Then:

* nothing is lost: every accepted act reached the good receivers, and for the others it waits, was taken, or
  is given up and kept;
* what came twice has one id, and nothing came that was not recorded;
* the receivers that misbehave did not delay the good one, and no redirect was followed;
* a rule that fires calls its webhook for each firing, under one id, with the firing that is in the log;
* every signature verifies with `standardwebhooks` from PyPI and from npm, during a rotation with both keys,
  and a changed body does not.

Environment: LODESTONE_BIN; HOOKS_CYCLES (8), HOOKS_SEED. Prints 'N passed, M failed'.
"""

import hashlib
import hmac
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.environment import npm_package, with_packages

with_packages("standardwebhooks==1.1.0")

from standardwebhooks import Webhook, WebhookVerificationError

from hooks_verify.sink import Sink
from support.check import Checks
from support.server import Server

HERE = Path(__file__).resolve().parent
ADMIN, TOKEN = "ls_ad_hooks", "ls_sk_hooks"
ACTION = "22222222-2222-4222-8222-222222222222"
CYCLES = int(os.environ.get("HOOKS_CYCLES", "8"))
SEED = int(os.environ.get("HOOKS_SEED", "0")) or random.randrange(1 << 32)
SENDERS = 4
MANNERS = ["good", "flaky", "hang", "redirect", "huge", "torn"]
QUIET_TIMEOUT_S = 60
CONFIG = """
[storage]
checkpoint_interval = "200ms"
[hooks]
allow = ["127.0.0.1"]
timeout = "500ms"
[outbox]
backoff = "20ms"
"""


def catalog(sinks, rules):
    hooks = [
        {"channels": [], "event": "accepted", "type": "execute_webhook",
         "properties": {"url": f"{sink.endpoint}/hook", "returnResult": False, "params": '{"code": "X1"}'}}
        for sink in sinks.values()
    ]
    rule = {"key": "seen", "name": "Seen", "eventId": "Seen", "metric": "count", "fire": {"every": 2},
            "then": [{"type": "webhook", "url": f"{rules.endpoint}/rule", "params": {"code": "R1"}}]}
    return {
        "channels": [{"name": "Web", "key": "web"}],
        "tokens": [{"token": ADMIN, "kind": "admin"}, {"token": TOKEN, "channel": "web", "kind": "secret"}],
        "events": [{"name": "Seen", "structure": []}],
        "actionTypes": [{"name": "banner", "version": 1, "properties": []}],
        "actions": [{"id": ACTION, "name": "Offer", "type": "banner", "state": "active", "tags": [], "properties": [],
                     "targeting": {"channels": ["web"], "audiences": [], "traitConditions": [], "contextConditions": []},
                     "capping": [], "hooks": hooks, "testUsers": []}],
        "rules": [rule],
    }


class Load:
    """Accepts under ids of their own; those that were not acknowledged are sent again."""

    def __init__(self, port):
        self.port = port
        self.lock = threading.Lock()
        self.next = 0
        self.open = []
        self.acked = {}
        self.halt = False

    def take(self):
        with self.lock:
            if self.open:
                return self.open.pop()
            self.next += 1
            return f"act-{self.next}"

    def call(self, connection, path, body):
        connection.request("POST", path, json.dumps(body), {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def send(self, user, until):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.halt and time.monotonic() < until:
            act = self.take()
            try:
                # An event of its own id each time, which is not sent again: it came, or it did not.
                self.call(connection, "/v1/track", {"userId": user, "event": "Seen"})
                body = {"userId": user, "actionId": ACTION, "event": "accept", "messageId": act}
                if self.call(connection, "/v1/actions/act", body) == 200:
                    with self.lock:
                        self.acked[act] = time.monotonic()
                    continue
            except (OSError, http.client.HTTPException):
                connection.close()
            with self.lock:
                self.open.append(act)
            time.sleep(0.02)

    def run(self, seconds):
        self.halt = False
        until = time.monotonic() + seconds
        threads = [threading.Thread(target=self.send, args=(f"u{i}", until)) for i in range(SENDERS)]
        for thread in threads:
            thread.start()
        return threads

    def finish(self):
        """Sends what is left until all of it is acknowledged."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while self.open:
            act = self.open.pop()
            body = {"userId": "u0", "actionId": ACTION, "event": "accept", "messageId": act}
            if self.call(connection, "/v1/actions/act", body) == 200:
                self.acked[act] = time.monotonic()


def outbox(server, state):
    """Every job in one state, page by page."""
    jobs, cursor = [], ""
    while True:
        page = server.read(f"/api/v1/outbox?state={state}&limit=500&cursor={cursor}")
        jobs += page["data"]
        cursor = page["nextCursor"]
        if not cursor:
            return jobs


def wait(reads, good):
    deadline = time.monotonic() + QUIET_TIMEOUT_S
    while not good(reads()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return reads()


def rules_called(checks, server, sink):
    """Every firing in the logs was called, and nothing else; what came twice is the same."""
    fired = {}
    for user in (f"u{i}" for i in range(SENDERS)):
        profile = server.profile(user)
        rule = profile["rules"][0]
        checks.equal(rule["fires"], int(rule["metric"]) // 2, f"{user}: every second event fires")
        fired[user] = rule["fires"]

    def by_user():
        bodies = {}
        for got in sink.all():
            body = json.loads(got.body)
            bodies.setdefault(body["userId"], {}).setdefault(body["multiple"], set()).add((got.id, got.body))
        return bodies

    wait(by_user, lambda bodies: sum(map(len, bodies.values())) >= sum(fired.values()))
    bodies = by_user()
    for user, count in fired.items():
        called = bodies.get(user, {})
        checks.equal(sorted(called), list(range(1, count + 1)), f"{user}: one call for each firing")
        checks.that(all(len(one) == 1 for one in called.values()), f"{user}: a firing has one id and one body")
    body = json.loads(sink.all()[0].body)
    checks.equal((body["event"], body["rule"], body["cause"], body["customProperties"]),
                 ("rule_fired", "seen", "met", {"code": "R1"}), "what a rule's webhook says")
    print(f"{sum(fired.values())} firings, {len(sink.all())} calls", flush=True)


def chaos(checks, server, sinks, chance):
    load = Load(server.port)
    for cycle in range(CYCLES):
        server.start()
        if cycle == 0:
            for user in range(SENDERS):
                server.request("POST", "/v1/track", {"userId": f"u{user}", "event": "Seen"}, TOKEN)
        threads = load.run(10)
        time.sleep(chance.uniform(0.2, 1.2))
        server.kill()
        load.halt = True
        for thread in threads:
            thread.join()
    server.start()
    load.finish()
    acts = set(load.acked)
    print(f"{len(acts)} acts in {CYCLES} cycles, seed {SEED}", flush=True)

    def settled():
        waiting = {job["endpoint"] for job in outbox(server, "pending")}
        return not waiting & {sinks[name].endpoint for name in ("good", "flaky", "huge")}

    wait(settled, bool)
    jobs = outbox(server, "pending") + outbox(server, "dead")
    for name, sink in sinks.items():
        kept = {job["actId"] for job in jobs if job["endpoint"] == sink.endpoint}
        taken = {got.act for got in sink.taken()}
        if name in ("good", "huge"):
            checks.equal(len(acts - taken), 0, f"{name}: acts that never came")
            checks.equal(kept, set(), f"{name}: nothing is left to do")
        elif name == "flaky":
            checks.equal(acts - taken - kept, set(), "flaky: acts that neither came nor are kept")
        else:
            checks.equal(kept, acts, f"{name}: every act is kept")
        checks.equal({got.act for got in sink.all()} - acts, set(), f"{name}: calls for what was never recorded")
        ids = {}
        for got in sink.all():
            ids.setdefault(got.act, set()).add((got.id, got.body))
        checks.that(all(len(one) == 1 for one in ids.values()), f"{name}: what comes twice has one id and one body")
    recorded = sum(len(accepted(server, f"u{i}")) for i in range(SENDERS))
    checks.that(recorded > 0, "reactions are in the log")
    return load


def accepted(server, user):
    return [r for r in server.profile(user)["reactions"] if r["event"] == "accepted"]


def on_time(checks, server, sinks):
    """With the bad receivers still failing, the good one gets every call. How soon depends on the machine: it is told."""
    load = Load(server.port)
    load.next = 1_000_000
    before = len(sinks["good"].all())
    for thread in load.run(2):
        thread.join()
    load.finish()
    calls = wait(lambda: sinks["good"].all()[before:], lambda got: len(got) >= len(load.acked))
    late = sorted(got.at - load.acked[got.act] for got in calls if got.act in load.acked)
    checks.equal(len({got.act for got in calls}), len(load.acked), "every act reached the good receiver")
    if late:
        p50, p99 = late[len(late) // 2], late[int(len(late) * 0.99)]
        print(f"from the answer to the webhook: median {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms of {len(late)}")
    redirected = [got for got in sinks["redirect"].all() if not got.body]
    checks.equal(redirected, [], "redirects that were followed")


def verifies(secret, got, body=None):
    try:
        Webhook(secret).verify((body or got.body).decode(), got.headers)
        return True
    except WebhookVerificationError:
        return False


def signatures(checks, requests, keys, folder):
    secrets = [one["secret"] for one in keys]
    for got in requests:
        checks.that(all(verifies(secret, got) for secret in secrets), "PyPI: a signature")
        checks.that(not any(verifies(secret, got, got.body + b" ") for secret in secrets), "PyPI: a changed body")
        parts = dict.fromkeys(part.split("=", 1)[1] for part in got.headers["x-lodestone-signature"].split(",")[1:])
        t = got.headers["webhook-timestamp"]
        for one in keys:
            key = bytes.fromhex(one["key"])
            signed = hmac.new(key, got.body, hashlib.sha256).hexdigest()
            checks.that(signed in got.headers["x-attractify-signature"].split(","), "the body's signature")
            checks.that(hmac.new(key, f"{t}.".encode() + got.body, hashlib.sha256).hexdigest() in parts, "the signature with the time")
    sample = folder / "requests.json"
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    rows = [{"headers": {name: got.headers[name] for name in names}, "body": got.body.decode()} for got in requests]
    sample.write_text(json.dumps({"secrets": secrets, "requests": rows}))
    package = npm_package("standardwebhooks", "1.1.1")
    done = subprocess.run(["node", HERE / "verify.mjs", package, sample], capture_output=True, text=True)
    many = len(requests) * len(secrets)
    checks.equal((done.returncode, done.stdout.strip()), (0, f"{many} {many}"), f"npm: signatures {done.stderr[-300:]}")


def rotate(server):
    """Puts a new key in the place of the old one, which goes on for a while."""
    old = server.read("/api/v1/organization/signing-key")
    document = {"organization": {"key": os.urandom(32).hex(), "previousKey": old["key"]}}
    status, _, body = server.request("POST", "/api/v1/catalog", document, ADMIN)
    if status != 200:
        raise RuntimeError(f"the key cannot be replaced: {status} {body!r}")
    both = server.read("/api/v1/organization/signing-key")
    return [{"key": both["key"], "secret": both["secret"]}, {"key": both["previousKey"], "secret": both["previousSecret"]}]


def main():
    checks = Checks()
    chance = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="lodestone-hooks-") as name:
        folder = Path(name)
        sinks = {manner: Sink(manner, SEED) for manner in MANNERS}
        rules = Sink("good")
        (folder / "catalog.json").write_text(json.dumps(catalog(sinks, rules)))
        (folder / "config.toml").write_text(CONFIG)
        with Server(folder / "data", folder / "catalog.json", ADMIN, ["--config", folder / "config.toml"]) as server:
            chaos(checks, server, sinks, chance)
            rules_called(checks, server, rules)
            before = len(sinks["good"].all())
            on_time(checks, server, sinks)
            one = server.read("/api/v1/organization/signing-key")
            signatures(checks, sinks["good"].all()[before:][:50], [one], folder)
            keys = rotate(server)
            before = len(sinks["good"].all())
            load = Load(server.port)
            load.next = 2_000_000
            for thread in load.run(0.5):
                thread.join()
            load.finish()
            wait(lambda: sinks["good"].all()[before:], lambda got: len(got) >= len(load.acked))
            signatures(checks, sinks["good"].all()[before:][-50:], keys, folder)
            checks.equal(server.stop(), 0, "exit code of a graceful stop")
        panics = [line for line in (folder / "data.log").read_text(errors="replace").splitlines() if "panicked" in line]
        checks.equal(panics, [], "panics in the log")
    checks.finish()


if __name__ == "__main__":
    main()
