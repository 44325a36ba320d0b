//! What should run of a pod, given what runs.

use std::collections::BTreeSet;

use serde_json::Value;
use shoal_api::object;
use shoal_api::time::Moment;

use super::state::{Container, Ending, State};
use crate::read::{items, text};

/// What is to be done now. Nothing is done twice: what was started is held until it ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Containers to start.
    pub(crate) starts: Vec<String>,
    /// Containers to stop.
    pub(crate) stops: Vec<String>,
    /// Look again then, whatever happens.
    pub(crate) wake: Option<Moment>,
    /// How it all stands.
    pub(crate) course: Course,
}

/// How a pod stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Course {
    /// Something runs, or will.
    #[default]
    Going,
    /// All has ended well and nothing will be started.
    Succeeded,
    /// All has ended, something not well, and nothing will be started.
    Failed,
    /// It was deleted, and nothing runs any more.
    Gone,
}

/// When a pod has run for too long, and what is said then.
pub(crate) fn overdue(pod: &Value, state: &State, now: Moment) -> Result<Ending, Option<Moment>> {
    let Some(seconds) = pod["spec"]["activeDeadlineSeconds"].as_i64() else { return Err(None) };
    let due = Moment::from_micros(state.started.micros().saturating_add(seconds.saturating_mul(1_000_000)));
    if now < due {
        return Err(Some(due));
    }
    let message = "Pod was active on the node longer than the specified deadline".into();
    Ok(Ending { reason: "DeadlineExceeded", message })
}

/// What is to be done.
pub(crate) fn plan(pod: &Value, state: &State, now: Moment) -> Plan {
    let is_deleted = object::deletion_timestamp(pod).is_some();
    if is_deleted || state.ending.is_some() {
        return ending(state, is_deleted);
    }
    let mut planner = Planner { pod, state, now, plan: Plan::default() };
    if let Err(Some(due)) = overdue(pod, state, now) {
        planner.wake(due);
    }
    planner.run();
    planner.plan
}

/// Everything is to end.
fn ending(state: &State, is_deleted: bool) -> Plan {
    let held = state.containers.iter().filter(|(_, container)| container.is_held);
    let stops: Vec<String> = held.map(|(name, _)| name.clone()).collect();
    let course = match (stops.is_empty(), is_deleted) {
        (false, _) => Course::Going,
        (true, true) => Course::Gone,
        (true, false) => Course::Failed,
    };
    Plan { stops, course, ..Plan::default() }
}

struct Planner<'a> {
    pod: &'a Value,
    state: &'a State,
    now: Moment,
    plan: Plan,
}

/// How one container stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It runs, or is about to.
    Going,
    /// It has ended well, for good.
    Succeeded,
    /// It has ended badly, for good.
    Failed,
}

impl Planner<'_> {
    fn run(&mut self) {
        let spec = &self.pod["spec"];
        let mut aides = BTreeSet::new();
        for container in items(&spec["initContainers"]) {
            let name = text(&container["name"]);
            if container["restartPolicy"] == "Always" {
                // It runs beside the others, which wait until it has started.
                aides.insert(name.to_owned());
                self.look(name, "Always");
                let has_started =
                    |known: &Container| known.is_started || known.last.is_some() || known.ended().is_some();
                if !self.state.containers.get(name).is_some_and(has_started) {
                    return;
                }
                continue;
            }
            // Init containers run to their end, however the pod's policy is.
            let policy = if spec["restartPolicy"] == "Never" { "Never" } else { "OnFailure" };
            match self.look(name, policy) {
                Standing::Succeeded => {}
                Standing::Going => return,
                Standing::Failed => return self.finish(Course::Failed),
            }
        }
        let policy = spec["restartPolicy"].as_str().unwrap_or("Always");
        let standings: Vec<Standing> =
            items(&spec["containers"]).map(|container| self.look(text(&container["name"]), policy)).collect();
        if standings.contains(&Standing::Going) {
            return;
        }
        self.plan.starts.clear();
        let failed = standings.contains(&Standing::Failed);
        self.finish(if failed { Course::Failed } else { Course::Succeeded });
    }

    /// Nothing more is to run: what runs beside is stopped, and the pod is done when that has ended.
    fn finish(&mut self, course: Course) {
        self.plan.starts.clear();
        let held = self.state.containers.iter().filter(|(_, container)| container.is_held);
        self.plan.stops = held.map(|(name, _)| name.clone()).collect();
        if self.plan.stops.is_empty() {
            self.plan.course = course;
            self.plan.wake = None;
        }
    }

    /// Starts a container where that is due, and says how it stands.
    fn look(&mut self, name: &str, policy: &str) -> Standing {
        let unknown = Container::default();
        let container = self.state.containers.get(name).unwrap_or(&unknown);
        if container.is_held {
            return Standing::Going;
        }
        let Some(ended) = container.ended().filter(|_| !container.is_changed) else {
            self.plan.starts.push(name.into());
            return Standing::Going;
        };
        let is_well = ended.code == 0;
        match (policy, is_well) {
            ("Never", false) => return Standing::Failed,
            ("Never" | "OnFailure", true) => return Standing::Succeeded,
            _ => {}
        }
        match container.due.filter(|due| self.now < *due) {
            Some(due) => self.wake(due),
            None => self.plan.starts.push(name.into()),
        }
        Standing::Going
    }

    fn wake(&mut self, at: Moment) {
        self.plan.wake = Some(self.plan.wake.map_or(at, |other| other.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::state::{Ended, Now};
    use super::*;

    fn pod(policy: &str) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}]}})
    }

    fn at(seconds: i64) -> Moment {
        Moment::from_seconds(seconds)
    }

    fn running() -> Container {
        Container {
            now: Now::Running { since: at(0) },
            is_held: true,
            is_started: true,
            ..Container::default()
        }
    }

    fn ended(code: u8, restarts: u32) -> Container {
        let mut container = Container { restarts, ..running() };
        let ended = Ended {
            code,
            reason: "x".into(),
            message: String::new(),
            started: at(0),
            finished: at(1),
            id: "i".into(),
        };
        container.end(ended);
        container
    }

    fn changed(container: Container) -> Container {
        Container { is_changed: true, ..container }
    }

    fn state(containers: &[(&str, Container)]) -> State {
        let containers = containers.iter().map(|(name, one)| ((*name).to_owned(), one.clone())).collect();
        State { containers, ..State::default() }
    }

    fn shown(pod: &Value, state: &State, now: i64) -> String {
        let Plan { starts, stops, wake, course } = plan(pod, state, at(now));
        let mut words = vec![format!("{course:?}")];
        words.extend(starts.iter().map(|name| format!("+{name}")));
        words.extend(stops.iter().map(|name| format!("-{name}")));
        words.extend(wake.map(|at| format!("@{}", at.seconds())));
        words.join(" ")
    }

    #[test]
    fn what_runs_follows_the_restart_policy() {
        let table = [
            ("Always", state(&[]), "Going +a +b"),
            ("Always", state(&[("a", running()), ("b", running())]), "Going"),
            ("Always", state(&[("a", ended(0, 0)), ("b", running())]), "Going +a"),
            ("Always", state(&[("a", ended(1, 1)), ("b", running())]), "Going @11"),
            ("OnFailure", state(&[("a", ended(0, 0)), ("b", running())]), "Going"),
            ("OnFailure", state(&[("a", ended(0, 0)), ("b", ended(0, 0))]), "Succeeded"),
            ("OnFailure", state(&[("a", ended(0, 0)), ("b", ended(3, 0))]), "Going +b"),
            ("Never", state(&[("a", ended(0, 0)), ("b", ended(3, 0))]), "Failed"),
            ("Never", state(&[("a", ended(3, 0)), ("b", running())]), "Going"),
            ("Never", state(&[("a", ended(0, 0)), ("b", ended(0, 0))]), "Succeeded"),
            // What ended for another image to run starts again, whatever the policy and at once.
            ("Never", state(&[("a", changed(ended(0, 0))), ("b", ended(0, 0))]), "Going +a"),
            ("Never", state(&[("a", changed(ended(3, 0))), ("b", running())]), "Going +a"),
            ("Always", state(&[("a", changed(ended(1, 1))), ("b", changed(running()))]), "Going +a"),
        ];
        for (policy, state, expected) in table {
            assert_eq!(shown(&pod(policy), &state, 2), expected, "{policy} {state:?}");
        }
    }

    #[test]
    fn init_containers_come_one_after_the_other_and_aides_stay() {
        let mut pod = pod("OnFailure");
        pod["spec"]["initContainers"] =
            json!([{"name": "i"}, {"name": "aide", "restartPolicy": "Always"}, {"name": "j"}]);
        let table = [
            (state(&[]), "Going +i"),
            (state(&[("i", ended(1, 0))]), "Going +i"),
            (state(&[("i", ended(0, 0))]), "Going +aide"),
            (state(&[("i", ended(0, 0)), ("aide", running())]), "Going +j"),
            (state(&[("i", ended(0, 0)), ("aide", running()), ("j", ended(0, 0))]), "Going +a +b"),
            (
                state(&[
                    ("i", ended(0, 0)),
                    ("aide", running()),
                    ("j", ended(0, 0)),
                    ("a", ended(0, 0)),
                    ("b", ended(0, 0)),
                ]),
                "Going -aide",
            ),
            (
                state(&[
                    ("i", ended(0, 0)),
                    ("aide", ended(0, 0)),
                    ("j", ended(0, 0)),
                    ("a", ended(0, 0)),
                    ("b", ended(0, 0)),
                ]),
                "Succeeded",
            ),
        ];
        for (state, expected) in table {
            let shown = shown(&pod, &state, 2);
            // An aide that has ended is started again only while others run.
            assert_eq!(shown, expected, "{state:?}");
        }
        pod["spec"]["restartPolicy"] = json!("Never");
        assert_eq!(shown(&pod, &state(&[("i", ended(1, 0))]), 2), "Failed");
    }

    #[test]
    fn a_deleted_pod_is_gone_when_nothing_runs() {
        let mut pod = pod("Always");
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(shown(&pod, &state(&[("a", running()), ("b", ended(1, 0))]), 2), "Going -a");
        assert_eq!(shown(&pod, &state(&[("a", ended(0, 0)), ("b", ended(1, 0))]), 2), "Gone");
        assert_eq!(shown(&pod, &state(&[]), 2), "Gone");
    }

    #[test]
    fn a_deadline_ends_a_pod() {
        let mut pod = pod("Always");
        pod["spec"]["activeDeadlineSeconds"] = json!(30);
        let mut state = state(&[("a", running()), ("b", running())]);
        assert_eq!(shown(&pod, &state, 29), "Going @30");
        state.ending = overdue(&pod, &state, at(30)).ok();
        assert_eq!(shown(&pod, &state, 30), "Going -a -b");
        state.containers.values_mut().for_each(|container| container.is_held = false);
        assert_eq!(shown(&pod, &state, 30), "Failed");
    }

    #[test]
    fn restarts_wait_longer_each_time_and_are_forgiven_after_ten_minutes() {
        let mut container = Container::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for run in [1, 1, 1, 1, 1, 1, 1, 599, 600, 1] {
            container.start();
            let ended = Ended {
                code: 1,
                reason: String::new(),
                message: String::new(),
                started: at(now),
                finished: at(now + run),
                id: String::new(),
            };
            container.end(ended);
            let due = container.due.expect("it may start again").seconds();
            waits.push(due - now - run);
            now = due;
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300, 10, 20]);
        assert_eq!(container.restarts, 9);
    }
}
