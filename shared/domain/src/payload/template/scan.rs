//! Scans the tokens of a template before it is parsed: finds its depth, and the operands whose whole content an
//! operator reads.
//!
//! The engine's parser, its compiler and the destructor of its syntax tree recurse once for each level, and a page of
//! minus signs has as many levels. The depth is therefore bounded here, without recursion.
//!
//! The engine counts steps, but one step such as `==`, `in`, `~` or `[1:]` may read all of a long text or list.
//! [`Scan::metered`] returns the same template with a filter after each such operand, which charges for what the
//! operator is about to read.

use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::fault::refused;
use crate::payload::RenderError;

mod level;

use level::{COMPARES, Level, Operand, Test, Use};

/// The maximum number of levels: blocks, each `elif` after an `if`, brackets, and the operators around a value. A level
/// takes up to 2 KB of stack.
pub(super) const MAX_LEVELS: usize = 100;

/// How many of the levels may be brackets and blocks. Each of these takes up to 6 KB of stack.
pub(super) const MAX_NESTED: usize = 32;

/// The longest literal, in bytes, that an operator may read without charge.
const PLAIN_BYTES: usize = 64;

/// The filters of [`Scan::metered`]. A template cannot use them, because the policy does not list them.
pub(super) const METER: &str = "meter";
pub(super) const METER_OUTSIDE: &str = "meter_outside";

/// The result of a scan.
#[derive(Debug)]
pub(super) struct Scan {
    /// The length in bytes of the longest name or literal. A step may compare it with the names of a map.
    pub(super) longest: usize,
    inserts: Vec<(usize, Insert)>,
}

#[derive(Debug)]
enum Insert {
    Nothing,
    Open,
    CloseMetered,
    Metered,
    /// With the number of times that the operand is copied at most.
    MeteredTimes(usize),
}

impl Scan {
    /// Returns the template with the filters that charge for operands. Line numbers do not change.
    pub(super) fn metered(&self, source: &str) -> String {
        let mut inserts: Vec<_> = self.inserts.iter().collect();
        inserts.sort_by_key(|(at, _)| *at);
        let mut text = String::with_capacity(source.len() + inserts.len() * 12);
        let mut from = 0;
        for (at, insert) in inserts {
            text.push_str(source.get(from..*at).unwrap_or_default());
            from = *at;
            match insert {
                Insert::Nothing => {}
                Insert::Open => text.push('('),
                Insert::CloseMetered => text.extend(["|", METER_OUTSIDE, ")"]),
                Insert::Metered => text.extend(["|", METER_OUTSIDE]),
                Insert::MeteredTimes(times) => text.extend(["|", METER, "(", &times.to_string(), ")"]),
            }
        }
        text.push_str(source.get(from..).unwrap_or_default());
        text
    }
}

/// Scans the tokens. Stops at the first invalid one, as the parser does.
pub(super) fn scan(source: &str) -> Result<Scan, RenderError> {
    let mut scanner = Scanner::default();
    for (token, span) in tokenize(source, false, SyntaxConfig::default()).map_while(Result::ok) {
        scanner.take(&token, span);
        if scanner.levels() > MAX_LEVELS || scanner.nested() > MAX_NESTED {
            let reason = format!(
                "must have at most {MAX_LEVELS} levels of blocks, elif, brackets and operators, {MAX_NESTED} of them blocks and brackets"
            );
            return Err(refused(usize::from(span.start_line), &reason));
        }
    }
    Ok(Scan { longest: scanner.longest, inserts: scanner.inserts })
}

#[derive(Debug, Default)]
struct Scanner {
    longest: usize,
    inserts: Vec<(usize, Insert)>,
    /// One entry for each open block: the block and its `elif`s.
    blocks: Vec<usize>,
    /// The open levels of the tag; empty outside of tags.
    open: Vec<Level>,
    /// Whether the next word is a statement's keyword, and whether the next `in` belongs to a `for`.
    is_statement: bool,
    is_for: bool,
}

impl Scanner {
    fn levels(&self) -> usize {
        self.open.last().map_or_else(|| self.blocks.iter().sum(), |level| level.around + level.element())
    }

    fn nested(&self) -> usize {
        self.blocks.len() + self.open.len()
    }

    fn take(&mut self, token: &Token<'_>, span: Span) {
        let [start, end] = [span.start_offset, span.end_offset].map(|offset| usize::try_from(offset).unwrap_or(0));
        if matches!(token, Token::Ident(_) | Token::Str(_) | Token::String(_)) {
            self.longest = self.longest.max(end.saturating_sub(start));
        }
        match token {
            Token::TemplateData(_) => {}
            Token::VariableStart | Token::BlockStart => {
                self.open = vec![Level { around: self.blocks.iter().sum(), ..Level::default() }];
                self.is_statement = matches!(token, Token::BlockStart);
                self.is_for = false;
            }
            Token::VariableEnd | Token::BlockEnd => {
                self.end_element();
                self.open.clear();
            }
            Token::Ident(word) if self.is_statement => self.statement(word),
            Token::Ident(word) if self.is_name(word) => self.value(start, end, false),
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => {
                self.open_bracket(matches!(token, Token::BracketOpen), start, end);
            }
            Token::ParenClose | Token::BracketClose | Token::BraceClose => self.close_bracket(end),
            Token::Comma | Token::Colon | Token::Assign => {
                if let Some(level) = self.open.last_mut() {
                    level.has_colon |= matches!(token, Token::Colon);
                }
                self.end_element();
            }
            Token::Ident("in") if self.is_for && self.open.len() == 1 => {
                self.is_for = false;
                self.end_element();
            }
            // Where a value must follow, they are names.
            Token::Ident("and" | "or" | "if" | "else") if self.is_at_value() => self.value(start, end, false),
            Token::Ident("in") if self.is_at_value() && !self.follows_not() => self.value(start, end, false),
            Token::Eq | Token::Ne | Token::Gt | Token::Gte | Token::Lt | Token::Lte => self.operator(COMPARES),
            Token::Ident("in") => self.operator(Use::Reads),
            Token::Tilde | Token::Plus => self.operator(Use::Joins),
            Token::Minus if self.operand().is_some_and(|operand| operand.test == Test::Named) => {
                self.part(start, end, true);
            }
            Token::Ident("not") if self.operand().is_some_and(|operand| operand.test == Test::Is) => {
                self.part(start, end, true);
            }
            Token::Ident("not") if !self.is_at_value() => {
                self.operator(Use::Light);
                if let Some(level) = self.open.last_mut() {
                    level.follows_not = true;
                }
            }
            Token::Minus
            | Token::Mul
            | Token::Div
            | Token::FloorDiv
            | Token::Pow
            | Token::Mod
            | Token::Ident("and" | "or" | "not" | "if" | "else") => self.operator(Use::Light),
            Token::Dot | Token::Pipe => {
                self.part(start, end, true);
                if let Some(level) = self.open.last_mut() {
                    level.operand.is_named_next = true;
                }
            }
            Token::Ident("is") if self.operand().is_some_and(|operand| operand.tokens > 0) => {
                self.part(start, end, true);
                self.set_test(Test::Is);
            }
            Token::Ident(_) | Token::Str(_) | Token::String(_) => {
                self.value(
                    start,
                    end,
                    !matches!(token, Token::Ident(word) if !["true", "false", "none"].contains(word)),
                );
            }
            Token::Int(_) | Token::Int128(_) | Token::Float(_) => self.value(start, end, true),
        }
    }

    fn statement(&mut self, word: &str) {
        self.is_statement = false;
        self.is_for = word == "for";
        match word {
            "else" => {}
            "elif" => {
                if let Some(block) = self.blocks.last_mut() {
                    *block += 1;
                }
            }
            _ if word.starts_with("end") => drop(self.blocks.pop()),
            _ => self.blocks.push(1),
        }
        let around = self.blocks.iter().sum();
        if let Some(level) = self.open.last_mut() {
            level.around = around;
        }
    }

    /// Returns whether a word that may be an operator is a name or the argument of a test here.
    fn is_name(&self, word: &str) -> bool {
        self.operand().is_some_and(|operand| match operand.test {
            _ if operand.is_named_next => true,
            Test::None => false,
            Test::Is => word != "not",
            Test::Named => !["and", "or", "else", "is"].contains(&word),
        })
    }

    fn operand(&self) -> Option<&Operand> {
        self.open.last().map(|level| &level.operand)
    }

    /// Returns whether an operand begins here.
    fn is_at_value(&self) -> bool {
        self.operand().is_some_and(|operand| operand.tokens == 0)
    }

    /// Returns whether the operator before is a `not` after an operand, as in `a not in b`.
    fn follows_not(&self) -> bool {
        self.open.last().is_some_and(|level| level.follows_not)
    }

    fn set_test(&mut self, test: Test) {
        if let Some(level) = self.open.last_mut() {
            level.operand.test = test;
        }
    }

    /// Handles a name or a literal.
    fn value(&mut self, start: usize, end: usize, is_literal: bool) {
        let Some(level) = self.open.last_mut() else { return };
        let is_first = level.operand.tokens == 0;
        level.operand.test = match level.operand.test {
            Test::Is => Test::Named,
            Test::Named if level.operand.is_named_next => Test::Named,
            Test::Named | Test::None => Test::None,
        };
        level.operand.is_named_next = false;
        level.operand.levels = level.operand.levels.max(1);
        self.part(start, end, false);
        if let Some(level) = self.open.last_mut() {
            level.operand.is_literal = is_literal && is_first;
            level.operand.is_plain = level.operand.is_literal && end - start <= PLAIN_BYTES;
        }
    }

    /// Handles a token of the operand. A token that becomes a node of the syntax tree is a level.
    fn part(&mut self, start: usize, end: usize, is_level: bool) {
        let Some(Level { operand, .. }) = self.open.last_mut() else { return };
        if operand.tokens == 0 {
            operand.start = start;
        }
        operand.tokens += 1;
        operand.end = end;
        (operand.is_literal, operand.is_plain) = (false, false);
        operand.levels += usize::from(is_level);
    }

    fn open_bracket(&mut self, is_square: bool, start: usize, end: usize) {
        let Some(level) = self.open.last_mut() else { return };
        let operand = &level.operand;
        let is_subscript = is_square && operand.tokens > 0 && operand.test == Test::None;
        let subscript_of = is_subscript.then_some((operand.start, operand.end));
        let around = level.around + level.element() + 1;
        self.part(start, end, false);
        self.open.push(Level { around, subscript_of, ..Level::default() });
    }

    fn close_bracket(&mut self, end: usize) {
        if self.open.len() < 2 {
            return;
        }
        let is_alone = self.open.last().is_some_and(|level| level.operators == 0);
        let key = self.operand().map_or((0, 0, true), |key| (key.tokens, key.end, key.is_literal));
        self.end_element();
        let Some(inner) = self.open.pop() else { return };
        self.part(end, end, false);
        if let Some(level) = self.open.last_mut() {
            level.operand.levels = level.operand.levels.max(inner.elements) + 1;
            level.operand.test = Test::None;
        }
        let Some((start, end)) = inner.subscript_of else { return };
        let (tokens, key_end, is_literal) = key;
        if inner.has_colon {
            self.inserts.extend([(start, Insert::Open), (end, Insert::CloseMetered)]);
        } else if is_alone && tokens > 0 && !is_literal {
            self.inserts.push((key_end, Insert::Metered));
        }
    }

    /// Ends the operand that comes before an operator.
    fn operator(&mut self, does: Use) {
        let is_sign = self.operand().is_some_and(|operand| operand.tokens == 0) && does == Use::Light;
        let before = self.end_operand(does);
        let Some(level) = self.open.last_mut() else { return };
        level.follows_not = false;
        level.operators += 1;
        level.joins += usize::from(does == Use::Joins);
        // A sign before the operand does not change which operator reads it.
        level.before = if is_sign { level.before } else { before };
        level.operand = Operand::default();
    }

    /// Charges for an operand if the operator before or `after` it reads it. Returns what the operator after it does.
    fn end_operand(&mut self, after: Use) -> Use {
        let Some(level) = self.open.last_mut() else { return after };
        level.deepest = level.deepest.max(level.operand.levels);
        let Operand { tokens, end, is_plain, .. } = level.operand;
        if let (Use::Compares { left_meter: Some(meter), .. }, true) = (level.before, is_plain) {
            level.meters.retain(|other| *other != meter);
            self.inserts[meter].1 = Insert::Nothing;
        }
        let is_looked_at = match level.before {
            Use::Light => false,
            Use::Compares { with_plain, .. } => !with_plain,
            Use::Reads | Use::Joins => true,
        };
        let is_metered = tokens > 0 && !is_plain && (is_looked_at || after != Use::Light);
        let meter = self.inserts.len();
        if is_metered {
            level.meters.push(meter);
            self.inserts.push((end, Insert::MeteredTimes(1)));
        }
        match after {
            Use::Compares { .. } => {
                let left_meter = (is_metered && !is_looked_at).then_some(meter);
                Use::Compares { with_plain: is_plain, left_meter }
            }
            Use::Light | Use::Reads | Use::Joins => after,
        }
    }

    fn end_element(&mut self) {
        self.end_operand(Use::Light);
        let Some(level) = self.open.last_mut() else { return };
        for meter in std::mem::take(&mut level.meters) {
            if let Some((_, insert)) = self.inserts.get_mut(meter) {
                *insert = Insert::MeteredTimes(level.joins.max(1));
            }
        }
        level.elements = level.elements.max(level.operators + level.deepest);
        (level.operators, level.joins, level.deepest, level.before) = (0, 0, 0, Use::Light);
        level.operand = Operand::default();
    }
}

#[cfg(test)]
mod tests;
