//! Which call waits, is throttled or fails. The same calls in the same order have the same luck.

use std::time::Duration;

use jiff::Timestamp;

use crate::faults::{Effect, Fault, Latency, RateLimit, means};

/// The dice and the buckets of the rate limits.
#[derive(Debug, Default)]
pub struct Chance {
    dice: u64,
    /// Fill and time of the last refill, for each rate limit.
    buckets: Vec<(f64, Timestamp)>,
}

impl Chance {
    /// The next of a fixed sequence of numbers, so that a run can be repeated.
    pub fn roll(&mut self) -> u64 {
        self.dice += 1;
        mix(self.dice)
    }

    /// How long a call waits before it is looked at, in milliseconds; the first entry that matches counts.
    pub fn latency(&mut self, all: &[Latency], service: &str, action: &str) -> u64 {
        let Some(latency) = all.iter().find(|latency| means(&latency.action, service, action)) else {
            return 0;
        };
        let (fixed, jitter) = (latency.fixed_ms, latency.jitter_ms);
        fixed + if jitter == 0 { 0 } else { self.roll() % (jitter + 1) }
    }

    /// Starts with full buckets when `new` limits replace `old` ones.
    pub fn refill(&mut self, old: &[RateLimit], new: &[RateLimit], now: Timestamp) {
        if old != new || self.buckets.len() != new.len() {
            self.buckets = new.iter().map(|limit| (limit.burst, now)).collect();
        }
    }

    /// Takes a token from every bucket that matches.
    ///
    /// # Errors
    /// With the time until all of them hold one again, when one was empty.
    pub fn admit(&mut self, limits: &[RateLimit], service: &str, action: &str, now: Timestamp) -> Result<(), Duration> {
        let mut wait = None::<Duration>;
        let matching = limits.iter().zip(&mut self.buckets).filter(|(limit, _)| means(&limit.action, service, action));
        for (limit, (fill, since)) in matching {
            let seconds = now.duration_since(*since).as_secs_f64().max(0.0);
            *fill = (*fill + seconds * limit.per_second).min(limit.burst);
            *since = now;
            if *fill >= 1.0 {
                *fill -= 1.0;
            } else {
                let until = Duration::try_from_secs_f64((1.0 - *fill) / limit.per_second).unwrap_or(Duration::MAX);
                wait = wait.max(Some(until));
            }
        }
        wait.map_or(Ok(()), Err)
    }

    /// The effect of the first fault that strikes this call, before or after it is carried out.
    pub fn strike(&mut self, faults: &mut [Fault], service: &str, action: &str, after: bool) -> Option<Effect> {
        for fault in faults {
            if fault.after != after || fault.times == Some(0) || !means(&fault.action, service, action) {
                continue;
            }
            #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
            let chance = (self.roll() >> 11) as f64 / (1_u64 << 53) as f64;
            if chance < fault.probability {
                fault.times = fault.times.map(|times| times - 1);
                return Some(fault.effect.clone());
            }
        }
        None
    }

    /// A random UUID of version 4, for requests and resources.
    pub fn uuid(&mut self) -> String {
        let (high, low) = (self.roll(), self.roll());
        uuid(high, low)
    }
}

/// The UUID of version 4 that holds most of these bits.
pub fn uuid(high: u64, low: u64) -> String {
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    )
}

/// One step of SplitMix64: a bijection, so different numbers stay different.
pub fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::later;

    #[test]
    fn empty_buckets_tell_when_they_hold_a_token_again() {
        let limits = [RateLimit { action: "*".into(), burst: 2.0, per_second: 4.0 }];
        let (mut chance, now) = (Chance::default(), Timestamp::now());
        chance.refill(&[], &limits, now);
        for _ in 0..2 {
            chance.admit(&limits, "EC2", "DescribeVpcs", now).unwrap();
        }
        assert_eq!(chance.admit(&limits, "EC2", "DescribeVpcs", now), Err(Duration::from_millis(250)));
        chance.admit(&limits, "EC2", "DescribeVpcs", later(now, 250)).unwrap();
    }

    #[test]
    fn different_numbers_make_different_ids() {
        let mut chance = Chance::default();
        let (first, second) = (chance.uuid(), chance.uuid());
        assert!(first != second && first.len() == 36 && first.as_bytes()[14] == b'4', "{first} {second}");
    }
}
