//! The list of differences that are known and accepted, each with its reason.
//!
//! A line is `STEPS | REQUEST | PATH | REASON`. STEPS is `*`, or numbers and ranges (`13,20-22`), with a `?` behind where two
//! things happen at once and it depends on which is first; in REQUEST and PATH, `*` stands for any letters.

use super::Finding;

/// The list, with what it was good for.
pub(super) struct Accepted {
    rules: Vec<Rule>,
}

struct Rule {
    line: String,
    steps: Vec<(u32, u32)>,
    request: String,
    path: String,
    by_chance: bool,
    taken: usize,
}

impl Accepted {
    /// Reads the list.
    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { rules: lines.map(Rule::read).collect() }
    }

    /// Whether a finding is on the list.
    pub(super) fn has(&self, finding: &Finding) -> bool {
        self.rules.iter().any(|rule| rule.is_for(finding))
    }

    /// Whether a finding is on the list, whose line then was good for something.
    pub(super) fn take(&mut self, finding: &Finding) -> bool {
        let rule = self.rules.iter_mut().find(|rule| rule.is_for(finding));
        rule.map(|rule| rule.taken += 1).is_some()
    }

    /// Lines that were good for nothing.
    pub(super) fn idle(&self) -> Vec<String> {
        self.rules
            .iter()
            .filter(|rule| rule.taken == 0 && !rule.by_chance)
            .map(|rule| rule.line.clone())
            .collect()
    }
}

impl Rule {
    fn read(line: &str) -> Self {
        let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
        let [steps, request, path, reason] = parts[..] else {
            panic!("a difference is STEPS | REQUEST | PATH | REASON: {line}");
        };
        assert!(!reason.is_empty(), "a difference has a reason: {line}");
        let by_chance = steps.ends_with('?');
        let steps = steps.trim_end_matches('?');
        let number =
            |text: &str| -> u32 { text.parse().unwrap_or_else(|_| panic!("no step {text}: {line}")) };
        let range = |text: &str| match text.split_once('-') {
            _ if text == "*" => (0, u32::MAX),
            Some((from, to)) => (number(from), number(to)),
            None => (number(text), number(text)),
        };
        Self {
            line: line.into(),
            steps: steps.split(',').map(range).collect(),
            request: request.into(),
            path: path.into(),
            by_chance,
            taken: 0,
        }
    }

    fn is_for(&self, finding: &Finding) -> bool {
        self.steps.iter().any(|(from, to)| (*from..=*to).contains(&finding.step))
            && matches(&self.request, &finding.request)
            && matches(&self.path, &finding.path)
    }
}

/// Whether a text is as a pattern says, in which `*` stands for any letters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
    ends.into_iter().any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(step: u32, request: &str, path: &str) -> Finding {
        let empty = String::new();
        Finding {
            step,
            exchange: 0,
            request: request.into(),
            path: path.into(),
            expected: empty.clone(),
            got: empty,
        }
    }

    #[test]
    fn a_rule_takes_what_it_names_and_tells_when_it_is_idle() {
        let mut accepted = Accepted::read(
            "# why\n3-5,9 | GET */pods* | body.items*.status | no kubelet\n* | * | status | x\n7? | * | * | y",
        );
        assert!(accepted.take(&finding(4, "GET /api/v1/pods?limit=1", "body.items[a].status")));
        assert!(accepted.take(&finding(9, "GET /api/v1/pods", "body.items.status")));
        assert!(!accepted.take(&finding(6, "GET /api/v1/pods", "body.items.status")));
        assert!(!accepted.take(&finding(4, "PUT /api/v1/pods", "body.items.status")));
        assert!(!accepted.take(&finding(4, "GET /api/v1/pods", "body.items.status.phase")));
        assert_eq!(accepted.idle(), ["* | * | status | x"]);
    }
}
