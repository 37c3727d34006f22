//! The commands, one file each.

pub(crate) mod account;
pub(crate) mod lab;
pub(crate) mod sim;
pub(crate) mod status;
pub(crate) mod testnet;
pub(crate) mod transfer;
pub(crate) mod validator;
pub(crate) mod wallet;
