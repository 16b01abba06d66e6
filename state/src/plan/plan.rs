//! The immutable plan: every definition compiled, with the indexes that say who must look when
//! something happens.

use super::catalog::{Catalog, TokenKind, token_hash};
use super::index;
use crate::action::{ActionDef, BudgetDef};
use crate::audience::AudienceDef;
use crate::experiment::ExperimentDef;
use crate::goal::GoalDef;
use crate::ids::{
    ActionSlot, AudienceSlot, BudgetSlot, ChannelSlot, DefId, EventSlot, ExperimentSlot, GoalSlot, PathId, RuleSlot, TraitSlot,
};
use crate::issue::Issue;
use crate::paths::PathTable;
use crate::rule::RuleDef;
use crate::schema::Schema;
use crate::time::Zone;
use crate::traits::TraitDef;
use foldhash::quality::RandomState;
use std::collections::HashMap;
use std::sync::Arc;

/// Names are sent by clients, so their hashes are keyed.
pub(super) type Index<K, V> = HashMap<K, V, RandomState>;

/// A compiled catalog. Built in one go, shared, never changed: a change of the catalog makes a new one.
///
/// Tables are indexed by slot, with `None` for definitions that were removed.
pub struct Plan {
    /// The catalog's version.
    pub version: u32,
    /// Changes whenever a profile's state must be folded anew: with a trait, an audience or a cap.
    pub generation: u32,
    /// What was compiled.
    pub catalog: Arc<Catalog>,
    /// The organisation's time zone.
    pub zone: Zone,
    /// Property paths by number.
    pub paths: Arc<PathTable>,
    /// By [`EventSlot`].
    pub events: Vec<Option<EventPlan>>,
    /// By [`TraitSlot`].
    pub traits: Vec<Option<TraitPlan>>,
    /// By [`AudienceSlot`].
    pub audiences: Vec<Option<AudiencePlan>>,
    /// By [`ActionSlot`].
    pub actions: Vec<Option<ActionPlan>>,
    /// By [`ChannelSlot`].
    pub channels: Vec<Option<ChannelPlan>>,
    /// By [`RuleSlot`].
    pub rules: Vec<Option<RulePlan>>,
    /// By [`GoalSlot`].
    pub goals: Vec<Option<GoalPlan>>,
    /// By [`BudgetSlot`].
    pub budgets: Vec<Option<BudgetPlan>>,
    /// By [`ExperimentSlot`].
    pub experiments: Vec<Option<ExperimentPlan>>,
    pub(super) custom: Option<Schema>,
    pub(super) custom_version: u32,
    pub(super) open: Schema,
    pub(super) custom_touch: Index<PathId, CustomTouch>,
    pub(super) untouched: CustomTouch,
    pub(super) always: Box<[AudienceSlot]>,
    pub(super) timed: Box<[ActionSlot]>,
    /// By [`ActionSlot`], removed ones included: what they have used counts on.
    pub(super) governing: Vec<Box<[BudgetSlot]>>,
    pub(super) always_rules: Box<[RuleSlot]>,
    pub(super) purged_rules: Box<[RuleSlot]>,
    pub(super) compared: Box<[TraitSlot]>,
    pub(super) event_names: Index<Box<str>, EventSlot>,
    pub(super) channel_keys: Index<Box<str>, ChannelSlot>,
    pub(super) trait_keys: Index<Box<str>, TraitSlot>,
    pub(super) audience_keys: Index<Box<str>, AudienceSlot>,
    pub(super) rule_keys: Index<Box<str>, RuleSlot>,
    pub(super) goal_keys: Index<Box<str>, GoalSlot>,
    pub(super) experiment_keys: Index<Box<str>, ExperimentSlot>,
    pub(super) action_ids: Index<DefId, ActionSlot>,
    pub(super) tokens: Index<[u8; 32], TokenGrant>,
}

/// An event that can be tracked.
pub struct EventPlan {
    /// Its slot.
    pub slot: EventSlot,
    /// Its id.
    pub id: DefId,
    /// The name that it is tracked by.
    pub name: String,
    /// The structure version in force.
    pub version: u32,
    /// Validates properties.
    pub schema: Schema,
    /// Traits that it feeds.
    pub traits: Box<[TraitSlot]>,
    /// Audiences with a step or condition on it.
    pub audiences: Box<[AudienceSlot]>,
    /// Active actions that it makes candidates (`targeting.onEvent`).
    pub actions: Box<[ActionSlot]>,
    /// Rules whose metric it feeds.
    pub rules: Box<[RuleSlot]>,
    /// Goals that it converts.
    pub goals: Box<[GoalSlot]>,
}

/// A computed trait.
pub struct TraitPlan {
    /// Its slot.
    pub slot: TraitSlot,
    /// Its id.
    pub id: DefId,
    /// Its key.
    pub key: String,
    /// For people.
    pub name: String,
    /// How it is computed.
    pub def: TraitDef,
    /// Audiences whose membership reads its current value.
    pub audiences: Box<[AudienceSlot]>,
    /// Active actions that target by it or show it.
    pub actions: Box<[ActionSlot]>,
    /// Rules whose metric it is.
    pub rules: Box<[RuleSlot]>,
    /// Differs from another plan's where the state has to be built anew.
    pub fingerprint: u64,
}

/// An audience.
pub struct AudiencePlan {
    /// Its slot.
    pub slot: AudienceSlot,
    /// Its id.
    pub id: DefId,
    /// Its key: given, or made from its first name.
    pub key: String,
    /// For people.
    pub name: String,
    /// Who belongs.
    pub def: AudienceDef,
    /// Active actions that list it.
    pub actions: Box<[ActionSlot]>,
    /// Audiences that read its membership.
    pub audiences: Box<[AudienceSlot]>,
    /// Differs from another plan's where the state has to be built anew.
    pub fingerprint: u64,
}

/// An action.
pub struct ActionPlan {
    /// Its slot; actions created earlier have smaller ones.
    pub slot: ActionSlot,
    /// Its id.
    pub id: DefId,
    /// For people.
    pub name: String,
    /// Grows with every change of the definition.
    pub revision: u32,
    /// Whom it is for and what it says.
    pub def: ActionDef,
    /// Differs from another plan's where deliveries have to be evaluated anew.
    pub fingerprint: u64,
}

/// A rule.
pub struct RulePlan {
    /// Its slot.
    pub slot: RuleSlot,
    /// Its id.
    pub id: DefId,
    /// Its key.
    pub key: String,
    /// For people.
    pub name: String,
    /// When it fires, and what follows.
    pub def: RuleDef,
    /// Differs from another plan's where the state has to be built anew.
    pub fingerprint: u64,
}

/// A goal.
pub struct GoalPlan {
    /// Its slot.
    pub slot: GoalSlot,
    /// Its id.
    pub id: DefId,
    /// Its key.
    pub key: String,
    /// For people.
    pub name: String,
    /// What converts, and how it is credited.
    pub def: GoalDef,
    /// Experiments whose success it is.
    pub experiments: Box<[ExperimentSlot]>,
    /// Differs from another plan's where the state has to be built anew.
    pub fingerprint: u64,
}

/// A frequency budget.
pub struct BudgetPlan {
    /// Its slot.
    pub slot: BudgetSlot,
    /// Its id.
    pub id: DefId,
    /// Its key.
    pub key: String,
    /// For people.
    pub name: String,
    /// What it allows.
    pub def: BudgetDef,
    /// Actions that it governs, but for inactive ones.
    pub actions: Box<[ActionSlot]>,
    /// Differs from another plan's where the state has to be built anew.
    pub fingerprint: u64,
}

/// An experiment.
pub struct ExperimentPlan {
    /// Its slot.
    pub slot: ExperimentSlot,
    /// Its id.
    pub id: DefId,
    /// Its key.
    pub key: String,
    /// For people.
    pub name: String,
    /// Who sees what.
    pub def: ExperimentDef,
    /// Differs from another plan's where the state has to be built anew.
    pub fingerprint: u64,
}

/// A channel.
pub struct ChannelPlan {
    /// Its slot.
    pub slot: ChannelSlot,
    /// Its id.
    pub id: DefId,
    /// Its key.
    pub key: String,
    /// For people.
    pub name: String,
    /// Validates contexts, if one is defined.
    pub context: Option<Schema>,
    /// The structure version of the context; 0 where none is defined.
    pub context_version: u32,
    /// Actions that may be sent here, inactive ones included: theirs is the first clause to fail.
    pub actions: Box<[ActionSlot]>,
    /// Active actions with conditions on this channel's context.
    pub context_actions: Box<[ActionSlot]>,
}

/// Who must look when a custom trait changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomTouch {
    /// Audiences whose membership reads it.
    pub audiences: Box<[AudienceSlot]>,
    /// Active actions that target by it or show it.
    pub actions: Box<[ActionSlot]>,
}

/// What the bearer of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenGrant {
    /// Names the token without giving it away.
    pub id: DefId,
    /// Where its records come from; none for admin tokens.
    pub channel: Option<ChannelSlot>,
    /// What it may do.
    pub kind: TokenKind,
    /// May bring history that is older than the allowed lateness.
    pub import: bool,
}

macro_rules! by_slot {
    ($($(#[$doc:meta])* $name:ident: $list:ident, $slot:ident -> $plan:ident;)*) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(&self, slot: $slot) -> Option<&$plan> {
                self.$list.get(slot.index())?.as_ref()
            }
        )*
    };
}

impl Plan {
    /// Compiles a catalog.
    ///
    /// # Errors
    /// Only for a catalog that this build did not accept itself (one stored by another version):
    /// every definition that does not compile, with `/<section>/<id>` as the start of its pointers.
    pub fn compile(catalog: Arc<Catalog>) -> Result<Self, Vec<Issue>> {
        index::plan(catalog)
    }

    by_slot! {
        /// An event in force.
        event_plan: events, EventSlot -> EventPlan;
        /// A trait in force.
        trait_plan: traits, TraitSlot -> TraitPlan;
        /// An audience in force.
        audience_plan: audiences, AudienceSlot -> AudiencePlan;
        /// An action in force.
        action_plan: actions, ActionSlot -> ActionPlan;
        /// A channel in force.
        channel_plan: channels, ChannelSlot -> ChannelPlan;
        /// A rule in force.
        rule_plan: rules, RuleSlot -> RulePlan;
        /// A goal in force.
        goal_plan: goals, GoalSlot -> GoalPlan;
        /// A budget in force.
        budget_plan: budgets, BudgetSlot -> BudgetPlan;
        /// An experiment in force.
        experiment_plan: experiments, ExperimentSlot -> ExperimentPlan;
    }

    /// The event tracked by this name.
    #[must_use]
    pub fn event_by_name(&self, name: &str) -> Option<&EventPlan> {
        self.event_plan(*self.event_names.get(name)?)
    }

    /// The channel of this key.
    #[must_use]
    pub fn channel_by_key(&self, key: &str) -> Option<&ChannelPlan> {
        self.channel_plan(*self.channel_keys.get(key)?)
    }

    /// The computed trait of this key.
    #[must_use]
    pub fn trait_by_key(&self, key: &str) -> Option<&TraitPlan> {
        self.trait_plan(*self.trait_keys.get(key)?)
    }

    /// The audience of this key.
    #[must_use]
    pub fn audience_by_key(&self, key: &str) -> Option<&AudiencePlan> {
        self.audience_plan(*self.audience_keys.get(key)?)
    }

    /// The rule of this key.
    #[must_use]
    pub fn rule_by_key(&self, key: &str) -> Option<&RulePlan> {
        self.rule_plan(*self.rule_keys.get(key)?)
    }

    /// The goal of this key.
    #[must_use]
    pub fn goal_by_key(&self, key: &str) -> Option<&GoalPlan> {
        self.goal_plan(*self.goal_keys.get(key)?)
    }

    /// The experiment of this key.
    #[must_use]
    pub fn experiment_by_key(&self, key: &str) -> Option<&ExperimentPlan> {
        self.experiment_plan(*self.experiment_keys.get(key)?)
    }

    /// The action of this id.
    #[must_use]
    pub fn action_by_id(&self, id: DefId) -> Option<&ActionPlan> {
        self.action_plan(*self.action_ids.get(&id)?)
    }

    /// What the bearer of this token may do. One SHA-256 and one lookup: the time says nothing about
    /// how much of a token is right.
    #[must_use]
    pub fn token(&self, token: &str) -> Option<TokenGrant> {
        self.tokens.get(&token_hash(token)).copied()
    }

    /// The schema of a channel's context; `None` where none is defined and everything is accepted
    /// ([`Plan::open_schema`]).
    #[must_use]
    pub fn context_schema(&self, channel: ChannelSlot) -> Option<&Schema> {
        self.channel_plan(channel)?.context.as_ref()
    }

    /// The schema of the custom traits, if one is defined.
    #[must_use]
    pub fn custom_schema(&self) -> Option<&Schema> {
        self.custom.as_ref()
    }

    /// The structure version of the custom traits; 0 where none is defined.
    #[must_use]
    pub fn custom_version(&self) -> u32 {
        self.custom_version
    }

    /// The schema that accepts any object and keeps it whole, for what nobody has defined.
    #[must_use]
    pub fn open_schema(&self) -> &Schema {
        &self.open
    }

    /// Who must look when the custom trait at `path` changes.
    #[must_use]
    pub fn custom_touch(&self, path: PathId) -> &CustomTouch {
        self.custom_touch.get(&path).unwrap_or(&self.untouched)
    }

    /// Active actions that must look when the context of a connection on `channel` changes.
    #[must_use]
    pub fn context_touch(&self, channel: ChannelSlot) -> &[ActionSlot] {
        self.channel_plan(channel).map_or(&[], |channel| &channel.context_actions)
    }

    /// Audiences that a profile may belong to before anything has happened to it.
    #[must_use]
    pub fn always_audiences(&self) -> &[AudienceSlot] {
        &self.always
    }

    /// Rules that a profile may meet before anything has happened to it.
    #[must_use]
    pub fn always_rules(&self) -> &[RuleSlot] {
        &self.always_rules
    }

    /// Computed traits that change as time passes and that events are compared with.
    #[must_use]
    pub fn compared_traits(&self) -> &[TraitSlot] {
        &self.compared
    }

    /// Whether this rule was removed together with the attributes that it set.
    #[must_use]
    pub fn purges(&self, rule: RuleSlot) -> bool {
        self.purged_rules.binary_search(&rule).is_ok()
    }

    /// All audiences in force.
    pub fn audience_slots(&self) -> impl Iterator<Item = AudienceSlot> + '_ {
        self.audiences.iter().flatten().map(|audience| audience.slot)
    }

    /// All actions that may be sent to a channel, in the order in which they were created.
    #[must_use]
    pub fn actions_of_channel(&self, channel: ChannelSlot) -> &[ActionSlot] {
        self.channel_plan(channel).map_or(&[], |channel| &channel.actions)
    }

    /// The budgets that govern an action, also one that was removed.
    #[must_use]
    pub fn budgets_of(&self, action: ActionSlot) -> &[BudgetSlot] {
        self.governing.get(action.index()).map_or(&[], |budgets| budgets)
    }

    /// Active actions whose time range begins or ends by itself.
    #[must_use]
    pub fn timed_actions(&self) -> &[ActionSlot] {
        &self.timed
    }
}
