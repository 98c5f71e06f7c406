//! A strict double of Kong: runs the built module in this process and refuses what crashes or hangs the real one.
//!
//! A lint, not a substitute. It knows the rules that are written here and no others; whether a filter works in
//! Kong is known when its cases have run in Kong. But it needs no Kong, so these mistakes are found everywhere:
//!
//! | forbidden | what Kong 3.9 does |
//! |---|---|
//! | a callout from another callback than request headers, request body, tick or the end of a callout | trap |
//! | a callout at the end of a tick's callout | the worker dies |
//! | a callout without `:method`, `:path`, `:authority`, or to something that is no `host:port` | trap |
//! | a callout, and then letting the request go on | the worker dies when the answer comes |
//! | resuming or answering a request from a tick | the worker dies |
//! | a tick period from outside a root context, or a second one | trap |
//! | holding a request without a callout that will end | it hangs |
//! | answering twice, or in the response's callbacks | trap; a mangled response |
//! | changing request headers once there is a response, response headers outside their callback | trap |
//! | reading a body or an answer outside its callback, headers of an answer that did not come | trap, or garbage |
//! | properties of several parts outside a request, ones that Kong does not have | an error in the log, or trap |
//! | a foreign function that Kong does not have | trap |
//! | moving a gauge by a difference, recording a counter, adding nothing to one, names over 256 bytes | trap |
//! | CR, LF or NUL in a header | a second header, or request |
//! | a missing callback, an import with another signature | the worker dies, or the filter is not loaded |
//! | a trap of the module's own | 500, or the request passes unfiltered |

mod gateway;
mod imports;
mod instance;
mod kong;

pub use gateway::StrictKong;
pub use instance::Instance;
pub use kong::Rule;
