//! Values of labels, from what OpenStack calls things.

/// The longest value of a label.
const LONGEST: usize = 63;

/// Whether a text can stand in a label as it is. The empty text can.
pub fn is_label_value(text: &str) -> bool {
    let ends = |end: Option<char>| end.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= LONGEST
        && text.chars().all(is_label_char)
        && ends(text.chars().next())
        && ends(text.chars().next_back())
}

/// The label of an availability zone, which may have any name: runs of other characters become one `-`, and it begins and ends
/// with a letter or a digit. Upstream cuts after that, so that a long name may end with another character, which the API
/// server refuses; here such an end goes too.
pub fn zone(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    let mut replaced = false;
    for c in name.chars() {
        if is_label_char(c) {
            text.push(c);
        } else if !replaced {
            text.push('-');
        }
        replaced = !is_label_char(c);
    }
    let text = text.trim_matches(['-', '_', '.']);
    // All of it is ASCII.
    text[..text.len().min(LONGEST)].trim_end_matches(['-', '_', '.']).to_owned()
}

fn is_label_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn section_4_4_zones_become_labels() {
        for (name, expected) in [
            ("nova", "nova"),
            ("zone a", "zone-a"),
            ("(zone)  ü b_", "zone-b"),
            ("a/b//c", "a-b-c"),
            ("a--b", "a--b"),
            ("--", ""),
            ("", ""),
        ] {
            assert_eq!(zone(name), expected, "{name:?}");
        }
        assert_eq!(zone(&format!("{}-.x", "a".repeat(62))), "a".repeat(62));
    }

    proptest::proptest! {
        #[test]
        fn every_zone_becomes_a_label_value(name in ".{0,90}") {
            proptest::prop_assert!(is_label_value(&zone(&name)), "{}", zone(&name));
        }

        #[test]
        fn what_is_a_label_value_stays(name in "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?") {
            proptest::prop_assert_eq!(zone(&name), name);
        }
    }
}
