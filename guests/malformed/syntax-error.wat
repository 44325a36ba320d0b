;; The third line opens a parenthesis that nothing closes, after an instruction that does not exist.
(module
  (func (export "_start") (i32.kaboom (i32.const 1)
