//! What the query of a request asks for.

use std::time::Duration;

use serde_json::{Value, json};
use shoal_api::decode::Strictness;
use shoal_api::field::{Error, Path};
use shoal_api::{GroupKind, Status};

/// The query of a request: names and values in their order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

/// How a list is read, or followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// `labelSelector`, as it was given.
    pub label_selector: String,
    /// `fieldSelector`, as it was given.
    pub field_selector: String,
    /// Most objects in the answer; 0: all.
    pub limit: usize,
    /// `continue` of the page before; empty: the first page.
    pub token: String,
    /// What `resourceVersion` asks.
    pub revision: Asked,
    /// Whether the list is followed.
    pub watch: bool,
    /// Ends a watch after this time.
    pub timeout: Option<Duration>,
    /// Whether a watch wants bookmarks.
    pub bookmarks: bool,
    /// Whether a watch begins with what there is.
    pub send_initial_events: bool,
}

/// What `resourceVersion` and `resourceVersionMatch` ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// The newest.
    #[default]
    Newest,
    /// `0`: any that is at hand.
    Any,
    /// This one or a later.
    NotOlderThan(u64),
    /// This one.
    Exact(u64),
}

/// How something is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// `dryRun=All`: everything but the write.
    pub dry_run: bool,
    /// Who owns what is written; from the user agent when the query does not say.
    pub field_manager: String,
    /// What is done about unknown and duplicate fields.
    pub strictness: Strictness,
    /// Server-side apply takes fields over from others.
    pub force: bool,
}

/// How something is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    /// Everything but the deletion.
    pub dry_run: bool,
    /// How long the object has to end, in seconds; none: what its kind says.
    pub grace_period_seconds: Option<i64>,
    /// What becomes of what it owns; none: what its finalizers and kind say.
    pub propagation: Option<Propagation>,
    /// The object must have this identity.
    pub uid: Option<String>,
    /// The object must be of this revision.
    pub resource_version: Option<String>,
}

/// What becomes of what an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// It stays, and has no owner.
    Orphan,
    /// It is deleted after the object.
    Background,
    /// It is deleted before the object.
    Foreground,
}

/// Bytes of a field manager's name.
pub const FIELD_MANAGER_BYTES_MAX: usize = 128;

impl Query {
    /// Reads what follows `?`.
    pub fn parse(text: &str) -> Self {
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a name is there, with or without a value.
    pub fn is_there(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// A flag: `true`, `1` or the bare name.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !["false", "0", "False", "FALSE", "f", "F"].contains(&value))
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Those of the names that are wanted, as a path is followed by them: empty, or with `?` in front.
    pub(crate) fn encoded(&self, wants: impl Fn(&str) -> bool) -> String {
        let mut out = form_urlencoded::Serializer::new(String::new());
        out.extend_pairs(self.0.iter().filter(|(name, _)| wants(name)));
        let text = out.finish();
        if text.is_empty() { text } else { format!("?{text}") }
    }

    /// The first value of a name as a number; none: there is none.
    ///
    /// # Errors
    /// 400: it is no number.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        let Some(text) = self.get(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Status::bad_request(format!("unable to decode query parameter {name}: {text:?} is not a number"))
        })
    }

    fn dry_run(&self) -> Result<bool, Status> {
        dry_run(self.all("dryRun"))
    }
}

impl ListOptions {
    /// Reads a query.
    ///
    /// # Errors
    /// A value that cannot be, or options that cannot go together.
    pub fn read(query: &Query) -> Result<Self, Status> {
        let text = |name| query.get(name).unwrap_or_default().to_owned();
        let options = Self {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            // Less than nothing is no limit.
            limit: query.number::<i64>("limit")?.map_or(0, |limit| usize::try_from(limit).unwrap_or(0)),
            token: text("continue"),
            revision: asked(query)?,
            watch: query.flag("watch"),
            timeout: query.number("timeoutSeconds")?.map(Duration::from_secs),
            bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.flag("sendInitialEvents"),
        };
        options.check(query)?;
        Ok(options)
    }

    fn check(&self, query: &Query) -> Result<(), Status> {
        let matching = query.get("resourceVersionMatch").unwrap_or_default();
        let forbidden =
            |field: &str, what: &str| Err(refused("ListOptions", &Error::forbidden(&Path::new(field), what)));
        if self.watch && query.get("sendInitialEvents").is_some() {
            if matching != "NotOlderThan" {
                return forbidden(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                );
            }
        } else if self.watch && !matching.is_empty() {
            return forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch");
        }
        if !self.watch && query.get("sendInitialEvents").is_some() {
            return forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
        }
        let revision = query.get("resourceVersion").unwrap_or_default();
        let wrong = match matching {
            "" => return Ok(()),
            _ if revision.is_empty() && !self.watch => {
                "resourceVersionMatch is forbidden unless resourceVersion is provided"
            }
            _ if !self.token.is_empty() => "resourceVersionMatch is forbidden when continue is provided",
            "Exact" if revision == "0" => {
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""
            }
            _ => return Ok(()),
        };
        forbidden("resourceVersionMatch", wrong)
    }
}

fn asked(query: &Query) -> Result<Asked, Status> {
    let text = query.get("resourceVersion").unwrap_or_default();
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    if !["", "Exact", "NotOlderThan"].contains(&matching) {
        let path = Path::new("resourceVersionMatch");
        let error = Error::not_supported(&path, &matching.into(), &["Exact", "NotOlderThan"]);
        return Err(refused("ListOptions", &error));
    }
    if text.is_empty() {
        return Ok(Asked::Newest);
    }
    let revision = revision(text)?;
    Ok(match (revision, matching) {
        (0, _) => Asked::Any,
        (revision, "Exact") => Asked::Exact(revision),
        (revision, _)
            if matching.is_empty()
                && query.number::<usize>("limit")?.unwrap_or(0) > 0
                && !query.flag("watch") =>
        {
            Asked::Exact(revision)
        }
        (revision, _) => Asked::NotOlderThan(revision),
    })
}

/// A `resourceVersion` as a number.
///
/// # Errors
/// It is none.
pub fn revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| {
        Status::bad_request(format!(
            "Invalid value: {text:?}: resource version must be a number, as the server gave it"
        ))
    })
}

impl WriteOptions {
    /// Reads a query; `user_agent` names the manager when the query does not.
    ///
    /// # Errors
    /// A value that cannot be.
    pub fn read(query: &Query, user_agent: &str) -> Result<Self, Status> {
        let named = query.get("fieldManager").unwrap_or_default();
        if named.len() > FIELD_MANAGER_BYTES_MAX {
            let error = Error::too_long(&Path::new("fieldManager"), FIELD_MANAGER_BYTES_MAX);
            return Err(refused("PatchOptions", &error));
        }
        let strictness = match query.get("fieldValidation").unwrap_or_default() {
            "" | "Warn" => Strictness::Warn,
            "Ignore" => Strictness::Ignore,
            "Strict" => Strictness::Strict,
            other => {
                let path = Path::new("fieldValidation");
                let error = Error::not_supported(&path, &other.into(), &["Ignore", "Warn", "Strict"]);
                return Err(refused("CreateOptions", &error));
            }
        };
        Ok(Self {
            dry_run: query.dry_run()?,
            field_manager: if named.is_empty() { manager(user_agent) } else { named.into() },
            strictness,
            force: query.flag("force"),
        })
    }
}

/// The part of a user agent before `/`, as the name of a manager.
fn manager(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let mut end = name.len().min(FIELD_MANAGER_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    if end == 0 { "unknown".into() } else { name[..end].into() }
}

impl DeleteOptions {
    /// Reads a query and a body (`Value::Null`: none).
    ///
    /// # Errors
    /// A value that cannot be.
    pub fn read(query: &Query, body: &Value) -> Result<Self, Status> {
        let listed = body["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let policy = body["propagationPolicy"].as_str().or_else(|| query.get("propagationPolicy"));
        let orphan = body["orphanDependents"].as_bool();
        let grace = body["gracePeriodSeconds"].as_i64();
        let text = |field: &str| body["preconditions"][field].as_str().map(str::to_owned);
        if policy.is_some() && orphan.is_some() {
            let both = "orphanDependents and deletionPropagation cannot be both set";
            let error = Error::invalid(&Path::new("propagationPolicy"), &policy.into(), both);
            return Err(refused("DeleteOptions", &error));
        }
        let options = Self {
            dry_run: query.dry_run()? || dry_run(listed)?,
            grace_period_seconds: if grace.is_some() { grace } else { query.number("gracePeriodSeconds")? },
            propagation: match policy {
                Some(policy) => Some(propagation(policy)?),
                None => {
                    orphan.map(|orphan| if orphan { Propagation::Orphan } else { Propagation::Background })
                }
            },
            uid: text("uid"),
            resource_version: text("resourceVersion"),
        };
        Ok(options)
    }
}

/// The options of a request as admission is told of them.
pub(crate) fn told(kind: &str, query: &Query, body: Value) -> Value {
    let is_given = body.is_object();
    let mut options = if is_given { body } else { json!({}) };
    options["kind"] = kind.into();
    options["apiVersion"] = "meta.k8s.io/v1".into();
    // A body goes before the query.
    if is_given {
        return options;
    }
    for name in ["fieldManager", "fieldValidation", "propagationPolicy"] {
        if let Some(text) = query.get(name).filter(|text| !text.is_empty()) {
            options[name] = text.into();
        }
    }
    if let Ok(Some(seconds)) = query.number::<i64>("gracePeriodSeconds") {
        options["gracePeriodSeconds"] = seconds.into();
    }
    if query.is_there("dryRun") {
        options["dryRun"] = json!(["All"]);
    }
    options
}

fn propagation(policy: &str) -> Result<Propagation, Status> {
    match policy {
        "Orphan" => Ok(Propagation::Orphan),
        "Background" => Ok(Propagation::Background),
        "Foreground" => Ok(Propagation::Foreground),
        other => {
            let path = Path::new("propagationPolicy");
            let error =
                Error::not_supported(&path, &other.into(), &["Foreground", "Background", "Orphan", "nil"]);
            Err(refused("DeleteOptions", &error))
        }
    }
}

/// What is wrong with the options of a request.
pub(crate) fn refused(kind: &str, error: &Error) -> Status {
    let kind = GroupKind { group: "meta.k8s.io".into(), kind: kind.into() };
    Status::invalid(&kind, "", std::slice::from_ref(error))
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>) -> Result<bool, Status> {
    let mut dry = false;
    for value in values {
        if value != "All" {
            let error = Error::not_supported(&Path::new("dryRun"), &value.into(), &["All"]);
            return Err(refused("CreateOptions", &error));
        }
        dry = true;
    }
    Ok(dry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_list_asks_is_read() {
        let read = |text| ListOptions::read(&Query::parse(text));
        let page = read("limit=500&labelSelector=a%3Db&resourceVersion=7").expect("valid");
        assert_eq!((page.limit, page.label_selector.as_str(), page.revision), (500, "a=b", Asked::Exact(7)));
        assert_eq!(read("resourceVersion=7").expect("valid").revision, Asked::NotOlderThan(7));
        assert_eq!(read("resourceVersion=0").expect("valid").revision, Asked::Any);
        assert_eq!(read("").expect("valid").revision, Asked::Newest);
        assert_eq!(read("limit=-1").expect("valid").limit, 0, "no limit");
        for wrong in [
            "limit=x",
            "resourceVersion=x",
            "resourceVersionMatch=Newer",
            "watch=1&resourceVersionMatch=Exact&resourceVersion=1",
            "resourceVersionMatch=Exact",
            "resourceVersionMatch=Exact&resourceVersion=0",
            "resourceVersionMatch=Exact&resourceVersion=1&continue=x",
            "sendInitialEvents=true",
            "watch=true&sendInitialEvents=true",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_manager_is_named_by_the_query_or_the_client() {
        fn read(text: &str, agent: &str) -> Result<String, Status> {
            WriteOptions::read(&Query::parse(text), agent).map(|options| options.field_manager)
        }
        assert_eq!(read("fieldManager=me", "kubectl/v1").as_deref(), Ok("me"));
        assert_eq!(read("", "kubectl/v1.32 (linux)").as_deref(), Ok("kubectl"));
        assert_eq!(read("", "").as_deref(), Ok("unknown"));
        let at = "m".repeat(FIELD_MANAGER_BYTES_MAX);
        assert!(read(&format!("fieldManager={at}"), "").is_ok());
        assert!(read(&format!("fieldManager={at}m"), "").is_err());
        assert_eq!(read("", &format!("{at}m/1")).map(|name| name.len()), Ok(FIELD_MANAGER_BYTES_MAX));
        assert!(read("fieldValidation=Maybe", "").is_err());
        assert!(read("dryRun=Some", "").is_err());
    }

    #[test]
    fn admission_is_told_of_the_options_as_they_were_sent() {
        let query = Query::parse("fieldManager=me&fieldValidation=Strict&dryRun=All&pretty=true&timeout=1s");
        assert_eq!(
            told("CreateOptions", &query, Value::Null),
            json!({
                "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me",
                "fieldValidation": "Strict", "dryRun": ["All"],
            })
        );
        let query = Query::parse("propagationPolicy=Orphan&gracePeriodSeconds=5");
        let expected = json!({
            "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Orphan",
            "gracePeriodSeconds": 5,
        });
        assert_eq!(told("DeleteOptions", &query, Value::Null), expected);
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "u"}});
        let expected =
            json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "preconditions": {"uid": "u"}});
        assert_eq!(told("DeleteOptions", &query, body), expected);
    }

    #[test]
    fn the_body_of_a_deletion_goes_before_its_query() {
        let query = Query::parse("propagationPolicy=Orphan&gracePeriodSeconds=5");
        let body = json!({"propagationPolicy": "Foreground", "preconditions": {"uid": "u"}});
        let options = DeleteOptions::read(&query, &body).expect("valid");
        assert_eq!(options.propagation, Some(Propagation::Foreground));
        assert_eq!((options.grace_period_seconds, options.uid.as_deref()), (Some(5), Some("u")));
        assert!(DeleteOptions::read(&query, &json!({"propagationPolicy": "Never"})).is_err());
        assert!(DeleteOptions::read(&Query::default(), &json!({"dryRun": ["All"]})).expect("valid").dry_run);
    }
}
