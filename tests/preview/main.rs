//! Definitions that nobody has saved, over a running server: previews equal what saving then gives, dry runs what
//! would have been had they been saved from the start, and neither changes anything.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/dice.rs"]
mod dice;
#[path = "../common/site.rs"]
mod site;

mod audience;
mod computed;
mod dry_run;
mod town;
