//! Whom a process speaks with about what, as the beacon's state names them.

use super::director::Director;
use crate::{
    duties::{holders, is_settled, speakers},
    peers::{Contact, Peers},
};
use kakera_beacon::BeaconState;
use kakera_chain::{
    genesis::Role,
    units::{ChainId, ShardId, ValidatorId},
};
use std::{collections::BTreeSet, sync::Arc};

impl Director {
    /// A process whose key the genesis file does not list finds itself in the registry.
    pub(super) async fn learn_who(&self, state: &BeaconState) {
        if self.beacon.me.get().is_none()
            && let Some(id) = state.registry.by_key(&self.ground.key.public())
        {
            tracing::info!(validator = %id, "this process's key is registered");
            self.beacon.me.get_or_init(|| id);
            if self.role == Role::Beacon && self.beacon.core.reopen().await.is_err() {
                return;
            }
        }
        if let (Role::Beacon, Some(me), None) = (self.role, self.beacon.me.get(), self.beacon_peers.get()) {
            let ground = &self.ground;
            let (key, metrics) = (ground.key.clone(), Arc::clone(&ground.metrics));
            let peers = Peers::new(ground.network.id, ChainId::Beacon, *me, key, metrics);
            self.beacon.speak(&peers, ground, *me);
            self.beacon_peers.get_or_init(|| peers);
        }
    }

    /// Sets who serves each chain, who holds it, and who is spoken with.
    pub(super) fn address(&mut self, state: &BeaconState) {
        self.note_holders(state);
        let me = self.beacon.me.get().copied();
        let spread = me.map_or(0, |me| usize::try_from(me.0).unwrap_or(0));
        let ways = |ids: Vec<ValidatorId>| -> Vec<(ValidatorId, String)> {
            let others = ids.into_iter().filter(|id| Some(*id) != me);
            others.filter_map(|id| Some((id, self.contact(state, id)?.endpoint))).collect()
        };
        let forwarder = &self.ground.forwarder;
        let in_office = state.seating.current.beacon.iter().map(|(id, _)| *id).collect();
        forwarder.set(ChainId::Beacon, ways(in_office), spread);
        let beacons = state.registry.iter().filter(|(_, entry)| entry.role == Role::Beacon && !entry.status.is_gone());
        forwarder.set_holders(ChainId::Beacon, ways(beacons.map(|(id, _)| id).collect()));
        for shard in (0..state.shards.len()).filter_map(|place| u16::try_from(place).ok()).map(ShardId) {
            let bench = state.shard(shard).map(|record| record.bench.0.clone()).unwrap_or_default();
            let members: BTreeSet<ValidatorId> = bench.into_iter().collect();
            forwarder.set(ChainId::Shard(shard), ways(members.into_iter().collect()), spread);
            let all = self.held_by.get(&shard).cloned().unwrap_or_default();
            forwarder.set_holders(ChainId::Shard(shard), ways(all));
        }
        let set = |peers: &Peers, chain: ChainId| {
            let others = speakers(state, chain);
            let speaks = me.is_some_and(|me| others.contains(&me));
            let contacts = others.into_iter().filter(|_| speaks).filter_map(|id| self.contact(state, id));
            peers.set(contacts.collect());
        };
        if let Some(peers) = self.beacon_peers.get() {
            set(peers, ChainId::Beacon);
        }
        for (shard, host) in self.ground.hosts.all() {
            set(&host.peers, ChainId::Shard(shard));
        }
    }

    /// A fallback names a committee of which nobody may hold the state: those who were named before it do.
    fn note_holders(&mut self, state: &BeaconState) {
        for shard in (0..state.shards.len()).filter_map(|place| u16::try_from(place).ok()).map(ShardId) {
            let mut all: Vec<ValidatorId> = holders(state, shard).into_iter().map(|(id, _)| id).collect();
            let known = self.held_by.entry(shard).or_default();
            if !is_settled(state, shard) {
                let former: Vec<ValidatorId> = known.iter().filter(|id| !all.contains(id)).copied().collect();
                all.extend(former);
            }
            *known = all;
        }
    }

    fn contact(&self, state: &BeaconState, id: ValidatorId) -> Option<Contact> {
        let entry = state.registry.get(id)?;
        Some(Contact { validator: id, key: entry.key, endpoint: self.ways.to(id, &entry.endpoint) })
    }
}
