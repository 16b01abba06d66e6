//! `lodestone replay`: streams a recorded file through the socket protocol and measures it.
//!
//! One thread reads and maps the rows; each connection is a task with a bounded queue. All rows of
//! one user go to one connection, in the order of the file, so the server sees them in that order.

use super::Error;
use super::connection::Connection;
use super::frame::{self, Ack, Frame, Hello};
use super::map::{MapFile, Mapped, Mapper};
use super::report::{Report, Skipped, Tally};
use super::rows::Rows;
use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Rows that wait in front of one connection.
const QUEUE_ROWS: usize = 1024;
/// An acknowledgement that takes longer than this never comes.
const ACK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long listeners wait for a push after the last row was acknowledged.
const LINGER: Duration = Duration::from_millis(500);

/// Streams a recorded file (CSV or NDJSON, gzip too) into a server through the socket protocol.
///
/// Each row becomes one event with a message id made from its number and content, so running the
/// same file again changes nothing. Recorded times older than the server's lateness limit need a
/// token with `"import": true`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// The file to stream.
    pub file: PathBuf,
    /// Mapping file (TOML or JSON) that says which column is what.
    #[arg(long, value_name = "MAP")]
    pub map: PathBuf,
    /// Server, such as ws://127.0.0.1:8080.
    #[arg(long, value_name = "URL", default_value = "ws://127.0.0.1:8080")]
    pub url: String,
    /// Secret channel token, needed to send events of many people.
    #[arg(long, env = "LODESTONE_TOKEN", hide_env_values = true)]
    pub token: String,
    /// `max`, or how many times faster than recorded (60 plays an hour in a minute; sorts by time).
    #[arg(long, value_name = "N|max", default_value = "max")]
    pub speed: Speed,
    /// Sockets to send over.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub connections: u32,
    /// Events per frame; the server allows 100.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub batch: u32,
    /// `keep` the recorded times, or send none so that every event happens `now`.
    #[arg(long, value_name = "keep|now", default_value = "keep")]
    pub times: Times,
    /// Opens a socket for each of the first N users and counts the actions pushed to them.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub listeners: u32,
    /// Prints the report as one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// How fast to play.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// As fast as credits allow.
    Max,
    /// This many times faster than recorded.
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse::<f64>()) {
            ("max", _) => Ok(Self::Max),
            (_, Ok(factor)) if factor.is_finite() && factor > 0.0 => Ok(Self::Times(factor)),
            _ => Err("expected `max` or a number above 0".into()),
        }
    }
}

/// Which times the events carry.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum Times {
    /// Those of the file.
    Keep,
    /// None: the server stamps them on arrival.
    Now,
}

/// Live counters for the progress bar.
#[derive(Default)]
struct Counters {
    rows: AtomicU64,
    answered: AtomicU64,
    actions: AtomicU64,
}

/// Runs the command and prints its report.
///
/// # Errors
/// [`Error`] if a file is wrong, the server cannot be reached or refuses the token, or an
/// acknowledgement does not come. Refused events are no error; they are in the report.
pub async fn run(args: ReplayArgs) -> Result<(), Error> {
    let json = args.json;
    let report = replay(args).await?;
    #[expect(clippy::print_stdout, reason = "the report is the output of the command")]
    if json {
        println!("{}", serde_json::to_string(&report).expect("a report is numbers and texts"));
    } else {
        println!("{report}");
    }
    Ok(())
}

/// Streams the file.
///
/// # Errors
/// As [`run`].
pub async fn replay(args: ReplayArgs) -> Result<Report, Error> {
    let (rows, mapper) = open(&args)?;
    let counters = Arc::new(Counters::default());
    let progress = spawn_progress(&rows, Arc::clone(&counters));
    let (listen, heard) = mpsc::unbounded_channel();
    let listeners = tokio::spawn(listen_all(args.clone(), heard, Arc::clone(&counters)));

    let mut queues = Vec::new();
    let mut workers = Vec::new();
    for number in 0..args.connections {
        let hello = Hello {
            token: args.token.clone(),
            anonymous_id: Some(format!("replay-{number}")),
            compact_ack: true,
            ..Hello::default()
        };
        let connection = Connection::open(&args.url, &hello).await?;
        let (queue, items) = mpsc::channel(QUEUE_ROWS);
        queues.push(queue);
        let worker = Worker::new(connection, args.batch as usize, args.speed == Speed::Max, Arc::clone(&counters));
        workers.push(tokio::spawn(worker.run(items)));
    }

    let started = Instant::now();
    let reader = Reader { rows, mapper, queues, listen, args, counters: Arc::clone(&counters), skipped: Skipped::default() };
    let reader = tokio::task::spawn_blocking(move || reader.run());
    let mut tally = Tally::default();
    let mut failed = None;
    for worker in workers {
        match worker.await.expect("a worker does not panic") {
            Ok(one) => tally.merge(&one),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let time = started.elapsed();
    let skipped = reader.await.expect("the reader does not panic");
    progress.cancel();
    listeners.await.expect("a listener does not panic");
    if let Some(error) = failed {
        return Err(error);
    }
    Ok(Report::new(counters.rows.load(Relaxed), tally, skipped?, time, counters.actions.load(Relaxed)))
}

fn open(args: &ReplayArgs) -> Result<(Rows, Mapper), Error> {
    let path = args.map.display().to_string();
    let text = std::fs::read_to_string(&args.map).map_err(|source| Error::File { path: path.clone(), source })?;
    let content = |problems| Error::Content { path: path.clone(), problems };
    let map = MapFile::parse(&text).map_err(content)?;
    let rows = Rows::open(&args.file, map.delimiter())?;
    let mapper = Mapper::bind(map, &rows).map_err(content)?;
    Ok((rows, mapper))
}

/// The thread that reads the file.
struct Reader {
    rows: Rows,
    mapper: Mapper,
    queues: Vec<mpsc::Sender<String>>,
    listen: mpsc::UnboundedSender<String>,
    args: ReplayArgs,
    counters: Arc<Counters>,
    skipped: Skipped,
}

impl Reader {
    /// Hands every row to its connection; ends early if a connection is gone.
    fn run(mut self) -> Result<Skipped, Error> {
        match self.args.speed {
            Speed::Max => {
                while let Some(mapped) = self.next()? {
                    if !self.hand_over(mapped) {
                        break;
                    }
                }
            }
            Speed::Times(factor) => self.paced(factor)?,
        }
        Ok(self.skipped)
    }

    fn next(&mut self) -> Result<Option<Mapped>, Error> {
        while let Some(row) = self.rows.next_row()? {
            self.counters.rows.fetch_add(1, Relaxed);
            match self.mapper.map(&row, self.args.times == Times::Keep) {
                Ok(mapped) => return Ok(Some(mapped)),
                Err(why) => self.skipped.add(row.number, &why),
            }
        }
        Ok(None)
    }

    /// Plays by recorded time. The file is held in memory, because files are often sorted by user.
    fn paced(&mut self, factor: f64) -> Result<(), Error> {
        let mut all = Vec::new();
        while let Some(mapped) = self.next()? {
            all.push(mapped);
        }
        // Stable: rows of equal time keep the order of the file.
        all.sort_by_key(|mapped| mapped.time_ms);
        let Some(first) = all.iter().find_map(|mapped| mapped.time_ms) else { return Ok(()) };
        let started = Instant::now();
        for mapped in all {
            let offset_s = (mapped.time_ms.unwrap_or(first) - first) as f64 / 1000.0 / factor;
            let due = Duration::try_from_secs_f64(offset_s).unwrap_or(Duration::MAX);
            if let Some(wait) = due.checked_sub(started.elapsed()) {
                std::thread::sleep(wait);
            }
            if !self.hand_over(mapped) {
                break;
            }
        }
        Ok(())
    }

    fn hand_over(&self, mapped: Mapped) -> bool {
        let mut hasher = DefaultHasher::new();
        mapped.user.hash(&mut hasher);
        let queue = &self.queues[(hasher.finish() % self.queues.len() as u64) as usize];
        if self.args.listeners > 0 {
            let _ = self.listen.send(mapped.user);
        }
        queue.blocking_send(mapped.text).is_ok()
    }
}

/// A frame on its way.
struct Sent {
    batch: u64,
    at: Instant,
    items_left: u64,
}

/// One connection.
struct Worker {
    connection: Connection,
    batch_items_max: usize,
    fill: bool,
    counters: Arc<Counters>,
    waiting: VecDeque<String>,
    in_flight: VecDeque<Sent>,
    batches: u64,
    tally: Tally,
}

impl Worker {
    /// `fill`: rather wait for a full frame than send what is there, which is what gives the most
    /// events per second when the whole file is at hand.
    fn new(connection: Connection, batch: usize, fill: bool, counters: Arc<Counters>) -> Self {
        let batch_items_max = batch.min(connection.welcome().batch_items_max).max(1);
        Self {
            connection,
            batch_items_max,
            fill,
            counters,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            batches: 0,
            tally: Tally::default(),
        }
    }

    async fn run(mut self, mut items: mpsc::Receiver<String>) -> Result<Tally, Error> {
        let mut open = true;
        let mut fresh = Vec::with_capacity(self.batch_items_max);
        let mut ping = tokio::time::interval(Duration::from_secs(20));
        while open || !self.waiting.is_empty() || !self.in_flight.is_empty() {
            if self.may_send(open) {
                self.send().await?;
                continue;
            }
            let room = self.batch_items_max.saturating_sub(self.waiting.len());
            tokio::select! {
                frame = self.connection.next() => self.answer(frame?)?,
                taken = items.recv_many(&mut fresh, room), if open && room > 0 => {
                    open = taken > 0;
                    self.waiting.extend(fresh.drain(..));
                }
                _ = ping.tick() => {
                    if self.in_flight.front().is_some_and(|sent| sent.at.elapsed() > ACK_TIMEOUT) {
                        return Err(Error::Timeout { what: "acknowledgement", seconds: ACK_TIMEOUT.as_secs() });
                    }
                    self.connection.send("{\"t\":\"ping\",\"id\":\"p\"}".into()).await?;
                }
            }
        }
        self.connection.close().await;
        Ok(self.tally)
    }

    fn may_send(&self, open: bool) -> bool {
        let credit = self.connection.credit() as usize;
        if self.waiting.is_empty() || credit == 0 {
            return false;
        }
        let full = self.waiting.len() >= self.batch_items_max;
        let wanted = self.waiting.len().min(self.connection.welcome().credit as usize);
        // Credit that comes in small change must not turn into small frames, but with nothing in
        // flight none will come.
        !self.fill || ((full || !open) && (credit >= wanted || self.in_flight.is_empty()))
    }

    async fn send(&mut self) -> Result<(), Error> {
        let items_max = self.batch_items_max.min(self.connection.credit() as usize);
        // The frame around the items takes less than 64 bytes, and a comma each.
        let bytes_max = self.connection.welcome().frame_bytes_max.saturating_sub(64);
        let mut items = 0;
        let mut bytes = 0;
        for item in self.waiting.iter().take(items_max) {
            bytes += item.len() + 1;
            if items > 0 && bytes > bytes_max {
                break;
            }
            items += 1;
        }
        self.batches += 1;
        let text = frame::batch(self.batches, self.waiting.iter().take(items).map(String::as_str));
        self.waiting.drain(..items);
        self.in_flight.push_back(Sent { batch: self.batches, at: Instant::now(), items_left: items as u64 });
        self.connection.spend(items as u32, text).await
    }

    fn answer(&mut self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Ack(ack) => self.acknowledge(ack),
            Frame::Error { code, message, fatal: true, .. } => return Err(Error::Refused { code, message }),
            Frame::Error { id, code, .. } => {
                if let Some(sent) = id.and_then(|id| self.take(&id)) {
                    self.tally.count("rejected", Some(&code), sent.items_left);
                    self.settled(sent.at, sent.items_left);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn acknowledge(&mut self, ack: Ack) {
        if let Some(sent) = ack.batch.as_deref().and_then(|id| self.take(id)) {
            self.tally.count("stored", None, ack.stored);
            for result in &ack.results {
                self.tally.count(&result.status, result.code.as_deref(), 1);
            }
            self.settled(sent.at, sent.items_left);
            return;
        }
        // The plain form: results come in the order in which the items were sent.
        for result in &ack.results {
            self.tally.count(&result.status, result.code.as_deref(), 1);
            let Some(oldest) = self.in_flight.front_mut() else { continue };
            oldest.items_left -= 1;
            let (at, done) = (oldest.at, oldest.items_left == 0);
            self.settled(at, 1);
            if done {
                self.in_flight.pop_front();
            }
        }
    }

    fn take(&mut self, batch: &str) -> Option<Sent> {
        let batch: u64 = batch.parse().ok()?;
        let index = self.in_flight.iter().position(|sent| sent.batch == batch)?;
        self.in_flight.remove(index)
    }

    fn settled(&mut self, sent: Instant, items: u64) {
        self.tally.waited(sent.elapsed(), items);
        self.counters.answered.fetch_add(items, Relaxed);
    }
}

/// Opens a socket for each of the first users and counts what is pushed to them. A listener that
/// fails stops listening: it measures, it must not end the replay.
async fn listen_all(args: ReplayArgs, mut users: mpsc::UnboundedReceiver<String>, counters: Arc<Counters>) {
    let mut known = HashSet::new();
    let tasks = TaskTracker::new();
    let end = CancellationToken::new();
    while let Some(user) = users.recv().await {
        if known.len() >= args.listeners as usize || !known.insert(user.clone()) {
            continue;
        }
        let hello = Hello { token: args.token.clone(), user_id: Some(user), ..Hello::default() };
        let (url, counters, end) = (args.url.clone(), Arc::clone(&counters), end.clone());
        tasks.spawn(async move { end.run_until_cancelled(listen(url, hello, &counters)).await });
    }
    if !known.is_empty() {
        tokio::time::sleep(LINGER).await;
    }
    end.cancel();
    tasks.close();
    tasks.wait().await;
}

async fn listen(url: String, hello: Hello, counters: &Counters) -> Result<(), Error> {
    let mut connection = Connection::open(&url, &hello).await?;
    connection.spend(1, frame::subscribe("s", None)).await?;
    let mut ping = tokio::time::interval(Duration::from_secs(20));
    loop {
        tokio::select! {
            next = connection.next() => match next? {
                Frame::Subscribed { seq, actions } => {
                    counters.actions.fetch_add(actions.len() as u64, Relaxed);
                    connection.send(frame::seen(seq)).await?;
                }
                Frame::Action { seq, .. } => {
                    counters.actions.fetch_add(1, Relaxed);
                    connection.send(frame::seen(seq)).await?;
                }
                _ => {}
            },
            _ = ping.tick() => connection.send("{\"t\":\"ping\",\"id\":\"p\"}".into()).await?,
        }
    }
}

/// Shows how far the replay is: a bar on a terminal, a line every two seconds elsewhere.
fn spawn_progress(rows: &Rows, counters: Arc<Counters>) -> CancellationToken {
    let (bytes_total, bytes_read) = rows.progress();
    let end = CancellationToken::new();
    let ended = end.clone();
    let terminal = std::io::stderr().is_terminal();
    let template = "{bar:30} {percent:>3} %  {elapsed_precise}  {msg}";
    let style = indicatif::ProgressStyle::with_template(template).expect("the template is a constant");
    let bar =
        if terminal { indicatif::ProgressBar::new(bytes_total).with_style(style) } else { indicatif::ProgressBar::hidden() };
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(if terminal { 100 } else { 2000 }));
        tick.tick().await;
        let started = Instant::now();
        while ended.run_until_cancelled(tick.tick()).await.is_some() {
            let answered = counters.answered.load(Relaxed);
            let per_second = answered as f64 / started.elapsed().as_secs_f64();
            let read = bytes_read.load(Relaxed).min(bytes_total);
            let message = format!("{answered} events, {per_second:.0}/s");
            bar.set_position(read);
            bar.set_message(message.clone());
            #[expect(clippy::print_stderr, reason = "progress of a command that people watch")]
            if !terminal {
                eprintln!("replay: {} % read, {message}", read * 100 / bytes_total.max(1));
            }
        }
        bar.finish_and_clear();
    });
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speed_is_a_factor_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("60".parse(), Ok(Speed::Times(60.0)));
        for wrong in ["0", "-1", "fast", "inf", "NaN"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
