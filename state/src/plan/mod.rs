//! Definitions: the document that people write, the catalog that lasts, and the plan that runs.
//!
//! ```text
//! JSON document ──parse──▶ CatalogDocument ──apply──▶ Catalog (stored) ──compile──▶ Plan (in memory)
//!                                            ▲    │
//!                                            └────┘ to_document, remove
//! ```
//!
//! # Invariants
//! - C-1: a document is applied whole or not at all; a bad one reports all its problems.
//! - C-2: applying a document twice changes nothing: same version, empty [`Diff`].
//! - C-3: ids, slots and path numbers never change their meaning and are never used again.
//! - C-4: what a catalog accepts compiles; a plan is built in one go and never changed.
//! - C-5: a reference is stored by what cannot be renamed, so a rename breaks nothing. Trait keys are
//!   the exception, because conditions name traits by key: renaming a key that is in use is refused.
//! - C-6: token values are never stored.

mod apply;
mod attributes;
mod catalog;
mod circle;
mod compile;
mod diff;
mod document;
mod export;
mod folded;
mod governing;
mod index;
mod lookup;
mod names;
#[expect(clippy::module_inception, reason = "the plan is what this module is about")]
mod plan;
mod read;
mod read_keyed;
mod refs;
mod remove;
mod resolve;
mod shape;
mod structure;
mod token;
mod trials;

pub use apply::DEFINITIONS_MAX;
pub use catalog::{Catalog, Definition, Kind, LoadError, Organization, Token, TokenKind, token_hash};
pub use diff::{Change, Diff, What};
pub use document::CatalogDocument;
pub use folded::{Folded, Refold};
pub use plan::{
    ActionPlan, AudiencePlan, BudgetPlan, ChannelPlan, CustomTouch, EventPlan, ExperimentPlan, GoalPlan, Plan, RulePlan,
    TokenGrant, TraitPlan,
};
pub use remove::Dependent;

#[cfg(test)]
mod tests;
