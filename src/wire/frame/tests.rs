//! Frames as clients write them, good and bad.

use super::*;

fn message(text: &str) -> Fields<'_> {
    match parse(text) {
        Ok(Frame::Message(fields)) => fields,
        other => panic!("{text} gave {other:?}"),
    }
}

fn error(text: &str) -> (Option<String>, &'static str) {
    match parse(text) {
        Err(error) => (error.id, error.rejection.code),
        Ok(frame) => panic!("{text} gave {frame:?}"),
    }
}

#[test]
fn track_borrows_its_parts() {
    let fields = message(
        r#"{"t":"track","id":"m1","event":"Page Viewed","properties": {"page":"/"} ,"context":{"country":"DE"},
            "timestamp":"2026-01-05T10:00:01.000Z","sentAt":"2026-01-05T10:00:02.000Z","userId":"u1","anonymousId":"a1"}"#,
    );
    assert_eq!(fields.kind().unwrap(), MessageKind::Track);
    assert_eq!(fields.properties, Some(r#"{"page":"/"}"#));
    assert_eq!(fields.context, Some(r#"{"country":"DE"}"#));
    assert_eq!(fields.event.as_deref(), Some("Page Viewed"));
    assert_eq!(fields.user_id.as_deref(), Some("u1"));
    assert!(matches!(fields.event, Some(Text(Cow::Borrowed(_)))), "no copy without escapes");
    assert!(fields.rare.is_none(), "a plain event needs no box");
    assert_eq!(fields.weight(), r#"{"page":"/"}{"country":"DE"}"#.len());
}

#[test]
fn null_is_absent_and_unknown_fields_are_skipped() {
    let fields = message(r#"{"x":[1,{"y":null}],"t":"track","id":null,"event":"A","properties":null,"context":null}"#);
    assert!(fields.id.is_none() && fields.properties.is_none() && fields.context.is_none());
}

#[test]
fn escapes_are_resolved() {
    let fields = message(r#"{"\u0074":"track","event":"caf\u00e9 \"A\""}"#);
    assert_eq!(fields.event.as_deref(), Some("café \"A\""));
}

#[test]
fn the_later_of_two_fields_wins() {
    assert_eq!(message(r#"{"t":"track","event":"A","event":"B"}"#).event.as_deref(), Some("B"));
}

#[test]
fn identify_and_act() {
    let fields = message(
        r#"{"t":"identify","id":"m5","userId":"u123","type":"user_id","isAnonymous":false,"previousUserId":"0192a",
            "anonymousIds":["0191"],"traits":{"d":1},"traitsMode":"merge","userHash":"d21c","mergeKnown":true}"#,
    );
    assert_eq!(fields.kind().unwrap(), MessageKind::Identify);
    let rare = fields.rare.unwrap();
    assert_eq!(rare.kind.as_deref(), Some("user_id"));
    assert_eq!(rare.is_anonymous, Some(false));
    assert_eq!(&*rare.anonymous_ids[0], "0191");
    assert_eq!(rare.traits, Some(r#"{"d":1}"#));
    assert_eq!(rare.merge_known, Some(true));

    let fields = message(r#"{"t":"act","id":"m9","actionId":"x","deliveryId":"im_2","event":"accept"}"#);
    assert_eq!(fields.kind().unwrap(), MessageKind::Act);
    assert_eq!(fields.rare.unwrap().delivery_id.as_deref(), Some("im_2"));
}

#[test]
fn hello() {
    let text = r#"{"t":"hello","v":1,"token":"web-x","anonymousId":"a1","userId":null,"userHash":null,"sessionId":"s-1",
        "context":{"country":"DE"},"sdk":{"name":"lodestone-js","version":"1.0.0"},"ack":"compact",
        "resume":{"token":"rt_1","lastSeq":118}}"#;
    let Ok(Frame::Hello(hello)) = parse(text) else { panic!("not a hello") };
    assert_eq!(hello.v, Some(1));
    assert_eq!(hello.token.as_deref(), Some("web-x"));
    assert!(hello.compact && hello.user_id.is_none());
    let (token, last_seq) = hello.resume.unwrap();
    assert_eq!((&*token, last_seq), ("rt_1", 118));
    assert_eq!(error(r#"{"t":"hello","id":"h","ack":"sometimes"}"#), (Some("h".into()), "invalid_frame"));
}

#[test]
fn subscribe_and_the_small_frames() {
    let Ok(Frame::Subscribe(subscribe)) =
        parse(r#"{"t":"subscribe","id":"m7","sub":"s1","type":"notification","tags":["home"],"context":null}"#)
    else {
        panic!("not a subscribe")
    };
    assert_eq!(subscribe.sub.as_deref(), Some("s1"));
    assert_eq!(subscribe.kind.as_deref(), Some("notification"));
    assert_eq!(&*subscribe.tags[0], "home");
    assert!(matches!(parse(r#"{"t":"seen","seq":45}"#), Ok(Frame::Seen { seq: 45 })));
    assert!(matches!(parse(r#"{"t":"ping","id":"p1"}"#), Ok(Frame::Ping { id: Some(_) })));
    assert!(matches!(parse(r#"{"t":"reset","id":"m6","anonymousId":"b"}"#), Ok(Frame::Reset { .. })));
    assert!(matches!(parse(r#"{"t":"unsubscribe","sub":"s1"}"#), Ok(Frame::Unsubscribe { .. })));
    assert!(matches!(parse(r#"{"t":"context","context":{}}"#), Ok(Frame::Context { context: Some("{}"), .. })));
}

#[test]
fn bad_frames() {
    let table = [
        ("", None, "invalid_json"),
        ("{", None, "invalid_json"),
        ("nonsense", None, "invalid_json"),
        (r#"{"t":"ping"} x"#, None, "invalid_json"),
        ("[1,2]", None, "invalid_frame"),
        ("17", None, "invalid_frame"),
        (r#"{"id":"m1"}"#, Some("m1"), "missing_field"),
        (r#"{"t":"nope","id":"m1"}"#, Some("m1"), "unknown_frame"),
        (r#"{"t":7,"id":"m1"}"#, Some("m1"), "invalid_frame"),
        (r#"{"t":"track","id":"m1","event":7}"#, Some("m1"), "invalid_frame"),
        (r#"{"t":"track","id":7,"event":"A"}"#, None, "invalid_frame"),
        (r#"{"t":"seen","id":"m1"}"#, Some("m1"), "missing_field"),
        (r#"{"t":"seen","seq":-1}"#, None, "invalid_frame"),
        (r#"{"t":"batch","id":"b1"}"#, Some("b1"), "missing_field"),
        (r#"{"t":"batch","id":"b1","messages":{}}"#, Some("b1"), "invalid_frame"),
        (r#"{"t":"batch","id":1,"messages":[]}"#, None, "invalid_frame"),
    ];
    for (text, id, code) in table {
        assert_eq!(error(text), (id.map(str::to_owned), code), "{text}");
    }
}

#[test]
fn deep_nesting_is_no_danger() {
    let deep = format!(r#"{{"t":"track","event":"A","properties":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(message(&deep).properties.map(str::len), Some(200_000));
}

#[test]
fn a_batch_lets_good_messages_through() {
    let text = r#"{"t":"batch","id":"b1","sentAt":"now","messages":[
        {"t":"track","id":"m1","event":"A"},{"t":"track","id":"m2","event":7},3,{"t":"track","id":"m4","event":"B"}]}"#;
    let Ok(Frame::Batch(batch)) = parse(text) else { panic!("not a batch") };
    assert_eq!((batch.len, batch.id.as_deref(), batch.sent_at.as_deref()), (4, Some("b1"), Some("now")));
    let seen: Vec<_> = batch
        .messages
        .iter()
        .map(|message| match message {
            Ok(fields) => (fields.id.as_deref(), "ok"),
            Err(bad) => (bad.id.as_deref(), bad.rejection.code),
        })
        .collect();
    assert_eq!(seen, [(Some("m1"), "ok"), (Some("m2"), "invalid_frame"), (None, "invalid_frame"), (Some("m4"), "ok")]);
}

#[test]
fn a_huge_batch_is_counted_and_not_kept() {
    let text = format!(r#"{{"t":"batch","messages":[{}{{}}]}}"#, "{},".repeat(20_000));
    let Ok(Frame::Batch(batch)) = parse(&text) else { panic!("not a batch") };
    assert_eq!((batch.len, batch.messages.len()), (20_001, limits::BATCH_ITEMS));
}

#[test]
fn a_batch_inside_a_batch_is_refused() {
    let text = r#"{"t":"batch","messages":[{"t":"batch","id":"x","messages":[{"t":"track"}]},{"t":"ping"},{"t":"zzz"},{}]}"#;
    let Ok(Frame::Batch(batch)) = parse(text) else { panic!("not a batch") };
    let codes: Vec<_> = batch.messages.iter().map(|m| m.as_ref().unwrap().kind().unwrap_err().code).collect();
    assert_eq!(codes, ["invalid_frame", "invalid_frame", "unknown_frame", "missing_field"]);
}
