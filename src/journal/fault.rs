//! A disk that fails on demand, around any other: for tests of what happens then.

use super::disk::{Disk, DiskFile, RealDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The switches of a [`FaultDisk`]. All off at first.
#[derive(Debug)]
pub struct Faults {
    syncs_left: AtomicI64,
    writes_left: AtomicI64,
    full: AtomicBool,
    free: AtomicU64,
    sync_delay_us: AtomicU64,
    syncs: AtomicU64,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            syncs_left: AtomicI64::new(i64::MAX),
            writes_left: AtomicI64::new(i64::MAX),
            full: AtomicBool::new(false),
            free: AtomicU64::new(u64::MAX),
            sync_delay_us: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
        }
    }
}

impl Faults {
    /// After `count` more syncs every sync fails.
    pub fn fail_sync_after(&self, count: i64) {
        self.syncs_left.store(count, Ordering::SeqCst);
    }

    /// After `count` more writes every write fails.
    pub fn fail_write_after(&self, count: i64) {
        self.writes_left.store(count, Ordering::SeqCst);
    }

    /// While true no file can be created, reserved or extended, as on a full disk.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::SeqCst);
    }

    /// What the disk says is free; `u64::MAX` for the truth.
    pub fn set_free(&self, bytes: u64) {
        self.free.store(bytes, Ordering::SeqCst);
    }

    /// Makes every sync take this long.
    pub fn delay_sync(&self, by: Duration) {
        self.sync_delay_us.store(u64::try_from(by.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    /// Successful syncs of files so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    fn spend(left: &AtomicI64) -> io::Result<()> {
        if left.fetch_sub(1, Ordering::SeqCst) <= 0 {
            left.store(0, Ordering::SeqCst);
            return Err(io::Error::other("injected fault"));
        }
        Ok(())
    }

    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

/// The machine's disk with a fault from its text: `sync-after=N`, `write-after=N`, or `sync-delay-ms=N`,
/// several separated by commas. For crash tests of a whole server.
///
/// # Errors
/// A sentence about the part that is none of these.
pub fn parse(text: &str) -> Result<Arc<dyn Disk>, String> {
    let faults = Faults::default();
    for part in text.split(',') {
        let (name, number) = part.split_once('=').ok_or_else(|| format!("{part:?} is not of the form name=number"))?;
        let number: u32 = number.parse().map_err(|_| format!("{number:?} in {part:?} is not a number"))?;
        match name {
            "sync-after" => faults.fail_sync_after(number.into()),
            "write-after" => faults.fail_write_after(number.into()),
            "sync-delay-ms" => faults.delay_sync(Duration::from_millis(number.into())),
            _ => {
                return Err(format!("there is no fault {name:?}; there are sync-after, write-after, sync-delay-ms"));
            }
        }
    }
    Ok(Arc::new(FaultDisk::new(RealDisk, Arc::new(faults))))
}

/// A disk with faults.
pub struct FaultDisk<D> {
    inner: D,
    faults: Arc<Faults>,
}

impl<D: Disk> FaultDisk<D> {
    /// Puts the switches around `inner`.
    pub fn new(inner: D, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    fn wrap(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultFile { inner, faults: self.faults.clone() })
    }
}

impl<D: Disk> Disk for FaultDisk<D> {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.inner.list(dir)
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(self.inner.open(path, writable)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.faults.room()?;
        Ok(self.wrap(self.inner.create(path)?))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        match self.faults.free.load(Ordering::SeqCst) {
            u64::MAX => self.inner.free_bytes(dir),
            free => Ok(free),
        }
    }
}

struct FaultFile {
    inner: Arc<dyn DiskFile>,
    faults: Arc<Faults>,
}

impl DiskFile for FaultFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        Faults::spend(&self.faults.writes_left)?;
        if offset + buf.len() as u64 > self.inner.length()? {
            self.faults.room()?;
        }
        self.inner.write_at(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let delay = self.faults.sync_delay_us.load(Ordering::SeqCst);
        if delay > 0 {
            std::thread::sleep(Duration::from_micros(delay));
        }
        Faults::spend(&self.faults.syncs_left)?;
        self.inner.sync()?;
        self.faults.syncs.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.faults.room()?;
        self.inner.reserve(bytes)
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_names() {
        let folder = tempfile::tempdir().unwrap();
        let disk = parse("write-after=1,sync-after=0").unwrap();
        let file = disk.create(&folder.path().join("x")).unwrap();
        assert!(file.write_at(b"1", 0).is_ok());
        assert!(file.write_at(b"2", 0).is_err());
        assert!(file.sync().is_err());
        for wrong in ["", "sync-after", "sync-after=x", "flood=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
