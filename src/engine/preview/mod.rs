//! What a definition that nobody has saved would be: everybody is looked at, and nothing is touched.

mod audience;
pub mod computed;
pub mod dry_run;
mod share;

use lodestone_state::profile::Profile;

/// Every id that a person goes by, once.
pub(super) fn user_ids(profile: &Profile) -> Vec<&str> {
    let mut ids: Vec<&str> = Vec::new();
    for identity in &profile.core.identities {
        if !ids.contains(&identity.user_id.as_str()) {
            ids.push(&identity.user_id);
        }
    }
    ids
}
