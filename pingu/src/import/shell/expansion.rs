//! One word: its quotes, and what stands for something else in it.

use super::{Script, WORD_BYTES_MAX, Word};

impl Script<'_> {
    /// Reads a word, of which there is at least one character.
    pub(super) fn word(&mut self) -> Word {
        let mut word = Word {
            line: self.line,
            ..Word::default()
        };
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' | '\n' | ';' | '&' | '|' | ')' | '<' | '>' => break,
                '(' if word.text.ends_with('=') => {
                    self.next();
                    self.skip_balanced('(', ')');
                    word.not_known("an array");
                }
                '(' => break,
                '\'' => self.single_quotes(&mut word),
                '"' => self.double_quotes(&mut word),
                '\\' if self.skip("\\\n") || self.skip("\\\r\n") => {}
                '\\' => {
                    self.next();
                    word.is_quoted = true;
                    self.literal(&mut word);
                }
                '$' => self.dollar(&mut word, false),
                '`' => self.backticks(&mut word),
                '=' if word.equals.is_none() && !word.is_quoted && is_name(&word.text) => {
                    word.equals = Some(word.text.len());
                    self.literal(&mut word);
                }
                _ => self.literal(&mut word),
            }
        }
        if word.text.len() > WORD_BYTES_MAX {
            word.text = String::new();
            word.equals = None;
            let message = format!("longer than {WORD_BYTES_MAX} bytes, which is the most");
            self.errors.push((word.line, message.clone()));
            word.not_known(&message);
        }
        word
    }

    fn literal(&mut self, word: &mut Word) {
        if let Some(c) = self.next() {
            word.text.push(c);
        }
    }

    fn single_quotes(&mut self, word: &mut Word) {
        let line = self.line;
        word.is_quoted = true;
        self.next();
        match self.rest.find('\'') {
            Some(end) => {
                let (quoted, rest) = self.rest.split_at(end);
                word.text.push_str(quoted);
                self.line += quoted.matches('\n').count();
                self.rest = &rest[1..];
            }
            None => self.never_closed(line, "'"),
        }
    }

    fn double_quotes(&mut self, word: &mut Word) {
        let line = self.line;
        word.is_quoted = true;
        self.next();
        loop {
            match self.peek() {
                Some('"') => {
                    self.next();
                    return;
                }
                Some('\\') => {
                    self.next();
                    match self.peek() {
                        Some('"' | '\\' | '$' | '`') => self.literal(word),
                        Some('\n') => {
                            self.next();
                        }
                        _ => word.text.push('\\'),
                    }
                }
                Some('$') => self.dollar(word, true),
                Some('`') => self.backticks(word),
                Some(_) => self.literal(word),
                None => return self.never_closed(line, "\""),
            }
        }
    }

    fn never_closed(&mut self, line: usize, quote: &str) {
        let message = format!("the quote {quote} is never closed");
        self.errors.push((line, message));
        self.rest = "";
    }

    fn backticks(&mut self, word: &mut Word) {
        let line = self.line;
        self.next();
        while let Some(c) = self.next() {
            match c {
                '\\' => {
                    self.next();
                }
                '`' => return word.not_known("what a command prints (`...`), and nothing is run"),
                _ => {}
            }
        }
        word.not_known("what a command prints");
        self.never_closed(line, "`");
    }

    /// What a `$` stands for.
    fn dollar(&mut self, word: &mut Word, is_quoted: bool) {
        self.next();
        match self.peek() {
            Some('(') => {
                self.next();
                self.skip_balanced('(', ')');
                word.not_known("what a command prints ($(...)), and nothing is run");
            }
            Some('{') => {
                self.next();
                let inside = self.skip_balanced('{', '}').to_owned();
                self.parameter(word, &inside);
            }
            Some('\'' | '"') if !is_quoted => {
                word.not_known("a text in quotes after $, whose escapes are not read");
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
                let (name, rest) = self.rest.split_at(end);
                self.rest = rest;
                self.parameter(word, name);
            }
            Some(c) if c.is_ascii_digit() || "@*#?$!-".contains(c) => {
                self.next();
                word.not_known(&format!("`${c}`, which only a running shell knows"));
            }
            _ => word.text.push('$'),
        }
    }

    /// A variable that was set before, or a default that is a plain text.
    fn parameter(&mut self, word: &mut Word, inside: &str) {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = inside.find(|c| !is_part(c)).unwrap_or(inside.len());
        let (name, operation) = inside.split_at(end);
        let set = self.variables.get(name);
        let default = operation
            .strip_prefix(":-")
            .or_else(|| operation.strip_prefix('-'));
        match (set, operation, default) {
            (Some(Some(value)), "", _) => word.text.push_str(value),
            (Some(Some(value)), _, Some(_)) if !value.is_empty() => word.text.push_str(value),
            (None | Some(Some(_)), _, Some(plain))
                if !plain.contains(['$', '`', '"', '\'', '\\']) =>
            {
                word.text.push_str(plain);
            }
            _ => word.not_known(&format!(
                "the variable `{}`, which no line above sets to a plain text",
                crate::import::findings::printable(inside)
            )),
        }
    }

    /// Goes behind the parenthesis that closes the one before, and gives what is between.
    pub(super) fn skip_balanced(&mut self, open: char, close: char) -> &str {
        let (start, line) = (self.rest, self.line);
        let mut depth = 1;
        let mut quote = None;
        while let Some(c) = self.next() {
            match (quote, c) {
                (None | Some('"'), '\\') => {
                    self.next();
                }
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') => quote = Some(c),
                (None, c) if c == open => depth += 1,
                (None, c) if c == close => {
                    depth -= 1;
                    if depth == 0 {
                        let length = start.len() - self.rest.len() - close.len_utf8();
                        return &start[..length];
                    }
                }
                (None, _) => {}
            }
        }
        self.errors.push((
            line,
            format!("`{open}` is never closed: `{close}` is missing"),
        ));
        ""
    }
}

impl Word {
    fn not_known(&mut self, why: &str) {
        self.unknown.get_or_insert_with(|| why.to_owned());
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}
