//! The scanner's position: the current operand, and the brackets or tag around it.

/// A value with its suffixes: `.name`, `[…]`, `|filter`, `is test`.
#[derive(Debug, Default)]
pub(super) struct Operand {
    pub(super) levels: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) tokens: usize,
    /// Whether it is a short literal.
    pub(super) is_literal: bool,
    pub(super) is_plain: bool,
    /// Whether the next word is a name, even if it is an operator elsewhere.
    pub(super) is_named_next: bool,
    pub(super) test: Test,
}

/// The state of a test: a minus or a bracket right after its name is its argument.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    #[default]
    None,
    Is,
    Named,
}

/// What an operator does with its operands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Uses only numbers, or selects one of its operands.
    #[default]
    Light,
    /// Compares them. With a short literal this takes little time, however long the other operand is.
    Compares { with_plain: bool, left_meter: Option<usize> },
    /// Reads all of them.
    Reads,
    /// Copies all of them.
    Joins,
}

pub(super) const COMPARES: Use = Use::Compares { with_plain: false, left_meter: None };

/// The content of a pair of brackets or of a tag.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// The number of levels around it.
    pub(super) around: usize,
    /// The operators of the element so far. Each may have everything to its left or right as its operand.
    pub(super) operators: usize,
    /// How many of these copy their operands.
    pub(super) joins: usize,
    /// The number of levels of the deepest operand before this one, and of the deepest element before this one.
    pub(super) deepest: usize,
    pub(super) elements: usize,
    pub(super) operand: Operand,
    /// Whether the operator before the operand is a `not` after another operand.
    pub(super) follows_not: bool,
    /// What the operator before the operand does with it.
    pub(super) before: Use,
    /// The meters of this element, by their indices among the inserts.
    pub(super) meters: Vec<usize>,
    /// In the brackets of a subscript: the start and end of the value that the subscript applies to.
    pub(super) subscript_of: Option<(usize, usize)>,
    pub(super) has_colon: bool,
}

impl Level {
    pub(super) fn element(&self) -> usize {
        self.operators + self.deepest.max(self.operand.levels)
    }
}
