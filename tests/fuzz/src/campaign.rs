//! One run of libFuzzer over some targets, with its progress and a table at the end.

use anyhow::{Context as _, bail};
use clap::Args;
use kakera_fuzz::{TARGETS, Target};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What to run, where, for how long.
#[derive(Debug, Args)]
pub(crate) struct Campaign {
    /// The instrumented driver.
    #[arg(long)]
    driver: PathBuf,
    /// The committed corpus: read, and written with --keep only.
    #[arg(long)]
    corpus: PathBuf,
    /// Where new inputs and crashes go.
    #[arg(long)]
    work: PathBuf,
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only these targets.
    #[arg(long)]
    target: Vec<String>,
    /// Afterwards add to the committed corpus what covers more than it does, at most so many inputs a target.
    #[arg(long, default_value_t = 0)]
    keep: usize,
}

/// What came of one target.
#[derive(Debug, Default)]
struct Outcome {
    name: &'static str,
    executions: u64,
    per_second: u64,
    /// Edges covered by the committed corpus alone, and at the end.
    covered: (u64, u64),
    new: usize,
    crashes: Vec<PathBuf>,
}

impl Campaign {
    pub(crate) fn run(&self) -> anyhow::Result<()> {
        let chosen = |target: &&Target| self.target.is_empty() || self.target.iter().any(|name| name == target.name);
        let targets: Vec<&Target> = TARGETS.iter().filter(chosen).collect();
        if targets.is_empty() {
            bail!("no such target; there are: {}", kakera_fuzz::names().join(", "));
        }
        let mut outcomes = Vec::new();
        for (number, target) in targets.iter().enumerate() {
            println!("[{}/{}] {}: {}", number + 1, targets.len(), target.name, target.about);
            outcomes.push(self.fuzz(target)?);
        }
        print_table(&outcomes);
        let crashed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.crashes.is_empty()).collect();
        for outcome in &crashed {
            let files: Vec<String> = outcome.crashes.iter().map(|file| file.display().to_string()).collect();
            println!("{} found a defect. To replay it:", outcome.name);
            println!("  cargo run --release -p kakera-fuzz -- replay {} {}", outcome.name, files.join(" "));
        }
        if crashed.is_empty() { Ok(()) } else { bail!("{} targets found a defect", crashed.len()) }
    }

    fn fuzz(&self, target: &Target) -> anyhow::Result<Outcome> {
        let found = self.work.join("corpus").join(target.name);
        let crashes = self.work.join("crashes").join(target.name);
        let committed = self.corpus.join(target.name);
        for directory in [&found, &crashes, &committed] {
            fs::create_dir_all(directory).with_context(|| format!("{} cannot be made", directory.display()))?;
        }
        let before = count(&found)?;
        let mut outcome = Outcome { name: target.name, ..Outcome::default() };
        let mut driver = self.driver(target, &crashes);
        driver.arg(format!("-max_total_time={}", self.seconds)).args(["-print_final_stats=1", "-reload=0"]);
        driver.args([&found, &committed]);
        let mut child = driver.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stderr.take().context("libFuzzer speaks on standard error")?).lines();
        let mut tail = Vec::new();
        for line in lines {
            let line = line?;
            outcome.read(&line);
            let is_progress = line.starts_with('#');
            if !is_progress && !line.starts_with("INFO") && !line.starts_with("stat::") {
                tail.push(line);
            } else if is_progress && line.contains("pulse") {
                println!("  {line}");
            }
        }
        let ended = child.wait()?;
        outcome.new = count(&found)?.saturating_sub(before);
        if !ended.success() {
            outcome.crashes = files(&crashes)?;
            tail.iter().rev().take(60).rev().for_each(|line| println!("  {line}"));
            if outcome.crashes.is_empty() {
                bail!("{}: libFuzzer ended with {ended} and left no input", target.name);
            }
        } else if self.keep > 0 {
            self.keep(target, &found, &committed, &crashes)?;
        }
        println!("  {} executions, {} edges, {} new inputs", outcome.executions, outcome.covered.1, outcome.new);
        Ok(outcome)
    }

    fn driver(&self, target: &Target, crashes: &Path) -> Command {
        let mut driver = Command::new(&self.driver);
        driver.env("KAKERA_FUZZ_TARGET", target.name);
        driver.arg(format!("-max_len={}", target.max_bytes));
        // A target that needs longer for one input than this, or more memory, is a defect.
        driver.args(["-timeout=20", "-rss_limit_mb=1536", "-malloc_limit_mb=512"]);
        driver.arg(format!("-artifact_prefix={}/", crashes.display()));
        driver
    }

    /// Adds the smallest inputs that cover what the committed ones do not.
    fn keep(&self, target: &Target, found: &Path, committed: &Path, crashes: &Path) -> anyhow::Result<()> {
        let merged = self.work.join("merged").join(target.name);
        let _ = fs::remove_dir_all(&merged);
        fs::create_dir_all(&merged)?;
        for file in files(committed)? {
            fs::copy(&file, merged.join(file.file_name().context("a file has a name")?))?;
        }
        let had = count(&merged)?;
        let mut driver = self.driver(target, crashes);
        let ended = driver.arg("-merge=1").args([&merged, found]).stderr(Stdio::null()).status()?;
        if !ended.success() {
            bail!("{}: merging ended with {ended}", target.name);
        }
        let known = files(committed)?;
        let mut fresh: Vec<PathBuf> = files(&merged)?
            .into_iter()
            .filter(|file| !known.iter().any(|known| known.file_name() == file.file_name()))
            .collect();
        fresh.sort_by_key(|file| file.metadata().map_or(u64::MAX, |about| about.len()));
        for file in fresh.iter().take(self.keep) {
            fs::copy(file, committed.join(file.file_name().context("a file has a name")?))?;
        }
        println!("  kept {} of {} that the {had} committed do not cover", fresh.len().min(self.keep), fresh.len());
        Ok(())
    }
}

impl Outcome {
    /// Reads one line of libFuzzer's.
    fn read(&mut self, line: &str) {
        let number = |text: &str| text.trim().parse::<u64>().ok();
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:").and_then(number) {
            self.executions = count;
        } else if let Some(rate) = line.strip_prefix("stat::average_exec_per_sec:").and_then(number) {
            self.per_second = rate;
        } else if let Some(counted) = line.strip_prefix('#') {
            let mut words = line.split_whitespace();
            if let Some(count) = counted.split_whitespace().next().and_then(number) {
                self.executions = self.executions.max(count);
            }
            if words.by_ref().any(|word| word == "cov:")
                && let Some(covered) = words.next().and_then(number)
            {
                if line.contains("INITED") {
                    self.covered.0 = covered;
                }
                self.covered.1 = self.covered.1.max(covered);
            }
        }
    }
}

fn files(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn count(directory: &Path) -> anyhow::Result<usize> {
    Ok(files(directory)?.len())
}

fn print_table(outcomes: &[Outcome]) {
    println!();
    println!(
        "{:<14} {:>12} {:>9} {:>8} {:>8} {:>7} {:>8}",
        "target", "executions", "exec/s", "edges", "grown", "new", "crashes"
    );
    for Outcome { name, executions, per_second, covered, new, crashes } in outcomes {
        let grown = covered.1.saturating_sub(covered.0);
        println!(
            "{name:<14} {executions:>12} {per_second:>9} {:>8} {grown:>8} {new:>7} {:>8}",
            covered.1,
            crashes.len()
        );
    }
    println!();
}
