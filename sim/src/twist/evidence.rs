//! Who can be shown to have equivocated, from what honest nodes hold together: two messages of one member and place, or
//! two certificates of one height that one member signed.

use crate::{node::Node, setup::Setup};
use borsh::BorshDeserialize;
use kakera_chain::{
    BlockId, Member, MessageId,
    certificate::Certificate,
    message::SignedMessage,
    store::{Row, Store, Table},
    units::{ChainId, Height},
};
use std::collections::{BTreeMap, BTreeSet};

/// By chain the members against which there is evidence.
pub fn proven(setup: &Setup, nodes: &[Node]) -> BTreeMap<ChainId, BTreeSet<Member>> {
    setup.chains().map(|chain| (chain, proven_of(setup, nodes, chain))).collect()
}

/// Their weight.
pub fn weight(setup: &Setup, chain: ChainId, members: &BTreeSet<Member>) -> u64 {
    members.iter().map(|member| setup.seats(chain).committee.weight(*member)).sum()
}

/// The weight of the members that a running node holds evidence against.
pub fn convicted(setup: &Setup, node: &Node) -> Option<u64> {
    node.process.as_ref()?;
    let rows = node.disk.scan(Table::Evidence, &[], usize::MAX).unwrap_or_default();
    Some(weight(setup, node.chain, &rows.iter().filter_map(accused).collect()))
}

fn accused((key, _): &Row) -> Option<Member> {
    Some(Member(u16::from_be_bytes(*key.first_chunk()?)))
}

fn proven_of(setup: &Setup, nodes: &[Node], chain: ChainId) -> BTreeSet<Member> {
    let mut said: BTreeMap<(Member, u64), MessageId> = BTreeMap::new();
    let mut signed: BTreeMap<(Member, Height), BlockId> = BTreeMap::new();
    let mut proven = BTreeSet::new();
    for node in nodes.iter().filter(|node| node.chain == chain && node.is_honest()) {
        for message in all::<SignedMessage>(&*node.disk, Table::Messages) {
            let statement = &message.statement;
            let id = statement.id(setup.network.id);
            if *said.entry((statement.sender, statement.seq)).or_insert(id) != id {
                proven.insert(statement.sender);
            }
        }
        for certificate in all::<Certificate>(&*node.disk, Table::Certificates) {
            let finality = &certificate.finality;
            for (member, _) in &certificate.signatures {
                if *signed.entry((*member, finality.height)).or_insert(finality.block) != finality.block {
                    proven.insert(*member);
                }
            }
        }
        // What it has been shown without holding it.
        let rows = node.disk.scan(Table::Evidence, &[], usize::MAX).unwrap_or_default();
        proven.extend(rows.iter().filter_map(accused));
    }
    proven
}

fn all<T: BorshDeserialize>(disk: &dyn Store, table: Table) -> Vec<T> {
    let rows: Vec<Row> = disk.scan(table, &[], usize::MAX).unwrap_or_default();
    rows.iter().filter_map(|(_, value)| borsh::from_slice(value).ok()).collect()
}
