//! Vectors of our own, after the rules of `strategicpatch`.

use serde_json::json;

use super::*;
use crate::schema::{Field, List, ListKind, Object, Scalar, Schema, Type, TypeId};

fn field(name: &str, ty: TypeId, patch: Patch) -> Field {
    Field { name: name.into(), ty, required: false, nullable: false, default: None, tag: 1, patch }
}

/// `{name, text, map: {..}, items: [merged by name], tags: [a set], plain: [replaced], child: this again}`.
fn schema() -> (Schema, TypeId) {
    let mut schema = Schema::new();
    let text = schema.add(Type::Scalar(Scalar::String));
    let map = schema.add(Type::Map(crate::schema::Map { value: text, atomic: false }));
    let root = schema.add(Type::Any);
    let items = schema.add(Type::List(List { item: root, kind: ListKind::Map(vec!["name".into()]) }));
    let texts = schema.add(Type::List(List { item: text, kind: ListKind::Atomic }));
    let merged =
        |key: Option<&str>| Patch { merge: true, retain_keys: false, merge_key: key.map(Into::into) };
    let retained = Patch { retain_keys: true, ..Patch::default() };
    let fields = vec![
        field("child", root, retained),
        field("items", items, merged(Some("name"))),
        field("map", map, Patch::default()),
        field("name", text, Patch::default()),
        field("plain", texts, Patch::default()),
        field("tags", texts, merged(None)),
        field("text", text, Patch::default()),
    ];
    schema
        .set(root, Type::Object(Object { fields, name: Some("example.Thing".into()), ..Object::default() }));
    (schema, root)
}

fn patched(original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (schema, root) = schema();
    let mut document = original.clone();
    apply(schema.node(root), &mut document, patch.clone()).map(|()| document)
}

#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "reads better in tables")]
fn check(original: Value, patch: Value, expected: Value) {
    assert_eq!(patched(&original, &patch), Ok(expected), "{original} and {patch}");
}

#[test]
fn objects_are_merged_field_by_field() {
    check(json!({"text": "a"}), json!({"name": "b"}), json!({"text": "a", "name": "b"}));
    check(json!({"text": "a"}), json!({"text": null, "name": null}), json!({}));
    check(
        json!({"map": {"a": "1", "b": "2"}}),
        json!({"map": {"b": null, "c": "3"}}),
        json!({"map": {"a": "1", "c": "3"}}),
    );
    check(
        json!({"map": {"a": "1"}}),
        json!({"map": {"$patch": "replace", "b": "2"}}),
        json!({"map": {"b": "2"}}),
    );
    check(
        json!({"map": {"a": "1"}, "text": "x"}),
        json!({"map": {"$patch": "delete"}}),
        json!({"map": {}, "text": "x"}),
    );
    check(json!({}), json!({"map": {"$patch": "delete"}}), json!({}));
    check(json!({}), json!({"child": {"map": {"a": null, "b": "1"}}}), json!({"child": {"map": {"b": "1"}}}));
    check(json!({"text": "a"}), json!({"text": {"b": 1}}), json!({"text": {"b": 1}}));
    check(
        json!({"unknown": {"a": 1}}),
        json!({"unknown": {"b": [1]}}),
        json!({"unknown": {"a": 1, "b": [1]}}),
    );
    check(json!({"unknown": {"b": [1]}}), json!({"unknown": {"b": [2]}}), json!({"unknown": {"b": [2]}}));
}

#[test]
fn keys_are_retained() {
    check(
        json!({"child": {"text": "a", "name": "b", "map": {"x": "y"}}}),
        json!({"child": {"$retainKeys": ["name", "plain"], "name": "c", "plain": ["z"]}}),
        json!({"child": {"name": "c", "plain": ["z"]}}),
    );
    check(
        json!({"child": {"text": "a", "name": "b"}}),
        json!({"child": {"$retainKeys": ["name"], "text": null}}),
        json!({"child": {"name": "b"}}),
    );
    check(
        json!({}),
        json!({"child": {"$retainKeys": ["name"], "name": "c"}}),
        json!({"child": {"name": "c"}}),
    );
    let malformed = Err(PatchError::Malformed("invalid patch format of retainKeys".into()));
    let original = json!({"child": {"text": "a"}});
    assert_eq!(patched(&original, &json!({"child": {"$retainKeys": ["name"], "text": "b"}})), malformed);
    assert_eq!(patched(&original, &json!({"child": {"$retainKeys": "name"}})), malformed);
}

#[test]
fn lists_of_objects_are_merged_by_their_key() {
    let original = json!({"items": [{"name": "a", "text": "1"}, {"name": "b", "text": "2"}]});
    for (patch, expected) in [
        (
            json!([{"name": "b", "text": "3"}]),
            json!([{"name": "a", "text": "1"}, {"name": "b", "text": "3"}]),
        ),
        (
            json!([{"name": "c"}]),
            json!([{"name": "c"}, {"name": "a", "text": "1"}, {"name": "b", "text": "2"}]),
        ),
        (json!([{"name": "a", "$patch": "delete"}]), json!([{"name": "b", "text": "2"}])),
        (json!([{"$patch": "replace"}, {"name": "z"}]), json!([{"name": "z"}])),
        (json!([{"$patch": "replace"}]), json!([])),
        (
            json!([{"name": "b", "text": null}, {"name": "a", "plain": ["x"]}]),
            json!([{"name": "b"}, {"name": "a", "text": "1", "plain": ["x"]}]),
        ),
    ] {
        check(original.clone(), json!({"items": patch}), json!({"items": expected}));
    }
    check(
        json!({"items": [{"name": "a", "items": [{"name": "x", "text": "1"}]}]}),
        json!({"items": [{"name": "a", "items": [{"name": "x", "tags": ["t"]}]}]}),
        json!({"items": [{"name": "a", "items": [{"name": "x", "text": "1", "tags": ["t"]}]}]}),
    );
    check(
        json!({}),
        json!({"items": [{"name": "a"}, {"$patch": "delete", "name": "b"}]}),
        json!({"items": [{"name": "a"}]}),
    );
}

#[test]
fn sets_are_joined_and_other_lists_replaced() {
    check(json!({"tags": ["a", "b"]}), json!({"tags": ["b", "c"]}), json!({"tags": ["a", "b", "c"]}));
    check(
        json!({"tags": ["a", "b", "c"]}),
        json!({"$deleteFromPrimitiveList/tags": ["b", "x"]}),
        json!({"tags": ["a", "c"]}),
    );
    check(json!({}), json!({"$deleteFromPrimitiveList/tags": ["b"]}), json!({}));
    check(json!({"plain": ["a", "b"]}), json!({"plain": ["c"]}), json!({"plain": ["c"]}));
    check(json!({"plain": ["a"]}), json!({"plain": []}), json!({"plain": []}));
}

#[test]
fn elements_are_put_in_order() {
    let names = |list: &[&str]| -> Value { list.iter().map(|name| json!({"name": name})).collect() };
    for (original, patch, order, expected) in [
        (&["a", "b", "c"][..], None, &["c", "a", "b"][..], &["c", "a", "b"][..]),
        (&["a", "b"], Some(&["c"][..]), &["a", "c", "b"], &["a", "c", "b"]),
        (&["a", "x", "b"], Some(&["c"][..]), &["b", "c", "a"], &["x", "b", "c", "a"]),
        (&["x", "a", "b"], None, &["b", "a"], &["x", "b", "a"]),
        (&[], Some(&["b", "a"][..]), &["b", "a"], &["b", "a"]),
    ] {
        let mut patch = patch.map_or_else(|| json!({}), |patch| json!({"items": names(patch)}));
        patch["$setElementOrder/items"] = names(order);
        check(json!({"items": names(original)}), patch, json!({"items": names(expected)}));
    }
    check(
        json!({"tags": ["a", "b", "server"]}),
        json!({"$setElementOrder/tags": ["c", "b"], "tags": ["c"], "$deleteFromPrimitiveList/tags": ["a"]}),
        json!({"tags": ["c", "b", "server"]}),
    );
    check(json!({}), json!({"$setElementOrder/items": [{"name": "a"}]}), json!({}));
}

#[test]
fn directives_that_do_not_fit_are_refused() {
    let original = json!({"items": [{"name": "a"}], "tags": ["a"], "map": {"a": "b"}});
    for (patch, expected) in [
        (json!({"items": [{"text": "x"}]}), "map: map[text:x] does not contain declared merge key: name"),
        (
            json!({"items": [{"$patch": "delete"}]}),
            "map: map[$patch:delete] does not contain declared merge key: name",
        ),
        (json!({"items": [{"$patch": "merge"}]}), "merging lists cannot yet be specified in the patch"),
        (
            json!({"items": [{"$patch": "fold", "name": "a"}]}),
            "unknown patch type: fold in map: map[$patch:fold name:a]",
        ),
        (json!({"map": {"$patch": "merge"}}), "unknown patch type: merge in map: map[$patch:merge]"),
        (json!({"items": ["a"]}), "list element types are not identical: [map[name:a] a]"),
        (json!({"tags": [["a"]]}), "lists of lists are not supported"),
        (json!({"tags": [{"a": 1}]}), "list element types are not identical: [a map[a:1]]"),
        (json!({"$setElementOrder/items": {}}), "invalid patch format of setElementOrder list"),
        (json!({"$deleteFromPrimitiveList/tags": "a"}), "invalid patch format of primitive list"),
        (
            json!({"$setElementOrder/items": [{"name": "b"}], "items": [{"name": "c"}]}),
            "The order in patch list:\n[map[name:c]]\n doesn't match $setElementOrder list:\n[map[name:b]]\n",
        ),
        (
            json!({"$setElementOrder/items": [{"text": "b"}]}),
            "map: map[text:b] does not contain declared merge key: name",
        ),
    ] {
        assert_eq!(patched(&original, &patch).expect_err("it does not fit").to_string(), expected);
    }
    for (patch, ty) in
        [(json!([]), "array"), (json!(1), "number"), (json!("x"), "string"), (json!(true), "bool")]
    {
        let words = format!("json: cannot unmarshal {ty} into Go value of type map[string]interface {{}}");
        assert_eq!(patched(&original, &patch), Err(PatchError::Malformed(words)));
    }
}
