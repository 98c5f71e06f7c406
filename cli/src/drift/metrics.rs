//! The result for Prometheus, through the textfile collector of node_exporter.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::outcome::Failure;
use crate::release::files;

/// Writes it whole or not at all.
pub fn write(file: &Path, gateway: &str, differences: usize) -> Result<(), Failure> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|e| Failure::new(format!("the clock: {e}")))?
        .as_secs();
    files::write(file, text(gateway, differences, now).as_bytes())
}

fn text(gateway: &str, differences: usize, now: u64) -> String {
    let label: String = gateway
        .chars()
        .map(|c| match c {
            '\\' => "\\\\".to_owned(),
            '"' => "\\\"".to_owned(),
            '\n' => "\\n".to_owned(),
            other => other.to_string(),
        })
        .collect();
    let drift = u8::from(differences > 0);
    format!(
        "# HELP portcullis_config_drift Whether the gateway runs something else than what is in Git.\n\
         # TYPE portcullis_config_drift gauge\n\
         portcullis_config_drift{{gateway=\"{label}\"}} {drift}\n\
         # HELP portcullis_config_drift_differences In how many places.\n\
         # TYPE portcullis_config_drift_differences gauge\n\
         portcullis_config_drift_differences{{gateway=\"{label}\"}} {differences}\n\
         # HELP portcullis_config_drift_checked_timestamp_seconds When that could last be told.\n\
         # TYPE portcullis_config_drift_checked_timestamp_seconds gauge\n\
         portcullis_config_drift_checked_timestamp_seconds{{gateway=\"{label}\"}} {now}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped() {
        let text = text("a\"b\\", 2, 17);
        assert!(
            text.contains("portcullis_config_drift{gateway=\"a\\\"b\\\\\"} 1\n"),
            "{text}"
        );
        assert!(text.ends_with("} 17\n"), "{text}");
    }
}
