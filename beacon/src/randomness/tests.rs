//! Links, commitments and the mix.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use proptest::prelude::*;

fn whole(secret: [u8; 32]) -> Vec<Hash> {
    std::iter::successors(Some(Hash(secret)), |link| Some(climb(*link, 1))).take(CHAIN_LINKS as usize + 1).collect()
}

#[test]
fn every_link_is_found_by_the_commitment_above_it() {
    let (links, chain) = (whole([7; 32]), Chain::new(&[7; 32], 0));
    assert_eq!(chain.end(), links[CHAIN_LINKS as usize]);
    // All near the ends and at checkpoints, and a sample of the others.
    let near = |at: &usize| *at < 600 || *at > 65_000 || at % 256 < 2 || at.is_multiple_of(97);
    for at in (2..=CHAIN_LINKS as usize).filter(near) {
        assert_eq!(chain.below(links[at]), Some((links[at - 1], at as u32 - 2)), "{at}");
    }
    assert_eq!(chain.below(links[1]), None, "the secret is never revealed");
    assert_eq!(chain.below(links[0]), None);
    assert_eq!(chain.below(Hash([9; 32])), None, "no link of this chain");
    assert_eq!(chain.below(climb(chain.end(), 1)), None, "nor is what follows its end");
}

#[test]
fn a_producer_reveals_what_the_state_asks_for_whatever_it_revealed_before() {
    let mut links = Links::new([3; 32]);
    let first = Commitment::new(links.commitment(), Epoch(0));
    let one = links.reveal(&first, Epoch(0)).unwrap();
    let then = first.revealed(&one, Epoch(0)).unwrap();
    let two = links.reveal(&then, Epoch(5)).unwrap();
    assert_ne!(one.link, two.link);
    assert!(is_below(two.link, one.link) && two.next.is_none());
    // Another branch on which nothing was revealed, and a process that starts anew.
    assert_eq!(links.reveal(&first, Epoch(9)), Some(one));
    assert_eq!(Links::new([3; 32]).reveal(&then, Epoch(5)), Some(two));
    assert_eq!(Links::new([4; 32]).reveal(&then, Epoch(5)), None, "another secret");
}

#[test]
fn a_used_up_chain_is_followed_by_another_in_the_next_epoch() {
    let secret = [5; 32];
    let lowest = whole(secret)[2];
    let mut links = Links::new(secret);
    let commitment = Commitment { link: lowest, from: Epoch(0), chain: 0 };
    let last = links.reveal(&commitment, Epoch(8)).unwrap();
    assert!(is_below(last.link, lowest));
    let fresh = commitment.revealed(&last, Epoch(8)).unwrap();
    assert_eq!(fresh, Commitment { link: last.next.unwrap(), from: Epoch(9), chain: 1 });
    assert_eq!(links.reveal(&fresh, Epoch(8)), None, "not in the epoch in which it was chosen");
    let early = Reveal { link: Chain::new(&secret, 1).below(fresh.link).unwrap().0, next: None };
    assert_eq!(fresh.revealed(&early, Epoch(8)), Err(InvalidReveal::TooEarly { from: Epoch(9), epoch: Epoch(8) }));
    let next = links.reveal(&fresh, Epoch(9)).unwrap();
    assert_eq!(next, early);
    assert_eq!(fresh.revealed(&next, Epoch(9)).unwrap(), Commitment { link: next.link, ..fresh });
    assert_eq!(links.commitment(), Links::new(secret).commitment(), "what is registered stays");
    assert_eq!(links.reveal(&commitment, Epoch(8)), Some(last), "a branch that has not recommitted");
}

#[test]
fn a_link_that_is_not_below_is_refused() {
    let mut links = Links::new([6; 32]);
    let commitment = Commitment::new(links.commitment(), Epoch(2));
    let reveal = links.reveal(&commitment, Epoch(2)).unwrap();
    let after = commitment.revealed(&reveal, Epoch(2)).unwrap();
    for (wrong, state) in [
        (Reveal { link: commitment.link, next: None }, commitment),
        (Reveal { link: Hash::ZERO, ..reveal }, commitment),
        (reveal, after),
    ] {
        let refused = Err(InvalidReveal::NotBelow { commitment: state.link });
        assert_eq!(state.revealed(&wrong, Epoch(2)), refused);
    }
    assert!(matches!(commitment.revealed(&reveal, Epoch(1)), Err(InvalidReveal::TooEarly { .. })));
    assert_eq!(links.reveal(&commitment, Epoch(1)), None);
}

#[test]
fn the_mix_is_golden_and_a_copied_commitment_takes_nothing_out() {
    let mix = Mix::genesis(Hash([0x11; 32])).with(ValidatorId(3), Hash([0x22; 32]));
    assert_eq!(mix.0.to_string(), "2d515ffcad841157127a5afb46acc219b43aa6827d79dfcd3deb2d7c62c53318");
    assert_ne!(mix.with(ValidatorId(4), Hash([0x22; 32])), Mix::genesis(Hash([0x11; 32])));
    // Only who revealed a link could take it out, by committing to the same chain again: it was its own to withhold.
    assert_eq!(mix.with(ValidatorId(3), Hash([0x22; 32])), Mix::genesis(Hash([0x11; 32])));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_mix_is_the_same_in_any_order_and_misses_nothing(
        reveals in proptest::collection::btree_map(any::<u32>(), any::<[u8; 32]>(), 1..12), seed in any::<[u8; 32]>()
    ) {
        let start = Mix::genesis(Hash(seed));
        let reveals: Vec<_> = reveals.into_iter().map(|(id, link)| (ValidatorId(id), Hash(link))).collect();
        let mixed = |reveals: &[(ValidatorId, Hash)]| reveals.iter().fold(start, |mix, (id, link)| mix.with(*id, *link));
        let backward: Vec<_> = reveals.iter().rev().copied().collect();
        prop_assert_eq!(mixed(&reveals), mixed(&backward));
        prop_assert_ne!(mixed(&reveals), mixed(&reveals[1..]));
    }
}
