//! Which limits a tenant has (R3): the table that redis-proxy keeps, pulled by a tick.

use std::time::Duration;

use policy::{Answer, Callout, CalloutError, Service, Time};
use wire::limits::Limit;
use wire::tiers::{PULL_SECONDS, TIERS_PATH, TierTable};

/// A little less than the time in which a change has to be effective.
const PULL_EVERY: Duration = Duration::from_secs(PULL_SECONDS.saturating_sub(5));
const AFTER_FAILURE: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(2);
/// Longest table that is read: some 100,000 tenants.
const MAX_TABLE: usize = 8 * 1024 * 1024;

/// What is known of the tiers.
#[derive(Debug, Default)]
pub(crate) struct Tiers {
    table: Option<TierTable>,
    etag: Option<String>,
    /// From the last pull until the next; nothing is pulled meanwhile.
    rests: Option<(Time, Time)>,
}

impl Tiers {
    /// The pull, if it is time for one.
    pub fn pull(&mut self, proxy: &Service, now: Time) -> Option<Callout> {
        if let Some((from, until)) = self.rests
            && from <= now
            && now < until
        {
            return None;
        }
        self.rests = Some((now, now.plus(PULL_EVERY)));
        let mut callout = proxy.callout("GET", TIERS_PATH, Vec::new(), MAX_TABLE);
        callout.timeout = TIMEOUT;
        if let Some(etag) = &self.etag {
            callout.headers.push(("if-none-match".into(), etag.clone()));
        }
        Some(callout)
    }

    /// Takes the end of a pull. The last table stays when no better one came; the error says why.
    pub fn store(
        &mut self,
        answer: Result<Answer<'_>, CalloutError>,
        now: Time,
    ) -> Result<(), String> {
        let result = self.read(answer);
        if result.is_err() {
            self.rests = Some((now, now.plus(AFTER_FAILURE)));
        }
        result
    }

    fn read(&mut self, answer: Result<Answer<'_>, CalloutError>) -> Result<(), String> {
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status {
            304 => Ok(()),
            200 => {
                let table: TierTable = policy::json::read(answer.body)
                    .map_err(|error| format!("no tier table: {error}"))?;
                for tier in table.tiers.values() {
                    for limit in tier.limits.values() {
                        limit.check().map_err(|problem| problem.to_string())?;
                    }
                }
                self.etag = answer.headers.first_str("etag").map(str::to_owned);
                self.table = Some(table);
                Ok(())
            }
            status => Err(format!("status {status}")),
        }
    }

    /// The limit of a tenant; `None` while no table is here, or where its tier has none.
    pub fn limit(&self, tenant: &str) -> Option<Limit> {
        self.table.as_ref()?.limit(tenant, "tenant")
    }

    /// The tier of a tenant, or of requests without one.
    pub fn tier(&self, tenant: Option<&str>) -> Option<&str> {
        let table = self.table.as_ref()?;
        Some(tenant.map_or(&*table.default_tier, |tenant| table.tier_of(tenant)))
    }

    /// Whether the table names the tenant: nobody outside can choose such names.
    pub fn knows(&self, tenant: &str) -> bool {
        self.table
            .as_ref()
            .is_some_and(|table| table.tenants.contains_key(tenant))
    }
}

#[cfg(test)]
mod tests {
    use policy::Head;
    use policy::Problems;
    use policy::duration::Span;
    use policy::service::Parts;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;

    const TABLE: &str = r#"{"revision":"1","default_tier":"standard","tiers":{"standard":{"rank":1,"limits":{"tenant":{"tokens":7,"period_ms":1000,"shape":{"kind":"paced","burst":70,"peak":14}}}}},"tenants":{"acme":"standard"}}"#;

    fn proxy() -> Service {
        let parts = Parts {
            upstream: "p".into(),
            authority: "p".into(),
            timeout: Span::millis(60),
            service_token: None,
        };
        let any = Span::millis(0)..=Span::secs(1);
        Service::check(parts, "proxy", any, &mut Problems::default())
    }

    fn answer(tiers: &mut Tiers, status: u16, body: &str, now: Time) -> Result<(), String> {
        let headers: Head = [("etag", "\"1\"")].into_iter().collect();
        let answer = Answer {
            status,
            headers: &headers,
            body: body.as_bytes(),
        };
        tiers.store(Ok(answer), now)
    }

    #[test]
    fn pulls_at_once_and_then_within_a_minute() {
        let mut tiers = Tiers::default();
        let now = Time::from_secs(100);
        assert!(tiers.pull(&proxy(), now).unwrap().headers.is_empty());
        assert!(tiers.pull(&proxy(), now).is_none());
        assert_eq!(answer(&mut tiers, 200, TABLE, now), Ok(()));
        assert!(
            tiers
                .pull(&proxy(), now.plus(Duration::from_secs(50)))
                .is_none()
        );
        let again = tiers
            .pull(&proxy(), now.plus(Duration::from_secs(56)))
            .unwrap();
        assert_eq!(
            again.headers,
            [("if-none-match".into(), "\"1\"".to_owned())]
        );
        assert_eq!(tiers.limit("acme").unwrap().tokens, 7);
        assert_eq!(tiers.tier(None), Some("standard"));
        assert!(tiers.knows("acme") && !tiers.knows("other"));
    }

    #[test]
    fn a_bad_table_changes_nothing_and_is_asked_for_again_soon() {
        let mut tiers = Tiers::default();
        let now = Time::from_secs(100);
        assert_eq!(answer(&mut tiers, 200, TABLE, now), Ok(()));
        for (status, body) in [(200, "{"), (500, ""), (200, &*TABLE.replace(":7,", ":0,"))] {
            assert!(answer(&mut tiers, status, body, now).is_err());
            assert_eq!(tiers.limit("acme").unwrap().tokens, 7);
        }
        assert!(
            tiers
                .pull(&proxy(), now.plus(Duration::from_secs(3)))
                .is_some()
        );
        assert_eq!(answer(&mut tiers, 304, "", now), Ok(()));
    }
}
