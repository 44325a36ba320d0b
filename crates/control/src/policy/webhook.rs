//! Webhooks: which are asked, what they are sent, and what their answers mean. The HTTP call is the caller's.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde_json::{Value, json};
use shoal_api::status::Resource;
use shoal_api::{GroupVersion, Status, patch};

use super::attributes::Attributes;
use super::matching::{Matcher, NamespaceLabels, conditions_hold};
use crate::cel::{Authorizer, Budget, Program};

/// Seconds that a webhook has when it does not say (`timeoutSeconds` of the API).
pub const TIMEOUT_SECONDS: u32 = 10;

/// Longest answer that is read, in bytes: what a request may have, thrice over for base64 and the patch's own words.
pub const ANSWER_BYTES_MAX: usize = 9 << 20;

/// A webhook of a configuration, ready for requests.
#[derive(Debug)]
pub struct Webhook {
    /// Its name: `check.example.com`.
    pub name: String,
    /// Whether it may change objects.
    pub is_mutating: bool,
    /// Seconds that it has.
    pub timeout_seconds: u32,
    webhook: Value,
    conditions: Vec<(String, Program)>,
}

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// An address.
    Url(String),
    /// A Service, its port, and the path there.
    Service {
        /// Namespace of the Service.
        namespace: String,
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
        /// `/` and what follows.
        path: String,
    },
}

/// What a webhook decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// A JSON Patch for the object; none when it stays as it is.
    pub patch: Option<Value>,
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit log, the webhook's name before each key.
    pub annotations: BTreeMap<String, String>,
}

impl Answer {
    /// Changes the object as the webhook wants it.
    ///
    /// # Errors
    /// A [`Status`], when the patch cannot be applied; the object is then changed in part.
    pub fn change(&self, object: &mut Value) -> Result<(), Box<Status>> {
        let Some(operations) = &self.patch else { return Ok(()) };
        patch::json::apply(object, operations).map_err(|error| Box::new(Status::internal(error)))
    }
}

impl Webhook {
    /// Reads the webhooks of a configuration. `is_mutating` tells the two kinds apart. Conditions that cannot be read
    /// make a webhook that fails ([`super::webhook_errors`] refuses them before they are stored).
    pub fn of(configuration: &Value, is_mutating: bool) -> Vec<Self> {
        let webhooks = configuration["webhooks"].as_array().into_iter().flatten();
        webhooks
            .map(|webhook| Self {
                name: webhook["name"].as_str().unwrap_or_default().into(),
                is_mutating,
                timeout_seconds: webhook["timeoutSeconds"]
                    .as_u64()
                    .and_then(|seconds| u32::try_from(seconds).ok())
                    .unwrap_or(TIMEOUT_SECONDS),
                conditions: conditions(webhook),
                webhook: webhook.clone(),
            })
            .collect()
    }

    /// The version in which a request is for it; none when it is not. Objects are to be converted to that version
    /// before it is asked.
    ///
    /// # Errors
    /// The refusal, when that cannot be told and the webhook's `failurePolicy` is `Fail`.
    pub fn matches(
        &self,
        request: &Attributes,
        namespace: NamespaceLabels<'_>,
        authorizer: Option<&dyn Authorizer>,
        budget: &mut Budget<'_>,
    ) -> Result<Option<GroupVersion>, Box<Status>> {
        let has_rules = self.webhook["rules"].as_array().is_some_and(|rules| !rules.is_empty());
        let meant = Matcher::of_webhook(&self.webhook).version(request, namespace);
        let Some(meant) = meant.filter(|_| has_rules) else { return Ok(None) };
        match conditions_hold(&self.conditions, request, authorizer, budget) {
            Ok(holds) => Ok(holds.then_some(meant)),
            Err(_) if self.ignores_failures() => Ok(None),
            Err(message) => {
                let resource = Resource { group: &request.group, name: &request.resource };
                Err(Box::new(Status::forbidden(resource, &request.name, &message)))
            }
        }
    }

    /// Whether it may be asked about a request that must leave no trace.
    pub fn allows_dry_run(&self) -> bool {
        matches!(self.webhook["sideEffects"].as_str(), Some("None" | "NoneOnDryRun"))
    }

    /// Whether a failed call counts as consent.
    pub fn ignores_failures(&self) -> bool {
        self.webhook["failurePolicy"] == "Ignore"
    }

    /// Whether it is asked again when a later webhook has changed the object.
    pub fn is_asked_again(&self) -> bool {
        self.webhook["reinvocationPolicy"] == "IfNeeded"
    }

    /// Whom to call; none when the configuration does not say.
    pub fn address(&self) -> Option<Address> {
        address(&self.webhook["clientConfig"])
    }

    /// The certificate authority that its server must have, as PEM; none for the system's.
    pub fn authority(&self) -> Option<Vec<u8>> {
        let text = self.webhook["clientConfig"]["caBundle"].as_str().filter(|text| !text.is_empty())?;
        base64::engine::general_purpose::STANDARD.decode(text).ok()
    }

    /// What it is sent; the objects of `request` are of the version `meant`, which [`Self::matches`] gave.
    pub fn review(&self, request: &Attributes, meant: &GroupVersion, uid: &str) -> Value {
        let mut body = request.request(uid, meant);
        body["object"] = request.object.clone();
        body["oldObject"] = request.old_object.clone();
        if body.get("options").is_none() {
            body["options"] = Value::Null;
        }
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": body})
    }

    /// What its answer means.
    ///
    /// # Errors
    /// The refusal: its own, or, for an answer that is none, ours.
    pub fn accept(&self, uid: &str, answer: &Value) -> Result<Answer, Box<Status>> {
        let response = self.response(uid, answer).map_err(|message| Box::new(self.failed(&message)))?;
        let mut accepted = Answer::default();
        let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        accepted.warnings.extend(warnings.map(str::to_string));
        for (key, value) in response["auditAnnotations"].as_object().into_iter().flatten() {
            if let Some(value) = value.as_str() {
                accepted.annotations.insert(format!("{}/{key}", self.name), value.into());
            }
        }
        if response["allowed"] != true {
            return Err(Box::new(self.refused(&response["status"])));
        }
        accepted.patch = self.patch(response).map_err(|message| Box::new(self.failed(&message)))?;
        Ok(accepted)
    }

    /// The refusal when it could not be called: `message` says why. With `failurePolicy: Ignore` the caller goes on.
    pub fn failed(&self, message: &str) -> Status {
        Status::internal(format!("failed calling webhook {:?}: {message}", self.name))
    }

    fn response<'a>(&self, uid: &str, answer: &'a Value) -> Result<&'a Value, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let (version, kind) = (text(&answer["apiVersion"]), text(&answer["kind"]));
        if version != "admission.k8s.io/v1" || kind != "AdmissionReview" {
            return Err(format!(
                "received invalid webhook response: expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {version}, Kind={kind}"
            ));
        }
        let response = &answer["response"];
        if !response.is_object() {
            return Err("received invalid webhook response: webhook response was absent".into());
        }
        if response["uid"].as_str() != Some(uid) {
            return Err(format!(
                "received invalid webhook response: expected response.uid={uid:?}, got {:?}",
                text(&response["uid"])
            ));
        }
        Ok(response)
    }

    fn patch(&self, response: &Value) -> Result<Option<Value>, String> {
        let Some(text) = response["patch"].as_str().filter(|text| !text.is_empty()) else {
            if response["patchType"].is_string() {
                return Err("received invalid webhook response: webhook returned response.patchType but not response.patch".into());
            }
            return Ok(None);
        };
        if !self.is_mutating {
            return Err("received invalid webhook response: webhook returned a patch, which validating webhooks may not".into());
        }
        if response["patchType"] != "JSONPatch" {
            let ty = response["patchType"].as_str().unwrap_or_default();
            return Err(format!(
                "received invalid webhook response: webhook returned invalid response.patchType of {ty:?}"
            ));
        }
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|error| format!("received undecodable patch: {error}"))?;
        let patch: Value =
            serde_json::from_slice(&bytes).map_err(|error| format!("received undecodable patch: {error}"))?;
        if !patch.is_array() {
            return Err("received undecodable patch: it is no list of operations".into());
        }
        Ok(patch.as_array().is_some_and(|list| !list.is_empty()).then_some(patch))
    }

    fn refused(&self, said: &Value) -> Status {
        let denied = format!("admission webhook {:?} denied the request", self.name);
        let message = match (said["message"].as_str(), said["reason"].as_str()) {
            (Some(message), _) if !message.is_empty() => format!("{denied}: {message}"),
            (_, Some(reason)) if !reason.is_empty() => format!("{denied}: {reason}"),
            _ => format!("{denied} without explanation"),
        };
        let code = said["code"]
            .as_u64()
            .and_then(|code| u16::try_from(code).ok())
            .filter(|code| (400..600).contains(code));
        match (code, said["reason"].as_str()) {
            (None, None) => Status::new(400, "", message),
            (code, reason) => Status::new(code.unwrap_or(400), known_reason(reason), message),
        }
    }
}

/// Whom to call, from a `clientConfig`; none when it does not say. Conversion webhooks have one too.
pub fn address(config: &Value) -> Option<Address> {
    if let Some(url) = config["url"].as_str() {
        return Some(Address::Url(url.into()));
    }
    let service = &config["service"];
    let text = |field: &str| service[field].as_str().unwrap_or_default().to_string();
    Some(Address::Service {
        namespace: service["namespace"].as_str()?.into(),
        name: service["name"].as_str()?.into(),
        port: service["port"].as_u64().map_or(Some(443), |port| u16::try_from(port).ok())?,
        path: format!("/{}", text("path").trim_start_matches('/')),
    })
}

fn conditions(webhook: &Value) -> Vec<(String, Program)> {
    let list = webhook["matchConditions"].as_array().into_iter().flatten();
    list.map(|condition| {
        let name = condition["name"].as_str().unwrap_or_default().to_string();
        let source = condition["expression"].as_str().unwrap_or_default();
        let unreadable = || Program::compile("1 / 0 == 1").expect("it is an expression");
        (name, Program::compile(source).unwrap_or_else(|_| unreadable()))
    })
    .collect()
}

/// Reasons that clients know, as a refusal of a webhook may give them.
fn known_reason(reason: Option<&str>) -> &'static str {
    const KNOWN: [&str; 14] = [
        "Unauthorized",
        "Forbidden",
        "NotFound",
        "AlreadyExists",
        "Conflict",
        "Gone",
        "Invalid",
        "Timeout",
        "TooManyRequests",
        "BadRequest",
        "MethodNotAllowed",
        "NotAcceptable",
        "RequestEntityTooLarge",
        "InternalError",
    ];
    KNOWN.into_iter().find(|known| Some(*known) == reason).unwrap_or("")
}
