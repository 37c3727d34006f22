//! Joining and leaving over a scripted node: real gRPC, real bonds, and a registry that takes them at once.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use super::*;
use crate::{
    args::{Cli, Command},
    failure::Failure,
};
use clap::Parser;
use kakera_beacon::RecordedReceipts;
use kakera_chain::{
    address::Address,
    codec,
    genesis::Network,
    hash::{Hash, NetworkId},
    receipt::{Lane, Receipt, ReceiptAction, ReturnReason},
    units::{ChainId, ShardId},
};
use kakera_deploy::{Profile, Secrets};
use kakera_proto::v1::{
    self, Account, Fees, NodeStatus, Stage, SubmitResponse, TransactionStatus, Validator,
    accounts_server::{Accounts, AccountsServer},
    chains_server::{Chains, ChainsServer},
    sync_server::{Sync, SyncServer},
    transactions_server::{Transactions, TransactionsServer},
    validators_server::{Validators, ValidatorsServer},
};
use kakera_shard::SignedTransaction;
use std::{
    fs,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex},
};
use tokio_stream::{Stream, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status};

type Answer<T> = std::result::Result<Response<T>, Status>;
type Steps<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Status>> + Send>>;

/// What a seat costs in the profile.
const SEAT: u64 = 1_000_000_000;

/// Receipts of the beacon's lane before the first return.
const LANE: u64 = 30_000;

/// A node that is a whole network.
#[derive(Clone)]
struct Node {
    genesis: Arc<str>,
    network: NetworkId,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    balance: u64,
    /// Whether the beacon sends requests back.
    full: bool,
    validators: Vec<Validator>,
    orders: u32,
    /// Transactions whose requests the beacon has sent back.
    returned: Vec<Hash>,
    /// What is served for a checkpoint.
    checkpoint: Vec<u8>,
}

impl State {
    fn carry_out(&mut self, signed: &SignedTransaction, network: NetworkId) {
        let owner = Address::of(&signed.transaction.sender);
        self.orders += 1;
        if self.full {
            self.returned.push(signed.transaction.id());
            return;
        }
        match &signed.transaction.action {
            Action::Bond { bond } => {
                bond.check(&owner, 4, network).unwrap();
                self.validators.push(Validator {
                    id: u32::try_from(self.validators.len()).unwrap(),
                    key: bond.key.0.to_vec(),
                    role: "shard".to_owned(),
                    seats: bond.seats,
                    stake: SEAT * u64::from(bond.seats),
                    endpoint: bond.endpoint.clone(),
                    owner: owner.to_string(),
                    status: "pending".to_owned(),
                    ..Validator::default()
                });
            }
            Action::Exit { validator } => self.validators[validator.0 as usize].status = "exiting".to_owned(),
            Action::TopUp { validator, seats } => {
                let validator = &mut self.validators[validator.0 as usize];
                validator.joining_seats += seats;
                validator.stake += SEAT * u64::from(*seats);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tonic::async_trait]
impl Validators for Node {
    async fn list(&self, request: Request<v1::ListValidatorsRequest>) -> Answer<v1::ListValidatorsResponse> {
        let asked = request.into_inner();
        let state = self.state.lock().unwrap();
        let wanted = |one: &&Validator| one.id >= asked.from && (asked.key.is_empty() || one.key == asked.key);
        let validators = state.validators.iter().filter(wanted).cloned().collect();
        let height = 5 + u64::from(state.orders);
        Ok(Response::new(v1::ListValidatorsResponse { height, epoch: 3, validators, next: 0 }))
    }

    async fn get_risk(&self, _: Request<v1::GetRiskRequest>) -> Answer<v1::Risk> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn get_epoch(&self, _: Request<v1::GetEpochRequest>) -> Answer<v1::EpochState> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn slashings(&self, _: Request<v1::SlashingsRequest>) -> Answer<v1::SlashingsResponse> {
        Ok(Response::new(v1::SlashingsResponse::default()))
    }

    async fn get_genesis(&self, _: Request<v1::GetGenesisRequest>) -> Answer<v1::GenesisFile> {
        let text = self.genesis.as_bytes().to_vec();
        Ok(Response::new(v1::GenesisFile { network_id: self.network.0.0.to_vec(), text }))
    }
}

#[tonic::async_trait]
impl Accounts for Node {
    async fn get_account(&self, request: Request<v1::GetAccountRequest>) -> Answer<Account> {
        let (address, balance) = (request.into_inner().address, self.state.lock().unwrap().balance);
        Ok(Response::new(Account { address, balance, ..Account::default() }))
    }

    async fn get_fees(&self, _: Request<v1::GetFeesRequest>) -> Answer<Fees> {
        Ok(Response::new(Fees { base_fee: 1, beacon_slot: 9, ..Fees::default() }))
    }
}

#[tonic::async_trait]
impl Chains for Node {
    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Answer<NodeStatus> {
        Ok(Response::new(NodeStatus { network_id: self.network.0.0.to_vec(), ..NodeStatus::default() }))
    }

    async fn get_block(&self, _: Request<v1::GetBlockRequest>) -> Answer<v1::BlockInfo> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn explain(&self, _: Request<v1::ExplainRequest>) -> Answer<v1::BlockExplanation> {
        Err(Status::unimplemented("not scripted"))
    }
}

#[tonic::async_trait]
impl Transactions for Node {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<SubmitResponse> {
        let signed = SignedTransaction::decode(&request.into_inner().signed_transaction).unwrap();
        let id = signed.transaction.id();
        assert!(signed.transaction.sender.verify(&id, &signed.signature).is_ok());
        assert_eq!(signed.transaction.network, self.network);
        self.state.lock().unwrap().carry_out(&signed, self.network);
        Ok(Response::new(SubmitResponse { transaction_id: id.0.to_vec(), shard: 0 }))
    }

    async fn submit_many(&self, _: Request<v1::SubmitManyRequest>) -> Answer<v1::SubmitManyResponse> {
        Err(Status::unimplemented("not scripted"))
    }

    type TrackStream = Steps<TransactionStatus>;

    async fn track(&self, request: Request<v1::TrackRequest>) -> Answer<Self::TrackStream> {
        let transaction_id = request.into_inner().transaction_id;
        let beacon_height = 5 + u64::from(self.state.lock().unwrap().orders);
        let stage = Stage::Recorded.into();
        let last = TransactionStatus { transaction_id, stage, terminal: true, beacon_height, ..Default::default() };
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(last)))))
    }

    type TrackReceiptStream = Steps<v1::ReceiptStatus>;

    async fn track_receipt(&self, _: Request<v1::TrackReceiptRequest>) -> Answer<Self::TrackReceiptStream> {
        Err(Status::unimplemented("not scripted"))
    }
}

#[tonic::async_trait]
impl Sync for Node {
    type FollowStream = Steps<v1::CertifiedBlocks>;

    async fn follow(&self, _: Request<v1::FollowChainRequest>) -> Answer<Self::FollowStream> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn get_closed_era(&self, _: Request<v1::GetClosedEraRequest>) -> Answer<v1::CanonicalBytes> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn get_whole_block(&self, _: Request<v1::GetWholeBlockRequest>) -> Answer<v1::CanonicalBytes> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn hand_over(&self, _: Request<v1::HandOverRequest>) -> Answer<v1::CanonicalBytes> {
        Err(Status::unimplemented("not scripted"))
    }

    type GetCheckpointStream = Steps<v1::CanonicalBytes>;

    async fn get_checkpoint(&self, request: Request<v1::GetCheckpointRequest>) -> Answer<Self::GetCheckpointStream> {
        assert_eq!(request.into_inner().root, [0xab; 32]);
        let canonical = self.state.lock().unwrap().checkpoint.clone();
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(v1::CanonicalBytes { canonical })))))
    }

    async fn get_receipts(&self, request: Request<v1::GetReceiptsRequest>) -> Answer<v1::CanonicalBytes> {
        let asked = request.into_inner();
        let lane = Lane { from: ChainId::Beacon, to: ChainId::Shard(ShardId(0)) };
        let state = self.state.lock().unwrap();
        let one = |(seq, transaction): (u64, &Hash)| {
            let (to, amount, reason) = (Address([1; 32]), 3, ReturnReason::Full);
            let action = ReceiptAction::Return { original: seq, to, amount, reason, transaction: *transaction };
            Receipt { lane, seq: LANE + seq, action }
        };
        let bodies = (0..).zip(&state.returned).map(one).filter(|receipt| receipt.seq >= asked.from_seq).collect();
        let found = RecordedReceipts { lane, from: asked.from_seq, bodies };
        Ok(Response::new(v1::CanonicalBytes { canonical: codec::encode(&found) }))
    }
}

/// A running node of a fresh network of the profile, and its address.
async fn node(home: &Path, profile: &Profile) -> (Node, String) {
    let made = kakera_deploy::create(&home.join("net"), profile).unwrap();
    let text = fs::read_to_string(made.dir().join("genesis.toml")).unwrap();
    let network = Network::parse(&text).unwrap().id;
    let node = Node { genesis: text.into(), network, state: Arc::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tonic::transport::Server::builder()
        .add_service(ValidatorsServer::new(node.clone()))
        .add_service(AccountsServer::new(node.clone()))
        .add_service(ChainsServer::new(node.clone()))
        .add_service(SyncServer::new(node.clone()))
        .add_service(TransactionsServer::new(node.clone()));
    tokio::spawn(serving.serve_with_incoming(TcpListenerStream::new(listener)));
    (node, address)
}

/// Runs a command line as a shell would, in a home of its own.
async fn kakera(home: &Path, line: &str) -> Result<()> {
    let wallets = home.join("wallets");
    let words = ["kakera", "--json", "--wallets", wallets.to_str().unwrap(), "validator"];
    let cli = Cli::parse_from(words.into_iter().chain(line.split_whitespace()));
    let place = Place::of(&cli);
    let Command::Validator(command) = cli.command else { panic!("a validator command") };
    run(command, &place).await
}

fn said(outcome: Result<()>) -> String {
    outcome.unwrap_err().to_string()
}

fn reason(outcome: Result<()>) -> String {
    match outcome.unwrap_err() {
        Failure::Refused { reason, .. } => reason,
        other => other.to_string(),
    }
}

#[tokio::test]
async fn one_command_joins_once_the_account_can_pay() {
    let home = tempfile::tempdir().unwrap();
    let (node, address) = node(home.path(), &Profile::rotation()).await;
    let dir = home.path().join("validator");
    let join = format!(
        "join --beacon {address} --endpoint 127.0.0.1:7001 --no-start --seats 2 --dir {} --network {}",
        dir.display(),
        node.network
    );
    assert_eq!(reason(kakera(home.path(), &join).await), "OVERDRAFT");
    assert_eq!(node.state.lock().unwrap().orders, 0, "nothing is paid for what cannot be paid");
    let secrets = Secrets::read(&dir).unwrap();
    node.state.lock().unwrap().balance = 2_000_100_000;
    kakera(home.path(), &join).await.unwrap();
    let owner = kakera_deploy::files::read_key(&dir.join("owner.key")).unwrap();
    {
        let state = node.state.lock().unwrap();
        let [joined] = &state.validators[..] else { panic!("one") };
        assert_eq!((joined.key.as_slice(), joined.seats), (secrets.key.public().0.as_slice(), 2));
        assert_eq!(
            (joined.endpoint.as_str(), &joined.owner),
            ("127.0.0.1:7001", &Address::of(&owner.public()).to_string())
        );
    }
    assert_eq!(fs::read_to_string(dir.join("genesis.toml")).unwrap(), *node.genesis);
    let config: toml::Table = toml::from_str(&fs::read_to_string(dir.join("node.toml")).unwrap()).unwrap();
    assert_eq!(config["listen"].as_str(), Some("127.0.0.1:7001"));
    // Once more: it is bonded, and stays so.
    kakera(home.path(), &join).await.unwrap();
    let other_port = join.replace("7001", "7002");
    let said = said(kakera(home.path(), &other_port).await);
    assert!(said.contains("endpoint 127.0.0.1:7001, and this asks for 127.0.0.1:7002"), "{said}");
    let more = reason(kakera(home.path(), &join.replace("--seats 2", "--seats 9")).await);
    assert_eq!(more, "BONDED_OTHERWISE");
    assert!(fs::read_to_string(dir.join("node.toml")).unwrap().contains("127.0.0.1:7001"), "nothing was changed");
    assert_eq!(node.state.lock().unwrap().orders, 1);

    let exit = format!("exit 0 --node {address} --from {}", dir.join("owner.key").display());
    kakera(home.path(), &exit).await.unwrap();
    assert_eq!(node.state.lock().unwrap().validators[0].status, "exiting");
    assert_eq!(reason(kakera(home.path(), &exit).await), "WRONG_STATUS");
}

#[tokio::test]
async fn what_a_node_says_is_checked_before_anything_is_made_or_paid() {
    let home = tempfile::tempdir().unwrap();
    let (node, address) = node(home.path(), &Profile::rotation()).await;
    let dir = home.path().join("validator");
    let join = |more: &str| {
        format!("join --beacon {address} --endpoint 127.0.0.1:7001 --no-start --dir {} {more}", dir.display())
    };
    let other = "ab".repeat(32);
    assert_eq!(reason(kakera(home.path(), &join(&format!("--network {other}"))).await), "OTHER_NETWORK");
    assert_eq!(kakera(home.path(), &join("--network abc")).await.unwrap_err().exit_code(), 2);
    assert_eq!(kakera(home.path(), &join("--seats 5")).await.unwrap_err().exit_code(), 2, "past the churn limit");
    assert!(!dir.exists() && node.state.lock().unwrap().orders == 0);
    let nowhere = "join --beacon 127.0.0.1:1 --endpoint a:1 --no-start";
    let dead = kakera(home.path(), nowhere).await.unwrap_err();
    assert!(dead.exit_code() == 3 && dead.to_string().contains("with --beacon HOST:PORT"), "{dead}");
    let inside =
        format!("join --beacon {address} --endpoint a:1 --no-start --dir {}", home.path().join("net").display());
    assert_eq!(kakera(home.path(), &inside).await.unwrap_err().exit_code(), 2, "a network's own directory");
    assert!(!home.path().join("net/key").exists());
    // The beacon has no room: the bond comes back.
    *node.state.lock().unwrap() = State { full: true, balance: u64::MAX, ..State::default() };
    let returned = said(kakera(home.path(), &join("")).await);
    assert!(returned.contains("RETURNED") && returned.contains("no room for another validator"), "{returned}");
}

#[tokio::test]
async fn a_checkpoint_that_nothing_can_begin_at_is_refused_before_anything_is_made_or_paid() {
    let home = tempfile::tempdir().unwrap();
    let (node, address) = node(home.path(), &Profile::rotation()).await;
    node.state.lock().unwrap().balance = u64::MAX;
    let dir = home.path().join("validator");
    let join = |more: &str| {
        format!("join --beacon {address} --endpoint 127.0.0.1:7001 --no-start --dir {} {more}", dir.display())
    };
    let begin = join(&format!("--checkpoint {}", "ab".repeat(32)));
    assert_eq!(reason(kakera(home.path(), &begin).await), "UNKNOWN_CHECKPOINT");
    node.state.lock().unwrap().checkpoint = vec![7; 300];
    assert_eq!(reason(kakera(home.path(), &begin).await), "INVALID_CHECKPOINT");
    assert_eq!(kakera(home.path(), &join("--checkpoint abc")).await.unwrap_err().exit_code(), 2);
    assert!(!dir.exists() && node.state.lock().unwrap().orders == 0);
    // One that an earlier call has written is held to the same.
    kakera(home.path(), &join("")).await.unwrap();
    let file = dir.join("node.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}\n[checkpoint]\nroot = '{}'\nfrom = ['{address}']\n", "ab".repeat(32))).unwrap();
    assert_eq!(reason(kakera(home.path(), &join("")).await), "INVALID_CHECKPOINT");
    // A process that has begun asks for none.
    fs::create_dir_all(dir.join("data/beacon")).unwrap();
    kakera(home.path(), &join("")).await.unwrap();
    kakera(home.path(), &begin).await.unwrap();
    let other = join(&format!("--checkpoint {}", "cd".repeat(32)));
    let said = said(kakera(home.path(), &other).await);
    assert!(said.contains("checkpoint.root is abab") && said.contains("asks for cdcd"), "{said}");
}

#[tokio::test]
async fn a_call_that_differs_before_the_first_start_is_heeded() {
    let home = tempfile::tempdir().unwrap();
    let (node, address) = node(home.path(), &Profile::rotation()).await;
    let dir = home.path().join("validator");
    let join =
        |endpoint: &str| format!("join --beacon {address} --endpoint {endpoint} --no-start --dir {}", dir.display());
    assert_eq!(reason(kakera(home.path(), &join("a.example:7001")).await), "OVERDRAFT");
    node.state.lock().unwrap().balance = u64::MAX;
    kakera(home.path(), &join("b.example:7002")).await.unwrap();
    assert!(fs::read_to_string(dir.join("node.toml")).unwrap().contains("listen = \"0.0.0.0:7002\""));
    assert_eq!(node.state.lock().unwrap().validators[0].endpoint, "b.example:7002");
}

#[tokio::test]
async fn who_pays_is_known_before_anything_is_made() {
    let home = tempfile::tempdir().unwrap();
    let (_, address) = node(home.path(), &Profile::rotation()).await;
    let dir = home.path().join("validator");
    let join = format!("join --beacon {address} --endpoint 127.0.0.1:7001 --no-start --dir {}", dir.display());
    let faucet = kakera(home.path(), &format!("{join} --from faucet-0")).await.unwrap_err();
    assert!(faucet.exit_code() == 5 && faucet.to_string().contains("a wallet or a key file"), "{faucet}");
    assert_eq!(kakera(home.path(), &format!("{join} --from nobody")).await.unwrap_err().exit_code(), 5);
    let net = home.path().join("net");
    let far =
        format!("bond {} --from faucet-99 --endpoint a:1 --dir {} --node {address}", dir.display(), net.display());
    assert_eq!(kakera(home.path(), &far).await.unwrap_err().exit_code(), 5);
    assert!(!dir.exists());
}

#[tokio::test]
async fn owners_order_and_strangers_do_not() {
    let home = tempfile::tempdir().unwrap();
    let (node, address) = node(home.path(), &Profile::rotation()).await;
    node.state.lock().unwrap().balance = u64::MAX;
    let dir = home.path().join("net");
    let made = home.path().join("made");
    let here = format!("--node {address} --dir {}", dir.display());
    let bond = format!("bond {} --from faucet-1 --endpoint host:7 {here}", made.display());
    kakera(home.path(), &bond).await.unwrap();
    let place_wallets = crate::wallet::Wallets::at(Some(home.path().join("wallets"))).unwrap();
    place_wallets.create("stranger", None).unwrap();
    assert_eq!(reason(kakera(home.path(), &format!("exit 0 --from stranger {here}")).await), "NOT_OWNER");
    kakera(home.path(), &format!("top-up 0 3 {here}")).await.unwrap();
    assert_eq!(node.state.lock().unwrap().validators[0].joining_seats, 3, "the faucet's key was found");
    let key = Secrets::read(&made).unwrap().key.public();
    kakera(home.path(), &format!("status {key} {here}")).await.unwrap();
    kakera(home.path(), &format!("list {here}")).await.unwrap();
    kakera(home.path(), &format!("slashings {here}")).await.unwrap();
    assert_eq!(kakera(home.path(), &format!("status nobody {here}")).await.unwrap_err().exit_code(), 5);
    assert_eq!(reason(kakera(home.path(), &format!("resume 0 {here}")).await), "WRONG_STATUS");
    assert_eq!(node.state.lock().unwrap().orders, 2);
}

#[tokio::test]
async fn a_network_without_stake_takes_nobody() {
    let home = tempfile::tempdir().unwrap();
    let (node, address) = node(home.path(), &Profile::small()).await;
    node.state.lock().unwrap().balance = u64::MAX;
    let dir = home.path().join("validator");
    let join = format!("join --beacon {address} --endpoint 127.0.0.1:7001 --no-start --dir {}", dir.display());
    assert_eq!(reason(kakera(home.path(), &join).await), "NO_STAKE");
    assert!(!dir.exists() && node.state.lock().unwrap().orders == 0);
}
