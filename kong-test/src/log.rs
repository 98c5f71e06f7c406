//! Kong's log, which is nginx's.

/// What Kong itself logs as an error of callouts that fail, whatever the filter makes of it: of every one; of one
/// whose service ended meanwhile; of those with which the host waits.
const OF_FAILED_CALLOUTS: [&str; 3] = [
    "dispatch failed",
    "recv() failed (104: Connection reset by peer)",
    "connect() to unix:/dev/null failed",
];
/// What Kong itself says when a filter refuses its configuration.
const AFTER_A_REFUSAL: [&str; 2] = ["failed initializing", "declarative reconfigure failed"];
/// What no case may bring about.
const NEVER: [&str; 3] = ["exited on signal", "signal 11", "zero size buf"];

/// Lines that say that something went wrong, but for errors with one of the expected parts. Worse
/// than an error is never expected.
#[must_use]
pub fn faults<'a>(log: &'a str, expected: &[String], refused: bool) -> Vec<&'a str> {
    log.lines()
        .filter(|line| {
            let of_refusal = refused && AFTER_A_REFUSAL.iter().any(|part| line.contains(part));
            let bad = match level(line) {
                Some("error") => {
                    !OF_FAILED_CALLOUTS.iter().any(|part| line.contains(part))
                        && !expected.iter().any(|part| line.contains(part.as_str()))
                }
                Some("crit" | "alert" | "emerg") => true,
                _ => false,
            };
            (bad && !of_refusal) || NEVER.iter().any(|part| line.contains(part))
        })
        .collect()
}

/// `2026/01/01 00:00:00 [error] 12#0: text`
fn level(line: &str) -> Option<&str> {
    let word = line.split(' ').nth(2)?;
    word.strip_prefix('[')?.strip_suffix(']')
}

/// The log without what nginx adds to each line that is logged during a request: the client and the
/// request's first line, as they are in every access log too.
#[must_use]
pub fn without_context(log: &str) -> String {
    log.lines()
        .map(|line| line.split(", client: ").next().unwrap_or_default())
        .fold(String::new(), |out, line| out + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_by_level_and_by_word() {
        let log = "2026/01/01 00:00:00 [info] 1#0: *1 [proxy-wasm] [error] says a client\n\
                   2026/01/01 00:00:00 [error] 1#0: *1 auth: rules: bad\n\
                   2026/01/01 00:00:00 [error] 1#0: *1 dispatch failed: tcp socket - timed out\n\
                   2026/01/01 00:00:00 [emerg] 1#0: failed initializing \"auth\" filter\n\
                   2026/01/01 00:00:00 [notice] 1#0: worker process 7 exited on signal 9\n\
                   2026/01/01 00:00:00 [alert] 1#0: zero size buf in writer\n\
                   2026/01/01 00:00:00 [crit] 1#0: rules: bad\n";
        assert_eq!(faults(log, &[], false).len(), 5);
        assert_eq!(faults(log, &["rules: bad".into()], false).len(), 4);
        assert_eq!(faults(log, &["signal 9".into()], true).len(), 4);
    }

    #[test]
    fn nginx_adds_the_request_to_each_line() {
        let line = "2026/01/01 00:00:00 [info] 1#0: *1 auth: denied code=x, client: 127.0.0.1, \
                    server: kong, request: \"GET /?access_token=y HTTP/1.1\"\n";
        assert_eq!(
            without_context(line),
            "2026/01/01 00:00:00 [info] 1#0: *1 auth: denied code=x\n"
        );
    }
}
