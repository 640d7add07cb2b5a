//! Reading instances by ID, many with one call, although one bad ID fails a whole call.

use std::collections::{HashMap, VecDeque};

use cloud_provider::Kind;

use super::failure::Failure;
use crate::{
    client::{self, ec2_types::Instance},
    provider_id::InstanceId,
};

/// IDs in one call, as upstream has it.
pub(super) const IDS: usize = 500;
/// Calls that one look-up may make on top of one per chunk, to work around bad IDs.
const EXTRA_CALLS: usize = 20;
/// Failing calls after which the rest is not asked for.
const FAILURES: usize = 2;

/// What a read found out about one instance.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Found(Box<Instance>),
    /// The API said that this very ID does not exist.
    Gone,
    /// The API said that this is no ID.
    NoId(Failure),
}

/// A read by ID in progress: says what to ask next, and takes the answers.
///
/// IDs that an error names are taken out and the rest is asked again; where it names none, the chunk is split. An ID
/// that an answer leaves out is asked for alone; an empty answer then is an error, since only the API's own "not
/// found" means gone.
#[derive(Debug)]
pub(super) struct ReadById {
    chunks: VecDeque<Vec<InstanceId>>,
    extra_calls: usize,
    failures: usize,
    answers: HashMap<InstanceId, Result<Answer, Failure>>,
}

impl ReadById {
    /// A read of `ids`. IDs that do not look like EC2's are asked for apart, so that the others seldom suffer.
    pub(super) fn new(ids: impl IntoIterator<Item = InstanceId>) -> Self {
        let (regular, odd): (Vec<_>, Vec<_>) = ids.into_iter().partition(InstanceId::is_regular);
        let chunks = regular.chunks(IDS).chain(odd.chunks(IDS)).map(<[_]>::to_vec).collect();
        Self { chunks, extra_calls: EXTRA_CALLS, failures: 0, answers: HashMap::new() }
    }

    /// The IDs of the next call; `None` when all is known.
    pub(super) fn next(&mut self) -> Option<Vec<InstanceId>> {
        self.chunks.pop_front()
    }

    /// Takes the result of the call for `chunk`.
    pub(super) fn take(&mut self, chunk: Vec<InstanceId>, result: client::Result<Vec<Instance>>) {
        match result {
            Ok(found) => self.found(chunk, found),
            Err(error) => match error.code() {
                Some("InvalidInstanceID.NotFound") => self.bad_ids(chunk, &error, || Answer::Gone),
                Some("InvalidInstanceID.Malformed" | "InvalidInstanceID" | "InvalidID") => {
                    let failure = Failure::from(&error);
                    self.bad_ids(chunk, &error, || Answer::NoId(failure.clone()));
                }
                _ => self.failed(chunk, Failure::from(&error)),
            },
        }
    }

    /// What is known of each ID.
    pub(super) fn into_answers(self) -> HashMap<InstanceId, Result<Answer, Failure>> {
        self.answers
    }

    fn found(&mut self, mut chunk: Vec<InstanceId>, found: Vec<Instance>) {
        for instance in found {
            self.answers.insert(instance.id.clone(), Ok(Answer::Found(Box::new(instance))));
        }
        let alone = chunk.len() == 1;
        chunk.retain(|id| !matches!(self.answers.get(id), Some(Ok(_))));
        for id in chunk {
            if alone {
                let text = "EC2 answered without naming the instance, and without saying that it does not exist";
                self.answers.insert(id, Err(Failure::new(Kind::Transient, text)));
            } else {
                self.ask_again(vec![id]);
            }
        }
    }

    fn bad_ids(&mut self, chunk: Vec<InstanceId>, error: &client::Error, answer: impl Fn() -> Answer) {
        let (mut bad, mut rest): (Vec<_>, Vec<_>) = chunk.into_iter().partition(|id| names(error.message(), id));
        if bad.is_empty() && rest.len() == 1 {
            std::mem::swap(&mut bad, &mut rest);
        }
        if bad.is_empty() {
            let half = rest.split_off(rest.len() / 2);
            self.ask_again(half);
        }
        self.answers.extend(bad.into_iter().map(|id| (id, Ok(answer()))));
        if !rest.is_empty() {
            self.ask_again(rest);
        }
    }

    fn ask_again(&mut self, chunk: Vec<InstanceId>) {
        if self.extra_calls > 0 {
            self.extra_calls -= 1;
            self.chunks.push_back(chunk);
        } else {
            let text = "too many IDs that EC2 does not know; the rest is asked for next time";
            self.fail(chunk, &Failure::new(Kind::Transient, text));
        }
    }

    fn failed(&mut self, chunk: Vec<InstanceId>, failure: Failure) {
        self.fail(chunk, &failure);
        self.failures += 1;
        if failure.is_general() || self.failures >= FAILURES {
            for chunk in std::mem::take(&mut self.chunks) {
                self.fail(chunk, &failure);
            }
        }
    }

    fn fail(&mut self, chunk: Vec<InstanceId>, failure: &Failure) {
        self.answers.extend(chunk.into_iter().map(|id| (id, Err(failure.clone()))));
    }
}

/// Whether a message names this very ID. The code told what is wrong; which IDs it is about only stands in the text.
pub(super) fn names(message: &str, id: &InstanceId) -> bool {
    let part_of_id = |character: char| character.is_ascii_alphanumeric() || character == '-';
    message.match_indices(id.as_str()).any(|(at, text)| {
        let before = message[..at].chars().next_back().is_some_and(part_of_id);
        let after = message[at + text.len()..].chars().next().is_some_and(part_of_id);
        !before && !after
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::client::{Service, ec2_types::State};

    fn ids(count: usize) -> Vec<InstanceId> {
        (0..count).map(|number| InstanceId::new(&format!("i-{number:017x}"))).collect()
    }

    fn instance(id: &InstanceId) -> Instance {
        Instance {
            id: id.clone(),
            state: State::Running,
            instance_type: String::new(),
            zone: String::new(),
            zone_id: String::new(),
            private_dns_name: String::new(),
            public_dns_name: String::new(),
            public_ip: String::new(),
            vpc: String::new(),
            subnet: String::new(),
            tags: Default::default(),
            security_groups: Vec::new(),
            interfaces: Vec::new(),
        }
    }

    fn error(code: &str, message: &str) -> client::Error {
        client::Error::answered(Service::Ec2, "DescribeInstances", code, message)
    }

    /// Runs a read against `api` and gives the answers and the number of calls.
    fn run(
        ids: Vec<InstanceId>,
        mut api: impl FnMut(&[InstanceId]) -> client::Result<Vec<Instance>>,
    ) -> (HashMap<InstanceId, Result<Answer, Failure>>, usize) {
        let mut read = ReadById::new(ids);
        let mut calls = 0;
        while let Some(chunk) = read.next() {
            calls += 1;
            let result = api(&chunk);
            read.take(chunk, result);
        }
        (read.into_answers(), calls)
    }

    #[test]
    fn a_thousand_instances_take_two_calls() {
        let (answers, calls) = run(ids(1000), |chunk| Ok(chunk.iter().map(instance).collect()));
        assert_eq!((answers.len(), calls), (1000, 2));
    }

    #[test]
    fn ids_that_an_error_names_are_taken_out_and_their_neighbours_are_answered() {
        let all = ids(300);
        let gone = [all[3].clone(), all[200].clone()];
        let (answers, calls) = run(all, |chunk| {
            let bad: Vec<_> = chunk.iter().filter(|id| gone.contains(id)).map(ToString::to_string).collect();
            if bad.is_empty() {
                return Ok(chunk.iter().map(instance).collect());
            }
            let message = format!("The instance IDs '{}' do not exist", bad.join(", "));
            Err(error("InvalidInstanceID.NotFound", &message))
        });
        assert_eq!(calls, 2);
        let is_gone = |id| matches!(answers[id], Ok(Answer::Gone));
        assert!(gone.iter().all(is_gone));
        assert_eq!(answers.values().filter(|answer| matches!(answer, Ok(Answer::Found(_)))).count(), 298);
    }

    #[test]
    fn an_id_that_is_no_id_does_not_fail_its_neighbours() {
        let mut all = ids(3);
        all.push(InstanceId::new("i-kwok-1"));
        let (answers, calls) = run(all.clone(), |chunk| match chunk.iter().any(|id| !id.is_regular()) {
            true => Err(error("InvalidInstanceID.Malformed", "Invalid id: \"i-kwok-1\"")),
            false => Ok(chunk.iter().map(instance).collect()),
        });
        assert_eq!(calls, 2);
        assert!(matches!(answers[&all[3]], Ok(Answer::NoId(_))));
        assert!(matches!(answers[&all[0]], Ok(Answer::Found(_))));
    }

    #[test]
    fn an_error_that_names_nobody_is_narrowed_down_with_few_calls() {
        let all = ids(400);
        let gone = all[77].clone();
        let (answers, calls) = run(all, |chunk| match chunk.contains(&gone) {
            true => Err(error("InvalidInstanceID.NotFound", "some instance does not exist")),
            false => Ok(chunk.iter().map(instance).collect()),
        });
        assert!(calls <= 1 + EXTRA_CALLS, "{calls}");
        assert!(matches!(answers[&gone], Ok(Answer::Gone)));
        assert_eq!(answers.values().filter(|answer| matches!(answer, Ok(Answer::Found(_)))).count(), 399);
    }

    #[test]
    fn an_instance_that_an_answer_leaves_out_is_asked_for_alone_and_is_not_gone_without_a_word() {
        let all = ids(10);
        let missing = all[4].clone();
        let partial = |chunk: &[InstanceId]| Ok(chunk.iter().filter(|id| **id != missing).map(instance).collect());
        let (answers, calls) = run(all.clone(), partial);
        assert_eq!(calls, 2);
        assert!(answers[&missing].is_err());

        let (answers, _) = run(all, |chunk| match chunk {
            [id] => Err(error("InvalidInstanceID.NotFound", &format!("The instance ID '{id}' does not exist"))),
            _ => partial(chunk),
        });
        assert!(matches!(answers[&missing], Ok(Answer::Gone)));
    }

    #[test]
    fn throttling_and_denial_end_the_read() {
        for code in ["RequestLimitExceeded", "UnauthorizedOperation"] {
            let (answers, calls) = run(ids(2000), |_| Err(error(code, "no")));
            assert_eq!(calls, 1, "{code}");
            assert!(answers.len() == 2000 && answers.values().all(Result::is_err));
        }
    }

    #[test]
    fn a_message_names_whole_ids_only() {
        let id = InstanceId::new("i-12345678");
        assert!(names("The instance ID 'i-12345678' does not exist", &id));
        assert!(!names("The instance ID 'i-12345678abcdef012' does not exist", &id));
        assert!(!names("The volume 'ami-12345678' does not exist", &id));
    }

    proptest! {
        /// Whatever the API says, every ID has an answer, the calls are bounded, and what exists is never gone.
        #[test]
        fn every_read_ends_and_never_calls_an_existing_instance_gone(
            exists in proptest::collection::vec(any::<bool>(), 1..1200),
            named in any::<bool>(),
            leaves_out in any::<bool>(),
        ) {
            let all = ids(exists.len());
            let gone: HashSet<_> = all.iter().zip(&exists).filter(|(_, exists)| !**exists).map(|(id, _)| id.clone()).collect();
            let (answers, calls) = run(all.clone(), |chunk| {
                let bad: Vec<_> = chunk.iter().filter(|id| gone.contains(id)).map(ToString::to_string).collect();
                if bad.is_empty() || leaves_out {
                    return Ok(chunk.iter().filter(|id| !gone.contains(id)).map(instance).collect());
                }
                let message = if named { bad.join(", ") } else { String::new() };
                Err(error("InvalidInstanceID.NotFound", &message))
            });
            prop_assert!(calls <= all.len().div_ceil(IDS) + EXTRA_CALLS);
            for id in &all {
                let answer = answers.get(id);
                prop_assert!(answer.is_some());
                prop_assert!(gone.contains(id) || !matches!(answer, Some(Ok(Answer::Gone))));
            }
        }
    }
}
