//! Expressions and what they come to.

use serde_json::{Value, json};

use super::*;
use crate::custom::structural::Structural;

/// The value of an expression over a dynamic `self`, as text; or what went wrong.
fn dynamic(source: &str, input: &Value) -> String {
    let program = match Program::compile(source) {
        Ok(program) => program,
        Err(error) => return error.to_string(),
    };
    let mut root = Root::default();
    root.variables.push(("self", Val::json(input, View::Dynamic)));
    show(program.evaluate(&root, &mut Budget::of_request()))
}

fn show(outcome: Result<Val<'_>, Fault>) -> String {
    match outcome {
        Ok(value) => match to_json(&value) {
            Some(json) => json.to_string(),
            None => format!("<{}>", value.type_name()),
        },
        Err(fault) => fault.to_string(),
    }
}

/// What a value is as JSON; none where JSON has no such value.
fn to_json(value: &Val<'_>) -> Option<Value> {
    Some(match value {
        Val::Null => Value::Null,
        Val::Bool(truth) => Value::Bool(*truth),
        Val::Int(number) => (*number).into(),
        Val::Uint(number) => (*number).into(),
        Val::Double(number) => (*number).into(),
        Val::Text(text) => (*text).into(),
        Val::Made(text) => (**text).into(),
        Val::List(items) => Value::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Val::Map(entries) => {
            let entry = |(key, value): (&value::Key<'_>, &Val<'_>)| {
                Some((key.val().as_text()?.to_string(), to_json(value)?))
            };
            Value::Object(entries.iter().map(entry).collect::<Option<_>>()?)
        }
        Val::Json(value, _) => (*value).clone(),
        _ => return None,
    })
}

fn check(table: &[(&str, &str)], input: &Value) {
    for (source, expected) in table {
        assert_eq!(dynamic(source, input), *expected, "{source}");
    }
}

#[test]
fn the_language() {
    let input = json!({"a": {"b": 1, "list": [1, 2, 3], "text": "héllo", "nothing": null}, "foo-bar": 2});
    check(
        &[
            ("1 + 2 * 3 == 7", "true"),
            ("self.a.b + 1", "2"),
            ("self.foo__dash__bar", "2"),
            ("self.a.missing", "no such key: missing"),
            ("has(self.a.b) && !has(self.a.c)", "true"),
            ("self.a.list[3]", "index out of bounds: 3"),
            ("self.a.list.all(x, x > 0)", "true"),
            ("self.a.list.exists(x, x == 3)", "true"),
            ("self.a.list.exists_one(x, x == 3)", "true"),
            ("self.a.list.map(x, x * 2)", "[2,4,6]"),
            ("self.a.list.filter(x, x > 1)", "[2,3]"),
            ("self.a.list.map(x, x > 1, x + 1)", "[3,4]"),
            ("[1, 0].all(x, 1 / x > 5)", "false"),
            ("[0, 1].exists(x, 1 / x == 1)", "true"),
            ("[0].all(x, 1 / x > 5)", "division by zero"),
            ("true || 1 / 0 == 1", "true"),
            ("1 / 0 == 1 || true", "true"),
            ("1 / 0 == 1 && true", "division by zero"),
            ("size(self.a.text)", "5"),
            ("self.a.text.size() == 5 && self.a.text.startsWith('h')", "true"),
            ("'a' in self", "true"),
            ("2 in self.a.list", "true"),
            ("self.a['list'][0]", "1"),
            ("{'x': 1, 'y': [2]}.y[0]", "2"),
            ("9223372036854775807 + 1", "integer overflow"),
            ("1 == 1.0 && 1 < 1.5 && 2u == 2", "true"),
            ("type(1) == int && type('a') == string", "true"),
            ("int('12') + int(2.7)", "14"),
            ("string(1.5) + string(true)", "\"1.5true\""),
            ("int('x')", "type conversion error from 'string' to 'int': \"x\""),
            ("self.a.text.matches('^h.llo$')", "true"),
            ("self.a.nothing == null", "true"),
            ("self.a.b.c", "no such overload"),
            ("dyn(1) == dyn('a')", "false"),
            ("-(-5)", "5"),
            ("5 % 3", "2"),
        ],
        &input,
    );
}

#[test]
fn optional_values_and_the_macros_that_the_parser_does_not_know() {
    let input = json!({"a": {"b": 1}, "list": [3, 1, 2]});
    check(
        &[
            ("self.?a.?b.orValue(5)", "1"),
            ("self.?x.?b.orValue(5)", "5"),
            ("self.?x.hasValue()", "false"),
            ("self[?'a'].hasValue()", "true"),
            ("optional.of(1).or(optional.of(2)).value()", "1"),
            ("optional.none().value()", "optional.none() dereference"),
            ("optional.of(2).optMap(x, x * 2).orValue(0)", "4"),
            ("optional.none().optMap(x, x * 2).orValue(0)", "0"),
            ("[1, ?optional.none(), ?optional.of(2)]", "[1,2]"),
            ("cel.bind(x, 2, x * x)", "4"),
            ("self.list.sortBy(x, -x)", "[3,2,1]"),
            ("self.list.all(i, v, i < 3 && v > 0)", "true"),
            ("self.list.transformList(i, v, i * v)", "[0,1,4]"),
            ("{'a': 1}.transformMap(k, v, v + 1)", "{\"a\":2}"),
        ],
        &input,
    );
}

#[test]
fn the_library_of_kubernetes() {
    check(
        &[
            ("quantity('1Gi').isGreaterThan(quantity('500Mi'))", "true"),
            ("isQuantity('x')", "false"),
            ("url('https://a.b:80/c').getHostname()", "\"a.b\""),
            ("isIP('10.0.0.1') && cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true"),
            ("'a,b'.split(',')", "[\"a\",\"b\"]"),
            ("['a', 'b'].join('-')", "\"a-b\""),
            ("'aXb'.lowerAscii().replace('x', '--')", "\"a--b\""),
            ("'abc'.substring(1, 2)", "\"b\""),
            ("[3, 1].sum() == 4 && [1, 2].isSorted()", "true"),
            ("sets.contains([1, 2], [2])", "true"),
            ("math.greatest(1, 2)", "2"),
            ("'%s is %d'.format(['a', 1])", "\"a is 1\""),
            ("'abc123'.find('[0-9]+')", "\"123\""),
            ("duration('90s') > duration('1m')", "true"),
            ("duration('1h') + duration('30m') == duration('90m')", "true"),
            (
                "timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')",
                "true",
            ),
            ("timestamp('2024-01-02T00:00:00Z').getFullYear()", "2024"),
            (
                "duration('99999999999999999999h')",
                "type conversion error from 'string' to 'duration': \"99999999999999999999h\"",
            ),
            ("base64.decode('YQ==') == b'a'", "true"),
            ("lists.range(3)", "[0,1,2]"),
            ("!format.dns1123Label().validate('a').hasValue()", "true"),
            ("'x'.nonsense()", "no such overload"),
        ],
        &json!({}),
    );
}

#[test]
fn a_schema_gives_values_their_types() {
    let schema = Structural::new(&json!({"type": "object", "properties": {
        "at": {"type": "string", "format": "date-time"}, "for": {"type": "string", "format": "duration"},
        "data": {"type": "string", "format": "byte"}, "share": {"type": "number"}, "count": {"type": "integer"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "port": {"x-kubernetes-int-or-string": true}, "namespace": {"type": "string"},
        "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    }}))
    .expect("a schema");
    let input = json!({
        "at": "2024-01-01T00:00:00Z", "for": "1h", "data": "YWI=", "share": 2, "labels": {"a-b": "c"},
        "port": "http", "namespace": "n", "tags": ["a", "b"],
    });
    for (source, expected) in [
        ("self.at < timestamp('2025-01-01T00:00:00Z')", "true"),
        ("self.__for__ == duration('60m')", "true"),
        ("size(self.data)", "2"),
        ("self.share / 4.0", "0.5"),
        ("self.labels['a-b']", "\"c\""),
        ("has(self.count)", "false"),
        ("type(self.port) == string", "true"),
        ("self.__namespace__", "\"n\""),
        ("self.tags == ['b', 'a']", "true"),
        ("(self.tags + ['b', 'c'])", "[\"a\",\"b\",\"c\"]"),
    ] {
        let program = Program::compile(source).expect("an expression");
        let own = Type::of(&schema).expect("it is seen");
        program.check(&Environment { names: vec![("self", own)], variables: None }).expect(source);
        let mut root = Root::default();
        root.variables.push(("self", Val::json(&input, View::Typed(&schema))));
        assert_eq!(show(program.evaluate(&root, &mut Budget::of_request())), expected, "{source}");
    }
}

#[test]
fn what_cannot_be_is_found_before_it_runs() {
    let schema = Structural::new(&json!({"type": "object", "properties": {
        "size": {"type": "integer"}, "name": {"type": "string", "maxLength": 10},
        "items": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 3}},
        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}))
    .expect("a schema");
    for (source, expected) in [
        ("self.size > 1", ""),
        ("self.items.all(x, x.size() > 1)", ""),
        ("self.sise > 1", "ERROR: <input>:1:5: undefined field 'sise'\n | self.sise > 1\n | ....^"),
        ("self.any.x == 1", "ERROR: <input>:1:5: undefined field 'any'\n | self.any.x == 1\n | ....^"),
        (
            "slef.size > 1",
            "ERROR: <input>:1:1: undeclared reference to 'slef' (in container '')\n | slef.size > 1\n | ^",
        ),
        (
            "self.size > 'a'",
            "ERROR: <input>:1:11: found no matching overload for '_>_' applied to '(int, string)'\n | self.size > 'a'\n | ..........^",
        ),
        ("self.size", "cel expression must evaluate to a bool"),
        (
            "foo(self.size)",
            "ERROR: <input>:1:1: undeclared reference to 'foo' (in container '')\n | foo(self.size)\n | ^",
        ),
        (
            "self.size.all(x, true)",
            "ERROR: <input>:1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)\n | self.size.all(x, true)\n | ^",
        ),
    ] {
        let own = Type::of(&schema).expect("it is seen");
        let environment = Environment { names: vec![("self", own)], variables: None };
        let checked = Program::compile(source).and_then(|program| program.check_bool(&environment));
        assert_eq!(checked.err().map_or(String::new(), |error| error.0), expected, "{source}");
    }
    for source in ["self.", "", "1 +", "Foo{a: 1}", "a.b.(", "'", "self.x ? 1"] {
        assert!(Program::compile(source).is_err(), "{source}");
    }
}

#[test]
fn nothing_runs_longer_than_its_budget() {
    let many: Vec<i64> = (0..2000).collect();
    let input = json!({"list": many, "text": "x".repeat(100_000)});
    let twice =
        (0..40).fold("self.text".to_string(), |inner, at| format!("[{inner}].map(x{at}, x{at} + x{at})[0]"));
    for source in [
        "self.list.all(a, self.list.all(b, self.list.all(c, a + b + c >= 0)))",
        "self.list.map(a, self.list.map(b, self.list)).size() > 0",
        "lists.range(1000000000).size() > 0",
        "self.text.replace('', self.text).size() > 0",
        "self.list.map(x, self.text).join('').size() > 0",
        "self.list.distinct().size() == self.text.indexOf(self.text)",
        &twice,
    ] {
        assert_eq!(dynamic(source, &input), Fault::Cost.to_string(), "{source}");
    }
    // A failure that nothing may make up for.
    assert_eq!(
        dynamic("self.list.all(a, self.list.all(b, self.list.all(c, true))) || true", &input),
        Fault::Cost.to_string()
    );
    let asked = std::cell::Cell::new(0);
    let stop = || asked.replace(asked.get() + 1) == 2;
    let program = Program::compile("self.list.all(a, self.list.all(b, true))").expect("an expression");
    let mut root = Root::default();
    root.variables.push(("self", Val::json(&input, View::Dynamic)));
    let outcome = program.evaluate(&root, &mut Budget::of_request().until(&stop));
    assert_eq!(outcome.map(|_| ()), Err(Fault::Stopped));
}

#[test]
fn depth_has_a_limit() {
    let nested = |depth: usize| format!("{}1{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(dynamic(&nested(parse::DEPTH_MAX.into()), &json!({})), "1");
    assert!(dynamic(&nested(usize::from(parse::DEPTH_MAX) + 1), &json!({})).contains("recursion limit"));
    assert!(dynamic(&nested(10_000), &json!({})).contains("recursion limit"));
    let chain = vec!["1"; 5_000].join("+");
    assert!(Program::compile(&chain).is_err());
    let long = "1".repeat(parse::CODE_POINTS_MAX + 1);
    assert!(Program::compile(&long).expect_err("too long").0.contains("code point size exceeds limit"));
}

#[test]
fn what_a_rule_may_cost_follows_from_the_schema() {
    let cost = |limits: Value, source: &str| {
        let mut items = json!({"type": "array", "items": {"type": "string"}});
        for (name, value) in limits.as_object().expect("an object") {
            items[name] = value.clone();
        }
        let schema =
            Structural::new(&json!({"type": "object", "properties": {"list": items}})).expect("a schema");
        let own = Type::of(&schema).expect("it is seen");
        let environment = Environment { names: vec![("self", own)], variables: None };
        Program::compile(source).expect("an expression").check_bool(&environment).expect("true or false").cost
    };
    let twice = "self.list.all(a, self.list.all(b, a != b || a == b))";
    assert!(cost(json!({}), twice) > COST_MAX);
    assert!(cost(json!({"maxItems": 10, "items": {"type": "string", "maxLength": 10}}), twice) < COST_MAX);
    assert!(cost(json!({"maxItems": 10}), "self.list.size() > 1") < 10);
}
