//! Names of hosts: whoever wants to know the same one waits for the same lookup, and a channel follows its name.
//!
//! The system's resolver cannot be told to stop. Where a name server does not answer, a lookup holds a thread until it
//! gives up, long after whoever wanted it has; so there is one at a time for each name, however often it is dialled.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpStream, lookup_host},
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tonic::transport::{Channel, Endpoint, channel::Change};

/// Addresses of one name that are tried at most.
pub(crate) const TRIED: usize = 4;
/// How long a lookup is waited for, and one of several addresses that may accept a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// How often a name that leads somewhere is looked up again: hosts move.
const AGAIN: Duration = Duration::from_secs(10);
/// How soon one that leads nowhere is.
const SOON: Duration = Duration::from_secs(1);

/// All lookups of the process.
static LOOKUPS: LazyLock<Lookups> = LazyLock::new(Lookups::default);

/// What is known at the end of a lookup.
type Found = Result<Vec<SocketAddr>, String>;
/// By endpoint.
type UnderWay = BTreeMap<String, watch::Receiver<Option<Found>>>;

/// Lookups under way; clones share them.
#[derive(Clone, Default)]
struct Lookups(Arc<Mutex<UnderWay>>);

/// A lookup, which is under way until it ends or its task does.
struct Looking {
    lookups: Lookups,
    endpoint: String,
    told: Option<watch::Sender<Option<Found>>>,
}

impl Looking {
    /// The next one begins anew; whoever waits for this one is told so after that.
    fn end(&mut self, found: Option<Found>) {
        if let Some(told) = self.told.take() {
            self.lookups.0.lock().expect("no holder panics").remove(&self.endpoint);
            told.send_replace(found);
        }
    }
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl Lookups {
    async fn find<F>(&self, endpoint: &str, look: impl FnOnce(String) -> F) -> io::Result<Vec<SocketAddr>>
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let mut found = self.begin(endpoint, look);
        let found = found.wait_for(Option::is_some).await.map(|found| found.clone());
        let found = found.ok().flatten().unwrap_or_else(|| Err("its lookup has ended with its task".to_owned()));
        found.map_err(io::Error::other)
    }

    /// Begins a lookup unless it is under way.
    fn begin<F>(&self, endpoint: &str, look: impl FnOnce(String) -> F) -> watch::Receiver<Option<Found>>
    where
        F: Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        let mut under_way = self.0.lock().expect("no holder panics");
        if let Some(found) = under_way.get(endpoint) {
            return found.clone();
        }
        let (sender, receiver) = watch::channel(None);
        under_way.insert(endpoint.to_owned(), receiver.clone());
        let mut looking = Looking { lookups: self.clone(), endpoint: endpoint.to_owned(), told: Some(sender) };
        let found = look(endpoint.to_owned());
        // In a task of its own: it goes on when nobody waits any more.
        tokio::spawn(async move {
            let found = found.await.map_err(|error| error.to_string());
            looking.end(Some(found));
        });
        receiver
    }
}

async fn look(endpoint: String) -> io::Result<Vec<SocketAddr>> {
    Ok(lookup_host(endpoint).await?.take(TRIED).collect())
}

/// The addresses that an endpoint `host:port` stands for.
pub(crate) async fn addresses(endpoint: &str) -> io::Result<Vec<SocketAddr>> {
    match endpoint.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) => LOOKUPS.find(endpoint, look).await,
    }
}

/// A channel to wherever a name leads, which `make` makes ways to; and whether it is known to lead nowhere. What is asked
/// before anything is known waits.
pub(super) fn channel(endpoint: String, make: fn(SocketAddr) -> Option<Endpoint>) -> (Channel, Arc<AtomicBool>) {
    let ((channel, ways), nowhere) = (Channel::balance_channel(1), Arc::new(AtomicBool::new(false)));
    let told = Arc::clone(&nowhere);
    tokio::spawn(async move {
        tokio::select! {
            () = ways.closed() => {}
            () = lead(&endpoint, make, &ways, &told) => {}
        }
    });
    (channel, nowhere)
}

/// Leads a channel after its name.
async fn lead(
    endpoint: &str,
    make: fn(SocketAddr) -> Option<Endpoint>,
    ways: &mpsc::Sender<Change<(), Endpoint>>,
    nowhere: &AtomicBool,
) {
    let mut known = None;
    loop {
        let found = match timeout(CONNECT, addresses(endpoint)).await {
            Ok(found) => found.inspect_err(|reason| tracing::debug!(endpoint, %reason, "a name leads nowhere")),
            Err(_) => Ok(Vec::new()),
        };
        let (address, answers) = choose(&found.unwrap_or_default()).await;
        let other = address.filter(|address| known != Some(*address));
        if let Some((address, way)) = other.and_then(|address| Some((address, make(address)?))) {
            known = Some(address);
            if ways.send(Change::Insert((), way)).await.is_err() {
                return;
            }
        }
        nowhere.store(known.is_none(), Ordering::Relaxed);
        sleep(if answers { AGAIN } else { SOON }).await;
    }
}

/// The first of several addresses that accepts a connection, or the first of all; and whether to be content with it.
async fn choose(addresses: &[SocketAddr]) -> (Option<SocketAddr>, bool) {
    if let [_, _, ..] = addresses {
        for address in addresses {
            if let Ok(Ok(_accepted)) = timeout(CONNECT, TcpStream::connect(address)).await {
                return (Some(*address), true);
            }
        }
    }
    (addresses.first().copied(), addresses.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use tokio::sync::oneshot;

    /// One validator whose name server never answers took all threads there were: each attempt left a lookup behind.
    #[tokio::test]
    async fn a_name_that_is_never_answered_is_looked_up_once_however_often_it_is_wanted() {
        let (lookups, begun) = (Lookups::default(), AtomicU32::new(0));
        let (answer, answered) = oneshot::channel::<SocketAddr>();
        let mut answered = Some(answered);
        for _ in 0..100 {
            let find = lookups.find("validator.example:4000", |_| {
                begun.fetch_add(1, Ordering::Relaxed);
                let answered = answered.take();
                async move { answered.expect("one lookup").await.map(|found| vec![found]).map_err(io::Error::other) }
            });
            assert!(timeout(Duration::ZERO, find).await.is_err(), "nobody answers");
        }
        assert_eq!(begun.load(Ordering::Relaxed), 1);
        // Another name does not wait for it, and when it is answered after all, the next one begins anew.
        let address: SocketAddr = "127.0.0.1:7".parse().expect("an address");
        assert_eq!(
            lookups.find("other.example:1", move |_| async move { Ok(vec![address]) }).await.ok(),
            Some(vec![address])
        );
        let mut waiting = lookups.begin("validator.example:4000", |_| std::future::pending());
        answer.send(address).expect("it is waited for");
        let found = waiting.wait_for(Option::is_some).await.map(|found| found.clone());
        assert_eq!(found.ok().flatten(), Some(Ok(vec![address])));
        let failed = lookups.find("validator.example:4000", |_| async { Err(io::Error::other("no such name")) });
        assert_eq!(failed.await.err().map(|error| error.to_string()).as_deref(), Some("no such name"));
        assert!(lookups.0.lock().expect("one thread").is_empty());
    }

    #[tokio::test]
    async fn a_lookup_whose_runtime_ends_is_nobodys() {
        let lookups = Lookups::default();
        let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let mut found = {
            let _there = other.enter();
            lookups.begin("validator.example:1", |_| std::future::pending())
        };
        other.shutdown_background();
        assert!(found.wait_for(Option::is_some).await.is_err());
        assert!(lookups.0.lock().expect("one thread").is_empty());
    }

    #[tokio::test]
    async fn of_several_addresses_the_one_that_accepts_is_chosen() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let (open, closed) = (listener.local_addr().expect("bound"), "127.0.0.2:1".parse().expect("an address"));
        assert_eq!(choose(&[closed, open]).await, (Some(open), true));
        assert_eq!(choose(&[closed, closed]).await, (Some(closed), false));
        assert_eq!((choose(&[closed]).await, choose(&[]).await), ((Some(closed), true), (None, false)));
    }
}
