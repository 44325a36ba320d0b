//! What is recorded, and what is not.

use std::fs;

use super::*;

fn entry<'a>(user: &'a User, object: Option<ObjectRef<'a>>, body: Option<&'a Value>) -> Entry<'a> {
    Entry {
        id: "id",
        received: Timestamp::UNIX_EPOCH,
        answered: Timestamp::from_microsecond(1_500_000).expect("a time"),
        stage: Stage::ResponseComplete,
        uri: "/api/v1/namespaces/default/pods/a?x=1",
        verb: "create",
        user,
        impersonated: None,
        source_ips: &[],
        user_agent: "kubectl",
        object,
        code: 201,
        reason: "",
        message: "",
        decision: Some(("allow", "")),
        body,
    }
}

fn value(entry: &Entry<'_>, level: Level) -> Value {
    serde_json::from_str(&entry.to_line(level)).expect("JSON")
}

#[test]
fn an_entry_is_an_event_of_kubernetes() {
    let user = User::new("jane", &["dev"]);
    let object = ObjectRef {
        resource: "pods",
        namespace: "default",
        name: "a",
        version: "v1",
        ..ObjectRef::default()
    };
    assert_eq!(
        value(&entry(&user, Some(object), None), Level::Metadata),
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata", "auditID": "id",
            "stage": "ResponseComplete", "requestURI": "/api/v1/namespaces/default/pods/a?x=1", "verb": "create",
            "user": {"username": "jane", "groups": ["dev"]}, "sourceIPs": [], "userAgent": "kubectl",
            "objectRef": {"resource": "pods", "namespace": "default", "name": "a", "apiVersion": "v1"},
            "responseStatus": {"metadata": {}, "code": 201},
            "requestReceivedTimestamp": "1970-01-01T00:00:00.000000Z", "stageTimestamp": "1970-01-01T00:00:01.500000Z",
            "annotations": {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""},
        })
    );
}

#[test]
fn bodies_of_secret_objects_and_of_great_length_are_left_out() {
    let user = User::new("jane", &[]);
    let body = json!({"data": "hunter2"});
    let recorded = |level, resource, subresource, body: &Value| {
        let object = ObjectRef { resource, subresource, ..ObjectRef::default() };
        let value = value(&entry(&user, Some(object), Some(body)), level);
        (value["requestObject"] == *body, value["level"].clone())
    };
    assert_eq!(recorded(Level::Request, "pods", "", &body), (true, json!("Request")));
    assert_eq!(recorded(Level::Metadata, "pods", "", &body), (false, json!("Metadata")));
    for (resource, subresource) in
        [("secrets", ""), ("configmaps", ""), ("tokenreviews", ""), ("serviceaccounts", "token")]
    {
        assert_eq!(
            recorded(Level::Request, resource, subresource, &body),
            (false, json!("Metadata")),
            "{resource}"
        );
    }
    // Two quotes stand around the text.
    let longest = Value::String("a".repeat(BODY_BYTES_MAX - 2));
    assert!(recorded(Level::Request, "pods", "", &longest).0);
    let longer = Value::String("a".repeat(BODY_BYTES_MAX - 1));
    assert!(!recorded(Level::Request, "pods", "", &longer).0);
}

#[test]
fn texts_of_clients_are_shortened_between_characters() {
    let long = "ä".repeat(TEXT_BYTES_MAX);
    assert_eq!(shortened(&long).len(), TEXT_BYTES_MAX);
    let odd = format!("a{long}");
    assert_eq!(shortened(&odd).len(), TEXT_BYTES_MAX - 1);
}

#[test]
fn files_are_put_aside_and_the_oldest_are_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    let user = User::new("jane", &[]);
    let length = entry(&user, None, None).to_line(Level::Metadata).len() as u64 + 1;
    let options = Options { file_bytes_max: length * 2, files_max: 2, ..Options::new(path.clone()) };
    let log = Log::open(options.clone()).expect("opened");
    (0..9).for_each(|_| log.record(&entry(&user, None, None)));
    log.close();
    let lines = |name: &str| fs::read_to_string(dir.path().join(name)).map(|text| text.lines().count()).ok();
    assert_eq!(
        ["audit.log", "audit.log.1", "audit.log.2", "audit.log.3"].map(lines),
        [Some(1), Some(2), Some(2), None]
    );
    log.record(&entry(&user, None, None));
    let log = Log::open(options).expect("opened again");
    log.record(&entry(&user, None, None));
    log.close();
    assert_eq!(lines("audit.log"), Some(2), "what is there is kept");
    assert_eq!(log.dropped(), 0);
}

#[test]
fn what_cannot_be_written_is_dropped_and_counted() {
    let (sender, receiver) = sync_channel(1);
    let user = User::new("jane", &[]);
    let dropped = Arc::new(AtomicU64::new(0));
    let queue = Mutex::new(Some(sender));
    let log = Log { level: Level::Metadata, queue, dropped: dropped.clone(), writer: Mutex::new(None) };
    (0..3).for_each(|_| log.record(&entry(&user, None, None)));
    assert_eq!(log.dropped(), 2);
    log.close();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("audit.log");
    write_all(Rotated::open(path.clone(), 1 << 20, 1).expect("opened"), &receiver, &dropped);
    let text = fs::read_to_string(path).expect("written");
    assert!(text.starts_with("{\"entries\":2,\"kind\":\"Dropped\"}\n"), "{text}");
}
