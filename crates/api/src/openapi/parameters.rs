//! The parameters of operations, in few words.

/// A parameter in the query: its name, its type, and what it is for.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) ty: &'static str,
    pub(super) description: &'static str,
}

const fn parameter(name: &'static str, ty: &'static str, description: &'static str) -> Parameter {
    Parameter { name, ty, description }
}

/// On every path.
pub(super) const PRETTY: Parameter =
    parameter("pretty", "string", "If 'true', then the output is pretty printed.");

const DRY_RUN: Parameter = parameter("dryRun", "string", "'All' does everything but keeping the outcome.");
const FIELD_MANAGER: Parameter =
    parameter("fieldManager", "string", "Who makes these changes: at most 128 printable characters.");
const FIELD_VALIDATION: Parameter = parameter(
    "fieldValidation",
    "string",
    "What to do about unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
);
const FORCE: Parameter =
    parameter("force", "boolean", "Whether an apply takes fields over that belong to others.");
const GRACE: Parameter =
    parameter("gracePeriodSeconds", "integer", "How long the object has to end; 0 is at once.");
const IGNORE_READ_ERROR: Parameter = parameter(
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "boolean",
    "Whether an object that cannot be read may be deleted.",
);
const ORPHAN: Parameter =
    parameter("orphanDependents", "boolean", "Deprecated: use propagationPolicy. Whether dependents stay.");
const PROPAGATION: Parameter =
    parameter("propagationPolicy", "string", "What becomes of dependents: Orphan, Background or Foreground.");
const BOOKMARKS: Parameter =
    parameter("allowWatchBookmarks", "boolean", "Whether a watch may send events of type BOOKMARK.");
const CONTINUE: Parameter = parameter("continue", "string", "Where the list before this one ended.");
const FIELD_SELECTOR: Parameter =
    parameter("fieldSelector", "string", "Objects with these fields only. Defaults to everything.");
const LABEL_SELECTOR: Parameter =
    parameter("labelSelector", "string", "Objects with these labels only. Defaults to everything.");
const LIMIT: Parameter = parameter("limit", "integer", "The most objects that one list may have.");
const RESOURCE_VERSION: Parameter =
    parameter("resourceVersion", "string", "The state to read, or to watch from. Defaults to unset.");
const RESOURCE_VERSION_MATCH: Parameter =
    parameter("resourceVersionMatch", "string", "How resourceVersion is meant: Exact or NotOlderThan.");
const SEND_INITIAL: Parameter =
    parameter("sendInitialEvents", "boolean", "Whether a watch begins with what there is.");
const TIMEOUT: Parameter = parameter("timeoutSeconds", "integer", "How long a list or a watch may take.");
const WATCH: Parameter =
    parameter("watch", "boolean", "Watch for changes, and answer with a stream of them.");

/// Of a `GET` of a collection.
pub(super) const LIST: &[Parameter] = &[
    BOOKMARKS,
    CONTINUE,
    FIELD_SELECTOR,
    LABEL_SELECTOR,
    LIMIT,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL,
    TIMEOUT,
    WATCH,
];

/// Of a `DELETE` of a collection.
pub(super) const DELETE_COLLECTION: &[Parameter] = &[
    CONTINUE,
    DRY_RUN,
    FIELD_SELECTOR,
    GRACE,
    IGNORE_READ_ERROR,
    LABEL_SELECTOR,
    LIMIT,
    ORPHAN,
    PROPAGATION,
    RESOURCE_VERSION,
    RESOURCE_VERSION_MATCH,
    SEND_INITIAL,
    TIMEOUT,
];

/// Of a `DELETE` of one object.
pub(super) const DELETE: &[Parameter] = &[DRY_RUN, GRACE, IGNORE_READ_ERROR, ORPHAN, PROPAGATION];

/// Of a `POST` and a `PUT`.
pub(super) const WRITE: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];

/// Of a `PATCH`.
pub(super) const PATCH: &[Parameter] = &[DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION, FORCE];
