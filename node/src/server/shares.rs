//! Something of which there is only so much: how much of it all callers, one address and one connection may hold.

use crate::errors::ApiError;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};
use tokio_stream::Stream;

/// A connection, named by where it comes from: two that are open at a time never have the same name. Those of which that
/// is not known count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller {
    address: IpAddr,
    port: u16,
}

impl From<Option<SocketAddr>> for Caller {
    fn from(remote: Option<SocketAddr>) -> Caller {
        let nowhere = Caller { address: Ipv4Addr::UNSPECIFIED.into(), port: 0 };
        remote.map_or(nowhere, |remote| Caller { address: remote.ip().to_canonical(), port: remote.port() })
    }
}

/// How much may be held at a time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// By all callers together.
    pub all: usize,
    /// By all connections from one address. Loopback has no such limit: a whole network may live there.
    pub address: usize,
    /// By one connection.
    pub connection: usize,
}

/// A handle; clones share everything.
#[derive(Clone, Debug)]
pub struct Shares {
    what: &'static str,
    limits: Limits,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    /// Only those that hold any.
    connections: BTreeMap<Caller, usize>,
}

/// What a caller holds, until this is dropped.
#[derive(Debug)]
pub struct Share {
    shares: Shares,
    caller: Caller,
    amount: usize,
}

impl Shares {
    /// Nothing is held yet. `what`: its name in refusals.
    pub fn new(what: &'static str, limits: Limits) -> Shares {
        Shares { what, limits, held: Arc::default() }
    }

    /// Gives a caller so much more.
    ///
    /// # Errors
    /// [`ApiError::Busy`] with the limit that is reached.
    pub fn take(&self, caller: Caller, amount: usize) -> Result<Share, ApiError> {
        let Limits { all, address, connection } = self.limits;
        let mut held = self.lock();
        let mine = held.connections.get(&caller).copied().unwrap_or_default();
        let beside = || -> usize {
            let those = Caller { port: 0, ..caller }..=Caller { port: u16::MAX, ..caller };
            held.connections.range(those).map(|(_, amount)| amount).sum()
        };
        let full = |limit| Err(ApiError::Busy { what: self.what, limit });
        if held.all.saturating_add(amount) > all {
            return full(all);
        }
        if mine.saturating_add(amount) > connection {
            return full(connection);
        }
        if !caller.address.is_loopback() && beside().saturating_add(amount) > address {
            return full(address);
        }
        held.all += amount;
        held.connections.insert(caller, mine + amount);
        Ok(Share { shares: self.clone(), caller, amount })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no holder panics")
    }

    /// How much is held by all.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.lock().all
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut held = self.shares.lock();
        held.all -= self.amount;
        if let Some(mine) = held.connections.get_mut(&self.caller) {
            *mine -= self.amount;
            if *mine == 0 {
                held.connections.remove(&self.caller);
            }
        }
    }
}

/// A stream that holds a share for as long as it is there.
#[derive(Debug)]
pub struct Holding<S> {
    stream: S,
    _share: Share,
}

impl<S> Holding<S> {
    /// The stream with its share.
    pub fn new(stream: S, share: Share) -> Holding<S> {
        Holding { stream, _share: share }
    }
}

impl<S: Stream + Unpin> Stream for Holding<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        Pin::new(&mut self.stream).poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn caller(remote: &str) -> Caller {
        Caller::from(Some(remote.parse::<SocketAddr>().unwrap()))
    }

    #[test]
    fn one_connection_and_one_address_leave_room_for_others_and_loopback_is_many_addresses() {
        let shares = Shares::new("places", Limits { all: 8, address: 4, connection: 3 });
        let limit = |refused: Result<Share, ApiError>| match refused {
            Err(ApiError::Busy { limit, .. }) => limit,
            other => panic!("{other:?}"),
        };
        let (first, second) = (caller("9.9.9.9:1"), caller("[::ffff:9.9.9.9]:2"));
        let three = shares.take(first, 3).unwrap();
        assert_eq!(limit(shares.take(first, 1)), 3);
        let _fourth = shares.take(second, 1).unwrap();
        assert_eq!(limit(shares.take(second, 1)), 4, "the same address, written otherwise");
        let home: Vec<Share> =
            (1..=4).map(|port| shares.take(caller(&format!("127.0.0.1:{port}")), 1).unwrap()).collect();
        assert_eq!(limit(shares.take(caller("7.7.7.7:1"), 1)), 8);
        drop((three, home));
        assert!(shares.take(first, 3).is_ok());
        assert_eq!((shares.held(), shares.lock().connections.len()), (1, 1), "who holds nothing is forgotten");
        assert!(shares.take(Caller::from(None), usize::MAX).is_err());
    }
}
