;; Exports the HTTP handler's name with a function of another type.
(component
  (core module $main (func (export "handle") (result i32) (i32.const 0)))
  (core instance $main (instantiate $main))
  (func $handle (result u32) (canon lift (core func $main "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.12" (instance $handler)))
