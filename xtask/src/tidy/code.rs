//! Rust's text reduced to what is code. As exact as the rules need it, which is less than a parser would be.

use std::ops::RangeInclusive;

/// The text with a blank for each character of a comment or of a string's or character's inside; lines stay where they are.
pub(super) fn without_comments_and_literals(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let length = blank_length(&characters, at);
        if length == 0 {
            code.push(characters[at]);
            at += 1;
            continue;
        }
        let end = (at + length).min(characters.len());
        code.extend(
            characters[at..end]
                .iter()
                .map(|&character| match character {
                    '\n' => '\n',
                    _ => ' ',
                }),
        );
        at = end;
    }
    code
}

/// How many characters from here on are a comment or a literal; none where code goes on.
fn blank_length(characters: &[char], at: usize) -> usize {
    let rest = &characters[at..];
    let is_in_name = |character: &char| character.is_alphanumeric() || *character == '_';
    let follows_name = at
        .checked_sub(1)
        .is_some_and(|before| is_in_name(&characters[before]));
    match rest {
        ['/', '/', ..] => rest
            .iter()
            .take_while(|&&character| character != '\n')
            .count(),
        ['/', '*', ..] => block_comment_length(rest),
        ['"', ..] => quoted_length(rest, '"'),
        // A lifetime or a label is not closed after its first character.
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => quoted_length(rest, '\''),
        ['r', '"' | '#', ..] if !follows_name => raw_string_length(rest, 1),
        ['b' | 'c', 'r', '"' | '#', ..] if !follows_name => raw_string_length(rest, 2),
        _ => 0,
    }
}

fn block_comment_length(rest: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => depth += 1,
            ['*', '/', ..] => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            break;
        }
    }
    at
}

fn quoted_length(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// None if it is a raw name, such as `r#type`.
fn raw_string_length(rest: &[char], prefix: usize) -> usize {
    let hashes = rest[prefix..]
        .iter()
        .take_while(|&&character| character == '#')
        .count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&'"') {
        return 0;
    }
    let inside = &rest[open + 1..];
    let closes = |at: &usize| {
        inside[*at] == '"'
            && inside[at + 1..]
                .iter()
                .take(hashes)
                .filter(|&&it| it == '#')
                .count()
                == hashes
    };
    let end = (0..inside.len()).find(closes).unwrap_or(inside.len());
    open + 1 + end + 1 + hashes
}

/// The lines, from one, of every item that is compiled for tests alone, in code as rustfmt leaves it.
pub(super) fn test_lines(code: &str) -> Vec<RangeInclusive<usize>> {
    let lines: Vec<&str> = code.lines().collect();
    let attribute = |line: &str| matches!(line.trim(), "#[cfg(test)]" | "#[test]");
    let starts = (0..lines.len()).filter(|&index| attribute(lines[index]));
    starts
        .map(|start| start + 1..=item_end(&lines, start))
        .collect()
}

/// The number of the line that ends the item whose first line has this index.
fn item_end(lines: &[&str], start: usize) -> usize {
    let indent = lines[start].len() - lines[start].trim_start().len();
    let ends = |line: &str| {
        let own_indent = line.len() - line.trim_start().len();
        let line = line.trim_end();
        own_indent == indent && (line.ends_with('}') || line.ends_with(';'))
    };
    (start + 1..lines.len())
        .find(|&index| ends(lines[index]))
        .map_or(lines.len(), |index| index + 1)
}
