#!/usr/bin/env python3
"""Compares windows of minutes, hours and days at fixed moments with a recomputation by pandas.

The recorded clickstream (see fetch.py) is moved so that every person has a session within the three hours
around one moment, to the millisecond; the distances within a person's events stay what they are. A server
is run on a clock that this test sets (`serve --clock`). At each of the moments:

1. what had happened by then is replayed (at one of them event by event, each at its own time),
2. every computed trait and every membership of every person is read over HTTP and compared, and the number
   of members of every audience.

Some moments are one millisecond before, and exactly at, the end of a window. At one the server is killed
and started again. At the end everything is replayed once more, shuffled, into a fresh server.

Prints 'N passed, M failed'. LODESTONE_BIN names the binary; --seed chooses moves and shuffle.
"""

import argparse
import csv
import gzip
import json
import random
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.environment import binary, with_packages

with_packages("numpy==2.1.3", "pandas==2.2.3")

import pandas as pd
from real.fetch import fetch
from real.windowed import AUDIENCES, TRAITS, Recount, catalog
from support.check import Checks
from support.server import Server

HERE = Path(__file__).resolve().parent
ADMIN = "ls_ad_test"
TOKEN = "ls_sk_import"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Everybody has a session around this moment.
MIDDLE = 1_720_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def text_of(ms):
    return (EPOCH + timedelta(milliseconds=ms)).strftime("%Y-%m-%d %H:%M:%S.") + f"{ms % 1000:03d}"


def moved(path, dice):
    """The recorded rows with every person moved by a constant, in order of time."""
    rows = pd.read_csv(path, compression="gzip", dtype=str)
    rows["t"] = (pd.to_datetime(rows["timestamp"], utc=True) - EPOCH) // pd.Timedelta(milliseconds=1)
    shifts = {}
    for user, mine in rows.groupby("user_id"):
        starts = mine.groupby("session_id")["t"].min().sort_values()
        # One of the later sessions, so that there is a history before it.
        start = starts.iloc[dice.randrange(len(starts) // 2, len(starts))]
        shifts[user] = MIDDLE + dice.randrange(-3 * HOUR, HOUR) - int(start)
    rows["t"] += rows["user_id"].map(shifts)
    rows["timestamp"] = rows["t"].map(text_of)
    rows = rows.sort_values("t", kind="stable").reset_index(drop=True)
    rows["hour"] = rows["timestamp"].str[11:13].astype(int)
    rows["session_no"] = rows["session_id"].str.removeprefix("sess_").astype(int)
    return rows


class Site:
    """A server on a clock of ours."""

    def __init__(self, folder, name):
        self.clock = folder / f"{name}.now"
        self.set(MIDDLE - 400 * DAY)
        path = folder / "windows.catalog.json"
        path.write_text(json.dumps(catalog(HERE / "ecom.catalog.json")))
        self.server = Server(folder / name, path, ADMIN, options=["--clock", self.clock])
        self.folder = folder

    def set(self, ms):
        partial = self.clock.with_suffix(".partial")
        partial.write_text(str(ms))
        partial.rename(self.clock)

    def replay(self, checks, rows, label):
        """Sends rows through the socket as history that is imported."""
        if rows.empty:
            return
        path = self.folder / "part.csv"
        columns = ["user_id", "session_id", "event", "timestamp", "platform", "acquisition_channel", "user_cohort", "user_lifecycle"]
        rows[columns].to_csv(path, index=False, quoting=csv.QUOTE_MINIMAL)
        command = [binary(), "replay", path, "--map", HERE / "ecom.map.toml", "--url", f"ws://127.0.0.1:{self.server.port}",
                   "--token", TOKEN, "--json"]
        done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, timeout=900)
        if done.returncode:
            sys.exit(f"lodestone replay failed with {done.returncode}\n{self.server.tail()}")
        checks.equal(json.loads(done.stdout)["accepted"], {"stored": len(rows)}, f"{label}: accepted")

    def live(self, checks, rows, label):
        """Sends rows one by one, each at its own time: windows end between them."""
        refused = 0
        for row in rows.itertuples():
            self.set(row.t)
            properties = {
                "session": row.session_id, "session_no": row.session_no, "hour": row.hour, "platform": row.platform,
                "acquisition_channel": row.acquisition_channel, "cohort_month": int(row.user_cohort[-2:]),
                "user_lifecycle": row.user_lifecycle, "happened_at": row.timestamp.replace(" ", "T") + "Z",
            }
            if row.event == "purchase" and row.user_lifecycle in ("returning", "loyal"):
                properties["returning"] = row.user_lifecycle
            body = {"userId": row.user_id, "event": row.event, "properties": properties}
            refused += self.server.request("POST", "/v1/track", body, token=TOKEN)[0] != 204
        checks.equal(refused, 0, f"{label}: refused events")


def same(got, want):
    if isinstance(want, float) and isinstance(got, (int, float)):
        return abs(got - want) < 1e-9
    return type(got) is type(want) and got == want


def compare(checks, label, site, rows, now, seen):
    """Reads everything at `now` and compares it; notes in `seen` which answers there were."""
    recount = Recount(rows, now)
    users = sorted(rows["user_id"].unique())
    traits = {trait["key"]: recount.trait(trait) for trait in TRAITS}
    members = {audience["key"]: recount.members(audience, traits) for audience in AUDIENCES}
    started = checks.passed + checks.failed
    for user in recount.people():
        profile = site.server.profile(user)
        if not checks.that(profile is not None, f"{label}: no profile for {user}"):
            continue
        for key, values in traits.items():
            got, want = profile["computedTraits"].get(key), values.get(user, recount.default(key))
            seen.setdefault(key, set()).add(json.dumps(want))
            checks.that(same(got, want), lambda: f"{label} {user}: trait {key} is {got!r}, recomputed {want!r}")
        got = {audience["key"] for audience in profile["audiences"]}
        for key, inside in members.items():
            seen.setdefault(key, set()).add(user in inside)
            checks.equal(key in got, user in inside, f"{label} {user}: member of {key}")
    for key, inside in members.items():
        want = len(inside & set(users))
        # Whoever was not read just now is brought up to date by the timers, within their nap.
        for _ in range(100):
            got = site.server.read(f"/api/v1/audiences/{key}").get("profileCount")
            if got == want:
                break
            time.sleep(0.05)
        checks.equal(got, want, f"{label}: members of {key}")
    count = checks.passed + checks.failed - started
    inside = sum(map(len, members.values()))
    print(f"{label}: {len(recount.people())} people, {count} values compared, {inside} memberships", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seed", type=int, default=1, help="of the moves and the shuffle")
    arguments.add_argument("--people", type=int, help="use only the first people")
    options = arguments.parse_args()
    checks, seen, dice = Checks(), {}, random.Random(options.seed)
    rows = moved(fetch(), dice)
    if options.people:
        rows = rows[rows["user_id"] < f"user_{options.people:04d}"].reset_index(drop=True)
    views = rows[(rows["event"] == "product_view") & rows["t"].between(MIDDLE - 40 * MINUTE, MIDDLE - 30 * MINUTE)]["t"]
    edge = int(views.iloc[-1]) + 30 * MINUTE
    moments = [
        ("two hours before", MIDDLE - 2 * HOUR, "replay"),
        ("an hour before", MIDDLE - HOUR, "replay"),
        ("a millisecond before a window ends", edge - 1, "live"),
        ("as the window ends", edge, "live"),
        ("seven minutes later", edge + 7 * MINUTE, "nothing"),
        ("forty minutes later, after a crash", edge + 40 * MINUTE, "replay"),
        ("a day later", edge + DAY, "replay"),
        ("nine days later", edge + 9 * DAY, "replay"),
    ]
    with tempfile.TemporaryDirectory(prefix="lodestone-windows-") as folder:
        folder = Path(folder)
        site = Site(folder, "moments")
        with site.server as server:
            server.start()
            sent = pd.Series(False, index=rows.index)
            for label, now, how in moments:
                if how != "nothing":
                    part = rows[~sent & (rows["t"] <= now)]
                    if how == "live":
                        site.live(checks, part, label)
                        site.set(now)
                    else:
                        site.set(now)
                        site.replay(checks, part, label)
                    sent |= rows["t"] <= now
                site.set(now)
                if "crash" in label:
                    server.kill()
                    server.start()
                compare(checks, label, site, rows[sent], now, seen)
        site = Site(folder, "shuffled")
        with site.server as server:
            server.start()
            now = moments[3][1]
            site.set(now)
            part = rows[rows["t"] <= now].sample(frac=1, random_state=options.seed)
            site.replay(checks, part, "shuffled")
            # Of two events in one millisecond the one that was sent first is first.
            compare(checks, "shuffled", site, part.sort_values("t", kind="stable"), now, seen)
    if not options.people:
        for key, answers in seen.items():
            checks.that(len(answers) > 1, f"{key} was {answers} for everybody at every moment: nothing was tested")
    checks.finish()


if __name__ == "__main__":
    main()
