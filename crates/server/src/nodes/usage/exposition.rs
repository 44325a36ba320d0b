//! What a node says it uses, in the text format of Prometheus: the few series of `/metrics/resource` that are needed.

use std::collections::HashMap;

/// Containers of one node that are taken in; a node runs far fewer.
const CONTAINERS_MAX: usize = 50_000;

/// What one thing has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counters {
    /// Seconds of processor time, and when they were read, in milliseconds since 1970.
    pub cpu_seconds: Option<(f64, i64)>,
    /// Bytes that cannot be given back.
    pub memory_bytes: Option<f64>,
}

/// One reading of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// The node itself.
    pub node: Counters,
    /// By namespace, pod and container.
    pub containers: HashMap<[String; 3], Counters>,
}

impl Reading {
    /// Reads a text that came at `now`, in milliseconds since 1970. Lines that cannot be read are passed over.
    pub(super) fn parse(text: &str, now: i64) -> Self {
        let mut reading = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            reading.take(line, now);
        }
        reading
    }

    fn take(&mut self, line: &str, now: i64) -> Option<()> {
        let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
        let (name, rest) = line.split_at(end);
        let (of, what) = name.split_once('_')?;
        let (labels, rest) = labels(rest)?;
        let mut words = rest.split_whitespace();
        let value: f64 = words.next()?.parse().ok()?;
        let at = words.next().and_then(|at| at.parse().ok()).unwrap_or(now);
        let counters = match of {
            "node" => &mut self.node,
            "container" => {
                let place = ["namespace", "pod", "container"].map(|label| labels.get(label).cloned());
                let [Some(namespace), Some(pod), Some(container)] = place else { return None };
                if self.containers.len() >= CONTAINERS_MAX {
                    return None;
                }
                self.containers.entry([namespace, pod, container]).or_default()
            }
            _ => return None,
        };
        match what {
            "cpu_usage_seconds_total" => counters.cpu_seconds = Some((value, at)),
            "memory_working_set_bytes" => counters.memory_bytes = Some(value),
            _ => {}
        }
        Some(())
    }
}

/// The labels in front of a value, and what follows them; none: they have no end.
fn labels(text: &str) -> Option<(HashMap<String, String>, &str)> {
    let mut labels = HashMap::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Some((labels, text)) };
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.insert(name.trim().to_owned(), value);
        rest = after;
    }
}

/// Text up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_a_kubelet_are_read() {
        let text = "# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time\n\
                    # TYPE container_cpu_usage_seconds_total counter\n\
                    container_cpu_usage_seconds_total{container=\"c\",namespace=\"a\",pod=\"p\"} 4.71 1700000000123\n\
                    container_memory_working_set_bytes{container=\"c\",namespace=\"a\",pod=\"p\",odd=\"a\\\"}\\\\\"} 1.5e+06\n\
                    container_start_time_seconds{container=\"d\",namespace=\"a\",pod=\"p\"} 1.7e+09\n\
                    node_cpu_usage_seconds_total 12 5\nnode_memory_working_set_bytes 7\n\
                    scrape_error 0\nnonsense\n{\nnode_cpu_usage_seconds_total{x=\"\n";
        let reading = Reading::parse(text, 9);
        let place = |container: &str| ["a", "p", container].map(String::from);
        let c = reading.containers[&place("c")];
        assert_eq!(c, Counters { cpu_seconds: Some((4.71, 1_700_000_000_123)), memory_bytes: Some(1.5e6) });
        assert_eq!(reading.containers[&place("d")], Counters::default());
        assert_eq!(reading.node, Counters { cpu_seconds: Some((12.0, 5)), memory_bytes: Some(7.0) });
        assert_eq!(Reading::parse("node_cpu_usage_seconds_total 1", 9).node.cpu_seconds, Some((1.0, 9)));
    }

    #[test]
    fn no_text_makes_it_panic() {
        let mut random = shoal_base::splitmix::SplitMix64::new(3);
        let letters: Vec<char> = "node_container_cpu{}\"=\\ ,1.e#\n\u{e9}".chars().collect();
        for _ in 0..3000 {
            let length = random.draw() % 48;
            let text: String =
                (0..length).map(|_| letters[(random.draw() % letters.len() as u64) as usize]).collect();
            let _ = Reading::parse(&text, 0);
        }
    }
}
