"""Traits and audiences with windows, and what pandas makes of them from the rows alone.

The other opinion of windows.py. It shares nothing with the engine, nor with recompute.py: it selects, joins
and counts rows of a table, once for every moment.
"""

import json

import pandas as pd

UNITS = {"minutes": 60_000, "hours": 3_600_000, "days": 86_400_000}


def ms(amount):
    return amount["amount"] * UNITS[amount["unit"]]


def span(amount, unit):
    return {"amount": amount, "unit": unit}


def trait(key, kind, event, window=None, conditions=(), **properties):
    if window:
        properties["window"] = span(*window)
    return {"name": key, "key": key, "type": kind, "eventId": event, "conditions": list(conditions), "properties": properties}


def aggregate(key, event, how, property, window):
    kind = {"hour": "float", "session_no": "integer"}[property]
    return trait(key, "aggregation", event, window, property=property, type=kind, aggregationType=how)


MOBILE = {"property": "platform", "type": "string", "operator": "equals", "value": "mobile"}

TRAITS = [
    trait("views_5m", "count_events", "product_view", (5, "minutes")),
    trait("views_30m", "count_events", "product_view", (30, "minutes")),
    trait("views_2h", "count_events", "product_view", (2, "hours")),
    trait("views_1d", "count_events", "product_view", (1, "days")),
    trait("views_30d", "count_events", "product_view", (30, "days")),
    trait("mobile_views_2h", "count_events", "product_view", (2, "hours"), [MOBILE]),
    aggregate("search_sum_15m", "search", "sum", "session_no", (15, "minutes")),
    aggregate("search_sum_3h", "search", "sum", "session_no", (3, "hours")),
    aggregate("search_sum_14d", "search", "sum", "session_no", (14, "days")),
    aggregate("catalog_avg_90m", "catalog", "avg", "hour", (90, "minutes")),
    aggregate("catalog_avg_20d", "catalog", "avg", "hour", (20, "days")),
    aggregate("view_min_45m", "product_view", "min", "hour", (45, "minutes")),
    aggregate("view_min_12d", "product_view", "min", "hour", (12, "days")),
    aggregate("view_max_45m", "product_view", "max", "session_no", (45, "minutes")),
    aggregate("view_max_40d", "product_view", "max", "hour", (40, "days")),
    trait("platform_6h", "most_frequent", "product_view", (6, "hours"), property="platform", type="string", minFrequency=2),
    trait("hour_60d", "most_frequent", "catalog", (60, "days"), property="hour", type="float", minFrequency=2),
    trait("first_home_1h", "first_event", "home", (1, "hours"), property="session", type="string"),
    trait("first_home_25d", "first_event", "home", (25, "days"), property="session", type="string"),
    trait("last_search_20m", "last_event", "search", (20, "minutes"), property="session", type="string"),
    trait("last_search_10d", "last_event", "search", (10, "days"), property="session", type="string"),
    trait("last_cart_at_4h", "last_event", "cart", (4, "hours"), useTimestamp=True),
    trait("sessions_2h", "unique_list_count", "catalog", (2, "hours"), property="session", type="string"),
    trait("sessions_50d", "unique_list_count", "catalog", (50, "days"), property="session", type="string"),
    trait("session_list_30d", "unique_list", "product_view", (30, "days"), property="session", type="string"),
    trait("session_list_10m", "unique_list", "product_view", (10, "minutes"), property="session", type="string"),
]


def step(event, internal, parent=None, operator="more_or_exactly", count=1, exclude=False, within=None, between=None, **more):
    if within:
        window = {"timeWindowOperator": "within", "timeWindowStart": within[0], "timeWindowEnd": within[0], "timeWindowUnit": within[1]}
    elif between:
        window = {"timeWindowOperator": "in_between", "timeWindowStart": between[0], "timeWindowEnd": between[1], "timeWindowUnit": between[2]}
    else:
        window = {"timeWindowOperator": "any_time"}
    return {"id": event, "internalId": internal, "parentId": parent, "exclude": exclude, "channels": [], "operator": operator,
            "count": count, "properties": [], **window, **more}


def audience(key, *steps, traits=(), **more):
    kind = "funnel" if any(s["parentId"] for s in steps) else "events"
    return {"name": key, "key": key, "description": "", "includeAnonymous": True, "type": kind, "events": list(steps),
            "traits": list(traits), **more}


def chain(key, *steps, **more):
    """Each step follows the one before."""
    linked = [{**s, "internalId": f"s{i}", "parentId": f"s{i - 1}" if i else None} for i, s in enumerate(steps)]
    return audience(key, *linked, **more)


def then(event, **more):
    return step(event, "", **more)


def computed(key, operator, value, kind="integer"):
    return {"source": "computed", "key": key, "dataType": kind, "operator": operator, "target": "static", "value": str(value)}


def previous(**limits):
    return {"withinPrevious": {name: span(*limit) for name, limit in limits.items()}}


AUDIENCES = [
    audience("one_view_10m", step("product_view", "a", within=(10, "minutes"))),
    audience("three_views_1h", step("product_view", "a", count=3, within=(1, "hours"))),
    audience("exactly_two_2h", step("product_view", "a", operator="exactly", count=2, within=(2, "hours"))),
    audience("few_searches_3d", step("search", "a", operator="less_than", count=3, within=(3, "days"))),
    audience("no_view_40m", step("product_view", "a", exclude=True, within=(40, "minutes"))),
    audience("view_20_to_60m", step("product_view", "a", between=(20, 60, "minutes"))),
    audience("two_views_1_to_30d", step("product_view", "a", count=2, between=(1, 30, "days"))),
    audience("view_and_no_cart_2h", step("product_view", "a", within=(2, "hours")), step("cart", "b", exclude=True, within=(2, "hours"))),
    audience("busy_30m", traits=[computed("views_30m", "greater_than_or_equal", 2)]),
    audience("quiet_2h_busy_30d", traits=[computed("views_2h", "less_than", 1), computed("views_30d", "greater_than", 5)]),
    chain("cart_in_5m", then("product_view", within=(2, "hours")), then("add_to_cart", within=(2, "hours"), **previous(max=(5, "minutes")))),
    chain("view_cart_1h", then("product_view", within=(1, "hours")), then("add_to_cart", within=(30, "minutes"))),
    chain("search_view_cart_1d", then("search", within=(1, "days")), then("product_view", within=(1, "days")), then("add_to_cart", within=(3, "hours"))),
    chain("slow_cart", then("product_view", within=(20, "days")), then("cart", within=(5, "days"), **previous(min=(2, "hours"), max=(3, "days")))),
    chain("smooth_1d", then("catalog", within=(1, "days")), then("search", exclude=True), then("product_view", within=(6, "hours"))),
    chain("left_cart", then("add_to_cart", within=(12, "hours")), then("purchase", exclude=True)),
    chain("left_cart_30m", then("add_to_cart"), then("purchase", exclude=True, forAtLeast=span(30, "minutes"))),
    chain("idle_1h", then("product_view"), then("product_view", exclude=True, forAtLeast=span(1, "hours"))),
    chain("idle_3d", then("home"), then("home", exclude=True, forAtLeast=span(3, "days"))),
    chain("all_in_20m", then("home"), then("catalog"), then("product_view", within=(8, "hours")), windowFromFirst=span(20, "minutes")),
    chain("two_searches_view_4h", then("search", count=2, within=(4, "hours")), then("product_view", within=(4, "hours"))),
    chain("in_session_and_busy", then("home", within=(3, "hours")), then("catalog", within=(2, "hours")), traits=[computed("views_1d", "greater_than", 2)]),
]


def catalog(path):
    """The events of the catalog beside, with the definitions above."""
    document = json.loads(path.read_text())
    return {**document, "computedTraits": TRAITS, "audiences": AUDIENCES}


class Recount:
    """Everything about everybody at one moment, from the rows up to then."""

    def __init__(self, rows, now):
        rows = rows[rows["t"] <= now].reset_index(drop=True)
        # Times can be equal; then the order of the rows decides, as it does in the log.
        rows["place"] = range(len(rows))
        self.now = now
        self.rows = rows.rename(columns={"session_id": "session"})

    def people(self):
        return sorted(self.rows["user_id"].unique())

    def named(self, event):
        return self.rows[self.rows["event"] == event]

    def default(self, key):
        kind = next(trait for trait in TRAITS if trait["key"] == key)
        if kind["type"] in ("count_events", "unique_list_count"):
            return 0
        if kind["type"] == "unique_list":
            return []
        return 0.0 if kind["properties"].get("aggregationType") == "sum" else None

    def trait(self, definition):
        """Values by person; whoever has none is left out."""
        options, kind = definition["properties"], definition["type"]
        rows = self.named(definition["eventId"])
        rows = rows[rows["t"] > self.now - ms(options["window"])]
        for condition in definition["conditions"]:
            rows = rows[rows[condition["property"]] == condition["value"]]
        by = rows.groupby("user_id")
        if kind == "count_events":
            return {user: int(count) for user, count in by.size().items()}
        if kind == "unique_list_count":
            return {user: int(count) for user, count in by[options["property"]].nunique().items()}
        if kind == "unique_list":
            last = rows.drop_duplicates(["user_id", options["property"]], keep="last")
            return last.groupby("user_id")[options["property"]].agg(list).to_dict()
        if kind in ("first_event", "last_event"):
            one = rows.drop_duplicates("user_id", keep=kind.removesuffix("_event")).set_index("user_id")
            if options.get("useTimestamp"):
                return (one["timestamp"].str.replace(" ", "T") + "Z").to_dict()
            return one[options["property"]].to_dict()
        if kind == "most_frequent":
            tally = rows.groupby(["user_id", options["property"]]).agg(count=("place", "size"), last=("place", "max")).reset_index()
            tally = tally[tally["count"] >= options["minFrequency"]].sort_values(["count", "last"])
            best = tally.drop_duplicates("user_id", keep="last").set_index("user_id")[options["property"]]
            return {user: self.plain(value, options["type"]) for user, value in best.items()}
        how = options["aggregationType"]
        if how == "avg":
            # Half away from zero at the third decimal, in whole numbers: all values are.
            sums = by[options["property"]].agg(["sum", "size"])
            return {user: (2000 * int(row["sum"]) + int(row["size"])) // (2 * int(row["size"])) / 1000 for user, row in sums.iterrows()}
        return {user: float(value) for user, value in by[options["property"]].agg(how).items()}

    @staticmethod
    def plain(value, kind):
        return float(value) if kind in ("float", "integer") else value

    def windowed(self, definition):
        """The rows that a step counts."""
        rows = self.named(definition["id"])
        unit = UNITS[definition.get("timeWindowUnit", "days")]
        if definition["timeWindowOperator"] == "within":
            rows = rows[rows["t"] > self.now - definition["timeWindowEnd"] * unit]
        elif definition["timeWindowOperator"] == "in_between":
            age = self.now - rows["t"]
            rows = rows[(age >= definition["timeWindowStart"] * unit) & (age < definition["timeWindowEnd"] * unit)]
        return rows

    def members(self, definition, traits):
        """The people in an audience."""
        inside = set(self.people())
        if definition["type"] == "events":
            for condition in definition["events"]:
                inside &= self.counted(condition)
        else:
            inside &= self.followed(definition)
        for condition in definition["traits"]:
            values = pd.Series({user: traits[condition["key"]].get(user, 0) for user in self.people()})
            bound = int(condition["value"])
            holds = {"greater_than_or_equal": values >= bound, "greater_than": values > bound, "less_than": values < bound}
            inside &= set(values.index[holds[condition["operator"]]])
        return inside

    def counted(self, condition):
        counts = self.windowed(condition).groupby("user_id").size().reindex(self.people(), fill_value=0)
        if condition["exclude"]:
            return set(counts.index[counts == 0])
        n = condition["count"]
        holds = {"more_or_exactly": counts >= n, "exactly": counts == n, "less_than": counts < n}
        return set(counts.index[holds[condition["operator"]]])

    def so_far(self, event):
        """How many rows of an event a person has up to and with each row."""
        return (self.rows["event"] == event).groupby(self.rows["user_id"]).cumsum()

    def followed(self, definition):
        """Whoever has a row for every step, one after the other: a join per step."""
        steps = definition["events"]
        runs = None
        barrier = None
        for at, wanted in enumerate(steps):
            if wanted["exclude"]:
                barrier = wanted
                continue
            # A step that asks for two is two steps; the second one reaches it, and has to lie in its window.
            for left in reversed(range(wanted["count"])):
                rows = (self.named(wanted["id"]) if left else self.windowed(wanted))[["user_id", "t", "place"]]
                if runs is None:
                    runs = rows.assign(first=rows["t"])
                    continue
                joined = runs.merge(rows, on="user_id", suffixes=("_before", ""))
                joined = joined[joined["place"] > joined["place_before"]]
                limits = wanted.get("withinPrevious", {})
                if "max" in limits:
                    joined = joined[joined["t"] - joined["t_before"] <= ms(limits["max"])]
                if "min" in limits:
                    joined = joined[joined["t"] - joined["t_before"] >= ms(limits["min"])]
                if "windowFromFirst" in definition:
                    joined = joined[joined["t"] < joined["first"] + ms(definition["windowFromFirst"])]
                if barrier:
                    count = self.so_far(barrier["id"])
                    joined = joined[count[joined["place"]].to_numpy() == count[joined["place_before"]].to_numpy()]
                    barrier = None
                runs = joined[["user_id", "t", "place", "first"]].drop_duplicates()
        if barrier:
            # Nothing of it after the last step, and where it says so for long enough.
            count = self.so_far(barrier["id"])
            total = count.groupby(self.rows["user_id"]).max()
            runs = runs[count[runs["place"]].to_numpy() == total[runs["user_id"]].to_numpy()]
            if "forAtLeast" in barrier:
                # The next time that all is done begins a wait anew, unless it is over.
                runs = runs.sort_values(["user_id", "place"])
                over = runs["t"] + ms(barrier["forAtLeast"])
                following = runs.groupby("user_id")["t"].shift(-1)
                runs = runs[(over <= self.now) & ~(following < over)]
        return set(runs["user_id"])
