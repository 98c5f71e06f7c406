//! The double as the gateway of a case, on a virtual clock.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use policy::Time;

use super::instance::Instance;
use super::kong::{Answer, Call, Kong, LocalReply, Rule, Step, Stream};
use crate::drive::BEGINNING;
use crate::exchange::{Exchange, Seen, Text};
use crate::gateway::{FilterSetup, Gateway, HostName, Refused};
use crate::request::{DEFAULT_HOST, Request};
use crate::world::{Asked, End, Service, World};

/// What callbacks return to let a request go on.
const CONTINUE: u32 = 0;
/// Levels of log lines from here on are errors.
const ERROR: u32 = 4;
/// A connection that nobody accepts ends this soon.
const REFUSED_AFTER: Duration = Duration::from_millis(1);
/// Nothing that is worth testing makes a request wait longer than this.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// The first port of the services.
const FIRST_PORT: usize = 20_000;

/// The strict double of Kong, with one filter.
pub struct StrictKong {
    modules: PathBuf,
    world: World,
    services: BTreeMap<String, Arc<dyn Service>>,
    instance: Option<Instance>,
    root: u32,
    next_context: u32,
    requests: BTreeMap<u32, InFlight>,
    done: BTreeMap<u32, Exchange>,
    calls: BTreeMap<u32, (u32, u32)>,
    due: BTreeMap<(Time, u64), Due>,
    sequence: u64,
    now: Time,
}

/// What the double itself knows of a request.
struct InFlight {
    request: Request,
    started: Time,
    /// The body was shown to the filter, or there is none.
    body_seen: bool,
    upstream: Option<Seen>,
}

enum Due {
    Tick(u32, Duration),
    End(u32, Answer),
}

impl StrictKong {
    /// Runs the modules of this folder.
    #[must_use]
    pub fn new(modules: &Path) -> Self {
        Self {
            modules: modules.to_path_buf(),
            world: World::new(),
            services: BTreeMap::new(),
            instance: None,
            root: 0,
            next_context: 1,
            requests: BTreeMap::new(),
            done: BTreeMap::new(),
            calls: BTreeMap::new(),
            due: BTreeMap::new(),
            sequence: 0,
            now: BEGINNING,
        }
    }

    /// Runs a module given as bytes or text, whatever filters are called.
    ///
    /// # Errors
    /// Why it was not loaded.
    pub fn of(module: &[u8]) -> Result<Self, String> {
        let mut kong = Self::new(Path::new(""));
        kong.instance = Some(Instance::of(module, Kong::new("planted", BEGINNING))?);
        Ok(kong)
    }

    /// The rules that were broken.
    pub fn broken(&mut self) -> Vec<Rule> {
        let broken = self.instance.as_mut().map(|it| &it.kong().broken);
        broken
            .into_iter()
            .flatten()
            .map(|(rule, _)| *rule)
            .collect()
    }

    fn instance(&mut self) -> Result<&mut Instance, String> {
        let now = self.now;
        let instance = self.instance.as_mut().ok_or("no module has been loaded")?;
        instance.kong().now = now;
        Ok(instance)
    }

    fn context(&mut self) -> u32 {
        let context = self.next_context;
        self.next_context += 1;
        context
    }

    fn at(&mut self, time: Time, due: Due) {
        self.sequence += 1;
        self.due.insert((time, self.sequence), due);
    }

    /// Sends a request; it may be over at once.
    fn start(&mut self, request: Request) -> Result<u32, String> {
        let context = self.context();
        let (root, now) = (self.root, self.now);
        let headers = headers_of(&request);
        let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        let stream = Stream {
            peer: Some(request.peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            request: headers,
            body: request.body.clone(),
            ..Stream::default()
        };
        self.requests.insert(
            context,
            InFlight {
                body_seen: request.body.is_empty(),
                request,
                started: now,
                upstream: None,
            },
        );
        let instance = self.instance()?;
        instance.kong().streams.insert(context, stream);
        instance.call(
            Step::Start,
            context,
            "proxy_on_context_create",
            &[context, root],
        )?;
        // Kong never says that nothing follows.
        let arguments = [context, count, 0];
        let action = instance.call(
            Step::RequestHeaders,
            context,
            "proxy_on_request_headers",
            &arguments,
        );
        self.after(context, action)?;
        Ok(context)
    }

    /// What becomes of a request after one of its callbacks.
    fn after(&mut self, context: u32, action: Result<u32, String>) -> Result<(), String> {
        self.place_calls()?;
        let instance = self.instance()?;
        let Some(stream) = instance.kong().streams.get_mut(&context) else {
            return Ok(());
        };
        let (answered, asks) = (stream.reply.is_some(), !stream.callouts.is_empty());
        match action {
            // A filter that trapped: Kong answers.
            Err(_) => {
                stream.reply = Some(LocalReply {
                    status: 500,
                    headers: Vec::new(),
                    body: Vec::new(),
                });
                self.respond(context)
            }
            Ok(_) if answered => self.respond(context),
            Ok(CONTINUE) if asks => {
                let what = "a request went on that waits for an answer";
                let _ = instance.kong().break_rule(Rule::CalloutThenContinue, what);
                self.go_on(context)
            }
            Ok(CONTINUE) => self.go_on(context),
            Ok(_) if asks => Ok(()),
            Ok(_) => {
                let what = "a request is held and nothing will resume it";
                let _ = instance.kong().break_rule(Rule::Held, what);
                self.go_on(context)
            }
        }
    }

    /// The request has passed its headers, or also its body.
    fn go_on(&mut self, context: u32) -> Result<(), String> {
        let Some(flight) = self.requests.get_mut(&context) else {
            return Ok(());
        };
        if !flight.body_seen {
            flight.body_seen = true;
            let size = u32::try_from(flight.request.body.len()).unwrap_or(u32::MAX);
            let action = self.instance()?.call(
                Step::RequestBody,
                context,
                "proxy_on_request_body",
                &[context, size, 1],
            );
            return self.after(context, action);
        }
        let (method, path) = (flight.request.method.clone(), flight.request.path.clone());
        let body = flight.request.body.clone();
        let stream = self.instance()?.kong().streams.get(&context);
        let path = stream
            .and_then(|stream| stream.sent_on.clone())
            .unwrap_or(path);
        let mut headers = stream
            .map(|stream| stream.request.clone())
            .unwrap_or_default();
        // Behind the filters Kong says by itself whom the client asked for.
        headers.retain(|(name, _)| !name.eq_ignore_ascii_case(b"x-forwarded-host"));
        let host = headers.iter().find(|(name, _)| name == b"host");
        if let Some((_, host)) = host.cloned() {
            headers.push((b"x-forwarded-host".to_vec(), host));
        }
        let seen = Seen {
            method,
            path: Text::from(path.as_slice()),
            headers: headers
                .iter()
                // What cannot be removed was set to the empty value.
                .filter(|(name, value)| !name.starts_with(b":") && !value.is_empty())
                .map(|(name, value)| {
                    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                    (name, Text::from(value.as_slice()))
                })
                .collect(),
            body: Text::from(body.as_slice()),
        };
        let (status, headers, body) = self.world.upstream.serve(&seen);
        if let Some(flight) = self.requests.get_mut(&context) {
            flight.upstream = Some(seen);
        }
        let headers = headers
            .into_iter()
            .map(|(name, value)| (name.into_bytes(), value.into_bytes()))
            .collect();
        if let Some(stream) = self.instance()?.kong().streams.get_mut(&context) {
            stream.reply = Some(LocalReply {
                status,
                headers,
                body,
            });
        }
        self.respond(context)
    }

    /// Sends the response of a request through the filter, and ends it.
    fn respond(&mut self, context: u32) -> Result<(), String> {
        let (now, flight) = (self.now, self.requests.remove(&context));
        let instance = self.instance()?;
        let reply = instance
            .kong()
            .streams
            .get_mut(&context)
            .and_then(|stream| {
                stream.responding = true;
                let reply = stream.reply.take()?;
                stream.response = reply.headers.clone();
                stream.response.insert(
                    0,
                    (b":status".to_vec(), reply.status.to_string().into_bytes()),
                );
                Some(reply)
            });
        let (Some(flight), Some(reply)) = (flight, reply) else {
            return Err(format!("request {context} was answered out of turn"));
        };
        let count = u32::try_from(reply.headers.len()).unwrap_or(u32::MAX);
        let size = u32::try_from(reply.body.len()).unwrap_or(u32::MAX);
        // A trap here is noted, and the response goes out all the same.
        for (step, callback, arguments) in [
            (
                Step::ResponseHeaders,
                "proxy_on_response_headers",
                &[context, count, 0][..],
            ),
            (
                Step::ResponseBody,
                "proxy_on_response_body",
                &[context, size, 1],
            ),
            (Step::Done, "proxy_on_done", &[context]),
            (Step::Done, "proxy_on_log", &[context]),
            (Step::Done, "proxy_on_delete", &[context]),
        ] {
            let _ = instance.call(step, context, callback, arguments);
        }
        let kong = instance.kong();
        let response = kong.streams.remove(&context).map(|stream| stream.response);
        let headers = response
            .unwrap_or_default()
            .into_iter()
            .filter(|(name, _)| !name.starts_with(b":"))
            .map(|(name, value)| (String::from_utf8_lossy(&name).to_ascii_lowercase(), value))
            .collect();
        self.done.insert(
            context,
            Exchange {
                status: reply.status,
                headers,
                body: reply.body,
                upstream: flight.upstream,
                took: now.since(flight.started),
            },
        );
        Ok(())
    }

    /// Lets the callouts begin that the last callback asked for.
    fn place_calls(&mut self) -> Result<(), String> {
        for call in std::mem::take(&mut self.instance()?.kong().calls) {
            let (after, answer) = self.ask(&call);
            self.calls.insert(call.token, (call.stream, call.root));
            self.at(self.now.plus(after), Due::End(call.token, answer));
        }
        Ok(())
    }

    /// When and how a callout will end.
    fn ask(&self, call: &Call) -> (Duration, Answer) {
        let failed = |after, failure| {
            let answer = Answer {
                failure: Some(failure),
                ..Answer::default()
            };
            (after, answer)
        };
        let service = self.services.get(&call.target);
        let Some(service) = service.filter(|service| !service.refuses()) else {
            return failed(REFUSED_AFTER, "broken connection");
        };
        let special = |own: &str| {
            let found = call.headers.iter().find(|(name, _)| name == own.as_bytes());
            found.map_or_else(String::new, |(_, value)| {
                String::from_utf8_lossy(value).into_owned()
            })
        };
        let served = service.serve(Asked {
            at: self.now,
            method: special(":method"),
            path: special(":path"),
            headers: call
                .headers
                .iter()
                .filter(|(name, _)| !name.starts_with(b":"))
                .map(|(name, value)| {
                    (
                        String::from_utf8_lossy(name).to_ascii_lowercase(),
                        value.clone(),
                    )
                })
                .collect(),
            body: call.body.clone(),
        });
        if served.after >= call.timeout || served.end == End::Hang {
            return failed(call.timeout, "timeout");
        }
        match served.end {
            End::Answer(response) => {
                let mut headers = vec![(
                    b":status".to_vec(),
                    response.status.to_string().into_bytes(),
                )];
                headers.extend(
                    response
                        .headers
                        .into_iter()
                        .map(|(name, value)| (name.into_bytes(), value.into_bytes())),
                );
                let answer = Answer {
                    headers,
                    body: response.body,
                    failure: None,
                };
                (served.after, answer)
            }
            End::CutOff(_) | End::Reset | End::Hang => failed(served.after, "broken connection"),
        }
    }

    fn happen(&mut self, due: Due) -> Result<(), String> {
        match due {
            Due::Tick(root, every) => {
                if !self.instance()?.kong().roots.contains_key(&root) {
                    return Ok(());
                }
                self.at(self.now.plus(every), Due::Tick(root, every));
                let _ = self
                    .instance()?
                    .call(Step::Tick, root, "proxy_on_tick", &[root]);
                self.place_calls()
            }
            Due::End(token, answer) => self.end(token, answer),
        }
    }

    /// A callout ends. If no further one was started and nothing answered, the request goes on by itself.
    fn end(&mut self, token: u32, answer: Answer) -> Result<(), String> {
        let Some((stream, root)) = self.calls.remove(&token) else {
            return Ok(());
        };
        let kong = self.instance()?.kong();
        if stream != 0 {
            // One that was answered or has gone takes its callouts with it.
            let waiting = kong.streams.get_mut(&stream);
            if !waiting.is_some_and(|stream| stream.callouts.remove(&token)) {
                return Ok(());
            }
        } else if !kong.roots.contains_key(&root) {
            return Ok(());
        }
        let context = if stream == 0 { root } else { stream };
        let headers = u32::try_from(answer.headers.len()).unwrap_or(u32::MAX);
        let size = u32::try_from(answer.body.len()).unwrap_or(u32::MAX);
        kong.answer = Some(answer);
        let arguments = [context, token, headers, size, 0];
        let ended = self.instance()?.call(
            Step::CalloutEnd,
            context,
            "proxy_on_http_call_response",
            &arguments,
        );
        self.instance()?.kong().answer = None;
        if stream == 0 {
            return self.place_calls();
        }
        let waits = self
            .instance()?
            .kong()
            .streams
            .get(&context)
            .is_some_and(|stream| !stream.callouts.is_empty());
        match ended {
            Ok(_) if waits => self.place_calls(),
            // It went on before: in the real one, unfiltered.
            ended => self.after(context, ended.map(|_| CONTINUE)),
        }
    }

    fn advance(&mut self, time: Duration) -> Result<(), String> {
        let until = self.now.plus(time);
        while let Some(entry) = self.due.first_entry() {
            if entry.key().0 > until {
                break;
            }
            let ((at, _), due) = entry.remove_entry();
            self.now = self.now.max(at);
            self.happen(due)?;
        }
        self.now = self.now.max(until);
        Ok(())
    }

    fn finish(&mut self, context: u32) -> Result<Exchange, String> {
        let patience = self.now.plus(PATIENCE);
        loop {
            if let Some(exchange) = self.done.remove(&context) {
                return Ok(exchange);
            }
            match self.due.first_key_value() {
                Some((&(at, _), _)) if at <= patience => self.advance(at.since(self.now))?,
                _ => return Err(format!("request {context} never ends")),
            }
        }
    }

    /// Loads a configuration into a new root context.
    fn load(&mut self, config: &str) -> Result<bool, String> {
        let first = self.root == 0;
        let root = self.context();
        let size = u32::try_from(config.len()).unwrap_or(u32::MAX);
        let instance = self.instance()?;
        instance
            .kong()
            .roots
            .insert(root, (config.as_bytes().to_vec(), None));
        instance.call(Step::Start, root, "proxy_on_context_create", &[root, 0])?;
        if first {
            instance.call(Step::Start, root, "proxy_on_vm_start", &[root, 0])?;
        }
        let taken = instance.call(Step::Configure, root, "proxy_on_configure", &[root, size])? != 0;
        if !taken {
            instance.kong().roots.remove(&root);
            return Ok(false);
        }
        let ticks = instance
            .kong()
            .roots
            .get(&root)
            .and_then(|(_, ticks)| *ticks);
        if let Some(every) = ticks {
            self.at(self.now.plus(every), Due::Tick(root, every));
        }
        self.root = root;
        Ok(true)
    }
}

/// The headers as Kong shows them to filters. Names with `_` never arrive (`underscores_in_headers`).
fn headers_of(request: &Request) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pair = |name: &str, value: &[u8]| (name.as_bytes().to_vec(), value.to_vec());
    let host = request.first("host").unwrap_or(DEFAULT_HOST.as_bytes());
    let mut headers = vec![
        pair(":authority", b"kong:28000"),
        pair(":path", &request.path),
        pair(":method", request.method.as_bytes()),
        pair(":scheme", b"http"),
        pair("host", host),
    ];
    let others = request
        .headers
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case(b"host") && !name.contains(&b'_'));
    headers.extend(others.cloned());
    if !request.body.is_empty() && request.first("content-length").is_none() {
        headers.push(pair(
            "content-length",
            request.body.len().to_string().as_bytes(),
        ));
    }
    headers
}

impl Gateway for StrictKong {
    fn host(&self) -> HostName {
        HostName::Kong
    }

    fn manner(&self) -> &'static str {
        "double"
    }

    fn open(&mut self, world: &World) -> Result<BTreeMap<String, String>, String> {
        self.world = world.clone();
        let mut places = BTreeMap::new();
        for (index, (name, service)) in world.services().into_iter().enumerate() {
            let place = format!("127.0.0.1:{}", FIRST_PORT + index);
            self.services.insert(place.clone(), service);
            places.insert(name, place);
        }
        Ok(places)
    }

    fn configure(&mut self, filters: &[FilterSetup]) -> Result<Result<(), Refused>, String> {
        let [filter] = filters else {
            return Err("the double runs one filter at a time".into());
        };
        if self.instance.is_none() {
            let path = self.modules.join(format!("{}.wasm", filter.name));
            let kong = Kong::new(&filter.name, self.now);
            self.instance = Some(Instance::load(&path, kong)?);
        }
        let logged = self.instance()?.kong().logs.len();
        if self.load(&filter.config)? {
            return Ok(Ok(()));
        }
        let logs = &self.instance()?.kong().logs;
        let lines = logs.iter().skip(logged).map(|(_, line)| line.clone());
        Ok(Err(Refused {
            lines: lines.collect(),
        }))
    }

    fn now(&self) -> Time {
        self.now
    }

    fn send(&mut self, requests: Vec<Request>) -> Result<Vec<Exchange>, String> {
        let started = requests
            .into_iter()
            .map(|request| self.start(request))
            .collect::<Result<Vec<_>, _>>()?;
        started
            .into_iter()
            .map(|context| self.finish(context))
            .collect()
    }

    fn wait(&mut self, time: Duration) {
        // What goes wrong meanwhile is a broken rule, or the next request's failure.
        let _ = self.advance(time);
    }

    fn metrics(&mut self) -> Result<BTreeMap<String, u64>, String> {
        let meters = &self.instance()?.kong().meters;
        Ok(meters
            .iter()
            // Of a histogram gateways show other things than a value.
            .filter(|meter| meter.kind != 2)
            .map(|meter| (meter.name.clone(), meter.value))
            .collect())
    }

    fn log(&mut self) -> String {
        let Some(instance) = &mut self.instance else {
            return String::new();
        };
        let lines = instance.kong().logs.iter();
        lines
            .map(|(level, line)| format!("[{level}] {line}\n"))
            .collect()
    }

    fn settles_late(&self) -> bool {
        false
    }

    fn stop(&mut self, expected: &[String]) -> Result<(), String> {
        let Some(mut instance) = self.instance.take() else {
            return Ok(());
        };
        let kong = instance.kong();
        let mut faults: Vec<String> = kong
            .broken
            .iter()
            .map(|(rule, what)| format!("Kong would not forgive {rule}: {what}"))
            .collect();
        let unexpected = |line: &&String| !expected.iter().any(|part| line.contains(part.as_str()));
        faults.extend(
            kong.logs
                .iter()
                .filter(|(level, _)| *level >= ERROR)
                .map(|(_, line)| line)
                .filter(unexpected)
                .map(|line| format!("an error in the log: {line}")),
        );
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("\n    "))
        }
    }
}
