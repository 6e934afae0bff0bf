//! Decimal numbers by value: `1.0`, `1` and `10e-1` are equal, and no digit is lost.

use std::cmp::Ordering;

/// A JSON number as a sign, its digits and the position of the first digit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal<'a> {
    is_negative: bool,
    /// The power of ten of the first digit. An exponent that exceeds 64 bits is cut to them.
    power: i64,
    /// From the first digit that is not zero to the last; may contain the point. Empty for zero.
    digits: &'a str,
}

impl<'a> Decimal<'a> {
    /// Reads a JSON number.
    pub(crate) fn of(number: &'a str) -> Self {
        let (is_negative, magnitude) = number.strip_prefix('-').map_or((false, number), |magnitude| (true, magnitude));
        let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
        let is_digit = |c: char| matches!(c, '1'..='9');
        let (Some(first), Some(last)) = (mantissa.find(is_digit), mantissa.rfind(is_digit)) else {
            return Self { is_negative: false, power: 0, digits: "" };
        };
        let point = mantissa.find('.').unwrap_or(mantissa.len());
        let places = if first < point { point - first - 1 } else { first - point };
        let places = i64::try_from(places).unwrap_or(i64::MAX);
        let position = if first < point { places } else { -places };
        let limit = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
        let power = exponent.parse().unwrap_or(limit).saturating_add(position);
        Self { is_negative, power, digits: &mantissa[first..=last] }
    }

    /// Returns the power of ten of the first digit.
    pub(crate) const fn power(&self) -> i64 {
        self.power
    }

    /// Returns the number times ten to the power of `places`, without its fraction. `None` if it needs more than 128
    /// bits.
    pub(crate) fn scaled(&self, places: i64) -> Option<i128> {
        let digits: String = self.digits.chars().filter(|c| *c != '.').collect();
        let whole = usize::try_from(self.power.checked_add(places)?.checked_add(1)?.max(0)).ok()?;
        if whole > 38 {
            return None;
        }
        let kept = &digits[..whole.min(digits.len())];
        let magnitude: i128 = format!("0{kept}{}", "0".repeat(whole - kept.len())).parse().ok()?;
        Some(if self.is_negative { -magnitude } else { magnitude })
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        let digits = |of: &Self| of.digits.bytes().filter(|byte| *byte != b'.');
        // Zero has no digits, and any other number has.
        let empty = other.digits.is_empty().cmp(&self.digits.is_empty());
        empty.then(self.power.cmp(&other.power)).then_with(|| digits(self).cmp(digits(other)))
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, false) => self.compare_magnitude(other),
            (true, true) => other.compare_magnitude(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Decimal<'_> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::same("1", "1", Ordering::Equal)]
    #[case::spelling("1.50", "15e-1", Ordering::Equal)]
    #[case::zeros("100", "1E+2", Ordering::Equal)]
    #[case::small("0.001", "1e-3", Ordering::Equal)]
    #[case::zero("-0.0", "0e9", Ordering::Equal)]
    #[case::neighbours_beyond_53_bits("3804086584686624768", "3804086584686624769", Ordering::Less)]
    #[case::neighbours_of_38_digits(
        "12345678901234567890123456789012345678",
        "12345678901234567890123456789012345677",
        Ordering::Greater
    )]
    #[case::prefix("12", "120.5", Ordering::Less)]
    #[case::fraction("0.1", "0.10000000000000000000001", Ordering::Less)]
    #[case::power("9", "10", Ordering::Less)]
    #[case::negative("-10", "-9", Ordering::Less)]
    #[case::signs("-1", "0", Ordering::Less)]
    #[case::zero_and_small("0", "1e-400", Ordering::Less)]
    #[case::huge("1e400", "1e401", Ordering::Less)]
    #[case::exponents_beyond_64_bits("1e99999999999999999999", "2e99999999999999999999", Ordering::Less)]
    #[case::tiny("1e-99999999999999999999", "1", Ordering::Less)]
    fn compares_by_value(#[case] one: &str, #[case] other: &str, #[case] expected: Ordering) {
        assert_eq!(Decimal::of(one).cmp(&Decimal::of(other)), expected);
        assert_eq!(Decimal::of(other).cmp(&Decimal::of(one)), expected.reverse());
    }

    #[rstest]
    #[case::whole("1793294268", 9, Some(1_793_294_268_000_000_000))]
    #[case::fraction("1793294268.211", 9, Some(1_793_294_268_211_000_000))]
    #[case::cut("1.29", 1, Some(12))]
    #[case::nothing_left("0.04", 1, Some(0))]
    #[case::negative("-1.5", 1, Some(-15))]
    #[case::zero("0", 9, Some(0))]
    #[case::exponent("1.5e3", 0, Some(1500))]
    #[case::too_large("1e38", 0, None)]
    #[case::far_too_large("1e99999999999999999999", 9, None)]
    #[case::far_too_small("1e-99999999999999999999", 9, Some(0))]
    fn scales(#[case] number: &str, #[case] places: i64, #[case] expected: Option<i128>) {
        assert_eq!(Decimal::of(number).scaled(places), expected);
    }

    proptest! {
        #[test]
        fn agrees_with_integers(one: i64, other: i64, zeros in 0_usize..4) {
            let scaled = |number: i64| format!("{number}.{}e2", "0".repeat(zeros + 1));
            let (as_text, spelled) = (one.to_string(), scaled(other));
            let expected = i128::from(one).cmp(&(i128::from(other) * 100));
            prop_assert_eq!(Decimal::of(&as_text).cmp(&Decimal::of(&spelled)), expected);
        }

        /// What the sieve relies on: rounding to 64 bits never reverses an order.
        #[test]
        fn rounding_keeps_the_order(one in "-?[0-9]{1,25}(\\.[0-9]{1,9})?(e-?[0-9]{1,3})?", other in "-?[0-9]{1,25}(\\.[0-9]{1,9})?(e-?[0-9]{1,3})?") {
            let rounded = |text: &str| text.parse::<f64>().unwrap();
            let (exact, rounded) = (Decimal::of(&one).cmp(&Decimal::of(&other)), rounded(&one).partial_cmp(&rounded(&other)));
            prop_assert!(rounded == Some(exact) || (exact.is_ne() && rounded == Some(Ordering::Equal)), "{exact:?} {rounded:?}");
        }
    }
}
