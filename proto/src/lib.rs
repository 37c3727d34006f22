//! The kakera.v1 wire: generated stubs. Protobuf is transport only; whatever is hashed or signed travels inside
//! it as canonical bytes.

pub mod codec;

/// The generated messages, clients and servers of package `kakera.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated; documented in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("kakera.v1");
}

/// The compiled descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kakera.v1.descriptors.bin"));
