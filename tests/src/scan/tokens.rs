//! Rust sources as tokens: enough of the language to tell code from comments, text and tests.

/// Names that pure code does not use.
const NAMES: [&str; 28] = [
    "HashMap",
    "HashSet",
    "RandomState",
    "DefaultHasher",
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "File",
    "OpenOptions",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "Mutex",
    "RwLock",
    "Condvar",
    "static",
    "thread_local",
    "async",
    "await",
    "tokio",
    "OsRng",
    "getrandom",
    "println",
    "eprintln",
    "print",
    "eprint",
];

/// Modules of `std` that pure code does not use. (`std::io` holds only traits, which borsh is built on.)
const MODULES: [&str; 6] = ["fs", "net", "thread", "env", "process", "os"];

/// The tokens of Rust code: names, numbers and single signs; `::` is one token. Comments, text and characters are
/// left out, except that each text leaves `""`.
pub fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let next = chars.get(at + 1).copied();
        at = match (c, next) {
            ('/', Some('/')) => line_end(&chars, at),
            ('/', Some('*')) => comment_end(&chars, at),
            ('"', _) => text(&mut found, text_end(&chars, at + 1)),
            ('b' | 'c', Some('"')) => text(&mut found, text_end(&chars, at + 2)),
            _ if raw_text(&chars, at).is_some() => text(&mut found, raw_text(&chars, at).unwrap_or(at + 1)),
            ('\'', _) => quote_end(&chars, at),
            (':', Some(':')) => {
                found.push("::".to_owned());
                at + 2
            }
            _ if c.is_alphanumeric() || c == '_' => {
                let length = chars[at..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
                found.push(chars[at..at + length].iter().collect());
                at + length
            }
            _ => {
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
                at + 1
            }
        };
    }
    found
}

fn text(found: &mut Vec<String>, end: usize) -> usize {
    found.push("\"\"".to_owned());
    end
}

fn line_end(chars: &[char], from: usize) -> usize {
    chars[from..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| from + length)
}

fn comment_end(chars: &[char], from: usize) -> usize {
    let mut depth = 0usize;
    let mut at = from;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => {
                (depth, at) = (depth - 1, at + 2);
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

fn text_end(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    at
}

/// The end of `r"..."`, `r#"..."#`, `br"..."` beginning here, if one does.
fn raw_text(chars: &[char], from: usize) -> Option<usize> {
    let prefix = match (chars.get(from)?, chars.get(from + 1)?) {
        ('r', _) => 1,
        ('b' | 'c', 'r') => 2,
        _ => return None,
    };
    let hashes = chars[from + prefix..].iter().take_while(|c| **c == '#').count();
    let begin = from + prefix + hashes;
    if chars.get(begin) != Some(&'"') {
        return None;
    }
    let closes =
        |at: usize| chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
    let end = (begin + 1..chars.len()).find(|at| closes(*at));
    Some(end.map_or(chars.len(), |at| at + 1 + hashes))
}

/// Past a character or a lifetime.
fn quote_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), _) => {
            chars[at + 3..].iter().position(|c| *c == '\'').map_or(chars.len(), |length| at + 4 + length)
        }
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1 + chars[at + 1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count(),
    }
}

const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];

/// The tokens that are not under `#[cfg(test)]`.
pub fn without_tests(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if begins(&tokens[at..], &TEST) {
            at = item_end(tokens, at + TEST.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The names of the modules that are compiled for tests only and live in files of their own.
pub fn excluded_modules(tokens: &[String]) -> Vec<String> {
    let mut names = Vec::new();
    for at in 0..tokens.len() {
        if begins(&tokens[at..], &TEST) {
            let item = &tokens[at..item_end(tokens, at)];
            if let [.., module, name, end] = item
                && module == "mod"
                && end == ";"
            {
                names.push(name.clone());
            }
        }
    }
    names
}

fn begins(tokens: &[String], with: &[&str]) -> bool {
    tokens.len() >= with.len() && tokens.iter().zip(with).all(|(token, expected)| token == expected)
}

/// Past the item that begins at `from`: past its `;` or its outermost braces, attributes before it included.
fn item_end(tokens: &[String], from: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth = depth.saturating_sub(1),
            "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// What of the world pure code names.
pub fn impure(tokens: &[String]) -> Vec<String> {
    let mut found: Vec<String> = tokens.iter().filter(|token| NAMES.contains(&token.as_str())).cloned().collect();
    for (at, token) in tokens.iter().enumerate() {
        if token == "std" && tokens.get(at + 1).is_some_and(|next| next == "::") {
            found.extend(modules_of(&tokens[at + 2..]).into_iter().map(|module| format!("std::{module}")));
        }
    }
    found
}

/// The forbidden modules named directly after `std::`, alone or in braces.
fn modules_of(tokens: &[String]) -> Vec<String> {
    let forbidden = |token: &String| MODULES.contains(&token.as_str());
    match tokens.first().map(String::as_str) {
        Some("{") => {
            let mut depth = 0usize;
            let mut found = Vec::new();
            for (at, token) in tokens.iter().enumerate() {
                match token.as_str() {
                    "{" => depth += 1,
                    "}" => depth -= 1,
                    _ if depth == 1 && forbidden(token) && matches!(tokens[at - 1].as_str(), "{" | ",") => {
                        found.push(token.clone())
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            found
        }
        Some(_) => tokens.iter().take(1).filter(|token| forbidden(token)).cloned().collect(),
        None => Vec::new(),
    }
}

/// The `allow` and `expect` attributes without a reason, in words.
pub fn unreasoned_allows(tokens: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let attribute = (token == "allow" || token == "expect")
            && tokens.get(at + 1).is_some_and(|next| next == "(")
            && at > 0
            && opens_attribute(&tokens[..at]);
        if attribute {
            let end = tokens[at..].iter().position(|token| token == "]").map_or(tokens.len(), |length| at + length);
            let inside = &tokens[at..end];
            if !inside.windows(2).any(|pair| pair[0] == "reason" && pair[1] == "=") {
                found.push(inside.concat());
            }
        }
    }
    found
}

/// Whether these tokens end in `#[` or `#![`, or in `#[cfg_attr(..., `.
fn opens_attribute(before: &[String]) -> bool {
    match before {
        [.., hash, bracket] if hash == "#" && bracket == "[" => true,
        [.., hash, bang, bracket] if hash == "#" && bang == "!" && bracket == "[" => true,
        _ => {
            let open = before.iter().rposition(|token| token == "[");
            open.is_some_and(|open| {
                before[open..].iter().any(|token| token == "cfg_attr") && !before[open..].contains(&"]".to_owned())
            })
        }
    }
}
