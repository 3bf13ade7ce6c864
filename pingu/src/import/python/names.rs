//! Names that stand for plain values, and several that are set at once.

use std::collections::BTreeMap;

use super::{Expression, ExpressionKind, Parser, Statement, StatementKind, Token, TokenKind};

/// A text that a name stands for is no longer: each use of the name is a copy.
const NAMED_TEXT_BYTES_MAX: usize = 256;

/// The names that lines above have set to a number, a text or a word.
pub(super) type Known = BTreeMap<String, ExpressionKind>;

/// Takes what a line has set for later ones.
pub(super) fn learn(known: &mut Known, statements: &[Statement], tokens: &[Token]) {
    let Some(first) = tokens.first() else {
        return;
    };
    for statement in statements.iter().rev() {
        match &statement.kind {
            _ if statement.line < first.line => return,
            StatementKind::Assignment { name, value } if is_short(value) => {
                known.insert(name.clone(), value.kind.clone());
            }
            StatementKind::Assignment { name, .. } => {
                known.remove(name);
            }
            StatementKind::Other { .. } => return forget(known, tokens),
        }
    }
}

/// Forgets the names in a line that may set some of them.
pub(super) fn forget(known: &mut Known, tokens: &[Token]) {
    let sets = |token: &Token| matches!(&token.kind, TokenKind::Op(op) if op.ends_with('='));
    if !tokens.iter().any(sets) {
        return;
    }
    for token in tokens {
        if let TokenKind::Name(name) = &token.kind {
            known.remove(name);
        }
    }
}

/// `A, B = 1, 2`; none if it is anything else.
pub(super) fn several(tokens: &[Token], known: &Known) -> Option<Vec<Statement>> {
    let equals = tokens.iter().position(|token| token.is_op("="))?;
    let (targets, values) = (&tokens[..equals], &tokens[equals + 1..]);
    let is_bracket = |token: &&Token| token.is_op("(") || token.is_op(")");
    let targets: Vec<&Token> = targets.iter().filter(|token| !is_bracket(token)).collect();
    let mut names = Vec::new();
    for (place, token) in targets.iter().enumerate() {
        match &token.kind {
            TokenKind::Name(name) if place % 2 == 0 => names.push((name.clone(), token.line)),
            _ if place % 2 == 1 && token.is_op(",") => {}
            _ => return None,
        }
    }
    if targets.len() < 2 {
        return None;
    }
    let line = tokens.first()?.line;
    let mut parser = Parser {
        tokens: values,
        at: 0,
        known,
    };
    let mut items = Vec::new();
    while parser.peek().is_some() {
        items.push(parser.expression(0, line));
        if !parser.skip(",") && parser.peek().is_some() {
            return None;
        }
    }
    if let [only] = &mut items[..]
        && let ExpressionKind::List(inside) = &mut only.kind
    {
        items = std::mem::take(inside);
    }
    if items.len() != names.len() {
        return None;
    }
    let assignment = |((name, line), value)| Statement {
        line,
        kind: StatementKind::Assignment { name, value },
    };
    Some(names.into_iter().zip(items).map(assignment).collect())
}

/// Whether a name may stand for it.
fn is_short(value: &Expression) -> bool {
    match &value.kind {
        ExpressionKind::Number(text) | ExpressionKind::Text(text) | ExpressionKind::Word(text) => {
            text.len() <= NAMED_TEXT_BYTES_MAX
        }
        ExpressionKind::List(_) | ExpressionKind::Call { .. } | ExpressionKind::Unknown(_) => false,
    }
}
