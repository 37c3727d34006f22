//! The server against silent connections, too many of them, and ports in use.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::{incoming::FIRST_BYTES, *};
use std::time::Instant;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};

async fn started() -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), ServeFailure>>) {
    let listener = listen("127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = base_routes(&[""]).await.routes();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, routes, Arc::new(Metrics::new()), async move { drop(stopped.await) }));
    (address, stop, serving)
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_flag() {
    let first = listen("127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
    let address = first.local_addr().unwrap();
    let failure = listen(address, "metrics").await.unwrap_err();
    assert!(matches!(failure, ServeFailure::PortInUse { .. }));
    assert!(failure.to_string().contains("--metrics") && failure.to_string().contains(&address.to_string()));
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_a_while() {
    let (address, _stop, _serving) = started().await;
    let mut silent = TcpStream::connect(address).await.unwrap();
    let mut bytes = Vec::new();
    let ended = timeout(FIRST_BYTES * 3, silent.read_to_end(&mut bytes)).await;
    assert!(ended.is_ok(), "still open");
}

#[tokio::test]
async fn connections_past_the_limit_are_closed_and_a_place_comes_free_again() {
    let listener = listen("127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut incoming = accept(listener, 1, Arc::new(Metrics::new()));
    let _client = TcpStream::connect(address).await.unwrap();
    let first = incoming.recv().await.unwrap().unwrap();
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(timeout(Duration::from_secs(2), second.read(&mut [0; 8])).await.unwrap().unwrap_or(0), 0);
    drop(first);
    let mut third = TcpStream::connect(address).await.unwrap();
    third.write_all(b"x").await.unwrap();
    assert!(timeout(Duration::from_secs(2), incoming.recv()).await.unwrap().is_some());
}

#[tokio::test]
async fn open_streams_do_not_keep_the_server_from_stopping() {
    let (address, stop, serving) = started().await;
    let channel =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let asked = Instant::now();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(asked.elapsed() < GRACE * 4);
}
