//! What the benches share: the server as a child process, the machine's name, tables and JSON.

#![allow(dead_code, reason = "each bench uses its part")]
#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

pub(crate) mod catalog;
pub(crate) mod load;

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Seconds that one measurement takes: `LODESTONE_BENCH_SECONDS`, by default `default`.
pub(crate) fn seconds(default: u64) -> Duration {
    let set = std::env::var("LODESTONE_BENCH_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(set.unwrap_or(default).max(1))
}

/// Whether this is a real run. `cargo test --benches` calls benches too; then nothing is measured.
pub(crate) fn wanted() -> bool {
    std::env::args().any(|argument| argument == "--bench")
}

/// A server on a fresh folder; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Server {
    /// Starts the binary that was built with this bench.
    pub(crate) fn start(catalog: &Value) -> Self {
        let folder = tempfile::tempdir_in(disk()).expect("a folder for the data");
        let file = folder.path().join("catalog.json");
        std::fs::write(&file, catalog.to_string()).expect("the catalog is written");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let log = std::fs::File::create(folder.path().join("server.log")).expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_lodestone"))
            .args(["serve", "--listen", &address.to_string(), "--data-dir"])
            .arg(folder.path().join("data"))
            .arg("--catalog")
            .arg(&file)
            .env("RUST_LOG", "warn")
            // What is measured is how fast the server is, not how fast it lets one client be told.
            .env("LODESTONE__SERVER__SOCKET__PUSH_RATE", "0")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let server = Self { child, address, folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !server.ready() {
            assert!(Instant::now() < deadline, "the server is not ready:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)) else { return false };
        let mut answer = [0; 12];
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer.ends_with(b"200")
    }

    /// What it wrote.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// The URL of its socket.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder whose disk is measured: `LODESTONE_BENCH_DIR`, else the target folder's.
pub(crate) fn disk() -> PathBuf {
    let named = std::env::var_os("LODESTONE_BENCH_DIR").map(PathBuf::from);
    let folder = named.unwrap_or_else(output);
    std::fs::create_dir_all(&folder).expect("the folder for data can be made");
    folder
}

fn output() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target"), PathBuf::from)
        .join("bench")
}

/// A histogram of microseconds up to ten minutes.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).expect("the bounds are constants")
}

/// Quantiles of a histogram of microseconds, in milliseconds.
pub(crate) fn quantiles(us: &Histogram<u64>) -> Value {
    let ms = |q| us.value_at_quantile(q) as f64 / 1000.0;
    json!({"count": us.len(), "p50Ms": ms(0.5), "p99Ms": ms(0.99), "p999Ms": ms(0.999), "maxMs": ms(1.0)})
}

/// The same as text.
pub(crate) fn quantiles_text(us: &Histogram<u64>) -> String {
    let ms = |q| us.value_at_quantile(q) as f64 / 1000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms, n {}", ms(0.5), ms(0.99), ms(0.999), ms(1.0), us.len())
}

/// The machine, so that a number never stands alone.
pub(crate) fn machine() -> Value {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    json!({"cpu": model, "cores": cores})
}

/// Prints lines `name  rate  ratio` beside the first one.
pub(crate) fn table(title: &str, unit: &str, rows: &[(String, f64)]) {
    println!("\n{title}");
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let base = rows.first().map_or(1.0, |(_, value)| *value);
    for (name, value) in rows {
        println!("  {name:width$}  {value:>14.0} {unit}  {:>8.3} ×", value / base);
    }
}

/// Writes `target/bench/<name>.json`.
pub(crate) fn write(name: &str, mut result: Value) {
    result["machine"] = machine();
    let path = output().join(format!("{name}.json"));
    std::fs::create_dir_all(output()).expect("the folder for results can be made");
    std::fs::write(&path, serde_json::to_string_pretty(&result).expect("JSON is JSON")).expect("the result is written");
    println!("\nwritten to {}", path.display());
}
