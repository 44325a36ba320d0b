//! A list, page by page.

use form_urlencoded::Serializer;
use http::Method;
use serde_json::Value;
use shoal_api::lean::{self, Text};

use crate::{Client, Error, Resource, Select};

/// Objects in one page: large enough that most lists are one, small enough that no answer holds a connection up.
const PAGE_OBJECTS: &str = "500";

/// The objects of a kind at one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct List {
    /// The objects, with `apiVersion` and `kind`, without `metadata.managedFields`.
    pub items: Vec<Value>,
    /// What to watch from.
    pub revision: String,
}

impl Client {
    /// All objects that are selected, in one namespace or, when it is empty, in all.
    ///
    /// # Errors
    /// As every request; 410 when the list took longer than the server keeps its revision.
    pub async fn list(&self, of: &Resource, namespace: &str, select: &Select) -> Result<List, Error> {
        let mut list = List::default();
        let mut next = String::new();
        loop {
            let target = page_target(&of.path(namespace), select, &next);
            let read = |answer: &[u8]| lean::read(answer, Text::List);
            let mut page = self.exchange_as(Method::GET, &target, "", None, read).await?;
            let metadata = &page["metadata"];
            list.revision = metadata["resourceVersion"].as_str().unwrap_or_default().to_owned();
            next = metadata["continue"].as_str().unwrap_or_default().to_owned();
            let Value::Array(items) = page["items"].take() else {
                let (request, why) = (format!("GET {target}"), "it is no list".into());
                return Err(Error::Answer { request, why });
            };
            list.items.extend(items.into_iter().map(|item| typed(item, of)));
            if next.is_empty() {
                return Ok(list);
            }
        }
    }
}

fn page_target(path: &str, select: &Select, next: &str) -> String {
    let mut query = Serializer::new(String::new());
    select.write(&mut query);
    query.append_pair("limit", PAGE_OBJECTS);
    if !next.is_empty() {
        query.append_pair("continue", next);
    }
    format!("{path}?{}", query.finish())
}

/// Objects in a list do not say what they are; readers want to see the same object whichever way it came.
fn typed(mut item: Value, of: &Resource) -> Value {
    if let Some(fields) = item.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| Value::from(of.api_version.as_ref()));
        fields.entry("kind").or_insert_with(|| Value::from(of.kind.as_ref()));
    }
    item
}
