//! Bad requests to real nodes: each gets a typed code and a reason, and changes nothing.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use kakera_chain::{
    Slot,
    hash::{Hash, NetworkId},
    keys::{SecretKey, Signature},
    units::{ChainId, ShardId},
};
use kakera_deploy::Profile;
use kakera_proto::v1::{
    self, ExplainRequest, FollowRequest, GetAccountRequest, GetBlockRequest, GetFeesRequest, SubmitManyRequest,
    SubmitRequest, TrackReceiptRequest, TrackRequest, explain_request::Which as Explained, get_block_request::Which,
    submit_result::Outcome,
};
use kakera_shard::{Action, SignedTransaction, Transaction};
use kakera_tests::{
    net::Net,
    orders::{FEE, Signed, Wallet},
    raw,
};
use prost::Message;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const GIFT: u64 = 1_000_000;

/// What a node must answer.
struct Case {
    what: &'static str,
    path: &'static str,
    body: Vec<u8>,
    code: Code,
    reason: &'static str,
}

fn case(what: &'static str, path: &'static str, request: &impl Message, code: Code, reason: &'static str) -> Case {
    Case { what, path, body: request.encode_to_vec(), code, reason }
}

const SUBMIT: &str = "/kakera.v1.Transactions/Submit";
const TRACK: &str = "/kakera.v1.Transactions/Track";

fn submit(what: &'static str, bytes: Vec<u8>, code: Code, reason: &'static str) -> Case {
    case(what, SUBMIT, &SubmitRequest { signed_transaction: bytes }, code, reason)
}

#[test]
fn bad_requests_are_refused_with_a_reason_and_change_nothing() {
    let net = Net::start(&Profile::small());
    let shard = ShardId(0);
    let (node, beacon) = (net.members(ChainId::Shard(shard))[1].clone(), net.members(ChainId::Beacon)[1].clone());
    let (alice, bob) = (net.wallet("alice", shard), net.wallet("bob", shard));
    net.fund(&[&alice], GIFT);
    net.settle(&node, shard, &alice.transfer(&net, 0, bob.address, 5));
    let account = |wallet: &Wallet| net.account(&node, &wallet.address).unwrap();
    let figures =
        || (account(&alice).balance, account(&alice).nonce, account(&alice).pending_nonce, account(&bob).balance);
    let starts = || -> Vec<u64> { net.all().iter().map(|name| net.status(name).unwrap().started_at_ms).collect() };
    let before = (figures(), starts(), net.status(&node).unwrap().certified_height);
    assert_eq!(before.0, (GIFT - 5 - FEE, 1, 1, 5));

    let mut asked = 0;
    for target in [&node, &beacon] {
        for case in shape_cases(&net).into_iter().chain(order_cases(&net, &alice, &bob)) {
            let status = raw::call(&net, target, case.path, case.body).expect_err(case.what);
            check_answer(target, case.what, &status, case.code, case.reason);
            asked += 1;
        }
        check_submit_many(&net, target, &alice, &bob);
        malformed_protobuf(&net, target);
        oversized(&net, target);
        strange_bytes(&net, target);
    }
    crosslinks(&net, &beacon);
    println!("{asked} bad requests");

    assert_eq!(figures(), before.0, "a refused request changed an account");
    net.wait_certified(&node, before.2 + 1);
    assert_eq!(figures(), before.0, "a refused request changed an account later");
    assert_eq!(starts(), before.1, "a node ended and was started again");
    // And sound orders are still taken, through the same nodes.
    net.settle(&beacon, shard, &alice.transfer(&net, 1, bob.address, 5));
    assert_eq!(account(&bob).balance, 10);
}

fn check_answer(target: &str, what: &str, status: &Status, code: Code, reason: &str) {
    let info = status.get_details_error_info();
    let found = info.as_ref().map(|info| (info.domain.as_str(), info.reason.as_str()));
    assert_eq!((status.code(), found), (code, Some(("kakera", reason))), "{what} at {target}: {status}");
    assert!(status.message().len() > 15, "{what}: {:?} tells a person nothing", status.message());
}

/// Requests whose fields have the wrong shape.
fn shape_cases(net: &Net) -> Vec<Case> {
    const BLOCK: &str = "/kakera.v1.Chains/GetBlock";
    const EXPLAIN: &str = "/kakera.v1.Chains/Explain";
    const FEES: &str = "/kakera.v1.Accounts/GetFees";
    const ACCOUNT: &str = "/kakera.v1.Accounts/GetAccount";
    const RECEIPT: &str = "/kakera.v1.Transactions/TrackReceipt";
    let bad = Code::InvalidArgument;
    let track = |bytes: usize, shard| TrackRequest { transaction_id: vec![7; bytes], shard, after: 0 };
    let receipt = |from_shard, to_shard| TrackReceiptRequest { from_shard, to_shard, seq: u64::MAX };
    let account = |address: &str| GetAccountRequest { address: address.to_owned(), head: false };
    let block = |which| GetBlockRequest { which, chain: None };
    let explain = |which| ExplainRequest { which, chain: None };
    let unknown = Code::NotFound;
    let mut wrong_character = net.faucet(ShardId(0)).address.to_string();
    wrong_character.replace_range(10..11, if &wrong_character[10..11] == "q" { "p" } else { "q" });
    vec![
        case("an id of 31 bytes", TRACK, &track(31, 0), bad, "ID_LENGTH"),
        case("an id of 33 bytes", TRACK, &track(33, 0), bad, "ID_LENGTH"),
        case("no id", TRACK, &track(0, 0), bad, "ID_LENGTH"),
        case("a shard past the last", TRACK, &track(32, 1), bad, "UNKNOWN_SHARD"),
        case("a shard past 16 bits", TRACK, &track(32, 65_536), bad, "UNKNOWN_SHARD"),
        case("a receipt from nowhere", RECEIPT, &receipt(9, 0), bad, "UNKNOWN_SHARD"),
        case("a receipt to nowhere", RECEIPT, &receipt(0, u32::MAX), bad, "UNKNOWN_SHARD"),
        case("fees of no shard", FEES, &GetFeesRequest { shard: 4_000_000_000 }, bad, "UNKNOWN_SHARD"),
        case("no address", ACCOUNT, &account(""), bad, "MALFORMED_ADDRESS"),
        case(
            "another chain's address",
            ACCOUNT,
            &account("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"),
            bad,
            "MALFORMED_ADDRESS",
        ),
        case("a wrong character", ACCOUNT, &account(&wrong_character), bad, "MALFORMED_ADDRESS"),
        case("an endless address", ACCOUNT, &account(&"q".repeat(30_000)), bad, "MALFORMED_ADDRESS"),
        case("an explanation of nothing", EXPLAIN, &explain(None), bad, "MISSING_FIELD"),
        case("an explanation of 33 bytes", EXPLAIN, &explain(Some(Explained::Id(vec![1; 33]))), bad, "ID_LENGTH"),
        case("why no block", EXPLAIN, &explain(Some(Explained::Id(vec![1; 32]))), unknown, "UNKNOWN_BLOCK"),
        case("why a far height", EXPLAIN, &explain(Some(Explained::Height(u64::MAX))), unknown, "UNKNOWN_BLOCK"),
        case("a block by nothing", BLOCK, &block(None), bad, "MISSING_FIELD"),
        case("a block by five bytes", BLOCK, &block(Some(Which::Id(vec![1; 5]))), bad, "ID_LENGTH"),
        case("a block by an unknown id", BLOCK, &block(Some(Which::Id(vec![1; 32]))), Code::NotFound, "UNKNOWN_BLOCK"),
        case(
            "a block of the far future",
            BLOCK,
            &block(Some(Which::Height(u64::MAX))),
            Code::NotFound,
            "UNKNOWN_BLOCK",
        ),
    ]
}

/// Orders that must not be taken.
fn order_cases(net: &Net, alice: &Wallet, bob: &Wallet) -> Vec<Case> {
    let (bad, not_now) = (Code::InvalidArgument, Code::FailedPrecondition);
    let order = |nonce| alice.order(net, nonce, bob.address, 5);
    let signed = |order: Transaction| Signed::of(order.sign(&alice.key)).bytes;
    let sound = signed(order(1));
    let stranger = SecretKey::from_seed([9; 32]);
    let forged = SignedTransaction { signature: stranger.sign(&order(1).id()), transaction: order(1) };
    let empty_signature = SignedTransaction { signature: Signature([0; 64]), transaction: order(1) };
    let with = |change: &dyn Fn(&mut Transaction)| {
        let mut order = order(1);
        change(&mut order);
        signed(order)
    };
    let mut flipped = sound.clone();
    flipped[137] ^= 1;
    let mut unknown_action = sound.clone();
    unknown_action[104] = 9;
    let batch =
        |count: usize| with(&move |order| order.action = Action::Batch { transfers: vec![(bob.address, 1); count] });
    vec![
        submit("nothing", Vec::new(), bad, "MALFORMED_TRANSACTION"),
        submit("a truncated order", sound[..sound.len() - 1].to_vec(), bad, "MALFORMED_TRANSACTION"),
        submit("half an order", sound[..60].to_vec(), bad, "MALFORMED_TRANSACTION"),
        submit("a trailing byte", [&sound[..], &[0]].concat(), bad, "MALFORMED_TRANSACTION"),
        submit("an unknown action", unknown_action, bad, "MALFORMED_TRANSACTION"),
        submit("a hundred thousand bytes", vec![1; 100_000], bad, "TOO_LONG"),
        submit("another's signature", Signed::of(forged).bytes, bad, "BAD_SIGNATURE"),
        submit("no signature", Signed::of(empty_signature).bytes, bad, "BAD_SIGNATURE"),
        submit("a changed amount", flipped, bad, "BAD_SIGNATURE"),
        submit("another network", with(&|order| order.network = NetworkId(Hash([1; 32]))), bad, "WRONG_NETWORK"),
        submit("a used nonce", signed(order(0)), not_now, "NONCE_USED"),
        submit("a nonce far ahead", signed(order(1_000_000)), not_now, "NONCE_TOO_FAR"),
        submit("the last nonce", signed(order(u64::MAX)), not_now, "NONCE_TOO_FAR"),
        submit(
            "all and more",
            with(&|order| order.action = Action::Transfer { to: bob.address, amount: GIFT }),
            not_now,
            "OVERDRAFT",
        ),
        submit(
            "more than exists",
            with(&|order| order.action = Action::Transfer { to: bob.address, amount: u64::MAX }),
            not_now,
            "OVERDRAFT",
        ),
        submit("an expired order", with(&|order| order.valid_until = Slot(0)), not_now, "EXPIRED"),
        submit("no gas", with(&|order| order.gas_limit = 10), bad, "GAS_LIMIT"),
        submit("no fee", with(&|order| order.max_fee = 0), not_now, "FEE_TOO_LOW"),
        submit(
            "a gift of nothing",
            with(&|order| order.action = Action::Transfer { to: bob.address, amount: 0 }),
            bad,
            "ZERO_AMOUNT",
        ),
        submit("an empty batch", batch(0), bad, "BATCH_SIZE"),
        submit("too long a batch", batch(65), bad, "BATCH_SIZE"),
    ]
}

/// Each of several is answered by itself; too many are refused together.
fn check_submit_many(net: &Net, target: &str, alice: &Wallet, bob: &Wallet) {
    const MANY: &str = "/kakera.v1.Transactions/SubmitMany";
    let used = alice.transfer(net, 0, bob.address, 5).bytes;
    let mixed = SubmitManyRequest { signed_transactions: vec![vec![1, 2, 3], used.clone(), Vec::new()] };
    let answer = raw::call(net, target, MANY, mixed.encode_to_vec()).unwrap();
    let answer = v1::SubmitManyResponse::decode(&answer[..]).unwrap();
    let reasons: Vec<String> = answer
        .results
        .into_iter()
        .map(|result| match result.outcome {
            Some(Outcome::Refused(refusal)) => refusal.reason,
            other => panic!("{target} answers {other:?}"),
        })
        .collect();
    assert_eq!(reasons, ["MALFORMED_TRANSACTION", "NONCE_USED", "MALFORMED_TRANSACTION"]);
    let many = SubmitManyRequest { signed_transactions: vec![used; 257] };
    let status = raw::call(net, target, MANY, many.encode_to_vec()).unwrap_err();
    check_answer(target, "257 orders", &status, Code::InvalidArgument, "TOO_MANY");
}

/// Bytes that are no protobuf, cut off or of another type: the client's fault, in the node's words.
fn malformed_protobuf(net: &Net, target: &str) {
    let whole = SubmitRequest { signed_transaction: vec![7; 100] }.encode_to_vec();
    for (what, path, body) in [
        ("a message that ends early", SUBMIT, whole[..40].to_vec()),
        ("a length past the end", SUBMIT, vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]),
        ("an endless number", TRACK, vec![0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("a number for bytes", SUBMIT, vec![0x08, 0x01]),
        ("field number zero", SUBMIT, vec![0x02, 0x01, 0x00]),
        ("a group without end", SUBMIT, vec![0x1b, 0x1b, 0x1b]),
        ("text that is no text", "/kakera.v1.Accounts/GetAccount", vec![0x0a, 0x02, 0xff, 0xfe]),
    ] {
        let status = raw::call(net, target, path, body).expect_err(what);
        assert_eq!(status.code(), Code::InvalidArgument, "{what} at {target}: {status}");
        assert!(status.message().contains("kakera.v1"), "{what} at {target}: {status}");
    }
    let status = raw::call(net, target, "/kakera.v1.Transactions/Burn", Vec::new()).unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented, "{target}: {status}");
}

/// A message past the limit is refused by its declared length.
fn oversized(net: &Net, target: &str) {
    let request = SubmitRequest { signed_transaction: vec![1; 6 * 1024 * 1024] };
    let status = raw::call(net, target, SUBMIT, request.encode_to_vec()).unwrap_err();
    let limits = [Code::OutOfRange, Code::ResourceExhausted, Code::InvalidArgument];
    assert!(limits.contains(&status.code()), "{target}: {status}");
}

/// Bytes that are not even HTTP, to both ports: the node hangs up or waits, and lives.
fn strange_bytes(net: &Net, target: &str) {
    let process = net.network().process(target).unwrap();
    for endpoint in [&process.endpoint, &process.metrics] {
        for bytes in [
            &b"\x00\xff\x00\xff garbage\r\n\r\n"[..],
            &[0; 4096],
            b"GET / HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff",
        ] {
            let mut stream = TcpStream::connect(endpoint).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            // It may hang up at any moment: only its survival counts.
            let _ = stream.write_all(bytes);
            let _ = stream.read(&mut [0; 256]);
        }
    }
}

/// Crosslinks from nobody, and a follower of heights that will never be.
fn crosslinks(net: &Net, beacon: &str) {
    const CROSSLINK: &str = "/kakera.v1.Beacon/SubmitCrosslink";
    for bytes in [Vec::new(), vec![0; 3], vec![0xff; 100_000]] {
        let request = v1::SubmitCrosslinkRequest { canonical: bytes };
        let status = raw::call(net, beacon, CROSSLINK, request.encode_to_vec()).unwrap_err();
        check_answer(beacon, "a crosslink of noise", &status, Code::InvalidArgument, "MALFORMED_CROSSLINK");
    }
    let opened = net.ask(beacon, |channel| async {
        v1::beacon_client::BeaconClient::new(channel).follow(FollowRequest { from_height: u64::MAX }).await
    });
    // Waiting for ever or refusing are both answers; ending the node is not.
    drop(opened);
    assert!(net.beacon_state(beacon).is_ok());
}
