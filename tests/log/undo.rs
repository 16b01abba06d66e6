//! The undoing of merges.

use crate::common::{TA, TW};
use crate::rig::{MINUTE, Shop, eventually};
use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// `an` has seen two pages and lives in Bonn, `u` one and likes /u; then they are merged.
async fn merged() -> (Shop, String, String) {
    let shop = Shop::open().await;
    shop.view("an", "/a", 1.0).await;
    shop.view("an", "/b", 2.0).await;
    let body = json!({"userId": "an", "type": "x", "isAnonymous": true, "traits": {"city": "Bonn", "age": 20}});
    assert_eq!(shop.post("/v1/identify", TW, body).await, 204);
    let absorbed = shop.id("an").await;
    shop.pass(MINUTE);
    shop.identify("u", None, Some(json!({"fav": "/u", "age": 40}))).await;
    shop.view("u", "/u", 8.0).await;
    let survivor = shop.id("u").await;
    shop.pass(MINUTE);
    shop.identify("u", Some("an"), None).await;
    assert_eq!(shop.ids("u").await, ["an", "u"]);
    (shop, survivor, absorbed)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_come_back_with_what_arrived_meanwhile() {
    let (shop, survivor, absorbed) = merged().await;
    assert_eq!(shop.profile("u").await["customTraits"], json!({"city": "Bonn", "age": 40, "fav": "/u"}));
    shop.checkpoint().await;
    shop.pass(MINUTE);
    // Meanwhile: each goes on, and the anonymous id is seen in another channel too.
    shop.view("u", "/u2", 3.0).await;
    shop.track_late(TA, "an", "View", json!({"page": "/c", "price": 5}), 0).await;
    shop.track("an", "Buy", json!({"amount": 7})).await;
    shop.identify("an", None, Some(json!({"city": "Berlin"}))).await;
    shop.identify("u", None, Some(json!({"age": 41}))).await;
    assert_eq!(shop.value("u", "views").await, json!(5));
    let before = shop.crashed().await;
    for (shop, checkpoint_after) in [(&shop, true), (&before, false)] {
        let (status, body) = shop.split(&survivor, &absorbed).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!((&body["profile"]["id"], &body["returned"]["id"]), (&json!(survivor), &json!(absorbed)));
        assert_eq!(shop.split(&survivor, &absorbed).await.1["code"], "not_merged", "twice");
        if checkpoint_after {
            shop.checkpoint().await;
        }
        let check = async |shop: &Shop| {
            let (u, an) = (shop.profile("u").await, shop.profile("an").await);
            assert_eq!((&u["id"], &an["id"]), (&json!(survivor), &json!(absorbed)));
            assert_eq!(shop.ids("u").await, ["u"]);
            assert_eq!(shop.ids("an").await, ["an"]);
            assert_eq!(an["identities"].as_array().unwrap().len(), 2, "web and app");
            assert_eq!(u["computedTraits"]["pages"], json!(["/u", "/u2"]));
            assert_eq!(an["computedTraits"]["pages"], json!(["/a", "/b", "/c"]));
            assert_eq!((&u["computedTraits"]["dearest"], &an["computedTraits"]["dearest"]), (&json!(8), &json!(5)));
            assert_eq!(u["customTraits"], json!({"fav": "/u", "age": 41}));
            assert_eq!(an["customTraits"], json!({"city": "Berlin", "age": 20}));
            assert_eq!(shop.audiences("u").await, ["favs", "known_viewers", "never_bought", "recent", "viewers"]);
            let theirs = ["berlin", "busy_berlin", "buyers", "known_viewers", "quick", "recent", "viewers"];
            assert_eq!(shop.audiences("an").await, theirs);
            shop.assert_no_drift(&["u", "an"]).await;
            assert_eq!(shop.members("viewers").await, 2);
            assert_eq!(shop.members("buyers").await, 1);
        };
        check(shop).await;
        check(&shop.crashed().await).await;
        assert!(shop.moves("u").await.contains(&format!("buyers left +{}", 3 * MINUTE)));
        assert!(shop.moves("an").await.contains(&format!("buyers entered +{}", 3 * MINUTE)));
        // What comes from now on is theirs.
        shop.view("an", "/d", 1.0).await;
        shop.view("u", "/u3", 1.0).await;
        assert_eq!(shop.value("an", "views").await, json!(4));
        assert_eq!(shop.value("u", "views").await, json!(3));
        // And they may become one again.
        shop.identify("u", Some("an"), None).await;
        assert_eq!(shop.value("u", "views").await, json!(7));
        assert_eq!(shop.profile("an").await["id"], json!(survivor));
        let again = shop.crashed().await;
        assert_eq!(again.value("u", "views").await, json!(7));
        again.assert_no_drift(&["u"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_are_listed() {
    let (shop, survivor, absorbed) = merged().await;
    let list = shop.get(&format!("/api/v1/profiles/{absorbed}/merges")).await;
    let merge = &list["data"][0];
    assert_eq!(list["total"], json!(1));
    assert_eq!((&merge["profileId"], &merge["into"]), (&json!(absorbed), &json!(survivor)));
    assert_eq!(merge["identities"][0]["userId"], "an");
    assert_eq!(merge["cause"]["userId"], "u");
    assert_eq!((&merge["undoable"], &merge["undoneAt"]), (&json!(true), &Value::Null));
    assert_eq!(shop.split(&absorbed, &absorbed).await.0, 200, "by any id that leads to the profile");
    let list = shop.get(&format!("/api/v1/profiles/{survivor}/merges")).await;
    assert_eq!(list["data"][0]["undoable"], json!(false));
    assert!(list["data"][0]["undoneAt"].is_string());
    assert_eq!(shop.get(&format!("/api/v1/profiles/{absorbed}/merges")).await["total"], json!(0));
    assert_eq!(shop.split(&survivor, "nonsense").await.1["code"], "not_merged");
    assert_eq!(shop.split("nonsense", &survivor).await.1["code"], "profile_not_found");
    let missing = shop.admin(Method::POST, &format!("/api/v1/profiles/{survivor}/split"), Some(json!({}))).await;
    assert_eq!((missing.0, missing.1["code"].as_str()), (400, Some("missing_field")));
}

/// C went into B and B into A. Undone from the top, B takes C along; undone from below, C goes alone.
#[tokio::test(flavor = "multi_thread")]
async fn chains_come_apart_in_any_order() {
    for bottom_first in [false, true] {
        let shop = Shop::open().await;
        let mut ids = Vec::new();
        for user in ["a", "b", "c"] {
            shop.identify(user, None, Some(json!({"city": user}))).await;
            shop.view(user, &format!("/{user}"), 1.0).await;
            ids.push(shop.id(user).await);
        }
        let [a, b, c] = [&ids[0], &ids[1], &ids[2]];
        shop.identify("b", Some("c"), None).await;
        shop.view("c", "/c2", 1.0).await;
        shop.checkpoint().await;
        shop.identify("a", Some("b"), None).await;
        shop.view("b", "/b3", 1.0).await;
        shop.view("c", "/c3", 1.0).await;
        assert_eq!(shop.value("c", "views").await, json!(6));
        let (first, second) = if bottom_first { (c, b) } else { (b, c) };
        assert_eq!(shop.split(a, first).await.0, 200);
        let from = if bottom_first { a } else { b };
        if bottom_first {
            assert_eq!(shop.value("a", "pages").await, json!(["/a", "/b", "/b3"]));
        } else {
            assert_eq!(shop.ids("c").await, ["b", "c"]);
            assert_eq!(shop.value("a", "pages").await, json!(["/a"]));
            assert_eq!(shop.split(a, c).await.1["code"], "not_merged", "c is b's again");
        }
        let shop = shop.crashed().await;
        assert_eq!(shop.split(from, second).await.0, 200);
        shop.checkpoint().await;
        let shop = shop.crashed().await;
        for (user, id, pages) in [("a", a, json!(["/a"])), ("b", b, json!(["/b", "/b3"])), ("c", c, json!(["/c", "/c2", "/c3"]))]
        {
            let profile = shop.profile(user).await;
            assert_eq!((&profile["id"], &profile["computedTraits"]["pages"]), (&json!(id), &pages), "{user}");
            assert_eq!(profile["customTraits"], json!({"city": user}));
            assert_eq!(shop.get(&format!("/api/v1/profiles/{id}")).await["id"], json!(id));
        }
        shop.assert_no_drift(&["a", "b", "c"]).await;
    }
}

/// Whoever was merged later stays.
#[tokio::test(flavor = "multi_thread")]
async fn an_undoing_after_further_merges() {
    let shop = Shop::open().await;
    for user in ["a", "b", "d", "z"] {
        shop.view(user, &format!("/{user}"), 1.0).await;
    }
    let (a, b) = (shop.id("a").await, shop.id("b").await);
    shop.identify("a", Some("b"), None).await;
    shop.identify("a", Some("d"), None).await;
    shop.identify("z", Some("a"), None).await;
    shop.identify("a", Some("never-seen"), None).await;
    let z = shop.id("z").await;
    assert_eq!(shop.split(&z, &b).await.0, 200);
    assert_eq!(shop.ids("z").await, ["a", "d", "never-seen", "z"]);
    assert_eq!(shop.value("b", "pages").await, json!(["/b"]));
    assert_eq!(shop.split(&z, &a).await.0, 200);
    for shop in [&shop, &shop.crashed().await] {
        assert_eq!(shop.ids("a").await, ["a", "d"]);
        // Came after the merge, so it stays where it is.
        assert_eq!(shop.ids("z").await, ["never-seen", "z"]);
        assert_eq!(shop.value("a", "pages").await, json!(["/a", "/d"]));
        shop.assert_no_drift(&["a", "b", "z"]).await;
    }
}

/// Caps follow the logs; totals stay as they are.
#[tokio::test(flavor = "multi_thread")]
async fn caps_are_told_apart_and_totals_stay() {
    let (shop, survivor, absorbed) = merged().await;
    assert_eq!(shop.act("an", "Once", "accept").await, 200);
    assert_eq!(shop.act("u", "Once", "accept").await, 400, "they are one person");
    assert_eq!(shop.act("an", "Two in all", "accept").await, 200);
    assert_eq!(shop.split(&survivor, &absorbed).await.0, 200);
    for shop in [&shop, &shop.crashed().await] {
        assert_eq!(shop.act("an", "Once", "accept").await, 400);
        assert_eq!(shop.act("u", "Once", "accept").await, 200);
        assert_eq!(shop.act("u", "Two in all", "accept").await, 200);
        assert_eq!(shop.act("u", "Two in all", "accept").await, 400);
    }
}

/// Sessions go with the id that they act for, and what is due is decided anew.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_follow_their_ids() {
    let (shop, survivor, absorbed) = merged().await;
    let mut catalog = crate::rig::catalog();
    catalog["actions"][0]["targeting"]["traitConditions"] = json!([
        {"source": "computed", "key": "views", "type": "integer", "operator": "greater_than_or_equal", "value": 3}]);
    shop.engine.apply_catalog(&catalog.to_string()).expect("the catalog is valid");
    let mut sockets = Vec::new();
    for user in ["an", "u"] {
        let url = format!("ws://{}/v1/ws", shop.server.address);
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("a socket");
        let say = |frame: Value| Message::text(frame.to_string());
        let who = if user == "an" { "anonymousId" } else { "userId" };
        socket.send(say(json!({"t": "hello", "v": 1, "token": TA, who: user}))).await.unwrap();
        socket.send(say(json!({"t": "subscribe", "id": "s", "sub": "s", "type": "coupon"}))).await.unwrap();
        let offered = frame_of(&mut socket, "subscribed").await;
        assert_eq!(offered["actions"].as_array().unwrap().len(), 3, "{offered}");
        sockets.push(socket);
    }
    assert_eq!(shop.split(&survivor, &absorbed).await.0, 200);
    // Two views of one and one of the other are not three.
    let once = shop.action("Once");
    for socket in &mut sockets {
        assert_eq!(frame_of(socket, "action_revoked").await["actionId"], json!(once));
    }
    shop.view("an", "/third", 1.0).await;
    assert_eq!(frame_of(&mut sockets[0], "action").await["action"]["id"], json!(once));
    eventually("the count", async || shop.value("an", "views").await == json!(3)).await;
}

async fn frame_of<S>(socket: &mut S, kind: &str) -> Value
where
    S: StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    loop {
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), socket.next()).await;
        let Some(Ok(message)) = next.unwrap_or_else(|_| panic!("no {kind} in time")) else { panic!("the socket ended") };
        if let Message::Text(text) = message {
            let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
            if frame["t"] == kind {
                return frame;
            }
        }
    }
}
