//! Certified blocks as a stream. Each piece is read when its reader has room for it, so that a reader that takes nothing
//! costs nothing; and nothing but the core is held, so that a chain may go while it is read.

use crate::{
    api::{Answers, chains::Served},
    core::{ChainEvent, Core},
    errors::ApiError,
    server::{Holding, Share},
};
use kakera_chain::{codec, units::Height};
use kakera_proto::v1::CertifiedBlocks;
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_stream::Stream;
use tonic::Status;

/// One reader's place on the chain.
struct Feed<A: Served> {
    core: Core<A>,
    events: Receiver<ChainEvent>,
    next: Height,
}

type Piece = Result<CertifiedBlocks, Status>;
type Step<A> = Pin<Box<dyn Future<Output = (Feed<A>, Option<Piece>)> + Send>>;

/// The feed as a stream: a step at a time, none once it has ended.
struct Steps<A: Served>(Option<Step<A>>);

/// Certified blocks from `next` on, each answer as long as one may be, until the reader or the chain goes.
pub(in crate::api) fn feed<A: Served>(core: Core<A>, next: Height, share: Share) -> Answers<CertifiedBlocks> {
    let feed = Feed { events: core.events(), core, next };
    Box::pin(Holding::new(Steps(Some(Box::pin(feed.step()))), share))
}

impl<A: Served> Feed<A> {
    async fn step(mut self) -> (Self, Option<Piece>) {
        let piece = self.piece().await;
        (self, piece)
    }

    /// The next piece, as soon as there is one.
    async fn piece(&mut self) -> Option<Piece> {
        loop {
            let next = self.next;
            let Ok(found) = self.core.history(move |replica, _| replica.certified_blocks(next)).await else {
                return Some(Err(ApiError::Stopped.into()));
            };
            if let Some(found) = found
                && let Some(last) = found.blocks.last()
            {
                self.next = last.header.height.next();
                return Some(Ok(CertifiedBlocks { canonical: codec::encode(&found) }));
            }
            self.news().await?;
        }
    }

    /// Waits until there may be more; nothing: there will not be.
    async fn news(&mut self) -> Option<()> {
        loop {
            match self.events.recv().await {
                Ok(ChainEvent::Certified { .. }) | Err(RecvError::Lagged(_)) => return Some(()),
                // The heights above the root are certified again: whoever has read on has read what is lost.
                Ok(ChainEvent::Undone(_) | ChainEvent::Ended) | Err(RecvError::Closed) => return None,
                Ok(_) => {}
            }
        }
    }
}

impl<A: Served> Stream for Steps<A> {
    type Item = Piece;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        let Some(step) = &mut self.0 else { return Poll::Ready(None) };
        let (feed, piece) = ready!(step.as_mut().poll(context));
        let goes_on = matches!(piece, Some(Ok(_)));
        self.0 = goes_on.then(|| -> Step<A> { Box::pin(feed.step()) });
        Poll::Ready(piece)
    }
}
