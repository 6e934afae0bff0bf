//! The work of a rendering. It is counted and not measured, so it is the same on every machine.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use super::Rendering;
use super::template::limits::{MAX_OUTPUT_BYTES, MAX_READ, MAX_STEPS};
use crate::event::Event;
use crate::value::{Map, Value};

/// The work of a rendering, in units of about a nanosecond of a full Lambda core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Work(u64);

/// The fixed cost of each rendering.
const EACH: u64 = 2_000;

/// The cost of reading a byte of an event, and of an entry of its lists and maps.
const EVENT_BYTE: u64 = 2;
const EVENT_ENTRY: u64 = 100;

/// The cost of writing a byte of a body.
const BODY_BYTE: u64 = 4;

/// The cost of reading a byte of a template, and of one of its steps.
const TEMPLATE_BYTE: u64 = 100;
const STEP: u64 = 40;

/// The most work that a template takes, without reading it and its event. Its last operator may take more than what was
/// left.
const MOST_OF_A_TEMPLATE: Work = Work::new(MAX_READ as u64 + MAX_STEPS * STEP + MAX_OUTPUT_BYTES as u64 * BODY_BYTE);

impl Work {
    /// Returns this many units.
    #[must_use]
    pub const fn new(units: u64) -> Self {
        Self(units)
    }

    /// Returns the number of units.
    #[must_use]
    pub fn units(self) -> u64 {
        self.0
    }

    /// Returns what is left of it after `done`.
    #[must_use]
    pub fn less(self, done: Self) -> Self {
        Self(self.0.saturating_sub(done.0))
    }

    /// Returns the minimum work of any rendering of the event.
    #[must_use]
    pub fn of_event(event: &Event) -> Self {
        let states = [&event.old, &event.new].into_iter().flatten().map(|state| of_map(&state.properties));
        Self(EACH) + states.sum() + of_map(&event.entity.related)
    }

    /// Returns the maximum work of this rendering of the event.
    #[must_use]
    pub fn most(rendering: &Rendering, event: &Event) -> Self {
        let event = Self::of_event(event);
        match &rendering.template {
            Some(template) => event + Self::of_template(template.len()) + MOST_OF_A_TEMPLATE,
            // Numbers and names are written as they are; a byte of a text may become six.
            None => event * 12,
        }
    }

    pub(super) fn of_text(bytes: usize) -> Self {
        Self(BODY_BYTE) * bytes
    }

    pub(super) fn of_template(bytes: usize) -> Self {
        Self(TEMPLATE_BYTE) * bytes
    }

    pub(super) fn of_steps(steps: u64) -> Self {
        Self(steps.saturating_mul(STEP))
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::ops::Mul<usize> for Work {
    type Output = Self;

    fn mul(self, times: usize) -> Self {
        Self(self.0.saturating_mul(u64::try_from(times).unwrap_or(u64::MAX)))
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

fn of_map(map: &Map) -> Work {
    map.iter().map(|(name, value)| Work(EVENT_ENTRY) + Work(EVENT_BYTE) * name.len() + of_value(value)).sum()
}

fn of_value(value: &Value) -> Work {
    match value {
        Value::Null | Value::Bool(_) => Work(0),
        Value::Number(_) | Value::String(_) => Work(EVENT_BYTE) * value.as_text().map_or(0, str::len),
        Value::List(values) => values.iter().map(|value| Work(EVENT_ENTRY) + of_value(value)).sum(),
        Value::Map(map) => of_map(map),
    }
}
