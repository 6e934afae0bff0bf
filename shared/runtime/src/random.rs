//! The random generator. No other code draws random values.
#![expect(clippy::disallowed_methods, reason = "this is the one place that draws")]

/// Returns a uniform draw from `0.0..1.0`.
#[must_use]
pub fn draw() -> f64 {
    rand::random()
}

/// Returns 128 random bits, for an id.
#[must_use]
pub fn bits() -> u128 {
    rand::random()
}

/// Returns random bytes from a cryptographically secure generator, for a secret.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N]
where
    rand::distr::StandardUniform: rand::distr::Distribution<[u8; N]>,
{
    rand::random()
}
