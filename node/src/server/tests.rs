//! The server against silent connections, too many of them, answers that nobody takes, and ports in use.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::{incoming::FIRST_BYTES, untaken::LEAST, *};
use crate::errors::reason_of;
use std::time::Instant;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinSet,
    time::timeout,
};
use tonic::{Status, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

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
    let mut incoming = accept(listener, 1, Untaken::new(), Arc::new(Metrics::new()));
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
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest { service: String::new() };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let asked = Instant::now();
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(asked.elapsed() < GRACE * 4);
}

/// A server with its gate, and what is not taken of its answers.
async fn gated(bytes: Limits, within: Duration) -> (SocketAddr, Untaken) {
    let listener = listen("127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (untaken, routes) = (Untaken::within(bytes, within), base_routes(&[""]).await.routes());
    let incoming = ReceiverStream::new(accept(listener, 8, untaken.clone(), Arc::new(Metrics::new())));
    let server = Server::builder().layer(Gate::new(untaken.clone())).add_routes(routes);
    tokio::spawn(server.serve_with_incoming(incoming));
    (address, untaken)
}

async fn connected(address: SocketAddr, window: u32) -> HealthClient<Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(endpoint.initial_stream_window_size(window).connect().await.unwrap())
}

async fn ask(mut client: HealthClient<Channel>) -> Result<HealthCheckResponse, Status> {
    let request = HealthCheckRequest { service: String::new() };
    client.check(request).await.map(tonic::Response::into_inner)
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(10), "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn answers_that_a_client_does_not_take_leave_no_room_for_its_next_and_some_for_others() {
    let limits = Limits { all: 5 * LEAST, address: 5 * LEAST, connection: 3 * LEAST };
    let (address, untaken) = gated(limits, Duration::from_secs(60)).await;
    // A window of nothing takes an answer's head and never its body.
    let greedy = connected(address, 0).await;
    let mut asked = JoinSet::new();
    for _ in 0..3 {
        asked.spawn(ask(greedy.clone()));
    }
    until("three answers wait", || untaken.held() == 3 * LEAST).await;
    let refused = timeout(Duration::from_secs(5), ask(greedy.clone())).await.expect("answered at once").unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some("BUSY"), "{refused}");
    let honest = connected(address, 65_535).await;
    for _ in 0..20 {
        assert!(ask(honest.clone()).await.is_ok());
    }
    until("what is taken counts no more", || untaken.held() == 3 * LEAST).await;
    drop(greedy);
    asked.shutdown().await;
    until("who hung up holds nothing", || untaken.held() == 0).await;
}

#[tokio::test]
async fn who_leaves_an_answer_lying_is_hung_up_on_and_who_takes_all_is_not() {
    let limits = Limits { all: 9 * LEAST, address: 9 * LEAST, connection: 9 * LEAST };
    let (address, untaken) = gated(limits, Duration::from_millis(400)).await;
    let (honest, greedy) = (connected(address, 65_535).await, connected(address, 0).await);
    let mut watch = honest.clone().watch(HealthCheckRequest { service: String::new() }).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let ended = timeout(Duration::from_secs(5), ask(greedy)).await;
    assert!(ended.expect("its connection is closed").is_err());
    until("nothing is held for it", || untaken.held() == 0).await;
    assert!(ask(honest).await.is_ok());
    let silent = timeout(Duration::from_millis(100), watch.message()).await;
    assert!(silent.is_err(), "a stream without news is left alone");
}
