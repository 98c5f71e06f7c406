//! The functions that Kong offers to modules, each with its rules.

use std::time::Duration;

use policy::head::to_wire;
use wasmi::{Caller, Error, Linker};

use super::kong::{
    Call, Kong, LocalReply, MAX_METRIC_NAME, MAX_PAIRS, Meter, Pairs, Rule, Step, is_clean,
};

const OK: i32 = 0;
const NOT_FOUND: i32 = 1;
const BAD_ARGUMENT: i32 = 2;

type Status = Result<i32, Error>;

/// Defines them all.
#[allow(clippy::too_many_lines)]
pub fn define(linker: &mut Linker<Kong>) -> Result<(), Error> {
    linker.func_wrap(
        "env",
        "proxy_log",
        |mut it: Caller<'_, Kong>, level: i32, at: i32, size: i32| {
            let line = bytes(&mut it, at, size)?;
            let line = String::from_utf8_lossy(&line).into_owned();
            it.data_mut().logs.push((level.cast_unsigned(), line));
            Ok::<_, Error>(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_current_time_nanoseconds",
        |mut it: Caller<'_, Kong>, out: i32| -> Status {
            let now = it.data().now.as_nanos();
            // Kong's clock has milliseconds.
            write(&mut it, out, &(now / 1_000_000 * 1_000_000).to_le_bytes())
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_tick_period_milliseconds",
        |mut it: Caller<'_, Kong>, period: i32| -> Status {
            let period = Duration::from_millis(u64::from(period.cast_unsigned()));
            let kong = it.data_mut();
            match kong.roots.get_mut(&kong.context) {
                Some((_, ticks @ None)) => *ticks = Some(period),
                Some(_) => return Err(kong.break_rule(Rule::TickPeriod, "a second tick period")),
                None => {
                    return Err(
                        kong.break_rule(Rule::TickPeriod, "a tick period outside a root context")
                    );
                }
            }
            Ok(OK)
        },
    )?;
    // It says yes and does nothing.
    linker.func_wrap(
        "env",
        "proxy_set_effective_context",
        |_: Caller<'_, Kong>, _: i32| OK,
    )?;
    linker.func_wrap("env", "proxy_get_buffer_bytes", buffer)?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut it: Caller<'_, Kong>, map: i32, data: i32, size: i32| -> Status {
            let Some(pairs) = it.data_mut().pairs(map)? else {
                return Ok(BAD_ARGUMENT);
            };
            let pairs: Vec<(&[u8], &[u8])> = pairs
                .iter()
                .take(MAX_PAIRS)
                .map(|(name, value)| (name.as_slice(), value.as_slice()))
                .collect();
            let wire = to_wire(&pairs).unwrap_or_default();
            give(&mut it, &wire, data, size)
        },
    )?;
    linker.func_wrap("env", "proxy_get_header_map_value", header)?;
    linker.func_wrap(
        "env",
        "proxy_replace_header_map_value",
        |mut it: Caller<'_, Kong>,
         map: i32,
         name: i32,
         name_size: i32,
         value: i32,
         value_size: i32|
         -> Status {
            let name = bytes(&mut it, name, name_size)?;
            let value = bytes(&mut it, value, value_size)?;
            if !is_clean(&name) || !is_clean(&value) {
                return Err(it
                    .data_mut()
                    .break_rule(Rule::HeaderValue, "a header was set"));
            }
            let Some(pairs) = it.data_mut().editable(map)? else {
                return Ok(BAD_ARGUMENT);
            };
            let own = |pair: &&mut (Vec<u8>, Vec<u8>)| pair.0.eq_ignore_ascii_case(&name);
            // Of several only the first, as far as requests go.
            match pairs.iter_mut().find(own) {
                Some(pair) => pair.1 = value,
                None => pairs.push((name, value)),
            }
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut it: Caller<'_, Kong>, map: i32, name: i32, size: i32| -> Status {
            let name = bytes(&mut it, name, size)?;
            let Some(pairs) = it.data_mut().editable(map)? else {
                return Ok(BAD_ARGUMENT);
            };
            // A request header is only marked, and nginx sends it on all the same.
            if map != 0 {
                pairs.retain(|(own, _)| !own.eq_ignore_ascii_case(&name));
            }
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut it: Caller<'_, Kong>, path: i32, path_size: i32, data: i32, size: i32| -> Status {
            let path = bytes(&mut it, path, path_size)?;
            let path = String::from_utf8_lossy(&path).into_owned();
            match it.data_mut().property(&path)? {
                Some(value) => give(&mut it, &value, data, size),
                None => Ok(NOT_FOUND),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |mut it: Caller<'_, Kong>, path: i32, path_size: i32, data: i32, size: i32| -> Status {
            let path = bytes(&mut it, path, path_size)?;
            let path = String::from_utf8_lossy(&path).into_owned();
            let value = bytes(&mut it, data, size)?;
            let set = it.data_mut().set_property(&path, value)?;
            Ok(if set { OK } else { NOT_FOUND })
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_continue_stream",
        |mut it: Caller<'_, Kong>, _: i32| -> Status {
            let kong = it.data_mut();
            if kong.stream().is_none() {
                return Err(kong.break_rule(Rule::NotCurrent, "a request was resumed"));
            }
            Ok(OK)
        },
    )?;
    linker.func_wrap("env", "proxy_send_local_response", local_response)?;
    linker.func_wrap("env", "proxy_http_call", http_call)?;
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut it: Caller<'_, Kong>, kind: i32, name: i32, size: i32, out: i32| -> Status {
            let name = bytes(&mut it, name, size)?;
            let name = String::from_utf8_lossy(&name).into_owned();
            let kong = it.data_mut();
            if "pw::".len() + kong.filter.len() + name.len() > MAX_METRIC_NAME {
                return Err(
                    kong.break_rule(Rule::Metric, format_args!("the name {name} is too long"))
                );
            }
            let known = kong
                .meters
                .iter()
                .position(|meter| meter.name == name && meter.kind == kind);
            let id = known.unwrap_or_else(|| {
                kong.meters.push(Meter {
                    name,
                    kind,
                    value: 0,
                });
                kong.meters.len() - 1
            });
            write(
                &mut it,
                out,
                &u32::try_from(id).unwrap_or(u32::MAX).to_le_bytes(),
            )
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_increment_metric",
        |mut it: Caller<'_, Kong>, id: i32, by: i64| -> Status {
            let kong = it.data_mut();
            let meter = usize::try_from(id)
                .ok()
                .and_then(|id| kong.meters.get_mut(id));
            match meter {
                Some(meter) if meter.kind == 0 && by > 0 => {
                    meter.value += by.unsigned_abs();
                    Ok(OK)
                }
                _ => Err(kong.break_rule(
                    Rule::Metric,
                    format_args!("metric {id} was incremented by {by}"),
                )),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_record_metric",
        |mut it: Caller<'_, Kong>, id: i32, value: i64| -> Status {
            let kong = it.data_mut();
            let meter = usize::try_from(id)
                .ok()
                .and_then(|id| kong.meters.get_mut(id));
            match meter {
                Some(meter) if meter.kind != 0 => {
                    meter.value = value.cast_unsigned();
                    Ok(OK)
                }
                _ => Err(kong.break_rule(Rule::Metric, format_args!("metric {id} was recorded"))),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_metric",
        |mut it: Caller<'_, Kong>, id: i32, out: i32| -> Status {
            let kong = it.data_mut();
            match usize::try_from(id).ok().and_then(|id| kong.meters.get(id)) {
                Some(meter) => {
                    let value = meter.value;
                    write(&mut it, out, &value.to_le_bytes())
                }
                None => Err(kong.break_rule(Rule::Metric, format_args!("there is no metric {id}"))),
            }
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_call_foreign_function",
        |mut it: Caller<'_, Kong>,
         name: i32,
         size: i32,
         _: i32,
         _: i32,
         _: i32,
         _: i32|
         -> Status {
            let name = bytes(&mut it, name, size)?;
            let name = String::from_utf8_lossy(&name).into_owned();
            Err(it.data_mut().break_rule(Rule::ForeignFunction, name))
        },
    )?;
    wasi(linker)
}

/// What Rust's standard library asks of the system.
fn wasi(linker: &mut Linker<Kong>) -> Result<(), Error> {
    const WASI: &str = "wasi_snapshot_preview1";
    linker.func_wrap(
        WASI,
        "environ_get",
        |_: Caller<'_, Kong>, _: i32, _: i32| OK,
    )?;
    linker.func_wrap(
        WASI,
        "environ_sizes_get",
        |mut it: Caller<'_, Kong>, count: i32, size: i32| -> Status {
            write(&mut it, count, &[0; 4])?;
            write(&mut it, size, &[0; 4])
        },
    )?;
    linker.func_wrap(
        WASI,
        "fd_write",
        |mut it: Caller<'_, Kong>, _: i32, _: i32, _: i32, out: i32| -> Status {
            write(&mut it, out, &[0; 4])
        },
    )?;
    linker.func_wrap(
        WASI,
        "proc_exit",
        |mut it: Caller<'_, Kong>, code: i32| -> Result<(), Error> {
            Err(it
                .data_mut()
                .break_rule(Rule::Trap, format_args!("exit {code}")))
        },
    )?;
    linker.func_wrap(
        WASI,
        "random_get",
        |mut it: Caller<'_, Kong>, at: i32, size: i32| -> Status {
            let random: Vec<u8> = (0..size).map(|_| it.data_mut().random()).collect();
            write(&mut it, at, &random)
        },
    )?;
    linker.func_wrap(
        WASI,
        "clock_time_get",
        |mut it: Caller<'_, Kong>, _: i32, _: i64, out: i32| -> Status {
            let now = it.data().now.as_nanos();
            write(&mut it, out, &now.to_le_bytes())
        },
    )?;
    Ok(())
}

fn buffer(
    mut it: Caller<'_, Kong>,
    kind: i32,
    start: i32,
    most: i32,
    data: i32,
    size: i32,
) -> Status {
    let kong = it.data_mut();
    let in_request = kong.stream().is_some();
    let content = match (kind, kong.step) {
        (0, Step::RequestBody) => kong.stream().map(|stream| stream.body.clone()),
        (4, Step::CalloutEnd) => kong.answer.as_ref().map(|answer| answer.body.clone()),
        (7, _) if !in_request => kong.roots.get(&kong.context).map(|root| root.0.clone()),
        _ => return Err(kong.break_rule(Rule::Read, format_args!("buffer {kind}"))),
    };
    let content = content.unwrap_or_default();
    let (start, most) = (
        start.cast_unsigned() as usize,
        most.cast_unsigned() as usize,
    );
    let end = start.saturating_add(most).min(content.len());
    match content.get(start..end) {
        Some([]) => Ok(OK),
        Some(part) => give(&mut it, part, data, size),
        None => Ok(BAD_ARGUMENT),
    }
}

fn header(
    mut it: Caller<'_, Kong>,
    map: i32,
    name: i32,
    name_size: i32,
    data: i32,
    size: i32,
) -> Status {
    let name = bytes(&mut it, name, name_size)?;
    let kong = it.data_mut();
    if map == 6 && name == b":dispatch_status" {
        let Some(answer) = &kong.answer else {
            return Err(kong.break_rule(Rule::Read, "the status of a callout"));
        };
        return match answer.failure {
            Some(failure) => give(&mut it, failure.as_bytes(), data, size),
            None => Ok(NOT_FOUND),
        };
    }
    let value = kong.pairs(map)?.and_then(|pairs| {
        let own = |pair: &&(Vec<u8>, Vec<u8>)| pair.0.eq_ignore_ascii_case(&name);
        pairs.iter().find(own).map(|pair| pair.1.clone())
    });
    match value {
        Some(value) => give(&mut it, &value, data, size),
        None => Ok(NOT_FOUND),
    }
}

#[allow(clippy::too_many_arguments)]
fn local_response(
    mut it: Caller<'_, Kong>,
    status: i32,
    details: i32,
    details_size: i32,
    body: i32,
    body_size: i32,
    headers: i32,
    headers_size: i32,
    _grpc: i32,
) -> Status {
    bytes(&mut it, details, details_size)?;
    let mut body = bytes(&mut it, body, body_size)?;
    let headers = pairs(&mut it, headers, headers_size)?;
    let kong = it.data_mut();
    if !headers
        .iter()
        .all(|(name, value)| is_clean(name) && is_clean(value))
    {
        return Err(kong.break_rule(Rule::HeaderValue, "a request was answered"));
    }
    if matches!(
        kong.step,
        Step::ResponseHeaders | Step::ResponseBody | Step::Done
    ) {
        return Err(kong.break_rule(Rule::Answer, "a request was answered that has its response"));
    }
    let Some(stream) = kong.stream() else {
        return Err(kong.break_rule(Rule::NotCurrent, "a request was answered"));
    };
    if stream.reply.is_some() || stream.responding {
        return Err(kong.break_rule(Rule::Answer, "a request was answered twice"));
    }
    if !body.is_empty() {
        body.push(b'\n');
    }
    stream.reply = Some(LocalReply {
        status: u16::try_from(status).unwrap_or(500),
        headers,
        body,
    });
    stream.callouts.clear();
    Ok(OK)
}

#[allow(clippy::too_many_arguments)]
fn http_call(
    mut it: Caller<'_, Kong>,
    upstream: i32,
    upstream_size: i32,
    headers: i32,
    headers_size: i32,
    body: i32,
    body_size: i32,
    _trailers: i32,
    _trailers_size: i32,
    timeout: i32,
    out: i32,
) -> Status {
    let target = bytes(&mut it, upstream, upstream_size)?;
    let target = String::from_utf8_lossy(&target).into_owned();
    let headers = pairs(&mut it, headers, headers_size)?;
    let body = bytes(&mut it, body, body_size)?;
    let kong = it.data_mut();
    if !kong.may_call() {
        return Err(kong.break_rule(Rule::CalloutFromHere, format_args!("a callout to {target}")));
    }
    let complete = [":method", ":path", ":authority"].iter().all(|own| {
        headers
            .iter()
            .any(|(name, value)| name == own.as_bytes() && !value.is_empty())
    });
    let port = target
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok());
    let address = target.starts_with("unix:") || port.is_some();
    let clean = headers
        .iter()
        .all(|(name, value)| is_clean(name) && is_clean(value));
    if !complete || !address || !clean {
        return Err(kong.break_rule(
            Rule::CalloutMalformed,
            format_args!("a callout to {target}"),
        ));
    }
    if kong.stream().is_some_and(|stream| stream.reply.is_some()) {
        return Err(kong.break_rule(
            Rule::CalloutFromHere,
            "a callout of a request that was answered",
        ));
    }
    let token = kong.token();
    let context = kong.context;
    let of_stream = match kong.stream() {
        Some(stream) => {
            stream.callouts.insert(token);
            context
        }
        None => 0,
    };
    kong.calls.push(Call {
        token,
        stream: of_stream,
        root: if of_stream == 0 { context } else { 0 },
        target,
        headers,
        body,
        timeout: Duration::from_millis(u64::from(timeout.cast_unsigned())),
    });
    write(&mut it, out, &token.to_le_bytes())
}

/// A map in the ABI's format out of the module's memory.
fn pairs(it: &mut Caller<'_, Kong>, at: i32, size: i32) -> Result<Pairs, Error> {
    let wire = bytes(it, at, size)?;
    match policy::Head::from_wire(wire) {
        Some(head) => Ok(head
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect()),
        None => Err(it
            .data_mut()
            .break_rule(Rule::Memory, "a header map is malformed")),
    }
}

fn bytes(it: &mut Caller<'_, Kong>, at: i32, size: i32) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; size.cast_unsigned() as usize];
    let memory = it.get_export("memory").and_then(wasmi::Extern::into_memory);
    let read = memory.map(|memory| memory.read(&*it, at.cast_unsigned() as usize, &mut out));
    match read {
        Some(Ok(())) => Ok(out),
        _ if size == 0 => Ok(out),
        _ => Err(it
            .data_mut()
            .break_rule(Rule::Memory, "memory was offered that is not there")),
    }
}

fn write(it: &mut Caller<'_, Kong>, at: i32, bytes: &[u8]) -> Status {
    let memory = it.get_export("memory").and_then(wasmi::Extern::into_memory);
    let written = memory.map(|memory| memory.write(&mut *it, at.cast_unsigned() as usize, bytes));
    match written {
        Some(Ok(())) => Ok(OK),
        _ => Err(it
            .data_mut()
            .break_rule(Rule::Memory, "memory was asked for that is not there")),
    }
}

/// Hands bytes over in memory that the module allocates.
fn give(it: &mut Caller<'_, Kong>, bytes: &[u8], data: i32, size: i32) -> Status {
    let allocate = it
        .get_export("proxy_on_memory_allocate")
        .and_then(wasmi::Extern::into_func)
        .and_then(|callback| callback.typed::<i32, i32>(&*it).ok());
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    let at = match allocate {
        Some(allocate) => allocate.call(&mut *it, length)?,
        None => 0,
    };
    if at == 0 {
        return Err(it
            .data_mut()
            .break_rule(Rule::Memory, "the module has no memory left"));
    }
    write(it, at, bytes)?;
    write(it, data, &at.to_le_bytes())?;
    write(it, size, &length.to_le_bytes())
}
