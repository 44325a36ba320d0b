//! What containers have said.

use form_urlencoded::Serializer;

use crate::lines::Lines;
use crate::{Client, Error, kinds};

/// Which words of a container are wanted; the default is all of its last run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// The container; empty: the only one of the pod.
    pub container: String,
    /// Whether to go on until it ends.
    pub follow: bool,
    /// Of the run before this one.
    pub previous: bool,
    /// Only so many of the last lines.
    pub tail_lines: Option<u64>,
    /// Only what was said in the last so many seconds.
    pub since_seconds: Option<u64>,
    /// Whether each line begins with when it was said (RFC 3339, in UTC) and a blank.
    pub timestamps: bool,
}

/// Lines of a log, as they come.
pub struct Log {
    lines: Lines,
    request: String,
}

impl Client {
    /// What a container has said.
    ///
    /// # Errors
    /// As every request; 400 when the container has not run yet.
    pub async fn log(&self, namespace: &str, pod: &str, said: &Said) -> Result<Log, Error> {
        let target = target(&kinds::PODS.object_path(namespace, pod, "log"), said);
        let body = self.stream(&target, "*/*").await?;
        Ok(Log { lines: Lines::of_text(body), request: format!("GET {target}") })
    }
}

fn target(path: &str, said: &Said) -> String {
    let mut query = Serializer::new(String::new());
    if !said.container.is_empty() {
        query.append_pair("container", &said.container);
    }
    for (name, is) in [("follow", said.follow), ("previous", said.previous), ("timestamps", said.timestamps)]
    {
        if is {
            query.append_pair(name, "true");
        }
    }
    for (name, number) in [("tailLines", said.tail_lines), ("sinceSeconds", said.since_seconds)] {
        if let Some(number) = number {
            query.append_pair(name, &number.to_string());
        }
    }
    format!("{path}?{}", query.finish())
}

impl Log {
    /// The next line without its end; none: that was all. Bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// The stream broke, or a line is too long.
    pub async fn next(&mut self) -> Result<Option<String>, Error> {
        let line = self.lines.next().await;
        let line = line.map_err(|why| Error::Answer { request: self.request.clone(), why })?;
        Ok(line.map(|line| String::from_utf8_lossy(&line).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wanted_is_asked_for() {
        assert_eq!(target("/p/log", &Said::default()), "/p/log?");
        let said = Said {
            container: "a b".into(),
            follow: true,
            previous: false,
            tail_lines: Some(0),
            since_seconds: Some(60),
            timestamps: true,
        };
        let expected = "/p/log?container=a+b&follow=true&timestamps=true&tailLines=0&sinceSeconds=60";
        assert_eq!(target("/p/log", &said), expected);
    }
}
