//! A future that somebody else can end at a moment of their choice.
//!
//! `futures::future::Abortable` only takes note, and lives on until it is polled again. A request to a backend must be
//! gone when its late arrival begins to be waited for.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::future::BoxFuture;

type Shared<T> = Arc<Mutex<Option<BoxFuture<'static, T>>>>;

/// The future: `None` comes out of it where it was revoked.
pub(crate) struct Revocable<T>(Shared<T>);

/// The right to revoke it.
pub(crate) struct Revoke<T>(Shared<T>);

impl<T> Revocable<T> {
    pub(crate) fn new(future: impl Future<Output = T> + Send + 'static) -> (Self, Revoke<T>) {
        let future: Shared<T> = Arc::new(Mutex::new(Some(Box::pin(future))));
        (Self(Arc::clone(&future)), Revoke(future))
    }
}

impl<T> Revoke<T> {
    /// Drops the future, now. It must not be called from within it.
    pub(crate) fn revoke(&self) {
        let future = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(future);
    }
}

impl<T> Future for Revocable<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut future = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match future.as_mut() {
            None => Poll::Ready(None),
            Some(running) => running.as_mut().poll(cx).map(|output| {
                *future = None;
                Some(output)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_is_revoked_is_dropped_at_once_though_nobody_polls_it() {
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let (mut future, revoke) = Revocable::new(async move {
            let _holds = holds;
            std::future::pending::<()>().await;
        });
        assert!((&mut future).now_or_never().is_none());
        assert_eq!(Arc::strong_count(&held), 2);
        revoke.revoke();
        assert_eq!(Arc::strong_count(&held), 1, "it lives on");
        assert_eq!(future.now_or_never(), Some(None));
    }

    #[test]
    fn what_is_not_revoked_gives_its_output() {
        let (future, revoke) = Revocable::new(async { 7 });
        assert_eq!(future.now_or_never(), Some(Some(7)));
        revoke.revoke();
    }
}
