//! One store per kind, shared by all controllers of the process.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use futures::StreamExt;
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    objects::{Key, Object},
    refusal,
};

/// How many objects one page of a list holds: a page of nodes of 19 KB each stands in memory as about 2 MB.
const PAGE: u32 = 100;

/// All objects of one kind as the API server last told. A cheap handle; clones share one content.
pub struct Store<K>(Arc<Inner<K>>);

impl<K> Clone for Store<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

struct Inner<K> {
    objects: RwLock<BTreeMap<Key, Arc<K>>>,
    feed: Mutex<Feed<K>>,
    synced: watch::Sender<bool>,
}

type Handler<K> = Box<dyn Fn(&Change<K>) + Send>;

struct Feed<K> {
    handlers: Vec<Handler<K>>,
    /// During a list: the keys that it has shown so far.
    listed: Option<HashSet<Key>>,
}

/// What happened to one object.
#[derive(Debug)]
pub enum Change<K> {
    /// It is new to the store.
    Added(Arc<K>),
    /// It changed.
    Updated {
        /// As it was before.
        old: Arc<K>,
        /// As it is now.
        new: Arc<K>,
    },
    /// It is gone, or was replaced by another object of the same name; this is its last known form.
    Deleted(Arc<K>),
}

impl<K: Object> Default for Store<K> {
    fn default() -> Self {
        let feed = Feed { handlers: Vec::new(), listed: None };
        Self(Arc::new(Inner { objects: RwLock::default(), feed: Mutex::new(feed), synced: watch::channel(false).0 }))
    }
}

impl<K: Object> Store<K> {
    /// The object, as last told.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.0.objects.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// All objects, sorted by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.0.objects.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Calls `handler` for every change from now on, after an [`Change::Added`] for every object that is there already.
    /// Handlers are called one change after the other, in the order of the changes of one object; they must be quick and
    /// must not subscribe.
    pub fn subscribe(&self, handler: impl Fn(&Change<K>) + Send + 'static) {
        let mut feed = self.feed();
        for object in self.list() {
            handler(&Change::Added(object));
        }
        feed.handlers.push(Box::new(handler));
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        // The sender lives as long as this handle, so the wait cannot fail.
        let _ = self.0.synced.subscribe().wait_for(|synced| *synced).await;
    }

    /// Takes in one event of a watch.
    pub fn apply(&self, event: watcher::Event<K>) {
        let mut feed = self.feed();
        match event {
            watcher::Event::Init => feed.listed = Some(HashSet::new()),
            watcher::Event::InitApply(object) => {
                if let Some(listed) = &mut feed.listed {
                    listed.insert(object.key());
                }
                self.put(&feed, object);
            }
            watcher::Event::Apply(object) => self.put(&feed, object),
            watcher::Event::Delete(object) => self.remove(&feed, &object.key()),
            watcher::Event::InitDone => {
                if let Some(listed) = feed.listed.take() {
                    let vanished: Vec<Key> =
                        self.list().iter().map(|object| object.key()).filter(|key| !listed.contains(key)).collect();
                    for key in vanished {
                        self.remove(&feed, &key);
                    }
                }
                self.0.synced.send_replace(true);
            }
        }
    }

    fn put(&self, feed: &Feed<K>, object: K) {
        let new = Arc::new(object);
        let old = self.0.objects.write().unwrap_or_else(PoisonError::into_inner).insert(new.key(), new.clone());
        match old {
            None => feed.tell(&Change::Added(new)),
            Some(old) if old.uid() != new.uid() => {
                feed.tell(&Change::Deleted(old));
                feed.tell(&Change::Added(new));
            }
            Some(old) if old.meta().resource_version == new.meta().resource_version => {}
            Some(old) => feed.tell(&Change::Updated { old, new }),
        }
    }

    fn remove(&self, feed: &Feed<K>, key: &Key) {
        let old = self.0.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        if let Some(old) = old {
            feed.tell(&Change::Deleted(old));
        }
    }

    fn feed(&self) -> MutexGuard<'_, Feed<K>> {
        self.0.feed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Feed<K> {
    fn tell(&self, change: &Change<K>) {
        for handler in &self.handlers {
            handler(change);
        }
    }
}

impl<K: Object + DeserializeOwned> Store<K> {
    /// Lists and watches until `token` is cancelled. A broken watch is taken up again with back-off, an expired one by
    /// listing anew; what vanished meanwhile is told as [`Change::Deleted`].
    pub async fn run(self, api: Api<K>, token: CancellationToken) {
        let config = watcher::Config::default().page_size(PAGE);
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        loop {
            let event = tokio::select! {
                () = token.cancelled() => return,
                event = events.next() => event,
            };
            match event {
                Some(Ok(event)) => self.apply(event),
                Some(Err(error)) => {
                    let kind = K::plural(&());
                    match refusal::is_behind(&error) {
                        // The client has told which role is missing.
                        true => tracing::debug!(%kind, error = %chain(&error), "watching failed, trying again"),
                        false => tracing::warn!(%kind, error = %chain(&error), "watching failed, trying again"),
                    }
                }
                None => return,
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::objects::Node;

    fn node(name: &str, uid: &str, version: &str) -> Node {
        let mut node = Node::default();
        node.metadata.name = Some(name.into());
        node.metadata.uid = Some(uid.into());
        node.metadata.resource_version = Some(version.into());
        node
    }

    fn recorded(store: &Store<Node>) -> Arc<Mutex<Vec<String>>> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = log.clone();
        store.subscribe(move |change| {
            let line = match change {
                Change::Added(node) => format!("+{}", node.name()),
                Change::Updated { new, .. } => format!("~{}", new.name()),
                Change::Deleted(node) => format!("-{}:{}", node.name(), node.uid()),
            };
            writer.lock().unwrap().push(line);
        });
        log
    }

    #[test]
    fn a_new_list_tells_what_vanished_with_its_last_known_form() {
        let store = Store::default();
        let log = recorded(&store);
        for event in [
            watcher::Event::Init,
            watcher::Event::InitApply(node("a", "1", "1")),
            watcher::Event::InitApply(node("b", "2", "2")),
            watcher::Event::InitDone,
            watcher::Event::Init,
            watcher::Event::InitApply(node("b", "2", "2")),
            watcher::Event::InitDone,
        ] {
            store.apply(event);
        }
        assert_eq!(*log.lock().unwrap(), ["+a", "+b", "-a:1"]);
    }

    #[test]
    fn another_object_of_the_same_name_is_a_deletion_and_an_addition() {
        let store = Store::default();
        let log = recorded(&store);
        store.apply(watcher::Event::Apply(node("a", "1", "1")));
        store.apply(watcher::Event::Apply(node("a", "9", "5")));
        assert_eq!(*log.lock().unwrap(), ["+a", "-a:1", "+a"]);
    }

    #[test]
    fn a_late_subscriber_hears_of_what_is_there() {
        let store = Store::default();
        store.apply(watcher::Event::Apply(node("a", "1", "1")));
        let log = recorded(&store);
        store.apply(watcher::Event::Apply(node("a", "1", "2")));
        store.apply(watcher::Event::Apply(node("a", "1", "2")));
        assert_eq!(*log.lock().unwrap(), ["+a", "~a"]);
    }
}
