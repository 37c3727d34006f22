//! Random histories of requests and epochs, with books beside them: no unit is made or lost.

use super::*;
use kakera_chain::{
    Committee, Member,
    certificate::{Certificate, Finality, Seats},
    keys::Signature,
};
use proptest::prelude::*;

/// One step of a random history.
#[derive(Clone, Debug)]
enum Move {
    /// A shard asks, in one crosslink, after taking so many answers.
    Ask { shard: u16, asks: Vec<Ask>, take: u64 },
    /// A shard sends to another, which takes.
    Send { from: u16, to: u16, amount: u64 },
    /// The epoch turns; by a bit each, who is seated and who signed.
    Turn { jump: u64, seated: u32, signed: u32 },
}

/// A request; whether it is good depends on all that came before.
#[derive(Clone, Debug)]
enum Ask {
    Bond { key: u32, owner: u8, seats: u32, extra: u64 },
    TopUp { id: u32, owner: u8, seats: u32 },
    Exit { id: u32, owner: u8 },
    Resume { id: u32, owner: u8 },
    Report { id: u32, ago: u64 },
}

fn asks() -> impl Strategy<Value = Ask> {
    let owner = 0u8..3;
    prop_oneof![
        3 => (40u32..50, owner.clone(), 0u32..6, prop_oneof![9 => Just(0u64), 1 => Just(1)])
            .prop_map(|(key, owner, seats, extra)| Ask::Bond { key, owner, seats, extra }),
        1 => (0u32..30, owner.clone(), 0u32..4).prop_map(|(id, owner, seats)| Ask::TopUp { id, owner, seats }),
        3 => (0u32..30, owner.clone()).prop_map(|(id, owner)| Ask::Exit { id, owner }),
        1 => (0u32..30, owner).prop_map(|(id, owner)| Ask::Resume { id, owner }),
        1 => (0u32..30, 0u64..6).prop_map(|(id, ago)| Ask::Report { id, ago }),
    ]
}

fn moves() -> impl Strategy<Value = Move> {
    let shard = 0..3u16;
    prop_oneof![
        4 => (shard.clone(), proptest::collection::vec(asks(), 0..5), 0u64..9)
            .prop_map(|(shard, asks, take)| Move::Ask { shard, asks, take }),
        1 => (shard, 1..3u16, 1u64..1000)
            .prop_map(|(from, by, amount)| Move::Send { from, to: (from + by) % 3, amount }),
        4 => (1u64..3, any::<u32>(), any::<u32>())
            .prop_map(|(jump, seated, signed)| Move::Turn { jump, seated, signed }),
    ]
}

/// Owners are spread over the shards; the first one has all genesis validators.
fn owner(shard: u16, n: u8) -> Address {
    if n == 0 { OWNER } else { account(shard, n) }
}

impl Ask {
    fn action(&self, network: &Network, shard: u16, now: u64) -> ReceiptAction {
        let transaction = TRANSACTION;
        match *self {
            Ask::Bond { key, owner: n, seats, extra } => match bond(network, key, owner(shard, n), seats) {
                ReceiptAction::Bond { from, amount, bond, transaction } => {
                    ReceiptAction::Bond { from, amount: amount + extra, bond, transaction }
                }
                other => other,
            },
            Ask::TopUp { id, owner: n, seats } => {
                let (from, validator, amount) = (owner(shard, n), ValidatorId(id), SEAT * u64::from(seats));
                ReceiptAction::TopUp { from, amount, validator, seats, transaction }
            }
            Ask::Exit { id, owner: n } => exit(owner(shard, n), id),
            Ask::Resume { id, owner: n } => {
                ReceiptAction::Resume { from: owner(shard, n), validator: ValidatorId(id), transaction }
            }
            Ask::Report { id, ago } => report(account(shard, 9), id, now.saturating_sub(ago)),
        }
    }
}

/// Follows a history and holds the books beside it: what was paid in by good requests and paid out.
struct Books {
    world: World,
    /// Value of all requests ever made.
    asked: u128,
    /// Turns so far.
    now: u64,
}

impl Books {
    fn play(&mut self, step: &Move) {
        match step {
            Move::Ask { shard, asks, take } => self.ask(*shard, asks, *take),
            Move::Send { from, to, amount } => {
                self.world.advance(*from, &[Step { sends: vec![(*to, *amount)], ..Step::default() }]);
                self.world.advance(*to, &[Step { takes: vec![(*from, 1)], ..Step::default() }]);
            }
            Move::Turn { jump, seated, signed } => self.turn(*jump, *seated, *signed),
        }
        self.check();
    }

    fn waiting(&self, shard: u16) -> u64 {
        self.world.state.lane(&lane(BEACON, shard)).map_or(0, |log| log.pending.len() as u64)
    }

    fn ask(&mut self, shard: u16, asks: &[Ask], take: u64) {
        let now = self.world.state.epoch.0;
        let asks: Vec<_> = asks.iter().map(|ask| ask.action(&self.world.network, shard, now)).collect();
        let takes = vec![(BEACON, take.min(self.waiting(shard)))];
        let before = self.world.state.registry.clone();
        let (answered, count) = (self.world.answers(shard).len(), asks.len() as u64);
        let values: Vec<u64> = asks.iter().map(ReceiptAction::amount).collect();
        let crosslink = self.world.extend(shard, &[Step { takes, asks, ..Step::default() }]);
        let full = self.world.state.lane(&lane(BEACON, shard)).map_or(0, crate::LaneLog::returns) + count > LANE_BOUND;
        match self.world.record(crosslink) {
            Ok(()) => self.asked += values.iter().map(|value| u128::from(*value)).sum::<u128>(),
            Err(InvalidCrosslink::LaneFull { .. }) => {
                // The blocks made by hand are lost: go on with the state that refused them.
                assert!(full);
                self.world.forget_unrecorded(shard);
                assert_eq!(self.world.state.registry, before);
                return;
            }
            Err(other) => panic!("{other}"),
        }
        let back = &self.world.answers(shard)[answered..];
        let base = self.world.lanes.get(&lane(shard, BEACON)).map_or(0, |log| log.len() as u64 - count);
        for receipt in back.iter().filter(|receipt| receipt.action.is_return()) {
            let (original, _, amount, _) = returned(&receipt.action);
            let place = usize::try_from(original - base).unwrap();
            assert_eq!(amount, values[place], "all that the request carried");
        }
    }

    fn turn(&mut self, jump: u64, seated: u32, signed: u32) {
        self.now += jump;
        let ids: Vec<ValidatorId> = self.world.state.registry.iter().map(|(id, _)| id).collect();
        let bit = |bits: u32, id: &ValidatorId| bits >> (id.0 % 32) & 1 == 1;
        let held: BTreeSet<ValidatorId> = ids.iter().copied().filter(|id| bit(seated, id)).collect();
        let mut attendance = Attendance::default();
        if !held.is_empty() {
            let seats = Seats {
                keys: Vec::new(),
                validators: held.iter().copied().collect(),
                committee: Committee::new(vec![1; held.len()]).unwrap(),
                signatures: Default::default(),
            };
            for round in 1..6 {
                let signers = (0u16..).zip(&held).filter(|(_, id)| bit(signed, id) && (id.0 + round) % 3 > 0);
                let signatures = signers.map(|(member, _)| (Member(member), Signature([0; 64]))).collect();
                let finality = Finality {
                    chain: ChainId::Beacon,
                    epoch: Epoch(0),
                    root: Default::default(),
                    height: Height(u64::from(round)),
                    block: Default::default(),
                };
                attendance.certificate(&seats, &Certificate { finality, signatures });
            }
        }
        let before = self.world.state.registry.clone();
        let rows = |registry: &crate::Registry| registry.rows(Role::Shard).into_iter().collect::<Vec<_>>();
        let turned = self.world.turn(Epoch(self.now), &held, &attendance);
        assert!(u128::from(turned.minted) <= 10 * held.len() as u128);
        let (was, is) = (rows(&before), rows(&self.world.state.registry));
        let seats = |rows: &[(ValidatorId, u32)]| rows.iter().map(|(_, seats)| u64::from(*seats)).sum::<u64>();
        let lost: u64 = turned.suspended.iter().filter_map(|id| Some(u64::from(before.get(*id)?.seats))).sum();
        // One who has more seats than may change at a time goes alone.
        let churn = was.iter().chain(&is).fold(4, |most, (_, seats)| u64::from(*seats).max(most));
        assert!(seats(&is) <= seats(&was) + churn && seats(&is) + churn + lost >= seats(&was), "churn");
        assert!(!self.world.state.registry.rows(Role::Beacon).is_empty() || before.rows(Role::Beacon).is_empty());
    }

    /// Supply is exact, by the state's own sum and by the lanes.
    fn check(&self) {
        let state = &self.world.state;
        assert_eq!(state.conservation(), Ok(3 * ALLOCATION + 20 * SEAT));
        let registry = &state.registry;
        let paid: u128 = (0..3).flat_map(|shard| self.world.answers(shard)).map(|r| u128::from(r.amount())).sum();
        let had = u128::from(20 * SEAT) + self.asked + u128::from(registry.minted());
        assert_eq!(had, registry.stake() + u128::from(registry.burned()) + paid);
        for (id, validator) in registry.iter() {
            let queued: u32 =
                registry.joining().filter(|j| j.validator == id && j.cause == Cause::More).map(|j| j.seats).sum();
            let cost = SEAT * u64::from(validator.seats + queued);
            match validator.status {
                Status::Withdrawn { .. } | Status::Slashed { .. } => assert_eq!(validator.balance(), 0),
                Status::Active | Status::Pending { .. } | Status::Suspended { .. } => assert_eq!(validator.stake, cost),
                Status::Exiting { .. } | Status::Withdrawable { .. } => assert!(validator.stake >= cost),
            }
            assert_eq!(registry.by_key(&validator.key), Some(id));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever owners, reporters and epochs do, no unit is made or lost; when everybody has left, all is paid out.
    #[test]
    fn the_supply_is_exact_at_every_step_of_every_life(history in proptest::collection::vec(moves(), 1..40)) {
        let mut books = Books { world: World::of(staked()), asked: 0, now: 0 };
        // The beacon knows the committees from before anybody leaves: here eras do not turn, and members may be forgotten.
        (0..3).for_each(|shard| books.world.advance(shard, &[Step::default()]));
        for step in &history {
            books.play(step);
        }
        // Everybody leaves who can; only the last beacon validator stays.
        let registry = Arc::clone(&books.world.state.registry);
        for (id, validator) in registry.iter() {
            let _may_have_left = Arc::make_mut(&mut books.world.state.registry).exit(validator.owner, id, Epoch(books.now));
        }
        for _ in 0..40 {
            books.turn(1, 0, 0);
            books.check();
        }
        let left: Vec<u32> = books.world.state.registry.iter().map(|(id, _)| id.0).collect();
        prop_assert!(left.iter().all(|id| *id == 0), "{left:?}");
        for shard in 0..3 {
            let count = books.waiting(shard);
            books.world.advance(shard, &[Step { takes: vec![(BEACON, count)], ..Step::default() }]);
        }
        books.check();
        prop_assert_eq!(books.world.state.in_flight(), 0);
    }
}
