//! What a hostile world may try on a shard: each file is named after the statement that its tests hold up.

mod amounts_stay_exact;
mod crosslinks_can_be_recorded;
mod proofs_prove_one_thing;
mod receipts_are_consumed_once;
mod waiting_orders_leave_room;
mod what_was_forgotten_is_not_invalid;
