//! The Proxy-Wasm ABI 0.2.1, raw imports behind one thin adapter: every status becomes a `Result`,
//! no call panics, nothing is taken for UTF-8.
//!
//! `proxy_get_log_level` is not among them: Kong gives it another signature and loads no filter that
//! imports it.

#![allow(unsafe_code)]

use std::ptr::{null, null_mut};

/// A status other than `Ok`, as the gateway gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(pub u32);

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;

/// Whose headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Map {
    Request = 0,
    Response = 2,
    Callout = 6,
}

#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Buffer {
    RequestBody = 0,
    CalloutBody = 4,
    PluginConfiguration = 7,
}

#[derive(Clone, Copy)]
#[repr(u32)]
pub enum MetricType {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, data: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: *mut *mut u8,
        size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_continue_stream(stream: u32) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
    fn proxy_http_call(
        upstream: *const u8,
        upstream_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout_millis: u32,
        token: *mut u32,
    ) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
    fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    fn proxy_record_metric(id: u32, value: u64) -> u32;
    fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
    fn proxy_call_foreign_function(
        name: *const u8,
        name_size: usize,
        arguments: *const u8,
        arguments_size: usize,
        results: *mut *mut u8,
        results_size: *mut usize,
    ) -> u32;
}

fn done(status: u32) -> Result<(), Status> {
    if status == OK {
        Ok(())
    } else {
        Err(Status(status))
    }
}

/// Bytes the gateway wrote into memory that it had [`allocate`](crate::allocate)d here.
fn taken(status: u32, data: *mut u8, size: usize) -> Result<Option<Vec<u8>>, Status> {
    match status {
        OK if data.is_null() => Ok(None),
        // SAFETY: the ABI hands over memory that came from `allocate(size)`, which is a `Vec<u8>`
        // of that capacity, and never uses it again.
        OK => Ok(Some(unsafe { Vec::from_raw_parts(data, size, size) })),
        NOT_FOUND => Ok(None),
        status => Err(Status(status)),
    }
}

/// Levels of the ABI: trace 0, debug 1, info 2, warn 3, error 4, critical 5.
pub fn log(level: u32, line: &str) {
    // SAFETY: pointer and length of a live str. A gateway that cannot log cannot be told so.
    let _ = unsafe { proxy_log(level, line.as_ptr(), line.len()) };
}

pub fn now_nanos() -> Result<u64, Status> {
    let mut time = 0;
    // SAFETY: the pointer is to a live u64.
    done(unsafe { proxy_get_current_time_nanoseconds(&raw mut time) })?;
    Ok(time)
}

pub fn set_tick_period(millis: u32) -> Result<(), Status> {
    // SAFETY: plain numbers.
    done(unsafe { proxy_set_tick_period_milliseconds(millis) })
}

pub fn set_effective_context(context: u32) -> Result<(), Status> {
    // SAFETY: plain numbers.
    done(unsafe { proxy_set_effective_context(context) })
}

/// At most `max` bytes from the start of a buffer; empty if there is none.
pub fn buffer(buffer: Buffer, max: usize) -> Result<Vec<u8>, Status> {
    if max == 0 {
        return Ok(Vec::new());
    }
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the pointers are to live variables.
    let status =
        unsafe { proxy_get_buffer_bytes(buffer as u32, 0, max, &raw mut data, &raw mut size) };
    Ok(taken(status, data, size)?.unwrap_or_default())
}

/// All headers in the ABI's map format.
pub fn header_map(map: Map) -> Result<Vec<u8>, Status> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: the pointers are to live variables.
    let status = unsafe { proxy_get_header_map_pairs(map as u32, &raw mut data, &raw mut size) };
    Ok(taken(status, data, size)?.unwrap_or_default())
}

/// The first value of one header.
pub fn header(map: Map, name: &str) -> Result<Option<Vec<u8>>, Status> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: pointer and length of a live str; pointers to live variables.
    let status = unsafe {
        proxy_get_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            &raw mut data,
            &raw mut size,
        )
    };
    taken(status, data, size)
}

pub fn replace_header(map: Map, name: &str, value: &str) -> Result<(), Status> {
    // SAFETY: pointers and lengths of live strs.
    done(unsafe {
        proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removing a header that is not there is fine.
pub fn remove_header(map: Map, name: &str) -> Result<(), Status> {
    // SAFETY: pointer and length of a live str.
    match unsafe { proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) } {
        OK | NOT_FOUND => Ok(()),
        status => Err(Status(status)),
    }
}

/// `path` has its parts separated by NUL.
pub fn property(path: &str) -> Result<Option<Vec<u8>>, Status> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: pointer and length of a live str; pointers to live variables.
    let status =
        unsafe { proxy_get_property(path.as_ptr(), path.len(), &raw mut data, &raw mut size) };
    taken(status, data, size)
}

/// `path` has its parts separated by NUL.
pub fn set_property(path: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: pointers and lengths of live slices.
    done(unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) })
}

/// Lets the current (effective) request go on.
pub fn continue_request() -> Result<(), Status> {
    const HTTP_REQUEST: u32 = 0;
    // SAFETY: plain numbers.
    done(unsafe { proxy_continue_stream(HTTP_REQUEST) })
}

/// Answers the current (effective) request. `headers` are in the ABI's map format.
pub fn send_local_response(
    status: u16,
    details: &str,
    headers: &[u8],
    body: &[u8],
) -> Result<(), Status> {
    const NO_GRPC_STATUS: i32 = -1;
    // SAFETY: pointers and lengths of live slices.
    done(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            NO_GRPC_STATUS,
        )
    })
}

/// Starts a callout and returns its token. `headers` are in the ABI's map format.
pub fn http_call(
    upstream: &str,
    headers: &[u8],
    body: &[u8],
    timeout_millis: u32,
) -> Result<u32, Status> {
    /// A map of no pairs.
    const NO_TRAILERS: [u8; 4] = [0; 4];
    let mut token = 0;
    // SAFETY: pointers and lengths of live slices; the pointer is to a live u32.
    done(unsafe {
        proxy_http_call(
            upstream.as_ptr(),
            upstream.len(),
            headers.as_ptr(),
            headers.len(),
            if body.is_empty() {
                null()
            } else {
                body.as_ptr()
            },
            body.len(),
            NO_TRAILERS.as_ptr(),
            NO_TRAILERS.len(),
            timeout_millis,
            &raw mut token,
        )
    })?;
    Ok(token)
}

pub fn define_metric(kind: MetricType, name: &str) -> Result<u32, Status> {
    let mut id = 0;
    // SAFETY: pointer and length of a live str; the pointer is to a live u32.
    done(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(id)
}

pub fn increment_metric(id: u32, by: i64) -> Result<(), Status> {
    // SAFETY: plain numbers.
    done(unsafe { proxy_increment_metric(id, by) })
}

pub fn record_metric(id: u32, value: u64) -> Result<(), Status> {
    // SAFETY: plain numbers.
    done(unsafe { proxy_record_metric(id, value) })
}

pub fn metric(id: u32) -> Result<u64, Status> {
    let mut value = 0;
    // SAFETY: the pointer is to a live u64.
    done(unsafe { proxy_get_metric(id, &raw mut value) })?;
    Ok(value)
}

/// Never called with a name that the gateway may not know: Kong traps on those.
pub fn call_foreign_function(name: &str, arguments: &[u8]) -> Result<Vec<u8>, Status> {
    let (mut data, mut size) = (null_mut(), 0);
    // SAFETY: pointers and lengths of live slices; pointers to live variables.
    let status = unsafe {
        proxy_call_foreign_function(
            name.as_ptr(),
            name.len(),
            arguments.as_ptr(),
            arguments.len(),
            &raw mut data,
            &raw mut size,
        )
    };
    Ok(taken(status, data, size)?.unwrap_or_default())
}
