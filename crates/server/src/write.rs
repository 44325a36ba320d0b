//! Writing: what a request makes of an object, from its body to the store.

use http::StatusCode;
use serde_json::{Value, json};
use shoal_api::apply::{self, Manager};
use shoal_api::field::{Error, Path};
use shoal_api::status::Details;
use shoal_api::{Status, names, object};
use shoal_control::kinds;
use shoal_control::known::CUSTOM_RESOURCE_DEFINITION;
use shoal_control::rbac::Attributes;
use shoal_control::snapshot::Snapshot as _;

use crate::admit::{self, Admission};
use crate::answer::{self, Answer};
use crate::api::{Api, Request};
use crate::body::{self, Type};
use crate::commit::{self, Written};
use crate::convert;
use crate::objects::Stored;
use crate::options::WriteOptions;
use crate::registry::{Served, claim};
use crate::render;

/// How often a change is made anew when someone else changed the object meanwhile, before the client is told.
const ATTEMPTS_MAX: usize = 32;
/// How many names are tried for `generateName`, as Kubernetes does.
const NAMES_MAX: usize = 8;
/// Bytes of `generateName` that are kept, so that the name with its suffix is no longer than a label may be.
const GENERATE_NAME_BYTES_MAX: usize = 63 - names::SUFFIX_LETTERS;

/// `POST`.
///
/// # Errors
/// What makes the object impossible here: 400, 403, 404, 409, 422, and those of the store.
pub(crate) async fn create(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let wanted = request.wanted(served)?;
    let options = request.write_options()?;
    stays(api, served).await?;
    let mut read = body::object(request, &served.kind(), Type::of(served), options.strictness)?;
    place(served, request, &mut read.object)?;
    let write = Writer { api, served, request, options: &options, subresource: "", tracks: true };
    let mut written = write.create(read.object).await?;
    written.warnings.splice(0..0, read.warnings);
    let answer = render::stored(api, served, StatusCode::CREATED, &written.stored, wanted)?;
    Ok(answer::warned(answer, &written.warnings))
}

/// Refuses objects of a kind whose definition is being deleted.
async fn stays(api: &Api, served: &Served) -> Result<(), Status> {
    if served.custom.is_none() {
        return Ok(());
    }
    api.settle().await?;
    let resource = &served.resource;
    let name = format!("{}.{}", resource.plural, resource.group_version.group);
    let definition = api.world.view().get(&CUSTOM_RESOURCE_DEFINITION, "", &name);
    if definition.is_none_or(|definition| object::deletion_timestamp(&definition).is_none()) {
        return Ok(());
    }
    let message = "create not allowed while custom resource definition is terminating";
    let details = Details {
        group: resource.group_version.group.clone(),
        kind: resource.plural.clone(),
        ..Details::default()
    };
    Err(Status { message: message.into(), ..Status::method_not_allowed() }.with_details(details))
}

/// `PUT` of an object or of its status.
///
/// # Errors
/// As [`create`]; 409 when the object is not what the client read.
pub(crate) async fn update(api: &Api, served: &Served, request: &Request) -> Result<Answer, Status> {
    let wanted = request.wanted(served)?;
    let options = request.write_options()?;
    let mut read = body::object(request, &served.kind(), Type::of(served), options.strictness)?;
    place(served, request, &mut read.object)?;
    let write = Writer {
        api,
        served,
        request,
        options: &options,
        subresource: &request.target.subresource,
        tracks: true,
    };
    let mut new = read.object;
    let mut written = if write.makes() && !write.exists().await? {
        write.may_make()?;
        object::metadata_mut(&mut new).remove("resourceVersion");
        write.create_named(new).await?
    } else {
        write.change(|_| named_revision(served, &new).map(|()| new.clone())).await?
    };
    written.warnings.splice(0..0, read.warnings);
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    let answer = render::stored(api, served, code, &written.stored, wanted)?;
    Ok(answer::warned(answer, &written.warnings))
}

/// Refuses an object that does not say which revision it is of, where its kind must.
fn named_revision(served: &Served, new: &Value) -> Result<(), Status> {
    let unconditional = served.custom.is_none() && kinds::allows_unconditional_update(&served.kind());
    if unconditional || !object::resource_version(new).is_empty() {
        return Ok(());
    }
    let path = Path::new("metadata").child("resourceVersion");
    let error = Error::invalid(&path, &json!(0), "must be specified for an update");
    Err(Status::invalid(&served.kind().group_kind(), object::name(new), &[error]))
}

/// Who writes what, and how.
pub(crate) struct Writer<'a> {
    /// The server.
    pub api: &'a Api,
    /// The resource.
    pub served: &'a Served,
    /// The request.
    pub request: &'a Request,
    /// Its options.
    pub options: &'a WriteOptions,
    /// `status`; empty: the object itself.
    pub subresource: &'a str,
    /// Whether the fields that change are written down as the manager's; those that are applied are already.
    pub tracks: bool,
}

impl Writer<'_> {
    /// Makes an object.
    ///
    /// # Errors
    /// As [`create`].
    pub(crate) async fn create(&self, object: Value) -> Result<Written, Status> {
        if !object::resource_version(&object).is_empty() {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
        if prefix.is_empty() || !object::name(&object).is_empty() {
            return self.create_named(object).await;
        }
        let mut names_left = NAMES_MAX;
        loop {
            let mut named = object.clone();
            named["metadata"]["name"] = self.generated(prefix).into();
            names_left -= 1;
            match self.create_named(named).await {
                Err(taken) if taken.reason == "AlreadyExists" && names_left > 0 => {}
                done => return done,
            }
        }
    }

    /// Makes an object that has its name.
    ///
    /// # Errors
    /// As [`create`].
    pub(crate) async fn create_named(&self, mut object: Value) -> Result<Written, Status> {
        // Whoever makes an object from within need not say what it is.
        claim(&mut object, &self.served.kind())?;
        self.complete(&mut object);
        let now = self.api.now();
        let metadata = object::metadata_mut(&mut object);
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            metadata.remove(field);
        }
        metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
        metadata.insert("creationTimestamp".into(), now.clone().into());
        // What the server adds from here on is owned by nobody.
        self.track(None, &mut object, &now);
        self.prepare_create(&mut object);
        for attempt in 1.. {
            let mut object = object.clone();
            let admission = self.admission(admit::Operation::Create);
            let mut warnings = admit::mutate(&admission, &mut object, None).await?;
            self.complete(&mut object);
            warnings.extend(self.validate_create(&object)?);
            warnings.extend(admit::validate(&admission, &object, None).await?);
            let committed = commit::create(&admission, self.served, &object, self.options.dry_run).await?;
            match committed {
                Some(stored) => return self.written(stored, warnings, true).await,
                None if attempt >= ATTEMPTS_MAX => break,
                None => {}
            }
        }
        Err(Status::conflict(
            self.served.named(),
            object::name(&object),
            "the objects that it depends on keep changing; try again",
        ))
    }

    /// Whether an update of an object that is not there makes it.
    fn makes(&self) -> bool {
        self.subresource.is_empty()
            && self.served.custom.is_none()
            && kinds::creates_on_update(&self.served.kind())
    }

    /// Whether the object of the request is there.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn exists(&self) -> Result<bool, Status> {
        let target = &self.request.target;
        Ok(self.api.objects.get(&self.served.key(&target.namespace, &target.name)).await?.is_some())
    }

    /// Refuses whoever makes an object by a change, and may not make one.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn may_make(&self) -> Result<(), Status> {
        let target = &self.request.target;
        let (group, resource) = (&target.group, &target.resource);
        let create = Attributes::resource("create", group, resource, &target.namespace, &target.name);
        let attributes = Attributes { version: &target.version, ..create };
        self.api.access.authorizer.read().require(&self.request.user, &attributes)
    }

    /// Changes an object, anew for as long as others change it meanwhile and the client does not mind.
    ///
    /// # Errors
    /// As [`update`], and those of `change`.
    pub(crate) async fn change(
        &self,
        change: impl Fn(&Value) -> Result<Value, Status>,
    ) -> Result<Written, Status> {
        let target = &self.request.target;
        for _ in 0..ATTEMPTS_MAX {
            let stored = crate::read::one(self.api, self.served, &target.namespace, &target.name).await?;
            let old = convert::value(self.api, self.served, &stored).await?;
            let new = change(&old)?;
            if let Some(written) = self.replace(&stored, &old, new).await? {
                return Ok(written);
            }
        }
        Err(Status::modified(self.served.named(), &target.name))
    }

    /// Writes `new` in place of `old`; none: someone else wrote meanwhile.
    async fn replace(&self, stored: &Stored, old: &Value, mut new: Value) -> Result<Option<Written>, Status> {
        claim(&mut new, &self.served.kind())?;
        self.check_identity(stored, old, &mut new)?;
        keep(old, &mut new);
        self.complete(&mut new);
        let now = self.api.now();
        self.track(Some(old), &mut new, &now);
        self.prepare_update(&mut new, old);
        let admission = self.admission(admit::Operation::Update);
        let mut warnings = admit::mutate(&admission, &mut new, Some(old)).await?;
        self.complete(&mut new);
        warnings.extend(self.validate_update(&new, old)?);
        warnings.extend(admit::validate(&admission, &new, Some(old)).await?);
        apply::settle(old, &mut new);
        let committed =
            commit::update(&admission, self.served, stored, old, new, self.options.dry_run).await?;
        match committed {
            Some(stored) => self.written(stored, warnings, false).await.map(Some),
            None => Ok(None),
        }
    }

    /// What was written, in the version of the request.
    async fn written(&self, stored: Stored, warnings: Vec<String>, created: bool) -> Result<Written, Status> {
        let stored = convert::shown(self.api, self.served, stored).await?;
        Ok(Written { stored, warnings, created })
    }

    /// Refuses to change another object, or another version of it, than the client means.
    fn check_identity(&self, stored: &Stored, old: &Value, new: &mut Value) -> Result<(), Status> {
        let name = object::name(old);
        let uid = object::uid(new);
        if !uid.is_empty() && uid != object::uid(old) {
            let message = format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                object::uid(old)
            );
            return Err(Status::conflict(self.served.named(), name, &message));
        }
        let asked = object::resource_version(new).to_owned();
        if !asked.is_empty() && asked != "0" && asked != stored.revision.to_string() {
            return Err(Status::modified(self.served.named(), name));
        }
        object::metadata_mut(new).insert("resourceVersion".into(), stored.revision.to_string().into());
        Ok(())
    }

    /// Fills in what was left out.
    fn complete(&self, object: &mut Value) {
        // A binding changes nothing that could be left out.
        if self.subresource == "binding" {
            return;
        }
        let of = Type::of(self.served);
        kinds::default(&self.served.kind(), object);
        match of {
            Type::BuiltIn(node) => shoal_api::defaults::settle(node, object),
            Type::Custom(node) => shoal_api::defaults::schema(node, object),
        }
    }

    /// What a new object cannot bring along goes, what every new one has comes.
    fn prepare_create(&self, object: &mut Value) {
        match &self.served.custom {
            Some(custom) => custom.prepare_create(object),
            None => kinds::prepare_create(&self.served.kind(), object),
        }
    }

    /// What this request cannot change stays as it was.
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        match (&self.served.custom, self.subresource) {
            // Binding changes what nothing else may.
            (_, "binding") => {}
            (Some(custom), part) => custom.prepare_update(part, new, old),
            (None, part) => kinds::prepare_update(&self.served.kind(), part, new, old),
        }
    }

    /// Refuses what is wrong with a new object; returns what is worth a warning.
    fn validate_create(&self, object: &Value) -> Result<Vec<String>, Status> {
        let kind = self.served.kind();
        let (errors, mut warnings) = match &self.served.custom {
            Some(custom) => custom.validate(object, None),
            None => (kinds::validate_create(&kind, object), Vec::new()),
        };
        warnings.extend(kinds::warnings(&kind, object, None));
        self.refuse(object, &errors)?;
        Ok(warnings)
    }

    /// Refuses what is wrong with a change; returns what is worth a warning.
    fn validate_update(&self, new: &Value, old: &Value) -> Result<Vec<String>, Status> {
        if self.subresource == "binding" {
            return Ok(Vec::new());
        }
        let kind = self.served.kind();
        let (errors, mut warnings) = match &self.served.custom {
            Some(custom) => custom.validate(new, Some(old)),
            None => (kinds::validate_update(&kind, self.subresource, new, old), Vec::new()),
        };
        warnings.extend(kinds::warnings(&kind, new, Some(old)));
        self.refuse(new, &errors)?;
        Ok(warnings)
    }

    fn refuse(&self, object: &Value, errors: &[Error]) -> Result<(), Status> {
        if errors.is_empty() {
            return Ok(());
        }
        Err(Status::invalid(&self.served.kind().group_kind(), object::name(object), errors))
    }

    /// Writes down who owns which field.
    fn track(&self, old: Option<&Value>, new: &mut Value, now: &str) {
        let Some(node) = self.served.node().filter(|_| self.tracks) else { return };
        let version = self.served.resource.group_version.to_string();
        let manager = Manager {
            name: &self.options.field_manager,
            subresource: self.subresource,
            api_version: &version,
            // Kubernetes forgets when replicas were set.
            now: if self.subresource == "scale" { "" } else { now },
            resets: self.served.resets(self.subresource),
        };
        apply::track(node, old, new, &manager);
    }

    fn admission(&self, operation: admit::Operation) -> Admission<'_> {
        Admission {
            api: self.api,
            served: self.served,
            request: self.request,
            operation,
            subresource: self.subresource,
            dry_run: self.options.dry_run,
        }
    }

    fn generated(&self, prefix: &str) -> String {
        let mut end = prefix.len().min(GENERATE_NAME_BYTES_MAX);
        while !prefix.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{}", &prefix[..end], names::suffix(self.api.random()))
    }
}

/// Puts an object where the path says, or refuses it.
pub(crate) fn place(served: &Served, request: &Request, object: &mut Value) -> Result<(), Status> {
    let target = &request.target;
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if served.resource.namespaced {
        let namespace = object::namespace(object);
        if !namespace.is_empty() && namespace != target.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        object["metadata"]["namespace"] = target.namespace.clone().into();
    } else {
        object::metadata_mut(object).remove("namespace");
    }
    if !target.name.is_empty() {
        let name = object::name(object);
        if name.is_empty() {
            object["metadata"]["name"] = target.name.clone().into();
        } else if name != target.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                target.name
            )));
        }
    }
    Ok(())
}

/// Keeps what only the server writes.
fn keep(old: &Value, new: &mut Value) {
    let metadata = object::metadata_mut(new);
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        match old["metadata"].get(field) {
            Some(value) => metadata.insert(field.into(), value.clone()),
            None => metadata.remove(field),
        };
    }
    metadata.remove("selfLink");
}
