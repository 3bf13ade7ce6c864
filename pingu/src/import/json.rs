//! JSON as people write it by hand: with comments and trailing commas, and with the line of everything.

use super::findings::quote;

/// Deeper than any configuration; the parser calls itself for each level.
const DEPTH_MAX: usize = 32;

/// Values in a file; a thousand interfaces have a tenth of this.
const VALUES_MAX: usize = 100_000;

/// A value and the line where it begins.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

/// What a value is.
#[derive(Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    /// As it is written.
    Number(String),
    Text(String),
    /// No system has one: what is in it is not kept.
    List,
    Map(Vec<Member>),
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) line: usize,
    pub(super) key: String,
    pub(super) value: Value,
}

impl Value {
    /// What messages say was found.
    pub(super) fn found(&self) -> String {
        match &self.kind {
            Kind::Null => "null".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Number(number) => number.chars().take(40).collect(),
            Kind::Text(text) => quote(text),
            Kind::List => "a list".to_owned(),
            Kind::Map(_) => "a map in braces".to_owned(),
        }
    }
}

/// Reads a whole text; the error has its line.
pub(super) fn parse(text: &str) -> Result<Value, (usize, String)> {
    let mut parser = Parser {
        rest: text,
        line: 1,
        values: 0,
    };
    let value = parser.value(0)?;
    parser.blanks()?;
    match parser.rest.chars().next() {
        None => Ok(value),
        Some(c) => {
            let message = format!("nothing may follow the last brace, and {} does", shown(c));
            Err((parser.line, message))
        }
    }
}

/// The first character that is no blank and in no comment.
pub(super) fn first_character(text: &str) -> Option<char> {
    let mut parser = Parser {
        rest: text,
        line: 1,
        values: 0,
    };
    parser.blanks().ok()?;
    parser.rest.chars().next()
}

struct Parser<'a> {
    rest: &'a str,
    line: usize,
    values: usize,
}

type Outcome<T> = Result<T, (usize, String)>;

impl Parser<'_> {
    fn error<T>(&self, message: impl Into<String>) -> Outcome<T> {
        Err((self.line, message.into()))
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            self.rest = &self.rest[text.len()..];
        }
        found
    }

    /// Blanks and comments.
    fn blanks(&mut self) -> Outcome<()> {
        loop {
            let c = self.rest.chars().next();
            if c.is_some_and(|c| c.is_ascii_whitespace() || c == '\u{feff}') {
                self.next();
            } else if self.rest.starts_with("//") {
                let end = self.rest.find('\n').unwrap_or(self.rest.len());
                self.rest = &self.rest[end..];
            } else if self.rest.starts_with("/*") {
                let Some(end) = self.rest.find("*/") else {
                    return self.error("this comment is never closed: `*/` is missing");
                };
                self.line += self.rest[..end].matches('\n').count();
                self.rest = &self.rest[end + 2..];
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Outcome<Value> {
        self.blanks()?;
        self.values += 1;
        if depth > DEPTH_MAX {
            return self.error(format!(
                "nested more than {DEPTH_MAX} deep, which is the most"
            ));
        }
        if self.values > VALUES_MAX {
            return self.error(format!("more than {VALUES_MAX} values, which is the most"));
        }
        let line = self.line;
        let kind = match self.rest.chars().next() {
            Some('{') => self.map(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Kind::Text(self.string()?),
            Some('-' | '0'..='9') => Kind::Number(self.number()?),
            Some(_) if self.skip("null") => Kind::Null,
            Some(_) if self.skip("true") => Kind::Bool(true),
            Some(_) if self.skip("false") => Kind::Bool(false),
            Some(c) => return self.error(format!("a value is expected, not {}", shown(c))),
            None => return self.error("a value is expected, and the file ends"),
        };
        Ok(Value { line, kind })
    }

    fn map(&mut self, depth: usize) -> Outcome<Kind> {
        let opened = self.line;
        self.next();
        let mut members = Vec::new();
        loop {
            self.blanks()?;
            if self.skip("}") {
                return Ok(Kind::Map(members));
            }
            let line = self.line;
            match self.rest.chars().next() {
                Some('"') => {}
                Some(c) => {
                    return self.error(format!("a key in quotes is expected, not {}", shown(c)));
                }
                None => {
                    return self.error(format!("the brace of line {opened} is never closed"));
                }
            }
            let key = self.string()?;
            self.blanks()?;
            if !self.skip(":") {
                return self.error(format!("`:` is expected after the key {}", quote(&key)));
            }
            let value = self.value(depth + 1)?;
            members.push(Member { line, key, value });
            self.separator('}', opened)?;
        }
    }

    fn list(&mut self, depth: usize) -> Outcome<Kind> {
        let opened = self.line;
        self.next();
        loop {
            self.blanks()?;
            if self.skip("]") {
                return Ok(Kind::List);
            }
            self.value(depth + 1)?;
            self.separator(']', opened)?;
        }
    }

    /// A comma, or the end, which is left there.
    fn separator(&mut self, end: char, opened: usize) -> Outcome<()> {
        self.blanks()?;
        match self.rest.chars().next() {
            Some(c) if c == end => Ok(()),
            Some(',') => {
                self.next();
                Ok(())
            }
            Some(c) => self.error(format!("`,` or `{end}` is expected, not {}", shown(c))),
            None => self.error(format!(
                "what line {opened} opens is never closed: `{end}` is missing"
            )),
        }
    }

    fn number(&mut self) -> Outcome<String> {
        let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
        let end = self
            .rest
            .find(|c: char| !is_part(c))
            .unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest;
        match number.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(number.to_owned()),
            _ => self.error(format!("{} is no number", quote(number))),
        }
    }

    fn string(&mut self) -> Outcome<String> {
        let opened = self.line;
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escape()?),
                Some('\n') | None => {
                    let message = format!("the string {} is never closed", quote(&text));
                    return Err((opened, message));
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Outcome<char> {
        Ok(match self.next() {
            Some(c @ ('"' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let first = self.four_digits()?;
                let second = if (0xd800..0xdc00).contains(&first) && self.skip("\\u") {
                    Some(self.four_digits()?)
                } else {
                    None
                };
                let units = [Some(first), second].into_iter().flatten();
                let decoded: Result<String, _> = char::decode_utf16(units).collect();
                match decoded.ok().and_then(|text| text.chars().next()) {
                    Some(c) if decoded_is_one(second, c) => c,
                    _ => return self.error("half of a pair of \\u escapes"),
                }
            }
            Some(c) => return self.error(format!("unknown escape \\{}", shown(c))),
            None => return self.error("the file ends in a string"),
        })
    }

    fn four_digits(&mut self) -> Outcome<u16> {
        let digits = self.rest.get(..4).and_then(|digits| {
            let all = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            all.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        });
        match digits {
            Some(unit) => {
                self.rest = &self.rest[4..];
                Ok(unit)
            }
            None => self.error("four hexadecimal digits are expected after \\u"),
        }
    }
}

/// Two units are one character only as a pair.
fn decoded_is_one(second: Option<u16>, c: char) -> bool {
    second.is_none() || u32::from(c) > 0xffff
}

fn shown(c: char) -> String {
    quote(&c.to_string())
}
