//! A member that breaks the rules on purpose: a real node whose words are changed on their way out. It lies once in every
//! era, which is enough to convict it, and is honest otherwise; what it says to itself, and what is on its disk, is true.

use kakera_chain::{
    BlockId, Slot,
    certificate::FinalitySignature,
    hash::Hash,
    message::{Estimate, SignedMessage},
    peer::{Carried, PeerMessage, Spoken},
    units::{Epoch, Height, ValidatorId},
};
use kakera_deploy::{Binaries, Network, Process};
use kakera_node::{
    core::Outbox,
    lab::{Hooks, Speaker},
};
use std::{
    env,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

/// The variable that says how a process lies.
const LIE: &str = "KAKERA_LIE";
/// The variable that says after how many of its own words of that kind.
const AFTER: &str = "KAKERA_LIE_AFTER";

/// How a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Two messages of one `seq`: one half of the peers hear the one, the others the other.
    Equivocate,
    /// Two blocks of one height are signed as final, before everybody.
    Conflict,
    /// One block is signed as final, and then one that does not stand on it, at a greater height: only the headers
    /// between the two prove it.
    ConflictAcross,
}

/// When a member lies, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How.
    pub lie: Lie,
    /// After so many of its own words of that kind in an era.
    pub after: u64,
}

impl Lie {
    /// All of them.
    pub const ALL: [Lie; 3] = [Lie::Equivocate, Lie::Conflict, Lie::ConflictAcross];

    /// In one word.
    pub fn word(self) -> &'static str {
        match self {
            Lie::Equivocate => "equivocate",
            Lie::Conflict => "conflict",
            Lie::ConflictAcross => "conflict-across",
        }
    }
}

impl Plan {
    /// What the environment says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_env() -> Result<Plan, String> {
        Plan::parse(env::var(LIE).ok().as_deref(), env::var(AFTER).ok().as_deref())
    }

    fn parse(lie: Option<&str>, after: Option<&str>) -> Result<Plan, String> {
        let words = Lie::ALL.map(Lie::word).join(", ");
        let named = lie.and_then(|word| Lie::ALL.into_iter().find(|lie| lie.word() == word));
        let lie = named.ok_or_else(|| format!("set {LIE} to one of {words}"))?;
        let number = |text: &str| text.parse().map_err(|_| format!("{AFTER} is a number, not {text:?}"));
        Ok(Plan { lie, after: after.map_or(Ok(0), number)? })
    }

    /// What makes a process lie.
    pub fn hooks(self) -> Hooks {
        let twist = move |speaker, honest| -> Box<dyn Outbox> { Box::new(Liar::new(self, speaker, honest)) };
        Hooks { outbox: Some(Arc::new(twist)) }
    }

    /// The command that runs a process of a network as a liar; `program` is `kakera-liar`.
    pub fn command(self, program: PathBuf, binaries: &Binaries, network: &Network, process: &Process) -> Command {
        let honest = binaries.command(network, process);
        let mut command = Command::new(program);
        command.args(honest.get_args()).env(LIE, self.lie.word()).env(AFTER, self.after.to_string());
        command
    }
}

/// Changes what passes.
struct Liar {
    plan: Plan,
    speaker: Speaker,
    honest: Box<dyn Outbox>,
    mind: Mutex<Mind>,
}

/// What it has done in the present era.
#[derive(Default)]
struct Mind {
    epoch: Option<Epoch>,
    /// Own words of the kind that it lies with.
    said: u64,
    lied: bool,
    /// The height whose block it has not signed truly.
    unsigned: Option<Height>,
}

impl Liar {
    fn new(plan: Plan, speaker: Speaker, honest: Box<dyn Outbox>) -> Liar {
        Liar { plan, speaker, honest, mind: Mutex::default() }
    }

    fn say(&self, to: &[ValidatorId], epoch: Epoch, message: PeerMessage) {
        self.honest.send(to, Spoken { epoch, message });
    }

    /// Whether now is the time to lie, where one more word of its kind is said.
    fn is_time(&self, mind: &mut Mind) -> bool {
        mind.said += 1;
        let now = !mind.lied && mind.said > self.plan.after;
        mind.lied |= now;
        now
    }

    /// Says one thing to half of the others, and another to the rest.
    fn equivocate(&self, to: &[ValidatorId], epoch: Epoch, carried: Box<Carried>) {
        let (one, other) = halves(to, self.speaker.validator);
        let twin = self.twin(&carried);
        eprintln!("lies: two messages of seq {}", carried.message.statement.seq);
        self.say(&one, epoch, PeerMessage::Message(carried));
        self.say(&other, epoch, PeerMessage::Message(Box::new(twin)));
    }

    /// Another message of the same place that every honest member accepts: a vote in the place of a proposal, for the
    /// parent that it builds on; and beside a vote the same one in the next slot, which is taken when that begins.
    fn twin(&self, carried: &Carried) -> Carried {
        let mut statement = carried.message.statement.clone();
        match statement.estimate {
            Estimate::Proposal { parent, .. } => statement.estimate = Estimate::Vote(parent),
            Estimate::Vote(_) => statement.slot = Slot(statement.slot.0 + 1),
        }
        let message = SignedMessage::sign(statement, &self.speaker.key, self.speaker.network);
        Carried { message, block: None, certificate: carried.certificate.clone() }
    }

    /// Its signature on a block of the same height that nobody has proposed.
    fn false_share(&self, share: &FinalitySignature) -> PeerMessage {
        let mut finality = share.finality;
        finality.block = BlockId(Hash::of(&[b"a block of a liar", &finality.block.0]).0);
        eprintln!("lies: signs {} as final at height {}", finality.block, finality.height);
        PeerMessage::Finality(FinalitySignature::sign(finality, share.signer, &self.speaker.key, self.speaker.network))
    }

    fn sign(&self, mind: &mut Mind, to: &[ValidatorId], epoch: Epoch, share: FinalitySignature) {
        // Told again to one who asks: not before the false one.
        let is_new = to.len() > 1;
        let lies = is_new && self.is_time(mind);
        if lies && self.plan.lie == Lie::ConflictAcross {
            mind.unsigned = Some(share.finality.height);
        }
        if lies {
            // First: a true one of a block that is certified already is not remembered.
            self.say(to, epoch, self.false_share(&share));
        }
        if mind.unsigned != Some(share.finality.height) {
            self.say(to, epoch, PeerMessage::Finality(share));
        }
    }
}

impl Outbox for Liar {
    fn send(&self, to: &[ValidatorId], message: Spoken) {
        let mut mind = self.mind.lock().unwrap_or_else(PoisonError::into_inner);
        let Spoken { epoch, message } = message;
        if mind.epoch != Some(epoch) {
            *mind = Mind { epoch: Some(epoch), ..Mind::default() };
        }
        match message {
            // Own words alone are broadcast as they are made; answers come as lists.
            PeerMessage::Message(carried) if self.plan.lie == Lie::Equivocate && self.is_time(&mut mind) => {
                self.equivocate(to, epoch, carried);
            }
            PeerMessage::Finality(share) if self.plan.lie != Lie::Equivocate => self.sign(&mut mind, to, epoch, share),
            message => self.say(to, epoch, message),
        }
    }
}

/// Everybody else, in two halves.
fn halves(to: &[ValidatorId], me: ValidatorId) -> (Vec<ValidatorId>, Vec<ValidatorId>) {
    let others: Vec<ValidatorId> = to.iter().copied().filter(|other| *other != me).collect();
    let (one, other) = others.split_at(others.len() / 2);
    (one.to_vec(), other.to_vec())
}

#[cfg(test)]
mod tests;
