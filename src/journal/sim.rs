//! A disk in memory that loses power: what was not synced is lost, kept or torn, as a seed decides.
//!
//! Stricter than most real disks: unsynced writes may reach the disk in any order and in any part, down to
//! single bytes, and a created or removed file is as it was before until its folder is synced.

use super::disk::{Disk, DiskFile};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An in-memory disk. Clones share it.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

struct Shared {
    names: Mutex<Names>,
    /// Operations until the power goes.
    power: AtomicU64,
    capacity: AtomicU64,
}

#[derive(Default)]
struct Names {
    now: BTreeMap<PathBuf, Arc<File>>,
    durable: BTreeMap<PathBuf, Arc<File>>,
}

#[derive(Default)]
struct File {
    data: Mutex<Data>,
}

#[derive(Default)]
struct Data {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Writes since the last sync, in order.
    unsynced: Vec<(u64, Vec<u8>)>,
}

fn put(data: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let offset = usize::try_from(offset).expect("test files are small");
    if data.len() < offset + bytes.len() {
        data.resize(offset + bytes.len(), 0);
    }
    data[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// A small random number generator (splitmix64), so that a seed is all a failure needs to be repeated.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next 64 random bits.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty disk with power and room.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Shared { names: Mutex::default(), power: AtomicU64::new(u64::MAX), capacity: AtomicU64::new(u64::MAX) }))
    }

    /// The power goes in the middle of the operation that follows `operations` others: writes, syncs,
    /// creations, removals. From then on everything fails.
    pub fn cut_after(&self, operations: u64) {
        self.0.power.store(operations, Ordering::SeqCst);
    }

    /// Room for all files together, in bytes.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.capacity.store(bytes, Ordering::SeqCst);
    }

    /// The disk as it may be found after a power failure now. This one stays as it is.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let mut dice = Dice(seed);
        let names = self.0.names.lock();
        let after = Self::new();
        let mut paths: Vec<&PathBuf> = names.now.keys().chain(names.durable.keys()).collect();
        paths.sort_unstable();
        paths.dedup();
        for path in paths {
            let (now, durable) = (names.now.get(path), names.durable.get(path));
            let kept = if dice.below(2) == 0 { now } else { durable };
            let Some(file) = kept else { continue };
            let data = file.data.lock();
            let content = Self::survivors(&data, &mut dice);
            let file = Arc::new(File { data: Mutex::new(Data { now: content.clone(), durable: content, unsynced: Vec::new() }) });
            let mut fresh = after.0.names.lock();
            fresh.now.insert(path.clone(), file.clone());
            fresh.durable.insert(path.clone(), file);
        }
        drop(names);
        after
    }

    fn survivors(data: &Data, dice: &mut Dice) -> Vec<u8> {
        let mut out = data.durable.clone();
        // Some crashes are orderly: everything is kept, or everything is lost.
        let mood = dice.below(4);
        for (offset, bytes) in &data.unsynced {
            if bytes.is_empty() {
                continue;
            }
            let len = bytes.len() as u64;
            match if mood == 0 {
                0
            } else if mood == 1 {
                1
            } else {
                dice.below(5)
            } {
                0 => put(&mut out, *offset, bytes),
                1 => {}
                2 => {
                    // Torn at any byte, the front kept.
                    let cut = dice.below(len + 1) as usize;
                    put(&mut out, *offset, &bytes[..cut]);
                }
                3 => {
                    // Torn at any byte, the back kept.
                    let cut = dice.below(len) as usize;
                    put(&mut out, *offset + cut as u64, &bytes[cut..]);
                }
                _ => {
                    // Any of its sectors.
                    let mut at = 0;
                    while at < bytes.len() {
                        let sector = (512 - (*offset as usize + at) % 512).min(bytes.len() - at);
                        if dice.below(2) == 0 {
                            put(&mut out, *offset + at as u64, &bytes[at..at + sector]);
                        }
                        at += sector;
                    }
                }
            }
        }
        out
    }

    /// Changes a byte, on the disk and in memory.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn corrupt(&self, path: &Path, offset: u64, change: impl Fn(u8) -> u8) {
        let file = self.0.names.lock().now.get(path).expect("the file exists").clone();
        let mut data = file.data.lock();
        let at = usize::try_from(offset).expect("test files are small");
        data.now[at] = change(data.now[at]);
        data.durable[at] = change(data.durable[at]);
    }

    /// All files and their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.0.names.lock().now.iter().map(|(path, file)| (path.clone(), file.data.lock().now.len() as u64)).collect()
    }

    fn used(&self) -> u64 {
        self.0.names.lock().now.values().map(|file| file.data.lock().now.len() as u64).sum()
    }

    /// Fails if the power is gone; the bool says that it goes during this operation.
    fn power(&self) -> io::Result<bool> {
        let before = self.0.power.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
            u64::MAX => None,
            left => Some(left.saturating_sub(1)),
        });
        match before {
            Err(_) => Ok(false),
            Ok(0) => Err(off()),
            Ok(left) => Ok(left == 1),
        }
    }
}

fn off() -> io::Error {
    io::Error::other("the power is off")
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for SimDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let names = self.0.names.lock();
        let inside = names.now.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path, _: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.names.lock().now.get(path).ok_or_else(absent)?.clone();
        Ok(Arc::new(Handle { disk: self.clone(), file }))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if self.power()? {
            return Err(off());
        }
        // An emptied file is modelled as a new one under the same name: either may be found later.
        let file = Arc::new(File::default());
        self.0.names.lock().now.insert(path.to_owned(), file.clone());
        Ok(Arc::new(Handle { disk: self.clone(), file }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let dying = self.power()?;
        self.0.names.lock().now.remove(path).ok_or_else(absent)?;
        if dying { Err(off()) } else { Ok(()) }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dying = self.power()?;
        let mut names = self.0.names.lock();
        let names = &mut *names;
        names.durable.retain(|path, _| path.parent() != Some(dir));
        let inside = names.now.iter().filter(|(path, _)| path.parent() == Some(dir));
        names.durable.extend(inside.map(|(path, file)| (path.clone(), file.clone())));
        if dying { Err(off()) } else { Ok(()) }
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.capacity.load(Ordering::SeqCst).saturating_sub(self.used()))
    }
}

struct Handle {
    disk: SimDisk,
    file: Arc<File>,
}

impl Handle {
    /// Fails if growing the file to `len` bytes does not fit.
    fn room(&self, len: u64) -> io::Result<()> {
        let grows = len.saturating_sub(self.file.data.lock().now.len() as u64);
        if grows > self.disk.free_bytes(Path::new("/"))? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl DiskFile for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let data = self.file.data.lock();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(data.now.len());
        let n = buf.len().min(data.now.len() - from);
        buf[..n].copy_from_slice(&data.now[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let dying = self.disk.power()?;
        self.room(offset + buf.len() as u64)?;
        let mut data = self.file.data.lock();
        put(&mut data.now, offset, buf);
        data.unsynced.push((offset, buf.to_vec()));
        if dying { Err(off()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        if self.disk.power()? {
            // Whether it got there is for the crash to decide.
            return Err(off());
        }
        let mut data = self.file.data.lock();
        data.durable = data.now.clone();
        data.unsynced.clear();
        Ok(())
    }

    fn reserve(&self, bytes: u64) -> io::Result<()> {
        self.room(bytes)?;
        let mut data = self.file.data.lock();
        if (data.now.len() as u64) < bytes {
            put(&mut data.now, bytes - 1, &[0]);
            data.unsynced.push((bytes - 1, vec![0]));
        }
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.file.data.lock().now.len() as u64)
    }
}
