//! I17: what an explanation proposes really flips the answer, nothing of it can be left out, and no single
//! event or trait flips the answer by flipping fewer clauses.

mod audiences;
mod world;
