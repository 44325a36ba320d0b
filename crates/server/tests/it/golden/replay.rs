//! Sends what was recorded, and finds where the answers differ.

use std::collections::HashSet;
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::Finding;
use super::compare::differences;
use super::names::Names;
use super::normalise::normalise;
use super::recording::{Exchange, Said, Step};
use crate::client::{Answer, header};
use crate::server::Server;

/// How long controllers have, after a write, to do what the recorded ones had done before the next command. Asking
/// stops as soon as the answer is the recorded one.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);
/// Between questions.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Times that nothing has changed between questions before controllers are taken to have nothing left to do.
const QUIET_ASKED: u32 = 3;
/// For one event of a watch.
const EVENT_WITHIN: Duration = Duration::from_secs(2);
/// Headers that the connection sets by itself.
const OWN_HEADERS: [&str; 2] = ["host", "content-length"];

/// Sends all steps to a server. What is `expected` to differ is not waited for.
pub(super) async fn run(
    server: &Server,
    steps: &[Step],
    expected: &dyn Fn(&Finding) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut replay = Replay { server, names: Names::default(), lasting: HashSet::new() };
    for step in steps {
        replay.rest().await;
        replay.learn_index().await;
        for (place, exchange) in step.exchanges.iter().enumerate() {
            let request = format!("{} {}", exchange.method, exchange.target);
            let finding = |(path, expected, got)| Finding {
                step: step.number,
                exchange: place,
                request: request.clone(),
                path,
                expected,
                got,
            };
            let found = if exchange.is_watch() {
                replay.watch(exchange).await
            } else {
                replay.exchange(exchange, &|found| expected(&finding(found.clone()))).await
            };
            findings.extend(found.into_iter().map(finding));
        }
    }
    findings
}

/// Path, expected, got.
type Found = (String, String, String);

struct Replay<'s> {
    server: &'s Server,
    names: Names,
    /// Kinds of differences that did not go away: the next ones of the kind are not waited for.
    lasting: HashSet<String>,
}

impl Replay<'_> {
    /// Waits until controllers have nothing left to do: people typed the recorded commands, one after the other.
    async fn rest(&self) {
        let until = Instant::now() + SETTLE_WITHIN;
        let (mut last, mut quiet) = (String::new(), 0);
        loop {
            let now = self.server.send(Method::GET, "/api/v1/namespaces?limit=1", None).await.json();
            let revision = now["metadata"]["resourceVersion"].to_string();
            quiet = if revision == last { quiet + 1 } else { 0 };
            if quiet == QUIET_ASKED || Instant::now() >= until {
                return;
            }
            last = revision;
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Hashes of documents change with what is served: asked for before each step, as kubectl does.
    async fn learn_index(&mut self) {
        let index = self.server.send(Method::GET, "/openapi/v3", None).await;
        self.names.learn_index(&index.json());
    }

    /// Sends a request until its answer is as recorded or it is too late; writes are sent once.
    async fn exchange(&mut self, exchange: &Exchange, is_expected: &dyn Fn(&Found) -> bool) -> Vec<Found> {
        let until = Instant::now() + SETTLE_WITHIN;
        loop {
            let answer = self.send(exchange).await;
            self.learn(exchange, &answer);
            let found = self.compare(exchange, &answer);
            let new = found.iter().filter(|found| !is_expected(found));
            let kinds: Vec<String> = new.map(|(path, ..)| without_names(path)).collect();
            let is_late = Instant::now() >= until;
            if exchange.method != "GET" || is_late || kinds.iter().all(|kind| self.lasting.contains(kind)) {
                if is_late {
                    self.lasting.extend(kinds);
                }
                return found;
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Opens a watch and reads as many events as were recorded.
    async fn watch(&self, exchange: &Exchange) -> Vec<Found> {
        let headers = self.headers(exchange);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let target = self.names.target(&exchange.target);
        let mut stream = self.server.client.stream(Method::GET, &target, &headers, Vec::new()).await;
        let mut found = head(exchange, stream.status, &header(&stream.headers, "content-type"));
        let Said::Events(expected) = exchange.said() else { return found };
        for (place, event) in expected.iter().enumerate() {
            let got = stream.next(EVENT_WITHIN).await;
            found.extend(self.beside(event, &got.unwrap_or_default()).into_iter().map(
                |(path, expected, got)| {
                    (path.replacen("body", &format!("body.events[{place}]"), 1), expected, got)
                },
            ));
        }
        found
    }

    async fn send(&self, exchange: &Exchange) -> Answer {
        let headers = self.headers(exchange);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = match exchange.body_json() {
            Some(mut body) => {
                self.names.value(&mut body);
                body.to_string().into_bytes()
            }
            None => self.names.bytes(exchange.body()),
        };
        let method = Method::from_bytes(exchange.method.as_bytes()).expect("a method");
        self.server.client.send(method, &self.names.target(&exchange.target), &headers, body).await
    }

    fn headers<'e>(&self, exchange: &'e Exchange) -> Vec<(&'e str, String)> {
        let recorded = exchange
            .headers
            .iter()
            .filter(|(name, _)| !OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
        recorded.map(|(name, value)| (name.as_str(), self.names.header(name, value))).collect()
    }

    fn compare(&self, exchange: &Exchange, answer: &Answer) -> Vec<Found> {
        let mut found = head(exchange, answer.status, &answer.content_type());
        if exchange.status != answer.status {
            // Two answers of different kinds differ in everything else too.
            return found;
        }
        match exchange.said() {
            Said::Object(expected) => found.extend(self.beside(&expected, &object(answer))),
            Said::Text(expected) if expected != answer.text() => {
                found.push(("body".into(), expected, answer.text()));
            }
            Said::Text(_) | Said::Unknown | Said::Events(_) => {}
        }
        found
    }

    fn beside(&self, expected: &Value, got: &Value) -> Vec<Found> {
        let (mut expected, mut got) = (expected.clone(), got.clone());
        // What the recorded server drew may stand anywhere, also in messages.
        self.names.value(&mut expected);
        normalise(&mut expected);
        normalise(&mut got);
        differences(&expected, &got)
            .into_iter()
            .map(|found| (found.path, found.expected, found.got))
            .collect()
    }

    fn learn(&mut self, exchange: &Exchange, answer: &Answer) {
        for name in ["etag", "last-modified"] {
            self.names.learn_tag(exchange.answer_header(name), &header(&answer.headers, name));
        }
        if let Said::Object(expected) = exchange.said() {
            self.names.learn(&expected, &object(answer));
        }
    }
}

/// A path without the names and places in its brackets.
fn without_names(path: &str) -> String {
    let parts = path.split('[').enumerate();
    let parts = parts.map(
        |(place, part)| if place == 0 { part } else { part.split_once(']').map_or("", |(_, rest)| rest) },
    );
    parts.collect::<Vec<_>>().join("[]")
}

/// Status and media type.
fn head(exchange: &Exchange, status: u16, content_type: &str) -> Vec<Found> {
    if exchange.status != status {
        return vec![("status".into(), exchange.status.to_string(), status.to_string())];
    }
    let mut found = Vec::new();
    let expected = exchange.answer_header("content-type");
    if expected != content_type {
        found.push(("content-type".into(), expected.into(), content_type.into()));
    }
    found
}

/// The object in an answer, from text or from protobuf; a text where it is neither.
fn object(answer: &Answer) -> Value {
    if shoal_api::proto::is_protobuf(&answer.body) {
        return shoal_api::proto::decode_object(&answer.body).expect("what the server sent can be read");
    }
    match answer.json() {
        Value::Null => Value::String(answer.text()),
        value => value,
    }
}
