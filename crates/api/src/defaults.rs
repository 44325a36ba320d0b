//! What stands in an object that nobody wrote there, as far as its schema says.
//!
//! Objects of built-in kinds pass through Go's structs on a Kubernetes server. Two things follow, and clients see both:
//! zeros of fields that Go leaves out when they are empty are gone (`hostNetwork: false`), and fields that it never
//! leaves out are there (`resources: {}`, `status: {}`, `creationTimestamp: null`). Defaults with a meaning of their
//! own, such as `replicas: 1`, are not in the schema: they belong to each kind.

use serde_json::{Map, Value};

use crate::schema::{Node, Object, Scalar, Type};

/// Levels of an object that are looked at; decoding has refused deeper ones.
const DEPTH_MAX: usize = 512;

/// Drops the zeros that Go leaves out, and `null` where it is no value. For built-in kinds; custom resources keep what
/// their users wrote, but for `null` where the schema has a default and no `nullable`.
pub fn drop_zeros(node: Node<'_>, value: &mut Value) {
    drop_below(node, value, 0);
}

/// Fills in the defaults of the schema, in objects that are there and in those that a default makes.
///
/// For built-in kinds that is what Go writes for fields that nobody set; for custom resources, `default`.
pub fn schema(node: Node<'_>, value: &mut Value) {
    fill(node, value, 0);
}

/// [`drop_zeros`], then [`schema`]: as the object would come out of Go's struct.
pub fn settle(node: Node<'_>, value: &mut Value) {
    drop_zeros(node, value);
    schema(node, value);
}

/// What Go makes of `null` as an item of a list or as a value of a map.
pub(crate) fn zero(node: Node<'_>) -> Value {
    match node.ty() {
        Type::Scalar(scalar) => match scalar {
            Scalar::String | Scalar::Bytes => Value::String(String::new()),
            Scalar::Boolean => Value::Bool(false),
            Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString => Value::from(0),
            Scalar::Quantity => Value::String("0".into()),
            Scalar::Duration => Value::String("0s".into()),
            Scalar::Time | Scalar::MicroTime => Value::Null,
        },
        Type::Object(_) => Value::Object(Map::new()),
        Type::Map(_) | Type::List(_) | Type::Any => Value::Null,
    }
}

fn drop_below(node: Node<'_>, value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match (node.ty(), value) {
        (Type::Object(object), Value::Object(fields)) => {
            fields.retain(|name, value| {
                let Some(at) = object.position(name) else { return true };
                let field = &object.fields[at];
                drop_below(node.at(field.ty), value, depth + 1);
                keeps(node, object, at, value)
            });
        }
        (Type::Map(map), Value::Object(values)) => {
            values.values_mut().for_each(|value| drop_below(node.at(map.value), value, depth + 1));
        }
        (Type::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|item| drop_below(node.at(list.item), item, depth + 1));
        }
        _ => {}
    }
}

/// Whether Go writes a field of this value.
fn keeps(node: Node<'_>, object: &Object, at: usize, value: &Value) -> bool {
    let field = &object.fields[at];
    if value.is_null() {
        return field.nullable || field.default == Some(Value::Null);
    }
    // A field with a default is never left out; without one, its zero is as good as nothing, pointers aside.
    // Only built-in types have a name; a custom resource is no struct of Go.
    if field.default.is_some() || object.name.is_none() {
        return true;
    }
    match node.at(field.ty).ty() {
        Type::Scalar(Scalar::IntOrString | Scalar::Quantity | Scalar::Time | Scalar::MicroTime) => true,
        Type::Scalar(_) => !is_zero(value) || node.keeps_zero(at),
        Type::List(_) => value.as_array().is_none_or(|items| !items.is_empty()),
        Type::Map(_) => value.as_object().is_none_or(|values| !values.is_empty()),
        Type::Object(_) | Type::Any => true,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bool(truth) => !truth,
        Value::Number(number) => number.as_f64() == Some(0.0),
        _ => false,
    }
}

fn fill(node: Node<'_>, value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match (node.ty(), value) {
        (Type::Object(object), Value::Object(fields)) => {
            for field in &object.fields {
                if let Some(default) = &field.default {
                    let absent =
                        fields.get(&*field.name).is_none_or(|value| value.is_null() && !field.nullable);
                    if absent {
                        fields.insert((*field.name).into(), default.clone());
                    }
                }
            }
            for (name, value) in fields {
                if let Some(field) = object.field(name) {
                    fill(node.at(field.ty), value, depth + 1);
                }
            }
        }
        (Type::Map(map), Value::Object(values)) => {
            values.values_mut().for_each(|value| fill(node.at(map.value), value, depth + 1));
        }
        (Type::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|item| fill(node.at(list.item), item, depth + 1));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::GroupVersionKind;
    use crate::schema::builtin;

    fn settled(group: &str, kind: &str, mut value: Value) -> Value {
        let node = builtin::kind(&GroupVersionKind::new(group, "v1", kind)).expect("it is built in");
        settle(node, &mut value);
        value
    }

    #[test]
    fn an_object_comes_out_as_of_gos_struct() {
        let pod = json!({"metadata": {"name": "a", "labels": {}}, "spec": {
            "hostNetwork": false, "automountServiceAccountToken": false, "containers": [{"name": "", "env": []}],
        }});
        assert_eq!(
            settled("", "Pod", pod),
            json!({"metadata": {"name": "a", "creationTimestamp": null}, "status": {}, "spec": {
                "automountServiceAccountToken": false, "containers": [{"name": "", "resources": {}}],
            }})
        );
        let service = settled("", "Service", json!({"spec": {"ports": [{"port": 80}]}}));
        assert_eq!(service["status"], json!({"loadBalancer": {}}));
        assert_eq!(service["spec"]["ports"][0]["protocol"], "TCP");
        assert_eq!(settled("apps", "Deployment", json!({"spec": {"replicas": 0}}))["spec"]["replicas"], 0);
        assert_eq!(settled("rbac.authorization.k8s.io", "Role", json!({}))["rules"], json!(null));
    }

    #[test]
    fn settling_twice_changes_nothing() {
        for kind in builtin::kinds() {
            let node = builtin::kind(kind).expect("it is built in");
            let mut once = json!({"spec": {}, "status": {}});
            settle(node, &mut once);
            let mut twice = once.clone();
            settle(node, &mut twice);
            assert_eq!(once, twice, "{kind}");
        }
    }
}
