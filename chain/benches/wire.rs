//! What a vote takes on the wire: bytes by members and by how many of them it cites anew.

use kakera_cbc::{BlockId, Cite, Member, Slot};
use kakera_chain::{
    advances::Advances,
    codec,
    keys::Signature,
    message::{Estimate, SignedMessage, Statement},
    units::{ChainId, Epoch, ShardId},
};

fn vote(advances: Vec<(Member, Cite)>) -> usize {
    let statement = Statement {
        chain: ChainId::Shard(ShardId(1)),
        epoch: Epoch(7),
        root: BlockId([1; 32]),
        sender: Member(2),
        seq: 40_000,
        slot: Slot(20_000),
        base: BlockId([2; 32]),
        advances: Advances::new(advances),
        cites: [3; 32],
        estimate: Estimate::Vote(BlockId([4; 32])),
    };
    codec::encode(&SignedMessage { statement, signature: Signature([5; 64]) }).len() - 64
}

fn main() {
    println!("bytes of a vote, without its signature of 64");
    println!(
        "{:>8} {:>10} {:>18} {:>18} {:>18} {:>18}",
        "members", "no cites", "all 1 ahead", "a tenth 2 ahead", "all 2 ahead", "all faulty"
    );
    for members in [4u16, 16, 64, 100, 128, 1_000] {
        let all = |cite: fn(u16) -> Cite| vote((0..members).map(|member| (Member(member), cite(member))).collect());
        let none = vote(Vec::new());
        let one = all(|_| Cite::Ahead(1));
        let mixed = all(|member| Cite::Ahead(1 + u64::from(member % 10 == 0)));
        let (two, faulty) = (all(|_| Cite::Ahead(2)), all(|_| Cite::Faulty));
        println!("{members:>8} {none:>10} {one:>18} {mixed:>18} {two:>18} {faulty:>18}");
        assert!(one <= 300, "a vote with {members} new cites takes {one} bytes");
    }
}
