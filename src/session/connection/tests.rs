//! The machine against a small engine of its own: what goes in, what comes out.

use std::collections::HashMap;

use lodestone_state::ids::{Millis, ProfileId, Seq};

use super::*;
use crate::engine::api::{ActInput, Acted, Identified, IdentifyInput, Stored, SubscribeInput, TrackInput};
use crate::hooks::Answer;

/// An engine that stores everything it knows: events `A` and `B`.
#[derive(Default)]
struct Fake {
    seq: u64,
    seen: HashMap<String, u64>,
    calls: Vec<String>,
    secret: bool,
}

impl Fake {
    fn next(&mut self) -> Seq {
        self.seq += 1;
        Seq(self.seq)
    }
}

impl Upstream for Fake {
    fn hello(&mut self, hello: &Hello<'_>, user_id: &str, is_anonymous: bool) -> Result<Opened, Rejection> {
        match hello.token.as_deref() {
            Some("good") => {}
            Some("elsewhere") => return Err(Rejection::origin_denied()),
            _ => return Err(Rejection::unauthorized("the token is not known")),
        }
        Ok(Opened {
            connection_id: "cn_1".into(),
            resume_token: "rt_1".into(),
            resumed: hello.resume.is_some(),
            channel: "web".into(),
            user_id: user_id.into(),
            is_anonymous,
            secret: self.secret,
            session: 7,
            context: hello.context.map(str::to_owned),
        })
    }

    fn track(&mut self, input: &TrackInput<'_>) -> Stored {
        assert_eq!(input.session, Some(7));
        self.calls.push(format!("track {} {} {}", input.user_id, input.event, input.context.unwrap_or("-")));
        if !matches!(input.event, "A" | "B") {
            return Stored::Rejected(Rejection::unknown_event(input.event));
        }
        if let Some(seq) = input.message_id.and_then(|id| self.seen.get(id)) {
            return Stored::Duplicate { seq: Seq(*seq), event_id: 1 };
        }
        let seq = self.next();
        if let Some(id) = input.message_id {
            self.seen.insert(id.into(), seq.0);
        }
        Stored::Stored { seq, event_id: 1 }
    }

    fn identify(&mut self, input: &IdentifyInput<'_>) -> Result<Identified, Rejection> {
        self.calls.push(format!(
            "identify {} {} {} from {}",
            input.user_id,
            input.kind,
            if input.is_anonymous { "anonymous" } else { "known" },
            input.previous_user_id.unwrap_or("-")
        ));
        Ok(Identified {
            seq: self.next(),
            profile: ProfileId(1),
            user_id: input.user_id.into(),
            is_anonymous: input.is_anonymous,
            ..Identified::default()
        })
    }

    fn act(&mut self, input: &ActInput<'_>, ticket: u64) -> Result<Option<Acted>, Rejection> {
        match input.action_id {
            "x" => Err(Rejection::action_not_found()),
            "slow" => {
                self.calls.push(format!("wait {ticket}"));
                Ok(None)
            }
            _ => Ok(Some(Acted { seq: self.next(), duplicate: false, result: None })),
        }
    }

    fn subscribe(&mut self, id: &str, input: &SubscribeInput<'_>) -> Result<(), Rejection> {
        self.calls.push(format!("subscribe {id} {} {}", input.sub, input.tags.join("+")));
        Ok(())
    }

    fn unsubscribe(&mut self, sub: &str) {
        self.calls.push(format!("unsubscribe {sub}"));
    }

    fn set_context(&mut self, context: Option<&str>) -> Result<(), Rejection> {
        self.calls.push(format!("context {}", context.unwrap_or("-")));
        Ok(())
    }

    fn seen(&mut self, seq: u64) {
        self.calls.push(format!("seen {seq}"));
    }

    fn now(&self) -> Millis {
        Millis(0)
    }
}

struct Bench {
    connection: Connection,
    up: Fake,
    now: Micros,
}

impl Bench {
    fn closed_book(credit: u32) -> Self {
        let settings = Settings { credit, ..Settings::default() };
        Self { connection: Connection::new(Arc::new(settings), Micros(0)), up: Fake::default(), now: Micros(0) }
    }

    fn open(credit: u32, hello: &str) -> Self {
        let mut bench = Self::closed_book(credit);
        let frames = bench.send(&[hello]);
        assert!(frames[0].starts_with(r#"{"t":"welcome""#), "{frames:?}");
        bench
    }

    fn plain() -> Self {
        Self::open(200, r#"{"t":"hello","v":1,"token":"good","anonymousId":"a1"}"#)
    }

    /// Feeds frames, lets everything become durable, and gives what was answered.
    fn send(&mut self, frames: &[&str]) -> Vec<String> {
        for frame in frames {
            self.connection.on_text(frame, self.now, &mut self.up);
        }
        let durable = self.up.seq;
        self.settle(durable)
    }

    /// The tickets of the reactions that wait.
    fn waiting(&self) -> Vec<u64> {
        self.up.calls.iter().filter_map(|call| call.strip_prefix("wait ")?.parse().ok()).collect()
    }

    /// A reaction that waited came to its end.
    fn told(&mut self, ticket: u64, outcome: Result<Acted, Rejection>) -> Vec<String> {
        self.connection.on_acted(ticket, outcome, self.now);
        self.settle(self.up.seq)
    }

    fn settle(&mut self, durable: u64) -> Vec<String> {
        self.connection.settle(durable, |_| ());
        self.connection.take_frames().collect()
    }
}

fn short(frames: &[String]) -> Vec<String> {
    frames
        .iter()
        .map(|frame| {
            let frame: serde_json::Value = serde_json::from_str(frame).expect("frames are JSON");
            let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
            match frame["t"].as_str() {
                Some("ack") => {
                    let results: Vec<String> = frame["results"]
                        .as_array()
                        .expect("an ack has results")
                        .iter()
                        .map(|r| match r["code"].as_str() {
                            Some(code) => format!("{}:{code}", text(&r["id"])),
                            None => format!("{}:{}", text(&r["id"]), text(&r["status"])),
                        })
                        .collect();
                    format!("ack {} +{}", results.join(" "), frame["credit"])
                }
                Some("error") => format!("error {} {}", text(&frame["id"]), text(&frame["code"])),
                Some("credit") => format!("credit +{}", frame["credit"]),
                Some(other) => other.to_owned(),
                None => panic!("a frame without t"),
            }
        })
        .collect()
}

#[test]
fn i56_hello_first_and_with_a_good_token() {
    let table = [
        (r#"{"t":"track","event":"A"}"#, "error - invalid_frame", Some(Close::Protocol)),
        (r#"{"t":"hello","v":1,"token":"bad","anonymousId":"a"}"#, "error - unauthorized", Some(Close::Unauthorized)),
        (r#"{"t":"hello","v":1,"anonymousId":"a"}"#, "error - unauthorized", Some(Close::Unauthorized)),
        (r#"{"t":"hello","v":1,"token":"elsewhere","anonymousId":"a"}"#, "error - origin_denied", Some(Close::Origin)),
        (r#"{"t":"hello","v":2,"token":"good","anonymousId":"a"}"#, "error - unsupported_version", Some(Close::Protocol)),
        (r#"{"t":"hello","v":1,"token":"good"}"#, "error - missing_field", Some(Close::Protocol)),
        (r#"{"t":"hello","v":1,"token":"good","anonymousId":"a"}"#, "welcome", None),
        (r#"{"t":"hello","token":"good","userId":"u1","anonymousId":"a"}"#, "welcome", None),
        (r#"{"t":"ping","id":"p"}"#, "pong", None),
    ];
    for (frame, expect, close) in table {
        let mut bench = Bench::closed_book(200);
        let frames = bench.send(&[frame]);
        assert_eq!(short(&frames), [expect], "{frame}");
        assert_eq!(bench.connection.closing(), close, "{frame}");
        if close.is_some() {
            assert!(frames[0].contains(r#""fatal":true"#));
        }
    }
    let mut late = Bench::closed_book(200);
    late.connection.on_time(Micros(5_000_000));
    assert_eq!(late.connection.closing(), Some(Close::NoHello));
}

#[test]
fn a_known_id_wins_over_an_anonymous_one() {
    let mut bench = Bench::closed_book(200);
    let frames = bench.send(&[r#"{"t":"hello","token":"good","userId":"u1","anonymousId":"a"}"#]);
    assert!(frames[0].contains(r#""identity":{"userId":"u1","isAnonymous":false}"#), "{frames:?}");
}

#[test]
fn acks_come_in_order_and_only_when_durable() {
    let mut bench = Bench::plain();
    for frame in [
        r#"{"t":"track","id":"m1","event":"A"}"#,
        r#"{"t":"track","id":"m2","event":"Z"}"#,
        r#"{"t":"track","id":"m3","event":"B"}"#,
    ] {
        bench.connection.on_text(frame, bench.now, &mut bench.up);
    }
    assert!(bench.settle(0).is_empty());
    assert_eq!(short(&bench.settle(1)), ["ack m1:stored m2:unknown_event +2"]);
    assert!(bench.connection.waits_for_durable());
    assert_eq!(short(&bench.settle(2)), ["ack m3:stored +1"]);
    assert!(!bench.connection.waits_for_durable());
}

#[test]
fn i57_a_resend_is_a_duplicate() {
    let mut bench = Bench::plain();
    let frame = r#"{"t":"track","id":"m1","event":"A"}"#;
    assert_eq!(short(&bench.send(&[frame])), ["ack m1:stored +1"]);
    assert_eq!(short(&bench.send(&[frame])), ["ack m1:duplicate +1"]);
}

#[test]
fn i58_a_batch_is_answered_item_by_item() {
    let mut bench = Bench::plain();
    let batch = r#"{"t":"batch","sentAt":"2026-01-05T10:00:02.000Z","messages":[{"t":"track","id":"m1","event":"A"},
        {"t":"track","id":"m2","event":"Nope"},{"t":"track","id":"m3","event":"B"},{"t":"track","id":"m4","event":1}]}"#;
    assert_eq!(short(&bench.send(&[batch])), ["ack m1:stored m2:unknown_event m3:stored m4:invalid_frame +4"]);
}

#[test]
fn a_compact_batch_is_answered_in_one_line() {
    let mut bench = Bench::open(200, r#"{"t":"hello","v":1,"token":"good","anonymousId":"a1","ack":"compact"}"#);
    let batch = r#"{"t":"batch","id":"b1","messages":[{"t":"track","id":"m1","event":"A"},{"t":"track","id":"m2","event":"B"}]}"#;
    assert_eq!(bench.send(&[batch]), [r#"{"t":"ack","batch":"b1","stored":2,"results":[],"credit":2}"#]);
    let again = bench.send(&[batch]);
    assert!(again[0].contains(r#""batch":"b1","stored":0,"results":[{"id":"m1","status":"duplicate""#), "{again:?}");
    let single = bench.send(&[r#"{"t":"track","id":"m9","event":"A"}"#]);
    assert_eq!(short(&single), ["ack m9:stored +1"], "a single message is answered by itself");
    let nameless = bench.send(&[r#"{"t":"batch","messages":[{"t":"track","id":"m10","event":"A"}]}"#]);
    assert_eq!(short(&nameless), ["ack m10:stored +1"], "a batch without id cannot be named");
}

#[test]
fn i59_without_credit_nothing_is_processed() {
    let mut bench = Bench::open(2, r#"{"t":"hello","v":1,"token":"good","anonymousId":"a1"}"#);
    let frame = |id: u32| format!(r#"{{"t":"track","id":"m{id}","event":"A"}}"#);
    let answers = bench.send(&[&frame(1), &frame(2), &frame(3)]);
    assert_eq!(short(&answers), ["ack m1:stored m2:stored +2", "error m3 flow_exceeded"]);
    assert!(answers[1].contains(r#""retryable":true"#));
    assert_eq!(bench.up.calls.len(), 2, "the third was not stored");
    assert_eq!(short(&bench.send(&[&frame(3)])), ["ack m3:stored +1"]);
}

#[test]
fn i59_the_third_breach_closes() {
    let mut bench = Bench::open(1, r#"{"t":"hello","v":1,"token":"good","anonymousId":"a1"}"#);
    let batch = r#"{"t":"batch","messages":[{"t":"track","id":"x","event":"A"},{"t":"track","id":"y","event":"A"}]}"#;
    let first = bench.send(&[batch, batch]);
    assert_eq!(short(&first), ["error - flow_exceeded", "error - flow_exceeded"]);
    assert!(first[0].ends_with(r#""ids":["x","y"]}"#), "{first:?}");
    let last = bench.send(&[batch]);
    assert!(last[0].contains(r#""fatal":true"#));
    assert_eq!(bench.connection.closing(), Some(Close::Flow));
}

#[test]
fn free_frames_cost_nothing() {
    let mut bench = Bench::open(0, r#"{"t":"hello","v":1,"token":"good","anonymousId":"a1"}"#);
    let answers =
        bench.send(&[r#"{"t":"ping","id":"p1"}"#, r#"{"t":"seen","seq":4}"#, r#"{"t":"unsubscribe","id":"m","sub":"s1"}"#]);
    assert_eq!(short(&answers), ["pong", "ack m:stored +0"]);
    assert_eq!(bench.up.calls, ["seen 4", "unsubscribe s1"]);
}

#[test]
fn messages_are_filed_under_whom_they_say() {
    let cases = [
        (false, r#"{"t":"track","id":"m","event":"A"}"#, "stored"),
        (false, r#"{"t":"track","id":"m","event":"A","anonymousId":"a0"}"#, "stored"),
        (false, r#"{"t":"track","id":"m","event":"A","userId":"a1"}"#, "stored"),
        (false, r#"{"t":"track","id":"m","event":"A","userId":"u9"}"#, "unauthorized"),
        (true, r#"{"t":"track","id":"m","event":"A","userId":"u9"}"#, "stored"),
        (true, r#"{"t":"track","id":"m","event":"A","userId":""}"#, "missing_field"),
    ];
    for (secret, frame, expect) in cases {
        let mut bench = Bench::closed_book(200);
        bench.up.secret = secret;
        bench.send(&[r#"{"t":"hello","v":1,"token":"good","anonymousId":"a1"}"#]);
        assert_eq!(short(&bench.send(&[frame])), [format!("ack m:{expect} +1")], "{frame}");
        assert_eq!(bench.connection.closing(), None, "one bad message is no reason to close");
    }
}

#[test]
fn the_connection_context_stands_in_for_a_missing_one() {
    let mut bench = Bench::open(200, r#"{"t":"hello","v":1,"token":"good","anonymousId":"a1","context":{"c":1}}"#);
    bench.send(&[
        r#"{"t":"track","id":"m1","event":"A"}"#,
        r#"{"t":"track","id":"m2","event":"A","context":{"c":2}}"#,
        r#"{"t":"context","id":"m3","context":{"c":3}}"#,
        r#"{"t":"track","id":"m4","event":"A","context":null}"#,
    ]);
    assert_eq!(bench.up.calls, [r#"track a1 A {"c":1}"#, r#"track a1 A {"c":2}"#, r#"context {"c":3}"#, r#"track a1 A {"c":3}"#]);
}

#[test]
fn identify_and_reset_change_whom_the_connection_acts_for() {
    let mut bench = Bench::plain();
    let answers = bench.send(&[
        r#"{"t":"identify","id":"m1","userId":"u1","previousUserId":"a1","anonymousIds":["a1","u1"]}"#,
        r#"{"t":"track","id":"m2","event":"A"}"#,
        r#"{"t":"reset","id":"m3","anonymousId":"a2"}"#,
        r#"{"t":"track","id":"m4","event":"A"}"#,
    ]);
    assert_eq!(
        bench.up.calls,
        ["identify u1 user_id known from a1", "track u1 A -", "identify a2 anonymous_id anonymous from -", "track a2 A -"]
    );
    assert_eq!(short(&answers), ["ack m2:stored m4:stored +4"], "identified comes as a push of the session");
}

#[test]
fn identify_absorbs_one_id_for_now() {
    let mut bench = Bench::plain();
    let two = r#"{"t":"identify","id":"m1","userId":"u1","previousUserId":"a1","anonymousIds":["a2"]}"#;
    assert_eq!(short(&bench.send(&[two])), ["error m1 not_supported", "credit +1"]);
    assert!(bench.up.calls.is_empty());
}

#[test]
fn identified_waits_for_the_journal_and_what_follows_waits_behind_it() {
    let mut bench = Bench::plain();
    bench.connection.on_text(r#"{"t":"identify","id":"m1","userId":"u1"}"#, bench.now, &mut bench.up);
    bench.connection.on_push(PushFrame::Identified {
        seq: 1,
        id: Some("m1".into()),
        user_id: "u1".into(),
        is_anonymous: false,
        merged: vec![],
        skipped: vec![],
        durable: 1,
    });
    bench.connection.on_push(PushFrame::Resync { seq: 2, subs: vec![] });
    assert!(bench.settle(0).is_empty());
    assert_eq!(short(&bench.settle(1)), ["identified", "resync", "credit +1"]);
}

#[test]
fn pushes_leave_before_the_answer_to_what_caused_them() {
    let mut bench = Bench::plain();
    bench.connection.on_text(r#"{"t":"track","id":"m1","event":"A"}"#, bench.now, &mut bench.up);
    bench.connection.on_push(PushFrame::Resync { seq: 1, subs: vec![] });
    assert_eq!(short(&bench.settle(1)), ["resync", "ack m1:stored +1"]);
}

#[test]
fn reactions() {
    let mut bench = Bench::plain();
    let answers = bench.send(&[
        r#"{"t":"act","id":"m1","actionId":"y","event":"accept"}"#,
        r#"{"t":"act","id":"m2","actionId":"x","event":"accept"}"#,
        r#"{"t":"act","id":"m3","event":"accept"}"#,
    ]);
    assert_eq!(short(&answers), ["acted", "error m2 action_not_found", "error m3 missing_field", "credit +3"]);
    assert_eq!(answers[0], r#"{"t":"acted","id":"m1","status":"recorded","httpStatus":200,"result":{}}"#);
    let answers = bench.send(&[
        r#"{"t":"batch","messages":[{"t":"act","id":"m4","actionId":"y","event":"show"},{"t":"act","id":"m5","actionId":"x","event":"show"},
            {"t":"identify","id":"m6","userId":"u1"}]}"#,
    ]);
    assert_eq!(short(&answers), ["ack m4:stored m5:action_not_found m6:stored +3"]);
}

/// A reaction that waits for a webhook is answered when it is done; what comes after it is not held up.
#[test]
fn acts_that_wait_hold_up_nobody() {
    let mut bench = Bench::plain();
    let answers = bench.send(&[
        r#"{"t":"act","id":"m1","actionId":"slow","event":"accept"}"#,
        r#"{"t":"act","id":"m2","actionId":"y","event":"accept"}"#,
    ]);
    assert_eq!(short(&answers), ["acted", "credit +1"]);
    assert!(bench.connection.waits_for_hooks());
    let ticket = bench.waiting().remove(0);
    let answer = Answer { status_code: 200, body: "{}".into(), signature: None, error: String::new() };
    let acted = Acted { seq: Seq(0), duplicate: false, result: Some(Box::new(answer)) };
    let answers = bench.told(ticket, Ok(acted));
    let result = r#"{"statusCode":200,"body":"{}","error":""}"#;
    assert_eq!(answers[0], format!(r#"{{"t":"acted","id":"m1","status":"recorded","httpStatus":200,"result":{result}}}"#));
    assert!(!bench.connection.waits_for_hooks());
    assert!(bench.told(ticket, Err(Rejection::internal())).is_empty(), "once");
}

/// A batch is answered by one ack, when the last of its reactions is done.
#[test]
fn a_batch_waits_for_all_of_its_acts() {
    let mut bench = Bench::plain();
    let batch = r#"{"t":"batch","messages":[{"t":"act","id":"a","actionId":"slow","event":"show"},
        {"t":"act","id":"b","actionId":"x","event":"show"},{"t":"act","id":"c","actionId":"slow","event":"show"}]}"#;
    assert!(bench.send(&[batch]).is_empty());
    let tickets = bench.waiting();
    assert!(bench.told(tickets[1], Err(Rejection::action_cap_reached())).is_empty());
    let acted = Acted { seq: Seq(0), duplicate: false, result: None };
    let answers = bench.told(tickets[0], Ok(acted));
    assert_eq!(short(&answers), ["ack a:stored b:action_not_found c:action_cap_reached +3"]);
}

#[test]
fn subscriptions() {
    let mut bench = Bench::plain();
    let table = [
        (r#"{"t":"subscribe","id":"m7","sub":"s1","type":"n","tags":["home","top"]}"#, vec!["credit +1"]),
        (r#"{"t":"subscribe","sub":"s1"}"#, vec!["error - missing_field", "credit +1"]),
        (r#"{"t":"subscribe","id":"m7"}"#, vec!["error m7 missing_field", "credit +1"]),
        (r#"{"t":"subscribe","id":"m7","sub":"s1","tags":[""]}"#, vec!["error m7 invalid_frame", "credit +1"]),
        (r#"{"t":"subscribe","id":"m7","sub":"s1","context":7}"#, vec!["error m7 invalid_frame", "credit +1"]),
    ];
    for (frame, expect) in table {
        assert_eq!(short(&bench.send(&[frame])), expect, "{frame}");
    }
    assert_eq!(bench.up.calls, ["subscribe m7 s1 home+top"]);
}

#[test]
fn limits_refuse_the_message_and_not_the_connection() {
    let mut bench = Bench::plain();
    let long = "x".repeat(33_000);
    let frames = [
        (format!(r#"{{"t":"track","id":"m","event":"A","properties":{{"p":"{long}"}}}}"#), "ack m:payload_too_large +1"),
        (
            format!(r#"{{"t":"batch","messages":[{{"t":"track","id":"m","event":"A","properties":{{"p":"{long}"}}}}]}}"#),
            "ack m:payload_too_large +1",
        ),
        (format!(r#"{{"t":"track","id":"m","event":"{}"}}"#, "e".repeat(201)), "ack m:payload_too_large +1"),
        (format!(r#"{{"t":"track","id":"m","event":"A","anonymousId":"{}"}}"#, "e".repeat(257)), "ack m:payload_too_large +1"),
        (r#"{"t":"track","id":"m","event":"A","properties":[1]}"#.into(), "ack m:invalid_frame +1"),
        (r#"{"t":"track","id":"a b","event":"A"}"#.into(), "ack a b:invalid_frame +1"),
        (r#"{"t":"track","id":"m"}"#.into(), "ack m:missing_field +1"),
        (format!(r#"{{"t":"batch","id":"b","messages":[{}{{}}]}}"#, "{},".repeat(100)), "error b batch_too_large"),
        (r#"{"t":"batch","messages":[]}"#.into(), "ack  +0"),
        (r#"{"t":"nonsense","id":"m"}"#.into(), "error m unknown_frame"),
        (r#"{"t":"hello","v":1,"token":"good","anonymousId":"a1"}"#.into(), "error - invalid_frame"),
    ];
    for (frame, expect) in &frames {
        assert_eq!(short(&bench.send(&[frame])), [*expect], "{}", &frame[..frame.len().min(120)]);
        assert_eq!(bench.connection.closing(), None);
    }
    assert!(bench.up.calls.is_empty());
}

#[test]
fn ten_malformed_frames_close() {
    let mut bench = Bench::plain();
    for _ in 0..9 {
        assert_eq!(short(&bench.send(&["{nope"])), ["error - invalid_json"]);
        assert_eq!(bench.connection.closing(), None);
    }
    let last = bench.send(&["{nope"]);
    assert!(last[0].contains(r#""fatal":true"#));
    assert_eq!(bench.connection.closing(), Some(Close::Protocol));
    assert!(bench.send(&[r#"{"t":"track","event":"A"}"#]).is_empty(), "nothing is processed after the close");
}

#[test]
fn a_revoked_token_closes() {
    let mut bench = Bench::plain();
    bench.connection.revoke();
    assert_eq!(bench.connection.closing(), Some(Close::Unauthorized));
    assert_eq!(short(&bench.settle(0)), ["error - token_revoked"]);
}

#[test]
fn an_unsolicited_identified_changes_whom_the_connection_acts_for() {
    let mut bench = Bench::plain();
    bench.connection.on_push(PushFrame::Identified {
        seq: 1,
        id: None,
        user_id: "fresh".into(),
        is_anonymous: true,
        merged: vec![],
        skipped: vec![],
        durable: 0,
    });
    bench.send(&[r#"{"t":"track","id":"m1","event":"A"}"#]);
    assert_eq!(bench.up.calls, ["track fresh A -"]);
}

#[test]
fn answers_do_not_pile_up_without_end_behind_one_that_waits() {
    let mut bench = Bench::plain();
    bench.connection.on_text(r#"{"t":"track","id":"m1","event":"A"}"#, bench.now, &mut bench.up);
    let mut sent = 0;
    while !bench.connection.is_backed_up() {
        bench.connection.on_text(r#"{"t":"nonsense"}"#, bench.now, &mut bench.up);
        sent += 1;
        assert!(sent < 10_000);
    }
    assert_eq!(bench.settle(1).len(), 1 + sent);
    assert!(!bench.connection.is_backed_up());
}
