//! Adding amounts up.

/// The suffixes of amounts, in billionths: first those of powers of ten, then those of powers of two.
const DECIMAL: [(&str, i128); 10] = [
    ("E", 1_000_000_000_000_000_000 * NANO),
    ("P", 1_000_000_000_000_000 * NANO),
    ("T", 1_000_000_000_000 * NANO),
    ("G", 1_000_000_000 * NANO),
    ("M", 1_000_000 * NANO),
    ("k", 1_000 * NANO),
    ("", NANO),
    ("m", 1_000_000),
    ("u", 1_000),
    ("n", 1),
];
const BINARY: [(&str, i128); 7] = [
    ("Ei", (1 << 60) * NANO),
    ("Pi", (1 << 50) * NANO),
    ("Ti", (1 << 40) * NANO),
    ("Gi", (1 << 30) * NANO),
    ("Mi", (1 << 20) * NANO),
    ("Ki", (1 << 10) * NANO),
    ("", NANO),
];
/// One, in billionths: the smallest step of an amount.
const NANO: i128 = 1_000_000_000;
/// Amounts with more digits than this are none that a machine could report, and could overflow when added.
const DIGITS_MAX: usize = 18;

/// The sum of amounts, in the form of the first of them: `250m` and `1` are `1250m`, `1Mi` and `512Ki` are `1536Ki`.
/// `<unknown>` when one is no amount; `0` when there are none.
pub(super) fn sum(amounts: impl Iterator<Item = String>) -> String {
    let mut total = 0_i128;
    let mut binary = None;
    for amount in amounts {
        let Some((value, is_binary)) = parse(&amount) else { return super::text::UNKNOWN.into() };
        total = total.saturating_add(value);
        binary.get_or_insert(is_binary);
    }
    let suffixes = if binary == Some(true) { &BINARY[..] } else { &DECIMAL[..] };
    match suffixes.iter().find(|(_, unit)| total % unit == 0) {
        Some(_) if total == 0 => "0".into(),
        Some((suffix, unit)) => format!("{}{suffix}", total / unit),
        // A fraction of a byte: the next whole one.
        None => format!("{}", (total + NANO - 1) / NANO),
    }
}

/// Billionths, and whether the suffix was one of powers of two.
fn parse(amount: &str) -> Option<(i128, bool)> {
    let split = amount.find(|char: char| !(char.is_ascii_digit() || char == '.')).unwrap_or(amount.len());
    let (digits, suffix) = amount.split_at(split);
    let unit =
        |units: &[(&str, i128)]| units.iter().find(|(known, _)| *known == suffix).map(|(_, unit)| *unit);
    let (unit, binary) = match (unit(&DECIMAL), unit(&BINARY)) {
        (Some(unit), _) => (unit, false),
        (None, Some(unit)) => (unit, true),
        (None, None) => return None,
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if digits.is_empty() || whole.len() + fraction.len() > DIGITS_MAX {
        return None;
    }
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
    let number: i128 = format!("{whole}{fraction}").parse().ok()?;
    Some((number.checked_mul(unit)? / scale, binary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up() {
        let cases: [(&[&str], &str); 10] = [
            (&[], "0"),
            (&["250m", "1"], "1250m"),
            (&["500m", "500m"], "1"),
            (&["1.5", "100n"], "1500000100n"),
            (&["1Mi", "512Ki"], "1536Ki"),
            (&["0", "1Ki"], "1024"),
            (&["2k", "3k"], "5k"),
            (&["1", "one"], "<unknown>"),
            (&["1234567890123456789"], "<unknown>"),
            (&["999999999999999999E"], "<unknown>"),
        ];
        for (amounts, total) in cases {
            assert_eq!(sum(amounts.iter().map(ToString::to_string)), total, "{amounts:?}");
        }
    }
}
