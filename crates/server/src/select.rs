//! Which objects of a list or watch are wanted.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use shoal_api::Status;
use shoal_api::selector::{field, label};

use crate::objects::Stored;
use crate::options::ListOptions;
use crate::registry::Served;

/// Which objects are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    labels: label::Selector,
    fields: field::Selector,
    /// The one name that can match, where the field selector says `metadata.name=…`.
    name: Option<String>,
}

impl Selection {
    /// What the options of a list say. `name`: the one object that a path names.
    ///
    /// # Errors
    /// 400: a selector that cannot be read, or a field that its kind is not selected by.
    pub(crate) fn read(served: &Served, options: &ListOptions, name: &str) -> Result<Self, Status> {
        let bad = |error: &dyn std::fmt::Display| Status::bad_request(error.to_string());
        let labels = label::Selector::parse(&options.label_selector).map_err(|error| bad(&error))?;
        let fields = field::Selector::parse(&options.field_selector)
            .and_then(|fields| fields.for_fields(&served.fields()))
            .map_err(|error| bad(&error))?;
        let selected = fields.required("metadata.name").map(str::to_owned);
        let name = if name.is_empty() { selected } else { Some(name.to_owned()) };
        Ok(Self { labels, fields, name })
    }

    /// Whether all objects are wanted.
    pub(crate) fn is_everything(&self) -> bool {
        self.name.is_none() && self.labels.is_everything() && self.fields.is_everything()
    }

    /// The one name that can match.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether an object is wanted.
    ///
    /// # Errors
    /// 500: what is stored is not JSON.
    pub(crate) fn wants(&self, served: &Served, stored: &Stored) -> Result<bool, Status> {
        if let Some(name) = &self.name
            && served.place(&stored.key).is_none_or(|(_, found)| found != name)
        {
            return Ok(false);
        }
        if !self.labels.is_everything() {
            let labels = Labels::of(&stored.bytes).map_err(Status::internal)?;
            if !self.labels.matches_by(|key| labels.get(key)) {
                return Ok(false);
            }
        }
        if self.fields.is_everything() {
            return Ok(true);
        }
        Ok(self.fields.matches(&stored.value()?))
    }
}

/// The labels of an object, read without the rest of it.
#[derive(Deserialize)]
struct Labels<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    labels: Option<HashMap<Cow<'a, str>, Cow<'a, str>>>,
}

impl<'a> Labels<'a> {
    fn of(stored: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(stored)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.metadata.labels.as_ref()?.get(key).map(AsRef::as_ref)
    }
}
