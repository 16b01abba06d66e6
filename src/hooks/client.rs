//! Calls a webhook: one signed POST, one answer, both bounded.

use super::guard::{Allowed, Refused, Resolver};
use super::sign::{self, Key};
use bytes::BytesMut;
use httpdate::parse_http_date;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER, USER_AGENT};
use reqwest::redirect::Policy;
use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Bytes of an answer's body that are read; the rest is not wanted.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The longest pause that a server may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);
/// Time to find the host and get a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that nobody has used for so long is closed.
const IDLE: Duration = Duration::from_secs(30);
/// As many as there may be calls of acts: a connection that was made for one is there for the next.
const IDLE_PER_HOST: usize = 64;
const AGENT: &str = concat!("Lodestone/", env!("CARGO_PKG_VERSION"));

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Where to.
    pub url: &'a str,
    /// The body, signed as it stands.
    pub body: &'a str,
    /// Stays the same over all tries, so that a receiver knows a repeat.
    pub id: &'a str,
    /// The client's id of the act, or what stands for it; absent for what no act caused.
    pub act_id: Option<&'a str>,
    /// A reaction of a test user, or a try from the admin API.
    pub test: bool,
    /// The keys to sign with, the one in force first.
    pub keys: &'a [Key],
    /// For all of it: the name, the connection, the answer.
    pub timeout: Duration,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status, or why there is none.
    pub outcome: Result<u16, Fault>,
    /// The answer's body, cut after [`ANSWER_BYTES_MAX`]; what is not UTF-8 is replaced.
    pub body: String,
    /// When the server wants to be asked again.
    pub retry_after: Option<Duration>,
    /// How long it took.
    pub took: Duration,
}

/// Why there is no status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The address may not be called.
    #[error("the target is not on the public internet and not in hooks.allow")]
    Refused,
    /// The name leads nowhere.
    #[error("the host cannot be resolved")]
    Resolve,
    /// Nobody listens there, or not in time.
    #[error("the host cannot be reached")]
    Connect,
    /// The certificate is not one to trust, or there is no common ground.
    #[error("no secure connection")]
    Tls,
    /// It took too long.
    #[error("no answer in time")]
    Timeout,
    /// The connection ended, or what came is not HTTP.
    #[error("the connection broke off")]
    Broken,
    /// As many calls are under way as there may be.
    #[error("too many calls are under way")]
    Busy,
    /// There is no key to sign with.
    #[error("the organisation has no signing key")]
    Unsigned,
}

impl Fault {
    /// Every fault, for the metrics.
    pub const ALL: [Self; 8] =
        [Self::Refused, Self::Resolve, Self::Connect, Self::Tls, Self::Timeout, Self::Broken, Self::Busy, Self::Unsigned];

    /// The word in metrics and the API.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Broken => "broken",
            Self::Busy => "busy",
            Self::Unsigned => "unsigned",
        }
    }
}

impl Reply {
    /// No answer.
    #[must_use]
    pub fn fault(fault: Fault, took: Duration) -> Self {
        Self { outcome: Err(fault), body: String::new(), retry_after: None, took }
    }

    /// Whether the server took it.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.outcome.is_ok_and(|status| (200..300).contains(&status))
    }
}

/// The HTTP client of all webhooks. Follows no redirect and no proxy, connects only where
/// [`Allowed`] lets it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    allowed: Arc<Allowed>,
}

impl Client {
    /// A client. Without certificates on this machine it calls `http` only, and says so once.
    ///
    /// # Panics
    /// Not for anything that a configuration can say.
    #[must_use]
    pub fn new(allowed: Arc<Allowed>) -> Self {
        // Somebody in this process may have done it before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            reqwest::Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .referer(false)
                .connect_timeout(CONNECT_TIMEOUT)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .dns_resolver(Arc::new(Resolver(allowed.clone())))
        };
        let http = builder().build().unwrap_or_else(|error| {
            tracing::warn!(%error, "no trusted certificates were found: webhooks to https will fail");
            builder().tls_certs_only(std::iter::empty()).build().expect("a client that trusts nobody can be made")
        });
        Self { http, allowed }
    }

    /// Sends one request and reads the answer.
    pub async fn call(&self, call: &Call<'_>) -> Reply {
        let began = Instant::now();
        let attempt = tokio::time::timeout(call.timeout, self.attempt(call));
        let reply = match attempt.await {
            Ok(Ok((status, body, retry_after))) => Reply { outcome: Ok(status), body, retry_after, took: began.elapsed() },
            Ok(Err(fault)) => Reply::fault(fault, began.elapsed()),
            Err(_) => Reply::fault(Fault::Timeout, began.elapsed()),
        };
        tracing::debug!(outcome = ?reply.outcome, ms = reply.took.as_millis(), "webhook");
        reply
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<(u16, String, Option<Duration>), Fault> {
        if call.keys.is_empty() {
            return Err(Fault::Unsigned);
        }
        let url = url::Url::parse(call.url).map_err(|_| Fault::Broken)?;
        self.allowed.check_literal(&url).map_err(|_| Fault::Refused)?;
        let unix_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let signed = sign::sign(call.keys, call.id, i64::try_from(unix_s).unwrap_or(i64::MAX), call.body);
        let mut request = self
            .http
            .post(url)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .header("X-Attractify-Signature", signed.attractify)
            .header("X-Lodestone-Signature", signed.lodestone)
            .header("webhook-id", call.id)
            .header("webhook-timestamp", unix_s)
            .header("webhook-signature", signed.standard);
        if let Some(act_id) = call.act_id {
            request = request.header("X-Lodestone-Act-Id", act_id);
        }
        if call.test {
            request = request.header("X-Lodestone-Test", "1");
        }
        let mut answer = request.body(call.body.to_owned()).send().await.map_err(|error| fault_of(&error))?;
        let status = answer.status().as_u16();
        let retry_after = retry_after(answer.headers(), SystemTime::now());
        let mut body = BytesMut::new();
        while body.len() < ANSWER_BYTES_MAX {
            let Some(chunk) = answer.chunk().await.map_err(|error| fault_of(&error))? else { break };
            let room = ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok((status, text(&body), retry_after))
    }
}

/// The body as text. A character that the cut went through is left out.
fn text(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(&body[..error.valid_up_to()]).into_owned(),
        _ => String::from_utf8_lossy(body).into_owned(),
    }
}

/// When the server wants to be asked again: in seconds or at a date, at most an hour from now.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(pause.min(RETRY_AFTER_MAX))
}

fn fault_of(error: &reqwest::Error) -> Fault {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<Refused>() {
            return Fault::Refused;
        }
        if error.is::<super::guard::Unresolved>() {
            return Fault::Resolve;
        }
        if error.is::<rustls::Error>() {
            return Fault::Tls;
        }
        // The cause of an IO error is its own inner error's; the inner error itself is beside it.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    if error.is_timeout() {
        Fault::Timeout
    } else if error.is_connect() {
        Fault::Connect
    } else {
        Fault::Broken
    }
}

#[cfg(test)]
mod tests;
