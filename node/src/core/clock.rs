//! The process's clock.

use kakera_chain::units::Timestamp;
use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// How far the process's clock is ahead of the machine's, in ms: a process has one clock, and everything reads it.
static CLOCK_OFFSET_MS: AtomicI64 = AtomicI64::new(0);

/// Sets this process's clock ahead of the machine's (or back) by so many ms. Once, before anything reads it.
pub fn set_clock(offset_ms: i64) {
    CLOCK_OFFSET_MS.store(offset_ms, Ordering::Relaxed);
}

/// The time now.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    Timestamp(since_ms.saturating_add_signed(CLOCK_OFFSET_MS.load(Ordering::Relaxed)))
}
