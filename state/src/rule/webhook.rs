//! What a webhook of a rule tells.

use crate::action::hooks::timestamp;
use crate::event::{Entry, Fired, Firing};
use crate::ids::ProfileId;
use crate::plan::RulePlan;
use crate::value::Value;
use serde_json::{Value as Json, json};

/// The body as it is sent and signed. `params` is JSON text that people wrote.
#[must_use]
pub fn webhook_body(rule: &RulePlan, profile: ProfileId, entry: &Entry, fired: &Fired, params: Option<&str>) -> String {
    let mut body = json!({
        "event": "rule_fired",
        "rule": rule.key,
        "ruleId": rule.id.to_string(),
        "profileId": profile.to_string(),
        "userId": entry.user_id.as_str(),
        "metric": fired.metric.as_ref().map(Value::to_json),
        "threshold": rule.def.threshold.to_json(),
        "cause": if fired.what == Firing::Backfill { "backfill" } else { "met" },
        "timestamp": timestamp(entry.moment.t),
    });
    let multiple = rule.def.multiple(fired.metric.as_ref());
    if multiple > 0 {
        body["multiple"] = multiple.into();
    }
    if let Some(params) = params.and_then(|text| serde_json::from_str::<Json>(text).ok()) {
        body["customProperties"] = params;
    }
    body.to_string()
}
