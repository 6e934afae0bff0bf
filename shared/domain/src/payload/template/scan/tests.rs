//! Compares what the scanner finds in the tokens with the syntax tree.

use minijinja::UndefinedBehavior;
use minijinja::machinery::ast::{CallArg, Expr, Stmt};
use minijinja::machinery::parse;
use minijinja::value::Value as Shown;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::payload::template::environment::{Budget, environment};
use crate::payload::template::policy;

/// Returns the depth of the syntax tree.
fn depth(statement: &Stmt<'_>) -> usize {
    let all = |statements: &[Stmt<'_>]| statements.iter().map(depth).max().unwrap_or(0);
    match statement {
        Stmt::Template(template) => all(&template.children),
        Stmt::EmitExpr(emit) => of(&emit.expr),
        Stmt::IfCond(condition) => {
            1 + of(&condition.expr).max(all(&condition.true_body)).max(all(&condition.false_body))
        }
        Stmt::ForLoop(each) => {
            let filter = each.filter_expr.as_ref().map_or(0, of);
            1 + of(&each.iter).max(filter).max(all(&each.body)).max(all(&each.else_body))
        }
        Stmt::EmitRaw(_)
        | Stmt::WithBlock(_)
        | Stmt::Set(_)
        | Stmt::SetBlock(_)
        | Stmt::AutoEscape(_)
        | Stmt::FilterBlock(_)
        | Stmt::Do(_) => 1,
    }
}

fn of(expr: &Expr<'_>) -> usize {
    let all = |parts: &mut dyn Iterator<Item = &Expr<'_>>| parts.map(of).max().unwrap_or(0);
    let arguments = |arguments: &[CallArg<'_>]| {
        let each = |argument: &CallArg<'_>| match argument {
            CallArg::Pos(expr) | CallArg::Kwarg(_, expr) | CallArg::PosSplat(expr) | CallArg::KwargSplat(expr) => {
                of(expr)
            }
        };
        arguments.iter().map(each).max().unwrap_or(0)
    };
    1 + match expr {
        Expr::Var(_) | Expr::Const(_) => 0,
        Expr::Slice(slice) => {
            let ends = [&slice.start, &slice.stop, &slice.step];
            of(&slice.expr).max(all(&mut ends.into_iter().flatten()))
        }
        Expr::UnaryOp(op) => of(&op.expr),
        Expr::BinOp(op) => of(&op.left).max(of(&op.right)),
        Expr::Compare(compare) => of(&compare.expr).max(all(&mut compare.ops.iter().map(|op| &op.expr))),
        Expr::IfExpr(choice) => {
            let otherwise = choice.false_expr.as_ref().map_or(0, of);
            of(&choice.test_expr).max(of(&choice.true_expr)).max(otherwise)
        }
        Expr::Filter(filter) => filter.expr.as_ref().map_or(0, of).max(arguments(&filter.args)),
        Expr::Test(test) => of(&test.expr).max(arguments(&test.args)),
        Expr::GetAttr(get) => of(&get.expr),
        Expr::GetItem(get) => of(&get.expr).max(of(&get.subscript_expr)),
        Expr::Call(call) => of(&call.expr).max(arguments(&call.args)),
        Expr::List(list) => all(&mut list.items.iter()),
        Expr::Tuple(tuple) => all(&mut tuple.items.iter()),
        Expr::Map(map) => all(&mut map.keys.iter().chain(&map.values)),
    }
}

/// Renders a template without limits. Of an error it returns only the kind.
fn rendered(source: &str) -> Result<String, String> {
    let mut environment = environment(&Budget::new(usize::MAX));
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_fuel(Some(20_000));
    let list = |entries: &[&str]| Shown::from(entries.iter().map(|entry| Shown::from(*entry)).collect::<Vec<_>>());
    let context = Shown::from_pairs([
        ("a", Shown::from("text")),
        ("b", Shown::from(3)),
        ("c", list(&["x", "y"])),
        ("d", Shown::from_pairs([("x", Shown::from("in d")), ("not", list(&["z"]))])),
    ]);
    environment.render_str(source, context).map_err(|error| error.kind().to_string())
}

#[rstest]
#[case::plain("{{ value.status }}", "{{ value.status }}")]
#[case::compared("{{ a.b == c.d }}", "{{ a.b|meter(1) == c.d|meter(1) }}")]
#[case::with_a_literal("{{ a.b == 'x' and -1 < c }}", "{{ a.b == 'x' and -1 < c }}")]
#[case::joined("{{ a ~ 'x' ~ b|upper }}", "{{ a|meter(2) ~ 'x' ~ b|upper|meter(2) }}")]
#[case::grouped("{{ (a ~ b) ~ c }}", "{{ (a|meter(1) ~ b|meter(1))|meter(1) ~ c|meter(1) }}")]
#[case::looked_for("{{ 'x' in a.b and c not in d }}", "{{ 'x' in a.b|meter(1) and c not in d|meter(1) }}")]
#[case::cut("{{ a.b[1:][:c] }}", "{{ ((a.b|meter_outside)[1:]|meter_outside)[:c] }}")]
#[case::key("{{ a['x'][b.c][0] }}", "{{ a['x'][b.c|meter_outside][0] }}")]
#[case::of_a_loop(
    "{% for x in a.b[1:] if x in c %}{% endfor %}",
    "{% for x in (a.b|meter_outside)[1:] if x|meter(1) in c|meter(1) %}{% endfor %}"
)]
#[case::tested("{{ a is defined and b.c is not none }}", "{{ a is defined and b.c is not none }}")]
#[case::outside_of_tags("a ~ b == c", "a ~ b == c")]
#[case::not_in("{{ b not in c and in }}", "{{ b not in c|meter(1) and in }}")]
#[case::words_where_values_must_be(
    "{{ and.x[:b] or if ~ else }}",
    "{{ (and.x|meter_outside)[:b] or if|meter(1) ~ else|meter(1) }}"
)]
fn charges_for(#[case] source: &str, #[case] metered: &str) {
    assert_eq!(scan(source).unwrap().metered(source), metered);
}

/// Tokens from which templates are generated.
fn token() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "d", "d.x", "d.not", "'x'", "2", "true", "[1]", "a[1:]", "d[a]"]),
        3 => prop::sample::select(vec!["-", "not", "==", "<", "~", "+", "*", "and", "or", "in", "not in", "if", "else"]),
        2 => prop::sample::select(vec!["|upper", "|default(a)", "|join(a)", "is", "is not", "defined", "string", ".x", ".not", ".if"]),
        2 => prop::sample::select(vec!["(", ")", "[", "]", "{", "}", ",", ":", "[0]", "[:b]", "['x']"]),
        1 => prop::sample::select(vec!["}}{{", "%}{{", "}}{% if", "}}{% elif", "}}{% for x in", "}}{% endif %}{{", "}}{% endfor %}{{", "}}{% else %}{{"]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The syntax tree is no deeper than the scan of the tokens says, even if parsing fails halfway.
    #[test]
    fn no_tree_is_deeper_than_its_tokens_say(tokens in prop::collection::vec(token(), 0..120)) {
        let source = format!("{{{{{}}}}}", tokens.join(" "));
        if let (Ok(_), Ok(tree)) = (scan(&source), parse(&source, "template", SyntaxConfig::default())) {
            prop_assert!(depth(&tree) <= MAX_LEVELS + 1, "{}", depth(&tree));
        }
    }

    /// The filters that charge for operands change nothing else. A template that fails may fail for another reason: words
    /// such as `and` are also names of values that do not exist, and a filter is the first to notice.
    #[test]
    fn a_metered_template_has_the_same_output(tokens in prop::collection::vec(token(), 1..12)) {
        let source = format!("{{{{{}}}}}", tokens.join(" "));
        if let Ok(scan) = policy::check(&source) {
            let metered = scan.metered(&source);
            prop_assert_eq!(rendered(&metered).ok(), rendered(&source).ok(), "{}", metered);
        }
    }
}
