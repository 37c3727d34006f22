//! Carries out a round's faults and mends all of them at its end.

use super::{
    schedule::{Fault, Round},
    witness::Witness,
};
use crate::net::Net;
use kakera_deploy::{
    ProcessState,
    links::{Between, Change},
};
use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

/// Who breaks and mends.
pub(super) struct Director<'a> {
    net: &'a Net,
    witness: &'a Witness,
    /// Dead until the round is over.
    absent: Option<String>,
    /// Faults so far, by kind.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

/// What happens at one moment of a round.
enum Act<'a> {
    Begin(&'a Fault),
    End(&'a Fault),
}

impl<'a> Director<'a> {
    pub(super) fn new(net: &'a Net, witness: &'a Witness) -> Director<'a> {
        Director { net, witness, absent: None, counts: BTreeMap::new() }
    }

    /// Carries out a round; returns when everything is mended, links last, with the number of faults. Who is absent
    /// stays so until [`Director::complete`].
    pub(super) fn round(&mut self, round: &Round) -> usize {
        let steps = &round.steps;
        if let Some(name) = &round.absent {
            *self.counts.entry("dead for the whole round").or_default() += 1;
            self.kill(name);
            self.absent = Some(name.clone());
        }
        let mut acts: Vec<(Duration, Act)> = Vec::new();
        for step in steps {
            acts.push((step.begins, Act::Begin(&step.fault)));
            acts.push((step.ends, Act::End(&step.fault)));
        }
        acts.sort_by_key(|(at, _)| *at);
        let last = steps.iter().map(|step| step.begins).max().unwrap_or_default() + Duration::from_millis(800);
        let started = Instant::now();
        // What lasts longer than the round ends with it, all at once.
        for (at, act) in acts.iter().take_while(|(at, _)| *at <= last) {
            thread::sleep(at.saturating_sub(started.elapsed()));
            match act {
                Act::Begin(fault) => self.begin(fault),
                Act::End(fault) => self.end(fault),
            }
            self.witness.collect(self.net);
        }
        thread::sleep(last.saturating_sub(started.elapsed()));
        self.mend();
        steps.len()
    }

    fn begin(&mut self, fault: &Fault) {
        *self.counts.entry(fault.kind()).or_default() += 1;
        match fault {
            Fault::Links(_, between, change) => self.change(between, *change),
            Fault::Kill(name) => self.kill(name),
            Fault::Pause(name) => {
                // A dead one cannot be frozen.
                let _ = self.net.network().pause(name);
            }
        }
    }

    fn end(&self, fault: &Fault) {
        match fault {
            Fault::Links(_, between, _) => self.change(between, Change::Heal),
            Fault::Kill(name) => self.start(name),
            Fault::Pause(name) => {
                let _ = self.net.network().resume(name);
            }
        }
    }

    fn change(&self, between: &Between, change: Change) {
        let links = self.net.orchestrator().links().expect("the network has relays");
        links.apply(between, change).expect("names of this network");
    }

    fn kill(&self, name: &str) {
        if self.net.network().running(name).is_ok() {
            self.witness.expect_kill(name);
            self.net.network().kill(name).expect("it runs and can be killed");
        }
    }

    fn start(&self, name: &str) {
        self.witness.collect(self.net);
        if self.absent.as_deref() == Some(name) {
            return;
        }
        if self.net.network().running(name).is_err() {
            self.net.orchestrator().start(name).unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        }
    }

    /// Who was absent returns; its name.
    pub(super) fn complete(&mut self) -> Option<String> {
        let name = self.absent.take()?;
        self.start(&name);
        self.net.wait_listening(std::slice::from_ref(&name));
        Some(name)
    }

    /// All nodes but the absent.
    pub(super) fn present(&self) -> Vec<String> {
        self.net.all().into_iter().filter(|name| self.absent.as_ref() != Some(name)).collect()
    }

    /// Everybody runs and listens, and then, at once, every link is whole.
    fn mend(&self) {
        let all = self.present();
        for name in &all {
            if let Ok(ProcessState::Paused(_)) = self.net.network().state(name) {
                self.net.network().resume(name).expect("a frozen process goes on");
            }
            self.start(name);
        }
        self.net.wait_listening(&all);
        self.net.orchestrator().links().expect("the network has relays").heal();
    }
}
