//! The core: one thread owns the replica, feeds it inputs and carries out its effects in their order.

use crate::{guard::SignGuard, store::RocksStore};
use kakera_chain::{
    Member,
    application::Application,
    block::Block,
    machine::StateMachine,
    peer::PeerMessage,
    receipt::Receipt,
    replica::{Effect, Input, Refused, Replica},
    units::Timestamp,
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use thiserror::Error;
use tokio::sync::{broadcast, oneshot, watch};

/// Commands that wait for the core at most.
const QUEUE: usize = 4096;
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
}

/// How the core sends; never blocks: a full queue drops, and the replicas' own exchange repairs it.
pub trait Outbox: Send + 'static {
    /// To every other member.
    fn broadcast(&self, message: &PeerMessage);
    /// To one member.
    fn send(&self, to: Member, message: &PeerMessage);
}

/// The core has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the node is stopping")]
pub struct Stopped;

type Query<A> = Box<dyn FnOnce(&Replica<A>, Timestamp) + Send>;

enum Command<A: Application> {
    Peer(Member, PeerMessage),
    Application(A::Input, oneshot::Sender<A::Reply>),
    Query(Query<A>),
    Stop,
}

/// A handle to the core thread.
pub struct Core<A: Application> {
    commands: SyncSender<Command<A>>,
    /// How many messages of each member wait.
    queued: Arc<[AtomicUsize]>,
    /// Room for clients: a permit a command that waits, so that they wait asynchronously.
    room: Arc<tokio::sync::Semaphore>,
    events: broadcast::Sender<ChainEvent>,
    stopped: watch::Receiver<Option<String>>,
    refused: Arc<Refusals>,
}

impl<A: Application> Clone for Core<A> {
    fn clone(&self) -> Self {
        Core {
            commands: self.commands.clone(),
            queued: self.queued.clone(),
            room: self.room.clone(),
            events: self.events.clone(),
            stopped: self.stopped.clone(),
            refused: self.refused.clone(),
        }
    }
}

/// How often peers' messages were refused, by reason.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<&'static str, u64>>);

impl Refusals {
    /// Counts one.
    pub fn count(&self, reason: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    /// All counts.
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
        let query: Query<A> = Box::new(move |replica, now| drop(answer.send(ask(replica, now))));
        self.give(Command::Query(query)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Gives the application an input and waits for its answer.
    pub async fn submit(&self, input: A::Input) -> Result<A::Reply, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.give(Command::Application(input, answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Clients share a quarter of the queue, so that they can never crowd out peers.
    async fn give(&self, command: Command<A>) -> Result<(), Stopped> {
        let _permit = self.room.acquire().await.map_err(|_| Stopped)?;
        let mut command = command;
        loop {
            match self.commands.try_send(command) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Stopped),
                Err(TrySendError::Full(back)) => command = back,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Hands over what a peer said; false: no room, and it is dropped.
    pub fn deliver(&self, from: Member, message: PeerMessage) -> bool {
        let Some(queued) = self.queued.get(from.index()) else { return false };
        if queued.fetch_add(1, Ordering::Relaxed) < PEER_QUEUE
            && self.commands.try_send(Command::Peer(from, message)).is_ok()
        {
            return true;
        }
        queued.fetch_sub(1, Ordering::Relaxed);
        false
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
        let _gone = self.commands.send(Command::Stop);
    }

    /// Refused messages of peers, counted.
    pub fn refused(&self) -> &Arc<Refusals> {
        &self.refused
    }
}

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

/// Everything the core thread owns.
struct Runner<A: Application, O> {
    replica: Replica<A>,
    queued: Arc<[AtomicUsize]>,
    store: Arc<RocksStore>,
    guard: Option<SignGuard>,
    outbox: O,
    events: broadcast::Sender<ChainEvent>,
    refused: Arc<Refusals>,
}

/// A refusal's name in the metrics: one of a few, whatever a peer says.
fn kind(reason: &Refused) -> &'static str {
    match reason {
        Refused::OtherEra => "other_era",
        Refused::Signature => "signature",
        Refused::Block => "block",
        Refused::Header => "header",
        Refused::Content => "content",
        Refused::Message(_) => "message",
        Refused::Certificate(_) => "certificate",
        Refused::Evidence => "evidence",
        Refused::Length { .. } => "length",
        Refused::Full => "full",
    }
}

/// Starts the core thread.
pub fn start<A, O>(
    replica: Replica<A>,
    store: Arc<RocksStore>,
    guard: Option<SignGuard>,
    outbox: O,
) -> std::io::Result<(Core<A>, JoinHandle<()>)>
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
    let room = Arc::new(tokio::sync::Semaphore::new(QUEUE / 4));
    let queued: Arc<[AtomicUsize]> = replica.seats().keys.iter().map(|_| AtomicUsize::new(0)).collect();
    let mut runner = Runner {
        replica,
        queued: queued.clone(),
        store,
        guard,
        outbox,
        events: events.clone(),
        refused: refused.clone(),
    };
    let thread = std::thread::Builder::new().name("core".into()).spawn(move || {
        if let Err(error) = runner.run(&inbox) {
            tracing::error!(reason = %format!("{error:#}"), "the core has halted");
            let _nobody = ended.send(Some(format!("{error:#}")));
        }
    })?;
    Ok((Core { commands, queued, room, events, stopped, refused }, thread))
}

impl<A: Application, O: Outbox> Runner<A, O> {
    fn run(&mut self, inbox: &Receiver<Command<A>>) -> anyhow::Result<()> {
        self.step(Input::Tick)?;
        loop {
            let wait = self.replica.next_wakeup().0.saturating_sub(now().0);
            match inbox.recv_timeout(Duration::from_millis(wait.min(60_000))) {
                Ok(Command::Peer(from, message)) => {
                    self.queued[from.index()].fetch_sub(1, Ordering::Relaxed);
                    drop(self.step(Input::Peer { from, message })?);
                }
                Ok(Command::Application(input, answer)) => {
                    if let Some(reply) = self.step(Input::Application(input))? {
                        // The client may have gone meanwhile.
                        let _gone = answer.send(reply);
                    }
                }
                Ok(Command::Query(query)) => query(&self.replica, now()),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => drop(self.step(Input::Tick)?),
            }
        }
    }

    /// Feeds one input and carries out what follows, in order.
    fn step(&mut self, input: Input<A::Input>) -> anyhow::Result<Option<A::Reply>> {
        let mut answer = None;
        for effect in self.replica.handle(now(), input) {
            match effect {
                Effect::Persist { writes, synced } => self.store.write(&writes, synced)?,
                Effect::Guard(state) => {
                    if let Some(guard) = &mut self.guard {
                        guard.write(state)?;
                    }
                }
                Effect::Broadcast(message) => self.outbox.broadcast(&message),
                Effect::Send(to, message) => self.outbox.send(to, &message),
                Effect::Included { id, block } => self.tell(ChainEvent::Included { id, block }),
                Effect::Certified { id, block, receipts } => self.tell(ChainEvent::Certified { id, block, receipts }),
                Effect::ReferencesGrew => self.tell(ChainEvent::ReferencesGrew),
                Effect::Reply(reply) => answer = Some(reply),
                Effect::Refused { from, reason } => {
                    tracing::debug!(%from, %reason, "refused a peer's message");
                    self.refused.count(kind(&reason));
                }
                Effect::Halt(breach) => anyhow::bail!(breach),
            }
        }
        Ok(answer)
    }

    fn tell(&self, event: ChainEvent) {
        // Nobody listening is fine.
        let _nobody = self.events.send(event);
    }
}
