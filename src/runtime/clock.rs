//! Where the engine's time comes from. The state machine gets time as data; this is the only source.

use lodestone_state::ids::Millis;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

/// A source of time that never runs back.
pub trait Clock: Send + Sync {
    /// Milliseconds since the Unix epoch, UTC; never less than an answer given before.
    fn now(&self) -> Millis;
}

/// The machine's clock, held still while the machine sets it back.
#[derive(Default)]
pub struct SystemClock {
    latest: AtomicI64,
}

impl Clock for SystemClock {
    fn now(&self) -> Millis {
        let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        // A load decides most calls, so that cores do not pass the cache line around within a millisecond.
        if self.latest.load(Ordering::Relaxed) < now {
            self.latest.fetch_max(now, Ordering::Relaxed);
            return Millis(now);
        }
        Millis(self.latest.load(Ordering::Relaxed))
    }
}

/// A clock that a test sets for a whole server, by a file that holds milliseconds since the epoch.
pub struct FileClock {
    path: PathBuf,
    latest: AtomicI64,
}

impl FileClock {
    /// A clock that shows what stands in the file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no number.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let now = read(path)?;
        Ok(Self { path: path.to_owned(), latest: AtomicI64::new(now) })
    }
}

fn read(path: &Path) -> std::io::Result<i64> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| std::io::Error::new(std::io::ErrorKind::InvalidData, "no number of milliseconds"))
}

impl Clock for FileClock {
    fn now(&self) -> Millis {
        // Looked at every time, so that whatever the test does next happens at the time that it has set.
        if let Ok(now) = read(&self.path) {
            self.latest.fetch_max(now, Ordering::Relaxed);
        }
        Millis(self.latest.load(Ordering::Relaxed))
    }
}

/// A clock that a test sets.
#[derive(Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Millis) -> Self {
        Self(AtomicI64::new(now.0))
    }

    /// Moves on to `now`; never back.
    pub fn set(&self, now: Millis) {
        self.0.fetch_max(now.0, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_sets_the_time_and_never_sets_it_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("now");
        assert!(FileClock::open(&path).is_err());
        let set = |text: &str| std::fs::write(&path, text).expect("the file is written");
        set("soon");
        assert!(FileClock::open(&path).is_err());
        set("1000\n");
        let clock = FileClock::open(&path).expect("a number");
        for (text, now) in [("2000", 2000), ("1500", 2000), ("", 2000), ("2001", 2001)] {
            set(text);
            assert_eq!(clock.now(), Millis(now), "{text:?}");
        }
    }
}
