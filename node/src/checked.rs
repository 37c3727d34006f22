//! Answers of other nodes, checked before tonic reads them: a status whose details are not base64 makes it panic
//! (`Status::from_header_map`), and with it whatever task was listening.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http_body::{Body, Frame, SizeHint};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tonic::{
    codegen::{
        Service,
        http::{HeaderMap, Request, Response},
    },
    transport::Channel,
};

/// The header that carries a status's details.
const DETAILS: &str = "grpc-status-details-bin";

/// As tonic decodes it: padding may be there or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A way to another node.
pub type Way = Checked<Channel>;

/// A service whose answers are checked, headers and trailers.
#[derive(Clone, Debug)]
pub struct Checked<S>(pub S);

/// A body whose trailers are checked.
#[derive(Debug)]
pub struct CheckedBody<B>(B);

/// Takes out details that are none.
fn check(headers: &mut HeaderMap) {
    let sound = |value: &[u8]| BASE64.decode(value).is_ok();
    if headers.get_all(DETAILS).iter().any(|value| !sound(value.as_bytes())) {
        headers.remove(DETAILS);
    }
}

impl<S, Q, B> Service<Request<Q>> for Checked<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<CheckedBody<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let (mut parts, body) = answer.await?.into_parts();
            check(&mut parts.headers);
            Ok(Response::from_parts(parts, CheckedBody(body)))
        })
    }
}

impl<B: Body + Unpin> Body for CheckedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| match frame.into_trailers() {
                Ok(mut trailers) => {
                    check(&mut trailers);
                    Frame::trailers(trailers)
                }
                Err(data) => data,
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kakera_proto::v1::{FollowRequest, beacon_client::BeaconClient};
    use std::convert::Infallible;
    use tonic::Code;

    /// Answers everything with these headers, or these trailers.
    #[derive(Clone)]
    struct Hostile {
        details: &'static str,
        trailing: bool,
    }

    /// No data, then trailers.
    struct Trailers(Option<HeaderMap>);

    impl Body for Trailers {
        type Data = tonic::codegen::Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
            Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
        }
    }

    impl<Q> Service<Request<Q>> for Hostile {
        type Response = Response<Trailers>;
        type Error = Infallible;
        type Future = std::future::Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Q>) -> Self::Future {
            let mut said = HeaderMap::new();
            said.insert("grpc-status", "9".parse().expect("ASCII"));
            said.insert(DETAILS, self.details.parse().expect("ASCII"));
            let mut response = Response::new(Trailers(None));
            if self.trailing {
                *response.body_mut() = Trailers(Some(said));
            } else {
                response.headers_mut().extend(said);
            }
            std::future::ready(Ok(response))
        }
    }

    async fn answer(details: &'static str, trailing: bool) -> tonic::Status {
        let mut client = BeaconClient::new(Checked(Hostile { details, trailing }));
        match client.follow(FollowRequest { from_height: 1 }).await {
            Err(status) => status,
            Ok(stream) => stream.into_inner().message().await.expect_err("it ends with a status"),
        }
    }

    /// Found by the soak (seed 2): corrupted bytes on a link ended the task that followed the beacon, for ever.
    #[tokio::test]
    async fn a_status_whose_details_are_no_base64_panics_nobody() {
        for trailing in [false, true] {
            for broken in ["!", "A", "AAAAA", "CAUS=BGh", "CAl"] {
                let status = answer(broken, trailing).await;
                assert_eq!((status.code(), status.details()), (Code::FailedPrecondition, &[][..]), "{broken}");
            }
            assert_eq!(answer("CAk", trailing).await.details(), [8, 9], "sound details stay");
        }
    }
}
