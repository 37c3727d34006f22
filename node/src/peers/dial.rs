//! Keeping one stream open to one peer.

use super::{Inner, Peer, queue::queue};
use crate::{checked::Checked, core::now, forward::names};
use kakera_proto::v1::peer_client::PeerClient;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, timeout};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A link that is back carries a stream again within this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// A stream that lasted this long was a good one: the next attempt begins without delay.
const GOOD: Duration = Duration::from_secs(5);
/// Systems repeat a lost first packet after a second: a new attempt is as good.
const CONNECT: Duration = Duration::from_secs(1);
/// A peer that is stopped (not dead), or a link that swallows everything, is noticed after these two together.
pub(crate) const PING_EVERY: Duration = Duration::from_secs(3);
pub(crate) const PING_ANSWER: Duration = Duration::from_secs(1);

/// Dials, talks until the stream ends, waits a little longer each time, for ever.
pub(super) async fn keep_stream(inner: Arc<Inner>, peer: Arc<Peer>) {
    let mut pause = FIRST_PAUSE;
    let mut told: Option<(Code, String)> = None;
    loop {
        let started = Instant::now();
        let status = talk(&inner, &peer).await;
        *peer.queue.lock().expect("no holder panics") = None;
        let kind = (status.code(), crate::errors::reason_of(&status).unwrap_or_default());
        if told.as_ref() != Some(&kind) {
            let (validator, endpoint) = (peer.contact.validator, &peer.contact.endpoint);
            tracing::info!(%validator, endpoint, reason = %status.message(), "the stream to a peer ended; dialling again");
            told = Some(kind);
        }
        if started.elapsed() >= GOOD {
            (pause, told) = (FIRST_PAUSE, None);
        }
        // Spread by who it is, so that the streams of a restarted process do not all come back at one instant.
        sleep(pause + Duration::from_millis(7 * u64::from(peer.contact.validator.0 % 16))).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One stream, from dialling to its end; returns why it ended.
async fn talk(inner: &Inner, peer: &Peer) -> Status {
    let contact = &peer.contact;
    let channel = match connect(&contact.endpoint).await {
        Ok(channel) => channel,
        Err(status) => return status,
    };
    let (sender, envelopes) = queue(inner.hello(contact.validator, now()));
    *peer.queue.lock().expect("no holder panics") = Some(sender);
    tracing::debug!(validator = %contact.validator, endpoint = contact.endpoint, "the stream to a peer is open");
    match PeerClient::new(Checked(channel)).talk(envelopes).await {
        Ok(_) => Status::unavailable("the peer ended it"),
        Err(status) => status,
    }
}

/// A connection to the first address of an endpoint that accepts one.
async fn connect(endpoint: &str) -> Result<Channel, Status> {
    let found = timeout(CONNECT, names::addresses(endpoint)).await;
    let found = found.map_err(|_| Status::unavailable("its name is not found in time"))?;
    let mut refused = Status::unavailable("its name leads nowhere");
    for address in found.map_err(|error| Status::unavailable(error.to_string()))? {
        let way = Endpoint::from_shared(format!("http://{address}"));
        let way = way.map_err(|error| Status::invalid_argument(format!("{endpoint}: {error}")))?;
        let way = way.connect_timeout(CONNECT).tcp_nodelay(true).http2_keep_alive_interval(PING_EVERY);
        match way.keep_alive_timeout(PING_ANSWER).keep_alive_while_idle(true).connect().await {
            Ok(channel) => return Ok(channel),
            Err(error) => refused = Status::unavailable(error.to_string()),
        }
    }
    Err(refused)
}
