//! Definitions into a running server: all of a document or nothing.

use super::Engine;
use super::evaluate::Fanout;
use lodestone_state::command::{self, Command};
use lodestone_state::event::EntryKind;
use lodestone_state::ids::Seq;
use lodestone_state::issue::Issue;
use lodestone_state::plan::{Catalog, CatalogDocument, Diff, Plan, Refold, What};
use lodestone_state::profile::History;
use std::sync::Arc;

/// What a change of the definitions did.
#[derive(Clone)]
pub struct CatalogApplied {
    /// Catalog version now in force.
    pub version: u32,
    /// Whether anything changed.
    pub changed: bool,
    /// What was created and what was changed, by kind.
    pub summary: serde_json::Value,
    /// The same, as it is.
    pub diff: Diff,
    /// The definitions as they are after it.
    pub plan: Arc<Plan>,
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
        self.change_catalog(|catalog| catalog.apply(&document))
    }

    /// Changes the definitions: `change` makes the next catalog out of the one in force, and nothing else
    /// changes it meanwhile. The change is on disk and in force when this returns, and durable when the
    /// journal has reached its position.
    ///
    /// # Errors
    /// What `change` says; issues where the plan does not compile or cannot be stored (`unavailable`).
    /// Nothing has changed then.
    pub fn change_catalog<E: From<Vec<Issue>>>(
        self: &Arc<Self>,
        change: impl FnOnce(&Catalog) -> Result<(Catalog, Diff), E>,
    ) -> Result<CatalogApplied, E> {
        let _one_at_a_time = self.catalog_gate.lock();
        let before = self.plan.load_full();
        let (catalog, diff) = change(&before.catalog)?;
        let summary = summary(&diff);
        if diff.is_empty() {
            let (version, seq) = (before.version, self.journal.last());
            return Ok(CatalogApplied { version, changed: false, summary, diff, plan: before, seq });
        }
        let failed = |error: String| vec![Issue::new("", "unavailable", format!("the catalog could not be stored: {error}"))];
        if self.writable().is_err() {
            return Err(failed("the disk is full, or the server is stopping".into()).into());
        }
        let at = self.clock.now();
        // Made here, because the machine knows no chance; it is used from the first webhook on.
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|e| failed(format!("no randomness for a signing key: {e}")))?;
        let plan = Arc::new(Plan::compile(Arc::new(catalog.keyed(key).dated(at)))?);
        // On disk before it is in force: no record may stand in the journal whose plan is not known.
        self.disk.catalog_put(plan.version, &plan.catalog.to_bytes()).map_err(|e| failed(e.to_string()))?;
        let record = Command::Catalog { version: plan.version, at };
        let seq = self.journal.append_with(|_, out| command::encode(&record, out));
        let refold = plan.refold_from(&before);
        self.plan.store(plan.clone());
        self.recount_totals(&plan);
        crate::telemetry::metrics::plan_swapped();
        if self.backfill.swapped(&before, &plan, &refold, self.store.len()) {
            self.spawn_sweep();
        }
        self.fanout.push(Fanout::between(&before, &plan));
        let refolded = match &refold {
            Refold::None => 0,
            Refold::Less => 1,
            Refold::Built(definitions) => definitions.len(),
        };
        tracing::info!(version = plan.version, refolded, "catalog applied");
        Ok(CatalogApplied { version: plan.version, changed: true, summary, diff, plan, seq })
    }

    /// Counts total caps anew from the log where an edit asks for more than the tally remembers (a window
    /// that is new or longer). Rare, and as long as a scan of every profile's history.
    pub(super) fn recount_totals(&self, plan: &Plan) {
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
        // Somebody who was merged in between has been read twice.
        log.sort_by_key(|(moment, _)| *moment);
        log.dedup_by_key(|(moment, _)| *moment);
        for action in short {
            self.totals.rebuild(action.slot, &action.def.caps, upto, log.iter().cloned());
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
