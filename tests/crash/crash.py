#!/usr/bin/env python3
"""Kills the server over and over on one data folder and checks that it kept its promises.

Every cycle: load, SIGKILL at a random moment (sometimes again during recovery, sometimes SIGTERM
instead), restart, let the loader send again what was not acknowledged, then read every profile:

* every acknowledged message is there, once: the list of distinct numbers, the count and the sum of a
  user's messages are those of the numbers 0 to k-1, where k is what the loader sent;
* nothing was applied twice: the number of stored events is k as well;
* no coupon was given out beyond its cap, and everyone who was told "accepted" has exactly one
  accepted reaction.

Then a few cycles in which a sync fails (the process must exit by itself with code 74), and a disk that
fills up (a small tmpfs), where writes are refused and go on once there is space. At the end all users
of all cycles are read once more, the last coupons are given out, and `lodestone verify` has its say.

Environment: LODESTONE_BIN; CRASH_CYCLES (100), CRASH_SYNC_CYCLES (5), CRASH_SEED;
CRASH_SKIP_FULL_DISK=1 where a tmpfs cannot be mounted. Prints 'N passed, M failed'.
"""

import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.environment import with_packages

with_packages("websockets==17.4")

from support.check import Checks
from support.environment import binary
from support.server import Server

HERE = Path(__file__).resolve().parent
ADMIN = "ls_ad_load"
TOKEN = "ls_sk_load"
CYCLES = int(os.environ.get("CRASH_CYCLES", "100"))
SYNC_CYCLES = int(os.environ.get("CRASH_SYNC_CYCLES", "5"))
COUPONS = 10
# Low enough to be reached within the ten cycles that share a coupon.
CAP = 100
QUIESCE_TIMEOUT_S = 60
# Checkpoints, new segments and the spill of message ids must all happen inside a cycle.
CONFIG = """
[journal]
segment_bytes = 1048576
[storage]
checkpoint_interval = "250ms"
dedupe_keep = 20000
"""


def write_catalog(folder):
    """The catalog with its coupons, each capped in total and per user."""
    catalog = json.loads((HERE / "catalog.json").read_text())
    catalog["actions"] = [
        {"name": f"Coupon {number}", "type": "coupon", "state": "active", "tags": [], "priority": 0,
         "properties": [{"channels": ["load"], "type": "text", "name": "number", "value": f"{number:03d}", "sourceKey": "", "sourceType": ""}],
         "targeting": {"channels": ["load"], "audiences": [], "traitConditions": [], "contextConditions": []},
         "capping": [{"channels": [], "event": "accepted", "group": "all", "count": CAP, "within": 0},
                     {"channels": [], "event": "accepted", "group": "user", "count": 1, "within": 0}],
         "hooks": [], "testUsers": []}
        for number in range(COUPONS)
    ]
    path = folder / "catalog.json"
    path.write_text(json.dumps(catalog))
    return path


class Loader:
    """The other process, by its commands."""

    def __init__(self, port, records):
        records.mkdir()
        command = [sys.executable, str(HERE / "loader.py"), str(port), str(records)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer(30)

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, timeout_s):
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            raise RuntimeError(f"the loader did not answer within {timeout_s} s")
        return self.process.stdout.readline().strip()

    def quiesce(self):
        """Waits until everything sent is acknowledged; the record of the cycle."""
        self.say("quiesce")
        path = self.answer(QUIESCE_TIMEOUT_S)
        if not path:
            raise RuntimeError("the loader has died")
        return json.loads(Path(path).read_text())

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Ledger:
    """What all cycles together sent and were promised."""

    def __init__(self, checks):
        self.checks = checks
        self.sent = {}
        self.accepts = {}
        self.acked = 0
        self.duplicates = 0
        self.refused = 0

    def add(self, label, record):
        self.checks.equal(record["problems"], [], f"{label}: what the loader did not expect")
        self.sent.update(record["sent"])
        self.sent.update(record["forever"])
        self.accepts.update(record["accepts"])
        self.acked += record["acked"]
        self.duplicates += record["duplicates"]
        self.refused += record["refused"]

    def check_user(self, label, server, user, sent):
        profile = server.profile(user)
        if not self.checks.that(profile is not None, f"{label}: {user} is gone with {sent} messages"):
            return
        traits = profile["computedTraits"]
        numbers = traits["numbers"]
        missing = sorted(set(range(sent)) - set(numbers))
        self.checks.that(not missing, lambda: f"{label}: {user} lost {len(missing)} of {sent} acknowledged messages: {missing[:10]}")
        strange = sorted(set(numbers) - set(range(sent)))
        self.checks.that(not strange, lambda: f"{label}: {user} has messages that were never sent: {strange[:10]}")
        self.checks.equal(
            (len(numbers), traits["ticks"], traits["sum"], profile["eventCount"]), (sent, sent, sent * (sent - 1) // 2, sent),
            f"{label}: {user} distinct, count, sum, events")
        # A timer or a late rebuild must not forget the audience either.
        member = any(audience["key"] == "tickers" for audience in profile["audiences"])
        self.checks.equal(member, sent >= 10, f"{label}: {user} in the audience")

    def check_accept(self, label, server, user, action, accepted):
        profile = server.profile(user)
        if not self.checks.that(profile is not None, f"{label}: {user} is gone"):
            return
        found = [e["actionId"] for e in profile["events"] if e["type"] == "reaction" and e["event"] == "accepted"]
        self.checks.equal(found, [action] if accepted else [], f"{label}: accepted reactions of {user}")
        self.checks.equal(profile["computedTraits"]["ticks"], 1, f"{label}: events of {user}")

    def check_record(self, label, server, record):
        for user, sent in {**record["sent"], **record["forever"]}.items():
            self.check_user(label, server, user, sent)
        for user, (action, accepted) in record["accepts"].items():
            self.check_accept(label, server, user, action, accepted)
        self.check_caps(label)

    def accepted(self):
        counts = {}
        for action, accepted in self.accepts.values():
            counts[action] = counts.get(action, 0) + accepted
        return counts

    def check_caps(self, label):
        attempts = {}
        for action, _ in self.accepts.values():
            attempts[action] = attempts.get(action, 0) + 1
        for action, accepted in self.accepted().items():
            # All acts have their final answer now, so a cap that was reached was reached exactly.
            self.checks.equal(accepted, min(CAP, attempts[action]), f"{label}: accepted of {action} after {attempts[action]} attempts")

    def check_all(self, label, server):
        for user, sent in self.sent.items():
            self.check_user(label, server, user, sent)
        for user, (action, accepted) in self.accepts.items():
            self.check_accept(label, server, user, action, accepted)
        self.check_caps(label)


def crash_cycle(number, dice, server, loader, ledger):
    """One cycle of load, end and restart; what was done to the server."""
    checks = ledger.checks
    loader.say(f"load {number}")
    time.sleep(dice.uniform(0.05, 0.8))
    if number % 10 == 9:
        how = "SIGTERM"
        checks.equal(server.stop(), 0, f"cycle {number}: exit code after SIGTERM")
    else:
        how = "SIGKILL"
        server.kill()
    while dice.random() < 0.25:
        how += ", SIGKILL during recovery"
        server.spawn()
        time.sleep(dice.uniform(0, 0.15))
        server.kill()
    started = time.monotonic()
    server.start()
    return how, time.monotonic() - started


def run_crashes(checks, folder, dice):
    records = folder / "records"
    config = folder / "crash.toml"
    config.write_text(CONFIG)
    with Server(folder / "data", write_catalog(folder), ADMIN, ["--config", config]) as server:
        server.start()
        loader = Loader(server.port, records)
        ledger = Ledger(checks)
        slowest = 0
        began = time.monotonic()
        try:
            for number in range(CYCLES):
                how, restart_s = crash_cycle(number, dice, server, loader, ledger)
                slowest = max(slowest, restart_s)
                record = loader.quiesce()
                ledger.add(f"cycle {number}", record)
                ledger.check_record(f"cycle {number} ({how})", server, record)
                if number % 10 == 9 or checks.failed:
                    print(f"cycle {number + 1}/{CYCLES}: {ledger.acked} acked, {ledger.duplicates} sent again and known, "
                          f"{sum(ledger.accepted().values())} coupons, slowest restart {slowest:.2f} s, {checks.failed} failed, "
                          f"{time.monotonic() - began:.0f} s", flush=True)
            for number in range(CYCLES, CYCLES + SYNC_CYCLES):
                sync_cycle(number, dice, server, loader, ledger)
        finally:
            loader.end()
        ledger.check_all("at the end", server)
        give_out_the_rest(server, ledger)
        checks.equal(server.stop(), 0, "exit code of the last stop")
        server.start()
        ledger.check_all("after a graceful restart", server)
        checks.equal(server.stop(), 0, "exit code of the last stop")
        verify = subprocess.run([str(binary()), "verify", "--data-dir", str(server.data)], stdout=subprocess.DEVNULL)
        checks.equal(verify.returncode, 0, "lodestone verify")
        checks.that("panicked" not in server.log.read_text(errors="replace"), "no panic in the log")


def sync_cycle(number, dice, server, loader, ledger):
    """A sync fails under load: the process says so with its exit code, and nothing acknowledged is lost."""
    label = f"cycle {number} (failed sync)"
    server.stop()
    server.spawn("--fault", f"sync-after={dice.randrange(1, 60)}")
    loader.say(f"load {number}")
    try:
        code = server.process.wait(30)
    except subprocess.TimeoutExpired:
        code = "still running"
        server.kill()
    server.hang_up()
    ledger.checks.equal(code, 74, f"{label}: exit code")
    server.start()
    record = loader.quiesce()
    ledger.add(label, record)
    ledger.check_record(label, server, record)
    print(f"{label}: exit code {code}", flush=True)


def give_out_the_rest(server, ledger):
    """After all the crashes exactly the coupons that are left can be had."""
    for action in list(ledger.accepted())[:1]:
        left = CAP - ledger.accepted()[action]
        got = 0
        for number in range(left + 20):
            user = f"rest-{number}"
            server.request("POST", "/v1/track", {"userId": user, "event": "Tick", "properties": {"n": 0}}, TOKEN)
            got += server.request("POST", "/v1/actions/act", {"userId": user, "actionId": action, "event": "accept"}, TOKEN)[0] == 200
        ledger.checks.equal(got, left, f"coupons of {action} that were left")


@contextmanager
def small_disk(checks, folder):
    """A tmpfs of 256 MiB, of which RocksDB reserves about 70 for its log; nothing if it cannot be had."""
    place = folder / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(place)], capture_output=True, text=True)
    if mounted.returncode:
        reason = f"a full disk could not be tested, tmpfs cannot be mounted: {mounted.stderr.strip()}"
        if os.environ.get("CRASH_SKIP_FULL_DISK") == "1":
            print(f"SKIPPED by CRASH_SKIP_FULL_DISK: {reason}", flush=True)
        else:
            checks.that(False, reason)
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)])


def fill(place, leave_bytes):
    """Fills a file system with a file of zeros up to so many free bytes."""
    ballast = place / "ballast"
    chunk = bytes(1 << 18)
    with open(ballast, "wb", buffering=0) as out:
        while True:
            stat = os.statvfs(place)
            free = stat.f_bavail * stat.f_frsize
            if free <= leave_bytes:
                return ballast
            try:
                out.write(chunk[: max(4096, min(len(chunk), free - leave_bytes))])
            except OSError:
                return ballast


def refused_within(server, timeout_s):
    """Whether a write is refused with 503 `unavailable` within some seconds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            status, headers, _ = server.request("POST", "/v1/track", {"userId": "prober", "event": "Tick", "properties": {"n": 0}}, TOKEN)
            if (status, headers.get("x-lodestone-error")) == (503, "unavailable"):
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


def run_full_disk(checks, folder):
    with small_disk(checks, folder) as place:
        if not place:
            return
        config = folder / "small.toml"
        config.write_text("[journal]\nsegment_bytes = 4194304\nmin_free_bytes = 16777216\n")
        with Server(place / "data", write_catalog(folder), ADMIN, ["--config", config]) as server:
            server.start()
            loader = Loader(server.port, folder / "records-small")
            ledger = Ledger(checks)
            try:
                loader.say("load 0")
                time.sleep(0.5)
                ballast = fill(place, 12 << 20)
                checks.that(refused_within(server, 10), "below the reserve writes are refused with 503 unavailable")
                checks.that(server.profile("forever-0") is not None, "below the reserve reads go on")
                checks.that(server.process.poll() is None, "below the reserve the server runs on")
                time.sleep(0.3)
                ballast.unlink()
                record = loader.quiesce()
                ledger.add("full disk", record)
                checks.that(ledger.refused > 0, "the sockets were refused with `unavailable` too")
                ledger.check_record("full disk, space freed", server, record)

                # To the last byte: the process may give up now, but must not lose or invent anything.
                loader.say("load 1")
                time.sleep(0.3)
                ballast = fill(place, 0)
                time.sleep(1.5)
                code = server.process.poll()
                checks.that(code in (None, 74), f"on a disk filled to the last byte it runs on or exits with 74: {code}")
                ballast.unlink()
                if code is not None:
                    server.hang_up()
                    server.start()
                record = loader.quiesce()
                ledger.add("disk filled to the last byte", record)
                ledger.check_all("disk filled to the last byte", server)
                server.kill()
                server.start()
                ledger.check_all("after a full disk and SIGKILL", server)
            finally:
                loader.end()
        print(f"full disk: {ledger.acked} acked, {ledger.refused} refused and sent again, {checks.failed} failed", flush=True)


def main():
    seed = int(os.environ.get("CRASH_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"CRASH_SEED={seed} CRASH_CYCLES={CYCLES}", flush=True)
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="lodestone-crash-") as folder:
        run_crashes(checks, Path(folder), random.Random(seed))
        run_full_disk(checks, Path(folder))
    checks.finish()


if __name__ == "__main__":
    main()
