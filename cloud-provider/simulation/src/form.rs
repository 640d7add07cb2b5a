//! Queries and forms: `application/x-www-form-urlencoded`.

/// Decodes names and values in order; a name may come again.
pub fn pairs(text: &[u8]) -> Vec<(String, String)> {
    let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let split = |pair: &[u8]| match pair.iter().position(|byte| *byte == b'=') {
        Some(at) => (decode(&pair[..at], true), decode(&pair[at + 1..], true)),
        None => (decode(pair, true), String::new()),
    };
    pairs.map(split).collect()
}

/// Decodes a part of a path, in which `+` is itself.
pub fn path_part(text: &str) -> String {
    decode(text.as_bytes(), false)
}

fn decode(text: &[u8], plus_is_blank: bool) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        match (first, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) if plus_is_blank => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn forms_are_decoded() {
        let form: BTreeMap<_, _> =
            pairs(b"Action=DescribeTags&Tag.1.Value=a%2Fb+c%3D%C3%A9&Subnets=&x").into_iter().collect();
        assert_eq!(form["Tag.1.Value"], "a/b c=é");
        assert_eq!(form["Subnets"], "");
        assert_eq!(form["x"], "");
        assert_eq!(path_part("a+b%2Fc"), "a+b/c");
    }
}
