;; Prints one line and exits with 0: a WASI preview 1 command. It runs as text, without being built.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param $file i32) (param $pieces i32) (param $piece_count i32) (param $written i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param $code i32)))
  (memory (export "memory") 1 1)
  (data (i32.const 0) "Hello from WAT\0a")
  (data (i32.const 32) "\00\00\00\00\0f\00\00\00")   ;; one piece: its address and its length
  (func (export "_start")
    (call $exit (call $fd_write (i32.const 1) (i32.const 32) (i32.const 1) (i32.const 40)))))
