#!/usr/bin/env python3
"""Replays a real clickstream into a fresh server and compares every profile with a recomputation.

1. Fetch the file (see fetch.py) and put today's distances into the catalog: `$daysSince:2024-05-01`
   is the whole number of days since then, so that windows end inside the recorded time.
2. Start a server, replay the file with `lodestone replay`, read every profile over HTTP, and compare
   every computed trait and every membership with recompute.py.
3. Replay it again: everything must be a duplicate, and nothing may change.
4. Stop the server, start it on the same folder, compare again.
5. The same with the rows shuffled into a fresh server: late events must give the same answers.

Prints 'N passed, M failed'. LODESTONE_BIN names the binary; --seed chooses the shuffle.
"""

import argparse
import csv
import gzip
import io
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from real import recompute
from real.fetch import fetch
from support.check import Checks
from support.environment import binary
from support.server import Server

HERE = Path(__file__).resolve().parent
TOKEN = "ls_sk_import"
ADMIN = "ls_ad_test"


def now_ms():
    return time.time_ns() // 1_000_000


def with_distances(value, today):
    """Replaces every `$daysSince:DATE` in a document."""
    if isinstance(value, dict):
        return {key: with_distances(inner, today) for key, inner in value.items()}
    if isinstance(value, list):
        return [with_distances(inner, today) for inner in value]
    if isinstance(value, str) and (match := re.fullmatch(r"\$daysSince:(\d{4}-\d\d-\d\d)", value)):
        since = datetime.fromisoformat(match[1]).replace(tzinfo=timezone.utc)
        return (today - since).days
    return value


def to_event(row, position):
    """What ecom.map.toml makes of a row, written down a second time."""
    happened = datetime.strptime(row["timestamp"], "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
    t = recompute.to_ms(happened)
    properties = {
        "session": row["session_id"],
        "session_no": int(row["session_id"].removeprefix("sess_")),
        "hour": float(happened.hour),
        "platform": row["platform"],
        "acquisition_channel": row["acquisition_channel"],
        "cohort_month": int(row["user_cohort"][-2:]),
        "user_lifecycle": row["user_lifecycle"],
        "happened_at": recompute.rfc3339(t),
    }
    if row["event"] == "purchase" and row["user_lifecycle"] in ("returning", "loyal"):
        properties["returning"] = row["user_lifecycle"]
    return recompute.Event(row["event"], "web", (t, position), properties)


def people(rows):
    """All events by person, in total order."""
    by_user = {}
    for position, row in enumerate(rows):
        by_user.setdefault(row["user_id"], []).append(to_event(row, position))
    for events in by_user.values():
        events.sort(key=lambda event: event.at)
    return by_user


def replay(server, path):
    command = [binary(), "replay", path, "--map", HERE / "ecom.map.toml", "--url", f"ws://127.0.0.1:{server.port}",
               "--token", TOKEN, "--json"]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, timeout=600)
    if done.returncode:
        sys.exit(f"lodestone replay failed with {done.returncode}\n{server.tail()}")
    return json.loads(done.stdout)


def same(got, want):
    """Equality of a JSON value and a recomputed one; numbers by value."""
    if recompute.is_number(got) and recompute.is_number(want):
        # A rounded number travels as the nearest double.
        return got == want or got == float(Fraction(want))
    if isinstance(got, list) and isinstance(want, list):
        return len(got) == len(want) and all(map(same, got, want))
    return type(got) is type(want) and got == want


def compare_profile(checks, label, catalog, profile, events, before, after):
    """Compares one profile. Where a window ends between two clock readings, either answer will do."""
    def all_of(now):
        traits = {d["key"]: recompute.trait(d, events, now) for d in catalog["computedTraits"]}
        members = {a["key"] for a in catalog["audiences"] if recompute.member(a, events, traits, False, now)}
        return traits, members

    early = all_of(before)
    late = early
    if any(crosses(catalog, event, before, after) for event in events):
        late = all_of(after)
    got_traits = profile["computedTraits"]
    got_members = {audience["key"] for audience in profile["audiences"]}
    for definition in catalog["computedTraits"]:
        key = definition["key"]
        got = got_traits.get(key)
        checks.that(same(got, early[0][key]) or same(got, late[0][key]),
                    lambda: f"{label}: trait {key} is {got!r}, recomputed {show(early[0][key])}")
    for audience in catalog["audiences"]:
        key = audience["key"]
        checks.that((key in got_members) in (key in early[1], key in late[1]),
                    lambda: f"{label}: member of {key}: {key in got_members}, recomputed {key in early[1]}")
    return early[1]


def show(value):
    return float(value) if isinstance(value, Fraction) else repr(value)


def window_lengths(catalog):
    for trait in catalog["computedTraits"]:
        if "window" in trait["properties"]:
            yield recompute.amount_ms(trait["properties"]["window"])
    for audience in catalog["audiences"]:
        for step in audience["events"]:
            yield from recompute.step_window(step) or ()


def crosses(catalog, event, before, after):
    """Whether the event leaves or enters some window between two moments."""
    return any(before < event.t + length <= after for length in catalog["_lengths"])


def compare_all(checks, label, server, catalog, by_user):
    counts = dict.fromkeys((a["key"] for a in catalog["audiences"]), 0)
    for user, events in by_user.items():
        before = now_ms()
        profile = server.profile(user)
        after = now_ms()
        if not checks.that(profile is not None, f"{label}: no profile for {user}"):
            continue
        for key in compare_profile(checks, f"{label} {user}", catalog, profile, events, before, after):
            counts[key] += 1
    return counts


def run(checks, label, folder, catalog_path, catalog, path, rows, again):
    by_user = people(rows)
    with Server(folder / label, catalog_path, ADMIN) as server:
        server.start()
        report = replay(server, path)
        print(f"{label}: {report['events']} events at {report['eventsPerSecond']:.0f}/s, ack p99 {report['ack']['p99Ms']:.1f} ms", flush=True)
        checks.equal(report["accepted"], {"stored": len(rows)}, f"{label}: accepted")
        checks.equal(report["rejected"], {}, f"{label}: rejected")
        checks.equal(report["skipped"]["rows"], 0, f"{label}: rows that are no events")
        counts = compare_all(checks, label, server, catalog, by_user)
        empty = [key for key, count in counts.items() if count in (0, len(by_user))]
        print(f"{label}: members {counts}; all or nobody: {empty}", flush=True)
        if not again:
            return
        report = replay(server, path)
        checks.equal(report["accepted"], {"duplicate": len(rows)}, f"{label}: second replay")
        compare_all(checks, f"{label}, replayed twice", server, catalog, by_user)
        checks.equal(server.stop(), 0, f"{label}: exit code of a graceful stop")
        server.start()
        compare_all(checks, f"{label}, restarted", server, catalog, by_user)
        for audience in catalog["audiences"]:
            answer = server.read(f"/api/v1/audiences/{audience['key']}")
            checks.equal(answer.get("profileCount"), counts[audience["key"]], f"{label}: members of {audience['key']}")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seed", type=int, default=1, help="of the shuffle")
    arguments.add_argument("--rows", type=int, help="use only the first rows")
    options = arguments.parse_args()
    checks = Checks()
    path = fetch()
    text = gzip.decompress(path.read_bytes()).decode()
    rows = list(csv.DictReader(io.StringIO(text)))[: options.rows]
    today = datetime.now(timezone.utc)
    catalog = with_distances(json.loads((HERE / "ecom.catalog.json").read_text()), today)
    with tempfile.TemporaryDirectory(prefix="lodestone-real-") as folder:
        folder = Path(folder)
        catalog_path = folder / "catalog.json"
        catalog_path.write_text(json.dumps(catalog))
        catalog["_lengths"] = sorted(set(window_lengths(catalog)))

        def write(name, rows):
            target = folder / name
            with open(target, "w", newline="") as out:
                writer = csv.DictWriter(out, rows[0].keys())
                writer.writeheader()
                writer.writerows(rows)
            return target

        if options.rows:
            path = write("first.csv", rows)
        run(checks, "in order", folder, catalog_path, catalog, path, rows, again=True)
        print(f"shuffle seed {options.seed}", flush=True)
        shuffled = rows[:]
        random.Random(options.seed).shuffle(shuffled)
        run(checks, "shuffled", folder, catalog_path, catalog, write("shuffled.csv", shuffled), shuffled, again=False)
    checks.finish()


if __name__ == "__main__":
    main()
