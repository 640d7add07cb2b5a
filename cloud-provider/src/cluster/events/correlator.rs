//! client-go's event correlation: aggregation, then counting, then the spam filter.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::Recorded;
use crate::cluster::token_bucket::TokenBucket;

/// Entries per cache; there is one for each lane of the writer, and so 4096 for all, as in client-go.
const CACHE: usize = 512;
/// From this many different messages on, similar events become one.
const SIMILAR: usize = 10;
/// Similar events count as such when no more than this is between two of them.
const SIMILAR_WITHIN: Duration = Duration::from_secs(600);
/// Events per source and object: so many at once, then one per 300 s.
const SPAM_BURST: u32 = 25;
const SPAM_RATE: f64 = 1.0 / 300.0;
/// The longest name of an object.
const NAME_LIMIT: usize = 253;

/// Decides what becomes of each event. Keys are kept as hashes, to be small.
#[derive(Default)]
pub(super) struct Correlator {
    similar: Lru<Similar>,
    seen: Lru<Seen>,
    spam: Lru<TokenBucket>,
}

/// The different messages of events that are equal otherwise.
struct Similar {
    messages: HashSet<u64>,
    last: Instant,
}

/// An event that was written, or was to be.
#[derive(Clone)]
struct Seen {
    name: String,
    count: u32,
    first: Timestamp,
}

/// An event to write: create it when `count` is 1, else raise the count of the one called `name`.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) recorded: Recorded,
    pub(super) name: String,
    pub(super) count: u32,
    pub(super) first: Timestamp,
    key: u64,
}

impl Correlator {
    /// None when there are too many events about this object.
    pub(super) fn observe(&mut self, recorded: Recorded) -> Option<Observed> {
        let spam_key = hash(&(recorded.component, &recorded.subject));
        let (recorded, key) = self.aggregate(recorded);
        let seen = match self.seen.get(key) {
            Some(seen) => Seen { count: seen.count.saturating_add(1), ..seen.clone() },
            None => Seen { name: name(&recorded), count: 1, first: recorded.at },
        };
        self.seen.put(key, seen.clone());
        if self.spam.get(spam_key).is_none() {
            self.spam.put(spam_key, TokenBucket::new(SPAM_RATE, SPAM_BURST));
        }
        let allowed = self.spam.get(spam_key).is_some_and(|bucket| bucket.try_take());
        allowed.then_some(Observed { recorded, name: seen.name, count: seen.count, first: seen.first, key })
    }

    /// Remembers the name under which the server knows the event.
    pub(super) fn written(&mut self, observed: &Observed, name: Option<String>) {
        if let (Some(name), Some(seen)) = (name, self.seen.get(observed.key)) {
            seen.name = name;
        }
    }

    /// The event or, when similar ones with too many different messages came before, one for all of them;
    /// and the key under which it is counted.
    fn aggregate(&mut self, mut recorded: Recorded) -> (Recorded, u64) {
        let Recorded { component, subject, severity, reason, message, .. } = &recorded;
        let group = hash(&(component, subject, severity, reason));
        let message = hash(message);
        let now = Instant::now();
        let similar = match self.similar.get(group) {
            Some(similar) if now - similar.last <= SIMILAR_WITHIN => similar,
            _ => self.similar.put(group, Similar { messages: HashSet::new(), last: now }),
        };
        similar.last = now;
        // Messages that are known stay known, but the set never grows beyond what the decision needs.
        if similar.messages.len() < SIMILAR {
            similar.messages.insert(message);
        }
        if similar.messages.len() < SIMILAR {
            return (recorded, hash(&(group, message)));
        }
        recorded.message.insert_str(0, "(combined from similar events): ");
        // client-go takes one message out again, so that a set that goes quiet can be told from a loud one.
        if let Some(any) = similar.messages.iter().next().copied() {
            similar.messages.remove(&any);
        }
        (recorded, group)
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The subject's name and the time in nanoseconds as client-go has it; a random name where that is too long.
fn name(recorded: &Recorded) -> String {
    let name = format!("{}.{:x}", recorded.subject.name, recorded.at.as_nanosecond());
    if name.len() <= NAME_LIMIT { name } else { uuid::Uuid::new_v4().to_string() }
}

/// A map that forgets what was not used for longest.
struct Lru<V> {
    entries: HashMap<u64, (u64, V)>,
    used: BTreeMap<u64, u64>,
    clock: u64,
}

impl<V> Default for Lru<V> {
    fn default() -> Self {
        Lru { entries: HashMap::new(), used: BTreeMap::new(), clock: 0 }
    }
}

impl<V> Lru<V> {
    fn get(&mut self, key: u64) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(&key)?;
        self.clock += 1;
        self.used.remove(used);
        self.used.insert(self.clock, key);
        *used = self.clock;
        Some(value)
    }

    fn put(&mut self, key: u64, value: V) -> &mut V {
        self.clock += 1;
        if let Some((used, _)) = self.entries.get(&key) {
            self.used.remove(used);
        } else if self.entries.len() >= CACHE
            && let Some((_, oldest)) = self.used.pop_first()
        {
            self.entries.remove(&oldest);
        }
        self.used.insert(self.clock, key);
        let clock = self.clock;
        let entry = self.entries.entry(key).insert_entry((clock, value));
        &mut entry.into_mut().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_forgets_what_was_not_used_for_longest() {
        let mut cache = Lru::default();
        for key in 0..CACHE as u64 {
            cache.put(key, key);
        }
        assert_eq!(cache.get(0).copied(), Some(0));
        cache.put(CACHE as u64, 1);
        cache.put(5, 50);
        assert_eq!(cache.entries.len(), CACHE);
        assert_eq!(cache.used.len(), CACHE);
        assert!(cache.get(0).is_some() && cache.get(1).is_none() && cache.get(5).copied() == Some(50));
    }
}
