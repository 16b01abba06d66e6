"""The socket protocol, cases I-56 to I-65 of the specification and what belongs to them."""

import asyncio
import json

from .client import ADMIN, CHECKOUT, TA, TS, TW, Socket, track

CASES = []


def case(function):
    CASES.append(function)
    return function


@case
async def i56_no_hello_and_bad_tokens(test):
    silent = await Socket.connect(test.server.ws)
    test.equal(await silent.closed(8), 4408, "no hello for 5 s")
    for token in ("nobody", "", None):
        socket = await Socket.connect(test.server.ws)
        await socket.send({"t": "hello", "v": 1, "token": token, "anonymousId": "x"})
        test.equal(await socket.closed(), 4401, f"close for token {token!r}")
        error = socket.skipped[-1]
        test.equal((error["t"], error["code"], error["fatal"]), ("error", "unauthorized", True), f"error for token {token!r}")
    admin = await Socket.connect(test.server.ws)
    await admin.send({"t": "hello", "v": 1, "token": ADMIN, "anonymousId": "x"})
    test.equal(await admin.closed(), 4401, "an admin token has no channel")
    early = await Socket.connect(test.server.ws)
    await early.send(track("m1"))
    test.equal(await early.closed(), 4400, "a track before hello")
    nobody = await Socket.connect(test.server.ws)
    await nobody.send({"t": "hello", "v": 1, "token": TA})
    test.equal(await nobody.closed(), 4400, "hello without an id")
    test.equal(nobody.skipped[-1]["code"], "missing_field", "hello without an id")


@case
async def hello_creates_no_profile(test):
    socket = await Socket.hello(test.server.ws, TA, "ws-hello")
    welcome = socket.welcome
    test.equal((welcome["v"], welcome["channel"], welcome["resumed"]), (1, "app", False), "welcome")
    test.equal(welcome["identity"], {"userId": "ws-hello", "isAnonymous": True}, "welcome.identity")
    test.equal(welcome["limits"], {"frameBytes": 262144, "eventBytes": 32768, "batch": 100, "subscriptions": 16}, "welcome.limits")
    test.that(welcome["resumeToken"].startswith("rt_") and welcome["connectionId"].startswith("cn_"), "welcome ids")
    test.equal(test.server.profile("ws-hello"), None, "no profile by hello alone")
    await socket.send({"t": "ping", "id": "p1"})
    pong = await socket.wait("pong")
    test.that(pong["id"] == "p1" and pong["serverTime"].endswith("Z"), "pong")
    test.equal(socket.raw.subprotocol, "lodestone.v1.json", "subprotocol")
    plain = await Socket.connect(test.server.ws, subprotocols=None)
    await plain.send({"t": "hello", "v": 1, "token": TA, "anonymousId": "x", "unknownField": [1]})
    test.that(await plain.wait("welcome"), "no subprotocol means JSON; unknown fields are ignored")
    newer = await Socket.connect(test.server.ws)
    await newer.send({"t": "hello", "v": 2, "token": TA, "anonymousId": "x"})
    test.equal(await newer.closed(), 4400, "version 2")
    test.equal(newer.skipped[-1]["code"], "unsupported_version", "version 2")
    await socket.close()
    await plain.close()


@case
async def i57_a_resent_message_is_stored_once(test):
    first = await Socket.hello(test.server.ws, TA, "ws-cut")
    await first.send(track("i57-m1"))
    first.cut()
    second = await Socket.hello(test.server.ws, TA, "ws-cut")
    await second.send(track("i57-m1"))
    [again] = await second.results(1)
    test.that(again["status"] in ("stored", "duplicate"), f"resent: {again}")
    await second.send(track("i57-m1"))
    [third] = await second.results(1)
    test.equal((third["status"], third["eventId"]), ("duplicate", again["eventId"]), "third time")
    test.equal(test.server.profile("ws-cut")["eventCount"], 1, "events stored")
    await second.close()


@case
async def i58_a_batch_is_answered_in_order(test):
    socket = await Socket.hello(test.server.ws, TA, "ws-batch")
    await socket.send({"t": "batch", "id": "b1", "messages": [track("b-1"), track("b-2", properties={}), track("b-3"), track("b-4", "Nope"), track("b-1")]})
    ack = await socket.wait("ack")
    test.equal([(r["id"], r["status"]) for r in ack["results"]],
               [("b-1", "stored"), ("b-2", "rejected"), ("b-3", "stored"), ("b-4", "rejected"), ("b-1", "duplicate")], "results")
    bad = ack["results"][1]
    test.equal((bad["code"], bad["errors"][0]["path"], bad["errors"][0]["rule"]), ("event_properties_invalid", "page", "required"), "errors of the item")
    test.equal(ack["results"][3]["code"], "unknown_event", "code of the item")
    test.equal(ack["credit"], 5, "credit returned")
    await socket.send({"t": "batch", "id": "b2", "messages": [track(f"bb-{i}") for i in range(101)]})
    error = await socket.wait("error")
    test.equal((error["id"], error["code"]), ("b2", "batch_too_large"), "101 items")
    await socket.send({"t": "batch", "id": "b3", "messages": [{"t": "batch", "messages": []}, {"t": "ping"}, track("b-5")]})
    test.equal([r.get("code", r["status"]) for r in await socket.results(3)], ["invalid_frame", "invalid_frame", "stored"], "nested frames")
    test.equal(test.server.profile("ws-batch")["eventCount"], 3, "events stored")
    await socket.send({"t": "batch", "id": "b4", "messages": [
        {"t": "identify", "id": "b-6", "userId": "ws-batch-user", "type": "user_id", "previousUserId": "ws-batch", "traits": {"age": 5}},
        track("b-7", userId="ws-batch-user")]})
    test.equal([r["status"] for r in await socket.results(2)], ["stored", "stored"], "identify and track in one batch")
    profile = test.server.profile("ws-batch")
    test.equal((profile["customTraits"], profile["computedTraits"]["views"]), ({"age": 5}, 4), "the batch in order")
    await socket.close()


@case
async def compact_acks(test):
    socket = await Socket.hello(test.server.ws, TS, "ws-compact", ack="compact")
    await socket.send({"t": "batch", "id": "b1", "messages": [track(f"c-{i}", userId=f"ws-compact-{i}") for i in range(100)]})
    ack = await socket.wait("ack")
    test.equal(ack, {"t": "ack", "batch": "b1", "stored": 100, "results": [], "credit": 100}, "all stored")
    await socket.send({"t": "batch", "id": "b2", "messages": [track("c-0", userId="ws-compact-0"), track("c-x", "Nope", {}), track("c-y")]})
    ack = await socket.wait("ack")
    test.equal((ack["batch"], ack["stored"], ack["credit"]), ("b2", 1, 3), "counts")
    test.equal([(r["id"], r["status"]) for r in ack["results"]], [("c-0", "duplicate"), ("c-x", "rejected")], "only what was not stored")
    await socket.send(track("c-z"))
    test.equal([r["id"] for r in await socket.results(1)], ["c-z"], "a single frame is answered as ever")
    test.equal(test.server.profile("ws-compact-99")["computedTraits"]["views"], 1, "stored under the item's user")
    await socket.close()


@case
async def other_users_need_a_secret_token(test):
    socket = await Socket.hello(test.server.ws, TA, "ws-public")
    await socket.send(track("pu-1", userId="someone-else"))
    [result] = await socket.results(1)
    test.equal(result["status"], "rejected", "a public token for somebody else")
    test.equal(test.server.profile("someone-else"), None, "nothing stored for somebody else")
    await socket.send(track("pu-2", anonymousId="ws-public-before"))
    [result] = await socket.results(1)
    test.equal(result["status"], "stored", "an anonymous id captured earlier")
    await socket.close()


@case
async def i59_no_credit(test):
    with test.another_server({"server.socket": {"credit": 2}}) as server:
        socket = await Socket.hello(server.ws, TA, "ws-flow")
        test.equal(socket.welcome["credit"], 2, "credit by configuration")
        await socket.send({"t": "batch", "id": "b1", "messages": [track("f-1"), track("f-2"), track("f-3")]})
        error = await socket.wait("error")
        test.equal((error["code"], error["retryable"], error["fatal"]), ("flow_exceeded", True, False), "three with a credit of two")
        test.that(error["retryAfterMs"] is not None, "retryAfterMs")
        test.equal(server.profile("ws-flow"), None, "not processed")
        await socket.send({"t": "batch", "id": "b2", "messages": [track("f-1"), track("f-2")]})
        test.equal([r["status"] for r in await socket.results(2)], ["stored", "stored"], "resent within the credit")
        await socket.send(track("f-3"))
        test.equal([r["status"] for r in await socket.results(1)], ["stored"], "after credit returned")
        test.equal(server.profile("ws-flow")["eventCount"], 3, "events stored")
        for n in range(2):
            await socket.send({"t": "batch", "id": f"x{n}", "messages": [track(f"x-{n}-{i}") for i in range(3)]})
        test.equal(await socket.closed(), 4429, "three breaches within a minute")


@case
async def i60_an_event_pushes_an_action(test):
    socket = await Socket.hello(test.server.ws, TA, "ws-push")
    await socket.send({"t": "subscribe", "id": "s", "sub": "s1", "type": "notification", "tags": ["home"]})
    subscribed = await socket.wait("subscribed")
    test.equal((subscribed["id"], subscribed["sub"], subscribed["actions"]), ("s", "s1", []), "nothing due yet")
    await socket.send(track("p-1"))
    test.that(await socket.quiet("action"), "not due after the first view")
    await socket.send(track("p-2"))
    pushed = await socket.wait("action", 2)
    action = pushed["action"]
    test.equal((pushed["subs"], pushed["cause"]), (["s1"], "event"), "push")
    test.equal((action["type"], action["version"], action["tags"]), ("notification", 1, ["home"]), "action")
    test.equal(action["properties"], {"title": "Hi", "views": 2}, "properties for the channel")
    test.that(pushed["seq"] > subscribed["seq"] and action["deliveryId"].startswith("im_"), "seq and delivery")
    await socket.send(track("p-3"))
    update = await socket.wait("action", 2)
    test.equal((update["cause"], update["action"]["deliveryId"], update["action"]["properties"]["views"]),
               ("trait", action["deliveryId"], 3), "a changed property updates the same delivery")
    await socket.send({"t": "seen", "seq": update["seq"]})
    await socket.send({"t": "subscribe", "id": "s2", "sub": "s2", "type": "notification", "tags": ["home", "nope"]})
    test.equal((await socket.wait("subscribed", id="s2"))["actions"], [], "all tags must match")
    await socket.send({"t": "unsubscribe", "id": "u", "sub": "s1"}, track("p-4"))
    test.that(await socket.quiet("action"), "nothing after unsubscribe")
    for n in range(16):
        await socket.send({"t": "subscribe", "id": f"many-{n}", "sub": f"many-{n}", "type": "none"})
    error = await socket.wait("error")
    test.that(error["id"] == "many-15", f"the seventeenth subscription: {error}")
    await socket.close()


@case
async def i61_a_cap_used_up_on_one_channel_revokes_on_the_other(test):
    test.equal(test.track(TA, "ws-two-app", "Page Viewed", {"page": "/"})[0], 204, "first event")
    status, _, _ = test.post("/v1/identify", TA, {"userId": "ws-two", "type": "user_id", "previousUserId": "ws-two-app"})
    test.equal(status, 204, "identify")
    app = await Socket.hello(test.server.ws, TA, user="ws-two")
    web = await Socket.hello(test.server.ws, TW, user="ws-two", context={"country": "DE"})
    for socket in (app, web):
        await socket.send({"t": "subscribe", "id": "s", "sub": "s1", "type": "once"})
        await socket.wait("subscribed")
    await web.send(track("two-1", "Checkout Started", CHECKOUT))
    on_web, on_app = await web.wait("action", 2), await app.wait("action", 2)
    test.equal(on_web["action"]["id"], on_app["action"]["id"], "both hold the action")
    await web.send({"t": "act", "id": "two-a", "actionId": on_web["action"]["id"], "deliveryId": on_web["action"]["deliveryId"], "event": "show"})
    acted = await web.wait("acted")
    test.equal((acted["id"], acted["status"], acted["httpStatus"]), ("two-a", "recorded", 200), "acted")
    revoked = await app.wait("action_revoked", 2)
    test.equal((revoked["reason"], revoked["deliveryId"]), ("capped", on_app["action"]["deliveryId"]), "revoked on the other channel")
    await web.send({"t": "act", "id": "two-a", "actionId": on_web["action"]["id"], "event": "show"})
    test.equal((await web.wait("acted"))["status"], "recorded", "a repeated id replays the answer")
    shown = test.reactions("ws-two", "shown")
    test.equal(len(shown), 1, "one reaction")
    await web.send({"t": "act", "id": "two-b", "actionId": "00000000-0000-4000-8000-000000000000", "event": "accept"})
    error = await web.wait("error")
    test.equal((error["id"], error["code"], error["fatal"]), ("two-b", "action_not_found", False), "an unknown action")
    await app.close()
    await web.close()


@case
async def i62_resume(test):
    with test.another_server({"server.socket": {"resume_ttl": "2s"}}) as server:
        socket = await Socket.hello(server.ws, TA, "ws-resume")
        await socket.send({"t": "subscribe", "id": "s", "sub": "s1"})
        seen = (await socket.wait("subscribed"))["seq"]
        token = socket.welcome["resumeToken"]
        socket.cut()
        await asyncio.sleep(0.2)
        for n in range(2):
            test.track_on(server, TA, "ws-resume", "Page Viewed", {"page": "/"})
        test.track_on(server, TA, "ws-resume", "Checkout Started", CHECKOUT)
        again = await Socket.hello(server.ws, TA, "ws-resume", resume={"token": token, "lastSeq": seen})
        test.equal(again.welcome["resumed"], True, "within the time to live")
        replayed = [await again.wait("action"), await again.wait("action")]
        test.equal([frame["seq"] for frame in replayed], [seen + 1, seen + 2], "missed frames in order")
        test.that(again.welcome["resumeToken"] != token, "a resume token works once")
        # A second live connection with the token of the first replaces it.
        other = await Socket.hello(server.ws, TA, "ws-resume", resume={"token": again.welcome["resumeToken"], "lastSeq": seen + 2})
        test.equal((other.welcome["resumed"], await again.closed()), (True, 4411), "replaced")
        test.that(await other.quiet("action"), "what was seen is not sent again")
        wrong = await Socket.hello(server.ws, TS, "ws-resume", resume={"token": other.welcome["resumeToken"], "lastSeq": 0})
        test.equal(wrong.welcome["resumed"], False, "another auth token does not resume")
        token = other.welcome["resumeToken"]
        other.cut()
        await asyncio.sleep(2.6)
        late = await Socket.hello(server.ws, TA, "ws-resume", resume={"token": token, "lastSeq": seen + 2})
        test.equal(late.welcome["resumed"], False, "after the time to live")
        await late.close()
        await wrong.close()


@case
async def i63_identify_and_reset_on_a_socket(test):
    socket = await Socket.hello(test.server.ws, TA, "ws-id-anon")
    await socket.send({"t": "subscribe", "id": "s", "sub": "s1", "type": "notification"})
    await socket.wait("subscribed")
    await socket.send(track("id-1"), track("id-2"))
    held = await socket.wait("action", 2)
    await socket.send({"t": "identify", "id": "id-3", "userId": "ws-id-user", "type": "user_id", "previousUserId": "ws-id-anon", "traits": {"department": "m"}})
    identified = await socket.wait("identified")
    test.equal((identified["id"], identified["status"], identified["userId"], identified["isAnonymous"], identified["merged"], identified["skipped"]),
               ("id-3", "stored", "ws-id-user", False, ["ws-id-anon"], []), "identified")
    test.that(await socket.quiet("action_revoked"), "what is still due stays")
    await socket.send(track("id-4"))
    profile = await test.until(lambda: test.server.profile("ws-id-user"), lambda p: p["eventCount"] == 3)
    test.equal({i["userId"] for i in profile["identities"]}, {"ws-id-anon", "ws-id-user"}, "one profile")
    await socket.send({"t": "reset", "id": "id-5", "anonymousId": "ws-id-fresh"})
    reset = await socket.wait("identified", id="id-5")
    test.equal((reset["userId"], reset["isAnonymous"], reset["merged"]), ("ws-id-fresh", True, []), "reset merges nothing")
    revoked = await socket.wait("action_revoked", 2)
    test.equal((revoked["reason"], revoked["deliveryId"]), ("identity_changed", held["action"]["deliveryId"]), "revoked by reset")
    await socket.send(track("id-6"))
    fresh = await test.until(lambda: test.server.profile("ws-id-fresh"), lambda p: p and p["eventCount"] == 1)
    test.that(fresh["id"] != profile["id"], "a profile of its own")
    await socket.close()


@case
async def contexts_of_a_connection(test):
    socket = await Socket.hello(test.server.ws, TW, "ws-context", context={"country": "DE"})
    await socket.send(track("x-1"), track("x-2", context={"country": "FR"}), track("x-3", context={"country": "de"}))
    results = await socket.results(3)
    test.equal([r.get("code", r["status"]) for r in results], ["stored", "stored", "context_invalid"], "context of hello, own context, bad context")
    await socket.send({"t": "context", "id": "x-4", "context": {"country": "AT"}}, track("x-5"))
    results = await socket.results(2)
    test.equal([r["status"] for r in results], ["stored", "stored"], "context frame")
    countries = [event["context"]["country"] for event in test.server.profile("ws-context")["events"]]
    test.equal(sorted(countries), ["AT", "DE", "FR"], "contexts stored")
    await socket.close()


@case
async def i64_frames_of_the_wrong_kind(test):
    socket = await Socket.hello(test.server.ws, TA, "ws-binary")
    await socket.send(b"\x81\xa1t\xa4ping")
    test.equal(await socket.closed(), 1003, "a binary frame on a JSON socket")


@case
async def i65_oversize_and_unknown_frames(test):
    socket = await Socket.hello(test.server.ws, TA, "ws-size")
    await socket.send({"t": "dance", "id": "d1"})
    error = await socket.wait("error")
    test.equal((error["id"], error["code"], error["fatal"]), ("d1", "unknown_frame", False), "an unknown frame")
    for text in ("{", "[]", "null", '"t"', '{"t":5}', '{"id":"x"}', "\u0000"):
        await socket.send(text)
        test.that((await socket.wait("error"))["code"] in ("invalid_json", "invalid_frame", "missing_field"), f"frame {text!r}")
    await socket.send(track("z-1", properties={"page": "x" * 32_768}))
    [result] = await socket.results(1)
    test.equal((result["status"], result["code"]), ("rejected", "payload_too_large"), "an event beyond its limit")
    exact = {"t": "ping", "id": "p", "pad": ""}
    exact["pad"] = "x" * (262_144 - len(json.dumps(exact)))
    await socket.send(exact)
    test.that(await socket.wait("pong"), "a frame of exactly the limit")
    await socket.send(track("z-2"))
    test.equal((await socket.results(1))[0]["status"], "stored", "the socket stays usable")
    exact["pad"] += "x"
    await socket.send(exact)
    test.equal(await socket.closed(), 4413, "one byte more")
    test.that(await Socket.hello(test.server.ws, TA, "ws-size"), "the server goes on")


@case
async def bad_input_is_told_from_good(test):
    socket = await Socket.hello(test.server.ws, TA, "ws-bad")
    await socket.send(track("a b"), track("y" * 101), track(None, "Page Viewed"), {"t": "track", "id": "n1"}, track("n2", event="E" * 201, properties={}))
    codes = []
    while len(codes) < 5:
        frame = await socket.next()
        codes += [r.get("code", r["status"]) for r in frame["results"]] if frame["t"] == "ack" else [frame["code"]] if frame["t"] == "error" else []
    test.equal(codes, ["invalid_frame", "invalid_frame", "stored", "missing_field", "payload_too_large"], "answers in order")
    await socket.close()
    # Ten frames that are no JSON end the connection, as the protocol document says.
    noisy = await Socket.hello(test.server.ws, TA, "ws-noise")
    for _ in range(12):
        await noisy.send("{")
    test.equal(await noisy.closed(), 4400, "nothing but noise")


@case
async def many_sockets_of_one_new_person(test):
    sockets = await asyncio.gather(*(Socket.hello(test.server.ws, TA, "ws-many") for _ in range(50)))
    await asyncio.gather(*(socket.send(track(f"many-{n}")) for n, socket in enumerate(sockets)))
    results = await asyncio.gather(*(socket.results(1) for socket in sockets))
    test.that(all(r[0]["status"] == "stored" for r in results), "all stored")
    test.equal(test.server.profile("ws-many")["computedTraits"]["views"], 50, "exactly fifty")
    await asyncio.gather(*(socket.close() for socket in sockets))


@case
async def a_client_that_never_reads_harms_nobody(test):
    deaf = await Socket.hello(test.server.ws, TA, "ws-deaf")
    deaf.raw.transport.pause_reading()
    # Errors cost no credit, so this client can ask for more answers than the socket can hold.
    flood = [json.dumps({"t": "dance", "id": "d" * 90}) for _ in range(400)]

    async def shout():
        try:
            for _ in range(200):
                await deaf.send(*flood)
        except Exception:
            pass

    shouting = asyncio.create_task(shout())
    other = await Socket.hello(test.server.ws, TA, "ws-not-deaf")
    for n in range(20):
        await other.send(track(f"nd-{n}"))
        test.equal((await other.results(1))[0]["status"], "stored", "others are served")
        await asyncio.sleep(0.02)
    shouting.cancel()
    deaf.cut()
    await other.close()
