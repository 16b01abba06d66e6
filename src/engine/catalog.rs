//! Definitions into a running server: all of a document or nothing.

use super::Engine;
use super::evaluate::Fanout;
use lodestone_state::command::{self, Command};
use lodestone_state::event::EntryKind;
use lodestone_state::ids::Seq;
use lodestone_state::issue::Issue;
use lodestone_state::plan::{CatalogDocument, Diff, Plan, What};
use lodestone_state::profile::History;
use std::sync::Arc;

/// What applying a document did.
#[derive(Clone, Debug)]
pub struct CatalogApplied {
    /// Catalog version now in force.
    pub version: u32,
    /// Whether anything changed.
    pub changed: bool,
    /// What was created and what was changed, by kind.
    pub summary: serde_json::Value,
    /// Log position of the change.
    pub seq: Seq,
}

impl Engine {
    /// Applies a catalog document. Applying it twice changes nothing.
    ///
    /// # Errors
    /// Every problem of the document with its JSON pointer; nothing has changed then.
    pub fn apply_catalog(self: &Arc<Self>, document: &str) -> Result<CatalogApplied, Vec<Issue>> {
        let document = CatalogDocument::parse(document)?;
        let _one_at_a_time = self.catalog_gate.lock();
        let before = self.plan.load_full();
        let (catalog, diff) = before.catalog.apply(&document)?;
        let summary = summary(&diff);
        if diff.is_empty() {
            return Ok(CatalogApplied { version: before.version, changed: false, summary, seq: self.journal.last() });
        }
        let plan = Arc::new(Plan::compile(Arc::new(catalog))?);
        let failed = |error: String| vec![Issue::new("", "unavailable", format!("the catalog could not be stored: {error}"))];
        // On disk before it is in force: no record may stand in the journal whose plan is not known.
        self.disk.catalog_put(plan.version, &plan.catalog.to_bytes()).map_err(|e| failed(e.to_string()))?;
        let at = self.clock.now();
        let record = Command::Catalog { version: plan.version, at };
        let seq = self.journal.append_with(|_, out| command::encode(&record, out));
        let refold = plan.generation != before.generation;
        self.plan.store(plan.clone());
        self.recount_totals(&plan);
        crate::telemetry::metrics::plan_swapped();
        self.fanout.push(Fanout::all());
        self.timers.poke();
        if refold {
            self.spawn_backfill();
        }
        tracing::info!(version = plan.version, refold, "catalog applied");
        Ok(CatalogApplied { version: plan.version, changed: true, summary, seq })
    }

    /// Counts total caps anew from the log where an edit asks for more than the tally remembers (a window
    /// that is new or longer). Rare, and as long as a scan of every profile's history.
    fn recount_totals(&self, plan: &Plan) {
        let short: Vec<_> = plan.actions.iter().flatten().filter(|a| !self.totals.covers(a.slot, &a.def.caps)).collect();
        if short.is_empty() {
            return;
        }
        // Newer reactions are kept from memory; a stamped one that is not applied yet holds its profile's
        // lock, so the scan waits for it.
        let upto = self.journal.last();
        let mut log = Vec::new();
        for shared in self.store.all() {
            let entries = self.history().load(&shared.lock());
            log.extend(entries.into_iter().filter_map(|entry| match entry.kind {
                EntryKind::Reacted(reacted) => Some((entry.moment, reacted)),
                _ => None,
            }));
        }
        log.sort_by_key(|(moment, _)| *moment);
        for action in short {
            self.totals.rebuild(action.slot, &action.def.caps, upto, log.iter().cloned());
        }
    }

    /// Folds what the new definitions touch in the background; a profile that is needed sooner is folded
    /// when it is touched.
    fn spawn_backfill(self: &Arc<Self>) {
        let engine = self.clone();
        let work = move || {
            let folded = engine.backfill(&|done, of| {
                engine.stats.backfill_done.store(done as u64, std::sync::atomic::Ordering::Relaxed);
                engine.stats.backfill_of.store(of as u64, std::sync::atomic::Ordering::Relaxed);
            });
            tracing::info!(folded, "backfill done");
        };
        if let Err(error) = std::thread::Builder::new().name("backfill".into()).spawn(work) {
            tracing::warn!(%error, "backfill thread cannot start; profiles are folded when next touched");
        }
    }
}

/// `{"created": [{"kind", "id", "name"}], "changed": […], "removed": […], "organization": bool}`.
fn summary(diff: &Diff) -> serde_json::Value {
    let of = |what: What| -> Vec<serde_json::Value> {
        let changes = diff.changes.iter().filter(|change| change.what == what);
        changes.map(|c| serde_json::json!({"kind": c.kind.section(), "id": c.id.to_string(), "name": c.name})).collect()
    };
    serde_json::json!({
        "organization": diff.organization,
        "created": of(What::Added),
        "changed": of(What::Changed),
        "removed": of(What::Removed),
    })
}
