"""Computed traits and audiences by definition, from a person's whole list of events.

This is the other opinion that the test on real input compares the engine with. It shares nothing
with the engine: it keeps every event, looks at all of them again for every question, and follows
the words of the specification, not its data structures. Numbers are exact fractions.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from fractions import Fraction

UNIT_MS = {"seconds": 1_000, "minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True, eq=False)
class Event:
    """One event, equal only to itself. `at` is its place in the total order: (time in ms, position in the log)."""

    name: str
    channel: str
    at: tuple
    properties: dict

    @property
    def t(self):
        return self.at[0]


def amount_ms(amount):
    return amount["amount"] * UNIT_MS[amount["unit"]]


def to_ms(moment):
    return (moment - EPOCH) // timedelta(milliseconds=1)


def rfc3339(ms):
    moment = EPOCH + timedelta(milliseconds=ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def berlin_midnight_ms(day):
    """Midnight in Berlin in the first half of 2024, where clocks went forward on 31 March."""
    offset = 2 if day > date(2024, 3, 31) else 1
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=timezone(timedelta(hours=offset))))


def rounded(value):
    """Three decimals, half away from zero."""
    scaled = abs(Fraction(value)) * 1000
    whole = int(scaled + Fraction(1, 2))
    return Fraction(whole if value >= 0 else -whole, 1000)


# Conditions

ORDER = {
    "equals": lambda a, b: a == b,
    "not_equals": lambda a, b: a != b,
    "less_than": lambda a, b: a < b,
    "greater_than": lambda a, b: a > b,
    "less_than_or_equal": lambda a, b: a <= b,
    "greater_than_or_equal": lambda a, b: a >= b,
}
TEXT = {
    "equals": lambda a, b: a == b,
    "not_equals": lambda a, b: a != b,
    "contains": lambda a, b: b in a,
    "does_not_contain": lambda a, b: b not in a,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


def number(value):
    """A literal or a rounded value as the number that people see: an integer, or the nearest double."""
    if isinstance(value, str):
        value = int(value) if value.lstrip("-").isdigit() else float(value)
    return Fraction(float(value) if isinstance(value, Fraction) else value)


def is_number(value):
    return isinstance(value, (int, float, Fraction)) and not isinstance(value, bool)


def holds(condition, value_of, captured):
    """One condition or group. `value_of(condition)` finds the operand, None when absent."""
    if "any" in condition:
        return any(holds(c, value_of, captured) for c in condition["any"])
    if "all" in condition:
        return all(holds(c, value_of, captured) for c in condition["all"])
    if "not" in condition:
        return not holds(condition["not"], value_of, captured)
    kind = condition.get("type") or condition["dataType"]
    operator = condition["operator"]
    value = value_of(condition)
    if operator in ("exists", "not_exists"):
        return (value is not None) == (operator == "exists")
    if condition.get("target") == "funnel_property":
        literal = captured[condition["internalEventId"]].get(condition["eventProperty"])
        if literal is None:
            return False
    else:
        literal = condition.get("value")
    if value is None:
        return condition.get("orMissing", False)
    if kind in ("integer", "float"):
        return is_number(value) and ORDER[operator](number(value), number(literal))
    if kind == "string":
        if not isinstance(value, str):
            return False
        if condition.get("ignoreCase"):
            value, literal = value.casefold(), literal.casefold()
        return TEXT[operator](value, literal)
    if kind == "array":
        return any(element == literal for element in value) == (operator == "contains")
    if kind == "dateTime":
        instant = to_ms(datetime.fromisoformat(value.replace("Z", "+00:00")))
        if len(literal) == 10:
            day = date.fromisoformat(literal)
            start, end = berlin_midnight_ms(day), berlin_midnight_ms(day + timedelta(days=1))
        else:
            start = to_ms(datetime.fromisoformat(literal))
            end = start + 1
        return {"before_date": instant < start, "equals": start <= instant < end, "after_date": instant >= end}[operator]
    raise AssertionError(f"the recomputation does not know type {kind}")


def matches(event, name, channels, conditions, captured=None):
    def value_of(condition):
        return event.properties.get(condition.get("property") or condition.get("key"))

    if event.name != name or (channels and event.channel not in channels):
        return False
    return all(holds(condition, value_of, captured) for condition in conditions)


# Computed traits

def trait(definition, events, now):
    """The value of a computed trait at `now`, None when absent. `events` are in total order."""
    options = definition["properties"]
    window = amount_ms(options["window"]) if "window" in options else None
    mine = [
        event for event in events
        if matches(event, definition["eventId"], options.get("channels"), definition["conditions"])
        and event.t <= now and (window is None or now < event.t + window)
    ]
    kind = definition["type"]
    if kind == "count_events":
        return len(mine)
    if options.get("useTimestamp"):
        return rfc3339((mine[0] if kind == "first_event" else mine[-1]).t) if mine else None
    name = options["property"]
    found = [(event, event.properties[name]) for event in mine if event.properties.get(name) is not None]
    values = [value for _, value in found]
    if kind == "aggregation":
        exact = [Fraction(value) for value in values]
        how = options["aggregationType"]
        if how == "sum":
            return rounded(sum(exact, Fraction(0)))
        if not exact:
            return None
        return rounded({"avg": lambda: sum(exact) / len(exact), "min": lambda: min(exact), "max": lambda: max(exact)}[how]())
    if kind in ("first_event", "last_event"):
        return (values[0] if kind == "first_event" else values[-1]) if values else None
    if kind == "most_frequent":
        best = None
        for value in set(values):
            count = values.count(value)
            last = max(event.at for event, v in found if v == value)
            if count >= options.get("minFrequency", 1) and (best is None or (count, last) > best[0]):
                best = ((count, last), value)
        return best[1] if best else None
    distinct = list(dict.fromkeys(values))
    if kind == "unique_list_count":
        return len(distinct)
    assert kind == "unique_list" and window is None
    return distinct[: options.get("maxValues", 1000)]


# Audiences

COUNTS = {
    "exactly": lambda have, n: have == n,
    "less_than": lambda have, n: have < n,
    "more_than": lambda have, n: have > n,
    "less_or_exactly": lambda have, n: have <= n,
    "more_or_exactly": lambda have, n: have >= n,
}


def step_window(step):
    """The ages that count, as [from, to) in ms, or None for any time."""
    operator = step["timeWindowOperator"]
    if operator == "any_time":
        return None
    unit = UNIT_MS[step.get("timeWindowUnit", "days")]
    start, end = step["timeWindowStart"] * unit, step["timeWindowEnd"] * unit
    return (0, end or start) if operator == "within" else (start, end)


def in_step_window(step, event, now):
    window = step_window(step)
    return event.t <= now and (window is None or window[0] <= now - event.t < window[1])


def events_condition(step, events, now):
    have = sum(
        1 for event in events
        if matches(event, step["id"], step["channels"], step["properties"]) and in_step_window(step, event, now)
    )
    return have == 0 if step["exclude"] else COUNTS[step["operator"]](have, step["count"])


def chains(steps):
    """The steps as chains, each from its root on."""
    children = {step["parentId"]: step for step in steps if step["parentId"]}
    for root in (step for step in steps if not step["parentId"]):
        chain = [root]
        while chain[-1]["internalId"] in children:
            chain.append(children[chain[-1]["internalId"]])
        yield chain


@dataclass(frozen=True)
class Run:
    """An attempt at a funnel: the events that completed its positive steps, and a count towards the next."""

    reached: tuple
    count: int


def funnel(audience, chain, events, now):
    """Whether some way through the chain exists at `now`.

    All ways are followed: an event that can take a run further also leaves the run where it is, since
    a later event may do as well. This asks "is there a sequence of events that satisfies the funnel",
    which is what the chain means to the person who drew it.
    """
    positive = [step for step in chain if not step["exclude"]]
    barriers = {}
    for index, step in enumerate(chain):
        if step["exclude"]:
            barriers[sum(1 for earlier in chain[:index] if not earlier["exclude"])] = step
    total = audience.get("windowFromFirst")

    def captured(run):
        return {step["internalId"]: event.properties for step, event in zip(positive, run.reached)}

    def fits(run, step, event):
        if not matches(event, step["id"], step["channels"], step["properties"], captured(run)):
            return False
        if run.reached:
            gap = event.t - run.reached[-1].t
            limits = step.get("withinPrevious", {})
            if "max" in limits and gap > amount_ms(limits["max"]):
                return False
            if "min" in limits and gap < amount_ms(limits["min"]):
                return False
            if total and event.t >= run.reached[0].t + amount_ms(total):
                return False
        return True

    runs = set()
    for event in (event for event in events if event.t <= now):
        after = set()
        for run in runs | {Run((), 0)}:
            barrier = barriers.get(len(run.reached)) if run.reached else None
            if barrier and matches(event, barrier["id"], barrier["channels"], barrier["properties"], captured(run)):
                continue
            after.add(run)
            if len(run.reached) < len(positive):
                step = positive[len(run.reached)]
                if in_step_window(step, event, now) and fits(run, step, event):
                    done = run.count + 1 == step["count"]
                    after.add(Run((*run.reached, event), 0) if done else Run(run.reached, run.count + 1))
        runs = after - {Run((), 0)}
    complete = [run for run in runs if len(run.reached) == len(positive)]
    last = barriers.get(len(positive))
    if complete and last and "forAtLeast" in last:
        # A newer completion starts the wait again.
        return now >= max(run.reached[-1].t for run in complete) + amount_ms(last["forAtLeast"])
    return bool(complete)


def member(audience, events, traits, known, now):
    """Whether a person is in an audience. `traits` are the values of all computed traits at `now`."""
    if not audience["includeAnonymous"] and not known:
        return False
    if not all(holds(condition, lambda c: traits.get(c["key"]), None) for condition in audience["traits"]):
        return False
    if audience["type"] == "events":
        return all(events_condition(step, events, now) for step in audience["events"])
    return all(funnel(audience, chain, events, now) for chain in chains(audience["events"]))
