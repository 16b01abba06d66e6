//! What a webhook answered, as the client of an act gets it.

use super::client::Reply;
use serde::{Deserialize, Serialize};

/// What a webhook answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The HTTP status; -1 where there was none.
    pub status_code: i32,
    /// Its body, cut after [`super::ANSWER_BYTES_MAX`].
    pub body: String,
    /// The signature of what was sent, for servers. A browser has no use for it but to forge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// Why there was no status; empty where there was one.
    pub error: String,
}

impl Answer {
    /// The answer that a reply stands for.
    #[must_use]
    pub fn of(reply: Reply, signature: Option<String>) -> Self {
        match reply.outcome {
            Ok(status) => Self { status_code: status.into(), body: reply.body, signature, error: String::new() },
            Err(fault) => Self { status_code: -1, body: String::new(), signature, error: fault.to_string() },
        }
    }

    /// Whether the receiver agreed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status_code)
    }

    /// The status of the answer to the act that it refuses.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        u16::try_from(self.status_code).ok().filter(|status| (300..600).contains(status)).unwrap_or(502)
    }

    /// The answer without its signature.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.signature = None;
        self
    }

    /// As JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text and numbers serialise")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Fault;
    use std::time::Duration;

    #[test]
    fn an_answer_as_clients_read_it() {
        let reply = Reply { outcome: Ok(200), body: "{\"code\":\"X1\"}".into(), retry_after: None, took: Duration::ZERO };
        let answer = Answer::of(reply, Some("ab".into()));
        let text = answer.to_json();
        assert_eq!(text, r#"{"statusCode":200,"body":"{\"code\":\"X1\"}","signature":"ab","error":""}"#);
        assert_eq!(serde_json::from_str::<Answer>(&text).expect("reads back"), answer);
        assert!(answer.is_success());
        assert_eq!(answer.unsigned().to_json(), r#"{"statusCode":200,"body":"{\"code\":\"X1\"}","error":""}"#);
        let none = Answer::of(Reply::fault(Fault::Timeout, Duration::ZERO), None);
        assert_eq!((none.status_code, none.http_status(), none.is_success()), (-1, 502, false));
        assert_eq!(none.error, "no answer in time");
    }

    #[test]
    fn a_status_that_means_nothing_to_a_client_reads_as_a_bad_gateway() {
        let of =
            |status| Answer { status_code: status, body: String::new(), signature: None, error: String::new() }.http_status();
        assert_eq!([of(409), of(500), of(302), of(101), of(999), of(-1)], [409, 500, 302, 502, 502, 502]);
    }
}
