//! Several subscriptions, updates, momentary actions, polls, locks.

use super::*;

#[test]
fn placeholders_and_new_versions_update_in_place() {
    let hello = |more: Json| {
        with(json!({"properties": [{"channels": ["web"], "type": "computed_trait", "name": "n", "sourceKey": "orders"}]}), more)
    };
    let mut stage = Stage::new(&[hello(json!({}))]);
    assert_eq!(stage.subscribe("s1"), ["0 d1"]);
    stage.person.computed.insert("orders", 2.into());
    assert_eq!(stage.look(Cause::Trait, &[0]), ["~0 s1 d1"]);
    assert_eq!(stage.look(Cause::Trait, &[0]), NONE);
    stage.shelf.put(0, action(hello(json!({"tags": ["new"]}))));
    assert_eq!(stage.look(Cause::Config, &[0]), ["~0 s1 d1"]);
    let world = World { actions: &stage.shelf, person: &stage.person, totals: &stage.totals, now: stage.now };
    let held = stage.live.holdings("s1", &world);
    assert_eq!(
        serde_json::to_value(&held).unwrap(),
        json!([{"deliveryId": format!("im_{:032x}", 1), "id": "00000000-0000-0000-0000-000000000000", "type": "notification",
            "version": 1, "tags": ["new"], "properties": {"n": 2}}])
    );
}

// One frame with all subscriptions that it matches; contexts of their own count.
#[test]
fn one_frame_for_several_subscriptions() {
    let cart = json!({"targeting": {"contextConditions": [{"channel": "web", "key": "page", "type": "string", "operator": "equals", "value": "cart"}]}});
    let mut stage = Stage::new(&[with(for_buyers(), json!({"tags": ["home"]})), cart]);
    let home = Filter { tags: vec!["home".into()], ..Filter::default() };
    let page = |page: &str| Some(context(&[("page", page.into())]));
    assert_eq!(stage.subscribe_to("s1", home.clone(), None), NONE);
    assert_eq!(stage.subscribe_to("s2", Filter::default(), page("cart")), ["1 d1"]);
    assert_eq!(stage.subscribe_to("s3", Filter { version: Some(9), ..Filter::default() }, page("cart")), NONE);
    stage.person.member_of = vec![BUYERS];
    assert_eq!(stage.look(Cause::Audience, &[0]), ["+0 s1,s2 d2"]);
    // A fourth joins a delivery that stands.
    assert_eq!(stage.subscribe_to("s4", home, None), ["0 =d2"]);
    assert!(stage.live.unsubscribe("s1", stage.now));
    assert!(!stage.live.unsubscribe("s1", stage.now));
    stage.person.member_of.clear();
    assert_eq!(stage.look(Cause::Audience, &[0]), ["-0 s2,s4 d2 audience"]);
    // The connection's context is for those without their own.
    stage.live.set_context(page("cart"));
    assert_eq!(stage.look(Cause::Context, &[1]), NONE);
    let names: Vec<_> = stage.live.subscriptions().map(|sub| sub.sub.as_str()).collect();
    assert_eq!(names, ["s2", "s3", "s4"]);
}

#[test]
fn a_session_has_a_limit_of_subscriptions() {
    let mut stage = Stage::new(&[json!({})]);
    for n in 0..SUBSCRIPTIONS_MAX {
        stage.subscribe(&format!("s{n}"));
    }
    let world = World { actions: &stage.shelf, person: &stage.person, totals: &stage.totals, now: stage.now };
    let more = Subscription { sub: "more".into(), filter: Filter::default(), context: None };
    assert_eq!(stage.live.subscribe(more, &world, &mut || 0), Err(TooMany));
}

// onEvent: a candidate in the input of the event only; stays while the rest holds; comes again.
#[test]
fn momentary_actions() {
    let moment = json!({"targeting": {"onEvent": ["cart_viewed"], "audiences": ["buyers"]}});
    let mut stage = Stage::new(std::slice::from_ref(&moment));
    stage.person.member_of = vec![BUYERS];
    assert_eq!(stage.subscribe("s1"), NONE);
    assert_eq!(stage.poll(&Filter::default()), NONE);
    assert_eq!(stage.look(Cause::Trait, &[0]), NONE);
    assert_eq!(stage.event(EventSlot(1), &[0]), NONE);
    assert_eq!(stage.event(CART_VIEWED, &[0]), ["+0 s1 d1"]);
    assert_eq!(stage.event(CART_VIEWED, &[0]), NONE);
    assert_eq!(stage.poll(&Filter::default()), ["0 =d1"]);
    assert_eq!(stage.look(Cause::Trait, &[0]), NONE);
    // Answered, and the next event is a new moment.
    assert_eq!(stage.react(0, Reaction::Declined), NONE);
    assert_eq!(stage.event(CART_VIEWED, &[0]), ["+0 s1 d2"]);
    stage.person.member_of.clear();
    assert_eq!(stage.look(Cause::Audience, &[0]), ["-0 s1 d2 audience"]);
    stage.person.member_of = vec![BUYERS];
    assert_eq!(stage.look(Cause::Audience, &[0]), NONE, "the moment has passed");
    // Behind a better one in its slot it does not wait.
    let hero = with(moment, json!({"slot": "hero"}));
    let mut stage = Stage::new(&[hero, json!({"slot": "hero", "priority": 5})]);
    stage.person.member_of = vec![BUYERS];
    assert_eq!(stage.subscribe("s1"), ["1 d1"]);
    assert_eq!(stage.event(CART_VIEWED, &[0]), NONE);
    stage.shelf.remove(1);
    assert_eq!(stage.look(Cause::Config, &[1]), ["-1 s1 d1 deleted"]);
}

#[test]
fn locked_takes_everything_back() {
    let mut stage = Stage::new(&[json!({}), json!({"priority": 3}), for_buyers()]);
    stage.subscribe("s1");
    assert_eq!(told(&stage.live.revoke_all(RevokeReason::Locked, stage.now)), ["-1 s1 d1 locked", "-0 s1 d2 locked"]);
    assert_eq!(stage.live.deadline(), Millis::MAX);
}

#[test]
fn polls_alone_deliver_once() {
    let mut stage =
        Stage::new(&[json!({"tags": ["a"], "slot": "x"}), json!({"tags": ["b"], "slot": "x", "priority": 1}), for_buyers()]);
    let tag = |tag: &str| Filter { tags: vec![tag.into()], ..Filter::default() };
    assert_eq!(stage.poll(&tag("a")), ["0 d1"]);
    assert_eq!(stage.poll(&tag("b")), ["1 d2"]);
    assert_eq!(stage.poll(&tag("a")), ["0 =d1"]);
    assert_eq!(stage.poll(&Filter::default()), ["1 =d2"], "the better one of the slot");
    stage.live.close(ActionSlot(1), Reaction::Hidden);
    assert_eq!(stage.poll(&tag("b")), NONE);
    // A subscription later joins the delivery.
    assert_eq!(stage.subscribe_to("s1", tag("a"), None), ["0 =d1"]);
}

#[test]
fn an_ended_delivery_is_remembered_for_the_grace() {
    let mut stage = Stage::new(&[for_buyers()]);
    stage.person.member_of = vec![BUYERS];
    stage.subscribe("s1");
    stage.person.member_of.clear();
    let ended = stage.now;
    stage.look(Cause::Audience, &[0]);
    stage.now = stage.now.plus(5000);
    assert_eq!(stage.live.valid_at(ActionSlot(0), 1, stage.now), Some(ended));
    assert_eq!(stage.live.valid_at(ActionSlot(0), 2, stage.now), None);
}
