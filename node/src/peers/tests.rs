//! Greetings that must not open a stream, streams that end, and two nodes that talk.

#![allow(clippy::unwrap_used, reason = "tests")]
use super::{greeting::TOLERANCE_MS, service::Rate, *};
use crate::{core::now, errors, server, testing};
use kakera_beacon::Committees;
use kakera_chain::{
    genesis::Network,
    peer::{Hello, PeerMessage},
    units::{Epoch, ShardId, Timestamp},
};
use kakera_proto::v1::{Envelope, peer_client::PeerClient};
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, transport::Channel};

const CHAIN: ChainId = ChainId::Shard(ShardId(0));

fn peers_on(network: &Network, me: u8) -> Peers {
    let seats = Committees::draw(network).shards[0].clone();
    let peers = Peers::new(network.id, CHAIN, ValidatorId(me.into()), testing::secret(me), Arc::new(Metrics::new()));
    let contact = |(validator, key): (&ValidatorId, &PublicKey)| {
        let endpoint = crate::config::validator(network, *validator).unwrap().endpoint.clone();
        Contact { validator: *validator, key: *key, endpoint }
    };
    peers.set(seats.validators.iter().zip(&seats.keys).map(contact).collect());
    peers
}

/// A switchboard with one line, of validator `me`.
fn board(network: &Network, me: u8, deliver: Deliver) -> Switchboard {
    let board = Switchboard::new(network.id, Arc::new(Metrics::new()));
    board.connect(&peers_on(network, me), deliver);
    board
}

fn hello(from: u8, to: u8, time: Timestamp) -> Hello {
    let (from_id, to_id) = (ValidatorId(from.into()), ValidatorId(to.into()));
    Hello::sign(testing::network().id, CHAIN, from_id, to_id, time, &testing::secret(from))
}

fn since(first: &[u64]) -> Spoken {
    Spoken { epoch: Epoch(3), message: PeerMessage::Since(first.to_vec()) }
}

#[tokio::test]
async fn a_greeting_is_checked_in_every_part() {
    let time = Timestamp(1_000_000);
    let listener = board(&testing::network(), 2, Arc::new(|_, _| true));
    let reason =
        |hello: &Hello| listener.check_hello(&codec::encode(hello), time).err().map(|refused| refused.reason());
    assert_eq!(reason(&hello(1, 2, time)), None);
    assert_eq!(reason(&hello(3, 2, Timestamp(time.0 + TOLERANCE_MS))), None);
    assert_eq!(reason(&hello(1, 2, Timestamp(time.0 + TOLERANCE_MS + 1))), Some("HELLO_CLOCK"));
    assert_eq!(reason(&hello(1, 2, Timestamp(time.0 - TOLERANCE_MS - 1))), Some("HELLO_CLOCK"));
    assert_eq!(reason(&hello(1, 2, Timestamp(u64::MAX))), Some("HELLO_CLOCK"));
    assert_eq!(reason(&hello(1, 3, time)), Some("HELLO_OTHER_TARGET"), "a greeting played on to another node");
    assert_eq!(reason(&hello(2, 2, time)), Some("HELLO_NOT_A_PEER"), "our own, sent back");
    assert_eq!(reason(&hello(0, 2, time)), Some("HELLO_NOT_A_PEER"), "a beacon validator");
    let network = NetworkId(kakera_chain::hash::Hash([9; 32]));
    assert_eq!(reason(&Hello { network, ..hello(1, 2, time) }), Some("HELLO_OTHER_NETWORK"));
    assert_eq!(reason(&Hello { chain: ChainId::Beacon, ..hello(1, 2, time) }), Some("HELLO_OTHER_CHAIN"));
    assert_eq!(reason(&Hello { from: ValidatorId(3), ..hello(1, 2, time) }), Some("HELLO_SIGNATURE"), "another's name");
    assert_eq!(reason(&Hello { time: Timestamp(time.0 + 1), ..hello(1, 2, time) }), Some("HELLO_SIGNATURE"));
    let bytes = codec::encode(&hello(1, 2, time));
    for cut in 0..bytes.len() {
        assert!(listener.check_hello(&bytes[..cut], time).is_err());
    }
    assert!(listener.check_hello(&[&bytes[..], &[0]].concat(), time).is_err(), "trailing bytes");
}

#[test]
fn a_flood_is_slowed_down_and_honest_rates_are_not() {
    let start = Instant::now();
    let mut rate = Rate::new(start);
    let honest = (0..10_000u32).all(|n| rate.charge(400, start + Duration::from_millis(n.into())).is_none());
    assert!(honest, "a thousand messages a second");
    let mut rate = Rate::new(start);
    let waits = (0..30_000).filter(|_| rate.charge(1, start).is_some()).count();
    assert_eq!(waits, 10_000);
    let mut rate = Rate::new(start);
    let wait = (0..20).filter_map(|_| rate.charge(4 * 1024 * 1024, start)).max().unwrap();
    assert!(wait > Duration::from_secs(2) && wait < Duration::from_secs(4));
}

/// A server of validator `me`, and what it delivers.
async fn serving(me: u8, network: Network) -> (Switchboard, String, mpsc::Receiver<(ValidatorId, Spoken)>) {
    serving_within(me, network, service::SILENCE).await
}

async fn serving_within(
    me: u8,
    network: Network,
    silence: Duration,
) -> (Switchboard, String, mpsc::Receiver<(ValidatorId, Spoken)>) {
    let (sender, delivered) = mpsc::channel(64);
    let deliver: Deliver = Arc::new(move |member, message| sender.try_send((member, message)).is_ok());
    let board = board(&network, me, deliver);
    let mut routes = server::base_routes(&[]).await;
    let mut service = board.service();
    service.silence = silence;
    routes.add_service(service.into_server());
    let listener = server::listen("127.0.0.1:0".parse().unwrap(), "listen").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let metrics = Arc::new(Metrics::new());
    tokio::spawn(server::serve(listener, routes.routes(), metrics, std::future::pending()));
    (board, address, delivered)
}

type Talk = tokio::task::JoinHandle<Result<(), Status>>;

async fn talk(address: &str) -> (mpsc::Sender<Envelope>, Talk) {
    let channel: Channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let (sender, receiver) = mpsc::channel(8);
    let talking =
        tokio::spawn(async move { PeerClient::new(channel).talk(ReceiverStream::new(receiver)).await.map(drop) });
    (sender, talking)
}

async fn say(stream: &mpsc::Sender<Envelope>, canonical: Vec<u8>) {
    stream.send(Envelope { canonical }).await.unwrap();
}

async fn refused(talking: Talk) -> (Code, String) {
    let status = timeout(Duration::from_secs(3), talking).await.unwrap().unwrap().unwrap_err();
    (status.code(), errors::reason_of(&status).unwrap_or_default())
}

#[tokio::test]
async fn a_stream_opens_with_a_greeting_and_ends_at_the_first_malformed_envelope() {
    let (_, address, mut delivered) = serving(2, testing::network()).await;
    let question = since(&[1, 2]);
    let (stream, talking) = talk(&address).await;
    say(&stream, codec::encode(&hello(1, 2, now()))).await;
    say(&stream, codec::encode(&question)).await;
    let (from, message) = timeout(Duration::from_secs(3), delivered.recv()).await.unwrap().unwrap();
    assert_eq!(message, question);
    assert_eq!(from, ValidatorId(1));
    say(&stream, vec![0xff; 40]).await;
    assert_eq!(refused(talking).await, (Code::InvalidArgument, "MALFORMED_MESSAGE".into()));
}

#[tokio::test]
async fn strangers_and_long_first_frames_are_refused_before_anything_is_delivered() {
    let (_, address, mut delivered) = serving(2, testing::network()).await;
    let (stream, talking) = talk(&address).await;
    say(&stream, codec::encode(&since(&[1]))).await;
    assert_eq!(refused(talking).await, (Code::InvalidArgument, "HELLO_MALFORMED".into()));
    let (stream, talking) = talk(&address).await;
    say(&stream, codec::encode(&hello(1, 3, now()))).await;
    assert_eq!(refused(talking).await, (Code::PermissionDenied, "HELLO_OTHER_TARGET".into()));
    let (stream, talking) = talk(&address).await;
    say(&stream, vec![7; 2000]).await;
    assert_eq!(refused(talking).await, (Code::InvalidArgument, "HELLO_TOO_LONG".into()));
    assert!(delivered.try_recv().is_err());
}

#[tokio::test]
async fn a_newer_stream_of_the_same_peer_replaces_the_older() {
    let (_, address, mut delivered) = serving(2, testing::network()).await;
    let (first, first_talk) = talk(&address).await;
    say(&first, codec::encode(&hello(1, 2, now()))).await;
    say(&first, codec::encode(&since(&[1]))).await;
    assert!(delivered.recv().await.is_some());
    let (second, _second_talk) = talk(&address).await;
    say(&second, codec::encode(&hello(1, 2, now()))).await;
    assert_eq!(refused(first_talk).await, (Code::Aborted, "REPLACED".into()));
    say(&second, codec::encode(&since(&[2]))).await;
    assert_eq!(delivered.recv().await.unwrap().1, since(&[2]));
}

/// A flipped bit in the length before an envelope made a link deaf for as long as that many bytes took to follow.
#[tokio::test]
async fn a_stream_that_completes_no_envelope_is_ended_so_that_a_new_one_takes_its_place() {
    let silence = Duration::from_millis(400);
    let (_, address, mut delivered) = serving_within(2, testing::network(), silence).await;
    let (stream, talking) = talk(&address).await;
    say(&stream, codec::encode(&hello(1, 2, now()))).await;
    for mark in 1..4 {
        tokio::time::sleep(silence / 2).await;
        say(&stream, codec::encode(&since(&[mark]))).await;
        assert_eq!(delivered.recv().await.unwrap().1, since(&[mark]), "who speaks is not silent");
    }
    assert_eq!(refused(talking).await, (Code::DeadlineExceeded, "SILENT".into()));
}

#[tokio::test]
async fn two_nodes_find_each_other_and_again_after_the_stream_breaks() {
    let (_, address, mut delivered) = serving(2, testing::network()).await;
    // The same registry, but validator 2 listens where the test does. The network id stays: it is not derived here.
    let mut network = testing::network();
    network.genesis.validators[2].endpoint = address.clone();
    let dialling = peers_on(&network, 1);
    let outbox = dialling.outbox();
    let send_until_heard = async |delivered: &mut mpsc::Receiver<(ValidatorId, Spoken)>, mark: u64| {
        let message = since(&[mark]);
        for _ in 0..100 {
            outbox.send(&[ValidatorId(1), ValidatorId(2), ValidatorId(3)], message.clone());
            if let Ok(Some((_, heard))) = timeout(Duration::from_millis(50), delivered.recv()).await
                && heard == message
            {
                return true;
            }
        }
        false
    };
    assert!(send_until_heard(&mut delivered, 1).await);
    assert_eq!(dialling.connected(), 1, "validator 3 is away");
    // Somebody with the same key takes its place; it comes back.
    let (rival, _talk) = talk(&address).await;
    say(&rival, codec::encode(&hello(1, 2, now()))).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(send_until_heard(&mut delivered, 2).await);
}

#[tokio::test]
async fn who_leaves_the_committees_is_dialled_no_more_and_a_chain_that_is_left_ends_its_streams() {
    let (board, address, mut delivered) = serving(2, testing::network()).await;
    let mut network = testing::network();
    network.genesis.validators[2].endpoint = address.clone();
    let dialling = peers_on(&network, 1);
    let reached = async |wanted: u32| {
        for _ in 0..100 {
            if dialling.connected() == wanted {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    };
    assert!(reached(1).await);
    dialling.set(Vec::new());
    assert_eq!(dialling.connected(), 0);
    let (stream, talking) = talk(&address).await;
    say(&stream, codec::encode(&hello(1, 2, now()))).await;
    say(&stream, codec::encode(&since(&[7]))).await;
    assert_eq!(delivered.recv().await.unwrap().1, since(&[7]));
    board.disconnect(CHAIN);
    assert_eq!(refused(talking).await.0, Code::Aborted);
    let (stream, talking) = talk(&address).await;
    say(&stream, codec::encode(&hello(1, 2, now()))).await;
    assert_eq!(refused(talking).await, (Code::PermissionDenied, "HELLO_OTHER_CHAIN".into()));
}
