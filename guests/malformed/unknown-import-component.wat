;; A command component that wants an interface nobody has.
(component
  (import "nobody:here/missing@1.0.0" (instance $missing (export "do-it" (func))))
  (core func $do_it (canon lower (func $missing "do-it")))
  (core module $main
    (import "missing" "do-it" (func $do_it))
    (func (export "run") (result i32) (call $do_it) (i32.const 0)))
  (core instance $main (instantiate $main (with "missing" (instance (export "do-it" (func $do_it))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $cli (export "run" (func $run)))
  (export "wasi:cli/run@0.2.12" (instance $cli)))
