//! "Now": how events wake workers. Never "what": a worker finds its work in the catalog.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Notify;

/// Wakes one worker. What comes while it works is remembered, and many are as one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Trigger {
    notify: Arc<Notify>,
}

impl Trigger {
    /// Says "now".
    pub fn now(&self) {
        self.notify.notify_one();
    }

    /// Waits until somebody said it since the last time.
    pub async fn pulled(&self) {
        self.notify.notified().await;
    }

    /// Forgets what was said: the step that begins now sees all that it was said for.
    pub(crate) async fn forget(&self) {
        tokio::select! {
            biased;
            () = self.notify.notified() => {}
            () = std::future::ready(()) => {}
        }
    }
}

/// An event that wakes every worker that listens to it. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    listeners: Arc<RwLock<Vec<Trigger>>>,
}

impl Bell {
    /// From now on this event says "now" to the trigger.
    pub fn wakes(&self, trigger: &Trigger) {
        self.listeners.write().unwrap_or_else(PoisonError::into_inner).push(trigger.clone());
    }

    /// It happened.
    pub fn ring(&self) {
        for trigger in self.listeners.read().unwrap_or_else(PoisonError::into_inner).iter() {
            trigger.now();
        }
    }
}
