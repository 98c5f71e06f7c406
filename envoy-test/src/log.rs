//! Envoy's log.

/// How Envoy is told to write lines.
pub const FORMAT: &str = "[%Y-%m-%d %T.%e][%l][%n] %v";

/// Lines that are errors, but for those with one of these parts.
#[must_use]
pub fn errors<'a>(log: &'a str, expected: &[String]) -> Vec<&'a str> {
    log.lines()
        .filter(|line| is_error(line))
        .filter(|line| !expected.iter().any(|part| line.contains(part.as_str())))
        .collect()
}

fn is_error(line: &str) -> bool {
    // [time][level][logger] text
    let level = line.split("][").nth(1).unwrap_or_default();
    matches!(level, "error" | "err" | "critical") || line.contains("Caught Segmentation fault")
}

/// The last lines, for messages.
#[must_use]
pub fn tail(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_by_their_level() {
        let log = "[2026-01-01 00:00:00.000][info][wasm] [error] says a client\n\
                   [2026-01-01 00:00:00.000][error][wasm] wasm log auth: rules: bad\n\
                   [2026-01-01 00:00:00.000][critical][main] no memory\n\
                   [2026-01-01 00:00:00.000][warning][wasm] beware\n";
        assert_eq!(errors(log, &[]).len(), 2);
        assert_eq!(errors(log, &["rules: bad".into()]).len(), 1);
        assert!(tail(log, 1).ends_with("beware"));
    }
}
