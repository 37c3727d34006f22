//! One node: an engine, a speaker, a journal of all it took in, and what waits.

use super::craft::{self, Unsayable, named_member};
use super::fetch::Wants;
use super::{Library, Rule, Setup};
use crate::{
    BlockEstimate, BlockId, Blocks, Decision, Engine, Event, Invalid, Member, Message, MessageId, Reason, Row, Slot,
    Speaker,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who moves a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduct {
    /// The speaking rule.
    Honest,
    /// Nobody: it is as if it were not there.
    Silent,
    /// The adversary.
    Face,
}

/// What a node wants to do now.
pub(super) enum Turn {
    Silent,
    Wake(u64),
    Speak(Row),
}

/// A message that was just said, and what changed by it.
pub(super) type Uttered = (Arc<Message<Blocks>>, Vec<Event<Blocks>>);

/// One node.
#[derive(Clone, Debug)]
pub struct Node {
    pub(super) engine: Engine<Blocks>,
    /// As it was at the start, for [`Node::rebuild`].
    pub(super) empty: Engine<Blocks>,
    pub(super) speaker: Speaker,
    conduct: Conduct,
    /// A face that hears nothing but what a script tells it.
    pub(super) deaf: bool,
    /// Everything it took in, in this order: what a store would hold.
    pub(super) journal: Vec<Arc<Message<Blocks>>>,
    pub(super) waiting: BTreeMap<MessageId, (usize, Arc<Message<Blocks>>)>,
    pub(super) shares: BTreeMap<BlockId, BTreeSet<Member>>,
    pub(super) certificates: BTreeSet<BlockId>,
    /// Certificates of blocks that are not held yet.
    pub(super) early: BTreeSet<BlockId>,
    pub(super) wants: Wants,
    pub(super) keep_slots: Option<u64>,
    /// Nothing is pruned before this slot.
    pub(super) whole_until: u64,
    wake: Option<u64>,
    pub(super) news: bool,
    pub(super) head: BlockId,
    /// Messages refused for good.
    pub(super) refused: Vec<(MessageId, Invalid)>,
    /// Messages that were dropped unjudged: more branches of a known equivocator, or no room to wait.
    pub(super) dropped: u64,
    pub(super) rebuilt: u64,
    /// Greatest numbers of messages held and waiting.
    pub(super) most_held: usize,
    pub(super) most_waiting: usize,
    /// Set when a certificate conflicts with what was finalized here.
    pub(super) breach: Option<BlockId>,
}

impl Node {
    pub(super) fn new(engine: Engine<Blocks>, conduct: Conduct, setup: &Setup) -> Self {
        let mut times = setup.times;
        match setup.rule {
            Rule::Eager => times.delay_ms = 0,
            Rule::NoViewMerge => times.calm_ms = 0,
            Rule::Speaker | Rule::Chatty => {}
        }
        Self {
            head: engine.head(),
            empty: engine.clone(),
            engine,
            speaker: Speaker::new(times),
            conduct,
            deaf: false,
            journal: Vec::new(),
            waiting: BTreeMap::new(),
            shares: BTreeMap::new(),
            certificates: BTreeSet::new(),
            early: BTreeSet::new(),
            wants: Wants::default(),
            keep_slots: setup.keep_slots,
            whole_until: 0,
            wake: None,
            news: false,
            refused: Vec::new(),
            dropped: 0,
            rebuilt: 0,
            most_held: 0,
            most_waiting: 0,
            breach: None,
        }
    }

    /// Its engine.
    #[must_use]
    pub fn engine(&self) -> &Engine<Blocks> {
        &self.engine
    }

    pub(super) fn engine_mut(&mut self) -> &mut Engine<Blocks> {
        self.news = true;
        &mut self.engine
    }

    /// Who moves it.
    #[must_use]
    pub fn conduct(&self) -> Conduct {
        self.conduct
    }

    /// Its name in logs.
    #[must_use]
    pub fn name(&self) -> String {
        named_member(self.engine.me())
    }

    /// Everything it took in, in this order.
    #[must_use]
    pub fn journal(&self) -> &[Arc<Message<Blocks>>] {
        &self.journal
    }

    /// Messages that it refused for good.
    #[must_use]
    pub fn refused(&self) -> &[(MessageId, Invalid)] {
        &self.refused
    }

    /// Messages dropped unjudged: more branches of a known equivocator, or no room to wait.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How often its engine was made anew from the journal.
    #[must_use]
    pub fn rebuilt(&self) -> u64 {
        self.rebuilt
    }

    /// The greatest numbers of messages it held whole, and that waited.
    #[must_use]
    pub fn most(&self) -> (usize, usize) {
        (self.most_held, self.most_waiting)
    }

    /// The certified block that conflicts with what it finalized, if there ever was one.
    #[must_use]
    pub fn breach(&self) -> Option<BlockId> {
        self.breach
    }

    pub(super) fn become_face(&mut self) {
        self.conduct = Conduct::Face;
    }

    pub(super) fn has_certificate(&self, block: &BlockId) -> bool {
        self.certificates.contains(block)
    }

    /// The block whose certificate it heard last, if it holds any.
    pub(super) fn newest_certificate(&self) -> Option<BlockId> {
        Some(self.engine.base()).filter(|base| self.certificates.contains(base))
    }

    pub(super) fn woken(&mut self) {
        self.wake = None;
    }

    pub(super) fn decide(&mut self, now: u64, slot: Slot, rule: Rule) -> Turn {
        let view = self.engine.view();
        let news = std::mem::take(&mut self.news);
        if rule == Rule::Chatty && news {
            let me = self.engine.me().filter(|me| !self.engine.is_faulty(*me));
            let room = |me| self.engine.said_in_slot(me, slot) < self.engine.committee().messages_per_slot();
            return if me.is_some_and(room) { Turn::Speak(view) } else { Turn::Silent };
        }
        match self.speaker.decide(now, slot, &self.engine) {
            Decision::Silent => Turn::Silent,
            Decision::WaitUntil(at) => self.wait_until(at),
            Decision::Speak { reason: Reason::Proposal(_), .. } if rule == Rule::NoViewMerge => Turn::Speak(view),
            Decision::Speak { row, .. } => Turn::Speak(row),
        }
    }

    fn wait_until(&mut self, at: u64) -> Turn {
        if self.wake == Some(at) {
            return Turn::Silent;
        }
        self.wake = Some(at);
        Turn::Wake(at)
    }

    /// Says a vote that cites this row.
    pub(super) fn vote(&mut self, slot: Slot, row: &Row, library: &mut Library) -> Result<Uttered, Unsayable> {
        let checked = craft::draft(&self.engine, slot, self.engine.base(), row, None)?;
        Ok(self.take_own(checked, library))
    }

    /// Says a new block on top of its head.
    pub(super) fn propose(&mut self, slot: Slot, salt: u64, library: &mut Library) -> Result<Uttered, Unsayable> {
        let checked = craft::draft(&self.engine, slot, self.engine.base(), &self.engine.view(), Some(salt))?;
        Ok(self.take_own(checked, library))
    }

    pub(super) fn take_own(
        &mut self,
        checked: crate::Checked<Blocks>,
        library: &mut Library,
    ) -> (Arc<Message<Blocks>>, Vec<Event<Blocks>>) {
        let message = Arc::new(checked.message().clone());
        let events = self.insert(message.clone(), checked);
        let cites = self.engine.observations(&message.id).expect("an own message was just inserted");
        if let BlockEstimate::Proposal(block) = message.estimate {
            library.blocks.insert(block.id, block);
        }
        library.cites.insert(message.id, cites);
        library.messages.insert(message.id, message.clone());
        self.speaker.spoke();
        self.news = false;
        (message, events)
    }

    pub(super) fn insert(
        &mut self,
        message: Arc<Message<Blocks>>,
        checked: crate::Checked<Blocks>,
    ) -> Vec<Event<Blocks>> {
        self.journal.push(message);
        let events = self.engine.insert(checked);
        self.news = true;
        self.most_held = self.most_held.max(self.engine.len());
        self.wants.came();
        events
    }
}
