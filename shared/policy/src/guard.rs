//! What surrounds every policy: it alone fails open or closed, lets pass in shadow mode, and counts
//! who was allowed, denied or met a fault. Policies just use `?`.

use std::borrow::Cow;

use crate::Policy;
use crate::config::{GuardConfig, OnFault};
use crate::cx::Cx;
use crate::effects::{Effects, Level, Outcome};
use crate::event::Event;
use crate::fault::Fault;
use crate::filter::Filter;
use crate::head::Head;
use crate::host::Host;
use crate::phases::Phases;
use crate::reply::{Reply, request_id};
use crate::series::TOO_MANY_HEADERS;
use crate::time::Time;
use crate::verdict::Verdict;

/// A policy with one request, guarded.
#[derive(Debug)]
pub struct Guard<P> {
    policy: P,
    stream: u32,
    decided: bool,
    /// Since when it has waited for a service.
    waiting: Option<Time>,
}

/// What a driver lends to a filter for one event.
pub struct Lent<'a, F: Filter> {
    pub config: &'a F::Config,
    pub keeper: &'a mut F::Keeper,
    pub request: &'a Head,
    pub now: Time,
    pub host: &'a dyn Host,
    pub effects: &'a mut Effects<F::Metric>,
}

impl<P: Policy> Guard<P> {
    /// `stream` is the gateway's number of the request.
    #[must_use]
    pub fn new(stream: u32) -> Self {
        Self {
            policy: P::new(),
            stream,
            decided: false,
            waiting: None,
        }
    }

    /// Decides; a request is counted once, when the verdict is final.
    pub fn on_request(&mut self, event: Event<'_>, lent: Lent<'_, P>) -> Verdict {
        if lent.request.is_truncated() {
            // Headers that cannot be seen cannot be judged, nor removed if forged.
            let reply = Reply::problem(431, TOO_MANY_HEADERS, "The request has too many headers");
            return self.deny(
                reply,
                lent.config.guard,
                lent.request,
                lent.now,
                lent.effects,
            );
        }
        let (guard, request, now) = (lent.config.guard, lent.request, lent.now);
        if let Some(since) = self.waiting.take() {
            lent.effects.waits.push((P::NAME, now.since(since)));
        }
        let mut cx = Cx {
            config: &lent.config.policy,
            keeper: lent.keeper,
            request,
            now,
            host: lent.host,
            effects: &mut *lent.effects,
        };
        let mut result = self.policy.on_request(event, &mut cx);
        if guard.shadow && matches!(result, Ok(Verdict::SleepUntil(_))) {
            result = self.policy.on_request(Event::Woke, &mut cx);
        }
        let effects = lent.effects;
        match result {
            Ok(Verdict::Allow) => {
                self.finish(Outcome::Allowed, effects);
                Verdict::Allow
            }
            Ok(Verdict::Deny(reply)) => self.deny(reply, guard, request, now, effects),
            Ok(Verdict::Call(mut callout)) => {
                self.wait(now);
                callout.headers.extend(trace_of(request));
                Verdict::Call(callout)
            }
            Ok(verdict) => {
                if matches!(verdict, Verdict::Await { .. }) {
                    self.wait(now);
                }
                verdict
            }
            Err(fault) => self.fault(&fault, guard, request, now, effects),
        }
    }

    /// How much of the response matters to the policy.
    #[must_use]
    pub fn watches_response(&self) -> Phases {
        let phases = P::PHASES.only(Phases::RESPONSE.with(Phases::RESPONSE_STATUS));
        if phases != Phases::NONE && self.policy.watches_response() {
            phases
        } else {
            Phases::NONE
        }
    }

    /// The response is about to leave.
    pub fn on_response(&mut self, response: &Head, lent: Lent<'_, P>) {
        let (shadow, request, now) = (lent.config.guard.shadow, lent.request, lent.now);
        let mut cx = lent.cx();
        self.policy.on_response(response, &mut cx);
        let effects = cx.effects;
        if let Some(reply) = effects.replacement.take() {
            self.log_denial(&reply, shadow, request, now, effects);
            // In addition to that of the request, which was passed on.
            if shadow {
                effects
                    .outcomes
                    .push((P::NAME, Outcome::Shadowed(reply.code)));
            } else {
                effects
                    .outcomes
                    .push((P::NAME, Outcome::Denied(reply.code)));
                effects.headers.clear();
                effects.replacement = Some(reply);
            }
        }
    }

    /// The request is over, or its client has gone.
    pub fn on_done(&mut self, lent: Lent<'_, P>) {
        let mut cx = lent.cx();
        self.policy.on_done(&mut cx);
    }

    fn deny(
        &mut self,
        reply: Reply,
        guard: GuardConfig,
        request: &Head,
        now: Time,
        effects: &mut Effects<P::Metric>,
    ) -> Verdict {
        self.log_denial(&reply, guard.shadow, request, now, effects);
        if guard.shadow {
            self.finish(Outcome::Shadowed(reply.code), effects);
            return Verdict::Allow;
        }
        self.finish(Outcome::Denied(reply.code), effects);
        Verdict::Deny(reply)
    }

    fn log_denial(
        &self,
        reply: &Reply,
        shadow: bool,
        request: &Head,
        now: Time,
        effects: &mut Effects<P::Metric>,
    ) {
        let id = request_id(request.first("x-request-id"), now, self.stream);
        let word = if shadow { "would deny" } else { "denied" };
        effects.log(
            Level::Info,
            format!(
                "{}: {word} code={} status={} request_id={id}",
                P::NAME,
                reply.code,
                reply.status
            ),
        );
    }

    fn fault(
        &mut self,
        fault: &Fault,
        guard: GuardConfig,
        request: &Head,
        now: Time,
        effects: &mut Effects<P::Metric>,
    ) -> Verdict {
        let id = request_id(request.first("x-request-id"), now, self.stream);
        effects.log(
            Level::Warn,
            format!("{}: fault: {fault} request_id={id}", P::NAME),
        );
        self.finish(Outcome::Faulted, effects);
        if guard.shadow || guard.on_fault == OnFault::Allow {
            return Verdict::Allow;
        }
        Verdict::Deny(Reply::problem(
            503,
            "filter_fault",
            "The gateway could not decide on the request",
        ))
    }

    fn wait(&mut self, now: Time) {
        if P::WAITS {
            self.waiting = Some(now);
        }
    }

    fn finish(&mut self, outcome: Outcome, effects: &mut Effects<P::Metric>) {
        if !self.decided {
            self.decided = true;
            effects.outcomes.push((P::NAME, outcome));
        }
    }
}

impl<'a, P: Policy> Lent<'a, P> {
    fn cx(self) -> Cx<'a, P> {
        Cx {
            config: &self.config.policy,
            keeper: self.keeper,
            request: self.request,
            now: self.now,
            host: self.host,
            effects: self.effects,
        }
    }
}

/// The headers that tie a callout to its request (O2).
fn trace_of(request: &Head) -> impl Iterator<Item = (Cow<'static, str>, String)> {
    ["traceparent", "tracestate", "x-request-id"]
        .into_iter()
        .filter_map(|name| {
            let value = request.first_str(name)?;
            (value.len() <= 512 && crate::effects::is_header_value(value))
                .then(|| (Cow::Borrowed(name), value.to_owned()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loaded;
    use crate::callout::{Callout, Upstream};
    use crate::host::{Fact, Signature};
    use crate::metric::NoMetric;
    #[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    struct Fickle;

    impl Policy for Fickle {
        const NAME: &'static str = "fickle";
        const WAITS: bool = true;
        const PHASES: Phases = Phases::NONE;
        type Config = ();
        type Keeper = ();
        type Metric = NoMetric;

        fn new() -> Self {
            Self
        }

        fn on_request(
            &mut self,
            event: Event<'_>,
            cx: &mut Cx<'_, Self>,
        ) -> Result<Verdict, Fault> {
            match cx.request.path_and_query().unwrap_or_default() {
                "/deny" => Ok(Verdict::Deny(Reply::problem(403, "no", "No"))),
                "/fault" => Err(Fault::Unexpected("test")),
                "/sleep" if matches!(event, Event::Woke) => Ok(Verdict::Deny(slept())),
                "/sleep" => Ok(Verdict::SleepUntil(Time::NEVER)),
                "/call" => Ok(Verdict::Call(Callout {
                    upstream: Upstream {
                        target: "t".into(),
                        authority: "t".into(),
                    },
                    method: "GET",
                    path: "/".into(),
                    headers: Vec::new(),
                    body: Vec::new(),
                    timeout: std::time::Duration::from_secs(1),
                    max_answer: 0,
                })),
                _ => Ok(Verdict::Allow),
            }
        }

        fn on_response(&mut self, _: &Head, cx: &mut Cx<'_, Self>) {
            cx.effects.set_header("x-a", "1");
            cx.effects.replace_response(wrong());
        }
    }

    fn wrong() -> Reply {
        Reply::problem(502, "wrong", "Wrong")
    }

    fn slept() -> Reply {
        Reply::problem(403, "slept", "Slept")
    }

    struct Nowhere;

    impl Host for Nowhere {
        fn fact(&self, _: Fact) -> Option<Vec<u8>> {
            None
        }
        fn verify(&self, _: Signature<'_>) -> Option<bool> {
            None
        }
    }

    fn run(path: &str, config: &str, truncated: bool) -> (Verdict, Effects<NoMetric>) {
        let config = Loaded::<()>::parse(config.as_bytes()).unwrap();
        let request: Head = [
            (":path", path),
            ("traceparent", "00-1-2-01"),
            ("x-request-id", "r1"),
        ]
        .into_iter()
        .collect();
        let mut effects = Effects::default();
        let lent = Lent {
            config: &config,
            keeper: &mut (),
            request: &request.with_truncation(truncated),
            now: Time::EPOCH,
            host: &Nowhere,
            effects: &mut effects,
        };
        let verdict = Guard::<Fickle>::new(1).on_request(Event::Headers, lent);
        (verdict, effects)
    }

    fn code(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Deny(reply) => reply.code,
            _ => "passed",
        }
    }

    #[test]
    fn counts_each_outcome() {
        for (path, expected) in [
            ("/", Outcome::Allowed),
            ("/deny", Outcome::Denied("no")),
            ("/fault", Outcome::Faulted),
        ] {
            assert_eq!(run(path, "{}", false).1.outcomes, [("fickle", expected)]);
        }
    }

    #[test]
    fn a_fault_is_closed_unless_configured_open() {
        assert_eq!(code(&run("/fault", "{}", false).0), "filter_fault");
        assert_eq!(
            code(&run("/fault", r#"{"on_fault":"allow"}"#, false).0),
            "passed"
        );
    }

    #[test]
    fn shadow_mode_counts_and_lets_pass() {
        let (verdict, effects) = run("/deny", r#"{"shadow":true}"#, false);
        assert_eq!(verdict, Verdict::Allow);
        assert_eq!(effects.outcomes, [("fickle", Outcome::Shadowed("no"))]);
        assert!(effects.logs[0].1.contains("would deny code=no"));
    }

    #[test]
    fn shadow_mode_keeps_nobody_waiting() {
        let (verdict, effects) = run("/sleep", r#"{"shadow":true}"#, false);
        assert_eq!(verdict, Verdict::Allow);
        assert_eq!(effects.outcomes, [("fickle", Outcome::Shadowed("slept"))]);
        let (verdict, _) = run("/sleep", "{}", false);
        assert_eq!(verdict, Verdict::SleepUntil(Time::NEVER));
    }

    #[test]
    fn a_response_is_replaced_unless_in_shadow_mode() {
        for (config, expected) in [
            ("{}", Outcome::Denied("wrong")),
            (r#"{"shadow":true}"#, Outcome::Shadowed("wrong")),
        ] {
            let config = Loaded::<()>::parse(config.as_bytes()).unwrap();
            let mut effects = Effects::default();
            let lent = Lent {
                config: &config,
                keeper: &mut (),
                request: &Head::default(),
                now: Time::EPOCH,
                host: &Nowhere,
                effects: &mut effects,
            };
            Guard::<Fickle>::new(1).on_response(&Head::default(), lent);
            assert_eq!(effects.outcomes, [("fickle", expected)]);
            let shadow = config.guard.shadow;
            assert_eq!(effects.replacement.is_none(), shadow);
            // What was to become of the response does not befall the reply.
            assert_eq!(effects.headers.is_empty(), !shadow);
        }
    }

    #[test]
    fn how_long_a_request_waited_is_told_once_for_each_wait() {
        let config = Loaded::<()>::parse(b"{}").unwrap();
        let request: Head = [(":path", "/call")].into_iter().collect();
        let mut guard = Guard::<Fickle>::new(1);
        let mut waits = Vec::new();
        for (event, millis) in [
            (Event::Headers, 0),
            (Event::Answer(Err(crate::CalloutError::Refused)), 7),
            (Event::Woke, 10),
        ] {
            let mut effects = Effects::default();
            let lent = Lent {
                config: &config,
                keeper: &mut (),
                request: &request,
                now: Time::EPOCH.plus(std::time::Duration::from_millis(millis)),
                host: &Nowhere,
                effects: &mut effects,
            };
            let verdict = guard.on_request(event, lent);
            assert!(matches!(verdict, Verdict::Call(_)), "{verdict:?}");
            waits.extend(effects.waits.iter().map(|(_, time)| time.as_millis()));
        }
        assert_eq!(waits, [7, 3]);
        assert!(run("/", "{}", false).1.waits.is_empty());
    }

    #[test]
    fn headers_that_cannot_be_seen_are_refused() {
        assert_eq!(code(&run("/", "{}", true).0), "too_many_headers");
    }

    #[test]
    fn callouts_carry_the_trace() {
        let (Verdict::Call(callout), _) = run("/call", "{}", false) else {
            panic!("no callout")
        };
        assert!(
            callout
                .headers
                .contains(&("traceparent".into(), "00-1-2-01".into()))
        );
        assert!(
            callout
                .headers
                .contains(&("x-request-id".into(), "r1".into()))
        );
    }
}
