//! Listings of everything of one kind, shared by the rounds of all services.
//!
//! After a start the round of every service asks for its load balancer. One listing answers them all, as long as it is
//! young, and as long as this process did not write to the load balancer in question: that one is then asked for by
//! itself. A listing is made anew only where the one before served at least as many questions as it had pages.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::client::{Client, Result, elb, elbv2};

/// How old a listing may be, and for how long after a write it does not answer.
const AGE: Duration = Duration::from_secs(20);
/// So many questions are answered by themselves after a listing failed, so that not all wait for one another.
const AFTER_FAILURE: usize = 20;
/// How many entries one page has, the most that AWS gives.
const PAGE: usize = 400;

/// The load balancers of both kinds, and target groups.
#[derive(Default)]
pub(crate) struct Listings {
    classic: Listing<elb::LoadBalancer>,
    network: Listing<elbv2::LoadBalancer>,
    target_groups: Listing<elbv2::TargetGroup>,
}

impl Listings {
    /// The classic load balancer with this name.
    pub(crate) async fn classic(&self, client: &Client, name: &str) -> Result<Option<elb::LoadBalancer>> {
        match self.classic.about(name, || client.classic_load_balancers()).await? {
            Some(all) => Ok(all.iter().find(|balancer| balancer.name == name).cloned()),
            None => client.classic_load_balancer(name).await,
        }
    }

    /// The load balancer of the second API with this name, of any type.
    pub(crate) async fn network(&self, client: &Client, name: &str) -> Result<Option<elbv2::LoadBalancer>> {
        match self.network.about(name, || client.network_load_balancers()).await? {
            Some(all) => Ok(all.iter().find(|balancer| balancer.name == name).cloned()),
            None => client.network_load_balancer(name).await,
        }
    }

    /// The target groups of the load balancer `name`, and where all are listed, those that it left over.
    pub(crate) async fn target_groups_of(
        &self,
        client: &Client,
        name: &str,
        arn: &str,
        is_leftover: impl Fn(&elbv2::TargetGroup) -> bool,
    ) -> Result<Vec<elbv2::TargetGroup>> {
        match self.target_groups.about(name, || client.target_groups(None)).await? {
            Some(all) => {
                let belongs = |group: &&elbv2::TargetGroup| {
                    group.load_balancers.iter().any(|other| other == arn) || is_leftover(group)
                };
                Ok(all.iter().filter(belongs).cloned().collect())
            }
            None => client.target_groups(Some(arn)).await,
        }
    }

    /// All target groups, to look for those that the load balancer `name` left over.
    pub(crate) async fn target_groups(&self, client: &Client, name: &str) -> Result<Arc<Vec<elbv2::TargetGroup>>> {
        match self.target_groups.about(name, || client.target_groups(None)).await? {
            Some(all) => Ok(all),
            None => client.target_groups(None).await.map(Arc::new),
        }
    }

    /// All target groups, none of which was written since they were read.
    pub(crate) async fn current_target_groups(&self, client: &Client) -> Result<Arc<Vec<elbv2::TargetGroup>>> {
        match self.target_groups.undisturbed() {
            Some(all) => Ok(all),
            None => client.target_groups(None).await.map(Arc::new),
        }
    }

    /// To be called around every write to a load balancer and to what belongs to it, and when what was listed of it turned
    /// out to be wrong.
    pub(crate) fn written(&self, name: &str) {
        self.classic.written(name);
        self.network.written(name);
        self.target_groups.written(name);
    }
}

/// All things of one kind, which belong to load balancers by name.
struct Listing<T> {
    kept: Mutex<Kept<T>>,
    reading: tokio::sync::Mutex<()>,
}

struct Kept<T> {
    listed: Option<(Instant, Arc<Vec<T>>)>,
    /// How many pages the last listing had, and how many questions were asked since.
    pages: usize,
    asked: usize,
    /// When this process wrote to load balancers last.
    written: HashMap<String, Instant>,
}

/// How a question is answered.
enum Way<T> {
    FromListing(Arc<Vec<T>>),
    List,
    Alone,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        let kept = Kept { listed: None, pages: 0, asked: 0, written: HashMap::new() };
        Self { kept: Mutex::new(kept), reading: tokio::sync::Mutex::default() }
    }
}

impl<T: Send + Sync> Listing<T> {
    /// The listing, where it may answer for the load balancer `name`; `None` where that has to be read by itself.
    async fn about<F>(&self, name: &str, list: impl FnOnce() -> F) -> Result<Option<Arc<Vec<T>>>>
    where
        F: Future<Output = Result<Vec<T>>>,
    {
        match self.kept().way(name) {
            Way::FromListing(listing) => return Ok(Some(listing)),
            Way::Alone => return Ok(None),
            Way::List => {}
        }
        let _reading = self.reading.lock().await;
        if let Way::FromListing(listing) = self.kept().way(name) {
            return Ok(Some(listing));
        }
        let began = Instant::now();
        let listing = list().await.inspect_err(|_| {
            let mut kept = self.kept();
            (kept.pages, kept.asked) = (kept.pages.max(AFTER_FAILURE), 0);
        })?;
        let listing = Arc::new(listing);
        let mut kept = self.kept();
        kept.pages = listing.len().div_ceil(PAGE).max(1);
        kept.asked = 0;
        kept.written.retain(|_, written| written.elapsed() < AGE);
        kept.listed = Some((began, listing.clone()));
        // It may have been written to meanwhile.
        Ok((!kept.is_written(name)).then_some(listing))
    }

    /// The listing, where nothing was written since it began.
    fn undisturbed(&self) -> Option<Arc<Vec<T>>> {
        let kept = self.kept();
        let (began, listing) = kept.listed.as_ref()?;
        let is_current = began.elapsed() < AGE && kept.written.values().all(|written| written < began);
        is_current.then(|| listing.clone())
    }

    fn written(&self, name: &str) {
        self.kept().written.insert(name.to_owned(), Instant::now());
    }

    fn kept(&self) -> MutexGuard<'_, Kept<T>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Kept<T> {
    fn is_written(&self, name: &str) -> bool {
        self.written.get(name).is_some_and(|written| written.elapsed() < AGE)
    }

    fn way(&mut self, name: &str) -> Way<T> {
        if self.is_written(name) {
            return Way::Alone;
        }
        if self.listed.as_ref().is_some_and(|(began, _)| began.elapsed() >= AGE) {
            self.listed = None;
        }
        match &self.listed {
            Some((_, listing)) => {
                let listing = listing.clone();
                self.asked += 1;
                Way::FromListing(listing)
            }
            None if self.asked >= self.pages => Way::List,
            None => {
                self.asked += 1;
                Way::Alone
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    async fn asked(listing: &Listing<u32>, name: &str, entries: u32, listings: &AtomicUsize) -> bool {
        let list = || async {
            listings.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok((0..entries).collect())
        };
        listing.about(name, list).await.unwrap().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn one_listing_answers_for_all_that_is_not_written() {
        let (listing, listings) = (Listing::default(), AtomicUsize::new(0));
        let (first, second) = tokio::join!(asked(&listing, "a", 1, &listings), asked(&listing, "b", 1, &listings));
        assert!(first && second);
        assert_eq!(listings.load(Ordering::SeqCst), 1);
        assert!(listing.undisturbed().is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        listing.written("a");
        assert!(listing.undisturbed().is_none());
        assert!(!asked(&listing, "a", 1, &listings).await && asked(&listing, "b", 1, &listings).await);
        tokio::time::advance(AGE).await;
        assert!(asked(&listing, "a", 1, &listings).await);
        assert_eq!(listings.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_while_a_listing_is_made_is_read_by_itself() {
        let listing: Listing<u32> = Listing::default();
        let during = listing.about("a", || async {
            listing.written("a");
            Ok(vec![1])
        });
        assert!(during.await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_pages_are_listed_again_only_for_many_questions() {
        let (listing, listings) = (Listing::default(), AtomicUsize::new(0));
        let entries = u32::try_from(3 * PAGE).unwrap();
        assert!(asked(&listing, "a", entries, &listings).await);
        tokio::time::advance(AGE).await;
        for _ in 0..3 {
            assert!(!asked(&listing, "a", entries, &listings).await);
        }
        assert!(asked(&listing, "a", entries, &listings).await);
        assert_eq!(listings.load(Ordering::SeqCst), 2);
    }
}
