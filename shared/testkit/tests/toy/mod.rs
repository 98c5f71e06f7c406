//! A policy that does whatever the path says, to try the drive out.

#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, dead_code)]

use std::borrow::Cow;
use std::time::Duration;

use policy::callout::{Callout, Upstream};
use policy::duration::Span;
use policy::host::Signature;
use policy::{
    Answer, CalloutError, Configure, Cx, Event, Fact, Fault, Head, Keeper, KeeperCx, Kind, Level,
    Metric, Phases, Policy, Problems, Reply, Verdict,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    upstream: String,
    #[serde(default)]
    refresh: Option<Span>,
    greeting: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Config {
    upstream: Upstream,
    refresh: Option<Duration>,
    greeting: String,
}

impl Configure for Config {
    type Raw = RawConfig;

    fn check(raw: RawConfig, problems: &mut Problems) -> Option<Self> {
        if raw.upstream.is_empty() {
            problems.say("upstream", "must not be empty");
        }
        if raw.greeting.as_deref() == Some("") {
            problems.say("greeting", "must not be empty");
        }
        problems.is_empty().then(|| Self {
            upstream: Upstream {
                target: raw.upstream.into(),
                authority: "auth.internal".into(),
            },
            refresh: raw.refresh.map(|span| span.0),
            greeting: raw.greeting.unwrap_or_else(|| "hello".into()),
        })
    }
}

impl Config {
    fn callout(&self, path: &str) -> Callout {
        Callout {
            upstream: self.upstream.clone(),
            method: "GET",
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
            timeout: Duration::from_secs(2),
            max_answer: 10_000,
        }
    }
}

/// Fetches a document at every tick; requests may wait for it.
pub struct ToyKeeper {
    pub document: Option<String>,
    pub open: i64,
}

impl Keeper<Config, ToyMetric> for ToyKeeper {
    fn new(_: &Config, _: policy::Time) -> Self {
        Self {
            document: None,
            open: 0,
        }
    }

    fn tick_every(config: &Config) -> Option<Duration> {
        config.refresh
    }

    fn on_tick(&mut self, cx: &mut KeeperCx<'_, Config, ToyMetric>) {
        cx.calls.push((7, cx.config.callout("/jwks")));
    }

    fn on_answer(
        &mut self,
        tag: u32,
        answer: Result<Answer<'_>, CalloutError>,
        cx: &mut KeeperCx<'_, Config, ToyMetric>,
    ) {
        assert_eq!(tag, 7);
        if let Ok(Answer {
            status: 200, body, ..
        }) = answer
        {
            self.document = Some(String::from_utf8(body.to_vec()).unwrap());
            cx.effects.wake = true;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ToyMetric {
    Asked,
    Open,
}

impl Metric for ToyMetric {
    fn kind(&self) -> Kind {
        match self {
            Self::Asked => Kind::Counter,
            Self::Open => Kind::Gauge,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Asked => "toy_asked",
            Self::Open => "toy_open",
        }
    }

    fn labels(&self) -> Vec<(&'static str, Cow<'static, str>)> {
        vec![("filter", "toy".into())]
    }
}

pub struct Toy;

impl Policy for Toy {
    const NAME: &'static str = "toy";
    const PHASES: Phases = Phases::CALLOUTS
        .with(Phases::TICK)
        .with(Phases::REQUEST_BODY)
        .with(Phases::RESPONSE);
    type Config = Config;
    type Keeper = ToyKeeper;
    type Metric = ToyMetric;
    const CODES: &'static [&'static str] = &["told_so", "leaked", "wrong"];

    fn new() -> Self {
        Self
    }

    fn series(_: &Config) -> Vec<ToyMetric> {
        vec![ToyMetric::Asked, ToyMetric::Open]
    }

    fn on_request(&mut self, event: Event<'_>, cx: &mut Cx<'_, Self>) -> Result<Verdict, Fault> {
        let path = cx.request.path_and_query().unwrap_or_default().to_owned();
        let no = |code| {
            Ok(Verdict::Deny(
                Reply::problem(403, code, "No").header("x-no", "1"),
            ))
        };
        match event {
            Event::Headers => {
                cx.keeper.open += 1;
                cx.effects
                    .record(ToyMetric::Open, cx.keeper.open.unsigned_abs());
                match path.as_str() {
                    "/no" => no("told_so"),
                    "/leak" => {
                        let line = cx.request.first_str("authorization").unwrap_or_default();
                        cx.effects.log(Level::Info, line.to_owned());
                        no("leaked")
                    }
                    "/error" => {
                        cx.effects.log(Level::Error, "toy: something is wrong");
                        no("wrong")
                    }
                    "/fault" => Err(Fault::Unexpected("path")),
                    "/sleep" => Ok(Verdict::SleepUntil(cx.now.plus(Duration::from_secs(3)))),
                    "/await" => Ok(Verdict::Await {
                        until: cx.now.plus(Duration::from_secs(5)),
                    }),
                    "/body" => Ok(Verdict::ReadBody { at_most: 4 }),
                    "/nowhere" => {
                        let mut callout = cx.config.callout("/jwks");
                        callout.upstream.target = "nowhere".into();
                        Ok(Verdict::Call(callout))
                    }
                    "/edit" => {
                        cx.effects.set_header("x-account-id", "real");
                        cx.effects.remove_header("x-api-key");
                        cx.effects.set_header(":path", "/edited");
                        Ok(Verdict::Allow)
                    }
                    "/peer" => {
                        let peer = cx.host.fact(Fact::PeerAddress).unwrap_or_default();
                        let peer = policy::client_ip::parse_peer(&peer).unwrap().to_string();
                        cx.effects.set_header("x-peer", peer);
                        Ok(Verdict::Allow)
                    }
                    "/signature" => {
                        let read = |name| {
                            let text = cx.request.first_str(name).unwrap();
                            testkit::mint::unb64(text)
                        };
                        let good = cx.host.verify(Signature {
                            algorithm: cx.request.first_str("x-alg").unwrap(),
                            spki: &read("x-spki"),
                            signature: &read("x-signature"),
                            message: b"message",
                        });
                        cx.effects.set_header("x-good", format!("{good:?}"));
                        Ok(Verdict::Allow)
                    }
                    path if path.starts_with("/ask") => {
                        cx.effects.count(ToyMetric::Asked);
                        Ok(Verdict::Call(cx.config.callout("/jwks")))
                    }
                    _ => Ok(Verdict::Allow),
                }
            }
            Event::Body(body) => {
                let body = String::from_utf8_lossy(body).into_owned();
                cx.effects.set_header("x-body", body);
                Ok(Verdict::Allow)
            }
            Event::Answer(answer) => {
                let word = match answer {
                    Ok(answer) => format!("{} {}", answer.status, answer.body.len()),
                    Err(error) => error.to_string(),
                };
                cx.effects.set_header("x-answer", word);
                Ok(Verdict::Allow)
            }
            Event::Woke => {
                let document = cx.keeper.document.is_some().to_string();
                cx.effects.set_header("x-woke", document);
                Ok(Verdict::Allow)
            }
        }
    }

    fn on_response(&mut self, _: &Head, cx: &mut Cx<'_, Self>) {
        cx.effects
            .set_header("x-greeting", cx.config.greeting.clone());
        cx.effects.remove_header("server");
    }

    fn on_done(&mut self, cx: &mut Cx<'_, Self>) {
        cx.keeper.open -= 1;
        cx.effects
            .record(ToyMetric::Open, cx.keeper.open.unsigned_abs());
    }
}
