//! The core: one thread owns the replica, feeds it inputs and carries out its effects in their order.

mod clock;
mod refusals;

pub use clock::{now, set_clock};
pub use refusals::Refusals;

use crate::{guard::SignGuard, store::RocksStore};
use kakera_chain::{
    Member,
    application::{Application, CertifiedBlocks},
    block::Block,
    certificate::Certificate,
    machine::StateMachine,
    peer::{PeerMessage, Spoken},
    receipt::Receipt,
    replica::{ClosedEra, Effect, EraPlan, Input, InvalidBlocks, InvalidStore, Replica},
    units::{Height, Timestamp, ValidatorId},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, oneshot, watch};

/// Commands that wait for the core at most.
const QUEUE: usize = 4096;
/// Commands of clients among them at most: the others wait outside, and a peer's message has no more of them before it.
const CLIENTS: usize = 256;
/// Readings of history among those at most: each may take tens of ms of the core's time.
const HISTORIES: usize = 2;
/// Messages of one peer that wait at most: a flood crowds out only itself.
const PEER_QUEUE: usize = 512;
/// Events that a slow listener may be behind.
const EVENTS: usize = 1024;

/// What happened on the chain.
#[derive(Clone, Debug)]
pub enum ChainEvent {
    /// A block entered the tree, on whatever branch.
    Included {
        /// Its id.
        id: kakera_chain::BlockId,
        /// The block.
        block: Arc<Block>,
    },
    /// A block became certified, in height order.
    Certified {
        /// Its id.
        id: kakera_chain::BlockId,
        /// The block.
        block: Arc<Block>,
        /// What it emits.
        receipts: Arc<Vec<Receipt>>,
    },
    /// More of the beacon chain is known.
    ReferencesGrew,
    /// A new era began.
    Entered(Arc<EraPlan>),
    /// Certified blocks were taken back, ascending.
    Undone(Arc<Vec<(Height, kakera_chain::BlockId)>>),
    /// The core has ended: nothing follows. Handles keep the channel open, so that its end would tell nobody.
    Ended,
}

/// How the core sends; never blocks: a full queue drops, and the replicas' own exchange repairs it.
pub trait Outbox: Send + 'static {
    /// To these validators; whoever sends is left out.
    fn send(&self, to: &[ValidatorId], message: Spoken);
}

/// Of a node that only follows: nobody is spoken to.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl Outbox for Nobody {
    fn send(&self, _: &[ValidatorId], _: Spoken) {}
}

/// The core has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the node is stopping")]
pub struct Stopped;

type Query<A> = Box<dyn FnOnce(&Replica<A>, Timestamp) + Send>;

enum Command<A: Application> {
    Peer(ValidatorId, Spoken),
    Era(Box<EraPlan>),
    Recorded(Vec<Certificate>),
    Closed(Box<ClosedEra>, oneshot::Sender<Result<(), InvalidBlocks>>),
    Blocks(Box<CertifiedBlocks>, oneshot::Sender<Result<(), InvalidBlocks>>),
    Application(A::Input, oneshot::Sender<A::Reply>),
    Query(Query<A>),
    Reopen,
    Stop,
}

/// A command in the queue, with the place of the client that gave it: free again once the core takes the command.
struct Waiting<A: Application> {
    command: Command<A>,
    place: Option<OwnedSemaphorePermit>,
}

/// A handle to the core thread.
pub struct Core<A: Application> {
    commands: SyncSender<Waiting<A>>,
    /// How many messages of each validator wait.
    queued: Queued,
    /// Room for clients: a permit a command in the queue, so that they wait asynchronously.
    room: Arc<Semaphore>,
    /// Turns at reading history.
    histories: Arc<Semaphore>,
    events: broadcast::Sender<ChainEvent>,
    stopped: watch::Receiver<Option<String>>,
    refused: Arc<Refusals>,
}

/// How many messages of each validator wait; only those of whom any do.
type Queued = Arc<Mutex<BTreeMap<ValidatorId, usize>>>;

impl<A: Application> Clone for Core<A> {
    fn clone(&self) -> Self {
        Core {
            commands: self.commands.clone(),
            queued: self.queued.clone(),
            room: self.room.clone(),
            histories: self.histories.clone(),
            events: self.events.clone(),
            stopped: self.stopped.clone(),
            refused: self.refused.clone(),
        }
    }
}

impl<A> Core<A>
where
    A: Application + Send + 'static,
    A::State: Send + Sync,
    A::Input: Send,
    A::Reply: Send,
{
    /// Asks the replica something, on its own thread.
    pub async fn query<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&Replica<A>, Timestamp) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let (answer, answered) = oneshot::channel();
        let query: Query<A> = Box::new(move |replica, now| {
            // Nothing is done for who has gone meanwhile.
            if !answer.is_closed() {
                drop(answer.send(ask(replica, now)));
            }
        });
        self.give(Command::Query(query)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// The same for what reads whole blocks: a few of these are in the queue at a time, whoever asks.
    pub async fn history<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&Replica<A>, Timestamp) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        let turn = Arc::clone(&self.histories).acquire_owned().await.map_err(|_| Stopped)?;
        // The turn goes with the question: who asks and goes away leaves both in the queue.
        let ask = move |replica: &Replica<A>, now| {
            let found = ask(replica, now);
            drop(turn);
            found
        };
        self.query(ask).await
    }

    /// Gives the application an input and waits for its answer.
    pub async fn submit(&self, input: A::Input) -> Result<A::Reply, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.give(Command::Application(input, answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Clients share a part of the queue, so that they can never crowd out peers.
    async fn give(&self, command: Command<A>) -> Result<(), Stopped> {
        let place = Arc::clone(&self.room).acquire_owned().await.map_err(|_| Stopped)?;
        let mut waiting = Waiting { command, place: Some(place) };
        loop {
            match self.commands.try_send(waiting) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Stopped),
                Err(TrySendError::Full(back)) => waiting = back,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Hands over what a peer said; false: no room, and it is dropped.
    pub fn deliver(&self, from: ValidatorId, message: Spoken) -> bool {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = queued.entry(from).or_default();
        let said = Waiting { command: Command::Peer(from, message), place: None };
        if *waiting < PEER_QUEUE && self.commands.try_send(said).is_ok() {
            *waiting += 1;
            return true;
        }
        if *waiting == 0 {
            queued.remove(&from);
        }
        false
    }

    /// Names an era that the chain goes on in.
    ///
    /// # Errors
    /// The core has stopped.
    pub async fn enter(&self, plan: EraPlan) -> Result<(), Stopped> {
        self.give(Command::Era(Box::new(plan))).await
    }

    /// Gives certificates of this chain that the beacon has recorded.
    ///
    /// # Errors
    /// The core has stopped.
    pub async fn record(&self, certificates: Vec<Certificate>) -> Result<(), Stopped> {
        self.give(Command::Recorded(certificates)).await
    }

    /// Shows that the era is over.
    ///
    /// # Errors
    /// The core has stopped.
    pub async fn close(&self, closed: ClosedEra) -> Result<Result<(), InvalidBlocks>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.give(Command::Closed(Box::new(closed), answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Gives certified blocks to one that follows.
    ///
    /// # Errors
    /// The core has stopped.
    pub async fn import(&self, blocks: CertifiedBlocks) -> Result<Result<(), InvalidBlocks>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.give(Command::Blocks(Box::new(blocks), answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// What happens from now on; a listener that lags has to ask again.
    pub fn events(&self) -> broadcast::Receiver<ChainEvent> {
        self.events.subscribe()
    }

    /// Resolves when the core has ended, with the reason if that is a failure.
    pub async fn stopped(&self) -> Option<String> {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
        stopped.borrow().clone()
    }

    /// Ends the core after what is queued; join its thread afterwards.
    pub fn stop(&self) {
        // A full queue means that it is busy, not that it is gone: blocking here is what is wanted.
        let _gone = self.commands.send(Waiting { command: Command::Stop, place: None });
    }

    /// Whether the core still runs.
    pub fn is_running(&self) -> bool {
        // The sender goes with the thread.
        self.stopped.has_changed().is_ok()
    }

    /// Opens the replica again from its store: whom it speaks for may be known now.
    ///
    /// # Errors
    /// The core has stopped.
    pub async fn reopen(&self) -> Result<(), Stopped> {
        self.give(Command::Reopen).await
    }

    /// Refused messages of peers, counted.
    pub fn refused(&self) -> &Arc<Refusals> {
        &self.refused
    }
}

/// Everything the core thread owns.
struct Runner<A: Application, O> {
    replica: Replica<A>,
    reopen: Reopen<A>,
    queued: Queued,
    store: Arc<RocksStore>,
    guard: Option<SignGuard>,
    outbox: O,
    events: broadcast::Sender<ChainEvent>,
    refused: Arc<Refusals>,
    /// Why the blocks of this step are not taken.
    refusal: Option<InvalidBlocks>,
}

/// Why a core does not start.
#[derive(Debug, Error)]
pub enum StartFailure {
    /// What the store holds.
    #[error(transparent)]
    Store(#[from] InvalidStore),
    /// Its thread.
    #[error(transparent)]
    Machine(#[from] std::io::Error),
}

/// Opens the replica on what the store holds.
pub type Reopen<A> = Box<dyn FnMut() -> Result<Replica<A>, InvalidStore> + Send>;

/// Starts the core thread with the replica that `open` opens now, and again where its store has to be opened anew.
///
/// # Errors
/// The store's contents, or the machine.
pub fn start<A, O>(
    mut open: Reopen<A>,
    store: Arc<RocksStore>,
    guard: Option<SignGuard>,
    outbox: O,
) -> Result<(Core<A>, JoinHandle<()>), StartFailure>
where
    A: Application + Send + 'static,
    A::State: Send + Sync,
    A::Input: Send,
    A::Reply: Send,
    O: Outbox,
{
    let (commands, inbox) = sync_channel(QUEUE);
    let (events, _) = broadcast::channel(EVENTS);
    let (ended, stopped) = watch::channel(None);
    let refused = Arc::new(Refusals::default());
    let (room, histories) = (Arc::new(Semaphore::new(CLIENTS)), Arc::new(Semaphore::new(HISTORIES)));
    let queued = Queued::default();
    let mut runner = Runner {
        replica: open()?,
        reopen: open,
        queued: queued.clone(),
        store,
        guard,
        outbox,
        events: events.clone(),
        refused: refused.clone(),
        refusal: None,
    };
    let told = events.clone();
    let thread = std::thread::Builder::new().name("core".into()).spawn(move || {
        // The panic itself is in the log; it must not pass for an orderly end.
        let run = std::panic::AssertUnwindSafe(|| runner.run(&inbox));
        let done = std::panic::catch_unwind(run).unwrap_or_else(|_| Err(anyhow::anyhow!("the core panicked")));
        // Whoever asks from here on is told that it has ended.
        drop(inbox);
        if let Err(error) = done {
            tracing::error!(reason = %format!("{error:#}"), "the core has halted");
            let _nobody = ended.send(Some(format!("{error:#}")));
        }
        let _nobody = told.send(ChainEvent::Ended);
    })?;
    Ok((Core { commands, queued, room, histories, events, stopped, refused }, thread))
}

impl<A: Application, O: Outbox> Runner<A, O> {
    fn run(&mut self, inbox: &Receiver<Waiting<A>>) -> anyhow::Result<()> {
        self.step(Input::Tick)?;
        loop {
            let wait = self.replica.next_wakeup().0.saturating_sub(now().0);
            let command = match inbox.recv_timeout(Duration::from_millis(wait.min(60_000))) {
                Ok(Waiting { command, place }) => {
                    drop(place);
                    command
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    self.step(Input::Tick)?;
                    continue;
                }
            };
            match command {
                Command::Peer(from, Spoken { epoch, message }) => {
                    self.took(from);
                    drop(self.step(Input::Peer { from, epoch, message })?);
                }
                Command::Era(plan) => {
                    drop(self.step(Input::Era(plan))?);
                    // It may have to be opened again for this era: what comes next is for the replica after that.
                    drop(self.step(Input::Tick)?);
                }
                Command::Recorded(certificates) => drop(self.step(Input::Recorded(certificates))?),
                Command::Closed(closed, answer) => {
                    drop(self.step(Input::Closed(closed))?);
                    let _gone = answer.send(self.refusal.take().map_or(Ok(()), Err));
                }
                Command::Blocks(blocks, answer) => {
                    drop(self.step(Input::Blocks(blocks))?);
                    let _gone = answer.send(self.refusal.take().map_or(Ok(()), Err));
                }
                Command::Application(input, answer) => {
                    if let Some(reply) = self.step(Input::Application(input))? {
                        // The client may have gone meanwhile.
                        let _gone = answer.send(reply);
                    }
                }
                Command::Query(query) => query(&self.replica, now()),
                Command::Reopen => {
                    self.replica = (self.reopen)()?;
                    drop(self.step(Input::Tick)?);
                }
                Command::Stop => return Ok(()),
            }
        }
    }

    /// Feeds one input and carries out what follows, in order.
    fn step(&mut self, input: Input<A::Input>) -> anyhow::Result<Option<A::Reply>> {
        let (mut answer, mut reopen) = (None, false);
        for effect in self.replica.handle(now(), input) {
            match effect {
                Effect::Persist { writes, synced } => self.store.write(&writes, synced)?,
                Effect::Guard(state) => {
                    if let Some(guard) = &mut self.guard {
                        guard.write(state)?;
                    }
                }
                Effect::Broadcast(message) => self.say(None, message),
                Effect::Send(to, message) => self.say(Some(to), message),
                Effect::Entered(plan) => {
                    tracing::info!(epoch = %plan.epoch, root = %plan.root.1, height = %plan.root.0, "a new era began");
                    self.tell(ChainEvent::Entered(Arc::new(*plan)));
                }
                Effect::Undone(blocks) => {
                    let named: Vec<String> = blocks.iter().map(|(height, id)| format!("{height}: {id}")).collect();
                    tracing::warn!(blocks = named.join(", "), "certified blocks are lost: a new era began below them");
                    self.tell(ChainEvent::Undone(Arc::new(blocks)));
                }
                Effect::BlocksRefused(reason) => self.refusal = Some(reason),
                Effect::Reopen => reopen = true,
                Effect::Included { id, block } => self.tell(ChainEvent::Included { id, block }),
                Effect::Certified { id, block, receipts } => self.tell(ChainEvent::Certified { id, block, receipts }),
                Effect::ReferencesGrew => self.tell(ChainEvent::ReferencesGrew),
                Effect::Reply(reply) => answer = Some(reply),
                Effect::Refused { from, reason } => {
                    tracing::debug!(%from, %reason, "refused a peer's message");
                    self.refused.count(refusals::kind(&reason));
                }
                Effect::Halt(breach) => anyhow::bail!(breach),
            }
        }
        if reopen {
            self.replica = (self.reopen)()?;
        }
        Ok(answer)
    }

    /// One message of a validator has left the queue.
    fn took(&self, from: ValidatorId) {
        let mut queued = self.queued.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = queued.get_mut(&from) {
            *waiting -= 1;
            if *waiting == 0 {
                queued.remove(&from);
            }
        }
    }

    /// To one member of the present era, or to all.
    fn say(&self, to: Option<Member>, message: PeerMessage) {
        let validators = &self.replica.seats().validators;
        let spoken = Spoken { epoch: self.replica.era().epoch, message };
        match to {
            None => self.outbox.send(validators, spoken),
            Some(member) => {
                if let Some(validator) = validators.get(member.index()) {
                    self.outbox.send(&[*validator], spoken);
                }
            }
        }
    }

    fn tell(&self, event: ChainEvent) {
        // Nobody listening is fine.
        let _nobody = self.events.send(event);
    }
}

#[cfg(test)]
mod tests;
