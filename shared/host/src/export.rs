//! The callbacks that the gateway calls.

#![allow(unsafe_code)]

/// Memory that the gateway writes into before it hands it over. Null if there is none left.
#[must_use]
pub fn allocate(size: usize) -> *mut u8 {
    let mut bytes: Vec<u8> = Vec::new();
    if bytes.try_reserve_exact(size).is_err() {
        return std::ptr::null_mut();
    }
    let mut bytes = std::mem::ManuallyDrop::new(bytes);
    bytes.as_mut_ptr()
}

/// Makes a filter of a policy or a chain: exports the ABI's callbacks.
///
/// ```ignore
/// host::main!(Auth, callouts, tick);
/// ```
///
/// The words after the policy or chain are its [`Filter::PHASES`](policy::Filter::PHASES): `callouts`,
/// `tick`, `request_body`, `response`, `response_status`. A list that differs from `PHASES` does not compile.
///
/// Callbacks that the policy does not need do nothing, and are there for Kong alone, which calls
/// them without asking and dies where one is missing. In Envoy each would cost every request a
/// crossing, so the build leaves every callback that does nothing out of the module for Envoy: see
/// `docs/adr/0002-callbacks-that-do-nothing.md`.
#[macro_export]
macro_rules! main {
    ($policy:ty $(, $phase:ident)* $(,)?) => {
        const _: () = {
            const LISTED: $crate::Phases = $crate::Phases::NONE$(.with($crate::main!(@set $phase)))*;
            const NEEDED: $crate::Phases = <$policy as ::policy::Filter>::PHASES;
            assert!(
                LISTED.has(NEEDED) && NEEDED.has(LISTED),
                "host::main! must list exactly the filter's phases"
            );
        };

        ::std::thread_local! {
            static VM: $crate::Vm<$policy> = const { $crate::Vm::new() };
        }

        unsafe extern "C" {
            fn __wasm_call_ctors();
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn _initialize() {
            unsafe { __wasm_call_ctors() }
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_abi_version_0_2_1() {}

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
            $crate::allocate(size)
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_context_create(context: u32, root: u32) {
            VM.with(|vm| vm.on_context_create(context, root))
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_vm_start(_: u32, _: usize) -> bool {
            true
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_configure(context: u32, size: usize) -> bool {
            VM.with(|vm| vm.on_configure(context, size))
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_request_headers(context: u32, _: usize, end_of_stream: bool) -> u32 {
            VM.with(|vm| vm.on_request_headers(context, end_of_stream))
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_delete(context: u32) {
            VM.with(|vm| vm.on_delete(context))
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_response_body(_: u32, _: usize, _: bool) -> u32 {
            0
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_response_trailers(_: u32, _: usize) -> u32 {
            0
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_done(_: u32) -> bool {
            true
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_log(_: u32) {}

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_request_body(context: u32, size: usize, end_of_stream: bool) -> u32 {
            if <$policy as ::policy::Filter>::PHASES.has($crate::Phases::REQUEST_BODY) {
                VM.with(|vm| vm.on_request_body(context, size, end_of_stream))
            } else {
                0
            }
        }

        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_response_headers(context: u32, _: usize, _: bool) -> u32 {
            let phases = <$policy as ::policy::Filter>::PHASES;
            if phases.has($crate::Phases::RESPONSE) || phases.has($crate::Phases::RESPONSE_STATUS) {
                VM.with(|vm| vm.on_response_headers(context))
            } else {
                0
            }
        }

        $($crate::main!(@export $phase);)*
    };

    (@set callouts) => { $crate::Phases::CALLOUTS };
    (@set tick) => { $crate::Phases::TICK };
    (@set request_body) => { $crate::Phases::REQUEST_BODY };
    (@set response) => { $crate::Phases::RESPONSE };
    (@set response_status) => { $crate::Phases::RESPONSE_STATUS };

    (@export callouts) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_http_call_response(
            _: u32,
            token: u32,
            headers: usize,
            body_size: usize,
            _: usize,
        ) {
            VM.with(|vm| vm.on_callout_end(token, headers, body_size))
        }
    };
    (@export tick) => {
        #[unsafe(no_mangle)]
        pub extern "C" fn proxy_on_tick(context: u32) {
            VM.with(|vm| vm.on_tick(context))
        }
    };
    (@export request_body) => {};
    (@export response) => {};
    (@export response_status) => {};
}
