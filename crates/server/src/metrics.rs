//! What was counted, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use crate::fair::Fair;

/// Upper ends of the buckets of durations, in seconds.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Counts requests, and what should never happen.
#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(&'static str, String, u16), Series>>,
    /// By controller.
    panics: Mutex<BTreeMap<&'static str, u64>>,
}

#[derive(Default)]
struct Series {
    count: u64,
    seconds: f64,
    buckets: [u64; BUCKETS.len()],
}

impl Metrics {
    /// Counts a request. `resource` is empty for paths; it is one that is served, so that clients cannot make series up.
    pub fn request(&self, verb: &'static str, resource: &str, code: StatusCode, took: Duration) {
        let resource = if code == StatusCode::NOT_FOUND { "" } else { resource };
        let mut all = self.requests.lock();
        let series = all.entry((verb, resource.to_owned(), code.as_u16())).or_default();
        let seconds = took.as_secs_f64();
        series.count += 1;
        series.seconds += seconds;
        for (bucket, end) in series.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= end);
        }
    }

    /// Counts a plan of a controller that has panicked, or its look at an object.
    pub fn panicked(&self, controller: &'static str) {
        *self.panics.lock().entry(controller).or_default() += 1;
    }

    /// All of it.
    pub fn text(&self, fair: &Fair) -> String {
        let mut out = String::from(
            "# HELP apiserver_request_duration_seconds Time from a request to its answer; of a watch, to its first byte.\n\
             # TYPE apiserver_request_duration_seconds histogram\n",
        );
        for ((verb, resource, code), series) in self.requests.lock().iter() {
            let labels = format!("verb=\"{verb}\",resource=\"{resource}\",code=\"{code}\"");
            for (bucket, end) in series.buckets.iter().zip(BUCKETS) {
                let _ = writeln!(
                    out,
                    "apiserver_request_duration_seconds_bucket{{{labels},le=\"{end}\"}} {bucket}"
                );
            }
            let _ = writeln!(
                out,
                "apiserver_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {}",
                series.count
            );
            let _ = writeln!(out, "apiserver_request_duration_seconds_sum{{{labels}}} {}", series.seconds);
            let _ = writeln!(out, "apiserver_request_duration_seconds_count{{{labels}}} {}", series.count);
        }
        let (running, waiting) = fair.load();
        let _ = writeln!(
            out,
            "# HELP apiserver_current_inflight_requests Requests that hold a place.\n\
             # TYPE apiserver_current_inflight_requests gauge\n\
             apiserver_current_inflight_requests {running}\n\
             # HELP apiserver_current_inqueue_requests Requests that wait for a place or a turn.\n\
             # TYPE apiserver_current_inqueue_requests gauge\n\
             apiserver_current_inqueue_requests {waiting}"
        );
        out.push_str(
            "# HELP shoal_controller_panics_total Plans of a controller, and looks at an object, that have panicked: each is a mistake of this program.\n\
             # TYPE shoal_controller_panics_total counter\n",
        );
        for (controller, count) in self.panics.lock().iter() {
            let _ = writeln!(out, "shoal_controller_panics_total{{controller=\"{controller}\"}} {count}");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_are() {
        let metrics = Metrics::default();
        metrics.request("get", "pods", StatusCode::OK, Duration::from_millis(3));
        metrics.request("get", "made-up", StatusCode::NOT_FOUND, Duration::from_millis(1));
        let text = metrics.text(&Fair::default());
        let labels = "verb=\"get\",resource=\"pods\",code=\"200\"";
        assert!(text.contains(&format!("_bucket{{{labels},le=\"0.0025\"}} 0\n")), "{text}");
        assert!(text.contains(&format!("_bucket{{{labels},le=\"0.005\"}} 1\n")), "{text}");
        assert!(!text.contains("made-up"), "{text}");
    }
}
