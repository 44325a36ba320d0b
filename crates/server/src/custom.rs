//! Custom resources: from their definitions to what is served.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::{Value, json};
use shoal_api::apply::ReplicasPaths;
use shoal_api::field::Error;
use shoal_api::printer::CustomColumns;
use shoal_api::{GroupVersion, Node, Status, decode, defaults, object, openapi, resources};
use shoal_control::cel::Budget;
use shoal_control::custom::definition::{self, conditions};
use shoal_control::custom::publish::{self, OpenApi};
use shoal_control::custom::scale::ScalePaths;
use shoal_control::custom::{Compiled, Verdict, conversion};
use shoal_control::kinds;
use shoal_control::known::CUSTOM_RESOURCE_DEFINITION;
use shoal_store::{ListOptions, Revision};

use crate::api::Api;
use crate::changes::Kinds;
use crate::convert::Conversion;
use crate::objects::Stored;
use crate::registry::{Registry, Served};
use crate::stored;

/// How long the rules of one object may take; their cost is limited apart from that.
const RULES_TIME: Duration = Duration::from_secs(2);
/// Where definitions lie in the store.
const TABLE: &str = "/registry/apiextensions.k8s.io/customresourcedefinitions/";
/// Before a store that failed is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// A version of a custom resource, ready for its objects.
pub struct Custom {
    compiled: Compiled,
    /// Where each version that has a scale keeps the number of replicas.
    replicas: Vec<(String, Vec<String>)>,
    columns: CustomColumns,
    /// How its objects become those of another version.
    pub(crate) conversion: Conversion,
    /// What stored objects of this version begin with.
    pub(crate) head: Vec<u8>,
}

impl Custom {
    /// From a version of a definition; none when the definition cannot be used.
    fn new(crd: &Value, version: &str) -> Option<Self> {
        let compiled = Compiled::new(crd, version)
            .inspect_err(
                |error| tracing::warn!(definition = object::name(crd), %error, "a version is not served"),
            )
            .ok()?;
        let columns = CustomColumns::new(&definition::version(crd, version)?["additionalPrinterColumns"]);
        let head = stored::head(&compiled.kind.group_version().to_string());
        let replicas = replicas(crd);
        Some(Self { compiled, replicas, columns, conversion: Conversion::of(crd), head })
    }

    /// What its objects look like.
    pub fn node(&self) -> Node<'_> {
        self.compiled.node()
    }

    /// What clients of this version are warned of; none: it is not deprecated.
    pub fn deprecation(&self) -> Option<&str> {
        self.compiled.deprecation.as_deref()
    }

    /// What is shown of them.
    pub fn columns(&self) -> &CustomColumns {
        &self.columns
    }

    /// The fields that they can be selected by.
    pub fn selectable_fields(&self) -> impl Iterator<Item = &str> {
        self.compiled.selectable.iter().map(|(field, _)| field.as_str())
    }

    /// What a new object looks like.
    pub fn prepare_create(&self, new: &mut Value) {
        self.compiled.prepare_create(new);
    }

    /// What a changed object looks like.
    pub fn prepare_update(&self, subresource: &str, new: &mut Value, old: &Value) {
        if subresource == "status" {
            self.compiled.prepare_status_update(new, old);
        } else {
            self.compiled.prepare_update(new, old);
        }
    }

    /// What is wrong with an object, and what was wrong with it before and is let be.
    pub fn validate(&self, new: &Value, old: Option<&Value>) -> (Vec<Error>, Vec<String>) {
        let mut errors = match old {
            None => kinds::validate_metadata(new, self.compiled.namespaced),
            Some(old) => kinds::validate_metadata_update(new, old),
        };
        let begun = Instant::now();
        let is_over = || begun.elapsed() > RULES_TIME;
        let mut budget = Budget::of_request().until(&is_over);
        let Verdict { errors: more, warnings } = self.compiled.validate(new, old, &mut budget);
        errors.extend(more);
        (errors, warnings)
    }

    /// How many replicas an object has, as a `Scale`.
    ///
    /// # Errors
    /// A sentence: the object does not say.
    pub fn scale(&self, object: &Value) -> Result<Value, String> {
        let paths = self.compiled.scale.as_ref().ok_or("the resource has no scale")?;
        paths.get(object)
    }

    /// Where its versions keep the number of replicas.
    pub fn replicas(&self) -> &ReplicasPaths {
        &self.replicas
    }

    /// An object with so many replicas.
    ///
    /// # Errors
    /// A sentence: the object has something else where they belong.
    pub fn with_scale(&self, old: &Value, replicas: i64) -> Result<Value, String> {
        let paths = self.compiled.scale.as_ref().ok_or("the resource has no scale")?;
        let mut new = old.clone();
        paths.set(&mut new, &json!({"spec": {"replicas": replicas}}))?;
        Ok(new)
    }

    /// What came from another version: what this one does not know goes, what it misses comes.
    pub(crate) fn settle(&self, object: &mut Value) {
        decode::prune(self.node(), object);
        defaults::schema(self.node(), object);
    }

    /// An object in another version of the same resource, where these differ in their name only.
    pub fn converted(&self, object: &Value, version: &GroupVersion) -> Value {
        let mut converted = object.clone();
        conversion::rewrite(&mut converted, &version.to_string());
        converted
    }
}

/// Where each version of a definition that has a scale keeps the number of replicas.
fn replicas(crd: &Value) -> Vec<(String, Vec<String>)> {
    let versions = crd["spec"]["versions"].as_array().into_iter().flatten();
    let paths = versions.filter_map(|version| {
        let scale = ScalePaths::new(&version["subresources"])?;
        let group = crd["spec"]["group"].as_str()?;
        let path = scale.spec_replicas.names().map(String::from).collect();
        Some((format!("{group}/{}", version["name"].as_str()?), path))
    });
    paths.collect()
}

/// What is served of the definitions.
#[derive(Default)]
pub struct Definitions(tokio::sync::Mutex<Made>);

#[derive(Default)]
struct Made {
    /// Of which objects: their keys and revisions; none: nothing has been made yet.
    of: Option<Vec<(Bytes, Revision)>>,
    known: Known,
}

/// What was made of definitions that have not changed since.
type Known = HashMap<(String, i64, String), Arc<Custom>>;

/// Serves what the definitions say, until the drain begins.
pub(crate) async fn follow(api: &Arc<Api>) {
    let mut changes = api.world.changes(Kinds::Some(vec![CUSTOM_RESOURCE_DEFINITION.clone()]));
    while !api.drain.has_begun() {
        if let Err(error) = settle(api).await {
            tracing::warn!(%error, "the definitions of custom resources cannot be read; trying again");
            tokio::time::sleep(RETRY).await;
            continue;
        }
        tokio::select! {
            // Whatever it is, a definition may have changed.
            news = changes.next() => if news.is_none() { return },
            () = api.drain.begun() => return,
        }
    }
}

/// Serves the built-in resources and those of the definitions that are established now. Whoever has seen that one is may ask
/// for its objects at once, so what is asked about definitions, and what seems not to be served, comes here first.
///
/// # Errors
/// 500 or 503: the store cannot be read.
pub(crate) async fn settle(api: &Api) -> Result<(), Status> {
    let mut made = api.definitions.0.lock().await;
    let list = |keys_only| {
        let options = ListOptions { keys_only, uncounted: true, ..ListOptions::default() };
        api.objects.list(TABLE.as_bytes(), options)
    };
    // Mostly nothing has changed, and definitions are long.
    let is_same =
        |stored: &[Stored]| made.of.as_ref().is_some_and(|of| places(stored).eq(of.iter().cloned()));
    if is_same(&list(true).await?.objects) {
        return Ok(());
    }
    let stored = list(false).await?.objects;
    let of: Vec<(Bytes, Revision)> = places(&stored).collect();
    let definitions = stored.iter().map(Stored::value).collect::<Result<Vec<Value>, Status>>()?;
    serve(api, &definitions, &mut made.known);
    made.of = Some(of);
    Ok(())
}

/// Which versions of which objects these are.
fn places(stored: &[Stored]) -> impl Iterator<Item = (Bytes, Revision)> {
    stored.iter().map(|one| (one.key.clone(), one.revision))
}

fn serve(api: &Api, definitions: &[Value], known: &mut Known) {
    let (mut registry, mut documents, mut kept) = (Registry::built_in(), Vec::new(), Known::default());
    for crd in definitions.iter().filter(|crd| conditions::is_established(crd)) {
        for resource in resources::of_definition(crd) {
            let version = resource.group_version.version.clone();
            let key = (
                object::uid(crd).to_owned(),
                crd["metadata"]["generation"].as_i64().unwrap_or(0),
                version.clone(),
            );
            let custom = known.get(&key).cloned().or_else(|| Custom::new(crd, &version).map(Arc::new));
            let Some(custom) = custom else { continue };
            kept.insert(key, custom.clone());
            if let Some(entry) = definition::version(crd, &version) {
                documents.push(published(&resource, &entry["schema"]["openAPIV3Schema"]));
            }
            registry.add(Served::custom(resource, custom));
        }
    }
    *known = kept;
    api.serve(registry, documents);
}

/// The schema of a version, as OpenAPI documents show it.
fn published(resource: &resources::Resource, schema: &Value) -> openapi::Custom {
    let kind = resource.group_version_kind();
    let as_in = |openapi| publish::kind(schema, &kind.group, &kind.version, &kind.kind, openapi);
    openapi::Custom { v3: as_in(OpenApi::V3), v2: as_in(OpenApi::V2), kind }
}
