//! Taking connections: a cap on how many, and an end of those that stay silent or take nothing.

use super::{shares::Caller, untaken::Untaken};
use crate::metrics::Metrics;
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, Sleep, sleep},
};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// How long a connection may stay without a byte.
pub(super) const FIRST_BYTES: Duration = Duration::from_secs(5);
/// After a failure of the machine (no file descriptors left), the next attempt.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection that holds its permit.
pub(super) struct Connection {
    stream: TcpStream,
    /// Until something was read.
    silence: Option<Pin<Box<Sleep>>>,
    caller: Caller,
    untaken: Untaken,
    /// Until it is looked at again what it has not taken.
    look: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

/// Accepts until the receiver is dropped; connections past `limit` are closed at once, so that their owner tries
/// another node rather than wait.
pub(super) fn accept(
    listener: TcpListener,
    limit: usize,
    untaken: Untaken,
    metrics: Arc<Metrics>,
) -> mpsc::Receiver<io::Result<Connection>> {
    let (sender, receiver) = mpsc::channel(1);
    let room = Arc::new(Semaphore::new(limit));
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = sender.closed() => return,
            };
            let (stream, remote) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                metrics.count_connection_refused();
                continue;
            };
            if stream.set_nodelay(true).is_err() {
                continue;
            }
            let connection = Connection {
                stream,
                silence: Some(Box::pin(sleep(FIRST_BYTES))),
                caller: Caller::from(Some(remote)),
                look: Box::pin(sleep(untaken.look_every())),
                untaken: untaken.clone(),
                _permit: permit,
            };
            if sender.send(Ok(connection)).await.is_err() {
                return;
            }
        }
    });
    receiver
}

impl Connection {
    /// Fails once something has waited here for too long. Asked at every turn: the transport may want only to write.
    fn judge(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        while self.look.as_mut().poll(context).is_ready() {
            if self.untaken.overdue(self.caller) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.look.as_mut().reset(Instant::now() + self.untaken.look_every());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.judge(context)?;
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.silence = None;
        } else if read.is_pending()
            && let Some(silence) = &mut self.silence
            && silence.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.judge(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.judge(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}
