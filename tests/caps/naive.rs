//! How not to do it: the count is read, and if it is small enough, one is added. Between the two is what a
//! round trip to a database takes.

use crate::driver::Limits;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

const ROUND_TRIP: Duration = Duration::from_millis(1);

struct Table {
    rows: Vec<AtomicUsize>,
    counts: Vec<usize>,
}

impl Table {
    async fn accept(&self, limit: usize) -> bool {
        let count = self.rows[limit].load(SeqCst);
        tokio::time::sleep(ROUND_TRIP).await;
        let free = count < self.counts[limit];
        if free {
            self.rows[limit].fetch_add(1, SeqCst);
        }
        free
    }
}

/// Starts it; gives its URL.
pub(crate) async fn serve(limits: &Limits) -> String {
    let counts: Vec<usize> = (0..limits.len()).map(|limit| limits.count(limit)).collect();
    let table = Arc::new(Table { rows: counts.iter().map(|_| AtomicUsize::new(0)).collect(), counts });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, table.clone()));
        }
    });
    format!("ws://{address}")
}

async fn talk(stream: TcpStream, table: Arc<Table>) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        let frame: Value = serde_json::from_str(&text).expect("the driver sends JSON");
        let answer = match frame["t"].as_str() {
            Some("hello") => json!({"t": "welcome"}),
            Some("batch") => {
                let mut results = Vec::new();
                for act in frame["messages"].as_array().expect("messages") {
                    let granted = table.accept(limit_of(act)).await;
                    results.push(if granted {
                        json!({"id": act["id"], "status": "stored"})
                    } else {
                        json!({"id": act["id"], "status": "rejected", "code": "action_cap_reached"})
                    });
                }
                json!({"t": "ack", "results": results})
            }
            _ if table.accept(limit_of(&frame)).await => json!({"t": "acted", "id": frame["id"]}),
            _ => json!({"t": "error", "id": frame["id"], "code": "action_cap_reached"}),
        };
        if socket.send(Message::text(answer.to_string())).await.is_err() {
            return;
        }
    }
}

/// The last part of an action's id is the number of its limit.
fn limit_of(act: &Value) -> usize {
    let id = act["actionId"].as_str().expect("an action");
    usize::from_str_radix(id.rsplit('-').next().expect("a part"), 16).expect("a number")
}
