//! Evaluates many filters at once.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use super::alternative::{Alternative, Comparison};
use super::evaluate::{Scalar, values_at};
use super::{Fields, Filter};
use crate::event::Event;
use crate::matching::effort::Effort;
use crate::matching::weight::{entry, heap};
use crate::value::Value;

/// Selects those of many filters that an event may match, in time that does not grow with the number of filters that it
/// does not match.
///
/// Each filter is stored under one of its fields: under the start or end that the field's text must have, or the range
/// that its number must be in. The selection may contain too many filters but never too few, because the filters
/// themselves are evaluated afterwards. The size of a sieve is known before it is built ([`bytes_in_sieve`]).
#[derive(Debug)]
pub(crate) struct Sieve<X> {
    fields: Vec<(Names, Field<X>)>,
    /// The filters without such a field, which may always match.
    always: Vec<X>,
}

/// The names that lead to a field.
type Names = Box<[Box<str>]>;

/// The filters that are stored under one field.
#[derive(Debug)]
struct Field<X> {
    starts: Affixes<X>,
    ends: Affixes<X>,
    ranges: Ranges<X>,
    /// Those that accept `null`, `true` or `false`.
    words: Vec<X>,
}

impl<X> Default for Field<X> {
    fn default() -> Self {
        Self { starts: Affixes::default(), ends: Affixes::default(), ranges: Ranges(Vec::new()), words: Vec::new() }
    }
}

/// The largest number of alternatives of a field that a filter is stored under.
const MAX_ALTERNATIVES: usize = 32;

/// A necessary condition on a value.
#[derive(Debug, Clone, Copy)]
enum Mark<'a> {
    Start(&'a str),
    End(&'a str),
    /// Rounded to 64 bits, which never reverses the order of two numbers.
    Range(f64, f64),
    Word,
}

/// The largest number of a filter's fields that are considered.
const MAX_FIELDS: usize = 4;

/// Returns an upper bound of the bytes that a filter takes in a sieve, including while the sieve is built.
pub(crate) fn bytes_in_sieve<X>(filter: &Filter) -> usize {
    let (mut names, mut marks, mut most) = (0, 0, 0);
    for (path, of) in leaves(&filter.0) {
        names = names.max(path.iter().map(|name| heap(name.len()) + size_of::<Box<str>>()).sum::<usize>());
        marks += of.len();
        most = most.max(of.len());
    }
    let counting = marks * entry(size_of::<(u64, u32)>() + 1);
    let field = entry(size_of::<(Names, Field<X>)>() + size_of::<(u64, usize)>() + 1) + names;
    // A vector doubles when it grows, and keeps the smaller one meanwhile.
    let each = size_of::<Range<X>>().max(size_of::<(u64, X)>() + size_of::<usize>());
    counting + field + 3 * (size_of::<X>() + most * each)
}

impl<X: Copy> Sieve<X> {
    pub(crate) fn new<'a>(filters: impl Iterator<Item = (X, &'a Filter)> + Clone) -> Self {
        let mut crowds: HashMap<u64, u32> = HashMap::new();
        for (_, filter) in filters.clone() {
            for (names, marks) in leaves(&filter.0) {
                for mark in marks {
                    *crowds.entry(mark.hash_at(&names)).or_default() += 1;
                }
            }
        }
        let mut sieve = Self { fields: Vec::new(), always: Vec::new() };
        let mut places: HashMap<u64, usize> = HashMap::new();
        for (id, filter) in filters {
            // The field shared with the fewest other filters; among those, the most selective one.
            let crowd = |(names, marks): &(Vec<&str>, Vec<Mark<'_>>)| {
                let crowd: u32 = marks.iter().filter_map(|mark| crowds.get(&mark.hash_at(names))).sum();
                (crowd, marks.iter().map(|mark| mark.vagueness()).max())
            };
            let Some((names, marks)) = leaves(&filter.0).min_by_key(crowd) else {
                sieve.always.push(id);
                continue;
            };
            let place = *places.entry(hash(&names)).or_insert_with(|| {
                sieve.fields.push((names.iter().map(|name| Box::from(*name)).collect(), Field::default()));
                sieve.fields.len() - 1
            });
            let field = &mut sieve.fields[place].1;
            for mark in marks {
                match mark {
                    Mark::Start(text) => field.starts.add(text.as_bytes(), id),
                    Mark::End(text) => field.ends.add(text.as_bytes(), id),
                    Mark::Range(from, to) => field.ranges.0.push(Range { from, to, last: to, id }),
                    Mark::Word => field.words.push(id),
                }
            }
        }
        for (_, field) in &mut sieve.fields {
            field.starts.sort();
            field.ends.sort();
            field.ranges.sort();
        }
        sieve
    }

    /// Returns the filters that the event may match, some possibly twice. Some may be missing if the effort is spent.
    pub(crate) fn candidates(&self, event: &Event, effort: &Effort, mut found: impl FnMut(X)) {
        self.always.iter().copied().for_each(&mut found);
        let path = OnceCell::new();
        for (names, field) in &self.fields {
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            let values = values_at(&names, event, &path);
            if !effort.spend(1 + values.len()) {
                return;
            }
            for value in values {
                match value {
                    Scalar::Text(text) => {
                        let text = text.as_bytes();
                        let is_left = effort.spend(field.starts.cost(text) + field.ends.cost(text));
                        if !is_left {
                            return;
                        }
                        field.starts.find(text, |length| &text[..length], &mut found);
                        field.ends.find(text, |length| &text[text.len() - length..], &mut found);
                    }
                    Scalar::Number(number) => {
                        if !field.ranges.find(number.rounded(), effort, &mut found) {
                            return;
                        }
                    }
                    Scalar::Null | Scalar::Bool(_) => field.words.iter().copied().for_each(&mut found),
                }
            }
        }
    }
}

/// Returns the fields that a filter may be stored under, with the necessary conditions on their values.
fn leaves(fields: &Fields) -> impl Iterator<Item = (Vec<&str>, Vec<Mark<'_>>)> {
    let leaves = fields.leaves().into_iter().filter_map(|(names, alternatives)| {
        let few = (alternatives.len() <= MAX_ALTERNATIVES).then_some(alternatives)?;
        Some((names, few.iter().map(Mark::of).collect::<Option<Vec<_>>>()?))
    });
    leaves.take(MAX_FIELDS)
}

impl<'a> Mark<'a> {
    /// Returns a necessary condition for this alternative, or `None` if there is none that can be searched for.
    fn of(alternative: &'a Alternative) -> Option<Self> {
        match alternative {
            Alternative::Is(Value::String(text)) => Some(Self::Start(text)),
            Alternative::Is(Value::Number(number)) => Some(Self::Range(number.rounded(), number.rounded())),
            Alternative::Is(_) => Some(Self::Word),
            Alternative::Prefix(text) => (!text.is_empty()).then_some(Self::Start(text)),
            Alternative::Suffix(text) => (!text.is_empty()).then_some(Self::End(text)),
            Alternative::Wildcard(text) => {
                // The text before the first star or after the last one, as far as it contains no escapes.
                let start = text.find(['*', '\\']).map_or(&**text, |at| &text[..at]);
                let end = if text.contains('\\') { "" } else { text.rsplit('*').next().unwrap_or("") };
                match (start, end) {
                    ("", "") => None,
                    ("", end) => Some(Self::End(end)),
                    (start, _) => Some(Self::Start(start)),
                }
            }
            Alternative::Numeric(bounds) => {
                let (mut from, mut to) = (f64::NEG_INFINITY, f64::INFINITY);
                for (comparison, bound) in bounds {
                    let bound = bound.rounded();
                    match comparison {
                        Comparison::Equal => (from, to) = (bound, bound),
                        Comparison::Less | Comparison::LessOrEqual => to = bound,
                        Comparison::Greater | Comparison::GreaterOrEqual => from = bound,
                    }
                }
                Some(Self::Range(from, to))
            }
            Alternative::SameButForCase(_)
            | Alternative::AnythingBut(_)
            | Alternative::AnythingButOneOf(_)
            | Alternative::Exists(_)
            | Alternative::Network(_) => None,
        }
    }

    /// Returns how likely values are to meet the condition: less likely for a long text, for one number, and for a
    /// range with two ends.
    fn vagueness(self) -> usize {
        match self {
            Self::Start(text) | Self::End(text) => 8_usize.saturating_sub(text.len()),
            Self::Range(from, to) if from >= to => 1,
            Self::Range(from, to) if from.is_finite() && to.is_finite() => 4,
            Self::Range(..) => 8,
            Self::Word => 9,
        }
    }

    fn hash_at(self, names: &[&str]) -> u64 {
        match self {
            Self::Start(text) => hash(&(names, 0, text)),
            Self::End(text) => hash(&(names, 1, text)),
            Self::Range(from, to) => hash(&(names, 2, from.to_bits(), to.to_bits())),
            Self::Word => hash(&(names, 3)),
        }
    }
}

/// The same in every process. A collision only adds a candidate.
fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// Filters by the text that a value must start or end with.
#[derive(Debug)]
struct Affixes<X> {
    /// The distinct lengths of the texts, in bytes.
    lengths: Vec<usize>,
    /// Sorted by the hashes of the texts.
    by_hash: Vec<(u64, X)>,
}

impl<X> Default for Affixes<X> {
    fn default() -> Self {
        Self { lengths: Vec::new(), by_hash: Vec::new() }
    }
}

impl<X: Copy> Affixes<X> {
    fn add(&mut self, text: &[u8], id: X) {
        self.lengths.push(text.len());
        self.by_hash.push((hash(&text), id));
    }

    fn sort(&mut self) {
        self.lengths.sort_unstable();
        self.lengths.dedup();
        self.lengths.shrink_to_fit();
        self.by_hash.sort_unstable_by_key(|(hash, _)| *hash);
        self.by_hash.shrink_to_fit();
    }

    fn fitting(&self, text: &[u8]) -> &[usize] {
        &self.lengths[..self.lengths.partition_point(|length| *length <= text.len())]
    }

    /// Returns the cost of a lookup: one hash for each length.
    fn cost(&self, text: &[u8]) -> usize {
        let lengths = self.fitting(text);
        lengths.len() * 8 + lengths.iter().sum::<usize>() / 8
    }

    fn find<'a>(&self, text: &'a [u8], part: impl Fn(usize) -> &'a [u8], found: &mut impl FnMut(X)) {
        for length in self.fitting(text) {
            let wanted = hash(&part(*length));
            let from = self.by_hash.partition_point(|(hash, _)| *hash < wanted);
            let same = self.by_hash[from..].iter().take_while(|(hash, _)| *hash == wanted);
            same.for_each(|(_, id)| found(*id));
        }
    }
}

/// Filters by the range that a value must be in, sorted by the start of the range. The list is a binary tree with its
/// root in the middle.
#[derive(Debug)]
struct Ranges<X>(Vec<Range<X>>);

#[derive(Debug, Clone, Copy)]
struct Range<X> {
    from: f64,
    to: f64,
    /// The largest end of the ranges in the subtree of this one, including this one.
    last: f64,
    id: X,
}

impl<X: Copy> Ranges<X> {
    fn sort(&mut self) {
        fn note<X>(ranges: &mut [Range<X>]) -> f64 {
            let middle = ranges.len() / 2;
            let (before, rest) = ranges.split_at_mut(middle);
            let Some((root, after)) = rest.split_first_mut() else { return f64::NEG_INFINITY };
            root.last = root.to.max(note(before)).max(note(after));
            root.last
        }
        self.0.sort_unstable_by(|one, other| one.from.total_cmp(&other.from));
        self.0.shrink_to_fit();
        note(&mut self.0);
    }

    /// Returns whether the effort was enough.
    fn find(&self, number: f64, effort: &Effort, found: &mut impl FnMut(X)) -> bool {
        fn find<X: Copy>(ranges: &[Range<X>], number: f64, effort: &Effort, found: &mut impl FnMut(X)) {
            let middle = ranges.len() / 2;
            let Some(root) = ranges.get(middle) else { return };
            if root.last < number || !effort.spend(1) {
                return;
            }
            find(&ranges[..middle], number, effort, found);
            if root.from <= number {
                if number <= root.to {
                    found(root.id);
                }
                find(&ranges[middle + 1..], number, effort, found);
            }
        }
        find(&self.0, number, effort, found);
        !effort.is_spent()
    }
}
