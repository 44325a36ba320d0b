//! Whether the expressions of policies and webhook configurations can be read: the part of their validation that
//! needs CEL.

use serde_json::Value;
use shoal_api::field::{Error, Path};

use super::compiled::{Policy, PolicyError};
use crate::cel::{Environment, Program, Type};

/// What is wrong with the expressions of a ValidatingAdmissionPolicy.
pub fn policy_errors(policy: &Value) -> Vec<Error> {
    let errors = Policy::new(policy).err().unwrap_or_default();
    errors.iter().map(PolicyError::to_field).collect()
}

/// What is wrong with the `matchConditions` of a webhook configuration.
pub fn webhook_errors(configuration: &Value) -> Vec<Error> {
    let names = ["object", "oldObject", "request", "authorizer"].map(|name| (name, Type::Dyn)).to_vec();
    let environment = Environment { names, variables: None };
    let mut errors = Vec::new();
    for (index, webhook) in configuration["webhooks"].as_array().into_iter().flatten().enumerate() {
        let path = Path::new("webhooks").index(index).child("matchConditions");
        for (at, condition) in webhook["matchConditions"].as_array().into_iter().flatten().enumerate() {
            let path = path.index(at).child("expression");
            let source = condition["expression"].as_str().unwrap_or_default();
            if source.trim().is_empty() {
                errors.push(Error::required(&path, ""));
                continue;
            }
            let read = Program::compile(source).and_then(|program| program.check_bool(&environment));
            if let Err(error) = read {
                let detail = match error.0.as_str() {
                    "cel expression must evaluate to a bool" => "must evaluate to bool".into(),
                    text => format!("compilation failed: {text}"),
                };
                errors.push(Error::invalid(&path, &source.into(), &detail));
            }
        }
    }
    errors
}

impl PolicyError {
    /// As an error of the policy's field.
    pub fn to_field(&self) -> Error {
        let path = Path::new(&self.field);
        match self.expression.trim() {
            "" => Error::required(&path, "expression is not specified"),
            _ => Error::invalid(&path, &self.expression.clone().into(), &self.message),
        }
    }
}
