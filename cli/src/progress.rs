//! Progress of long work, on stderr: a bar on a terminal, a plain line now and then elsewhere.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;
use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Progress of one piece of work.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    total: u64,
    done: AtomicU64,
    quarters: AtomicU64,
}

impl Progress {
    /// Of `total` steps; 0: nobody knows how many.
    pub(crate) fn new(label: &str, total: u64) -> Progress {
        let bar = io::stderr().is_terminal().then(|| {
            let (bar, style) = if total == 0 {
                (ProgressBar::new_spinner(), "{spinner} {msg} {elapsed}")
            } else {
                (ProgressBar::new(total), "{msg} [{bar:32}] {pos}/{len} {elapsed}")
            };
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = bar.with_style(style.progress_chars("=> ")).with_message(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            line(&format!("{label} ..."));
        }
        Progress { bar, label: label.to_owned(), total, done: AtomicU64::new(0), quarters: AtomicU64::new(0) }
    }

    /// `count` steps are done in all.
    pub(crate) fn set(&self, count: u64) {
        self.done.store(count, Ordering::Relaxed);
        self.show(count);
    }

    /// One more step is done.
    pub(crate) fn advance(&self) {
        let count = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.show(count);
    }

    fn show(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(count);
        } else if self.total >= 8 {
            let quarter = count * 4 / self.total;
            if quarter > self.quarters.fetch_max(quarter, Ordering::Relaxed) && quarter < 4 {
                line(&format!("{}: {count}/{}", self.label, self.total));
            }
        }
    }

    /// Something happened meanwhile.
    pub(crate) fn event(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| line(text)),
            None => line(text),
        }
    }

    /// Data became known meanwhile.
    pub(crate) fn event_data(&self, output: Output, value: &Value, text: impl FnOnce() -> String) {
        match &self.bar {
            Some(bar) => bar.suspend(|| output.data(value, text)),
            None => output.data(value, text),
        }
    }

    /// Ended with this result.
    pub(crate) fn finish(&self, result: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        line(&format!("{}: {result}", self.label));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take().filter(|bar| !bar.is_finished()) {
            bar.finish_and_clear();
        }
    }
}

fn line(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
