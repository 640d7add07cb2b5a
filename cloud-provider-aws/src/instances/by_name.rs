//! Finding the instances of nodes that have no provider ID, by their private DNS names, many names with one call.

use std::collections::{HashMap, VecDeque};

use cloud_provider::{Kind, snapshot::Named};
use tokio::time::Instant;

use super::failure::Failure;
use crate::{client, provider_id::InstanceId};

/// Names in one call: as many values as a filter takes.
const NAMES: usize = 200;
/// Names that one look-up asks for alone, to confirm that no instance has them.
const CONFIRMED: usize = 10;

/// The instances of the cluster that have a name.
pub(super) type NameAnswer = Named<InstanceId>;

/// A read by names in progress.
#[derive(Debug)]
pub(super) struct NameRead {
    chunks: VecDeque<Vec<String>>,
    /// How many names without an instance are still asked for alone; `None` where no confirmation is wanted.
    confirmations: Option<usize>,
    answers: Answers,
}

/// What became of each name.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) found: HashMap<String, (Instant, NameAnswer)>,
    pub(super) failed: HashMap<String, Failure>,
}

impl NameRead {
    /// A read of `names`. With `confirm`, "no instance" needs an answer to a question for that name alone.
    pub(super) fn new(names: Vec<String>, confirm: bool) -> Self {
        let chunks = names.chunks(NAMES).map(<[_]>::to_vec).collect();
        Self { chunks, confirmations: confirm.then_some(CONFIRMED), answers: Answers::default() }
    }

    /// The names of the next call; `None` when all is known.
    pub(super) fn next(&mut self) -> Option<Vec<String>> {
        self.chunks.pop_front()
    }

    /// Takes the result of the call for `chunk`, which began at `began`: names with their instances in the cluster.
    pub(super) fn take(
        &mut self,
        chunk: Vec<String>,
        result: client::Result<Vec<(String, InstanceId)>>,
        began: Instant,
    ) {
        let mut found: HashMap<String, Vec<InstanceId>> = HashMap::new();
        match result {
            Ok(pairs) => pairs.into_iter().for_each(|(name, id)| found.entry(name).or_default().push(id)),
            Err(error) => return self.failed(chunk, Failure::from(&error)),
        }
        let alone = chunk.len() == 1;
        for name in chunk {
            let answer = NameAnswer::of(found.remove(&name).unwrap_or_default());
            match &mut self.confirmations {
                Some(0) if answer == NameAnswer::None && !alone => {
                    let text = "no instance has this name in one answer; it is asked for again next time";
                    self.answers.failed.insert(name, Failure::new(Kind::Transient, text));
                }
                Some(left) if answer == NameAnswer::None && !alone => {
                    *left -= 1;
                    self.chunks.push_back(vec![name]);
                }
                _ => drop(self.answers.found.insert(name, (began, answer))),
            }
        }
    }

    /// What became of each name.
    pub(super) fn into_answers(self) -> Answers {
        self.answers
    }

    fn failed(&mut self, chunk: Vec<String>, failure: Failure) {
        let rest = match failure.is_general() {
            true => std::mem::take(&mut self.chunks),
            false => VecDeque::new(),
        };
        let names = std::iter::once(chunk).chain(rest).flatten();
        self.answers.failed.extend(names.map(|name| (name, failure.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("ip-10-0-{}-{}.ec2.internal", number / 256, number % 256)).collect()
    }

    fn run(read: &mut NameRead, mut api: impl FnMut(&[String]) -> Vec<(String, InstanceId)>) -> usize {
        let mut calls = 0;
        while let Some(chunk) = read.next() {
            calls += 1;
            let found = api(&chunk);
            read.take(chunk, Ok(found), Instant::now());
        }
        calls
    }

    fn one_each(chunk: &[String]) -> Vec<(String, InstanceId)> {
        chunk.iter().map(|name| (name.clone(), InstanceId::new(&format!("i-{name}")))).collect()
    }

    #[tokio::test]
    async fn two_hundred_names_are_one_call() {
        let mut read = NameRead::new(names(401), true);
        assert_eq!(run(&mut read, one_each), 3);
        let answers = read.into_answers();
        assert!(answers.found.len() == 401 && answers.failed.is_empty());
    }

    #[tokio::test]
    async fn no_instance_is_confirmed_alone_and_not_for_more_than_a_few_names() {
        let all = names(50);
        let mut read = NameRead::new(all.clone(), true);
        assert_eq!(run(&mut read, |_| Vec::new()), 1 + CONFIRMED);
        let answers = read.into_answers();
        assert_eq!((answers.found.len(), answers.failed.len()), (CONFIRMED, 50 - CONFIRMED));

        let mut read = NameRead::new(all, false);
        assert_eq!(run(&mut read, |_| Vec::new()), 1);
        assert!(read.into_answers().found.values().all(|(_, answer)| *answer == NameAnswer::None));
    }

    #[tokio::test]
    async fn a_name_of_two_instances_means_neither() {
        let mut read = NameRead::new(names(1), true);
        run(&mut read, |chunk| [one_each(chunk), one_each(chunk)].concat());
        assert!(read.into_answers().found.values().all(|(_, answer)| *answer == NameAnswer::Many));
    }
}
