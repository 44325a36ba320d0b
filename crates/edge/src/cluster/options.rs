//! What annotations of a Service or an Ingress say about its requests.

use std::time::Duration;

use serde_json::Value;
use shoal_base::units::{Bytes, parse_duration};

/// Wishes for the requests of a route. Those of an Ingress go before those of its Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RouteOptions {
    /// `shoal.dev/timeout`: until the head of the response.
    pub(crate) timeout: Option<Duration>,
    /// `shoal.dev/max-request-body`, in bytes.
    pub(crate) request_body_bytes: Option<u64>,
    /// `shoal.dev/max-in-flight`: requests at once, on this node; of a Service only.
    pub(crate) in_flight: Option<usize>,
    /// `shoal.dev/redirect-to-https`; of an Ingress only.
    pub(crate) redirects: bool,
    /// What was not understood, a sentence each.
    pub(crate) mistakes: Vec<String>,
}

const TIMEOUT: &str = "shoal.dev/timeout";
const REQUEST_BODY: &str = "shoal.dev/max-request-body";
const IN_FLIGHT: &str = "shoal.dev/max-in-flight";
const REDIRECT: &str = "shoal.dev/redirect-to-https";

impl RouteOptions {
    /// The wishes in the annotations of an object.
    pub(crate) fn of(object: &Value) -> Self {
        let mut options = Self::default();
        let annotations = &object["metadata"]["annotations"];
        let given = |name: &str| annotations[name].as_str();
        options.timeout = options.read(TIMEOUT, given(TIMEOUT), |text| {
            parse_duration(text)
                .ok()
                .filter(|timeout| !timeout.is_zero())
                .ok_or("a time above zero such as 5s")
        });
        options.request_body_bytes = options.read(REQUEST_BODY, given(REQUEST_BODY), |text| {
            text.parse::<Bytes>().map(|bytes| bytes.0).map_err(|_| "a size such as 1MiB")
        });
        options.in_flight = options.read(IN_FLIGHT, given(IN_FLIGHT), |text| {
            text.parse().ok().filter(|count| *count > 0).ok_or("a number from 1 on")
        });
        options.redirects = options
            .read(REDIRECT, given(REDIRECT), |text| text.parse::<bool>().map_err(|_| "true or false"))
            .unwrap_or_default();
        options
    }

    /// These wishes, and where there are none those of the Service.
    pub(crate) fn over(&self, service: &Self) -> Self {
        Self {
            timeout: self.timeout.or(service.timeout),
            request_body_bytes: self.request_body_bytes.or(service.request_body_bytes),
            in_flight: service.in_flight,
            redirects: self.redirects,
            mistakes: Vec::new(),
        }
    }

    fn read<V>(
        &mut self,
        name: &str,
        text: Option<&str>,
        read: impl FnOnce(&str) -> Result<V, &'static str>,
    ) -> Option<V> {
        let text = text?;
        read(text.trim())
            .map_err(|wanted| {
                self.mistakes.push(format!("the annotation {name} is `{text}`, which is not {wanted}"));
            })
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(annotations: &Value) -> RouteOptions {
        RouteOptions::of(&json!({"metadata": {"annotations": annotations}}))
    }

    #[test]
    fn annotations_are_read_and_mistakes_named() {
        let options = of(&json!({
            TIMEOUT: "1500ms", REQUEST_BODY: "1MiB", IN_FLIGHT: "1", REDIRECT: "true",
        }));
        assert_eq!(options.timeout, Some(Duration::from_millis(1500)));
        assert_eq!((options.request_body_bytes, options.in_flight), (Some(1 << 20), Some(1)));
        assert!(options.redirects && options.mistakes.is_empty());
        let wrong = of(&json!({TIMEOUT: "0s", REQUEST_BODY: "much", IN_FLIGHT: "0", REDIRECT: "yes"}));
        assert_eq!(
            wrong.mistakes,
            [
                "the annotation shoal.dev/timeout is `0s`, which is not a time above zero such as 5s",
                "the annotation shoal.dev/max-request-body is `much`, which is not a size such as 1MiB",
                "the annotation shoal.dev/max-in-flight is `0`, which is not a number from 1 on",
                "the annotation shoal.dev/redirect-to-https is `yes`, which is not true or false",
            ]
        );
        assert_eq!(RouteOptions { mistakes: Vec::new(), ..wrong }, of(&json!({})));
    }

    #[test]
    fn an_ingress_goes_before_its_service() {
        let service = of(&json!({TIMEOUT: "1s", REQUEST_BODY: "1KiB", IN_FLIGHT: "7"}));
        let ingress = of(&json!({TIMEOUT: "2s", IN_FLIGHT: "9"}));
        let both = ingress.over(&service);
        assert_eq!(both.timeout, Some(Duration::from_secs(2)));
        assert_eq!((both.request_body_bytes, both.in_flight), (Some(1 << 10), Some(7)));
    }
}
