//! Generates the kakera.v1 stubs with protox, so that no protoc is needed.

#![allow(clippy::disallowed_methods, reason = "cargo tells a build script by its environment where to write")]

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let files = ["transactions", "chains", "beacon", "validators", "peer", "sync"]
        .map(|name| format!("kakera/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=kakera");
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("kakera.v1.descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().codec_path("crate::codec::StrictCodec").compile_fds(descriptors)?;
    Ok(())
}
