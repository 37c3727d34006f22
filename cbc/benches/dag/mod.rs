//! DAGs as honest members make them when all are alive: a proposal, a vote and a confirmation a member and slot.
//!
//! One engine holds everything. Votes cite the proposal and what came before the slot; the confirmations begin when nine
//! in ten have voted (above every quorum) and cite all that is there, so that their justifications differ.

use kakera_cbc::*;
use sha2::{Digest, Sha256};

/// The era's root.
pub(crate) const ROOT: BlockId = BlockId([0; 32]);
/// Messages in [`Script::tail`]: whole slots, or the part of one in which votes and confirmations alternate.
const TAIL: usize = 200;

/// A DAG, and moments of its making to measure from.
pub(crate) struct Script {
    /// Everything inserted.
    pub(crate) engine: Engine<Blocks>,
    /// Before `tail`.
    pub(crate) before_tail: Engine<Blocks>,
    /// The last messages, votes and confirmations in equal parts.
    pub(crate) tail: Vec<Message<Blocks>>,
    /// The last slot, just after its proposal.
    pub(crate) proposed: Engine<Blocks>,
    /// The last slot: all have voted, some have confirmed, and the engine's own member has not.
    pub(crate) voted: Engine<Blocks>,
    /// The last slot.
    pub(crate) slot: Slot,
    /// All messages.
    pub(crate) ids: Vec<MessageId>,
}

struct Author {
    engine: Engine<Blocks>,
    /// By member: `seq` of what its newest justification holds of each member.
    seen: Vec<Vec<Option<u64>>>,
    said: Vec<Message<Blocks>>,
}

/// What a slot left for measurements.
struct Moments {
    proposed: Engine<Blocks>,
    /// With how many messages were said then: when confirmations began.
    confirming: (Engine<Blocks>, usize),
    voted: Engine<Blocks>,
}

/// A DAG of `members` equal members over `slots` slots, two messages a member and slot.
pub(crate) fn script(members: u16, slots: u64) -> Script {
    let leaders = Leaders::new((0..members).map(Member).collect());
    let committee = Committee::new(vec![1; usize::from(members)]).expect("members that weigh something");
    // Votes first in the last slot.
    let me = Member(((slots + 1) % u64::from(members)) as u16);
    let engine = Engine::new(committee, Some(me), Limits::default(), Blocks::new(ROOT, 0, Slot(0), leaders));
    let nothing = vec![None; usize::from(members)];
    let mut author = Author { engine, seen: vec![nothing; usize::from(members)], said: Vec::new() };

    let whole_slots = (TAIL / (2 * usize::from(members))) as u64;
    let empty = author.engine.clone();
    let mut before = (empty.clone(), 0);
    let mut moments = Moments { proposed: empty.clone(), confirming: (empty.clone(), 0), voted: empty };
    for slot in 1..=slots {
        if slot + whole_slots == slots + 1 {
            before = (author.engine.clone(), author.said.len());
        }
        author.slot(Slot(slot), (slot == slots).then_some(&mut moments));
    }
    let (before_tail, start) = if whole_slots > 0 { before } else { moments.confirming };
    let ids = author.said.iter().map(|message| message.id).collect();
    let tail = author.said.drain(start..).take(TAIL).collect();
    let Moments { proposed, voted, .. } = moments;
    Script { engine: author.engine, before_tail, tail, proposed, voted, slot: Slot(slots), ids }
}

impl Author {
    fn slot(&mut self, slot: Slot, mut moments: Option<&mut Moments>) {
        let members = self.seen.len();
        let leader = self.engine.protocol().leader(slot).expect("somebody leads each slot");
        let me = self.engine.me().expect("script() seats somebody");
        self.say(leader, slot, &self.engine.view(), true);
        if let Some(moments) = &mut moments {
            moments.proposed = self.engine.clone();
        }
        let voters: Vec<Member> = (1..members).map(|step| Member(((leader.index() + step) % members) as u16)).collect();
        let all = voters.iter().copied().chain([leader]);
        let mut confirmers = all.filter(|member| *member != me).chain([me]);
        let proposal = self.engine.view();
        let enough = members * 9 / 10;
        for (place, voter) in voters.iter().enumerate() {
            if place == enough
                && let Some(moments) = &mut moments
            {
                moments.confirming = (self.engine.clone(), self.said.len());
            }
            self.say(*voter, slot, &proposal, false);
            if place >= enough {
                let confirmer = confirmers.next().expect("fewer confirmers than voters so far");
                self.say(confirmer, slot, &self.engine.view(), false);
            }
        }
        if let Some(moments) = &mut moments {
            moments.voted = self.engine.clone();
        }
        for confirmer in confirmers {
            self.say(confirmer, slot, &self.engine.view(), false);
        }
        assert_eq!(self.engine.finalized(), self.engine.head(), "all alive: a slot's block is final in its slot");
        self.engine.certify(self.engine.finalized()).expect("what is final can be certified");
    }

    /// A member says a message that cites this row, in which its own previous message is its latest.
    fn say(&mut self, sender: Member, slot: Slot, row: &Row, proposes: bool) {
        let engine = &self.engine;
        let seen: Vec<Option<u64>> = engine.committee().members().map(|member| engine.seen(row, member)).collect();
        let old = &self.seen[sender.index()];
        let news = engine.committee().members().zip(seen.iter().zip(old)).filter(|(member, _)| *member != sender);
        let ahead = |(member, (new, old)): (Member, (&Option<u64>, &Option<u64>))| {
            let steps = old.map_or((*new)?.checked_add(1), |old| new.filter(|new| *new > old)?.checked_sub(old))?;
            Some((member, Cite::Ahead(steps)))
        };
        let advances = news.filter_map(ahead).collect();
        let base = engine.base();
        let head = engine.fork_choice(base, row);
        let seq = seen[sender.index()].map_or(0, |previous| previous + 1);
        let message = Message {
            id: MessageId(hash(b"message", u64::from(sender.0) << 32 | seq)),
            sender,
            seq,
            slot,
            base,
            advances,
            cites: cites_digest(&engine.resolve(row)),
            estimate: if proposes { proposal(engine, head, slot) } else { BlockEstimate::Vote(head) },
        };
        self.seen[sender.index()] = seen;
        insert(&mut self.engine, &message);
        self.said.push(message);
    }
}

fn proposal(engine: &Engine<Blocks>, parent: BlockId, slot: Slot) -> BlockEstimate {
    let height = engine.protocol().block(&parent).expect("the head is held").height + 1;
    BlockEstimate::Proposal(NewBlock { id: BlockId(hash(b"block", slot.0)), parent, height, slot })
}

/// Judges a message, for which nothing is missing.
pub(crate) fn check(engine: &mut Engine<Blocks>, message: &Message<Blocks>) -> Checked<Blocks> {
    if !engine.is_certified(&message.base) {
        engine.certify(message.base).expect("a base that the script certified");
    }
    match engine.check(message.slot, message) {
        Verdict::Valid(checked) => checked,
        other => panic!("an honest message in the order of the script is {other:?}"),
    }
}

/// Judges and inserts it.
pub(crate) fn insert(engine: &mut Engine<Blocks>, message: &Message<Blocks>) -> Vec<Event<Blocks>> {
    let checked = check(engine, message);
    engine.insert(checked)
}

/// Something that looks like an id.
pub(crate) fn hash(what: &[u8], number: u64) -> [u8; 32] {
    Sha256::new().chain_update(what).chain_update(number.to_be_bytes()).finalize().into()
}
