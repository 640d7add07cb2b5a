//! Bounds of buckets as Go writes them: the label `le` is a text, so `1e+06` and `1000000` are two series.

/// The exposition with every `le` in Go's form.
pub(super) fn as_go(text: &str) -> String {
    const LABELS: [&str; 2] = ["{le=\"", ",le=\""];
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        // The last label of a bucket; nothing else has it.
        let label = LABELS.iter().find_map(|label| line.rfind(label).map(|at| at + label.len()));
        let label = label.filter(|_| !line.starts_with('#'));
        let Some((start, length)) = label.and_then(|start| Some((start, line[start..].find('"')?))) else {
            out.push_str(line);
            continue;
        };
        let bound = &line[start..start + length];
        out.push_str(&line[..start]);
        match bound.parse::<f64>() {
            Ok(number) if number.is_finite() => out.push_str(&float(number)),
            _ => out.push_str(bound),
        }
        out.push_str(&line[start + length..]);
    }
    out
}

/// A number as `strconv.FormatFloat(number, 'g', -1, 64)`: the shortest digits, with an exponent below 1e-4 and from 1e6 on.
fn float(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (number, text) in [
            (0.0, "0"),
            (1e-8, "1e-08"),
            (1e-8 * 10.0 * 10.0 * 10.0, "9.999999999999999e-06"),
            (0.0001, "0.0001"),
            (0.25, "0.25"),
            (262_144.0, "262144"),
            (1_000_000.0, "1e+06"),
            (16_777_216.0, "1.6777216e+07"),
        ] {
            assert_eq!(float(number), text);
        }
    }

    #[test]
    fn only_bounds_are_rewritten() {
        let text = "# HELP a le=\"1000000\"\na_bucket{name=\"x\",le=\"1048576\"} 1000000\na_bucket{le=\"+Inf\"} 2\nb{file=\"1000000\"} 3\n\
                    a_sum 1000000\n";
        let expected = text.replacen("le=\"1048576\"", "le=\"1.048576e+06\"", 1);
        assert_eq!(as_go(text), expected);
    }
}
