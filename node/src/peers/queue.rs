//! A queue to one peer, bounded in envelopes and in bytes, that is also the body of its stream.

use kakera_proto::v1::Envelope;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};
use tokio::sync::mpsc;
use tokio_stream::Stream;

/// Envelopes that wait for one peer at most.
const ENVELOPES: usize = 4096;
/// Bytes that wait for one peer at most; room for a few of the longest messages.
const BYTES: usize = 16 * 1024 * 1024;

/// The end that puts in.
#[derive(Debug)]
pub(crate) struct Sender {
    sender: mpsc::Sender<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// The end that is sent: the greeting, then what is put in. tonic gathers what is ready into one write.
#[derive(Debug)]
pub(crate) struct Envelopes {
    hello: Option<Vec<u8>>,
    receiver: mpsc::Receiver<Vec<u8>>,
    waiting: Arc<AtomicUsize>,
}

/// A queue whose stream begins with `hello`.
pub(crate) fn queue(hello: Vec<u8>) -> (Sender, Envelopes) {
    let (sender, receiver) = mpsc::channel(ENVELOPES);
    let waiting = Arc::new(AtomicUsize::new(0));
    (Sender { sender, waiting: Arc::clone(&waiting) }, Envelopes { hello: Some(hello), receiver, waiting })
}

impl Sender {
    /// Puts bytes in, unless the queue is full or its stream has ended; says whether.
    pub(crate) fn push(&self, bytes: Vec<u8>) -> bool {
        let length = bytes.len();
        if self.waiting.fetch_add(length, Ordering::Relaxed).saturating_add(length) > BYTES
            || self.sender.try_send(bytes).is_err()
        {
            self.waiting.fetch_sub(length, Ordering::Relaxed);
            return false;
        }
        true
    }
}

impl Stream for Envelopes {
    type Item = Envelope;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Envelope>> {
        if let Some(canonical) = self.hello.take() {
            return Poll::Ready(Some(Envelope { canonical }));
        }
        let next = std::task::ready!(self.receiver.poll_recv(context));
        Poll::Ready(next.map(|canonical| {
            self.waiting.fetch_sub(canonical.len(), Ordering::Relaxed);
            Envelope { canonical }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_stream::StreamExt;

    #[tokio::test]
    async fn full_means_dropped_in_envelopes_and_in_bytes_and_reading_makes_room() {
        let (sender, mut envelopes) = queue(b"hello".to_vec());
        let taken = (0..ENVELOPES + 5).filter(|_| sender.push(vec![1])).count();
        assert_eq!(taken, ENVELOPES);
        assert_eq!(envelopes.next().await.map(|envelope| envelope.canonical), Some(b"hello".to_vec()));
        assert!(!sender.push(vec![1]));
        assert!(envelopes.next().await.is_some());
        assert!(sender.push(vec![1]));

        let (sender, mut envelopes) = queue(Vec::new());
        assert!((0..4).all(|_| sender.push(vec![0; BYTES / 4])));
        assert!(!sender.push(vec![0]));
        envelopes.next().await;
        envelopes.next().await;
        assert!(sender.push(vec![0]));
    }

    #[tokio::test]
    async fn an_ended_stream_takes_nothing() {
        let (sender, envelopes) = queue(Vec::new());
        drop(envelopes);
        assert!(!sender.push(vec![1]));
    }
}
