//! The literal part of a Python file: names that are set to numbers, texts, lists and calls with such arguments. Parsed, never run.

mod names;
mod tokens;

use super::findings::printable;
use names::{Known, forget, learn, several};
pub(super) use tokens::{Token, TokenKind};

/// Lists in lists; the parser calls itself for each level.
const DEPTH_MAX: usize = 32;

/// Statements that have others inside, or are no settings.
const KEYWORDS: [&str; 24] = [
    "if", "elif", "else", "for", "while", "def", "class", "try", "except", "finally", "with",
    "async", "return", "raise", "assert", "del", "global", "nonlocal", "pass", "break", "continue",
    "lambda", "yield", "match",
];

/// A statement at the left edge of the file.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) line: usize,
    pub(super) kind: StatementKind,
}

/// What a statement is.
#[derive(Debug)]
pub(super) enum StatementKind {
    /// A name is set.
    Assignment { name: String, value: Expression },
    /// Anything else that does something: how it begins, and the names in it.
    Other { beginning: String, name: String },
}

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    pub(super) line: usize,
    pub(super) kind: ExpressionKind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum ExpressionKind {
    /// As it is written, without underscores and with its sign.
    Number(String),
    Text(String),
    /// True, False and None.
    Word(String),
    List(Vec<Expression>),
    Call {
        name: String,
        arguments: Vec<Argument>,
    },
    /// Something that has to be run to be known, as it begins.
    Unknown(String),
}

/// An argument of a call.
#[derive(Clone, Debug)]
pub(super) struct Argument {
    pub(super) name: Option<String>,
    pub(super) value: Expression,
}

impl Expression {
    /// What messages say was found.
    pub(super) fn found(&self) -> String {
        match &self.kind {
            ExpressionKind::Number(number) => printable(number),
            ExpressionKind::Text(text) => format!("\"{}\"", printable(text)),
            ExpressionKind::Word(word) => word.clone(),
            ExpressionKind::List(_) => "a list".to_owned(),
            ExpressionKind::Call { name, .. } => format!("{}(...)", printable(name)),
            ExpressionKind::Unknown(text) => {
                format!("{}, which would have to be run", printable(text))
            }
        }
    }
}

/// Reads a file; the second value says by line what cannot be read at all.
pub(super) fn parse(text: &str) -> (Vec<Statement>, Vec<(usize, String)>) {
    let (lines, errors) = tokens::logical_lines(text);
    let mut statements = Vec::new();
    let mut known = Known::new();
    // The block whose lines are left out.
    let mut in_block = false;
    for line in lines {
        if line.indent > 0 {
            forget(&mut known, &line.tokens);
            if !in_block && let Some(first) = line.tokens.first() {
                statements.push(other(first.line, &line.tokens));
            }
            in_block = true;
            continue;
        }
        let ends_open = matches!(line.tokens.last(), Some(last) if last.is_op(":"));
        in_block = ends_open;
        match several(&line.tokens, &known) {
            Some(each) => statements.extend(each),
            None => statements.extend(statement(&line.tokens, &known)),
        }
        learn(&mut known, &statements, &line.tokens);
    }
    (statements, errors)
}

/// A statement; none for those that do nothing: imports, texts, annotations.
fn statement(tokens: &[Token], known: &Known) -> Option<Statement> {
    let first = tokens.first()?;
    let name = match &first.kind {
        TokenKind::Name(name) => name,
        TokenKind::Text(_) if tokens.iter().all(|t| matches!(t.kind, TokenKind::Text(_))) => {
            return None;
        }
        _ => return Some(other(first.line, tokens)),
    };
    if matches!(name.as_str(), "import" | "from") {
        return None;
    }
    if KEYWORDS.contains(&name.as_str()) {
        return Some(other(first.line, tokens));
    }
    let rest = &tokens[1..];
    let is_annotated = rest.first().is_some_and(|token| token.is_op(":"));
    let equals = match rest.first() {
        Some(token) if token.is_op("=") => Some(0),
        _ if is_annotated => {
            let mut depth = 0_usize;
            rest.iter().position(|token| {
                if token.opens() {
                    depth += 1;
                } else if token.closes() {
                    depth = depth.saturating_sub(1);
                }
                depth == 0 && token.is_op("=")
            })
        }
        _ => return Some(other(first.line, tokens)),
    };
    let value = &rest[equals? + 1..];
    let mut parser = Parser {
        tokens: value,
        at: 0,
        known,
    };
    let line = value.first().map_or(first.line, |token| token.line);
    let mut value = parser.expression(0, line);
    if parser.at < parser.tokens.len() {
        value.kind = ExpressionKind::Unknown(beginning(&rest[equals? + 1..]));
    }
    Some(Statement {
        line: first.line,
        kind: StatementKind::Assignment {
            name: name.clone(),
            value,
        },
    })
}

fn other(line: usize, tokens: &[Token]) -> Statement {
    let name = match tokens.first().map(|token| &token.kind) {
        Some(TokenKind::Name(name)) => name.clone(),
        _ => String::new(),
    };
    let beginning = beginning(tokens);
    Statement {
        line,
        kind: StatementKind::Other { beginning, name },
    }
}

/// How something begins, for messages.
fn beginning(tokens: &[Token]) -> String {
    let mut text = String::new();
    for token in tokens.iter().take(8) {
        let is_word = !matches!(token.kind, TokenKind::Op(_));
        if is_word && text.ends_with(|c: char| c.is_alphanumeric() || c == '"') {
            text.push(' ');
        }
        text.push_str(&token.written());
    }
    printable(&text)
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    known: &'a Known,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn skip(&mut self, op: &str) -> bool {
        let found = self.peek().is_some_and(|token| token.is_op(op));
        self.at += usize::from(found);
        found
    }

    fn line(&self, before: usize) -> usize {
        self.peek().map_or(before, |token| token.line)
    }

    /// A value up to a comma or what closes the brackets around it.
    fn expression(&mut self, depth: usize, before: usize) -> Expression {
        let line = self.line(before);
        let start = self.at;
        let kind = if depth > DEPTH_MAX {
            None
        } else {
            self.literal(depth, line)
        };
        let is_whole = self
            .peek()
            .is_none_or(|token| token.closes() || token.is_op(","));
        match kind.filter(|_| is_whole) {
            Some(kind) => Expression { line, kind },
            None => {
                self.at = start;
                self.skip_value();
                let kind = ExpressionKind::Unknown(beginning(&self.tokens[start..self.at]));
                Expression { line, kind }
            }
        }
    }

    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            if depth == 0 && (token.closes() || token.is_op(",")) {
                return;
            }
            if token.opens() {
                depth += 1;
            } else if token.closes() {
                depth -= 1;
            }
            self.at += 1;
        }
    }

    fn literal(&mut self, depth: usize, line: usize) -> Option<ExpressionKind> {
        let sign = if self.skip("-") {
            "-"
        } else {
            self.skip("+");
            ""
        };
        let token = self.peek()?;
        let kind = token.kind.clone();
        self.at += 1;
        match kind {
            TokenKind::Number(number) => Some(ExpressionKind::Number(format!("{sign}{number}"))),
            _ if !sign.is_empty() => None,
            TokenKind::Text(mut text) => {
                while let Some(TokenKind::Text(more)) = self.peek().map(|token| token.kind.clone())
                {
                    text.push_str(&more);
                    self.at += 1;
                }
                Some(ExpressionKind::Text(text))
            }
            TokenKind::Op(op) if op == "[" => {
                self.items("]", depth, line).map(ExpressionKind::List)
            }
            TokenKind::Op(op) if op == "(" => {
                let mut items = self.items(")", depth, line)?;
                // A comma makes a tuple, parentheses alone do not.
                let comma = self.tokens[..self.at - 1]
                    .last()
                    .is_some_and(|t| t.is_op(","));
                match items.len() {
                    1 if !comma => items.pop().map(|one| one.kind),
                    _ => Some(ExpressionKind::List(items)),
                }
            }
            TokenKind::Name(word) if matches!(word.as_str(), "True" | "False" | "None") => {
                Some(ExpressionKind::Word(word))
            }
            TokenKind::Name(name)
                if self.known.contains_key(&name)
                    && !self
                        .peek()
                        .is_some_and(|next| next.is_op(".") || next.is_op("(")) =>
            {
                self.known.get(&name).cloned()
            }
            TokenKind::Name(name) => self.call(name, depth, line),
            TokenKind::Op(_) | TokenKind::Opaque(_) => None,
        }
    }

    fn items(&mut self, end: &str, depth: usize, line: usize) -> Option<Vec<Expression>> {
        let mut items = Vec::new();
        loop {
            if self.skip(end) {
                return Some(items);
            }
            self.peek()?;
            items.push(self.expression(depth + 1, line));
            if !self.skip(",") && !self.peek()?.is_op(end) {
                return None;
            }
        }
    }

    /// A call of a name, which may have others before it, as modules have.
    fn call(&mut self, mut name: String, depth: usize, line: usize) -> Option<ExpressionKind> {
        while self.skip(".") {
            let TokenKind::Name(last) = &self.peek()?.kind else {
                return None;
            };
            name = last.clone();
            self.at += 1;
        }
        if !self.skip("(") {
            return None;
        }
        let mut arguments = Vec::new();
        loop {
            if self.skip(")") {
                return Some(ExpressionKind::Call { name, arguments });
            }
            let keyword = match (&self.peek()?.kind, self.tokens.get(self.at + 1)) {
                (TokenKind::Name(name), Some(next)) if next.is_op("=") => Some(name.clone()),
                _ => None,
            };
            if keyword.is_some() {
                self.at += 2;
            }
            let value = self.expression(depth + 1, line);
            arguments.push(Argument {
                name: keyword,
                value,
            });
            if !self.skip(",") && !self.peek()?.is_op(")") {
                return None;
            }
        }
    }
}
