//! gRPC calls whose messages are plain bytes, so that they may be wrong.

use crate::net::Net;
use prost::bytes::{Buf, BufMut};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Sends bytes as the one message of a call and returns the first message of the answer, for a stream too; empty when
/// a stream ends without one.
///
/// # Errors
/// The node's status.
///
/// # Panics
/// When nothing comes for twenty seconds.
pub fn call(net: &Net, name: &str, path: &'static str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
    let channel = net.channel(name);
    let exchange = async {
        let mut client = Grpc::new(channel);
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let mut answers = client.server_streaming(Request::new(body), path, Bytes).await?.into_inner();
        Ok(answers.message().await?.unwrap_or_default())
    };
    let answer = net.runtime().block_on(async { timeout(LIMIT, exchange).await });
    answer.unwrap_or_else(|_| panic!("{name} does not answer {path}"))
}

/// Bytes in, bytes out.
#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Bytes;
    type Decoder = Bytes;

    fn encoder(&mut self) -> Bytes {
        Bytes
    }

    fn decoder(&mut self) -> Bytes {
        Bytes
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut bytes = vec![0; from.remaining()];
        from.copy_to_slice(&mut bytes);
        Ok(Some(bytes))
    }
}
