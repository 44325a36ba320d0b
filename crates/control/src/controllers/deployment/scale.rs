//! How large each ReplicaSet of a Deployment shall be.

use std::cmp::Reverse;

use serde_json::Value;

use super::Step;
use super::sets::Set;
use crate::controllers::pods::number;

/// How many pods there may be beyond the wanted number, and how many of them may be missing.
fn fenceposts(deployment: &Value) -> (i64, i64) {
    let wanted = number(&deployment["spec"]["replicas"]);
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    let surge = share(&rolling["maxSurge"], wanted, true);
    let unavailable = share(&rolling["maxUnavailable"], wanted, false);
    // With neither, nothing could ever be replaced.
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

/// A number, or a share of `all`. What is neither is 0.
pub(crate) fn share(value: &Value, all: i64, up: bool) -> i64 {
    if let Some(number) = value.as_i64() {
        return number;
    }
    let percent = value.as_str().and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse().ok());
    let whole: i64 = all.saturating_mul(percent.unwrap_or(0));
    if up { whole.saturating_add(99) / 100 } else { whole / 100 }
}

fn is_rolling(deployment: &Value) -> bool {
    deployment["spec"]["strategy"]["type"] == "RollingUpdate"
}

/// How many pods there may be beyond the wanted number.
pub(super) fn surge_max(deployment: &Value) -> i64 {
    if is_rolling(deployment) { fenceposts(deployment).0 } else { 0 }
}

/// How many of the wanted pods may be missing.
pub(super) fn unavailable_max(deployment: &Value) -> i64 {
    let wanted = number(&deployment["spec"]["replicas"]);
    if is_rolling(deployment) { fenceposts(deployment).1.min(wanted) } else { 0 }
}

impl Step<'_> {
    /// The newest set grows as far as it may, or shrinks to what is wanted. Says whether it changed.
    pub(super) fn scale_up_newest(&mut self) -> bool {
        let Some(new) = &self.sets.new else { return false };
        let (has, wanted) = (new.replicas(), self.replicas());
        if new.is_fresh || has == wanted {
            return false;
        }
        let size = if has > wanted { wanted } else { self.sets.room_for_newest(&self.deployment, has) };
        self.resize_newest(size)
    }

    /// Old sets shrink as far as enough pods stay available. First go those that are not available anyway.
    pub(super) fn scale_down_old(&mut self) {
        let Some(new) = &self.sets.new else { return };
        let is_old_news = |set: &Set| set.replicas() > 0 && !set.has_seen();
        if self.sets.old.iter().any(is_old_news) || (new.available() > 0 && !new.has_seen()) {
            // Pods that are counted may have been taken away, and those that are not may serve by now; the status
            // that says so wakes this again.
            return;
        }
        let least = self.replicas() - unavailable_max(&self.deployment);
        // A set that is made in this step has no pods yet, and those it wants are not there.
        let missing_new = new.replicas() - new.available();
        let spare = self.sets.total() - least - missing_new;
        if spare <= 0 || self.sets.old.iter().all(|set| set.replicas() == 0) {
            return;
        }
        let mut left = spare;
        for at in 0..self.sets.old.len() {
            let set = &self.sets.old[at];
            let broken = (set.replicas() - set.available()).clamp(0, left.max(0));
            let size = set.replicas() - broken;
            self.resize_old(at, size);
            left -= broken;
        }
        let mut spare = (self.sets.available() - least).min(left.max(0));
        for at in 0..self.sets.old.len() {
            let has = self.sets.old[at].replicas();
            let fewer = has.min(spare.max(0));
            self.resize_old(at, has - fewer);
            spare -= fewer;
        }
    }

    /// The wanted number has changed, or the rollout is paused: each set gets its share.
    pub(super) fn scale_in_proportion(&mut self) {
        let wanted = self.replicas();
        match self.active_or_latest() {
            Active::None => return,
            Active::Newest => {
                self.resize_newest(wanted);
                return;
            }
            Active::Old(at) => {
                self.resize_old(at, wanted);
                return;
            }
            Active::Several => {}
        }
        if self.is_saturated() {
            for at in 0..self.sets.old.len() {
                self.resize_old(at, 0);
            }
            return;
        }
        if is_rolling(&self.deployment) {
            self.share_out();
        }
    }

    fn share_out(&mut self) {
        let wanted = self.replicas();
        let allowed = if wanted > 0 { wanted + surge_max(&self.deployment) } else { 0 };
        let to_add = allowed - self.sets.total();
        // The place of the newest set is behind the old ones.
        let mut places: Vec<(usize, &Set)> =
            self.sets.all().enumerate().filter(|(_, set)| set.replicas() > 0).collect();
        places.sort_by_key(|(_, set)| set.created());
        if to_add > 0 {
            places.reverse();
        }
        places.sort_by_key(|(_, set)| Reverse(set.replicas()));
        let mut added = 0;
        let mut sizes: Vec<(usize, i64)> = Vec::new();
        for (at, set) in &places {
            let part = self.proportion(set, to_add, added);
            added += part;
            sizes.push((*at, set.replicas() + part));
        }
        if let Some(first) = sizes.first_mut() {
            first.1 = (first.1 + to_add - added).max(0);
        }
        for (at, size) in sizes {
            if at < self.sets.old.len() {
                self.resize_old(at, size)
            } else {
                self.resize_newest(size)
            };
        }
    }

    /// How many of `to_add` pods, of which `added` are given out, a set gets.
    fn proportion(&self, set: &Set, to_add: i64, added: i64) -> i64 {
        if set.replicas() == 0 || to_add == 0 || to_add == added {
            return 0;
        }
        let (part, left) = (self.fraction(set), to_add - added);
        if to_add > 0 { part.min(left) } else { part.max(left) }
    }

    /// By how much a set would grow if it kept its share of all pods.
    fn fraction(&self, set: &Set) -> i64 {
        let wanted = self.replicas();
        if wanted == 0 {
            return -set.replicas();
        }
        let before = set.most_before().filter(|most| *most != 0);
        let before = before.unwrap_or_else(|| number(&self.deployment["status"]["replicas"]));
        if before == 0 {
            return 0;
        }
        let most = wanted + surge_max(&self.deployment);
        // Half is rounded away from zero; nothing here is negative.
        (set.replicas() * most * 2 + before) / (before * 2) - set.replicas()
    }

    fn is_saturated(&self) -> bool {
        let wanted = self.replicas();
        self.sets.new.as_ref().is_some_and(|new| {
            new.has_seen()
                && new.replicas() == wanted
                && new.wanted_before() == Some(wanted)
                && new.available() == wanted
        })
    }

    fn active_or_latest(&self) -> Active {
        let active: Vec<usize> =
            (self.sets.all().enumerate()).filter(|(_, set)| set.replicas() > 0).map(|(at, _)| at).collect();
        let place = |at: usize| if at < self.sets.old.len() { Active::Old(at) } else { Active::Newest };
        match active.as_slice() {
            [] if self.sets.new.is_some() => Active::Newest,
            [] => self.sets.old.len().checked_sub(1).map_or(Active::None, Active::Old),
            [one] => place(*one),
            _ => Active::Several,
        }
    }

    /// Changes the size of an old set. Says whether it was another one.
    pub(super) fn resize_old(&mut self, at: usize, size: i64) -> bool {
        let (wanted, most) = (self.replicas(), self.replicas() + surge_max(&self.deployment));
        let set = &mut self.sets.old[at];
        let changed = resize(set, size, wanted, most);
        self.tell_resized(changed)
    }

    /// Changes the size of the newest set. Says whether it was another one.
    pub(super) fn resize_newest(&mut self, size: i64) -> bool {
        let (wanted, most) = (self.replicas(), self.replicas() + surge_max(&self.deployment));
        let changed = self.sets.new.as_mut().and_then(|set| resize(set, size, wanted, most));
        self.tell_resized(changed)
    }

    fn tell_resized(&mut self, changed: Option<(String, i64, i64)>) -> bool {
        let Some((name, from, to)) = changed else { return false };
        self.tell_scaled(if to > from { "up" } else { "down" }, &name, from, to);
        true
    }
}

/// Sets without pods, one set with all of them, or several.
enum Active {
    None,
    Newest,
    Old(usize),
    Several,
}

fn resize(set: &mut Set, size: i64, wanted: i64, most: i64) -> Option<(String, i64, i64)> {
    let before = set.replicas();
    set.note_sizes(wanted, most);
    if before == size {
        return None;
    }
    set.object["spec"]["replicas"] = serde_json::json!(size);
    Some((set.name().to_owned(), before, size))
}
