//! `Idempotency-Key`: a POST that comes again has one effect and gets the first answer again.
//!
//! First answers are kept in memory: for 24 hours, at most [`KEYS_MAX`] of them and [`BYTES_MAX`] bytes, the
//! oldest going first, and not over a restart. Only successes are kept: a refused request changed nothing
//! and may be mended under its key.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::reply::Reply;
use crate::net::Shared;
use crate::net::problem::Problem;

/// First answers that are kept.
const KEYS_MAX: usize = 1_000;
/// Bytes of all first answers.
const BYTES_MAX: usize = 8 << 20;
/// How long a first answer is given again.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// Characters of a key.
const KEY_MAX: usize = 255;

/// First answers by key.
#[derive(Default)]
pub(in crate::net) struct Replays(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    known: HashMap<String, Known>,
    /// Keys of answers, oldest first.
    order: VecDeque<(Instant, String)>,
    bytes: usize,
}

struct Known {
    request: [u8; 32],
    /// `None` while the first is at work.
    answer: Option<Reply>,
}

/// What a request with a key is.
#[derive(Debug, PartialEq)]
enum Turn {
    First,
    Again(Reply),
    /// The first one is not answered yet.
    Running,
    /// The key came with another request.
    Reused,
}

impl Replays {
    fn begin(&self, key: &str, request: [u8; 32], now: Instant) -> Turn {
        let inner = &mut *self.0.lock();
        inner.expire(now);
        match inner.known.get(key) {
            Some(known) if known.request != request => Turn::Reused,
            Some(Known { answer: Some(answer), .. }) => Turn::Again(answer.clone()),
            Some(_) => Turn::Running,
            None => {
                inner.known.insert(key.to_owned(), Known { request, answer: None });
                Turn::First
            }
        }
    }

    fn end(&self, key: &str, answer: Option<&Reply>, now: Instant) {
        let inner = &mut *self.0.lock();
        match (answer, inner.known.get_mut(key)) {
            (Some(answer), Some(known)) => {
                inner.bytes += answer.bytes() + key.len();
                known.answer = Some(answer.clone());
                inner.order.push_back((now, key.to_owned()));
            }
            _ => drop(inner.known.remove(key)),
        }
        inner.expire(now);
    }
}

impl Inner {
    fn expire(&mut self, now: Instant) {
        while let Some((at, _)) = self.order.front() {
            if now.duration_since(*at) < KEPT && self.order.len() <= KEYS_MAX && self.bytes <= BYTES_MAX {
                return;
            }
            let Some((_, key)) = self.order.pop_front() else { return };
            if let Some(Known { answer: Some(answer), .. }) = self.known.remove(&key) {
                self.bytes = self.bytes.saturating_sub(answer.bytes() + key.len());
            }
        }
    }
}

/// Does `work` once for all requests that bring the same `Idempotency-Key` to `path`; every time for one
/// without.
///
/// # Errors
/// What `work` says; 422 `idempotency_key_reused` for another body; 409 `idempotency_key_busy` while the
/// first request is at work; 400 `invalid_header` for a key that is none.
pub(super) async fn once(
    shared: Arc<Shared>,
    headers: &HeaderMap,
    path: &str,
    body: &str,
    work: impl Future<Output = Result<Reply, Problem>> + Send + 'static,
) -> Result<Reply, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return work.await };
    let key = key.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > KEY_MAX {
        let detail = format!("Idempotency-Key must have 1 to {KEY_MAX} visible characters");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_header", detail));
    }
    let key = format!("{path} {key}");
    match shared.replays.begin(&key, Sha256::digest(body.as_bytes()).into(), Instant::now()) {
        Turn::Again(answer) => return Ok(answer),
        Turn::Reused => {
            let detail = "this Idempotency-Key came with another body before";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail));
        }
        Turn::Running => {
            let detail = "the first request with this Idempotency-Key is still at work";
            return Err(Problem::new(StatusCode::CONFLICT, "idempotency_key_busy", detail));
        }
        Turn::First => {}
    }
    // On a task of its own: a client that goes away does not take the answer with it.
    tokio::spawn(async move {
        let answer = tokio::spawn(work).await.unwrap_or_else(|_| Err(Problem::internal()));
        shared.replays.end(&key, answer.as_ref().ok(), Instant::now());
        answer
    })
    .await
    .unwrap_or_else(|_| Err(Problem::internal()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(text: &str) -> Reply {
        Reply::json(&json!(text))
    }

    #[test]
    fn p9_the_first_answer_is_given_again() {
        let (replays, now) = (Replays::default(), Instant::now());
        assert_eq!(replays.begin("k", [1; 32], now), Turn::First);
        assert_eq!(replays.begin("k", [1; 32], now), Turn::Running);
        assert_eq!(replays.begin("k", [2; 32], now), Turn::Reused);
        replays.end("k", Some(&answer("one")), now);
        assert_eq!(replays.begin("k", [1; 32], now), Turn::Again(answer("one")));
        assert_eq!(replays.begin("k", [2; 32], now), Turn::Reused);
        assert_eq!(replays.begin("k", [2; 32], now + KEPT), Turn::First);
    }

    #[test]
    fn what_was_refused_may_be_mended() {
        let (replays, now) = (Replays::default(), Instant::now());
        assert_eq!(replays.begin("k", [1; 32], now), Turn::First);
        replays.end("k", None, now);
        assert_eq!(replays.begin("k", [2; 32], now), Turn::First);
    }

    #[test]
    fn memory_is_bounded() {
        let (replays, now) = (Replays::default(), Instant::now());
        for i in 0..3 * KEYS_MAX {
            let key = i.to_string();
            assert_eq!(replays.begin(&key, [0; 32], now), Turn::First);
            replays.end(&key, Some(&answer(&key)), now);
        }
        assert_eq!(replays.0.lock().known.len(), KEYS_MAX);
        let big = answer(&"x".repeat(BYTES_MAX / 3));
        for key in ["a", "b", "c"] {
            replays.begin(key, [0; 32], now);
            replays.end(key, Some(&big), now);
        }
        let inner = replays.0.lock();
        assert!(inner.bytes <= BYTES_MAX && inner.known.len() == 2, "{} {}", inner.bytes, inner.known.len());
        assert!(inner.known.values().all(|known| known.answer.is_some()));
    }
}
