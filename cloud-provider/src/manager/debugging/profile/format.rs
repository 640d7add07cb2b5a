//! `profile.proto` of pprof, the part that a CPU profile needs, in protobuf's encoding and not compressed.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::Stack;

/// Name, file and line of the functions at an address.
pub(super) type Location = Vec<(String, String, u32)>;

/// Memory that a file with code is mapped to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    start: u64,
    limit: u64,
    offset: u64,
    file: String,
}

/// The mappings with code in the text of `/proc/self/maps`, the program itself first.
pub(super) fn mappings(maps: &str) -> Vec<Mapping> {
    let mapping = |line: &str| {
        let mut fields = line.split_whitespace();
        let (start, limit) = fields.next()?.split_once('-')?;
        let code = fields.next()?.contains('x');
        let offset = fields.next()?;
        let file = fields.nth(2).filter(|_| code)?.to_owned();
        let number = |text| u64::from_str_radix(text, 16).ok();
        Some(Mapping { start: number(start)?, limit: number(limit)?, offset: number(offset)?, file })
    };
    maps.lines().filter_map(mapping).collect()
}

/// What is encoded.
pub(super) struct Profile<'a> {
    /// How often each stack was seen.
    pub(super) stacks: &'a HashMap<Stack, i64>,
    /// What is known about the addresses in them.
    pub(super) locations: &'a BTreeMap<usize, Location>,
    pub(super) mappings: &'a [Mapping],
    pub(super) start: SystemTime,
    pub(super) duration: Duration,
    /// CPU time between samples.
    pub(super) period: Duration,
}

impl Profile<'_> {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut strings = Strings::default();
        let mut out = Message::default();
        let samples = ("samples", "count");
        let cpu = ("cpu", "nanoseconds");
        for (kind, unit) in [samples, cpu] {
            out.message(1, &value_type(kind, unit, &mut strings));
        }
        // Ids are positions, from 1.
        let ids: HashMap<usize, u64> = self.locations.keys().copied().zip(1..).collect();
        let period = nanoseconds(self.period);
        for (stack, count) in self.stacks {
            let mut sample = Message::default();
            sample.packed(1, stack.iter().filter_map(|address| ids.get(address).copied()));
            sample.packed(2, [*count, count.saturating_mul(period)].map(i64::cast_unsigned));
            out.message(2, &sample);
        }
        let named = self.locations.values().any(|functions| !functions.is_empty());
        for (mapping, id) in self.mappings.iter().zip(1..) {
            let mut message = Message::default();
            message.number(1, id).number(2, mapping.start).number(3, mapping.limit).number(4, mapping.offset);
            message.number(5, strings.index(&mapping.file)).number(7, named.into());
            out.message(3, &message);
        }
        self.encode_locations(&mut out, &mut strings);
        out.number(9, nanoseconds(self.start.duration_since(UNIX_EPOCH).unwrap_or_default()).cast_unsigned());
        out.number(10, nanoseconds(self.duration).cast_unsigned());
        let period_type = value_type(cpu.0, cpu.1, &mut strings);
        out.message(11, &period_type).number(12, period.cast_unsigned());
        for text in strings.in_order() {
            out.bytes(6, text.as_bytes());
        }
        out.0
    }

    fn encode_locations(&self, out: &mut Message, strings: &mut Strings) {
        let mut functions: HashMap<(&str, &str), u64> = HashMap::new();
        for ((address, lines), id) in self.locations.iter().zip(1..) {
            let address = *address as u64;
            let of = |mapping: &Mapping| (mapping.start..mapping.limit).contains(&address);
            let mapping = self.mappings.iter().position(of).map_or(0, |index| index as u64 + 1);
            let mut message = Message::default();
            message.number(1, id).number(2, mapping).number(3, address);
            for (name, file, line) in lines {
                let next = functions.len() as u64 + 1;
                let function = *functions.entry((name, file)).or_insert_with(|| {
                    let (name, file) = (strings.index(name), strings.index(file));
                    let mut message = Message::default();
                    message.number(1, next).number(2, name).number(3, name).number(4, file);
                    out.message(5, &message);
                    next
                });
                let mut message_line = Message::default();
                message_line.number(1, function).number(2, (*line).into());
                message.message(4, &message_line);
            }
            out.message(4, &message);
        }
    }
}

fn value_type(kind: &str, unit: &str, strings: &mut Strings) -> Message {
    let mut message = Message::default();
    message.number(1, strings.index(kind)).number(2, strings.index(unit));
    message
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// The table of strings, in which the empty one is first.
struct Strings(HashMap<String, u64>);

impl Default for Strings {
    fn default() -> Self {
        Self(HashMap::from([(String::new(), 0)]))
    }
}

impl Strings {
    fn index(&mut self, text: &str) -> u64 {
        let next = self.0.len() as u64;
        *self.0.entry(text.to_owned()).or_insert(next)
    }

    fn in_order(&self) -> Vec<&str> {
        let mut strings: Vec<_> = self.0.iter().collect();
        strings.sort_by_key(|(_, index)| **index);
        strings.into_iter().map(|(text, _)| text.as_str()).collect()
    }
}

/// A message of protobuf. Numbers that are 0 are left out, as in proto3.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    const NUMBER: u64 = 0;
    const BYTES: u64 = 2;

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) -> &mut Self {
        if value != 0 {
            self.varint(field << 3 | Self::NUMBER);
            self.varint(value);
        }
        self
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.varint(field << 3 | Self::BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn message(&mut self, field: u64, message: &Message) -> &mut Self {
        self.bytes(field, &message.0)
    }

    fn packed(&mut self, field: u64, values: impl IntoIterator<Item = u64>) {
        let mut packed = Message::default();
        values.into_iter().for_each(|value| packed.varint(value));
        self.message(field, &packed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_are_encoded_as_protobuf_does() {
        let mut message = Message::default();
        message.number(1, 150).number(2, 0).bytes(2, b"testing");
        assert_eq!(message.0, b"\x08\x96\x01\x12\x07testing");
        let mut message = Message::default();
        message.packed(4, [3, 270, 86942]);
        assert_eq!(message.0, b"\x22\x06\x03\x8e\x02\x9e\xa7\x05");
        let mut message = Message::default();
        message.varint(u64::MAX);
        assert_eq!(message.0.len(), 10);
    }

    #[test]
    fn mappings_with_code_are_read() {
        let maps = "5581a000-5581b000 r--p 00000000 08:01 1   /usr/bin/ccm\n\
                    5581b000-5582b000 r-xp 00001000 08:01 1   /usr/bin/ccm\n\
                    7f00a000-7f00b000 r-xp 00000000 00:00 0 \n\
                    7ffe0000-7ffe1000 r-xp 00000000 00:00 0   [vdso]\nnonsense\n";
        let read = mappings(maps);
        let ccm = Mapping { start: 0x5581_b000, limit: 0x5582_b000, offset: 0x1000, file: "/usr/bin/ccm".into() };
        assert_eq!((read.len(), &read[0], read[1].file.as_str()), (2, &ccm, "[vdso]"));
    }
}
