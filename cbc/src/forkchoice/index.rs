//! The incremental index: subtree weights and best children of the own view, and its head.

use super::tree::Tree;
use crate::arena::NOTHING;

/// Moves `weight` from one vote to another and returns the head that results.
///
/// Only the blocks between the two votes change; the head moves only when a best child changes on
/// the way from `base` to it.
pub(crate) fn shift(tree: &mut Tree, (base, head): (u32, u32), from: Option<u32>, to: Option<u32>, weight: u64) -> u32 {
    let mut changed = Vec::new();
    let held = |tree: &Tree, block: Option<u32>| block.filter(|block| tree.get(*block).is_some());
    let (mut old, mut new) = (held(tree, from), held(tree, to));
    while old != new {
        let height = |block: Option<u32>| block.and_then(|b| tree.get(b)).map(|b| b.height);
        let step = if height(old) >= height(new) {
            let at = old.expect("a height means a block");
            let block = tree.get_mut(at).expect("held() filtered the missing");
            block.weight = block.weight.checked_sub(weight).expect("what leaves was added before");
            old = Some(block.parent);
            at
        } else {
            let at = new.expect("a height means a block");
            let block = tree.get_mut(at).expect("held() filtered the missing");
            block.weight = block.weight.checked_add(weight).expect("weights sum within 64 bits");
            new = Some(block.parent);
            at
        };
        (old, new) = (held(tree, old), held(tree, new));
        changed.extend(rebest(tree, step));
    }
    let lowest = changed.into_iter().filter(|at| tree.descends(*at, base) && tree.descends(head, *at)).min();
    lowest.map_or(head, |at| descend(tree, at))
}

/// The block that best children lead to.
pub(crate) fn descend(tree: &Tree, from: u32) -> u32 {
    let mut at = from;
    while let Some(block) = tree.get(at).filter(|block| block.best != NOTHING) {
        at = block.best;
    }
    at
}

/// Looks again at the best child of this block's parent; answers the parent if it changed.
fn rebest(tree: &mut Tree, block: u32) -> Option<u32> {
    let parent = tree.get(block)?.parent;
    let above = tree.get(parent)?;
    let weight_of = |child: u32| tree.get(child).map_or(0, |child| child.weight);
    let best = if above.best == block {
        above
            .children
            .iter()
            .copied()
            .filter(|child| weight_of(*child) > 0)
            .max_by_key(|child| tree.rank(*child, weight_of(*child)))
            .unwrap_or(NOTHING)
    } else if weight_of(block) > 0
        && (above.best == NOTHING || tree.rank(block, weight_of(block)) > tree.rank(above.best, weight_of(above.best)))
    {
        block
    } else {
        above.best
    };
    if best == above.best {
        return None;
    }
    tree.get_mut(parent)?.best = best;
    Some(parent)
}
