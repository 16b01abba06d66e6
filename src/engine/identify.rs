//! Who someone is: identities, custom traits, and the merge of profiles.
//!
//! An identify is decided under the locks of every profile that it concerns and journaled as outcomes, as
//! one record: it happens as a whole or not at all.

use super::api::{Caller, Identified, IdentifyInput};
use super::invalid::Reject;
use super::track::{Draft, check_ids};
use super::{Engine, mint, time};
use crate::telemetry::metrics as m;
use crate::wire::Rejection;
use compact_str::CompactString;
use lodestone_state::event::{EntryKind, Identified as Outcome, Identity, Props};
use lodestone_state::expr::PathRef;
use lodestone_state::ids::{Millis, ProfileId, Seq};
use lodestone_state::machine::{self, Changes, union};
use lodestone_state::paths;
use lodestone_state::plan::{Plan, TokenKind};
use lodestone_state::profile::{IDENTITIES_MAX, Profile};
use lodestone_state::rule;
use lodestone_state::schema::UnknownKeys;
use lodestone_state::store::{Shared, lock_all};
use parking_lot::MutexGuard;

/// Kind of id of those nobody has vouched for.
const ANONYMOUS: &str = "anonymous_id";

/// Tries before an identify that keeps meeting other merges gives up with a retryable error.
const TRIES: usize = 8;

/// What was found out about the ids of one identify, under the locks.
struct Decision {
    /// Profiles to absorb, as positions behind the leader in the list of guards.
    absorb: Vec<usize>,
    merged: Vec<String>,
    skipped: Vec<(String, &'static str)>,
    /// Ids that no profile has, recorded as anonymous identities of the leader.
    adopt: Vec<String>,
}

impl Engine {
    /// Asserts an identity, sets custom traits, absorbs what the person did before.
    ///
    /// # Errors
    /// A rejection by its code; nothing has changed then, traits included.
    pub fn identify(&self, caller: &Caller, input: &IdentifyInput<'_>) -> Result<Identified, Rejection> {
        check_ids(input.user_id, input.message_id)?;
        self.writable()?;
        if input.kind.is_empty() && !input.is_anonymous {
            return Err(Rejection::missing_field("type"));
        }
        if input.merge_known && caller.grant.kind == TokenKind::Public {
            return Err(Rejection::unauthorized("merging known profiles needs a secret token"));
        }
        let plan = self.plan.load();
        self.check_user_hash(&plan, caller, input)?;
        let at = self.clock.now();
        if let Some(first) = input.message_id.and_then(|id| self.dedupe.find(&self.disk, &id.into(), at)) {
            let done = self.repeated(input, first.seq);
            self.switch_session(input.session, input.message_id, &done);
            return Ok(done);
        }
        let t = time::effective(at, input.timestamp, input.sent_at, &plan.zone, caller.grant.import)?;
        for _ in 0..TRIES {
            if let Some(mut done) = self.try_identify(&plan, caller, input, t, at)? {
                done.seq = done.seq.max(self.follow_up());
                m::identified(done.merged.len());
                self.switch_session(input.session, input.message_id, &done);
                return Ok(done);
            }
        }
        Err(Rejection::unavailable("the profiles of these ids keep changing; send it again"))
    }

    /// The answer to a repeat: the identity as it stands.
    fn repeated(&self, input: &IdentifyInput<'_>, seq: Seq) -> Identified {
        let found = self.store.find(input.user_id);
        let (profile, is_anonymous) = found.map_or((ProfileId::default(), input.is_anonymous), |shared| {
            let profile = shared.lock();
            let known = profile.core.identities.iter().any(|i| i.user_id == input.user_id && !i.is_anonymous);
            (profile.core.id, !known)
        });
        Identified { seq, profile, user_id: input.user_id.into(), is_anonymous, duplicate: true, ..Identified::default() }
    }

    fn check_user_hash(&self, plan: &Plan, caller: &Caller, input: &IdentifyInput<'_>) -> Result<(), Rejection> {
        if input.is_anonymous || caller.grant.kind != TokenKind::Public || !plan.requires_user_hash() {
            return Ok(());
        }
        let Some(given) = input.user_hash else {
            return Err(Rejection::new("user_hash_required", "userHash is required for a known user id"));
        };
        if plan.user_hash_matches(input.user_id, given) {
            Ok(())
        } else {
            Err(Rejection::new("user_hash_invalid", "userHash does not belong to this user id"))
        }
    }

    /// One attempt; `None` when another merge got in between.
    fn try_identify(
        &self,
        plan: &Plan,
        caller: &Caller,
        input: &IdentifyInput<'_>,
        t: Millis,
        at: Millis,
    ) -> Result<Option<Identified>, Rejection> {
        // Refused before anything exists: a rejected identify makes no profile.
        if input.traits.is_some() && plan.custom_schema().is_none() && !plan.traits_without_schema() {
            let reject = Reject::identify(caller, input, at);
            self.invalid.record(self, plan, &reject, "traits", 0, &[]);
            return Err(Rejection::new("traits_schema_missing", "no custom traits are defined"));
        }
        if let (Some(traits), false) = (input.traits, input.merge_traits) {
            self.check_traits(plan, caller, input, traits, at)?;
        }
        let (leader, _) = self.store.find_or_create(input.user_id, || self.new_profile(plan));
        let previous = input.previous_user_id.filter(|id| !id.is_empty() && *id != input.user_id);
        let mut handles = vec![leader];
        let mut owners: Vec<(String, Option<usize>)> = Vec::new();
        if let Some(id) = previous {
            let found = self.store.find(id);
            let position = found.map(|shared| {
                handles.iter().position(|have| std::sync::Arc::ptr_eq(have, &shared)).unwrap_or_else(|| {
                    handles.push(shared);
                    handles.len() - 1
                })
            });
            owners.push((id.into(), position));
        }
        let mut guards = lock_all(&handles);
        let asked = [Some(input.user_id), previous];
        if guards.iter().zip(asked.into_iter().flatten()).any(|(profile, user_id)| !self.store.owns(profile, user_id)) {
            return Ok(None);
        }
        // Under the locks, so that a plan older than the one a profile is folded under is never used.
        let plan = &*self.plan.load();
        if let Some(first) = input.message_id.and_then(|id| self.dedupe.find_recent(id, at)) {
            drop(guards);
            return Ok(Some(self.repeated(input, first.seq)));
        }
        // What time made due comes before what is decided now, and before two profiles are one.
        for (shared, profile) in handles.iter().zip(&mut guards) {
            let mut changes = Changes::default();
            self.bring_up_to_date(plan, profile, &mut changes);
            self.catch_up(plan, shared, profile, at, &mut changes);
            self.after(plan, shared, profile, &changes);
        }
        let decision = decide(&guards, &owners, input);
        let total: usize =
            guards[0].core.identities.len() + decision.absorb.iter().map(|&i| guards[i].core.identities.len()).sum::<usize>();
        let added = usize::from(guards[0].identity(caller.channel, input.user_id).is_none()) + decision.adopt.len();
        if total + added > IDENTITIES_MAX {
            return Err(Rejection::new(
                "identity_limit",
                format!("the profile would have more than {IDENTITIES_MAX} identities"),
            ));
        }
        for id in &decision.adopt {
            if self.store.link(id, guards[0].core.id).is_err() {
                return Ok(None);
            }
        }
        let outcome = self.outcome(plan, caller, input, &guards, &decision, at)?;
        Ok(Some(self.merge_and_commit(plan, &handles, guards, decision, input, outcome, t, at)))
    }

    fn check_traits(
        &self,
        plan: &Plan,
        caller: &Caller,
        input: &IdentifyInput<'_>,
        traits: &str,
        at: Millis,
    ) -> Result<Props, Rejection> {
        let checked = match plan.custom_schema() {
            Some(schema) => schema.validate(traits, &plan.zone),
            None => plan.open_schema().validate_as(traits, &plan.zone, UnknownKeys::Open),
        };
        checked.map_err(|errors| {
            self.invalid.record(self, plan, &Reject::identify(caller, input, at), "traits", 0, &errors);
            Rejection::new("traits_invalid", format!("{} trait(s) do not fit their definition", errors.len()))
                .with_details(errors)
        })
    }

    /// What the leader's identities and custom traits become.
    fn outcome(
        &self,
        plan: &Plan,
        caller: &Caller,
        input: &IdentifyInput<'_>,
        guards: &[MutexGuard<'_, Profile>],
        decision: &Decision,
        at: Millis,
    ) -> Result<Outcome, Rejection> {
        let leader = &guards[0];
        let anonymous = |user_id: &str| Identity {
            channel: caller.channel,
            kind: ANONYMOUS.into(),
            user_id: user_id.into(),
            is_anonymous: true,
            created_at: at,
        };
        let mut asserted = anonymous(input.user_id);
        if !input.is_anonymous {
            asserted.kind = input.kind.into();
            asserted.is_anonymous = false;
        } else if let Some(known) = leader.core.identities.iter().find(|i| i.user_id == input.user_id && !i.is_anonymous) {
            // Known stays known, also when asserted as anonymous on another channel.
            (asserted.kind, asserted.is_anonymous) = (known.kind.clone(), false);
        }
        let mut identities: Vec<Identity> = decision.adopt.iter().map(|id| anonymous(id)).collect();
        let stands = leader.identity(caller.channel, input.user_id);
        if stands.is_none_or(|i| (&i.kind, i.is_anonymous) != (&asserted.kind, asserted.is_anonymous)) {
            identities.push(asserted);
        }
        let followers = || decision.absorb.iter().map(|&i| &guards[i].core.custom);
        let joined = union(&leader.core.custom, followers());
        let (custom, own) = match input.traits {
            None => (joined, leader.core.custom.clone()),
            // Replaced is what the leader had; what a follower brings along is merged after that (I-26).
            // What a rule set is not the client's to replace.
            Some(traits) if !input.merge_traits => {
                let own = self.check_traits(plan, caller, input, traits, at)?;
                let kept = |custom| {
                    set_by_rules(std::iter::once(&**leader)).fold(custom, |custom, path| keep(custom, &leader.core.custom, path))
                };
                (kept(union(&own, followers())), kept(own))
            }
            Some(traits) => {
                let all: Vec<&Profile> = std::iter::once(&**leader).chain(decision.absorb.iter().map(|&i| &*guards[i])).collect();
                let custom =
                    merged_into(plan, &joined, &all, traits, |merged| self.check_traits(plan, caller, input, merged, at))?;
                // What the leader would have without the followers: the same keys set in what it had.
                let own = merged_into(plan, &leader.core.custom, &all[..1], traits, |merged| Ok(lenient(plan, merged)))?;
                (custom, own)
            }
        };
        let absorbed: Vec<_> = decision.absorb.iter().map(|&i| guards[i].absorbed_by(leader.core.id)).collect();
        if absorbed.is_empty() {
            return Ok(Outcome { identities, custom: (custom != leader.core.custom).then_some(custom), absorbed, own: None });
        }
        Ok(Outcome { identities, custom: Some(custom), absorbed, own: Some(own) })
    }

    #[expect(clippy::too_many_arguments, reason = "one call site; everything is decided and only carried out here")]
    fn merge_and_commit(
        &self,
        plan: &Plan,
        handles: &[Shared],
        mut guards: Vec<MutexGuard<'_, Profile>>,
        decision: Decision,
        input: &IdentifyInput<'_>,
        outcome: Outcome,
        t: Millis,
        at: Millis,
    ) -> Identified {
        let mut changes = Changes::default();
        let leader_id = guards[0].core.id;
        // What is merged goes on from the latest of their clocks, as a replay of the record finds it.
        let clocks = decision.absorb.iter().map(|&position| guards[position].core.clock);
        let at = clocks.fold(at.max(guards[0].core.clock), Millis::max);
        let mut followers = Vec::new();
        for &position in &decision.absorb {
            let follower = &mut guards[position];
            follower.gone = Some(leader_id);
            self.members.remove_all(follower);
            self.store.redirect(follower, leader_id);
            let husk = Profile::new(follower.core.id, at, follower.core.generation);
            let taken = std::mem::replace(&mut **follower, Profile { gone: Some(leader_id), ..husk });
            followers.push(taken);
        }
        let merged_ids: Vec<ProfileId> = followers.iter().map(|f| f.core.id).collect();
        let leader = &mut guards[0];
        self.bring_up_to_date(plan, leader, &mut changes);
        if !followers.is_empty() {
            if leader.core.clock == Millis::MIN {
                machine::born(plan, leader, at, &mut changes);
            }
            machine::absorb(plan, leader, followers, at, &mut self.history(), &mut changes);
        }
        let draft = Draft {
            t,
            at,
            user_id: input.user_id.into(),
            message_id: input.message_id.map(CompactString::from),
            kind: EntryKind::Identified(outcome),
        };
        let seq = self.commit(plan, &handles[0], leader, draft, mint(), &mut changes);
        self.hub.move_all(&merged_ids, leader_id);
        if !merged_ids.is_empty() {
            for gone in &merged_ids {
                self.totals.absorb(*gone, leader_id);
            }
            self.tell_absorbed(leader, input.session, seq.0);
        }
        let is_anonymous = !leader.core.identities.iter().any(|i| i.user_id == input.user_id && !i.is_anonymous);
        self.after(plan, &handles[0], leader, &changes);
        Identified {
            seq,
            profile: leader_id,
            user_id: input.user_id.into(),
            is_anonymous,
            merged: decision.merged,
            skipped: decision.skipped,
            duplicate: false,
        }
    }
}

fn decide(guards: &[MutexGuard<'_, Profile>], owners: &[(String, Option<usize>)], input: &IdentifyInput<'_>) -> Decision {
    let mut decision = Decision { absorb: Vec::new(), merged: Vec::new(), skipped: Vec::new(), adopt: Vec::new() };
    let leader_anonymous = input.is_anonymous && !guards[0].is_known();
    for (id, owner) in owners {
        match owner {
            None => decision.adopt.push(id.clone()),
            // The same profile already: a repeated merge changes nothing.
            Some(0) => {}
            Some(position) => {
                let known = guards[*position].is_known();
                // Two known people never become one by a browser's say-so; and someone unknown never
                // takes over someone known.
                if known && (leader_anonymous || !input.merge_known) {
                    decision.skipped.push((id.clone(), "refused_known_user"));
                } else {
                    decision.absorb.push(*position);
                    decision.merged.push(id.clone());
                }
            }
        }
    }
    decision
}

/// As much of a traits document as fits its definition.
fn lenient(plan: &Plan, traits: &str) -> Props {
    match plan.custom_schema() {
        Some(schema) => schema.check(traits, &plan.zone, schema.unknown_keys()).props,
        None => plan.open_schema().check(traits, &plan.zone, UnknownKeys::Open).props,
    }
}

/// A client's merging document taken into `present`, the custom traits of all of `profiles`. A rule may set
/// what the definition of the traits does not know: that stands aside while `check` looks.
fn merged_into(
    plan: &Plan,
    present: &Props,
    profiles: &[&Profile],
    traits: &str,
    check: impl FnOnce(&str) -> Result<Props, Rejection>,
) -> Result<Props, Rejection> {
    let set_by = || set_by_rules(profiles.iter().copied());
    let client = set_by().fold(present.clone(), |custom, path| rule::remove(&custom, path));
    let checked = check(&merge_documents(plan, &client, traits)?)?;
    let deleted = deleted_keys(traits);
    let left = |path: &&PathRef| rule::find(&checked, path).is_none() && !deleted.contains(&first_key(plan, path));
    Ok(set_by().filter(left).fold(checked.clone(), |custom, path| keep(custom, present, path)))
}

/// Where the custom traits stand that rules set.
fn set_by_rules<'a>(profiles: impl Iterator<Item = &'a Profile>) -> impl Iterator<Item = &'a PathRef> {
    profiles.flat_map(|profile| profile.core.set_by.iter().map(|(path, _)| path))
}

/// `custom` with the value at `path` as it is in `of`.
fn keep(custom: Props, of: &Props, path: &PathRef) -> Props {
    match rule::find(of, path) {
        Some(value) => rule::put(&custom, path, value.clone()),
        None => custom,
    }
}

/// Keys that a merging document takes away.
fn deleted_keys(traits: &str) -> Vec<String> {
    let update: serde_json::Map<String, serde_json::Value> = serde_json::from_str(traits).unwrap_or_default();
    update.into_iter().filter(|(_, value)| value.is_null()).map(|(key, _)| key).collect()
}

/// The key at the top of the document under which `path` stands.
fn first_key(plan: &Plan, path: &PathRef) -> String {
    let segments = paths::split(plan.paths.name(path.path));
    let first = segments.into_iter().chain(path.rest.iter().cloned()).find(|segment| !segment.is_empty());
    first.unwrap_or_default().into()
}

/// Shallow merge of a traits document into the present one: a key replaces, null deletes.
fn merge_documents(plan: &Plan, present: &Props, traits: &str) -> Result<String, Rejection> {
    let mut document = match plan.paths.render(present) {
        serde_json::Value::Object(map) => map,
        _ => serde_json::Map::new(),
    };
    let update: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(traits).map_err(|e| Rejection::invalid_json(format!("traits is not a JSON object: {e}")))?;
    for (key, value) in update {
        if value.is_null() {
            document.remove(&key);
        } else {
            document.insert(key, value);
        }
    }
    Ok(serde_json::Value::Object(document).to_string())
}
