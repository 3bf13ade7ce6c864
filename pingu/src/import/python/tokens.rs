//! Python's tokens, by logical line: what is inside brackets is one line.

/// A file has a hundredth of this.
const TOKENS_MAX: usize = 200_000;

/// A token and its line.
#[derive(Clone, Debug)]
pub(in crate::import) struct Token {
    pub(in crate::import) line: usize,
    pub(in crate::import) kind: TokenKind,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::import) enum TokenKind {
    Name(String),
    /// Without underscores.
    Number(String),
    /// Without its quotes.
    Text(String),
    /// A text that is made when it is run, or no text: `f"..."`, `b"..."`.
    Opaque(String),
    Op(String),
}

impl Token {
    pub(super) fn is_op(&self, op: &str) -> bool {
        matches!(&self.kind, TokenKind::Op(own) if own == op)
    }

    pub(super) fn opens(&self) -> bool {
        ["(", "[", "{"].iter().any(|op| self.is_op(op))
    }

    pub(super) fn closes(&self) -> bool {
        [")", "]", "}"].iter().any(|op| self.is_op(op))
    }

    /// As it may stand in a message.
    pub(super) fn written(&self) -> String {
        match &self.kind {
            TokenKind::Text(text) => format!("\"{text}\""),
            TokenKind::Name(text)
            | TokenKind::Number(text)
            | TokenKind::Opaque(text)
            | TokenKind::Op(text) => text.clone(),
        }
    }
}

/// Tokens that make a statement, or several with `;` between them, which are lines of their own here.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Blanks at the beginning.
    pub(super) indent: usize,
    pub(super) tokens: Vec<Token>,
}

/// Operators of more than one character, of which `=` is part, so that it is not taken for an assignment.
const LONG_OPS: [&str; 24] = [
    "**=", "//=", ">>=", "<<=", "...", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "&=",
    "|=", "^=", "@=", ":=", "->", "**", "//", "<<", ">>",
];

/// Splits a file; the second value says by line what cannot be read.
pub(super) fn logical_lines(text: &str) -> (Vec<Line>, Vec<(usize, String)>) {
    let mut lexer = Lexer {
        rest: text,
        line: 1,
        count: 0,
        lines: Vec::new(),
        current: Line::default(),
        open: Vec::new(),
        errors: Vec::new(),
    };
    lexer.read();
    (lexer.lines, lexer.errors)
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
    count: usize,
    lines: Vec<Line>,
    current: Line,
    /// Brackets that are open, and their lines.
    open: Vec<(char, usize)>,
    errors: Vec<(usize, String)>,
}

impl Lexer<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn stop(&mut self, line: usize, message: String) {
        self.errors.push((line, message));
        self.rest = "";
        self.open.clear();
    }

    fn read(&mut self) {
        self.indent();
        while let Some(c) = self.peek() {
            match c {
                '\n' => {
                    self.next();
                    if self.open.is_empty() {
                        self.end();
                        self.indent();
                    }
                }
                ';' if self.open.is_empty() => {
                    self.next();
                    let indent = self.current.indent;
                    self.end();
                    self.current.indent = indent;
                }
                c if c.is_whitespace() => {
                    self.next();
                }
                '#' => self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..],
                '\\' => {
                    self.next();
                    if !matches!(self.peek(), Some('\n' | '\r')) {
                        let message = "a backslash that does not end its line".to_owned();
                        self.stop(self.line, message);
                    } else if self.peek() == Some('\r') {
                        self.next();
                        self.next();
                    } else {
                        self.next();
                    }
                }
                _ => self.token(c),
            }
            if self.count > TOKENS_MAX {
                let message = format!("more than {TOKENS_MAX} words and signs, which is the most");
                self.stop(self.line, message);
            }
        }
        if let Some((bracket, line)) = self.open.pop() {
            self.errors
                .push((line, format!("`{bracket}` is never closed")));
        }
        self.end();
    }

    fn indent(&mut self) {
        self.current.indent = 0;
        while matches!(self.peek(), Some(' ' | '\t' | '\u{c}')) {
            self.next();
            self.current.indent += 1;
        }
    }

    fn end(&mut self) {
        let line = std::mem::take(&mut self.current);
        if !line.tokens.is_empty() {
            self.lines.push(line);
        }
    }

    fn push(&mut self, line: usize, kind: TokenKind) {
        self.count += 1;
        self.current.tokens.push(Token { line, kind });
    }

    fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken.to_owned()
    }

    fn token(&mut self, c: char) {
        let line = self.line;
        let mut ahead = self.rest.chars().skip(1);
        let is_decimal = c == '.' && ahead.next().is_some_and(|c| c.is_ascii_digit());
        if c == '"' || c == '\'' {
            self.string("");
        } else if c.is_ascii_digit() || is_decimal {
            self.number();
        } else if c.is_alphabetic() || c == '_' {
            let name = self.take_while(|c| c.is_alphanumeric() || c == '_');
            let is_prefix = name.len() <= 2
                && name.bytes().all(|b| b"rRbBfFuUtT".contains(&b))
                && matches!(self.peek(), Some('"' | '\''));
            if is_prefix {
                self.string(&name);
            } else {
                self.push(line, TokenKind::Name(name));
            }
        } else {
            self.operator(c, line);
        }
    }

    fn operator(&mut self, c: char, line: usize) {
        if let Some(op) = LONG_OPS.iter().find(|op| self.rest.starts_with(**op)) {
            self.rest = &self.rest[op.len()..];
            return self.push(line, TokenKind::Op((*op).to_owned()));
        }
        self.next();
        match c {
            '(' | '[' | '{' => self.open.push((c, line)),
            ')' | ']' | '}' => {
                let fits = |open: char| matches!((open, c), ('(', ')') | ('[', ']') | ('{', '}'));
                match self.open.pop() {
                    Some((open, _)) if fits(open) => {}
                    Some((open, opened)) => {
                        let message = format!("`{c}` does not close the `{open}` of line {opened}");
                        return self.stop(line, message);
                    }
                    None => return self.stop(line, format!("`{c}` closes nothing")),
                }
            }
            c if c.is_ascii_punctuation() => {}
            c => {
                let message = format!(
                    "{} is no Python",
                    super::super::findings::quote(&c.to_string())
                );
                return self.stop(line, message);
            }
        }
        self.push(line, TokenKind::Op(c.to_string()));
    }

    /// As Python writes them; those that are not decimal become so.
    fn number(&mut self) {
        let line = self.line;
        let mut written = self.take_while(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
        // The sign of an exponent.
        if written.ends_with(['e', 'E'])
            && !written.starts_with("0x")
            && self.rest.starts_with(['-', '+'])
        {
            written.extend(self.next());
            written.push_str(&self.take_while(|c| c.is_ascii_digit() || c == '_'));
        }
        let plain = written.replace('_', "");
        let lower = plain.to_ascii_lowercase();
        let radix = [("0x", 16), ("0o", 8), ("0b", 2)]
            .into_iter()
            .find_map(|(prefix, radix)| Some((lower.strip_prefix(prefix)?, radix)));
        let number = match radix {
            Some((digits, radix)) => u64::from_str_radix(digits, radix)
                .ok()
                .map(|number| number.to_string()),
            None => plain.parse::<f64>().ok().map(|_| plain),
        };
        match number {
            Some(number) => self.push(line, TokenKind::Number(number)),
            None => self.push(line, TokenKind::Opaque(written)),
        }
    }

    fn string(&mut self, prefix: &str) {
        let line = self.line;
        let quote = if self.peek() == Some('"') { '"' } else { '\'' };
        let triple = quote.to_string().repeat(3);
        let is_long = self.rest.starts_with(&triple);
        let is_raw = prefix.contains(['r', 'R']);
        self.rest = &self.rest[if is_long { 3 } else { 1 }..];
        let mut text = String::new();
        loop {
            if is_long && self.rest.starts_with(&triple) {
                self.rest = &self.rest[3..];
                break;
            }
            match self.next() {
                Some(c) if c == quote && !is_long => break,
                Some('\\') if is_raw => {
                    text.push('\\');
                    text.extend(self.next());
                }
                Some('\\') => self.escape(&mut text),
                None => return self.stop(line, "this string is never closed".to_owned()),
                Some('\n') if !is_long => {
                    return self.stop(line, "this string is not closed on its line".to_owned());
                }
                Some(c) => text.push(c),
            }
        }
        let is_plain = !prefix.contains(['b', 'B', 'f', 'F', 't', 'T']);
        self.push(
            line,
            if is_plain {
                TokenKind::Text(text)
            } else {
                TokenKind::Opaque(format!("{prefix}\"{text}\""))
            },
        );
    }

    /// The escapes that stand in names and paths; others stay as they are, as Python's unknown ones do.
    fn escape(&mut self, text: &mut String) {
        match self.next() {
            Some('\n') | None => {}
            Some('n') => text.push('\n'),
            Some('t') => text.push('\t'),
            Some('r') => text.push('\r'),
            Some(c @ ('\\' | '\'' | '"')) => text.push(c),
            Some('x') => {
                let digits = self.rest.get(..2).unwrap_or_default();
                match u8::from_str_radix(digits, 16) {
                    Ok(byte) if !digits.starts_with('+') => {
                        text.push(char::from(byte));
                        self.rest = &self.rest[2..];
                    }
                    _ => text.push_str("\\x"),
                }
            }
            Some(c) => {
                text.push('\\');
                text.push(c);
            }
        }
    }
}
