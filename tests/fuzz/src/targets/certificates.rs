//! Certificates and finality signatures: what verifies was signed by different members of more than two thirds.

use super::canonical;
use crate::{
    Target,
    choices::Choices,
    world::{World, certify, secret},
};
use kakera_chain::{
    Member,
    certificate::{Certificate, FinalitySignature, Seats},
    codec,
    units::ChainId,
};
use std::collections::BTreeSet;

pub(super) const TARGET: Target = Target {
    name: "certificates",
    about: "a certificate verifies exactly if distinct members of more than 2/3 signed this header of this era",
    run,
    seeds,
    max_bytes: 1024,
    rounds: 800,
};

/// The judge that knows only what the words say: each signature alone, each member once, weights counted.
fn holds(certificate: &Certificate, era: &Certificate, seats: &Seats) -> bool {
    let (finality, right) = (&certificate.finality, &era.finality);
    let id = finality.id(World::of_all().id());
    let mut members = BTreeSet::new();
    let all = certificate.signatures.iter().all(|(member, signature)| {
        members.insert(*member) && seats.key(*member).is_some_and(|key| key.verify(&id, signature).is_ok())
    });
    let weight: u64 = members.iter().map(|member| seats.committee.weights().get(member.index()).unwrap_or(&0)).sum();
    let sorted = certificate.signatures.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let same_era = (finality.chain, finality.epoch, finality.root) == (right.chain, right.epoch, right.root);
    let total: u64 = seats.committee.weights().iter().sum();
    all && sorted && same_era && 3 * weight > 2 * total
}

fn run(bytes: &[u8]) {
    let world = World::of_all();
    let mut choices = Choices::new(bytes);
    let chain = *choices.of(&[ChainId::Beacon, world.shard_chain(0), world.shard_chain(1)]);
    let (seats, headers) = (world.seats(chain), world.headers(chain));
    let header = choices.of(&headers);
    let good = certify(header, seats, seats.keys.len(), world.id());
    let mut certificate = good.clone();
    while !choices.is_over() {
        change(&mut certificate, &good, &mut choices);
    }
    let finality = good.finality;
    let verdict = certificate.clone().verify(finality.chain, finality.epoch, finality.root, seats, world.id());
    assert_eq!(verdict.is_ok(), holds(&certificate, &good, seats), "{verdict:?}");
    for (signer, signature) in certificate.signatures.iter().copied().take(2) {
        let one = FinalitySignature { finality: certificate.finality, signer, signature };
        let alone = seats.key(signer).is_some_and(|key| key.verify(&one.finality.id(world.id()), &signature).is_ok());
        assert_eq!(one.verify(seats, world.id()).is_ok(), alone);
    }
}

fn change(certificate: &mut Certificate, good: &Certificate, choices: &mut Choices<'_>) {
    let world = World::of_all();
    let list = &mut certificate.signatures;
    let at = choices.below(list.len().max(1));
    match choices.below(10) {
        0 if at < list.len() => drop(list.remove(at)),
        1 if at < list.len() => list.insert(at, list[at]),
        2 if at < list.len() => list.swap(0, at),
        3 if at < list.len() => list[at].0 = Member(choices.u16()),
        4 if at < list.len() => list[at].1.0[choices.below(64)] ^= 1 << choices.below(8),
        // Another chain's committee signs.
        5 => {
            let chain = *choices.of(&[ChainId::Beacon, world.shard_chain(0), world.shard_chain(1)]);
            let seats = world.seats(chain);
            let id = certificate.finality.id(world.id());
            let sign = |(member, validator): (u16, _)| (Member(member), secret(validator).sign(&id));
            certificate.signatures = (0..).zip(seats.validators.iter().copied()).map(sign).collect();
        }
        6 => {
            let bytes = choices.change(&codec::encode(certificate), &codec::encode(good));
            if let Some(changed) = canonical(&bytes, |bytes| codec::decode(bytes, Certificate::MAX_BYTES)) {
                *certificate = changed;
            }
        }
        7 => certificate.finality.height.0 ^= u64::from(choices.u8()),
        8 => list.reverse(),
        _ => *certificate = good.clone(),
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let changes = (0..10u8).map(|kind| vec![kind % 3, 1, 0, kind, 1, 2, 3]);
    changes.chain([vec![0, 0], vec![1, 2, 0, 0, 0, 0], vec![2, 1, 1, 1, 2, 0], vec![0, 2, 0, 5, 1]]).collect()
}
