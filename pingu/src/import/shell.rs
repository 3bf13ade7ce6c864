//! Shell scripts as far as they say something by themselves: commands of words, with quotes, comments and variables that were set to
//! plain texts before. Nothing is run, and nothing of this machine is looked up.

mod expansion;

use std::collections::BTreeMap;

/// A word may double by naming a variable twice, and so each line.
const WORD_BYTES_MAX: usize = 4096;

/// Words that begin a command with others behind them.
const DECLARATIONS: [&str; 5] = ["export", "readonly", "declare", "typeset", "local"];

/// A word of a command.
#[derive(Clone, Debug, Default)]
pub(super) struct Word {
    pub(super) line: usize,
    /// Its text without quotes, as far as it is known.
    pub(super) text: String,
    /// Why its text is not known.
    pub(super) unknown: Option<String>,
    /// Where the `=` is, if it is an assignment.
    equals: Option<usize>,
    is_quoted: bool,
}

impl Word {
    /// The name and the value, if it is an assignment.
    pub(super) fn assignment(&self) -> Option<(&str, &str)> {
        let at = self.equals?;
        Some((&self.text[..at], &self.text[at + 1..]))
    }
}

/// A command, or the beginning of a block of them.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) words: Vec<Word>,
    /// It is inside a block, and may never be run or many times.
    pub(super) is_inside: bool,
    /// It is a block of commands itself.
    pub(super) is_block: bool,
}

impl Command {
    /// The words that are assignments, if there is nothing else.
    pub(super) fn assignments(&self) -> Option<&[Word]> {
        let words = match self.words.first() {
            Some(first) if DECLARATIONS.contains(&&*first.text) => &self.words[1..],
            _ => &self.words[..],
        };
        let is_none = |word: &Word| word.equals.is_none() && !word.text.starts_with('-');
        let all = !words.is_empty() && !words.iter().any(is_none);
        (all && !self.is_block).then_some(words)
    }
}

/// Reads a script; the second value says by line what cannot be read.
pub(super) fn commands(text: &str) -> (Vec<Command>, Vec<(usize, String)>) {
    let mut script = Script {
        rest: text,
        line: 1,
        commands: Vec::new(),
        words: Vec::new(),
        variables: BTreeMap::new(),
        blocks: 0,
        parentheses: 0,
        here_documents: Vec::new(),
        errors: Vec::new(),
    };
    script.read();
    (script.commands, script.errors)
}

struct Script<'a> {
    rest: &'a str,
    line: usize,
    commands: Vec<Command>,
    /// Those of the command being read.
    words: Vec<Word>,
    /// What was assigned so far; none: something, but nobody knows what.
    variables: BTreeMap<String, Option<String>>,
    blocks: usize,
    parentheses: usize,
    /// The last lines of those that begin after the line being read, and whether these may be indented.
    here_documents: Vec<(String, bool)>,
    errors: Vec<(usize, String)>,
}

impl Script<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn skip(&mut self, text: &str) -> bool {
        let found = self.rest.starts_with(text);
        if found {
            self.line += text.matches('\n').count();
            self.rest = &self.rest[text.len()..];
        }
        found
    }

    fn read(&mut self) {
        while let Some(c) = self.peek() {
            match c {
                ' ' | '\t' | '\r' => {
                    self.next();
                }
                '\\' if self.skip("\\\n") || self.skip("\\\r\n") => {}
                '#' => self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..],
                '\n' => {
                    self.end();
                    self.next();
                    self.skip_here_documents();
                }
                ';' | '&' | '|' => {
                    self.end();
                    self.next();
                }
                '(' => self.open(),
                ')' => {
                    self.end();
                    self.next();
                    self.parentheses = self.parentheses.saturating_sub(1);
                }
                '<' | '>' => self.redirection(),
                _ => {
                    let word = self.word();
                    self.push(word);
                }
            }
        }
        self.end();
    }

    /// A parenthesis: that of a function's name, or commands in a shell of their own.
    fn open(&mut self) {
        self.next();
        let blank = self.rest.trim_start_matches([' ', '\t']);
        if let [name] = &self.words[..]
            && blank.starts_with(')')
        {
            let line = name.line;
            self.rest = &blank[1..];
            self.block(line, "a function");
            self.words.clear();
            return;
        }
        self.end();
        self.block(self.line, "commands in parentheses");
        self.parentheses += 1;
    }

    /// An operator, and the word behind it, neither of which is an argument.
    fn redirection(&mut self) {
        if self.rest[1..].starts_with('(') {
            let line = self.line;
            self.next();
            self.next();
            self.skip_balanced('(', ')');
            let unknown = Some("what a command prints".to_owned());
            self.words.push(Word {
                line,
                unknown,
                ..Word::default()
            });
            return;
        }
        let is_here = self.rest.starts_with("<<") && !self.rest.starts_with("<<<");
        let is_indented = self.rest.starts_with("<<-");
        while self
            .peek()
            .is_some_and(|c| matches!(c, '<' | '>' | '&' | '|'))
        {
            self.next();
        }
        if is_indented {
            self.skip("-");
        }
        while self.peek().is_some_and(|c| matches!(c, ' ' | '\t')) {
            self.next();
        }
        if self
            .peek()
            .is_some_and(|c| !matches!(c, '\n' | ';' | '(' | ')'))
        {
            let word = self.word();
            if is_here {
                self.here_documents.push((word.text, is_indented));
            }
        }
    }

    fn skip_here_documents(&mut self) {
        for (last, is_indented) in std::mem::take(&mut self.here_documents) {
            while !self.rest.is_empty() {
                let end = self.rest.find('\n').map_or(self.rest.len(), |at| at + 1);
                let (line, rest) = self.rest.split_at(end);
                self.rest = rest;
                self.line += usize::from(line.ends_with('\n'));
                let line = line.trim_end_matches(['\n', '\r']);
                let line = if is_indented {
                    line.trim_start_matches('\t')
                } else {
                    line
                };
                if line == last {
                    break;
                }
            }
        }
    }

    fn push(&mut self, word: Word) {
        let number = word.text.bytes().all(|byte| byte.is_ascii_digit());
        if number && !word.is_quoted && self.peek().is_some_and(|c| matches!(c, '<' | '>')) {
            return;
        }
        if !self.words.is_empty() || word.is_quoted {
            self.words.push(word);
            return;
        }
        match &*word.text {
            "if" | "case" | "while" | "until" | "for" | "select" | "{" => {
                self.block(word.line, "a block of commands");
                self.blocks += 1;
            }
            "fi" | "esac" | "done" | "}" => self.blocks = self.blocks.saturating_sub(1),
            "then" | "else" | "elif" | "do" | "!" | "time" => {}
            "function" => {
                while self.peek().is_some_and(|c| matches!(c, ' ' | '\t')) {
                    self.next();
                }
                let name = self.word();
                self.block(name.line, "a function");
            }
            _ => self.words.push(word),
        }
    }

    /// Notes that a block begins; those inside another one are part of it.
    fn block(&mut self, line: usize, what: &str) {
        let text = what.to_owned();
        let word = Word {
            line,
            text,
            ..Word::default()
        };
        // A function's braces are the same block.
        let known = |last: &Command| last.is_block && last.line == line;
        if self.is_inside() || self.commands.last().is_some_and(known) {
            return;
        }
        self.commands.push(Command {
            line,
            words: vec![word],
            is_inside: false,
            is_block: true,
        });
    }

    fn is_inside(&self) -> bool {
        self.blocks + self.parentheses > 0
    }

    /// The command is complete.
    fn end(&mut self) {
        let words = std::mem::take(&mut self.words);
        let Some(first) = words.first() else {
            return;
        };
        let command = Command {
            line: first.line,
            is_inside: self.is_inside(),
            is_block: false,
            words,
        };
        match command.assignments() {
            Some(assignments) => {
                for word in assignments {
                    let Some((name, value)) = word.assignment() else {
                        continue;
                    };
                    let known = word.unknown.is_none() && !command.is_inside;
                    let value = known.then(|| value.to_owned());
                    self.variables.insert(name.to_owned(), value);
                }
            }
            None => {
                for word in &command.words {
                    // `NAME+=more`, `unset NAME`, `read NAME`: it may be anything afterwards.
                    let name = word.text.split("+=").next().unwrap_or_default();
                    if let Some(value) = self.variables.get_mut(name) {
                        *value = None;
                    }
                }
            }
        }
        self.commands.push(command);
    }
}
