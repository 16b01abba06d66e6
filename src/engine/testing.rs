//! An engine in a folder of its own, for tests of what it holds in memory.

use super::api::{ActInput, Acting, Caller, Stored, TrackInput};
use super::{Engine, Options};
use crate::runtime::clock::SystemClock;
use lodestone_state::plan::Kind;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TOKEN: &str = "ls_sk_rig";

/// The engine and its folder.
pub(super) struct Rig {
    pub(super) engine: Arc<Engine>,
    _folder: TempDir,
}

/// A document with one more count of views.
fn counting(key: &str) -> Value {
    json!({"computedTraits": [
        {"name": key, "key": key, "type": "count_events", "eventId": "View", "conditions": [], "properties": {}}]})
}

impl Rig {
    /// With an event, a count of it and the audience of those who have any.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rig = Self { engine: open(&folder), _folder: folder };
        rig.apply(&json!({
            "channels": [{"name": "Web", "key": "web"}],
            "tokens": [{"token": TOKEN, "channel": "web", "kind": "secret"}],
            "events": [{"name": "View", "description": "", "structure": []}],
            "audiences": [{"name": "Viewers", "key": "viewers", "includeAnonymous": true, "traits": [], "events": [
                {"id": "View", "internalId": "00000000-0000-4000-8000-000000000001", "exclude": false,
                 "operator": "more_or_exactly", "count": 1}]}],
        }));
        rig.apply(&counting("views"));
        rig
    }

    pub(super) fn apply(&self, document: &Value) {
        self.engine.change_catalog(|catalog| catalog.apply(&parse(document))).unwrap_or_else(|issues| panic!("{issues:#?}"));
    }

    pub(super) fn remove(&self, kind: Kind, key: &str) {
        self.engine.change_catalog(|catalog| catalog.remove(kind, key, false)).unwrap_or_else(|issues| panic!("{issues:#?}"));
    }

    fn caller(&self) -> Caller {
        let grant = self.engine.authenticate(TOKEN).expect("a known token");
        Caller { channel: grant.channel.expect("a channel"), grant }
    }

    /// `user` accepts an action, which has no hooks.
    pub(super) fn accept(&self, user: &str, action: &str) {
        let plan = self.engine.plan();
        let action = plan.actions.iter().flatten().find(|one| one.name == action).expect("an action").id.to_string();
        let input = ActInput { user_id: user, action_id: &action, event: "accept", ..ActInput::default() };
        let acted = self.engine.act(&self.caller(), &input);
        assert!(matches!(acted, Ok(Acting::Done(_))), "{acted:?}");
    }

    /// One view by `user`.
    pub(super) fn view(&self, user: &str) {
        let stored = self.engine.track(&self.caller(), &TrackInput { user_id: user, event: "View", ..TrackInput::default() });
        assert!(matches!(stored, Stored::Stored { .. }), "{stored:?}");
    }

    /// Waits until nothing is being built.
    pub(super) fn settle(&self) {
        let began = Instant::now();
        while self.engine.backfill.built() != self.engine.plan().version {
            assert!(began.elapsed() < Duration::from_secs(30), "still building");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn parse(document: &Value) -> lodestone_state::plan::CatalogDocument {
    lodestone_state::plan::CatalogDocument::from_json(document).expect("a document")
}

fn open(folder: &TempDir) -> Arc<Engine> {
    // Before anything counts: the tests of one process share the recorder.
    crate::telemetry::metrics::install();
    Engine::open(folder.path(), Options::default(), Arc::new(SystemClock::default()), &|_| ()).expect("it opens")
}
