;; Grows its table, 1000 elements at a time, until it is refused; then answers with how many elements it got.
;; `guests/wat/build.sh` wraps this core module into a component of the world wasi:http/proxy.
(module
  (import "wasi:http/types@0.2.12" "[constructor]fields" (func $fields (result i32)))
  (import "wasi:http/types@0.2.12" "[constructor]outgoing-response" (func $response (param i32) (result i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-response.body" (func $body (param $self i32) (param $result i32)))
  (import "wasi:http/types@0.2.12" "[static]response-outparam.set"
    (func $set (param $outparam i32) (param $error i32) (param i32 i32 i64 i32 i32 i32 i32)))
  (import "wasi:http/types@0.2.12" "[method]outgoing-body.write" (func $write (param $self i32) (param $result i32)))
  (import "wasi:http/types@0.2.12" "[static]outgoing-body.finish"
    (func $finish (param $body i32) (param $has_trailers i32) (param $trailers i32) (param $result i32)))
  (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-write-and-flush"
    (func $write_and_flush (param $self i32) (param $bytes i32) (param $length i32) (param $result i32)))
  (import "wasi:io/streams@0.2.12" "[resource-drop]output-stream" (func $drop_stream (param i32)))

  (memory (export "memory") 1 1)
  (table $table 1 funcref)
  (data (i32.const 0) "           elements, then refused\0a")   ;; the number goes before the first word
  (global $result i32 (i32.const 64))
  (global $heap (mut i32) (i32.const 1024))

  (func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
    (local $start i32)
    (local.set $start
      (i32.and
        (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
    (global.set $heap (i32.add (local.get $start) (local.get $size)))
    (if (i32.gt_u (global.get $heap) (i32.const 65536)) (then unreachable))
    (local.get $start))

  (func $payload (result i32)
    (if (i32.load8_u (global.get $result)) (then unreachable))
    (i32.load offset=4 (global.get $result)))

  ;; Writes the number in decimal so that its last digit lies at $end; the address of its first digit.
  (func $decimal (param $number i32) (param $end i32) (result i32)
    (loop $digit
      (i32.store8 (local.get $end) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
      (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
      (local.set $end (i32.sub (local.get $end) (i32.const 1)))
      (br_if $digit (local.get $number)))
    (i32.add (local.get $end) (i32.const 1)))

  (func (export "wasi:http/incoming-handler@0.2.12#handle") (param $request i32) (param $outparam i32)
    (local $response i32) (local $body i32) (local $stream i32) (local $text i32)
    (loop $more
      (br_if $more (i32.ne (table.grow $table (ref.null func) (i32.const 1000)) (i32.const -1))))
    (local.set $text (call $decimal (table.size $table) (i32.const 9)))

    (local.set $response (call $response (call $fields)))
    (call $body (local.get $response) (global.get $result))
    (local.set $body (call $payload))
    (call $set (local.get $outparam) (i32.const 0) (local.get $response) (i32.const 0) (i64.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
    (call $write (local.get $body) (global.get $result))
    (local.set $stream (call $payload))
    (call $write_and_flush (local.get $stream) (local.get $text) (i32.sub (i32.const 34) (local.get $text)) (global.get $result))
    (call $drop_stream (local.get $stream))
    (call $finish (local.get $body) (i32.const 0) (i32.const 0) (global.get $result))))
