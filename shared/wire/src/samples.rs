//! `POST /v1/samples`: who comes by, sampled (D8, C3). Sent in batches by a tick, at most once: a batch whose
//! end is not known is not sent again, so that nothing is counted twice.

use serde::{Deserialize, Serialize};

/// Where batches go.
pub const SAMPLES_PATH: &str = "/v1/samples";
/// Most samples in a batch.
pub const MAX_SAMPLES: usize = 1_000;
/// Longest text in a sample, bytes; longer ones are cut.
pub const MAX_TEXT_BYTES: usize = 256;

/// What a worker has sampled since its last batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SampleBatch {
    /// One of so many requests was sampled; 1: each.
    pub every: u32,
    /// Samples that found no room since the last batch.
    #[serde(default)]
    pub dropped: u64,
    pub samples: Vec<Sample>,
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sample {
    /// When it was answered, milliseconds since 1970 on the gateway's clock.
    pub at_ms: u64,
    /// The JA3 hash, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ja3_hash: Option<String>,
    /// The JA4 fingerprint, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ja4: Option<String>,
    /// The client's address.
    pub ip: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// Where it is, as a trusted peer of the gateway said: two capital letters or digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// The gateway's name of the route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// What the client got; 0 if it left before that.
    pub status_code: u16,
    /// From the request's head to that of the response.
    pub latency_ms: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_as_it_was_written() {
        let batch = SampleBatch {
            every: 10,
            dropped: 0,
            samples: vec![Sample {
                ip: "192.0.2.1".into(),
                ja4: Some("t13d1516h2_8daaf6152771_e5627efa2ab1".into()),
                status_code: 200,
                ..Sample::default()
            }],
        };
        let json = serde_json::to_string(&batch).unwrap();
        assert!(!json.contains("ja3"), "{json}");
        assert_eq!(serde_json::from_str::<SampleBatch>(&json).unwrap(), batch);
    }
}
