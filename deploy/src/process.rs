//! One process of the operating system: its identity, what the kernel says about it, and signals to it.

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    sys::signal::{self, Signal},
    unistd::Pid,
};
use std::{fs, path::Path};

/// A process that was running when it was looked at: the id together with the start time, because ids are reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running {
    /// The process id.
    pub pid: i32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}

/// What state a process of a network is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// It runs.
    Running(Running),
    /// It is frozen (SIGSTOP).
    Paused(Running),
    /// It was never started, or was stopped on request.
    Stopped,
    /// It ended otherwise.
    Dead {
        /// Exit code or signal in words, where somebody saw it end.
        how: Option<String>,
    },
}

impl ProcessState {
    /// One word.
    pub fn word(&self) -> &'static str {
        match self {
            ProcessState::Running(_) => "running",
            ProcessState::Paused(_) => "paused",
            ProcessState::Stopped => "stopped",
            ProcessState::Dead { .. } => "dead",
        }
    }

    /// The process, when there is one.
    pub fn running(&self) -> Option<Running> {
        match self {
            ProcessState::Running(running) | ProcessState::Paused(running) => Some(*running),
            ProcessState::Stopped | ProcessState::Dead { .. } => None,
        }
    }
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelView {
    /// R running, S sleeping, D waiting for disk, T stopped, Z ended but not yet collected.
    pub state: char,
    /// Processor time used so far, user and system, in ms.
    pub cpu_ms: u64,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}

/// Clock ticks in /proc last 10 ms: USER_HZ is 100 in the kernel's interface on every architecture Kakera runs on.
const TICK_MS: u64 = 10;

/// What the kernel says about a process; none when there is no such process.
pub fn kernel_view(pid: i32) -> Option<KernelView> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

// The second field is the program's name in parentheses and may hold anything, even spaces and parentheses.
fn parse_stat(text: &str) -> Option<KernelView> {
    let after_name = &text[text.rfind(')')? + 1..];
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    Some(KernelView {
        state: fields.first()?.chars().next()?,
        cpu_ms: (number(11)? + number(12)?) * TICK_MS,
        started: number(19)?,
    })
}

/// Processor time that a process's present threads have used, user and system, in us; to 10 ms where the kernel does
/// not count finer (no schedstat).
pub fn cpu_us(pid: i32) -> Option<u64> {
    let fine = || -> Option<u64> {
        let mut sum_ns = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
            let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            sum_ns += text.split_whitespace().next()?.parse::<u64>().ok()?;
        }
        Some(sum_ns / 1_000)
    };
    fine().or_else(|| kernel_view(pid).map(|view| view.cpu_ms * 1_000))
}

/// The most memory that a process ever had in RAM, in KiB (VmHWM).
pub fn peak_memory_kib(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

impl Running {
    /// The process with this id, if it lives.
    pub fn of(pid: i32) -> Option<Running> {
        kernel_view(pid).map(|view| Running { pid, started: view.started })
    }

    /// Whether it still runs (or is frozen): the same process, not one that took over its id.
    pub fn is_alive(&self) -> bool {
        self.view().is_some()
    }

    /// What the kernel says about it while it lives.
    pub fn view(&self) -> Option<KernelView> {
        kernel_view(self.pid).filter(|view| view.started == self.started && !matches!(view.state, 'Z' | 'X'))
    }

    /// Sends a signal, if it is still there.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match signal::kill(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot send {signal} to process {}", self.pid)),
        }
    }

    /// Writes the pid file of the process whose directory is `dir`.
    pub(crate) fn record(&self, dir: &Path) -> Result<()> {
        let _ = fs::remove_file(dir.join("exit"));
        write_whole(&dir.join("pid"), &format!("{} {}\n", self.pid, self.started))
    }

    fn recorded(dir: &Path) -> Option<Running> {
        let text = fs::read_to_string(dir.join("pid")).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Running { pid: pid.parse().ok().filter(|pid| *pid > 1)?, started: started.parse().ok()? })
    }
}

/// Writes a small file so that a reader sees the old or the new contents, never a part.
pub(crate) fn write_whole(path: &Path, text: &str) -> Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, text).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, path).with_context(|| format!("cannot write {}", path.display()))
}

/// The state of the process whose directory is `dir`.
pub(crate) fn state_in(dir: &Path) -> ProcessState {
    let how = || fs::read_to_string(dir.join("exit")).ok().map(|text| text.trim().to_owned());
    let Some(running) = Running::recorded(dir) else {
        return how().map_or(ProcessState::Stopped, |how| ProcessState::Dead { how: Some(how) });
    };
    match running.view().map(|view| view.state) {
        Some('T' | 't') => ProcessState::Paused(running),
        Some(_) => ProcessState::Running(running),
        None => ProcessState::Dead { how: how() },
    }
}

/// Forgets a process that was stopped on request.
pub(crate) fn forget(dir: &Path) {
    let _ = fs::remove_file(dir.join("pid"));
    let _ = fs::remove_file(dir.join("exit"));
}

/// Notes how a process ended. Only a request to stop (exit code 0, or SIGTERM before it listened to it) is not worth
/// a note.
pub(crate) fn record_end(dir: &Path, status: std::process::ExitStatus) {
    use std::os::unix::process::ExitStatusExt;
    let _ = fs::remove_file(dir.join("pid"));
    if status.success() || status.signal() == Some(Signal::SIGTERM as i32) {
        let _ = fs::remove_file(dir.join("exit"));
    } else {
        // The note is for people; a full disk must not keep a process from being collected.
        let _ = write_whole(&dir.join("exit"), &describe(status));
    }
}

/// How a process ended, in words.
pub(crate) fn describe(status: std::process::ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    let meaning = match status.code() {
        Some(0) => " (stopped on request)",
        Some(2) => " (usage or configuration)",
        Some(3) => " (data directory: of another network, corrupt or locked)",
        Some(4) => " (port in use)",
        Some(5) => " (halted for safety)",
        _ => "",
    };
    match (status.code(), status.signal().and_then(|number| Signal::try_from(number).ok())) {
        (Some(code), _) => format!("exit code {code}{meaning}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_hostile_program_name_does_not_confuse_the_parser() {
        let stat = "17 (a) R 1 (b c) S 1 17 17 0 -1 4194304 100 0 0 0 7 5 0 0 20 0 1 0 4242 1000 1";
        assert_eq!(parse_stat(stat), Some(KernelView { state: 'S', cpu_ms: 120, started: 4242 }));
        assert_eq!(parse_stat("17 (short) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_reused_id_is_a_stranger() {
        let me = Running::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        assert!(peak_memory_kib(me.pid).unwrap() > 100);
        let started = std::time::Instant::now();
        while started.elapsed() < std::time::Duration::from_millis(30) {}
        assert!(cpu_us(me.pid).unwrap() > 1_000);
        let stranger = Running { started: me.started + 1, ..me };
        assert!(!stranger.is_alive());
        // Would end this very test if the start time were ignored.
        stranger.signal(Signal::SIGKILL).unwrap();
    }

    #[test]
    fn the_pid_file_and_the_kernel_together_give_the_state() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(state_in(dir.path()), ProcessState::Stopped);
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let running = Running::of(i32::try_from(child.id()).unwrap()).unwrap();
        running.record(dir.path()).unwrap();
        assert_eq!(state_in(dir.path()), ProcessState::Running(running));
        running.signal(Signal::SIGKILL).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(state_in(dir.path()), ProcessState::Dead { how: None });
        record_end(dir.path(), status);
        assert_eq!(state_in(dir.path()), ProcessState::Dead { how: Some("signal SIGKILL".to_owned()) });
        forget(dir.path());
        assert_eq!(state_in(dir.path()), ProcessState::Stopped);
        fs::write(dir.path().join("pid"), "1 not-a-number").unwrap();
        assert_eq!(state_in(dir.path()), ProcessState::Stopped, "a damaged pid file names nobody");
    }
}
