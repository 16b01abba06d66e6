"""HTTP in the Attractify dialect, cases I-1 to I-12, I-14, I-15, I-18 to I-29, I-40 to I-48."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

from .client import ADMIN, TA, TS, TW, Socket, track

CASES = []


def case(function):
    CASES.append(function)
    return function


def code(headers):
    return headers.get("x-lodestone-error")


@case
async def i1_i2_credentials(test):
    body = {"userId": "h1", "event": "Page Viewed", "properties": {"page": "/"}}
    status, _, content = test.post("/v1/track", None, body)
    test.equal((status, content), (401, b""), "I-1 no Authorization")
    for value in (f"bearer {TA}", f"xBearer {TA}", "Bearer", "Bearer nobody", f"Bearer {TA} {TA}"):
        status, _, content = test.server.request("POST", "/v1/track", body, headers={"Authorization": value})
        test.equal((status, content), (401, b""), f"I-2 Authorization: {value}")
    test.equal(test.server.profile("h1"), None, "nothing stored")


@case
async def i3_i4_an_event_makes_a_profile(test):
    test.equal(test.track(TA, "h3", "Page Viewed", {"page": "/"})[0], 204, "I-3")
    profile = test.server.profile("h3")
    identities = [{k: i[k] for k in ("channel", "userId", "type", "isAnonymous")} for i in profile["identities"]]
    test.equal(identities, [{"channel": "app", "userId": "h3", "type": "anonymous_id", "isAnonymous": True}], "I-3 identity")
    event = profile["events"][0]
    test.equal((event["event"], event["context"], event["properties"]), ("Page Viewed", {}, {"page": "/"}), "I-3 event")
    status, _, _ = test.post("/v1/track", TA, {"USERID": "h4", "Event": "Page Viewed", "PROPERTIES": {"page": "/"}, "other": 1})
    test.equal(status, 204, "I-4 field names in any case")
    test.that(test.server.profile("h4"), "I-4 stored")


@case
async def i5_i6_missing_fields_and_unknown_events(test):
    for body in ({"event": "Page Viewed", "properties": {"page": "/"}}, {"userId": "", "event": "Page Viewed"}, {"userId": "h5"}, {"userId": "h5", "event": ""}):
        status, headers, _ = test.post("/v1/track", TA, body)
        test.equal((status, code(headers)), (400, "missing_field"), f"I-5 {body}")
    status, headers, _ = test.track(TA, "h6", "Foo", {})
    test.equal((status, code(headers)), (400, "unknown_event"), "I-6")
    test.equal(test.server.profile("h6"), None, "I-6 no profile")
    test.that(any(record["name"] == "Foo" and record["type"] == "unknown_event" for record in test.invalid()), "I-6 record")
    for text in (b"", b"{", b"[]", b"null", b"5", b"\xff"):
        status, headers, _ = test.server.request("POST", "/v1/track", text, token=TA)
        test.that(status == 400 and code(headers) in ("invalid_json", "invalid_frame", "missing_field"), f"body {text!r}: {status} {code(headers)}")


@case
async def i7_i8_properties_that_do_not_fit(test):
    for encoding in ({}, {"Accept-Encoding": "gzip"}):
        status, headers, _ = test.server.request("POST", "/v1/track", {"userId": "h7", "event": "Page Viewed", "properties": {"page": "/", "x": 1}},
                                                 token=TA, headers=encoding)
        test.equal((status, code(headers)), (400, "event_properties_invalid"), f"I-7 {encoding}")
    records = [r for r in test.invalid() if r["userId"] == "h7"]
    test.equal(len(records), 2, "I-7 records")
    record = records[0]
    test.equal((record["type"], record["context"], record["errors"][0]["path"], record["errors"][0]["rule"]), ("properties", {}, "x", "unknown"), "I-7 record")
    test.track(TA, "h8", "Page Viewed", None)
    [record] = [r for r in test.invalid() if r["userId"] == "h8"]
    test.equal((record["errors"][0]["path"], record["errors"][0]["rule"]), ("page", "required"), "I-8")


@case
async def i9_i10_i11_i12_casting(test):
    def stored(user, event, properties):
        status, _, _ = test.track(TA, user, event, properties)
        profile = test.server.profile(user)
        return status, profile["events"][0]["properties"] if profile else None

    test.equal(stored("h9", "Checkout Started", {"total": "19.90", "items": "2"}), (204, {"total": 19.9, "items": 2}), "I-9")
    test.equal(stored("h10", "Checkout Started", {"total": 1, "items": 2.5}), (400, None), "I-10")
    [record] = [r for r in test.invalid() if r["userId"] == "h10"]
    test.equal((record["errors"][0]["path"], record["errors"][0]["rule"]), ("items", "type"), "I-10 record")
    test.equal(stored("h10", "Checkout Started", {"total": 1, "items": 2.0}), (204, {"total": 1, "items": 2}), "I-10 zero fraction")
    test.equal(stored("h11", "Checkout Started", {"total": None, "items": 1}), (400, None), "I-11 required")
    test.equal(stored("h11", "Quoted", {"total": None, "items": 1}), (204, {"items": 1}), "I-11 optional")
    test.equal(stored("h12", "Dated", {"at": "2026-07-01"}), (204, {"at": "2026-06-30T22:00:00.000Z"}), "I-12")
    test.equal(stored("h12b", "Dated", {"at": "yesterday"}), (400, None), "I-12 no date")
    test.equal(stored("h14", "Tagged", {"meta": {"a": {"b": [1, "2"]}}}), (204, {"meta": {"a": {"b": [1, "2"]}}}), "I-14")
    test.equal(stored("h15", "Nested", {"page": {}}), (400, None), "I-15")
    [record] = [r for r in test.invalid() if r["userId"] == "h15"]
    test.equal((record["errors"][0]["path"], record["errors"][0]["rule"]), ("page.url", "required"), "I-15 path")


@case
async def i18_i19_contexts(test):
    def send(user, context, properties=None):
        body = {"userId": user, "event": "Page Viewed", "properties": properties or {"page": "/"}}
        if context is not None:
            body["context"] = context
        status, headers, _ = test.post("/v1/track", TW, body)
        return status, code(headers)

    test.equal(send("h18a", {"country": "de"}), (400, "context_invalid"), "I-18 pattern")
    test.equal(send("h18b", None), (400, "context_invalid"), "I-18 required")
    test.equal(send("h18c", {"country": "DE"}), (204, None), "I-18 good")
    by_user = {r["userId"]: r for r in test.invalid()}
    test.equal((by_user["h18a"]["type"], by_user["h18b"]["errors"][0]["rule"]), ("context", "required"), "I-18 records")
    send("h19", {"country": 5}, {"page": "/", "y": 1})
    records = [r for r in test.invalid() if r["userId"] == "h19"]
    test.equal(len(records), 1, "I-19 one record")
    test.equal(len(records[0]["errors"]), 2, "I-19 errors of both parts")


@case
async def i20_to_i24_identify(test):
    def identify(**body):
        status, headers, _ = test.post("/v1/identify", TA, body)
        return status, code(headers)

    test.equal(identify(userId="h20", type="user_id", traits={"department": "m"}), (204, None), "I-20")
    profile = test.server.profile("h20")
    test.equal((profile["customTraits"], profile["identities"][0]["isAnonymous"]), ({"department": "m"}, False), "I-20 known")
    test.equal(identify(userId="h20", type="user_id", traits={"age": "30"}), (204, None), "I-21")
    test.equal(test.server.profile("h20")["customTraits"], {"age": 30}, "I-21 replaced")
    identify(userId="h20", type="user_id", traits={"department": "m"})
    identify(userId="h20", type="user_id", traits={"age": "30"}, traitsMode="merge")
    test.equal(test.server.profile("h20")["customTraits"], {"department": "m", "age": 30}, "I-21 merged")
    test.equal(identify(userId="h22"), (400, "missing_field"), "I-22")
    test.equal(identify(userId="h22", isAnonymous=True), (400, "missing_field"), "I-22 anonymous")
    test.equal(identify(userId="h20", type="user_id", isAnonymous=True), (204, None), "I-24")
    identity = test.server.profile("h20")["identities"][0]
    test.equal((identity["isAnonymous"], identity["type"]), (False, "user_id"), "I-24 stays known")
    test.equal(identify(userId="h20", type="user_id", traits={"age": "old"}), (400, "traits_invalid"), "bad traits")
    test.equal(test.server.profile("h20")["customTraits"]["age"], 30, "bad traits change nothing")


@case
async def i25_to_i30_merging(test):
    for n in range(3):
        test.track(TA, "h25a", "Page Viewed", {"page": "/"})
    old = test.server.profile("h25a")["id"]
    status, _, _ = test.post("/v1/identify", TA, {"userId": "h25u", "type": "user_id", "previousUserId": "h25a"})
    test.equal(status, 204, "I-25")
    profile = test.server.profile("h25u")
    test.equal(({i["userId"] for i in profile["identities"]}, profile["eventCount"]), ({"h25a", "h25u"}, 3), "I-25 one profile")
    test.equal(test.server.read(f"/api/v1/profiles/{old}")["id"], profile["id"], "I-25 the old id resolves to the survivor")
    test.post("/v1/identify", TA, {"userId": "h25u", "type": "user_id", "previousUserId": "h25a"})
    test.equal(test.server.profile("h25u")["eventCount"], 3, "I-34 merging again changes nothing")

    test.track(TA, "h27a", "Page Viewed", {"page": "/"})
    test.track(TA, "h27a", "Page Viewed", {"page": "/"})
    test.post("/v1/identify", TA, {"userId": "h27a", "type": "x", "isAnonymous": True, "traits": {"age": 20, "department": "x"}})
    test.track(TA, "h27u", "Page Viewed", {"page": "/"})
    test.post("/v1/identify", TA, {"userId": "h27u", "type": "user_id", "traits": {"age": 30}, "previousUserId": "h27a"})
    profile = test.server.profile("h27u")
    test.equal(profile["customTraits"], {"age": 30, "department": "x"}, "I-26 union, the leader wins")
    test.equal(profile["computedTraits"]["views"], 3, "I-27 counts add up")

    status, _, _ = test.post("/v1/identify", TA, {"userId": "h29u", "type": "user_id", "previousUserId": "h29-never-seen"})
    test.equal(status, 204, "I-29")
    test.track(TA, "h29-never-seen", "Page Viewed", {"page": "/"})
    test.equal(test.server.profile("h29-never-seen")["id"], test.server.profile("h29u")["id"], "I-29 a late event of the unknown id")

    test.post("/v1/identify", TA, {"userId": "h30a", "type": "user_id"})
    status, headers, _ = test.post("/v1/identify", TA, {"userId": "h30b", "type": "user_id", "previousUserId": "h30a"})
    test.equal((status, headers.get("x-lodestone-merge")), (204, "refused_known_user"), "I-30")
    test.that(test.server.profile("h30a")["id"] != test.server.profile("h30b")["id"], "I-30 two people")

    test.post("/v1/identify", TW, {"userId": "h31", "type": "user_id"})
    test.track(TA, "h31", "Page Viewed", {"page": "/"})
    flags = {i["channel"]: i["isAnonymous"] for i in test.server.profile("h31")["identities"]}
    test.equal(flags, {"web": False, "app": False}, "I-31 one profile, the app identity is known too")


@case
async def i32_first_events_at_once(test):
    def send(n):
        import http.client
        connection = http.client.HTTPConnection("127.0.0.1", test.server.port, timeout=30)
        token, context = (TW, {"country": "DE"}) if n % 2 else (TA, {})
        body = json.dumps({"userId": "h32", "event": "Page Viewed", "properties": {"page": "/"}, "context": context})
        connection.request("POST", "/v1/track", body, {"Authorization": f"Bearer {token}"})
        status = connection.getresponse().status
        connection.close()
        return status

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(send, range(100)))
    test.equal(statuses, [204] * 100, "I-32 answers")
    profile = test.server.profile("h32")
    test.equal((len(profile["identities"]), profile["computedTraits"]["views"]), (2, 100), "I-32 one profile, two identities, 100 events")


@case
async def i40_i41_listing(test):
    def names(**body):
        status, _, content = test.post("/v1/actions", TA, {"type": "listing", **body})
        return status, sorted(a["properties"]["title"] for a in json.loads(content))

    test.equal(names(userId="h40"), (200, ["Both tags", "One tag"]), "I-40 no tags")
    test.that(test.server.profile("h40"), "I-40 the profile exists")
    test.equal(names(userId="h40", tags=["a", "b"]), (200, ["Both tags"]), "I-40 both tags")
    test.equal(names(userId="h40", tags=[]), (200, ["Both tags", "One tag"]), "I-40 empty list")
    status, _, content = test.server.request("GET", "/v1/actions?userId=h40&type=listing&tags=a&tags=b", token=TA)
    [action] = json.loads(content)
    test.equal((status, action["type"], action["version"], action["tags"]), (200, "listing", 1, ["a", "b"]), "GET")
    test.that(action["deliveryId"].startswith("im_"), "deliveryId")
    status, _, _ = test.post("/v1/actions", TA, {"userId": "h40", "tags": ["a", ""]})
    test.equal(status, 400, "an empty tag")
    status, headers, _ = test.post("/v1/actions", TA, {"type": "listing"})
    test.equal((status, code(headers)), (400, "missing_field"), "no user")
    for session, want in (("s-1", 1), (None, 2)):
        user = f"h41-{session}"
        for _ in range(2):
            body = {"userId": user, "type": "listing", "tags": ["b"]}
            test.post("/v1/actions", TA, {**body, **({"sessionId": session} if session else {})})
        delivered = test.reactions(user, "delivered")
        test.equal(len(delivered), want, f"I-41 delivered with session {session}")


@case
async def i42_i45_act(test):
    def ids(kind, user):
        return {a["properties"]["title"]: a["id"] for a in json.loads(test.post("/v1/actions", TA, {"userId": user, "type": kind})[2])}

    def act(**body):
        status, headers, content = test.post("/v1/actions/act", TA, body)
        return status, code(headers), content

    each = ids("coupon", "h42")["One coupon each"]
    test.equal(act(userId="h42", actionId=each, event="click")[0], 400, "I-42 unknown verb")
    test.equal(act(userId="h42-never", actionId=each, event="accept")[0], 400, "I-42 unknown user")
    test.equal(test.server.profile("h42-never"), None, "I-42 no profile is made")
    for missing in (str(uuid.uuid4()), "not-an-id"):
        test.equal(act(userId="h42", actionId=missing, event="show")[:2], (404, "action_not_found"), f"I-42 action {missing}")
    # A reaction other than accept counts after the action went to sleep, if it was delivered before.
    sleeping = next(a for a in json.loads(test.catalog.read_text())["actions"] if a["name"] == "Sleeping")
    for state in ("active", "inactive"):
        status, _, _ = test.post("/api/v1/catalog", ADMIN, {"actions": [{**sleeping, "state": state}]})
        test.equal(status, 200, f"the action becomes {state}")
        test.equal("Sleeping" in ids("listing", "h42"), state == "active", f"listed while {state}")
    test.equal(act(userId="h42", actionId=sleeping["id"], event="show")[::2], (200, b"{}"), "I-42 show of an inactive action is recorded")
    test.equal(act(userId="h42", actionId=sleeping["id"], event="accept")[:2], (400, "action_not_allowed"), "I-42 accept of an inactive action")

    test.equal(act(userId="h42", actionId=each, event="accept", messageId="h45-1")[::2], (200, b"{}"), "accept")
    test.equal(act(userId="h42", actionId=each, event="accept", messageId="h45-1")[::2], (200, b"{}"), "I-45 repeated")
    test.equal(act(userId="h42", actionId=each, event="accept", messageId="h45-2")[:2], (400, "action_cap_reached"), "one each")
    accepted = test.reactions("h42", "accepted")
    test.equal(len(accepted), 1, "I-45 one reaction")
    test.that("One coupon each" not in ids("coupon", "h42"), "a capped action is not listed")
    test.post("/v1/identify", TA, {"userId": "h28", "type": "user_id", "previousUserId": "h42"})
    test.that("One coupon each" not in ids("coupon", "h28"), "I-28 caps survive a merge")


@case
async def i43_a_total_cap_is_exact(test):
    import http.client
    listed = json.loads(test.post("/v1/actions", TA, {"userId": "h43", "type": "coupon"})[2])
    action = next(a["id"] for a in listed if a["properties"]["title"] == "Hundred coupons")

    def accept(n):
        connection = http.client.HTTPConnection("127.0.0.1", test.server.port, timeout=30)
        headers = {"Authorization": f"Bearer {TA}", "Accept": "application/json"}
        # An unknown user is refused, so each is made known first.
        connection.request("POST", "/v1/track", json.dumps({"userId": f"h43-{n}", "event": "Page Viewed", "properties": {"page": "/"}}), headers)
        connection.getresponse().read()
        connection.request("POST", "/v1/actions/act", json.dumps({"userId": f"h43-{n}", "actionId": action, "event": "accept"}), headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status if answer.status == 200 else json.loads(content)["error"]["code"]

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(accept, range(500)))
    counts = {answer: answers.count(answer) for answer in set(answers)}
    test.equal(counts, {200: 100, "action_cap_reached": 400}, "I-43 100 of 500")


@case
async def i47_error_bodies(test):
    body = {"userId": "h47", "event": "Page Viewed", "properties": {"page": 1, "z": 2}}
    for accept in (None, "*/*", "text/html"):
        headers = {"Accept": accept} if accept else {}
        status, answer, content = test.server.request("POST", "/v1/track", body, token=TA, headers=headers)
        test.equal((status, code(answer), content), (400, "event_properties_invalid", b""), f"I-47 Accept {accept}")
    status, _, content = test.server.request("POST", "/v1/track", body, token=TA, headers={"Accept": "application/json"})
    error = json.loads(content)["error"]
    test.equal((status, error["code"], [d["path"] for d in error["details"]]), (400, "event_properties_invalid", ["z"]), "I-47 with a body")


@case
async def i48_one_message_id_over_two_transports(test):
    socket = await Socket.hello(test.server.ws, TA, "h48")
    await socket.send(track("i48-1"))
    test.equal((await socket.results(1))[0]["status"], "stored", "I-48 socket")
    test.equal(test.track(TA, "h48", "Page Viewed", {"page": "/"}, messageId="i48-1")[0], 204, "I-48 HTTP")
    test.equal(test.server.profile("h48")["eventCount"], 1, "I-48 one event")
    await socket.close()


@case
async def i54_sizes(test):
    status, headers, _ = test.track(TA, "h54", "Page Viewed", {"page": "x" * 32_768})
    test.equal((status, code(headers)), (413, "payload_too_large"), "I-54")
    test.equal(test.server.profile("h54"), None, "nothing stored")


@case
async def i55_clock_skew(test):
    # A client whose clock is two hours behind sends ten seconds after the event.
    from datetime import datetime, timedelta, timezone
    now = datetime.now(timezone.utc)
    text = lambda moment: moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    test.track(TA, "h55", "Page Viewed", {"page": "/"}, timestamp=text(now - timedelta(hours=2, seconds=10)), sentAt=text(now - timedelta(hours=2)))
    event = test.server.profile("h55")["events"][0]
    happened = datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00"))
    received = datetime.fromisoformat(event["receivedAt"].replace("Z", "+00:00"))
    test.equal(received - happened, timedelta(seconds=10), "I-55")


@case
async def read_side(test):
    for path in ("/api/v1/profiles?userId=h3", "/api/v1/status", "/api/v1/audiences/x"):
        for token in (None, TA, TS):
            status, headers, content = test.server.request("GET", path, token=token)
            test.that(status in (401, 403), f"GET {path} with {token}: {status}")
            test.that(headers.get("content-type", "").startswith("application/problem+json") and json.loads(content)["code"], f"problem of {path}")
    status, headers, content = test.server.request("GET", f"/api/v1/profiles/{uuid.uuid4()}", token=ADMIN)
    test.equal((status, headers.get("content-type")), (404, "application/problem+json"), "an unknown profile")
    test.equal(test.server.read("/api/v1/profiles?userId=nobody-at-all")["data"], [], "an unknown user id")
    test.equal(test.server.request("GET", "/api/v1/audiences/nope", token=ADMIN)[0], 404, "an unknown audience")
    test.that(test.server.read("/api/v1/status")["events"] > 0, "status")
