//! The edge over real sockets: framing, credit, order, slow and broken clients, resume, shutdown.

mod common;

use std::time::{Duration, Instant};

use common::{Client, Got, Server, TA, TS, TW, page};
use futures_util::SinkExt;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

#[tokio::test(flavor = "multi_thread")]
async fn i56_a_socket_without_hello_is_closed() {
    let server = Server::configured(|config| config.server.socket.hello_timeout = Duration::from_millis(200)).await;
    let began = Instant::now();
    assert_eq!(server.connect().await.closed().await, 4408);
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn i56_a_bad_token_is_refused() {
    let server = Server::start().await;
    for hello in [
        json!({"t": "hello", "v": 1, "token": "nobody", "anonymousId": "a"}),
        json!({"t": "hello", "v": 1, "token": common::ADMIN, "anonymousId": "a"}),
        json!({"t": "hello", "v": 1, "anonymousId": "a"}),
    ] {
        let mut client = server.connect().await;
        client.send(hello).await;
        let error = client.frame().await;
        assert_eq!(
            (error["t"].as_str(), error["code"].as_str(), error["fatal"].as_bool()),
            (Some("error"), Some("unauthorized"), Some(true))
        );
        assert_eq!(client.closed().await, 4401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_welcome_tells_the_limits_and_the_json_subprotocol_is_selected() {
    let server = Server::start().await;
    let (client, welcome) = server.hello(json!({"token": TA, "anonymousId": "a1"})).await;
    assert_eq!(client.selected, None);
    assert_eq!(welcome["identity"], json!({"userId": "a1", "isAnonymous": true}));
    assert_eq!(welcome["channel"], "app");
    assert_eq!(welcome["limits"], json!({"frameBytes": 262_144, "eventBytes": 32_768, "batch": 100, "subscriptions": 16}));
    assert_eq!(server.connect_offering(Some("lodestone.v1.json")).await.selected.as_deref(), Some("lodestone.v1.json"));
    assert!(server.profile("a1").await.is_none(), "hello alone makes no profile");
}

#[tokio::test(flavor = "multi_thread")]
async fn i57_a_resend_after_a_cut_has_one_effect() {
    let server = Server::start().await;
    let mut first = server.app("a1").await;
    first.send(page("m1")).await;
    first.cut();
    let mut second = server.app("a1").await;
    second.send(page("m1")).await;
    let result = second.results(1).await.remove(0);
    assert!(result == "m1:stored" || result == "m1:duplicate", "{result}");
    second.send(page("m1")).await;
    assert_eq!(second.results(1).await, ["m1:duplicate"]);
    assert_eq!(server.events("a1", "Page Viewed").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i58_a_batch_has_one_ack_in_order() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    let bad = json!({"t": "track", "id": "m2", "event": "Page Viewed", "properties": {"x": 1}});
    client.send(json!({"t": "batch", "messages": [page("m1"), bad, page("m3")]})).await;
    let ack = client.frame().await;
    assert_eq!(ack["credit"], 3, "{ack}");
    let results = ack["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    assert_eq!(results[0]["status"], "stored");
    assert_eq!(results[1]["code"], "event_properties_invalid");
    let rules: Vec<_> = results[1]["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["path"].as_str().unwrap(), e["rule"].as_str().unwrap()))
        .collect();
    assert!(rules.contains(&("page", "required")) && rules.contains(&("x", "unknown")), "{rules:?}");
    assert_eq!(results[2]["status"], "stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compact_batch_is_answered_in_one_short_frame() {
    let server = Server::start().await;
    let (mut client, _) =
        server.hello(json!({"token": TS, "anonymousId": "feed", "ack": "compact", "context": {"country": "DE"}})).await;
    let item = |i: usize| {
        let mut item = page(&format!("c{i}"));
        item["userId"] = format!("user-{}", i % 10).into();
        item
    };
    client.send(json!({"t": "batch", "id": "b1", "messages": (0..100).map(item).collect::<Vec<_>>()})).await;
    assert_eq!(client.frame().await, json!({"t": "ack", "batch": "b1", "stored": 100, "results": [], "credit": 100}));
    client.send(json!({"t": "batch", "id": "b2", "messages": [item(0), item(100)]})).await;
    let ack = client.frame().await;
    assert_eq!((ack["stored"].as_u64(), ack["results"][0]["id"].as_str()), (Some(1), Some("c0")), "{ack}");
    assert_eq!(ack["results"][0]["status"], "duplicate");
    assert_eq!(server.events("user-3", "Page Viewed").await, 10);
    assert!(server.profile("feed").await.is_none(), "the feeding connection is nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn i59_without_credit_nothing_is_stored_and_later_it_is() {
    let server = Server::configured(|config| config.server.socket.credit = 2).await;
    let mut client = server.app("a1").await;
    let batch = json!({"t": "batch", "messages": [page("x1"), page("x2"), page("x3")]});
    client.send(batch).await;
    let error = client.frame_of("error").await;
    assert_eq!(
        (error["code"].as_str(), error["retryable"].as_bool(), error["fatal"].as_bool()),
        (Some("flow_exceeded"), Some(true), Some(false))
    );
    assert_eq!(error["ids"], json!(["x1", "x2", "x3"]));
    assert_eq!(server.events("a1", "Page Viewed").await, 0);
    client.send(page("m1")).await;
    assert_eq!(client.results(1).await, ["m1:stored"]);
    client.send(page("x3")).await;
    assert_eq!(client.results(1).await, ["x3:stored"]);
    assert_eq!(server.events("a1", "Page Viewed").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn i59_three_breaches_close() {
    let server = Server::configured(|config| config.server.socket.credit = 1).await;
    let mut client = server.app("a1").await;
    for _ in 0..3 {
        client.send(json!({"t": "batch", "messages": [page("x1"), page("x2")]})).await;
    }
    assert_eq!(client.closed().await, 4429);
}

#[tokio::test(flavor = "multi_thread")]
async fn i60_an_action_is_pushed_with_the_event_that_makes_it_due() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    client.send(json!({"t": "subscribe", "id": "q1", "sub": "s1", "type": "notification"})).await;
    let subscribed = client.frame_of("subscribed").await;
    assert_eq!((subscribed["id"].as_str(), subscribed["actions"].as_array().map(Vec::len)), (Some("q1"), Some(0)));
    client.send(page("m1")).await;
    let mut before_the_ack = Vec::new();
    loop {
        let frame = client.frame().await;
        match frame["t"].as_str() {
            Some("ack") if frame["results"].as_array().is_some_and(|results| !results.is_empty()) => break,
            Some("action") => before_the_ack.push(frame),
            _ => {}
        }
    }
    assert_eq!(before_the_ack.len(), 1, "the push leaves before or with its ack");
    let push = &before_the_ack[0];
    assert_eq!(push["subs"], json!(["s1"]));
    assert_eq!(push["action"]["properties"], json!({"title": "Hello"}));
    assert_eq!(push["action"]["type"], "notification");
    assert!(push["action"]["deliveryId"].as_str().unwrap().starts_with("im_"));
}

/// The frames that push and revoke actions, by title and delivery, until the socket is quiet.
async fn pushes(client: &mut Client, wanted: usize) -> Vec<Value> {
    let mut seen = Vec::new();
    while seen.len() < wanted {
        let frame = client.frame().await;
        if matches!(frame["t"].as_str(), Some("action" | "action_revoked")) {
            seen.push(frame);
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn i61_a_cap_reached_on_one_channel_revokes_on_the_other() {
    let server = Server::start().await;
    let (mut web, _) = server.hello(json!({"token": TW, "anonymousId": "a1", "context": {"country": "DE"}})).await;
    let mut app = server.app("a1").await;
    web.send(page("m1")).await;
    web.results(1).await;
    for client in [&mut web, &mut app] {
        client.send(json!({"t": "subscribe", "id": "q", "sub": "s1"})).await;
        let subscribed = client.frame_of("subscribed").await;
        assert_eq!(subscribed["actions"].as_array().map(Vec::len), Some(1), "{subscribed}");
    }
    let listed = {
        let engine = &server.engine;
        let grant = engine.authenticate(TW).unwrap();
        let caller = lodestone::engine::api::Caller { channel: grant.channel.unwrap(), grant };
        let input = lodestone::engine::api::ListInput { user_id: "a1", ..Default::default() };
        engine.list_actions(&caller, &input).unwrap()
    };
    let id = listed.actions[0].id.to_string();
    web.send(json!({"t": "act", "id": "r1", "actionId": id, "event": "show"})).await;
    assert_eq!(web.frame_of("acted").await["status"], "recorded");
    let revoked = &pushes(&mut app, 1).await[0];
    assert_eq!((revoked["t"].as_str(), revoked["reason"].as_str()), (Some("action_revoked"), Some("capped")), "{revoked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i62_a_session_goes_on_where_it_was() {
    let server = Server::start().await;
    let (mut first, welcome) = server.hello(json!({"token": TA, "anonymousId": "a1"})).await;
    first.send(json!({"t": "subscribe", "id": "q", "sub": "s1"})).await;
    let mut last = first.frame_of("subscribed").await["seq"].as_u64().unwrap();
    first.send(page("m1")).await;
    last = last.max(pushes(&mut first, 1).await[0]["seq"].as_u64().unwrap());
    first.results(1).await;
    first.cut();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Two more actions become due while nobody is there.
    let (mut other, _) = server.hello(json!({"token": TS, "anonymousId": "feed", "context": {"country": "DE"}})).await;
    for id in ["m2", "m3"] {
        let mut event = page(id);
        event["userId"] = "a1".into();
        other.send(event).await;
    }
    other.results(2).await;
    let resume = json!({"token": welcome["resumeToken"], "lastSeq": last});
    let (mut second, again) = server.hello(json!({"token": TA, "anonymousId": "a1", "resume": resume.clone()})).await;
    assert_eq!(again["resumed"], true, "{again}");
    assert_ne!(again["resumeToken"], welcome["resumeToken"], "a resume token works once");
    let frames = pushes(&mut second, 2).await;
    let seqs: Vec<u64> = frames.iter().map(|frame| frame["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, [last + 1, last + 2]);
    let titles: Vec<_> = frames.iter().map(|frame| frame["action"]["properties"]["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Again", "Third"]);
    let (_third, fresh) = server.hello(json!({"token": TA, "anonymousId": "a1", "resume": resume})).await;
    assert_eq!(fresh["resumed"], false, "used up");
}

#[tokio::test(flavor = "multi_thread")]
async fn i62_after_the_time_to_resume_a_session_is_new() {
    let server = Server::configured(|config| config.server.socket.resume_ttl = Duration::from_millis(100)).await;
    let (first, welcome) = server.hello(json!({"token": TA, "anonymousId": "a1"})).await;
    first.cut();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let resume = json!({"token": welcome["resumeToken"], "lastSeq": 0});
    let (_second, again) = server.hello(json!({"token": TA, "anonymousId": "a1", "resume": resume})).await;
    assert_eq!(again["resumed"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_resumed_elsewhere_closes_here() {
    let server = Server::start().await;
    let (mut first, welcome) = server.hello(json!({"token": TA, "anonymousId": "a1"})).await;
    let with_other_token = json!({"token": TW, "anonymousId": "a1", "context": {"country": "DE"},
        "resume": {"token": welcome["resumeToken"], "lastSeq": 0}});
    assert_eq!(server.hello(with_other_token).await.1["resumed"], false, "only the same token resumes");
    let resume = json!({"token": welcome["resumeToken"], "lastSeq": 0});
    let (_second, again) = server.hello(json!({"token": TA, "anonymousId": "a1", "resume": resume})).await;
    assert_eq!(again["resumed"], true);
    assert_eq!(first.closed().await, 4411);
}

#[tokio::test(flavor = "multi_thread")]
async fn i63_identify_and_reset_on_an_open_socket() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    client.send(json!({"t": "subscribe", "id": "q", "sub": "s1"})).await;
    client.frame_of("subscribed").await;
    client.send(page("m1")).await;
    client.results(1).await;
    client.send(json!({"t": "identify", "id": "m2", "userId": "u1", "type": "user_id", "previousUserId": "a1"})).await;
    let identified = client.frame_of("identified").await;
    assert_eq!(
        (identified["id"].as_str(), identified["userId"].as_str(), identified["isAnonymous"].as_bool()),
        (Some("m2"), Some("u1"), Some(false)),
        "{identified}"
    );
    client.send(page("m3")).await;
    client.results(1).await;
    assert_eq!(server.events("u1", "Page Viewed").await, 2, "the anonymous past came along");
    client.send(json!({"t": "reset", "id": "m4", "anonymousId": "a2"})).await;
    let reset = client.frame_of("identified").await;
    assert_eq!(
        (reset["id"].as_str(), reset["userId"].as_str(), reset["isAnonymous"].as_bool()),
        (Some("m4"), Some("a2"), Some(true))
    );
    assert_eq!(reset["merged"], json!([]));
    client.send(page("m5")).await;
    client.results(1).await;
    assert_eq!(server.events("a2", "Page Viewed").await, 1);
    assert_eq!(server.events("u1", "Page Viewed").await, 2, "nothing was merged");
}

#[tokio::test(flavor = "multi_thread")]
async fn i64_only_text_frames_for_now() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    client.socket.send(Message::binary(vec![0x80])).await.unwrap();
    assert_eq!(client.closed().await, 1003);
}

#[tokio::test(flavor = "multi_thread")]
async fn i65_a_frame_that_is_too_large_closes() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    let fill =
        |len: usize| format!(r#"{{"t":"ping","id":"p","x":"{}"}}"#, "x".repeat(len - r#"{"t":"ping","id":"p","x":""}"#.len()));
    assert_eq!(fill(262_144).len(), 262_144);
    client.send_text(fill(262_144)).await;
    assert_eq!(client.frame().await["t"], "pong", "the limit itself is fine");
    // The server may close before it has taken all of it.
    let _broken = client.socket.send(Message::text(fill(262_145))).await;
    assert_eq!(client.closed().await, 4413);
}

#[tokio::test(flavor = "multi_thread")]
async fn i65_an_unknown_frame_leaves_the_socket_usable() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    client.send(json!({"t": "dance", "id": "d"})).await;
    let error = client.frame().await;
    assert_eq!(
        (error["code"].as_str(), error["id"].as_str(), error["fatal"].as_bool()),
        (Some("unknown_frame"), Some("d"), Some(false))
    );
    client.send(page("m1")).await;
    assert_eq!(client.results(1).await, ["m1:stored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_frames_that_are_not_json_close() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    for _ in 0..10 {
        client.send_text("{nope".into()).await;
    }
    for _ in 0..10 {
        assert_eq!(client.frame().await["code"], "invalid_json");
    }
    assert_eq!(client.closed().await, 4400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_client_does_not_disturb_the_others() {
    let server = Server::start().await;
    let mut good = server.app("good").await;
    for junk in [
        &b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n"[..],
        b"\x00\x01\x02",
        b"POST /v1/track HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n{",
    ] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(junk).await.unwrap();
    }
    for i in 0..20 {
        let mut bad = server.app(&format!("bad{i}")).await;
        bad.send_text("{\"t\":\"track\"".repeat(i + 1)).await;
        if i % 2 == 0 {
            bad.cut();
        }
    }
    good.send(page("m1")).await;
    assert_eq!(good.results(1).await, ["m1:stored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_socket_is_pinged_and_an_idle_one_closed() {
    let server = Server::configured(|config| config.server.socket.ping_interval = Duration::from_millis(150)).await;
    let mut alive = server.app("alive").await;
    // Reading answers the server's pings, which is all that it asks for.
    assert!(tokio::time::timeout(Duration::from_millis(800), alive.next()).await.is_err(), "kept by its pongs");
    let idle = server.app("idle").await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut idle = idle;
    assert_eq!(idle.closed().await, 4409);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_is_closed_and_others_go_on() {
    let server = Server::configured(|config| {
        config.server.socket.drain_timeout = Duration::from_millis(500);
        config.server.socket.credit = 100_000;
        config.server.socket.write_buffer_bytes = 4096;
    })
    .await;
    let mut slow = server.app("slow").await;
    let mut good = server.app("good").await;
    let began = Instant::now();
    // Each ping is answered; nobody reads the answers. At some point the server stops reading, too.
    let ping = json!({"t": "ping", "id": "p".repeat(30_000)}).to_string();
    let flood = async {
        loop {
            if slow.socket.send(Message::text(ping.clone())).await.is_err() {
                return;
            }
        }
    };
    let cut = tokio::time::timeout(Duration::from_secs(20), flood).await;
    assert!(cut.is_ok(), "the server hangs up on a client that takes nothing");
    assert!(began.elapsed() >= Duration::from_millis(500));
    good.send(page("m1")).await;
    assert_eq!(good.results(1).await, ["m1:stored"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_frames_at_once_are_answered_in_order() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    for i in 0..150 {
        client.socket.feed(Message::text(page(&format!("m{i}")).to_string())).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let expect: Vec<String> = (0..150).map(|i| format!("m{i}:stored")).collect();
    assert_eq!(client.results(150).await, expect);
    assert_eq!(server.profile("a1").await.unwrap()["computedTraits"]["views"], 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_comes_back_with_every_kind_of_answer() {
    let server = Server::configured(|config| config.server.socket.credit = 1).await;
    let mut client = server.app("a1").await;
    for round in 0..3 {
        for frame in [
            page(&format!("t{round}")),
            json!({"t": "context", "id": "c", "context": {}}),
            json!({"t": "identify", "id": format!("i{round}"), "userId": "u1", "type": "user_id"}),
            json!({"t": "subscribe", "id": "q", "sub": "s"}),
            json!({"t": "act", "id": "a", "actionId": "00000000-0000-0000-0000-000000000000", "event": "show"}),
            json!({"t": "track", "id": "bad", "event": "Nope"}),
        ] {
            client.send(frame).await;
            let mut credit = 0;
            while credit == 0 {
                let answer = client.frame().await;
                assert_ne!(answer["code"], "flow_exceeded", "{answer}");
                credit = answer["credit"].as_u64().unwrap_or(0);
            }
            assert_eq!(credit, 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_stop_sockets_get_their_answers_and_a_close() {
    let mut server = Server::start().await;
    let mut client = server.app("a1").await;
    for i in 0..50 {
        client.socket.feed(Message::text(page(&format!("m{i}")).to_string())).await.unwrap();
    }
    client.socket.flush().await.unwrap();
    let first = client.results(1).await;
    server.shutdown.cancel();
    let mut stored = first.len();
    let code = loop {
        match client.next().await {
            Got::Frame(frame) => stored += frame["results"].as_array().map_or(0, Vec::len),
            Got::Closed(code) => break code,
            Got::Cut => panic!("cut without a close"),
        }
    };
    assert_eq!(code, 1001);
    // What was applied was answered; what was not read will be sent again.
    assert_eq!(server.events("a1", "Page Viewed").await, stored);
    tokio::time::timeout(Duration::from_secs(5), &mut server.serving).await.expect("serving ends").unwrap();
    assert!(tokio::net::TcpStream::connect(server.address).await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_definitions_reach_open_sockets() {
    let server = Server::start().await;
    let mut client = server.app("a1").await;
    // Every socket looks at its token again; a change that leaves it alone closes nothing.
    let mut catalog = common::catalog();
    catalog["events"].as_array_mut().unwrap().push(json!({"name": "More", "description": "", "structure": []}));
    server.engine.apply_catalog(&catalog.to_string()).unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    client.send(json!({"t": "track", "id": "m1", "event": "More"})).await;
    assert_eq!(client.results(1).await, ["m1:stored"]);
}
