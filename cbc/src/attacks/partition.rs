//! Links that are cut: twenty branches, and a member that comes back when the others have forgotten.

use super::{Outcome, shown};
use crate::Member;
use crate::net::{Cut, Net, Setup};

/// Twenty members, each alone for twenty slots, each with a branch of its own.
pub(super) fn twenty_branches(seed: u64) -> Outcome {
    const MEMBERS: u16 = 20;
    /// Finality is back this many slots after the links.
    const WITHIN: u64 = 2;
    let mut net = Net::new(Setup::equal(MEMBERS, seed)).expect("equal members are a committee");
    let healed = u64::from(MEMBERS) + 1;
    let parts = (0..usize::from(MEMBERS)).map(|node| vec![node]).collect();
    net.cut(Cut { from_ms: 0, to_ms: net.start_of(healed), parts, lost: true });
    net.run(net.start_of(healed) - 1);
    let (branches, before) = (net.heads().len(), net.finalized_height());
    net.note(format!("{branches} branches when the links heal"));
    net.run(net.start_of(healed + WITHIN + 1) - 1);
    let first = net.finalized_at(before + 1).map(|at| at / net.setup().times.slot_ms);
    let heads = net.heads().len();
    let held = net.honest().iter().map(|at| net.node(*at).most().0).max().unwrap_or(0);
    let figures = vec![
        ("branches", branches.to_string()),
        ("heads afterwards", heads.to_string()),
        ("slots until finality", shown(first.map(|slot| slot - healed))),
        ("most messages held", held.to_string()),
    ];
    let back = first.is_some_and(|slot| slot <= healed + WITHIN);
    Outcome::of(&net, branches == usize::from(MEMBERS) && before == 0 && heads == 1 && back, figures)
}

/// The cut-off member says nothing meanwhile: it leads no slot.
pub(super) fn silent(seed: u64) -> Outcome {
    cut_off(seed, false)
}

/// It leads slots, and builds a branch that nobody sees.
pub(super) fn speaking(seed: u64) -> Outcome {
    cut_off(seed, true)
}

fn cut_off(seed: u64, speaks: bool) -> Outcome {
    const MEMBERS: u16 = 7;
    const CUT: u64 = 3;
    const HEALED: u64 = 45;
    /// Slots after which the others hold everything that the member has said.
    const WITHIN: u64 = 3;
    let last = usize::from(MEMBERS - 1);
    let mut setup = Setup::equal(MEMBERS, seed);
    setup.keep_slots = Some(8);
    if !speaks {
        setup.leaders.pop();
    }
    let mut net = Net::new(setup).expect("equal members are a committee");
    let parts = vec![(0..last).collect(), vec![last]];
    net.cut(Cut { from_ms: net.start_of(CUT) + 1_500, to_ms: net.start_of(HEALED) + 1_500, parts, lost: true });
    let own = |net: &Net| net.node(last).engine().latest(Member(MEMBERS - 1)).map_or(0, |(seq, _)| seq + 1);
    net.run(net.start_of(CUT) + 1_500);
    let before = own(&net);
    net.run(net.start_of(HEALED) + 1_500);
    let alone = own(&net) - before;
    let line = net.node(0).engine().line().0;
    net.note(format!("member {last} said {alone} messages alone; the others forgot what is below slot {line}"));
    net.run(net.start_of(HEALED + WITHIN + 1) - 1);
    let heard = |at: &usize| net.node(*at).engine().latest_slot(Member(MEMBERS - 1)).map_or(0, |slot| slot.0);
    let others: Vec<usize> = (0..last).collect();
    let heard_in = others.iter().map(heard).min().unwrap_or(0);
    let same = others.iter().all(|at| {
        let newest = net.node(*at).engine().latest(Member(MEMBERS - 1));
        newest == net.node(last).engine().latest(Member(MEMBERS - 1))
    });
    let rebuilt: Vec<u64> = others.iter().map(|at| net.node(*at).rebuilt()).collect();
    let figures = vec![
        ("messages said alone", alone.to_string()),
        ("the others' pruning line, slot", line.to_string()),
        ("heard again, up to slot", heard_in.to_string()),
        ("engines made anew", format!("{rebuilt:?}")),
        ("heads afterwards", net.heads().len().to_string()),
    ];
    let forgotten = line > CUT + 1;
    let held = forgotten && (alone > 0) == speaks && heard_in > HEALED && same && net.heads().len() == 1;
    Outcome::of(&net, held, figures)
}
