//! The background thread: prepares the next segment, removes released ones, watches the free space.

use super::disk::DiskFile;
use super::error::Error;
use super::inner::Inner;
use super::segment;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What the other threads want of the keeper, and what it has ready.
pub(super) struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    /// There is no room to prepare the next segment above the reserve.
    starved: AtomicBool,
    /// The writer stands still for want of room.
    stalled: AtomicBool,
}

struct State {
    /// The segment to prepare next.
    next: u64,
    ready: Option<(u64, Arc<dyn DiskFile>)>,
    /// The writer stands still until `ready`.
    urgent: bool,
    released: u64,
    stop: bool,
}

impl Desk {
    pub(super) fn new(next: u64) -> Self {
        let state = State { next, ready: None, urgent: false, released: 0, stop: false };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            starved: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
        }
    }

    fn starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed)
    }

    pub(super) fn stalled(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Whether there is room for what comes next.
    pub(super) fn has_room(&self) -> bool {
        !self.starved() && !self.stalled.load(Ordering::Relaxed)
    }

    pub(super) fn release(&self, upto: u64) {
        let mut state = self.state.lock();
        if upto > state.released {
            state.released = upto;
            self.changed.notify_all();
        }
    }

    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    /// Takes the prepared segment, waiting up to `patience` for it. `None` if there is none by then or
    /// the keeper has stopped.
    pub(super) fn take(&self, patience: Duration) -> Option<(u64, Arc<dyn DiskFile>)> {
        let mut state = self.state.lock();
        if state.ready.is_none() && !state.stop {
            state.urgent = true;
            self.changed.notify_all();
            self.changed.wait_while_for(&mut state, |s| s.ready.is_none() && !s.stop, patience);
        }
        state.urgent = state.urgent && state.ready.is_none();
        let ready = state.ready.take();
        if ready.is_some() {
            self.changed.notify_all();
        }
        ready
    }
}

/// The thread's body. Ends when the desk is stopped or a fault ends the journal.
pub(super) fn run(inner: &Inner) {
    let mut released = 0;
    while !inner.desk.state.lock().stop {
        if let Err(error) = turn(inner, &mut released) {
            inner.fail(error);
            return;
        }
        inner.look_at_space();
        let desk = &inner.desk;
        let mut state = desk.state.lock();
        let waiting = desk.starved();
        desk.changed.wait_while_for(
            &mut state,
            |s| {
                let prepare = s.ready.is_none() && (!waiting || s.urgent);
                !s.stop && s.released <= released && !prepare
            },
            // After a full disk an urgent request must not spin.
            inner.options.space_check,
        );
        if state.stop {
            return;
        }
        if waiting && state.urgent {
            desk.changed.wait_while_for(&mut state, |s| !s.stop, inner.options.space_check.min(Duration::from_millis(50)));
        }
    }
}

fn turn(inner: &Inner, released: &mut u64) -> Result<(), Error> {
    let (upto, wanted, urgent) = {
        let state = inner.desk.state.lock();
        (state.released, state.ready.is_none().then_some(state.next), state.urgent)
    };
    // Removing first: it may make the room that preparing needs.
    if upto > *released {
        remove_released(inner, upto)?;
        *released = upto;
    }
    if let Some(index) = wanted {
        prepare(inner, index, urgent)?;
    }
    Ok(())
}

/// Prepares segment `index`, unless the disk is too full: then it is tried again later, with a new file.
fn prepare(inner: &Inner, index: u64, urgent: bool) -> Result<(), Error> {
    let bytes = inner.options.segment_bytes;
    let spared = segment::path(&inner.dir, index);
    let exists = inner.disk.open(&spared, false).is_ok();
    let needed = if urgent || exists { 0 } else { bytes.saturating_add(inner.options.min_free_bytes) };
    if inner.disk.free_bytes(&inner.dir).is_ok_and(|free| free < needed) {
        inner.desk.starved.store(true, Ordering::Relaxed);
        return Ok(());
    }
    match segment::prepare(&inner.dir, index, bytes, &*inner.disk) {
        Ok(file) => {
            inner.desk.starved.store(false, Ordering::Relaxed);
            let mut state = inner.desk.state.lock();
            state.ready = Some((index, file));
            state.next = index + 1;
            inner.desk.changed.notify_all();
            Ok(())
        }
        Err(error) if error.is_full() => {
            inner.desk.starved.store(true, Ordering::Relaxed);
            inner.writable.store(false, Ordering::Relaxed);
            // Give back what the attempt took; nothing has been written to this file that matters.
            let _ = inner.disk.remove(&spared);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Removes the segments that hold nothing past `upto`, the oldest first. The one being written stays.
fn remove_released(inner: &Inner, upto: u64) -> Result<(), Error> {
    let (gone, base) = {
        let mut live = inner.live.lock();
        let mut gone = Vec::new();
        while live.len() > 1 && live[1].first_seq <= upto + 1 {
            gone.extend(live.pop_front());
        }
        inner.meters.segments(live.len());
        (gone, live.front().copied())
    };
    let (Some(base), false) = (base, gone.is_empty()) else {
        return Ok(());
    };
    // The beginning of the journal moves before the files go: a file that is missing later is then
    // known to have been released.
    inner.mark.lock().rebase(base.index, base.first_seq)?;
    for segment in gone {
        let path = segment::path(&inner.dir, segment.index);
        if let Err(error) = inner.disk.remove(&path) {
            // It is outside the journal now and will be removed at the next start.
            tracing::warn!(segment = segment.index, %error, "journal: cannot remove a released segment");
        }
    }
    inner.disk.sync_dir(&inner.dir).map_err(super::error::io("sync", &inner.dir))
}
