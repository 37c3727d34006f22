//! What nodes see of others' lives: who breaks a rule is reported, and a newcomer that has voted may leave.

use super::World;
use crate::{
    clock::EPOCH_MS,
    node::{Machine, NodeId},
    workload::Report,
};
use kakera_chain::{
    peer::PeerMessage,
    store::{Table, Write},
    units::{ChainId, ShardId, Timestamp},
};

impl World {
    /// Whether what a node writes is evidence that somebody should be told of.
    pub(super) fn accuses(&self, id: NodeId, writes: &[Write]) -> bool {
        #[cfg(test)]
        if self.flaw == Some(crate::mutants::Flaw::NeverReports) {
            return false;
        }
        let row = |write: &Write| matches!(write, Write::Put { table: Table::Evidence, .. });
        self.setup.network.genesis.staking.is_some() && self.nodes[id].is_honest() && writes.iter().any(row)
    }

    /// Whoever runs a node that holds evidence sends it to the beacon, from an account on the shard of that node.
    pub(super) fn report(&mut self, id: NodeId) {
        let Some(process) = &self.nodes[id].process else { return };
        let evidence = match &process.machine {
            Machine::Beacon(replica, _) => replica.evidence(),
            Machine::Shard(replica, ..) => replica.evidence(),
        };
        let (era, seats) = (process.machine.era(), process.machine.seats());
        let here = |member: kakera_chain::Member| seats.validators.get(member.index()).copied();
        let reports: Vec<_> = evidence
            .unwrap_or_default()
            .iter()
            .filter(|evidence| evidence.accused().1 == era.epoch)
            .filter_map(|evidence| Some((here(evidence.accused().2)?, evidence.to_bytes()?)))
            .collect();
        let clock = self.setup.network.clock(ChainId::Beacon);
        let seen = self.setup.network.epoch_of(clock.slot_at(Timestamp(EPOCH_MS + self.now.0 / 1_000)));
        let shard = match self.nodes[id].chain {
            ChainId::Shard(shard) => shard,
            ChainId::Beacon => ShardId(0),
        };
        for (validator, bytes) in reports {
            self.workload.report(shard, Report { validator, seen }, bytes, &self.setup);
        }
    }

    /// A node has said something. A newcomer that votes has served.
    pub(super) fn has_voted(&mut self, id: NodeId, message: &PeerMessage) {
        let validator = self.nodes[id].validator;
        let newcomer = validator.0 as usize >= self.setup.network.genesis.validators.len();
        if newcomer && matches!(message, PeerMessage::Message(_)) {
            self.workload.served(validator, &self.setup);
        }
    }
}
