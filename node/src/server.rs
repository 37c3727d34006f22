//! The gRPC server with its limits: connections, streams, headers, first frames, time, load, and answers that nobody takes.

mod gate;
mod incoming;
mod shares;
mod untaken;

pub use shares::{Caller, Holding, Limits, Share, Shares};

use crate::metrics::Metrics;
use gate::Gate;
use incoming::accept;
use kakera_proto::DESCRIPTORS;
use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use thiserror::Error;
use tokio::{net::TcpListener, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    service::{Routes, RoutesBuilder},
    transport::Server,
};
use untaken::Untaken;

/// Connections at once at most.
pub const MAX_CONNECTIONS: usize = 2048;
/// Streams of one connection at once at most: other nodes share one connection for all that they forward.
const MAX_STREAMS: u32 = 16_384;
const MAX_HEADER_BYTES: u32 = 16 * 1024;
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(10);
/// How long open calls have after the end was asked for. The peers' streams never end by themselves.
const GRACE: Duration = Duration::from_millis(400);

/// Why a server does not run.
#[derive(Debug, Error)]
pub enum ServeFailure {
    /// Another process listens there.
    #[error("{address} is in use by another process: stop that one, or choose another address with --{flag}")]
    PortInUse {
        /// The address.
        address: SocketAddr,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// Anything else the machine refuses.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The machine's words.
        reason: io::Error,
    },
    /// The server ended.
    #[error("the gRPC server ended: {0}")]
    Ended(#[from] tonic::transport::Error),
}

/// Opens a listening socket.
///
/// # Errors
/// [`ServeFailure::PortInUse`] or [`ServeFailure::Listen`].
pub async fn listen(address: SocketAddr, flag: &'static str) -> Result<TcpListener, ServeFailure> {
    TcpListener::bind(address).await.map_err(|reason| match reason.kind() {
        io::ErrorKind::AddrInUse => ServeFailure::PortInUse { address, flag },
        _ => ServeFailure::Listen { address, reason },
    })
}

/// Health and reflection, to which the chain's services are added.
///
/// # Panics
/// If the descriptors that this crate was built with do not parse.
pub async fn base_routes(services: &[&str]) -> RoutesBuilder {
    let (health, health_service) = tonic_health::server::health_reporter();
    for name in services {
        health.set_service_status(*name, tonic_health::ServingStatus::Serving).await;
    }
    let descriptors = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut routes = Routes::builder();
    routes
        .add_service(health_service)
        .add_service(descriptors().build_v1().expect("built with this crate"))
        // grpcurl and Python still ask the older one.
        .add_service(descriptors().build_v1alpha().expect("built with this crate"));
    routes
}

/// Serves until `stop` resolves, then lets open streams end for a moment and cuts them.
///
/// # Errors
/// The transport's.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    metrics: Arc<Metrics>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ServeFailure> {
    let (asked, mut told) = tokio::sync::watch::channel(false);
    let untaken = Untaken::new();
    let incoming = ReceiverStream::new(accept(listener, MAX_CONNECTIONS, untaken.clone(), metrics));
    let serving = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_keepalive_interval(Some(PING_EVERY))
        .http2_keepalive_timeout(Some(PING_ANSWER))
        .layer(Gate::new(untaken))
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, async move {
            // An error means that the sender is gone, which is an end as well.
            let _gone = told.wait_for(|asked| *asked).await;
        });
    let deadline = async {
        stop.await;
        asked.send_replace(true);
        sleep(GRACE).await;
    };
    tokio::select! {
        ended = serving => Ok(ended?),
        () = deadline => Ok(()),
    }
}

#[cfg(test)]
mod tests;
