//! Counting lanes: see [`kakera_chain::lanes`].

pub(crate) use kakera_chain::lanes::{LaneCounts, LaneTable, count};
