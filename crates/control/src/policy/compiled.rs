//! ValidatingAdmissionPolicy: its expressions, and what they say about a request.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde_json::Value;
use shoal_api::status::{Cause, Details};
use shoal_api::{GroupVersion, Status};

use super::attributes::Attributes;
use super::matching::{Matcher, NamespaceLabels, bind, conditions_hold, failed, name_of};
use crate::cel::{Authorizer, Budget, Environment, Fault, Lazy, Program, Root, Type, Val, View};

/// Longest message of a validation, in bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// Longest value of an audit annotation, in bytes.
pub(super) const AUDIT_VALUE_BYTES_MAX: usize = 10 * 1024;

/// A policy, ready for requests.
#[derive(Debug)]
pub struct Policy {
    /// Its name.
    pub name: String,
    policy: Value,
    conditions: Vec<(String, Program)>,
    variables: Vec<(String, Program)>,
    validations: Vec<Validation>,
    annotations: Vec<(String, Program)>,
}

#[derive(Debug)]
struct Validation {
    program: Program,
    message: String,
    message_program: Option<Program>,
    reason: String,
}

/// A policy whose expressions cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct PolicyError {
    /// Where: `spec.validations[0].expression`.
    pub field: String,
    /// The expression.
    pub expression: String,
    /// What is wrong.
    pub message: String,
}

/// The parameters that a binding names, as the caller found them.
#[derive(Clone, Debug)]
pub enum Params<'a> {
    /// The policy takes none.
    None,
    /// These; each is judged by itself.
    Found(Vec<&'a Value>),
    /// They could not be had; a sentence.
    Failed(String),
}

/// What a policy is given besides the request.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The Namespace object of the request; none for requests outside any.
    pub namespace: NamespaceLabels<'a>,
    /// The parameters that the binding names.
    pub params: &'a Params<'a>,
    /// Answers `authorizer`.
    pub authorizer: Option<&'a dyn Authorizer>,
}

/// What the policies found for one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Why the request is refused; the first counts.
    pub denials: Vec<Denial>,
    /// For the client.
    pub warnings: Vec<String>,
    /// For the audit log: `policy/key` and value.
    pub annotations: BTreeMap<String, String>,
    /// For the audit log, as upstream's annotation `validation.policy.admission.k8s.io/validation_failure`.
    pub failures: Vec<Value>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The policy.
    pub policy: String,
    /// Its binding.
    pub binding: String,
    /// What is wrong.
    pub message: String,
    /// `Invalid`, `Forbidden`, `Unauthorized`, `RequestEntityTooLarge`.
    pub reason: String,
}

/// One validation that did not hold.
struct Failure {
    message: String,
    reason: String,
    expression: usize,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// Each expression that cannot be read.
    pub fn new(policy: &Value) -> Result<Self, Vec<PolicyError>> {
        let spec = &policy["spec"];
        let mut reader =
            Reader { errors: Vec::new(), known: Vec::new(), params: spec["paramKind"].is_object() };
        let list = |field: &str| spec[field].as_array().cloned().unwrap_or_default();
        let conditions =
            reader.named(&list("matchConditions"), "matchConditions", "name", "expression", false);
        let mut variables = Vec::new();
        for (index, variable) in list("variables").iter().enumerate() {
            let field = format!("spec.variables[{index}].expression");
            let name = variable["name"].as_str().unwrap_or_default().to_string();
            if let Some(program) = reader.read(&variable["expression"], &field, None) {
                variables.push((name.clone(), program));
            }
            // A variable sees those before it only.
            reader.known.push(name);
        }
        let mut validations = Vec::new();
        for (index, validation) in list("validations").iter().enumerate() {
            validations.extend(reader.validation(validation, &format!("spec.validations[{index}]")));
        }
        let annotations =
            reader.named(&list("auditAnnotations"), "auditAnnotations", "key", "valueExpression", true);
        if !reader.errors.is_empty() {
            return Err(reader.errors);
        }
        let name = name_of(policy).to_string();
        Ok(Self { name, policy: policy.clone(), conditions, variables, validations, annotations })
    }

    /// Whether the policy is for a request at all, by its rules and selectors.
    pub fn matches(&self, request: &Attributes, namespace: NamespaceLabels<'_>) -> bool {
        self.version(request, namespace).is_some()
    }

    /// The version in which a request is for the policy; none when it is not. Objects are to be converted to that version
    /// before they are judged.
    pub fn version(&self, request: &Attributes, namespace: NamespaceLabels<'_>) -> Option<GroupVersion> {
        Matcher::of_resources(&self.policy["spec"]["matchConstraints"]).version(request, namespace)
    }

    /// Whether its parameters are asked for: `paramKind`, as `apiVersion` and `kind`.
    pub fn param_kind(&self) -> Option<(&str, &str)> {
        let kind = &self.policy["spec"]["paramKind"];
        Some((kind["apiVersion"].as_str()?, kind["kind"].as_str()?))
    }

    /// Judges a request by the policy and one of its bindings; what is found goes to `report`.
    ///
    /// The caller has found that [`Self::matches`], and looked up the parameters that the binding's `paramRef` names.
    pub fn judge(
        &self,
        binding: &Value,
        request: &Attributes,
        around: Surroundings<'_>,
        budget: &mut Budget<'_>,
        report: &mut Report,
    ) {
        let resources = &binding["spec"]["matchResources"];
        if resources.is_object() && !Matcher::of_resources(resources).matches(request, around.namespace) {
            return;
        }
        match conditions_hold(&self.conditions, request, around.authorizer, budget) {
            Ok(true) => {}
            Ok(false) => return,
            Err(message) => return self.misconfigured(binding, &message, report),
        }
        let found: Vec<&Value> = match around.params {
            Params::None => vec![&Value::Null],
            Params::Failed(message) => return self.misconfigured(binding, message, report),
            Params::Found(found) if found.is_empty() => {
                if binding["spec"]["paramRef"]["parameterNotFoundAction"] == "Allow" {
                    return;
                }
                let message = "no params found for policy binding with `Deny` parameterNotFoundAction";
                return self.misconfigured(binding, message, report);
            }
            Params::Found(found) => found.clone(),
        };
        for params in found {
            self.judge_with(binding, request, params, around, budget, report);
        }
    }

    fn judge_with(
        &self,
        binding: &Value,
        request: &Attributes,
        params: &Value,
        around: Surroundings<'_>,
        budget: &mut Budget<'_>,
        report: &mut Report,
    ) {
        let described = request.request("", &request.group_version());
        let mut base = Root { authorizer: around.authorizer, ..Root::default() };
        bind(&mut base, request, &described);
        base.variables.push(("params", Val::json(params, View::Dynamic)));
        let namespace = around.namespace.unwrap_or(&Value::Null);
        base.variables.push(("namespaceObject", Val::json(namespace, View::Dynamic)));
        let variables = Variables { policy: self, base: &base, known: RefCell::default() };
        let root =
            Root { variables: base.variables.clone(), lazy: Some(&variables), authorizer: base.authorizer };
        for (index, validation) in self.validations.iter().enumerate() {
            match validation.judge(&root, budget) {
                Ok(None) => {}
                Ok(Some((message, reason))) => {
                    let failure = Failure { message, reason, expression: index };
                    self.enforce(binding, &failure, report);
                }
                Err(message) => self.misconfigured(binding, &message, report),
            }
        }
        for (key, program) in &self.annotations {
            match program.evaluate(&root, budget) {
                Ok(Val::Null) => {}
                Ok(value) => {
                    let text = value.as_text().unwrap_or_default().trim();
                    if !text.is_empty() {
                        let cut = text.floor_char_boundary(AUDIT_VALUE_BYTES_MAX);
                        report.annotations.insert(format!("{}/{key}", self.name), text[..cut].into());
                    }
                }
                Err(fault) => self.misconfigured(binding, &failed(program, &fault), report),
            }
        }
    }

    /// A policy that cannot be applied: `failurePolicy` says whether that refuses the request.
    fn misconfigured(&self, binding: &Value, message: &str, report: &mut Report) {
        if self.policy["spec"]["failurePolicy"] == "Ignore" {
            return;
        }
        let failure = Failure { message: message.into(), reason: "Invalid".into(), expression: 0 };
        self.enforce(binding, &failure, report);
    }

    fn enforce(&self, binding: &Value, failure: &Failure, report: &mut Report) {
        let actions: Vec<&str> = binding["spec"]["validationActions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let binding = name_of(binding);
        for action in &actions {
            match *action {
                "Deny" => report.denials.push(Denial {
                    policy: self.name.clone(),
                    binding: binding.into(),
                    message: failure.message.clone(),
                    reason: failure.reason.clone(),
                }),
                "Warn" => report.warnings.push(format!(
                    "Validation failed for ValidatingAdmissionPolicy '{}' with binding '{binding}': {}",
                    self.name, failure.message
                )),
                "Audit" => report.failures.push(serde_json::json!({
                    "message": failure.message, "policy": self.name, "binding": binding,
                    "expressionIndex": failure.expression, "validationActions": actions,
                })),
                _ => {}
            }
        }
    }
}

impl Report {
    /// The answer to a request that is refused; none when it is not.
    pub fn refusal(&self, resource: shoal_api::status::Resource<'_>, name: &str) -> Option<Status> {
        let denial = self.denials.first()?;
        let message = format!(
            "ValidatingAdmissionPolicy '{}' with binding '{}' denied request: {}",
            denial.policy, denial.binding, denial.message
        );
        let (code, reason) = match denial.reason.as_str() {
            "Unauthorized" => (401, "Unauthorized"),
            "Forbidden" => (403, "Forbidden"),
            "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
            _ => (422, "Invalid"),
        };
        let subject = match name {
            "" => format!("{} is forbidden", resource.qualified()),
            name => format!("{} {name:?} is forbidden", resource.qualified()),
        };
        let cause = Cause { message: message.clone(), ..Cause::default() };
        let details = Details {
            name: name.into(),
            group: resource.group.into(),
            kind: resource.name.into(),
            causes: vec![cause],
            ..Details::default()
        };
        Some(Status::new(code, reason, format!("{subject}: {message}")).with_details(details))
    }
}

impl Validation {
    /// None when it holds, else message and reason.
    fn judge<'v>(
        &'v self,
        root: &Root<'_, 'v>,
        budget: &mut Budget<'_>,
    ) -> Result<Option<(String, String)>, String> {
        match self.program.evaluate(root, budget) {
            Ok(Val::Bool(true)) => return Ok(None),
            Ok(_) => {}
            Err(Fault::Cost) => {
                return Err("validation failed due to running out of cost budget, no further validation rules will be run".into());
            }
            Err(fault) => return Err(failed(&self.program, &fault)),
        }
        let made = self.message_program.as_ref().and_then(|program| program.evaluate(root, budget).ok());
        let text = made.as_ref().and_then(Val::as_text).map(str::trim);
        let usable =
            |text: &&str| !text.is_empty() && !text.contains(['\n', '\r']) && text.len() <= MESSAGE_BYTES_MAX;
        let message = match (text.filter(usable), self.message.trim()) {
            (Some(text), _) => text.to_string(),
            (None, "") => format!("failed expression: {}", self.program.source().trim()),
            (None, message) => message.to_string(),
        };
        let reason = if self.reason.is_empty() { "Invalid" } else { &self.reason };
        Ok(Some((message, reason.to_string())))
    }
}

/// The variables of a policy, each evaluated once.
struct Variables<'p, 'v> {
    policy: &'v Policy,
    base: &'p Root<'p, 'v>,
    known: RefCell<BTreeMap<String, Result<Val<'v>, Fault>>>,
}

impl<'v> Lazy<'v> for Variables<'_, 'v> {
    fn get(&self, name: &str, budget: &mut Budget<'_>) -> Option<Result<Val<'v>, Fault>> {
        if let Some(known) = self.known.borrow().get(name) {
            return Some(known.clone());
        }
        let (_, program) = self.policy.variables.iter().find(|(known, _)| known == name)?;
        let root = Root {
            variables: self.base.variables.clone(),
            lazy: Some(self),
            authorizer: self.base.authorizer,
        };
        let value = program.evaluate_within(&root, budget);
        self.known.borrow_mut().insert(name.into(), value.clone());
        Some(value)
    }
}

/// Reads expressions and keeps what is wrong with them.
struct Reader {
    errors: Vec<PolicyError>,
    /// Variables that are known so far.
    known: Vec<String>,
    params: bool,
}

impl Reader {
    fn read(&mut self, expression: &Value, field: &str, expected: Option<&[&str]>) -> Option<Program> {
        let source = expression.as_str().unwrap_or_default();
        let mut names: Vec<(&'static str, Type<'_>)> =
            ["object", "oldObject", "request", "namespaceObject", "authorizer", "variables"]
                .map(|name| (name, Type::Dyn))
                .to_vec();
        if self.params {
            names.push(("params", Type::Dyn));
        }
        let environment = Environment { names, variables: Some(self.known.clone()) };
        let read =
            Program::compile(source).and_then(|program| Ok((program.check(&environment)?.0.name(), program)));
        let message = match read {
            Ok((ty, program)) => {
                let fits = expected.is_none_or(|expected| ty == "dyn" || expected.contains(&ty.as_str()));
                if fits {
                    return Some(program);
                }
                let wanted = expected.and_then(|expected| expected.first()).copied().unwrap_or("dyn");
                format!("must evaluate to {wanted}")
            }
            Err(error) => format!("compilation failed: {error}"),
        };
        self.errors.push(PolicyError { field: field.into(), expression: source.into(), message });
        None
    }

    fn named(
        &mut self,
        list: &[Value],
        field: &str,
        name: &str,
        expression: &str,
        is_annotation: bool,
    ) -> Vec<(String, Program)> {
        let expected: &[&str] = if is_annotation { &["string", "null"] } else { &["bool"] };
        let mut programs = Vec::new();
        for (index, entry) in list.iter().enumerate() {
            let field = format!("spec.{field}[{index}].{expression}");
            if let Some(program) = self.read(&entry[expression], &field, Some(expected)) {
                programs.push((entry[name].as_str().unwrap_or_default().to_string(), program));
            }
        }
        programs
    }

    fn validation(&mut self, validation: &Value, field: &str) -> Option<Validation> {
        let program = self.read(&validation["expression"], &format!("{field}.expression"), Some(&["bool"]));
        let text = |name: &str| validation[name].as_str().unwrap_or_default().to_string();
        let message_program = match validation["messageExpression"].as_str() {
            Some(text) if !text.is_empty() => {
                let field = format!("{field}.messageExpression");
                Some(self.read(&validation["messageExpression"], &field, Some(&["string"]))?)
            }
            _ => None,
        };
        Some(Validation {
            program: program?,
            message: text("message"),
            message_program,
            reason: text("reason"),
        })
    }
}
