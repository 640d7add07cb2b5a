//! Locks by name.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::Mutex;

/// One asynchronous lock per name; names that nobody holds take no memory.
#[derive(Debug, Default)]
pub struct KeyedLocks(std::sync::Mutex<HashMap<String, Arc<Mutex<()>>>>);

impl KeyedLocks {
    /// Waits until nobody holds `name`; it is held until the guard is dropped.
    pub async fn lock(&self, name: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            locks.entry(name.to_owned()).or_default().clone()
        };
        lock.lock_owned().await
    }
}
