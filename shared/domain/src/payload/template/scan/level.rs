//! Where the scanner is: the operand, and the brackets or the tag that it stands in.

/// A value with what is written right after it: `.name`, `[…]`, `|filter`, `is test`.
#[derive(Debug, Default)]
pub(super) struct Operand {
    pub(super) levels: usize,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) tokens: usize,
    /// Whether it is a literal, and a short one.
    pub(super) is_literal: bool,
    pub(super) is_plain: bool,
    /// Whether a name follows, be it a word that is an operator elsewhere.
    pub(super) is_named_next: bool,
    pub(super) test: Test,
}

/// A minus or a bracket right after the name of a test is its argument.
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
    /// It takes numbers, or only says which of them counts.
    #[default]
    Light,
    /// It compares them: with a short literal that is soon done, however long the other one is.
    Compares { with_plain: bool, left_meter: Option<usize> },
    /// It looks through all of them.
    Reads,
    /// It copies all of them.
    Joins,
}

pub(super) const COMPARES: Use = Use::Compares { with_plain: false, left_meter: None };

/// What stands between two brackets, or in a tag.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// The levels of all around it.
    pub(super) around: usize,
    /// The operators of the element so far. Each may have all that is left of it, or right of it, as its operand.
    pub(super) operators: usize,
    /// Those of them that copy their operands.
    pub(super) joins: usize,
    /// The levels of the deepest operand before this one, and of the deepest element before this one.
    pub(super) deepest: usize,
    pub(super) elements: usize,
    pub(super) operand: Operand,
    /// What the operator before the operand does with it.
    pub(super) before: Use,
    /// The meters of this element, by their places among the inserts.
    pub(super) meters: Vec<usize>,
    /// For what is between the brackets of a subscript: where the value starts and ends that it is taken of.
    pub(super) subscript_of: Option<(usize, usize)>,
    pub(super) has_colon: bool,
}

impl Level {
    pub(super) fn element(&self) -> usize {
        self.operators + self.deepest.max(self.operand.levels)
    }
}
