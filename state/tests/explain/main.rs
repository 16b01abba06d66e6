//! I17: what an explanation proposes really flips the answer, nothing of it can be left out, and where it
//! proposes nothing, or more than one change, no single change does.

mod audiences;
mod world;
