//! What each request passes: a time limit and a cap for unary calls, a small first frame for peers' streams, and a count
//! of what is answered.

use super::{shares::Caller, untaken::Untaken};
use crate::errors::{ApiError, refusal};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Body as HttpBody, BoxFuture, Bytes, Service, http},
    transport::server::TcpConnectInfo,
};
use tower::Layer;

/// Requests waiting for their answer (or the beginning of a stream) at once at most.
const MAX_REQUESTS: usize = 4096;
/// How long an answer may take; forwarding to several dead nodes fits.
const ANSWER: Duration = Duration::from_secs(10);
/// The greeting's frame at most: nobody unknown makes us hold more.
const FIRST_FRAME: u32 = 1024;
const TALK: &str = "/kakera.v1.Peer/Talk";

/// The layer.
#[derive(Clone)]
pub(super) struct Gate {
    room: Arc<Semaphore>,
    untaken: Untaken,
}

impl Gate {
    /// A gate with its own count of requests.
    pub(super) fn new(untaken: Untaken) -> Gate {
        Gate { room: Arc::new(Semaphore::new(MAX_REQUESTS)), untaken }
    }
}

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, inner: S) -> Gated<S> {
        Gated { inner, room: Arc::clone(&self.room), untaken: self.untaken.clone() }
    }
}

/// A service behind the gate.
#[derive(Clone)]
pub(super) struct Gated<S> {
    inner: S,
    room: Arc<Semaphore>,
    untaken: Untaken,
}

impl<S> Service<http::Request<Body>> for Gated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<http::Response<Body>, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() == TALK {
            // Answers only when the stream ends: no time limit, but a limit on what comes before the greeting.
            let limited = request.map(|body| Body::new(FirstFrame { body, header: Vec::new(), passed: false }));
            return Box::pin(self.inner.call(limited));
        }
        let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() else {
            let status = Status::from(ApiError::Busy { what: "requests", limit: MAX_REQUESTS });
            return Box::pin(async move { Ok(status.into_http()) });
        };
        let remote = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        let (caller, untaken) = (Caller::from(remote), self.untaken.clone());
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answered = timeout(ANSWER, answer).await;
            drop(permit);
            let Ok(answered) = answered else {
                let message = format!("no answer within {} s: try again, or use another node", ANSWER.as_secs());
                return Ok(refusal(Code::DeadlineExceeded, "TIMEOUT", message).into_http());
            };
            answered.map(|answer| answer.map(|body| Body::new(Answer { body, caller, untaken, over: false })))
        })
    }
}

/// A response body whose bytes count until the transport has written them. One for which there is no room ends.
struct Answer {
    body: Body,
    caller: Caller,
    untaken: Untaken,
    over: bool,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let frame = match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            ended => return Poll::Ready(ended),
        };
        let held = match frame.into_data() {
            Ok(bytes) => self.untaken.hold(self.caller, bytes).map(http_body::Frame::data),
            Err(trailers) => Ok(trailers),
        };
        let frame = held.unwrap_or_else(|busy| {
            self.over = true;
            let mut trailers = http::HeaderMap::new();
            Status::from(busy).add_header(&mut trailers).expect("a refusal's text fits into headers");
            http_body::Frame::trailers(trailers)
        });
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A request body whose first gRPC frame may declare few bytes only: refused before anything is reserved for it.
struct FirstFrame {
    body: Body,
    /// The first frame's header as far as it came: compressed flag, then the length.
    header: Vec<u8>,
    passed: bool,
}

impl FirstFrame {
    fn look(&mut self, bytes: &[u8]) -> Result<(), Status> {
        let missing = 5usize.saturating_sub(self.header.len());
        self.header.extend_from_slice(&bytes[..missing.min(bytes.len())]);
        let Some(length) = self.header.get(1..5) else { return Ok(()) };
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        if length > FIRST_FRAME {
            let message = format!("the first frame declares {length} bytes, but a greeting has at most {FIRST_FRAME}");
            return Err(refusal(Code::InvalidArgument, "HELLO_TOO_LONG", message));
        }
        self.passed = true;
        Ok(())
    }
}

impl HttpBody for FirstFrame {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
        if !self.passed
            && let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            let bytes = bytes.clone();
            if let Err(status) = self.look(&bytes) {
                return Poll::Ready(Some(Err(status)));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_first_frame_is_refused_even_when_its_header_comes_byte_by_byte() {
        let fresh = || FirstFrame { body: Body::empty(), header: Vec::new(), passed: false };
        let mut frame = fresh();
        assert!([0, 0, 0, 4].iter().all(|byte| frame.look(&[*byte]).is_ok() && !frame.passed));
        assert!(frame.look(&[1]).is_err(), "1025 bytes");
        let mut frame = fresh();
        assert!(frame.look(&[0, 0, 0, 4, 0, 9, 9]).is_ok() && frame.passed);
        assert!(fresh().look(&[0, 255, 255, 255, 255]).is_err());
    }
}
