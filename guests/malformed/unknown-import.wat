;; A command that wants a function nobody has.
(module
  (import "nobody" "has_this" (func $missing (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (drop (call $missing (i32.const 1)))))
