//! What a template may contain.
//!
//! The engine counts steps but not memory: doubling a text thirty times takes thirty steps and a billion bytes, in a
//! process that also handles other tenants' events. Values may therefore be named, looked into and printed, but a
//! computed value may not be stored under a name, and the size of what one expression computes is bounded. So the cost
//! of a step is bounded by the size of the input, and the limit of steps follows from that.

use minijinja::machinery::ast::{BinOpKind, CallArg, Expr, Slice, Spanned, Stmt};
use minijinja::machinery::parse;
use minijinja::syntax::SyntaxConfig;

use super::fault::{self, told};
use super::scan::{Scan, scan};
use crate::payload::RenderError;

/// The available filters.
pub(in crate::payload) const FILTERS: [&str; 15] = [
    "abs", "default", "first", "float", "int", "items", "join", "last", "length", "lower", "round", "tojson", "trim",
    "truncate", "upper",
];

/// The available tests.
pub(in crate::payload) const TESTS: [&str; 8] =
    ["boolean", "defined", "mapping", "none", "number", "sequence", "string", "undefined"];

/// How often one expression may join texts, add or slice. Each of these copies its input.
const MAX_JOINS: usize = 32;

/// Finds the first thing that is not allowed. The depth is checked first, because everything after it recurses.
pub(super) fn check(source: &str) -> Result<Scan, RenderError> {
    let scan = scan(source)?;
    let template = parse(source, "template", SyntaxConfig::default()).map_err(|error| told(&error, None))?;
    statement(&template)?;
    Ok(scan)
}

fn refused(line: u16, reason: &str) -> RenderError {
    fault::refused(usize::from(line), reason)
}

fn all(statements: &[Stmt<'_>]) -> Result<(), RenderError> {
    statements.iter().try_for_each(statement)
}

fn statement(statement: &Stmt<'_>) -> Result<(), RenderError> {
    let span = match statement {
        Stmt::Template(template) => return all(&template.children),
        Stmt::EmitRaw(_) => return Ok(()),
        Stmt::EmitExpr(emit) => return whole(&emit.expr),
        Stmt::IfCond(condition) => {
            whole(&condition.expr)?;
            all(&condition.true_body)?;
            return all(&condition.false_body);
        }
        Stmt::ForLoop(each) if each.recursive => {
            return Err(refused(each.span().start_line, "loops must not be recursive"));
        }
        Stmt::ForLoop(each) => {
            named(&each.iter)?;
            each.filter_expr.as_ref().map_or(Ok(()), whole)?;
            all(&each.body)?;
            return all(&each.else_body);
        }
        Stmt::WithBlock(block) => block.span(),
        Stmt::Set(set) => set.span(),
        Stmt::SetBlock(block) => block.span(),
        Stmt::AutoEscape(block) => block.span(),
        Stmt::FilterBlock(block) => block.span(),
        Stmt::Do(call) => call.span(),
    };
    Err(refused(span.start_line, "must contain only `for`, `if` and printed expressions"))
}

/// Checks what a loop iterates over: it must be an existing value, not a computed one.
fn named(expr: &Expr<'_>) -> Result<(), RenderError> {
    match expr {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::GetAttr(get) => named(&get.expr),
        Expr::GetItem(get) => named(&get.expr).and_then(|()| named(&get.subscript_expr)),
        Expr::Slice(slice) => {
            stepless(slice)?;
            named(&slice.expr)?;
            [&slice.start, &slice.stop].into_iter().flatten().try_for_each(named)
        }
        Expr::List(list) if list.items.is_empty() => Ok(()),
        Expr::Filter(filter) if ["default", "items", "first", "last"].contains(&filter.name) => {
            filter.expr.iter().chain(arguments(&filter.args)).try_for_each(named)
        }
        Expr::Filter(_)
        | Expr::List(_)
        | Expr::UnaryOp(_)
        | Expr::BinOp(_)
        | Expr::Compare(_)
        | Expr::IfExpr(_)
        | Expr::Test(_)
        | Expr::Call(_)
        | Expr::Tuple(_)
        | Expr::Map(_) => {
            let reason = "loops must iterate over a field, optionally with default, items, first or last";
            Err(refused(expr.span().start_line, reason))
        }
    }
}

/// Slices with a step are forbidden, because the engine miscounts the size of a backward slice that starts before its
/// end.
fn stepless(slice: &Spanned<Slice<'_>>) -> Result<(), RenderError> {
    match &slice.step {
        Some(step) => Err(refused(step.span().start_line, "slices must not have a step")),
        None => Ok(()),
    }
}

fn whole(expr: &Expr<'_>) -> Result<(), RenderError> {
    let mut joins = 0;
    checked(expr, false, &mut joins)?;
    if joins > MAX_JOINS {
        return Err(refused(
            expr.span().start_line,
            &format!("an expression must have at most {MAX_JOINS} of ~, + and [:]"),
        ));
    }
    Ok(())
}

/// Checks an expression. `joined` says whether it is an operand of `~` or `+`: a list there would become text, and its
/// quotes would be escaped again and again.
fn checked(expr: &Expr<'_>, joined: bool, joins: &mut usize) -> Result<(), RenderError> {
    let mut each = |parts: &[&Expr<'_>], joined: bool| parts.iter().try_for_each(|part| checked(part, joined, joins));
    match expr {
        Expr::Var(_) | Expr::Const(_) => Ok(()),
        Expr::Slice(slice) => {
            stepless(slice)?;
            each(&[&slice.expr], joined)?;
            [&slice.start, &slice.stop].into_iter().flatten().try_for_each(|part| each(&[part], joined))?;
            *joins += 1;
            Ok(())
        }
        Expr::UnaryOp(op) => each(&[&op.expr], joined),
        Expr::BinOp(op) => {
            match op.op {
                BinOpKind::Concat | BinOpKind::Add => {
                    each(&[&op.left, &op.right], true)?;
                    *joins += 1;
                    return Ok(());
                }
                BinOpKind::Mul | BinOpKind::Pow if !(is_number(&op.left) && is_number(&op.right)) => {
                    let reason = "the operands of * and ** must be numbers: literals, or results of int, float, round, abs or length";
                    return Err(refused(expr.span().start_line, reason));
                }
                BinOpKind::Mul
                | BinOpKind::Pow
                | BinOpKind::Eq
                | BinOpKind::Ne
                | BinOpKind::Lt
                | BinOpKind::Lte
                | BinOpKind::Gt
                | BinOpKind::Gte
                | BinOpKind::ScAnd
                | BinOpKind::ScOr
                | BinOpKind::Sub
                | BinOpKind::Div
                | BinOpKind::FloorDiv
                | BinOpKind::Rem
                | BinOpKind::In => {}
            }
            each(&[&op.left, &op.right], joined)
        }
        Expr::Compare(compare) => {
            each(&[&compare.expr], joined)?;
            compare.ops.iter().try_for_each(|op| each(&[&op.expr], joined))
        }
        Expr::IfExpr(choice) => {
            each(&[&choice.test_expr, &choice.true_expr], joined)?;
            choice.false_expr.as_ref().map_or(Ok(()), |part| each(&[part], joined))
        }
        // Checked before there is an event, even in branches that are never taken.
        Expr::Filter(filter) if !FILTERS.contains(&filter.name) => {
            Err(refused(expr.span().start_line, &format!("unknown filter {}", filter.name)))
        }
        Expr::Test(test) if !TESTS.contains(&test.name) => {
            Err(refused(expr.span().start_line, &format!("unknown test {}", test.name)))
        }
        Expr::Filter(filter) => filter
            .expr
            .iter()
            .chain(arguments(&filter.args))
            .try_for_each(|part| each(&[part], joined && filter.name != "join")),
        Expr::Test(test) => {
            each(&[&test.expr], joined)?;
            arguments(&test.args).try_for_each(|part| each(&[part], joined))
        }
        Expr::GetAttr(get) => each(&[&get.expr], joined),
        Expr::GetItem(get) => each(&[&get.expr, &get.subscript_expr], joined),
        Expr::Call(_) => Err(refused(expr.span().start_line, "calls are not allowed")),
        Expr::List(_) | Expr::Tuple(_) | Expr::Map(_) if joined => {
            Err(refused(expr.span().start_line, "the operands of ~ and + must not be list or map literals"))
        }
        Expr::List(list) => list.items.iter().try_for_each(|part| each(&[part], joined)),
        Expr::Tuple(tuple) => tuple.items.iter().try_for_each(|part| each(&[part], joined)),
        Expr::Map(map) => map.keys.iter().chain(&map.values).try_for_each(|part| each(&[part], joined)),
    }
}

fn is_number(expr: &Expr<'_>) -> bool {
    match expr {
        Expr::Const(constant) => constant.value.is_number(),
        // The default must be a number too, because the default of `int` can be a text.
        Expr::Filter(filter) => {
            ["int", "float", "round", "abs", "length"].contains(&filter.name) && arguments(&filter.args).all(is_number)
        }
        Expr::UnaryOp(op) => is_number(&op.expr),
        Expr::BinOp(op) => !matches!(op.op, BinOpKind::Concat) && is_number(&op.left) && is_number(&op.right),
        Expr::Var(_)
        | Expr::Slice(_)
        | Expr::Compare(_)
        | Expr::IfExpr(_)
        | Expr::Test(_)
        | Expr::GetAttr(_)
        | Expr::GetItem(_)
        | Expr::Call(_)
        | Expr::List(_)
        | Expr::Tuple(_)
        | Expr::Map(_) => false,
    }
}

fn arguments<'a, 'b>(arguments: &'b [CallArg<'a>]) -> impl Iterator<Item = &'b Expr<'a>> {
    arguments.iter().map(|argument| match argument {
        CallArg::Pos(expr) | CallArg::Kwarg(_, expr) | CallArg::PosSplat(expr) | CallArg::KwargSplat(expr) => expr,
    })
}
