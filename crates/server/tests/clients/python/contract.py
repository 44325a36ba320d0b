"""The Python client against a server: each function is a contract. Prints a line for each one that holds."""

import sys
import traceback

from kubernetes import client, config, dynamic, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ConflictError, NotFoundError, ResourceNotFoundError

CONTRACTS = []


def contract(function):
    CONTRACTS.append(function)
    return function


def refused(code, call, *arguments, **options):
    """What a call is refused with."""
    try:
        call(*arguments, **options)
    except ApiException as error:
        assert error.status == code, f"{error.status} instead of {code}: {error.body}"
        return error
    raise AssertionError(f"it was not refused with {code}")


def config_map(name, labels=None, **data):
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels=labels), data=data)


@contract
def objects_are_made_read_changed_and_deleted():
    core = client.CoreV1Api()
    made = core.create_namespaced_config_map("default", config_map("a", x="1"))
    assert made.metadata.uid and made.metadata.resource_version
    refused(409, core.create_namespaced_config_map, "default", config_map("a"))
    made.data["x"] = "2"
    replaced = core.replace_namespaced_config_map("a", "default", made)
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    error = refused(409, core.replace_namespaced_config_map, "a", "default", made)
    assert "the object has been modified; please apply your changes to the latest version" in error.body
    assert core.read_namespaced_config_map("a", "default").data == {"x": "2"}
    status = core.delete_namespaced_config_map("a", "default")
    status = status if isinstance(status, dict) else status.to_dict()
    assert (status["status"], status["details"]["name"]) == ("Success", "a"), status
    assert '"reason":"NotFound"' in refused(404, core.read_namespaced_config_map, "a", "default").body
    refused(422, core.create_namespaced_config_map, "default", config_map("Not A Name"))


@contract
def all_patches_are_understood():
    apps = client.AppsV1Api()
    container = {"name": "c", "image": "nginx"}
    template = {"metadata": {"labels": {"app": "p"}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "p"}}, "template": template}
    apps.create_namespaced_deployment("default", {"metadata": {"name": "p"}, "spec": spec})
    # A dictionary goes as a strategic merge patch, a list as a JSON patch.
    more = {"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "redis"}]}}}}
    patched = apps.patch_namespaced_deployment("p", "default", more)
    assert sorted(one.name for one in patched.spec.template.spec.containers) == ["c", "d"]
    patched = apps.patch_namespaced_deployment("p", "default", [{"op": "replace", "path": "/spec/replicas", "value": 3}])
    assert patched.spec.replicas == 3
    scale = apps.read_namespaced_deployment_scale("p", "default")
    assert (scale.spec.replicas, scale.status.selector) == (3, "app=p")
    assert apps.patch_namespaced_deployment_scale("p", "default", {"spec": {"replicas": 4}}).spec.replicas == 4
    changed = apps.patch_namespaced_deployment_status("p", "default", {"status": {"replicas": 4}, "spec": {"replicas": 9}})
    assert (changed.status.replicas, changed.spec.replicas) == (4, 4)
    tried = apps.patch_namespaced_deployment("p", "default", {"spec": {"replicas": 7}}, dry_run="All")
    assert tried.spec.replicas == 7 and apps.read_namespaced_deployment("p", "default").spec.replicas == 4
    apps.delete_namespaced_deployment("p", "default", propagation_policy="Background")


@contract
def lists_are_selected_and_paged():
    core = client.CoreV1Api()
    for number in range(7):
        core.create_namespaced_config_map("default", config_map(f"page-{number}", {"page": "yes", "n": str(number)}))
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map("default", label_selector="page=yes", limit=3, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
        assert len(page.items) == 3
    assert names == [f"page-{number}" for number in range(7)]
    some = core.list_namespaced_config_map("default", label_selector="page,n in (1,2),n!=2")
    assert [item.metadata.name for item in some.items] == ["page-1"]
    one = core.list_config_map_for_all_namespaces(field_selector="metadata.name=page-3,metadata.namespace=default")
    assert [item.metadata.name for item in one.items] == ["page-3"]
    refused(400, core.list_namespaced_config_map, "default", label_selector="n in 1")
    core.delete_collection_namespaced_config_map("default", label_selector="page=yes")
    assert not core.list_namespaced_config_map("default", label_selector="page=yes").items


@contract
def a_watch_resumes_where_it_ended():
    core = client.CoreV1Api()
    selector = {"label_selector": "cache=yes"}
    first = core.list_namespaced_config_map("default", **selector)
    version, cache, told = first.metadata.resource_version, {}, []
    for number in range(3):
        core.create_namespaced_config_map("default", config_map(f"w{number}", {"cache": "yes"}, n="0"))
        core.patch_namespaced_config_map(f"w{number}", "default", {"data": {"n": "1"}})
        if number == 1:
            core.delete_namespaced_config_map("w0", "default")
        # Each stream ends after a second; the next goes on after what the last one told.
        stream = watch.Watch()
        for event in stream.stream(
            core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=1,
            allow_watch_bookmarks=True, **selector
        ):
            kind, item = event["type"], event["object"]
            version = item.metadata.resource_version
            if kind == "BOOKMARK":
                continue
            told.append(f"{kind} {item.metadata.name}")
            if kind == "DELETED":
                del cache[item.metadata.name]
            else:
                cache[item.metadata.name] = item.metadata.resource_version
    assert told == [
        "ADDED w0", "MODIFIED w0", "ADDED w1", "MODIFIED w1", "DELETED w0", "ADDED w2", "MODIFIED w2",
    ], told
    now = core.list_namespaced_config_map("default", **selector)
    assert cache == {item.metadata.name: item.metadata.resource_version for item in now.items}
    core.delete_collection_namespaced_config_map("default", **selector)


@contract
def the_dynamic_client_finds_kinds_by_itself():
    kinds = dynamic.DynamicClient(client.ApiClient())
    maps = kinds.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dyn"}, "data": {"a": "1"}}
    applied = kinds.server_side_apply(maps, body=body, name="dyn", namespace="default", field_manager="one")
    assert applied.metadata.managedFields[0].manager == "one"
    body["data"]["a"] = "2"
    try:
        kinds.server_side_apply(maps, body=body, name="dyn", namespace="default", field_manager="two")
        raise AssertionError("no conflict")
    except ConflictError as error:
        assert 'conflict with \\"one\\": .data.a' in str(error.body), error.body
    kinds.server_side_apply(maps, body=body, name="dyn", namespace="default", field_manager="two", force_conflicts=True)
    assert maps.get(name="dyn", namespace="default").data.a == "2"
    maps.patch(
        body={"data": {"a": None}}, name="dyn", namespace="default", content_type="application/merge-patch+json"
    )
    assert maps.get(name="dyn", namespace="default").data is None
    maps.delete(name="dyn", namespace="default")
    try:
        maps.get(name="dyn", namespace="default")
        raise AssertionError("it is still there")
    except NotFoundError:
        pass
    try:
        kinds.resources.get(api_version="example.com/v1", kind="Nothing")
        raise AssertionError("it is not served")
    except ResourceNotFoundError:
        pass


@contract
def users_define_kinds():
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Gadget", "plural": "gadgets", "singular": "gadget"}
    spec = {"group": "python.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    extensions = client.ApiextensionsV1Api()
    extensions.create_custom_resource_definition({"metadata": {"name": "gadgets.python.example.com"}, "spec": spec})
    for event in watch.Watch().stream(
        extensions.list_custom_resource_definition, field_selector="metadata.name=gadgets.python.example.com",
        timeout_seconds=30,
    ):
        conditions = event["object"].status.conditions or []
        if any(one.type == "Established" and one.status == "True" for one in conditions):
            break
    else:
        raise AssertionError("it was not established")
    custom = client.CustomObjectsApi()
    place = ("python.example.com", "v1", "default", "gadgets")
    body = {"apiVersion": "python.example.com/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"n": 1}}
    custom.create_namespaced_custom_object(*place, body)
    bad = {**body, "metadata": {"name": "h"}, "spec": {"n": 0}}
    assert "should be greater than or equal to 1" in refused(422, custom.create_namespaced_custom_object, *place, bad).body
    assert custom.patch_namespaced_custom_object(*place, "g", {"spec": {"n": 2}})["spec"] == {"n": 2}
    assert [one["metadata"]["name"] for one in custom.list_namespaced_custom_object(*place)["items"]] == ["g"]
    gadgets = dynamic.DynamicClient(client.ApiClient()).resources.get(api_version="python.example.com/v1", kind="Gadget")
    assert gadgets.get(name="g", namespace="default").spec.n == 2
    custom.delete_namespaced_custom_object(*place, "g")
    extensions.delete_custom_resource_definition("gadgets.python.example.com")


@contract
def who_asks_decides():
    other = client.ApiClient()
    other.set_default_header("Impersonate-User", "bob")
    error = refused(403, client.CoreV1Api(other).list_namespaced_secret, "default")
    assert 'secrets is forbidden: User \\"bob\\" cannot list resource \\"secrets\\"' in error.body, error.body
    review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "secrets", "namespace": "default"}}}
    assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed
    assert not client.AuthorizationV1Api(other).create_self_subject_access_review(review).status.allowed
    token = client.CoreV1Api().create_namespaced_service_account_token(
        "default", "default", {"spec": {"expirationSeconds": 600}}
    ).status.token
    settings = client.Configuration.get_default_copy()
    settings.cert_file = settings.key_file = None
    settings.api_key = {"authorization": f"Bearer {token}"}
    account = client.AuthenticationV1Api(client.ApiClient(settings))
    name = account.create_self_subject_review({}).status.user_info.username
    assert name == "system:serviceaccount:default:default", name
    found = client.AuthenticationV1Api().create_token_review({"spec": {"token": token}})
    assert found.status.authenticated and found.status.user.username == name


@contract
def the_server_says_what_it_is():
    version = client.VersionApi().get_code()
    assert (version.major, version.minor) == ("1", "32")
    assert "v1" in client.CoreApi().get_api_versions().versions
    assert any(group.name == "apps" for group in client.ApisApi().get_api_versions().groups)
    assert any(one.name == "deployments/scale" for one in client.AppsV1Api().get_api_resources().resources)


def main():
    config.load_kube_config()
    failed = 0
    for function in CONTRACTS:
        try:
            function()
            print(f"ok {function.__name__}")
        except Exception:  # Every contract is tried, whatever breaks another.
            failed += 1
            print(f"broken {function.__name__}")
            traceback.print_exc()
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
