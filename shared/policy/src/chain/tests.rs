use super::*;
use crate::callout::Upstream;
use crate::config::{Configure, NoOptions, Problems};
use crate::cx::Cx;
use crate::effects::{Effects, Outcome};
use crate::fault::Fault;
use crate::host::{Fact, Host, Signature};
use crate::keeper::Keeper;
use crate::metric::NoMetric;
use crate::reply::Reply;
use crate::{Kind, Metric, Policy};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Adds a letter to the header `trail`; does what the header of its name says.
struct Walker<const NAME: char>;

struct Ticks(Vec<Time>);

/// Counted by each walker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Answered(u32);

impl Metric for Answered {
    fn kind(&self) -> Kind {
        Kind::Counter
    }
    fn name(&self) -> &'static str {
        "answered"
    }
    fn labels(&self) -> Vec<(&'static str, std::borrow::Cow<'static, str>)> {
        Vec::new()
    }
}

struct Named<const NAME: char>;

impl<const NAME: char> Configure for Named<NAME> {
    type Raw = NoOptions;

    fn check(_: NoOptions, _: &mut Problems) -> Option<Self> {
        Some(Self)
    }
}

fn callout() -> Callout {
    Callout {
        upstream: Upstream {
            target: "t".into(),
            authority: "t".into(),
        },
        method: "GET",
        path: "/".into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout: Duration::from_secs(1),
        max_answer: 0,
    }
}

impl<const NAME: char> Keeper<Named<NAME>, Answered> for Ticks {
    fn new(_: &Named<NAME>, _: Time) -> Self {
        Self(Vec::new())
    }

    fn tick_every(_: &Named<NAME>) -> Option<Duration> {
        Some(Duration::from_millis(if NAME == 'a' { 50 } else { 200 }))
    }

    fn on_tick(&mut self, cx: &mut KeeperCx<'_, Named<NAME>, Answered>) {
        self.0.push(cx.now);
        cx.calls.push((u32::MAX, callout()));
    }

    fn on_answer(
        &mut self,
        tag: u32,
        _: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Named<NAME>, Answered>,
    ) {
        assert_eq!(tag, u32::MAX);
        cx.effects.count(Answered(u32::from(NAME)));
    }
}

impl<const NAME: char> Policy for Walker<NAME> {
    const NAME: &'static str = if NAME == 'a' { "a" } else { "b" };
    const PHASES: Phases = Phases::TICK.with(Phases::RESPONSE);
    type Config = Named<NAME>;
    type Keeper = Ticks;
    type Metric = Answered;

    fn new() -> Self {
        Self
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        let trail = cx.request.first_str("trail").unwrap_or_default();
        cx.effects.set_header("trail", format!("{trail}{NAME}"));
        match cx.request.first_str(<Self as Policy>::NAME) {
            Some("deny") => Ok(Verdict::Deny(Reply::problem(403, "no", "No"))),
            Some("wait") if matches!(event, Event::Headers) => Ok(Verdict::SleepUntil(Time::NEVER)),
            _ => Ok(Verdict::Allow),
        }
    }

    fn on_response(&mut self, response: &Head, cx: &mut Cx<'_, Self>) {
        if cx.request.first_str(<Self as Policy>::NAME) == Some("replace") {
            cx.effects
                .replace_response(Reply::problem(502, "bad", "Bad"));
        }
        let trail = response.first_str("trail").unwrap_or_default();
        cx.effects.set_header("trail", format!("{trail}{NAME}"));
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>) {
        cx.effects.set_header("done", "");
        cx.effects.count(Answered(0));
    }
}

struct Two;

impl Chained for Two {
    const NAME: &'static str = "two";
    type Links = links![Walker<'a'>, Walker<'b'>];
}

type Both = Chain<Two>;

struct Nowhere;

impl Host for Nowhere {
    fn fact(&self, _: Fact) -> Option<Vec<u8>> {
        None
    }
    fn verify(&self, _: Signature<'_>) -> Option<bool> {
        None
    }
}

struct Stage {
    config: <Both as Filter>::Config,
    keeper: <Both as Filter>::Keeper,
    request: <Both as Filter>::Request,
    came: Head,
    effects: Effects<<Both as Filter>::Metric>,
}

impl Stage {
    fn new(config: &str, headers: &[(&str, &str)]) -> Self {
        let config = Both::load(config.as_bytes()).unwrap();
        Self {
            keeper: Both::keeper(&config, Time::EPOCH),
            config,
            request: Both::request(1),
            came: headers.iter().copied().collect(),
            effects: Effects::default(),
        }
    }

    fn with<R>(
        &mut self,
        work: impl FnOnce(&mut <Both as Filter>::Request, Lent<'_, Both>) -> R,
    ) -> R {
        let lent = Lent {
            config: &self.config,
            keeper: &mut self.keeper,
            request: &self.came,
            now: Time::EPOCH,
            host: &Nowhere,
            effects: &mut self.effects,
        };
        work(&mut self.request, lent)
    }

    fn decide(&mut self, event: Event<'_>) -> Verdict {
        self.with(|request, lent| Both::on_request(request, event, lent))
    }

    fn trail(&self) -> &str {
        let head = Both::head(&self.request, &self.came);
        head.first_str("trail").unwrap_or_default()
    }

    /// What the response's trail becomes; empty if nobody looks.
    fn back(&mut self, answered: bool) -> String {
        if Both::watches_response(&self.request, answered) == Phases::NONE {
            return String::new();
        }
        self.effects.clear();
        self.with(|request, lent| Both::on_response(request, &Head::default(), lent));
        let mut response = Head::default();
        for edit in &self.effects.headers {
            response.edit(edit);
        }
        response.first_str("trail").unwrap_or_default().to_owned()
    }
}

const BOTH: &str = r#"{"a":{},"b":{}}"#;

#[test]
fn each_sees_what_those_before_it_did() {
    let mut stage = Stage::new(BOTH, &[("trail", ">")]);
    assert_eq!(stage.decide(Event::Headers), Verdict::Allow);
    assert_eq!(stage.trail(), ">ab");
    let allowed = [("a", Outcome::Allowed), ("b", Outcome::Allowed)];
    assert_eq!(stage.effects.outcomes, allowed);
    assert_eq!(stage.back(false), "ba");
}

#[test]
fn who_follows_a_refusal_sees_nothing_of_it() {
    let mut stage = Stage::new(BOTH, &[("a", "deny")]);
    assert!(matches!(stage.decide(Event::Headers), Verdict::Deny(_)));
    assert_eq!(stage.effects.outcomes, [("a", Outcome::Denied("no"))]);
    assert_eq!(stage.back(true), "");
    stage.effects.clear();
    stage.with(Both::on_done);
    assert_eq!(stage.effects.samples.len(), 1);
}

#[test]
fn a_refusal_goes_back_through_those_before_it() {
    let mut stage = Stage::new(BOTH, &[("b", "deny")]);
    assert!(matches!(stage.decide(Event::Headers), Verdict::Deny(_)));
    assert_eq!(stage.back(true), "a");
}

#[test]
fn an_event_goes_to_who_waits_for_it() {
    let mut stage = Stage::new(BOTH, &[("a", "wait"), ("b", "wait")]);
    let asleep = Verdict::SleepUntil(Time::NEVER);
    assert_eq!(stage.decide(Event::Headers), asleep);
    assert!(stage.effects.outcomes.is_empty());
    assert_eq!(stage.decide(Event::Woke), asleep);
    assert_eq!(stage.effects.outcomes, [("a", Outcome::Allowed)]);
    assert_eq!(stage.decide(Event::Woke), Verdict::Allow);
    assert_eq!(stage.trail(), "aabb");
}

#[test]
fn each_is_in_shadow_mode_by_itself_or_off() {
    let headers = [("a", "deny"), ("b", "deny")];
    let mut stage = Stage::new(r#"{"a":{"shadow":true},"b":{}}"#, &headers);
    assert!(matches!(stage.decide(Event::Headers), Verdict::Deny(_)));
    let outcomes = [("a", Outcome::Shadowed("no")), ("b", Outcome::Denied("no"))];
    assert_eq!(stage.effects.outcomes, outcomes);
    let mut stage = Stage::new(r#"{"a":{"shadow":true}}"#, &headers);
    assert_eq!(stage.decide(Event::Headers), Verdict::Allow);
    assert_eq!(stage.trail(), "a");
    assert_eq!(stage.back(false), "a");
}

/// Ticks at these milliseconds; whose callouts were asked for, by their tags.
fn tick(stage: &mut Stage, millis: u64) -> Vec<u32> {
    let mut calls = Vec::new();
    let now = Time::from_nanos(millis * 1_000_000);
    let mut cx = KeeperCx {
        config: &stage.config,
        now,
        effects: &mut stage.effects,
        calls: &mut calls,
    };
    Both::on_tick(&mut stage.keeper, &mut cx);
    calls.into_iter().map(|(tag, _)| tag).collect()
}

#[test]
fn each_keeper_ticks_at_its_own_pace_and_gets_its_own_answers() {
    let mut stage = Stage::new(BOTH, &[]);
    let every = Both::tick_every(&stage.config);
    assert_eq!(every, Some(Duration::from_millis(50)));
    let first = tick(&mut stage, 1_000);
    assert_eq!(first.len(), 2);
    for millis in [1_049, 1_101, 1_151] {
        assert_eq!(tick(&mut stage, millis).len(), 1, "{millis}");
    }
    // A little early, and the clock set back: both tick.
    assert_eq!(tick(&mut stage, 1_199).len(), 2);
    assert_eq!(tick(&mut stage, 500).len(), 2);
    for (tag, whose) in first.into_iter().zip(['a', 'b']) {
        stage.effects.clear();
        for _ in 0..2 {
            let mut calls = Vec::new();
            let mut cx = KeeperCx {
                config: &stage.config,
                now: Time::EPOCH,
                effects: &mut stage.effects,
                calls: &mut calls,
            };
            let answer = Err(CalloutError::Timeout);
            Both::on_answer(&mut stage.keeper, tag, answer, &mut cx);
        }
        // It ended once.
        let answered: Vec<String> = (stage.effects.samples.iter())
            .map(|sample| format!("{:?}", sample.metric))
            .collect();
        assert_eq!(answered.len(), 1);
        assert!(answered[0].contains(&u32::from(whose).to_string()));
    }
}

#[test]
fn metrics_keep_their_kind_and_name() {
    let metric: Either<NoMetric, Either<Answered, NoMetric>> =
        Either::Rest(Either::First(Answered(1)));
    assert_eq!((metric.kind(), metric.name()), (Kind::Counter, "answered"));
    assert!(metric.labels().is_empty());
}

#[test]
fn a_response_that_was_replaced_goes_by_those_before() {
    // The last link is the first to see the response.
    let mut stage = Stage::new(BOTH, &[("b", "replace")]);
    assert_eq!(stage.decide(Event::Headers), Verdict::Allow);
    assert_eq!(
        stage.back(false),
        "",
        "what was to become of the response is gone with it"
    );
    let code = |stage: &Stage| stage.effects.replacement.as_ref().map(|reply| reply.code);
    assert_eq!(code(&stage), Some("bad"));
    assert_eq!(stage.effects.outcomes, [("b", Outcome::Denied("bad"))]);
    // The first link has the last word.
    let mut stage = Stage::new(BOTH, &[("a", "replace")]);
    assert_eq!(stage.decide(Event::Headers), Verdict::Allow);
    assert_eq!(stage.back(false), "");
    assert_eq!(code(&stage), Some("bad"));
}
