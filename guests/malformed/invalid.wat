;; Well-formed text of a module that does not validate: the function promises a number and gives none.
(module
  (memory (export "memory") 1)
  (func (export "_start"))
  (func (export "number") (result i32)))
