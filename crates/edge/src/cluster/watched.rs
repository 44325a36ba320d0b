//! What has changed between two looks at all objects of a kind.

use std::cmp::Ordering;
use std::sync::Arc;

use serde_json::Value;

use super::facts::Key;

/// The objects of one kind as they were last seen, by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Watched(Vec<Arc<Value>>);

impl Watched {
    /// Takes these for all there are. Comes back with those that are new, changed or gone. An object that is the
    /// same allocation is the same; no other is compared.
    pub(crate) fn replace(&mut self, mut now: Vec<Arc<Value>>) -> Vec<(Key, Option<Arc<Value>>)> {
        if !now.is_sorted_by_key(|object| name(object)) {
            now.sort_by(|one, other| name(one).cmp(&name(other)));
        }
        let mut changes = Vec::new();
        let (mut before, mut after) = (self.0.iter().peekable(), now.iter().peekable());
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {
                    before.next();
                    after.next();
                    continue;
                }
                (Some(old), Some(new)) => name(old).cmp(&name(new)),
            };
            let old = if order.is_le() { before.next() } else { None };
            let new = if order.is_ge() { after.next() } else { None };
            if let Some(object) = new.or(old) {
                let (namespace, name) = name(object);
                changes.push(((namespace.to_owned(), name.to_owned()), new.cloned()));
            }
        }
        self.0 = now;
        changes
    }
}

fn name(object: &Value) -> (&str, &str) {
    let metadata = &object["metadata"];
    (metadata["namespace"].as_str().unwrap_or_default(), metadata["name"].as_str().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_new_changed_or_gone_is_told_and_nothing_else() {
        let object = |name: &str| Arc::new(json!({"metadata": {"namespace": "shop", "name": name}}));
        let mut watched = Watched::default();
        let mut replace = |objects: &[&Arc<Value>]| {
            let changes = watched.replace(objects.iter().map(|object| (*object).clone()).collect());
            let shown = changes
                .into_iter()
                .map(|((_, name), now)| format!("{}{name}", if now.is_some() { "+" } else { "-" }));
            shown.collect::<Vec<_>>().join(" ")
        };
        let (a, b, c, d) = (object("a"), object("b"), object("c"), object("d"));
        assert_eq!(replace(&[&c, &a]), "+a +c", "whatever their order");
        assert_eq!(replace(&[&a, &c]), "");
        assert_eq!(replace(&[&a, &b, &c, &d]), "+b +d");
        let changed = object("c");
        assert_eq!(replace(&[&b, &changed]), "-a +c -d");
        assert_eq!(replace(&[]), "-b -c");
    }
}
