;; Answers every request with one line, written by hand against the canonical ABI of wasi:http 0.2.
;; `guests/wat/build.sh` wraps this core module into a component of the world wasi:http/proxy.
(module
  (import "wasi:http/types@0.2.12" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.12" "[method]fields.append"
    (func $append (param $self i32) (param $name i32) (param $name_length i32) (param $value i32)
      (param $value_length i32) (param $result i32)))
  (import "wasi:http/types@0.2.12" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-response.body" (func $body (param $self i32) (param $result i32)))
  ;; result<own<outgoing-response>, error-code>, flattened: which, then the widest of both.
  (import "wasi:http/types@0.2.12" "[static]response-outparam.set"
    (func $set (param $outparam i32) (param $error i32) (param i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-body.write" (func $write (param $self i32) (param $result i32)))
  (import "wasi:http/types@0.2.12" "[static]outgoing-body.finish"
    (func $finish (param $body i32) (param $has_trailers i32) (param $trailers i32) (param $result i32)))
  (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
    (func $write_and_flush (param $self i32) (param $bytes i32) (param $length i32) (param $result i32)))
  (import "wasi:io/streams@0.2.12" "[resource-drop]output-stream" (func $drop_stream (param i32)))

  (memory (export "memory") 1 1)
  (data (i32.const 0) "Hello from WAT\0a")        ;; 15 bytes
  (data (i32.const 16) "content-typetext/plain")   ;; 12 and 10 bytes
  (global $result i32 (i32.const 64))              ;; where every call leaves its result: which, padding, payload
  (global $heap (mut i32) (i32.const 1024))

  ;; The host allocates here what it passes in; an instance is short-lived, so nothing is given back.
  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32)
    (local.set $start
      (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $start) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.const 65536)) (then unreachable))
    (local.get $start))

  ;; The payload of the last result; an error traps, and the client gets a 500.
  (func $payload (result i32)
    (if (i32.load8_u (global.get $result)) (then unreachable))
    (i32.load offset=4 (global.get $result)))

  (func (export "wasi:http/incoming-handler@0.2.12#handle") (param $request i32) (param $outparam i32)
    (local $headers i32) (local $response i32) (local $body i32) (local $stream i32)
    (local.set $headers (call $fields))
    (call $append (local.get $headers) (i32.const 16) (i32.const 12) (i32.const 28) (i32.const 10) (global.get $result))
    (if (i32.load8_u (global.get $result)) (then unreachable))
    (local.set $response (call $response (local.get $headers)))
    (call $body (local.get $response) (global.get $result))
    (local.set $body (call $payload))
    (call $set (local.get $outparam) (i32.const 0) (local.get $response) (i32.const 0) (i64.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $write (local.get $body) (global.get $result))
    (local.set $stream (call $payload))
    (call $write_and_flush (local.get $stream) (i32.const 0) (i32.const 15) (global.get $result))
    (call $drop_stream (local.get $stream))
    (call $finish (local.get $body) (i32.const 0) (i32.const 0) (global.get $result))))
