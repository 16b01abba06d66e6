//! Load on a server's sockets: connections, a schedule, and what was waited for.

use super::Server;
use hdrhistogram::Histogram;
use lodestone::client::connection::Connection;
use lodestone::client::frame::{self, Frame, Hello, PushedAction};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a load runs before it is measured.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);

/// A socket of one person.
pub(crate) async fn connect(server: &Server, token: &str, user: &str) -> Connection {
    let hello = Hello { token: token.into(), anonymous_id: Some(user.into()), compact_ack: true, ..Hello::default() };
    Connection::open(&server.url(), &hello).await.expect("the server lets us in")
}

/// A socket of one person who is shown actions, and what is due at once.
pub(crate) async fn subscribe(server: &Server, token: &str, user: &str) -> (Connection, Vec<PushedAction>) {
    let mut connection = connect(server, token, user).await;
    connection.spend(1, frame::subscribe("s", None)).await.expect("the server reads");
    loop {
        if let Frame::Subscribed { actions, .. } = connection.next().await.expect("the server answers") {
            return (connection, actions);
        }
    }
}

/// Items that a frame acknowledges. A refused item would falsify the result.
pub(crate) fn acknowledged(frame: &Frame) -> u64 {
    match frame {
        Frame::Ack(ack) => {
            let stored = ack.results.iter().filter(|result| result.status == "stored").count();
            assert_eq!(stored, ack.results.len(), "{ack:?}");
            ack.stored + stored as u64
        }
        Frame::Error { code, message, .. } => panic!("{code}: {message}"),
        _ => 0,
    }
}

/// Counts per second between the end of the warm-up and the end of `time`.
pub(crate) async fn rate(counter: &AtomicU64, time: Duration) -> f64 {
    tokio::time::sleep(WARM_UP).await;
    let (started, before) = (Instant::now(), counter.load(Relaxed));
    tokio::time::sleep(time).await;
    (counter.load(Relaxed) - before) as f64 / started.elapsed().as_secs_f64()
}

/// Tells the connections in turn when their next frame is due, from a thread of its own: the runtime's
/// timers tick in milliseconds, which would be most of what is measured.
pub(crate) fn pace(clocks: Vec<mpsc::UnboundedSender<Instant>>, frames_per_second: f64, time: Duration) {
    std::thread::spawn(move || {
        let started = Instant::now();
        let gap = Duration::from_secs_f64(1.0 / frames_per_second.max(1.0));
        for number in 0..u32::MAX {
            let due = gap * number;
            if due > time {
                break;
            }
            if let Some(wait) = due.checked_sub(started.elapsed()) {
                std::thread::sleep(wait);
            }
            let _ = clocks[number as usize % clocks.len()].send(started + due);
        }
    });
}

/// Everything that the tasks waited.
pub(crate) async fn collect(mut tasks: JoinSet<Histogram<u64>>) -> Histogram<u64> {
    let mut all = super::histogram();
    while let Some(one) = tasks.join_next().await {
        all.add(one.expect("a connection does not panic")).expect("all have the same bounds");
    }
    all
}
