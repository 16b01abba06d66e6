//! Long work: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Shows how far a piece of work is.
pub(super) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    said: Mutex<Instant>,
}

/// Plain lines come at most this often.
const EVERY: Duration = Duration::from_secs(2);

impl Progress {
    /// Progress of `what`, on standard error.
    #[must_use]
    pub(super) fn new(what: &'static str) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(0).with_style(style).with_message(what)
        });
        Self { what, bar, said: Mutex::new(Instant::now()) }
    }

    /// `done` of `of`.
    pub(super) fn set(&self, done: u64, of: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(of);
            bar.set_position(done);
            return;
        }
        let Ok(mut said) = self.said.lock() else { return };
        if said.elapsed() >= EVERY {
            *said = Instant::now();
            eprintln!("{}: {done} of {of}", self.what);
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
