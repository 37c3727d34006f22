//! gRPC frames through the strict codec: a bad request is the client's fault, and a length alone reserves no more than
//! the limit.

use crate::{Target, choices::Choices, heap};
use bytes::Bytes;
use http_body_util::Full;
use kakera_proto::{codec::StrictCodec, v1};
use prost::Message;
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};
use tonic::{Code, Status, Streaming, codec::Codec};

pub(super) const TARGET: Target = Target {
    name: "frames",
    about: "request bodies through the strict codec: the message that was framed, or a refusal that blames the client",
    run,
    seeds,
    max_bytes: 4096,
    rounds: 6_000,
};

/// The largest frame here: what a declared length may reserve.
const LIMIT: usize = 64 * 1024;
/// Frames of one body that are read.
const FRAMES: usize = 16;

fn run(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let kind = choices.u8();
    let body = choices.rest();
    match kind % 8 {
        0 => any::<v1::SubmitRequest>(body),
        1 => any::<v1::SubmitManyRequest>(body),
        2 => any::<v1::TrackRequest>(body),
        3 => any::<v1::SubmitCrosslinkRequest>(body),
        4 => any::<v1::GetBlockRequest>(body),
        5 => any::<v1::ExplainRequest>(body),
        6 => any::<v1::GetAccountRequest>(body),
        _ => any::<v1::Envelope>(body),
    }
}

fn any<T: Message + Default + PartialEq + 'static>(body: &[u8]) {
    // As one message in an honest frame.
    let framed = [&[0][..], &u32::try_from(body.len()).expect("bounded").to_be_bytes(), body].concat();
    let read = read::<T>(&framed);
    match (T::decode(body), read.as_slice()) {
        (Ok(message), [Ok(found)]) => assert!(*found == message, "another message came out of the frame"),
        (Err(_), [Err(status)]) => assert_eq!(status.code(), Code::InvalidArgument, "{status}"),
        (alone, framed) => panic!("{} alone, but {} framed results", alone.is_ok(), framed.len()),
    }
    // As frames of the stranger's own making.
    for refused in heap::bounded(LIMIT + body.len(), || read_to_end::<T>(body)) {
        let known = [Code::InvalidArgument, Code::OutOfRange, Code::Internal];
        assert!(known.contains(&refused.code()), "{refused}");
    }
}

fn read_to_end<T: Message + Default + 'static>(body: &[u8]) -> Vec<Status> {
    read::<T>(body).into_iter().filter_map(Result::err).collect()
}

fn read<T: Message + Default + 'static>(body: &[u8]) -> Vec<Result<T, Status>> {
    let decoder = StrictCodec::<T, T>::default().decoder();
    let body = Full::new(Bytes::copy_from_slice(body));
    let mut stream = Streaming::new_request(decoder, body, None, Some(LIMIT));
    let mut read = Vec::new();
    while read.len() < FRAMES {
        let next = pin!(stream.message()).poll(&mut Context::from_waker(Waker::noop()));
        match next {
            Poll::Ready(Ok(Some(message))) => read.push(Ok(message)),
            Poll::Ready(Ok(None)) => break,
            Poll::Ready(Err(status)) => {
                read.push(Err(status));
                break;
            }
            Poll::Pending => panic!("a whole body leaves nothing to wait for"),
        }
    }
    read
}

fn seeds() -> Vec<Vec<u8>> {
    let bodies: [&[u8]; 6] = [
        &[],
        &[0x0a, 2, 1, 2],
        &[0x0a, 200, 1, 2],
        &[0, 0, 0, 0, 2, 8, 1, 0, 0, 0, 0, 0],
        &[0, 0xff, 0xff, 0xff, 0xff, 1],
        &[1, 0, 0, 0, 2, 8, 1],
    ];
    let kinds = (0..8u8).flat_map(|kind| bodies.map(|body| [&[kind][..], body].concat()));
    kinds.step_by(2).chain([vec![0, 0, 0, 0, 0xff, 0], vec![7, 9, 0, 0, 0, 0]]).collect()
}
