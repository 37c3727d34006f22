//! Prometheus metrics: counters that the parts increment, and gauges read from the node's status at each scrape.

use axum::{Router, http::header, routing::get};
use kakera_proto::v1;
use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::net::TcpListener;

type Number = Gauge<u64, AtomicU64>;
type ByReason = Family<Vec<(&'static str, Cow<'static, str>)>, Counter>;

/// Reasons shown at most.
const REASONS: usize = 64;

/// Reads the node's status for a scrape; nothing when the core has stopped.
pub type StatusSource = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Option<v1::NodeStatus>> + Send>> + Send + Sync>;

/// Reads how often peers' messages were refused, by reason, by all that the process hosts.
pub type RefusalSource = Arc<dyn Fn() -> BTreeMap<&'static str, u64> + Send + Sync>;

/// Every metric of a process.
#[derive(Debug, Default)]
pub struct Metrics {
    registry: Registry,
    gauges: Gauges,
    refused: ByReason,
    api_refused: ByReason,
    sent: Counter,
    dropped: Counter,
    received: Counter,
    overflowed: Counter,
    refused_connections: Counter,
}

#[derive(Debug, Default)]
struct Gauges {
    head_height: Number,
    finalized_height: Number,
    certified_height: Number,
    beacon_height: Number,
    slot: Number,
    peers: Number,
    pool: Number,
    stalled: Number,
    blocks: Number,
    transactions: Number,
    receipts_out: Number,
    receipts_in: Number,
    messages: Number,
    forks: Number,
    equivocators: Number,
    balances: Number,
    held: Number,
    burned: Number,
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Metrics {
        let mut metrics = Metrics { registry: Registry::with_prefix("kakera"), ..Metrics::default() };
        let gauges = &metrics.gauges;
        let numbers = [
            ("head_height", "Height of the head", &gauges.head_height),
            ("finalized_height", "Highest block that this node's detector finalized", &gauges.finalized_height),
            ("certified_height", "Highest block with a certificate", &gauges.certified_height),
            ("beacon_height", "Newest certified beacon block known (shards)", &gauges.beacon_height),
            ("slot", "The chain's slot by this node's clock", &gauges.slot),
            ("connected_peers", "Members of the committee that this node's stream reaches", &gauges.peers),
            ("pool_size", "Transactions or crosslinks that wait", &gauges.pool),
            ("stalled", "1 while no block was certified for longer than it should take", &gauges.stalled),
            ("blocks", "Certified blocks", &gauges.blocks),
            ("transactions", "Transactions in certified blocks", &gauges.transactions),
            ("receipts_out", "Receipts emitted by certified blocks", &gauges.receipts_out),
            ("receipts_in", "Receipts consumed by certified blocks", &gauges.receipts_in),
            ("messages", "Consensus messages inserted", &gauges.messages),
            ("forks", "Blocks that lost against another at their height", &gauges.forks),
            ("equivocators", "Members proved to have equivocated in this era", &gauges.equivocators),
            ("balances", "Sum of all balances, smallest unit (shards)", &gauges.balances),
            ("held", "Held by programs and tips, smallest unit (shards)", &gauges.held),
            ("burned", "Burned since genesis, smallest unit (shards)", &gauges.burned),
        ];
        for (name, help, gauge) in numbers {
            metrics.registry.register(name, help, gauge.clone());
        }
        let counters = [
            ("peer_envelopes_sent", "Envelopes queued to peers", &metrics.sent),
            ("peer_envelopes_dropped", "Envelopes not sent: peer away or its queue full", &metrics.dropped),
            ("peer_envelopes_received", "Envelopes received from peers", &metrics.received),
            ("peer_envelopes_overflowed", "Envelopes received and dropped: the core's queue full", &metrics.overflowed),
            ("connections_refused", "Connections closed at once: too many open", &metrics.refused_connections),
        ];
        for (name, help, counter) in counters {
            metrics.registry.register(name, help, counter.clone());
        }
        metrics.registry.register("peer_envelopes_refused", "Envelopes refused, by reason", metrics.refused.clone());
        metrics.registry.register("requests_refused", "Requests refused, by reason", metrics.api_refused.clone());
        metrics
    }

    /// An envelope of a peer was refused.
    pub fn count_refused(&self, reason: &'static str) {
        self.refused.get_or_create(&vec![("reason", Cow::Borrowed(reason))]).inc();
    }

    /// A request was refused.
    pub fn count_request_refused(&self, reason: &'static str) {
        self.api_refused.get_or_create(&vec![("reason", Cow::Borrowed(reason))]).inc();
    }

    /// An envelope was queued to a peer, or dropped.
    pub fn count_sent(&self, queued: bool) {
        if queued {
            self.sent.inc()
        } else {
            self.dropped.inc()
        };
    }

    /// An envelope came from a peer, and was taken by the core or dropped.
    pub fn count_received(&self, taken: bool) {
        self.received.inc();
        if !taken {
            self.overflowed.inc();
        }
    }

    /// A connection was closed because too many are open.
    pub fn count_connection_refused(&self) {
        self.refused_connections.inc();
    }

    /// Copies the core's counts of refused messages.
    fn take_refusals(&self, refusals: BTreeMap<&'static str, u64>) {
        for (reason, count) in refusals.into_iter().take(REASONS) {
            let counter = self.refused.get_or_create(&vec![("reason", Cow::Borrowed(reason))]);
            counter.inner().store(count, Ordering::Relaxed);
        }
    }

    /// The text that Prometheus reads.
    pub fn render(&self, status: Option<&v1::NodeStatus>) -> String {
        if let Some(status) = status {
            self.gauges.read(status);
        }
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to memory cannot fail");
        text
    }
}

impl Gauges {
    fn read(&self, status: &v1::NodeStatus) {
        let (totals, supply) = (status.totals.unwrap_or_default(), status.supply.unwrap_or_default());
        let values = [
            (&self.head_height, status.head_height),
            (&self.finalized_height, status.finalized_height),
            (&self.certified_height, status.certified_height),
            (&self.beacon_height, status.beacon_height),
            (&self.slot, status.slot),
            (&self.peers, status.connected_peers.into()),
            (&self.pool, status.pool_size.into()),
            (&self.stalled, status.stalled.into()),
            (&self.blocks, totals.blocks),
            (&self.transactions, totals.transactions),
            (&self.receipts_out, totals.receipts_out),
            (&self.receipts_in, totals.receipts_in),
            (&self.messages, totals.messages),
            (&self.forks, totals.forks),
            (&self.equivocators, totals.equivocators),
            (&self.balances, supply.balances),
            (&self.held, supply.held),
            (&self.burned, supply.burned),
        ];
        for (gauge, value) in values {
            gauge.set(value);
        }
    }
}

/// Serves `/metrics` until the process ends.
///
/// # Errors
/// The listener's.
pub async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    status: StatusSource,
    refusals: RefusalSource,
) -> std::io::Result<()> {
    let page = move || {
        let (metrics, status) = (Arc::clone(&metrics), status());
        metrics.take_refusals(refusals());
        async move {
            let content = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
            (content, metrics.render(status.await.as_ref()))
        }
    };
    axum::serve(listener, Router::new().route("/metrics", get(page))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_gauges_and_counters() {
        let metrics = Metrics::new();
        metrics.count_refused("BAD_HELLO");
        metrics.count_sent(false);
        let status = v1::NodeStatus { head_height: 7, stalled: true, ..Default::default() };
        let page = metrics.render(Some(&status));
        for line in [
            "kakera_head_height 7\n",
            "kakera_stalled 1\n",
            "kakera_peer_envelopes_refused_total{reason=\"BAD_HELLO\"} 1\n",
            "kakera_peer_envelopes_dropped_total 1\n",
        ] {
            assert!(page.contains(line), "{line} is not in:\n{page}");
        }
    }
}
