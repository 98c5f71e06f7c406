//! The little of YAML that Prometheus' files need, written so that people like to read it.

/// A double-quoted scalar.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A PromQL expression: on the line of its key, or folded below it.
#[must_use]
pub fn expression(indent: usize, text: &str) -> String {
    let pad = " ".repeat(indent);
    let mut out = format!("{pad}expr: >-\n");
    for line in text.lines() {
        out.push_str(&format!("{pad}  {}\n", line.trim()));
    }
    out
}

/// A comment, wrapped.
#[must_use]
pub fn comment(text: &str) -> String {
    let mut out = String::new();
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.len() + word.len() > 110 {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out + &line + "\n"
}
