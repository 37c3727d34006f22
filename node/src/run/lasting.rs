//! Tasks that a process cannot do without: started again when one panics, because nobody else would notice.

use std::{future::Future, time::Duration};
use tokio::{task::JoinSet, time::sleep};

/// Between a panic and the next start.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs what `make` makes in `tasks`, and again whenever it panics; ends when it ends by itself.
pub(crate) fn lasting<F>(tasks: &mut JoinSet<()>, name: &'static str, make: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tasks.spawn(async move {
        loop {
            // In a set of its own, which ends it together with this one.
            let mut inner = JoinSet::new();
            inner.spawn(make());
            match inner.join_next().await {
                Some(Err(error)) if error.is_panic() => {
                    tracing::error!(name, %error, "a task has panicked; it is started again");
                    sleep(PAUSE).await;
                }
                _ => return,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    #[tokio::test]
    async fn a_task_that_panics_is_started_again_and_one_that_ends_is_not() {
        let starts = Arc::new(AtomicU32::new(0));
        let mut tasks = JoinSet::new();
        let counted = Arc::clone(&starts);
        lasting(&mut tasks, "test", move || {
            let counted = Arc::clone(&counted);
            async move { assert!(counted.fetch_add(1, Ordering::Relaxed) >= 2, "twice it panics") }
        });
        assert!(tasks.join_next().await.expect("one task").is_ok());
        assert_eq!(starts.load(Ordering::Relaxed), 3);
    }
}
