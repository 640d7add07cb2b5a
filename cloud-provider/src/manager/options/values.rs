//! Types of flag values that pflag has and clap has not.
//!
//! A flag that may be repeated is a `Vec` of one of these: each use is parsed by itself, the first one replaces the
//! default, and [`flatten`] puts the uses together.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use crate::config::quantity;

/// The items of all uses of a flag.
pub fn flatten<T: Clone + IntoIterator>(uses: &[T]) -> Vec<T::Item> {
    uses.iter().cloned().flatten().collect()
}

/// Reads a boolean as Go's `strconv.ParseBool` does.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("parsing {text:?}: invalid syntax")),
    }
}

/// Reads an address to bind; nothing stands for all addresses.
pub fn address(text: &str) -> Result<IpAddr, String> {
    match text.trim() {
        "" => Ok(Ipv4Addr::UNSPECIFIED.into()),
        text => text.parse().map_err(|_| format!("failed to parse IP: {text:?}")),
    }
}

/// One use of a string list: comma-separated, `"` around an item that has a comma, nothing for an empty list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings(pub Vec<String>);

impl FromStr for Strings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut items = Vec::new();
        let mut rest = Some(text).filter(|text| !text.is_empty());
        while let Some(text) = rest {
            let (item, after) = match text.strip_prefix('"') {
                Some(quoted) => quoted_item(quoted)?,
                None => {
                    let (item, after) = text.split_once(',').map_or((text, None), |(a, b)| (a, Some(b)));
                    if item.contains('"') {
                        return Err(format!("bare \" in {item:?}"));
                    }
                    (item.to_owned(), after)
                }
            };
            items.push(item);
            rest = after;
        }
        Ok(Self(items))
    }
}

/// An item behind its opening quote, in which `""` is a quote, and what follows its comma.
fn quoted_item(text: &str) -> Result<(String, Option<&str>), String> {
    let mut item = String::new();
    let mut rest = text;
    while let Some((part, after)) = rest.split_once('"') {
        item.push_str(part);
        rest = match after.chars().next() {
            None => return Ok((item, None)),
            Some(',') => return Ok((item, after.strip_prefix(','))),
            Some('"') => {
                item.push('"');
                after.strip_prefix('"').unwrap_or_default()
            }
            Some(_) => break,
        };
    }
    Err(format!("extraneous or missing \" in {text:?}"))
}

impl IntoIterator for Strings {
    type Item = String;
    type IntoIter = std::vec::IntoIter<String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One use of a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Int32s(pub Vec<i32>);

impl FromStr for Int32s {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let item = |item: &str| item.trim().parse().map_err(|error| format!("parsing {item:?}: {error}"));
        text.split(',').map(item).collect::<Result<_, _>>().map(Self)
    }
}

impl IntoIterator for Int32s {
    type Item = i32;
    type IntoIter = std::vec::IntoIter<i32>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One use of a map of switches, `a=true,b=false`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches(pub BTreeMap<String, bool>);

impl FromStr for Switches {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut switches = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (name, value) =
                pair.split_once('=').ok_or_else(|| format!("missing bool value for {}", pair.trim()))?;
            let (name, value) = (name.trim(), value.trim());
            let value = boolean(value).map_err(|error| format!("invalid value of {name}={value}, err: {error}"))?;
            switches.insert(name.to_owned(), value);
        }
        Ok(Self(switches))
    }
}

impl IntoIterator for Switches {
    type Item = (String, bool);
    type IntoIter = std::collections::btree_map::IntoIter<String, bool>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// One use of a map, `k=v,k=v`. A value may hold `=`; quotes protect a pair that has a comma.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(pub BTreeMap<String, String>);

impl FromStr for Pairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A single pair may hold quotes as they are.
        let pairs = if text.matches('=').count() == 1 { vec![text.to_owned()] } else { text.parse::<Strings>()?.0 };
        let pair = |pair: &String| {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair} must be formatted as key=value"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        pairs.iter().map(pair).collect::<Result<_, String>>().map(Self)
    }
}

impl IntoIterator for Pairs {
    type Item = (String, String);
    type IntoIter = std::collections::btree_map::IntoIter<String, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// A certificate for some server names: `cert,key` or `cert,key:name,name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCertKey {
    /// The file of the certificate chain.
    pub cert_file: String,
    /// The file of its private key.
    pub key_file: String,
    /// The server names; none for those that the certificate names.
    pub names: Vec<String>,
}

impl FromStr for NamedCertKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (files, names) = text.split_once(':').map_or((text, None), |(files, names)| (files, Some(names.trim())));
        if names == Some("") {
            return Err("empty names list is not allowed".to_owned());
        }
        let files: Vec<_> = files.split(',').map(str::trim).collect();
        let [cert_file, key_file] = files[..] else {
            return Err("expected comma separated certificate and key file paths".to_owned());
        };
        let names = names.map_or_else(Vec::new, |names| names.split(',').map(|name| name.trim().to_owned()).collect());
        Ok(Self { cert_file: cert_file.to_owned(), key_file: key_file.to_owned(), names })
    }
}

impl fmt::Display for NamedCertKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.cert_file, self.key_file)?;
        if !self.names.is_empty() {
            write!(f, ":{}", self.names.join(","))?;
        }
        Ok(())
    }
}

/// A number of bytes as a Kubernetes quantity: `512`, `1k`, `2Ki`, `1.5Mi`, `1e3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantity(pub u64);

impl FromStr for Quantity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Upstream's help names the capital letter, which its parser refuses.
        let lower = text.strip_suffix('K').map(|number| format!("{number}k"));
        let number = quantity::parse(lower.as_deref().unwrap_or(text)).map_err(|error| error.to_string())?;
        Ok(Self(u64::try_from(number).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn booleans_are_those_of_go() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(boolean(text), Ok(true));
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(boolean(text), Ok(false));
        }
        for text in ["", "yes", "tRUE", " true"] {
            assert!(boolean(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn lists_split_at_commas_outside_quotes() {
        for (text, items) in [
            ("", &[][..]),
            ("a", &["a"]),
            ("a,b", &["a", "b"]),
            (",", &["", ""]),
            ("a,", &["a", ""]),
            ("a, b", &["a", " b"]),
            (r#""a,b",c"#, &["a,b", "c"]),
            (r#""a""b""#, &["a\"b"]),
            (r#""""#, &[""]),
        ] {
            let Strings(read) = text.parse().unwrap();
            assert_eq!(read, items, "{text:?}");
        }
        for text in ["a\"b", "\"a", "\"a\"b"] {
            assert!(text.parse::<Strings>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn numbers_split_at_commas() {
        assert_eq!("29, 23,-1".parse(), Ok(Int32s(vec![29, 23, -1])));
        assert_eq!("".parse(), Ok(Int32s(vec![])));
        assert!("29,x".parse::<Int32s>().is_err());
    }

    #[test]
    fn switches_need_a_boolean() {
        let switches = "A=true, B = 0,,A=f".parse::<Switches>().unwrap();
        assert_eq!(Vec::from_iter(switches), [("A".to_owned(), false), ("B".to_owned(), false)]);
        assert_eq!("A".parse::<Switches>(), Err("missing bool value for A".to_owned()));
        assert_eq!(
            "A=x".parse::<Switches>(),
            Err("invalid value of A=x, err: parsing \"x\": invalid syntax".to_owned())
        );
    }

    #[test]
    fn pairs_split_at_the_first_equals_sign() {
        let pairs = "a=1,b==2,\"c=3,4\"".parse::<Pairs>().unwrap();
        assert_eq!(
            Vec::from_iter(pairs),
            [("a", "1"), ("b", "=2"), ("c", "3,4")].map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert_eq!(Vec::from_iter("a=x,y".parse::<Pairs>().unwrap()), [("a".to_owned(), "x,y".to_owned())]);
        assert_eq!("a".parse::<Pairs>(), Err("a must be formatted as key=value".to_owned()));
    }

    #[test]
    fn certificates_may_have_names() {
        for text in ["a,b", "a,b:x", "a,b:*.x,y"] {
            assert_eq!(text.parse::<NamedCertKey>().unwrap().to_string(), text);
        }
        for text in ["", "a", "a,b,c", "a,b:", "a:x"] {
            assert!(text.parse::<NamedCertKey>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn quantities_have_suffixes() {
        for (text, bytes) in [("0", 0), ("512", 512), ("1k", 1000), ("2Ki", 2048), ("1.5Mi", 1_572_864), ("1e3", 1000)]
        {
            assert_eq!(text.parse(), Ok(Quantity(bytes)), "{text}");
        }
        for text in ["", "Ki", "1x", "-1", "1.2.3"] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_value_panic(text in r#"([ -~]|[",=:.eKi0-9]){0,24}"#) {
            let _ = text.parse::<Strings>();
            let _ = text.parse::<Int32s>();
            let _ = text.parse::<Switches>();
            let _ = text.parse::<Pairs>();
            let _ = text.parse::<NamedCertKey>();
            let _ = text.parse::<Quantity>();
        }
    }
}
