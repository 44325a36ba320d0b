//! Following the objects of a kind.

use std::time::Duration;

use form_urlencoded::Serializer;
use serde_json::Value;
use shoal_api::lean::{self, Text};
use shoal_api::object;

use crate::lines::Lines;
use crate::{Client, Error, Refused, Resource, Select};

/// How long one watch lasts; then the next begins where it ended. So servers can move clients.
const LIFE_SECONDS: &str = "3000";
/// Without a word for so long, a watch is dead: servers send a bookmark each minute.
const SILENCE_MAX: Duration = Duration::from_secs(300);

/// What has become of an object, which comes without `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It is there, as it is now.
    Set(Value),
    /// It is gone, as it was; also when it is no longer selected.
    Gone(Value),
    /// Nothing: all changes until this revision have come.
    Reached(String),
}

/// The changes of a watch.
pub struct Events {
    lines: Lines,
    request: String,
}

impl Client {
    /// The changes after a revision, of the objects that are selected.
    ///
    /// # Errors
    /// As every request; [`Error::is_expired`] when the revision is gone.
    pub async fn watch(
        &self,
        of: &Resource,
        namespace: &str,
        select: &Select,
        from: &str,
    ) -> Result<Events, Error> {
        let target = target(&of.path(namespace), select, from);
        let name = format!("GET {target}");
        let body = self.stream(&target, "application/json").await?;
        Ok(Events { lines: Lines::new(body), request: name })
    }
}

fn target(path: &str, select: &Select, from: &str) -> String {
    let mut query = Serializer::new(String::new());
    select.write(&mut query);
    query.append_pair("watch", "true").append_pair("allowWatchBookmarks", "true");
    query.append_pair("resourceVersion", from).append_pair("timeoutSeconds", LIFE_SECONDS);
    format!("{path}?{}", query.finish())
}

impl Events {
    /// The next change; none when the server has ended the watch, which may then be begun anew.
    ///
    /// # Errors
    /// [`Error::is_expired`]: list anew. Others: the stream broke, or makes no sense.
    pub async fn next(&mut self) -> Result<Option<Change>, Error> {
        loop {
            let broken = |why: String| Error::Answer { request: self.request.clone(), why };
            let line = match tokio::time::timeout(SILENCE_MAX, self.lines.next()).await {
                Ok(line) => line.map_err(broken)?,
                Err(_) => return Err(broken(format!("nothing came in {} seconds", SILENCE_MAX.as_secs()))),
            };
            let Some(line) = line else { return Ok(None) };
            if line.is_empty() {
                continue;
            }
            let mut event = lean::read(&line, Text::Event).map_err(|error| broken(error.to_string()))?;
            let object = event["object"].take();
            return match event["type"].as_str() {
                Some("ADDED" | "MODIFIED") => Ok(Some(Change::Set(object))),
                Some("DELETED") => Ok(Some(Change::Gone(object))),
                Some("BOOKMARK") => Ok(Some(Change::Reached(object::resource_version(&object).into()))),
                Some("ERROR") => Err(Error::Refused(Box::new(Refused::of(&object, 500)))),
                // Kinds of events that are not known yet mean nothing to us.
                _ => continue,
            };
        }
    }
}
