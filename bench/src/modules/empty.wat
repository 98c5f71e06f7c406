;; A filter that does nothing: what any Wasm filter costs at least. It is called for request headers alone.
(module
  (memory (export "memory") 1)
  (global $next (mut i32) (i32.const 1024))
  (func (export "proxy_abi_version_0_2_1"))
  ;; One scratch buffer is enough: nothing is kept.
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (global.get $next))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0)))
