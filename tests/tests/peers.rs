//! Streams of strangers and of members who talk nonsense: each ends with a reason, and the committee goes on.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::{
    codec,
    hash::{Hash, NetworkId},
    keys::SecretKey,
    peer::{Hello, PeerMessage},
    units::{ChainId, ShardId, Timestamp, ValidatorId},
};
use kakera_deploy::Profile;
use kakera_proto::v1::{Envelope, peer_client::PeerClient};
use kakera_tests::{facts, net::Net, wait::PATIENCE};
use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_types::StatusExt;

const CHAIN: ChainId = ChainId::Shard(ShardId(0));

#[test]
fn strangers_and_members_who_talk_nonsense_are_cut_off() {
    let net = Net::start(&Profile::small());
    let members = net.members(CHAIN);
    let (member, listener) = (members[0].clone(), members[1].clone());
    let (from, to) = (id_of(&net, &member), id_of(&net, &listener));
    let own = secret(&net, &member);
    let stranger = SecretKey::from_seed([3; 32]);
    let network = net.genesis().id;
    let other_network = NetworkId(Hash([4; 32]));
    let before = net.status(&listener).unwrap();

    let hello = |network, chain, from, to, time, key: &SecretKey| {
        codec::encode(&Hello::sign(network, chain, from, to, Timestamp(time), key))
    };
    let sound = || hello(network, CHAIN, from, to, now(), &own);
    let (denied, bad) = (Code::PermissionDenied, Code::InvalidArgument);
    let cases: Vec<(&str, Vec<Vec<u8>>, Code, &str)> = vec![
        ("nothing at all", vec![], bad, "HELLO_MISSING"),
        ("an empty envelope", vec![vec![]], bad, "HELLO_MALFORMED"),
        ("noise", vec![vec![0xab; 177]], bad, "HELLO_MALFORMED"),
        ("a long first frame", vec![vec![1; 100_000]], bad, "HELLO_TOO_LONG"),
        ("half a greeting", vec![sound()[..50].to_vec()], bad, "HELLO_MALFORMED"),
        ("a stranger's signature", vec![hello(network, CHAIN, from, to, now(), &stranger)], denied, "HELLO_SIGNATURE"),
        ("another network", vec![hello(other_network, CHAIN, from, to, now(), &own)], denied, "HELLO_OTHER_NETWORK"),
        ("another chain", vec![hello(network, ChainId::Beacon, from, to, now(), &own)], denied, "HELLO_OTHER_CHAIN"),
        ("another listener", vec![hello(network, CHAIN, from, from, now(), &own)], denied, "HELLO_OTHER_TARGET"),
        ("nobody", vec![hello(network, CHAIN, ValidatorId(9_999), to, now(), &own)], denied, "HELLO_NOT_A_PEER"),
        ("the listener itself", vec![hello(network, CHAIN, to, to, now(), &own)], denied, "HELLO_NOT_A_PEER"),
        ("an old greeting", vec![hello(network, CHAIN, from, to, now() - 3_600_000, &own)], denied, "HELLO_CLOCK"),
        ("a greeting of the end of time", vec![hello(network, CHAIN, from, to, u64::MAX, &own)], denied, "HELLO_CLOCK"),
        ("a member's noise", vec![sound(), vec![0xff; 64]], bad, "MALFORMED_MESSAGE"),
        ("a member's empty message", vec![sound(), vec![]], bad, "MALFORMED_MESSAGE"),
        (
            "a member's huge count",
            vec![sound(), [&[5][..], &u32::MAX.to_le_bytes()].concat()],
            bad,
            "MALFORMED_MESSAGE",
        ),
        (
            "a trailing byte",
            vec![sound(), [codec::encode(&PeerMessage::Since(vec![0; 4])), vec![0]].concat()],
            bad,
            "MALFORMED_MESSAGE",
        ),
    ];
    for (what, envelopes, code, reason) in cases {
        let status = talk(&net, &listener, envelopes).expect_err(what);
        let found = status.get_details_error_info().map(|info| info.reason);
        assert_eq!((status.code(), found.as_deref()), (code, Some(reason)), "{what}: {status}");
    }

    // Well-formed, and still nothing that a member should say: heard, and without effect.
    for message in nonsense() {
        let ended = talk(&net, &listener, vec![sound(), codec::encode(&message)]);
        let shown: String = format!("{message:?}").chars().take(40).collect();
        println!("{shown}: {:?}", ended.map_err(|status| status.message().to_owned()));
    }

    let after = net.wait_certified(&listener, before.certified_height + 1);
    assert_eq!(after.started_at_ms, before.started_at_ms, "the listener ended and was started again");
    net.wait_active(&members);
    for name in &members {
        net.wait_certified(name, after.certified_height);
    }
    facts::agreed_blocks(&net, &members);
    facts::check_no_equivocation(&net, CHAIN);
}

fn nonsense() -> Vec<PeerMessage> {
    use kakera_chain::{BlockId, Member, MessageId};
    vec![
        PeerMessage::Since(Vec::new()),
        PeerMessage::Since(vec![u64::MAX; 60_000]),
        PeerMessage::ById(vec![MessageId([1; 32]); 30_000]),
        PeerMessage::WantCites(MessageId([2; 32])),
        PeerMessage::WantCertificate(BlockId([3; 32])),
        PeerMessage::WantEvidence(Member(u16::MAX)),
        PeerMessage::Messages(Vec::new()),
        PeerMessage::Application(vec![0xff; 5_000]),
        PeerMessage::Application(Vec::new()),
    ]
}

/// One stream with these envelopes; how the listener ended it.
fn talk(net: &Net, listener: &str, envelopes: Vec<Vec<u8>>) -> Result<(), Status> {
    let envelopes: Vec<Envelope> = envelopes.into_iter().map(|canonical| Envelope { canonical }).collect();
    let channel = net.channel(listener);
    net.runtime().block_on(async {
        let mut client = PeerClient::new(channel);
        let talk = timeout(PATIENCE, client.talk(tokio_stream::iter(envelopes)));
        talk.await.expect("the listener ends a stream that has ended").map(drop)
    })
}

fn id_of(net: &Net, name: &str) -> ValidatorId {
    let place = net.genesis().genesis.validators.iter().position(|validator| validator.name == name);
    ValidatorId(u32::try_from(place.unwrap()).unwrap())
}

fn secret(net: &Net, name: &str) -> SecretKey {
    let text = fs::read_to_string(net.network().process_dir(name).join("key")).unwrap();
    SecretKey::parse(text.trim()).unwrap()
}

fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
