//! The server as a process that can be killed and started again on the same folder and port.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const READY: Duration = Duration::from_secs(60);
const STOPPED: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    child: Option<Child>,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start(catalog: &Value) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the data");
        std::fs::write(folder.path().join("catalog.json"), catalog.to_string()).expect("the catalog is written");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut server = Self { child: None, address, folder };
        server.launch();
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.address)
    }

    /// Starts it and waits until it is ready.
    pub(crate) fn launch(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("server.log"));
        let log = log.expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_lodestone"))
            .args(["serve", "--listen", &self.address.to_string(), "--data-dir"])
            .arg(self.folder.path().join("data"))
            .arg("--catalog")
            .arg(self.folder.path().join("catalog.json"))
            // Often, so that kills fall before, into and after checkpoints.
            .env("LODESTONE__STORAGE__CHECKPOINT_INTERVAL", "700ms")
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
        let deadline = Instant::now() + READY;
        while !self.ready() {
            assert!(Instant::now() < deadline, "the server is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ready(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect_timeout(&self.address, Duration::from_secs(1)) else { return false };
        let mut answer = [0; 12];
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: storm\r\nConnection: close\r\n\r\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer.ends_with(b"200")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default()
    }

    /// SIGKILL: it gets to say nothing.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the process can be killed");
            child.wait().expect("the process ends");
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("the process takes a signal");
        let deadline = Instant::now() + STOPPED;
        loop {
            if let Some(status) = child.try_wait().expect("the process can be asked") {
                assert!(status.success(), "it ended with {status}:\n{}", self.log());
                return;
            }
            assert!(Instant::now() < deadline, "it does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
