//! Lua 5.1's patterns, matched with a limit to the recursion and with an eye on the budget.

use crate::script::vm::budget::Budget;

/// As many as Lua 5.1 takes.
pub(super) const CAPTURES_MAX: usize = 32;

/// Each level is an item of the pattern; it takes some hundred bytes of the stack.
const DEPTH_MAX: usize = 4_000;

/// The clock is read once in so many steps, which take less than a millisecond.
const STEPS_PER_CHECK: u32 = 1 << 15;

const ESCAPE: u8 = b'%';

/// Part of a text that a pair of parentheses caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capture {
    pub(super) start: usize,
    pub(super) end: End,
}

impl Capture {
    /// A whole match.
    pub(super) fn whole(start: usize, end: usize) -> Self {
        Self {
            start,
            end: End::Before(end),
        }
    }
}

/// Where a capture ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its parenthesis has not been closed yet.
    Open,
    /// It is but a place: `()`.
    Place,
    /// Before this byte.
    Before(usize),
}

/// Looks for a pattern in a text.
pub(super) struct Matcher<'a> {
    pub(super) text: &'a [u8],
    pattern: &'a [u8],
    pub(super) captures: Vec<Capture>,
    depth: usize,
    steps: u32,
    budget: &'a Budget,
}

fn wrong<T>(message: &str) -> mlua::Result<T> {
    Err(mlua::Error::runtime(message))
}

impl<'a> Matcher<'a> {
    pub(super) fn new(text: &'a [u8], pattern: &'a [u8], budget: &'a Budget) -> Self {
        Self {
            text,
            pattern,
            captures: Vec::new(),
            depth: 0,
            steps: 0,
            budget,
        }
    }

    /// Where a match that begins at `start` ends.
    pub(super) fn at(&mut self, start: usize) -> mlua::Result<Option<usize>> {
        self.captures.clear();
        self.depth = 0;
        self.run(start, 0)
    }

    /// Counts what takes time.
    pub(super) fn step(&mut self) -> mlua::Result<()> {
        self.steps += 1;
        if self.steps >= STEPS_PER_CHECK {
            self.steps = 0;
            self.budget.check()?;
        }
        Ok(())
    }

    fn run(&mut self, start: usize, from: usize) -> mlua::Result<Option<usize>> {
        if self.depth >= DEPTH_MAX {
            return wrong("pattern too complex");
        }
        self.depth += 1;
        let outcome = self.follow(start, from);
        self.depth -= 1;
        outcome
    }

    fn follow(&mut self, mut at: usize, mut item: usize) -> mlua::Result<Option<usize>> {
        loop {
            self.step()?;
            let Some(&first) = self.pattern.get(item) else {
                return Ok(Some(at));
            };
            let next = self.pattern.get(item + 1).copied();
            match (first, next) {
                (b'(', Some(b')')) => return self.open(at, item + 2, End::Place),
                (b'(', _) => return self.open(at, item + 1, End::Open),
                (b')', _) => return self.close(at, item + 1),
                (b'$', None) => return Ok((at == self.text.len()).then_some(at)),
                (ESCAPE, Some(b'b')) => match self.balance(at, item + 2)? {
                    Some(end) => (at, item) = (end, item + 4),
                    None => return Ok(None),
                },
                (ESCAPE, Some(b'f')) => match self.frontier(at, item + 2)? {
                    Some(after) => item = after,
                    None => return Ok(None),
                },
                (ESCAPE, Some(digit)) if digit.is_ascii_digit() => {
                    match self.repeated(at, digit)? {
                        Some(end) => (at, item) = (end, item + 2),
                        None => return Ok(None),
                    }
                }
                _ => {
                    let after = self.item_end(item)?;
                    match self.pattern.get(after) {
                        Some(b'?') => {
                            if self.single(at, item, after)
                                && let Some(end) = self.run(at + 1, after + 1)?
                            {
                                return Ok(Some(end));
                            }
                            item = after + 1;
                        }
                        Some(b'*') => return self.most(at, item, after, 0),
                        Some(b'+') => return self.most(at, item, after, 1),
                        Some(b'-') => return self.fewest(at, item, after),
                        _ if self.single(at, item, after) => (at, item) = (at + 1, after),
                        _ => return Ok(None),
                    }
                }
            }
        }
    }

    /// As many repetitions as possible, then ever fewer.
    fn most(
        &mut self,
        at: usize,
        item: usize,
        after: usize,
        least: usize,
    ) -> mlua::Result<Option<usize>> {
        let mut count = 0;
        while self.single(at + count, item, after) {
            self.step()?;
            count += 1;
        }
        while count >= least {
            if let Some(end) = self.run(at + count, after + 1)? {
                return Ok(Some(end));
            }
            let Some(fewer) = count.checked_sub(1) else {
                break;
            };
            count = fewer;
        }
        Ok(None)
    }

    /// As few repetitions as possible, then ever more.
    fn fewest(&mut self, mut at: usize, item: usize, after: usize) -> mlua::Result<Option<usize>> {
        loop {
            if let Some(end) = self.run(at, after + 1)? {
                return Ok(Some(end));
            }
            if !self.single(at, item, after) {
                return Ok(None);
            }
            at += 1;
        }
    }

    fn open(&mut self, at: usize, item: usize, end: End) -> mlua::Result<Option<usize>> {
        if self.captures.len() >= CAPTURES_MAX {
            return wrong("too many captures");
        }
        let level = self.captures.len();
        self.captures.push(Capture { start: at, end });
        let outcome = self.run(at, item)?;
        if outcome.is_none() {
            self.captures.truncate(level);
        }
        Ok(outcome)
    }

    fn close(&mut self, at: usize, item: usize) -> mlua::Result<Option<usize>> {
        let open = self
            .captures
            .iter()
            .rposition(|capture| capture.end == End::Open);
        let Some(level) = open else {
            return wrong("invalid pattern capture");
        };
        self.captures[level].end = End::Before(at);
        let outcome = self.run(at, item)?;
        if outcome.is_none() {
            self.captures[level].end = End::Open;
        }
        Ok(outcome)
    }

    /// `%1`: what a capture caught, once more.
    fn repeated(&mut self, at: usize, digit: u8) -> mlua::Result<Option<usize>> {
        let level = usize::from(digit).checked_sub(usize::from(b'1'));
        let capture = level.and_then(|level| self.captures.get(level).copied());
        let Some(Capture { start, end }) = capture else {
            return wrong("invalid capture index");
        };
        let caught = match end {
            End::Open => return wrong("invalid capture index"),
            End::Place => return Ok(None),
            End::Before(end) => &self.text[start..end],
        };
        // What is compared takes time.
        self.steps = self
            .steps
            .saturating_add(u32::try_from(caught.len()).unwrap_or(u32::MAX) / 16);
        Ok(self.text[at..]
            .starts_with(caught)
            .then_some(at + caught.len()))
    }

    /// `%bxy`.
    fn balance(&mut self, at: usize, item: usize) -> mlua::Result<Option<usize>> {
        let (Some(&begin), Some(&end)) = (self.pattern.get(item), self.pattern.get(item + 1))
        else {
            return wrong("unbalanced pattern");
        };
        if self.text.get(at) != Some(&begin) {
            return Ok(None);
        }
        let mut level = 1;
        for place in at + 1..self.text.len() {
            self.step()?;
            let byte = self.text[place];
            if byte == end {
                level -= 1;
                if level == 0 {
                    return Ok(Some(place + 1));
                }
            } else if byte == begin {
                level += 1;
            }
        }
        Ok(None)
    }

    /// `%f[set]`: a place before which the set does not fit, and after which it does.
    fn frontier(&mut self, at: usize, item: usize) -> mlua::Result<Option<usize>> {
        if self.pattern.get(item) != Some(&b'[') {
            return wrong("missing '[' after '%f' in pattern");
        }
        let after = self.item_end(item)?;
        let before = at.checked_sub(1).map_or(0, |place| self.text[place]);
        let here = self.text.get(at).copied().unwrap_or(0);
        let fits = !self.in_set(before, item, after - 1) && self.in_set(here, item, after - 1);
        Ok(fits.then_some(after))
    }

    /// Where an item ends that stands for a single byte.
    fn item_end(&mut self, item: usize) -> mlua::Result<usize> {
        let mut place = item + 1;
        match self.pattern[item] {
            ESCAPE if place >= self.pattern.len() => wrong("malformed pattern (ends with '%')"),
            ESCAPE => Ok(place + 1),
            b'[' => {
                if self.pattern.get(place) == Some(&b'^') {
                    place += 1;
                }
                loop {
                    self.step()?;
                    let Some(&byte) = self.pattern.get(place) else {
                        return wrong("malformed pattern (missing ']')");
                    };
                    place += 1;
                    if byte == ESCAPE && place < self.pattern.len() {
                        place += 1;
                    }
                    if self.pattern.get(place) == Some(&b']') {
                        return Ok(place + 1);
                    }
                }
            }
            _ => Ok(place),
        }
    }

    /// Whether the item fits the byte there.
    fn single(&mut self, at: usize, item: usize, after: usize) -> bool {
        let Some(&byte) = self.text.get(at) else {
            return false;
        };
        match self.pattern[item] {
            b'.' => true,
            ESCAPE => in_class(byte, self.pattern[item + 1]),
            b'[' => self.in_set(byte, item, after - 1),
            literal => literal == byte,
        }
    }

    /// `set` is where `[` stands, `end` where its `]`.
    fn in_set(&mut self, byte: u8, set: usize, end: usize) -> bool {
        let mut place = set + 1;
        let negated = self.pattern[place] == b'^';
        place += usize::from(negated);
        self.steps = self.steps.saturating_add((end - place) as u32 / 16);
        while place < end {
            let item = self.pattern[place];
            if item == ESCAPE {
                place += 1;
                if in_class(byte, self.pattern[place]) {
                    return !negated;
                }
            } else if self.pattern[place + 1] == b'-' && place + 2 < end {
                if (item..=self.pattern[place + 2]).contains(&byte) {
                    return !negated;
                }
                place += 2;
            } else if item == byte {
                return !negated;
            }
            place += 1;
        }
        negated
    }
}

/// Whether a byte is of the class of a letter; a capital stands for all others.
fn in_class(byte: u8, class: u8) -> bool {
    let is_in = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | b'\t'..=b'\r'),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    is_in != class.is_ascii_uppercase()
}
