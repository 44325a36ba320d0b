// The JavaScript client against a server: each function is a contract. Prints a line for each one that holds.

import assert from 'node:assert/strict';
import {
    ApiException, AppsV1Api, AuthenticationV1Api, AuthorizationV1Api, CoreV1Api, CustomObjectsApi, KubeConfig,
    KubernetesObjectApi, PatchStrategy, VersionApi, Watch, makeInformer, setHeaderOptions,
} from '@kubernetes/client-node';

// An informer that stops, and a watch that is aborted, let this escape in this version of the client.
process.on('uncaughtException', (error) => {
    if (error.name !== 'AbortError') {
        console.error(error);
        process.exit(1);
    }
});

const WITHIN_MS = 30_000;
const namespace = 'default';
const config = new KubeConfig();
config.loadFromFile(process.env.KUBECONFIG);
const core = config.makeApiClient(CoreV1Api);

/** Waits for what callbacks are about to bring. */
async function until(what, is) {
    const deadline = Date.now() + WITHIN_MS;
    while (!is()) {
        assert.ok(Date.now() < deadline, `${what} did not happen`);
        await new Promise((resolve) => setTimeout(resolve, 10));
    }
}

async function refused(code, promise) {
    const error = await promise.then(() => assert.fail(`it was not refused with ${code}`), (error) => error);
    assert.ok(error instanceof ApiException, error);
    assert.equal(error.code, code, error.body);
    return typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
}

const map = (name, data = {}, labels = undefined) => ({ metadata: { name, labels }, data });
const as = (type) => setHeaderOptions('Content-Type', type);

const contracts = {
    async objectsAreMadeReadChangedAndDeleted() {
        const made = await core.createNamespacedConfigMap({ namespace, body: map('a', { x: '1' }) });
        assert.ok(made.metadata.uid && made.metadata.creationTimestamp instanceof Date);
        const exists = await refused(409, core.createNamespacedConfigMap({ namespace, body: map('a') }));
        assert.equal(exists.reason, 'AlreadyExists');
        made.data.x = '2';
        const replaced = await core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made });
        assert.ok(Number(replaced.metadata.resourceVersion) > Number(made.metadata.resourceVersion));
        const stale = await refused(409, core.replaceNamespacedConfigMap({ name: 'a', namespace, body: made }));
        assert.equal(stale.reason, 'Conflict');
        assert.deepEqual((await core.readNamespacedConfigMap({ name: 'a', namespace })).data, { x: '2' });
        const status = await core.deleteNamespacedConfigMap({ name: 'a', namespace });
        assert.equal(status.status, 'Success');
        assert.equal((await refused(404, core.readNamespacedConfigMap({ name: 'a', namespace }))).details.name, 'a');
        assert.equal((await refused(422, core.createNamespacedConfigMap({ namespace, body: map('No Name') }))).reason, 'Invalid');
    },

    async allPatchesAreUnderstood() {
        const apps = config.makeApiClient(AppsV1Api);
        const labels = { app: 'j' };
        const template = { metadata: { labels }, spec: { containers: [{ name: 'c', image: 'nginx' }] } };
        const body = { metadata: { name: 'j' }, spec: { replicas: 1, selector: { matchLabels: labels }, template } };
        await apps.createNamespacedDeployment({ namespace, body });
        const patch = (body, type, more = {}) =>
            apps.patchNamespacedDeployment({ name: 'j', namespace, body, ...more }, as(type));
        const more = { spec: { template: { spec: { containers: [{ name: 'd', image: 'redis' }] } } } };
        let patched = await patch(more, PatchStrategy.StrategicMergePatch);
        assert.deepEqual(patched.spec.template.spec.containers.map(({ name }) => name).sort(), ['c', 'd']);
        patched = await patch({ spec: { replicas: 2 } }, PatchStrategy.MergePatch);
        assert.equal(patched.spec.replicas, 2);
        patched = await patch([{ op: 'replace', path: '/spec/replicas', value: 3 }], PatchStrategy.JsonPatch);
        assert.equal(patched.spec.replicas, 3);
        const applied = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'j' }, spec: { replicas: 5 } };
        const apply = (more) => patch(applied, PatchStrategy.ServerSideApply, { fieldManager: 'script', ...more });
        assert.match((await refused(409, apply())).message, /^Apply failed with 1 conflict: conflict with /);
        assert.equal((await apply({ force: true })).spec.replicas, 5);
        assert.equal((await apps.readNamespacedDeploymentScale({ name: 'j', namespace })).spec.replicas, 5);
        await apps.deleteNamespacedDeployment({ name: 'j', namespace });
    },

    async informersFollowAndResume() {
        const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'seen=yes' });
        const informer = makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list, 'seen=yes');
        const told = [];
        for (const word of ['add', 'update', 'delete']) {
            informer.on(word, (object) => told.push(`${word} ${object.metadata.name}`));
        }
        let connections = 0;
        informer.on('connect', () => (connections += 1));
        informer.on('error', (error) => assert.fail(error));
        const labels = { seen: 'yes' };
        await core.createNamespacedConfigMap({ namespace, body: map('i0', {}, labels) });
        await informer.start();
        await until('the first object', () => told.length === 1);
        await core.createNamespacedConfigMap({ namespace, body: map('i1', { n: '0' }, labels) });
        await core.createNamespacedConfigMap({ namespace, body: map('unseen') });
        const body = { data: { n: '1' } };
        await core.patchNamespacedConfigMap({ name: 'i1', namespace, body }, as(PatchStrategy.MergePatch));
        await core.deleteNamespacedConfigMap({ name: 'i0', namespace });
        await until('four events', () => told.length === 4);
        assert.deepEqual(told, ['add i0', 'add i1', 'update i1', 'delete i0']);
        assert.equal(informer.get('i1', namespace).data.n, '1');
        assert.deepEqual(informer.list(namespace).map((object) => object.metadata.name), ['i1']);
        // It stops, misses things, and catches up.
        await informer.stop();
        await core.createNamespacedConfigMap({ namespace, body: map('i2', {}, labels) });
        await core.deleteNamespacedConfigMap({ name: 'i1', namespace });
        await informer.start();
        await until('the rest', () => told.length === 6);
        assert.deepEqual(told.slice(4).sort(), ['add i2', 'delete i1']);
        assert.ok(connections >= 2);
        await informer.stop();
        await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'seen=yes' });
        await core.deleteNamespacedConfigMap({ name: 'unseen', namespace });
    },

    async watchesTellEachChangeOnce() {
        const before = await core.listNamespacedConfigMap({ namespace });
        const told = [];
        let ended = false;
        const query = { resourceVersion: before.metadata.resourceVersion, allowWatchBookmarks: true, timeoutSeconds: 20 };
        const path = `/api/v1/namespaces/${namespace}/configmaps`;
        const tell = (phase, object) => told.push(`${phase} ${object.metadata.name}`);
        const request = await new Watch(config).watch(path, query, tell, () => (ended = true));
        await core.createNamespacedConfigMap({ namespace, body: map('watched') });
        await core.deleteNamespacedConfigMap({ name: 'watched', namespace });
        await until('two events', () => told.length >= 2);
        assert.deepEqual(told, ['ADDED watched', 'DELETED watched']);
        request.abort();
        await until('the end', () => ended);
        const answers = [];
        const stale = { resourceVersion: '1', timeoutSeconds: 2 };
        await new Watch(config).watch(path, stale, (phase, object) => answers.push([phase, object]), () => (ended = 'again'));
        await until('its end', () => ended === 'again');
        // What happened since the first revision is told, or it is said that it is too old.
        assert.ok(answers.length > 0);
        assert.ok(answers.every(([phase, object]) => phase !== 'ERROR' || object.code === 410), JSON.stringify(answers));
    },

    async objectsOfAnyKind() {
        const objects = KubernetesObjectApi.makeApiClient(config);
        const names = { kind: 'Gizmo', plural: 'gizmos', singular: 'gizmo' };
        const schema = { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { n: { type: 'integer' } } } } } };
        const versions = [{ name: 'v1', served: true, storage: true, schema }];
        await objects.create({
            apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition',
            metadata: { name: 'gizmos.js.example.com' },
            spec: { group: 'js.example.com', scope: 'Namespaced', names, versions },
        });
        const custom = config.makeApiClient(CustomObjectsApi);
        const place = { group: 'js.example.com', version: 'v1', namespace, plural: 'gizmos' };
        const deadline = Date.now() + WITHIN_MS;
        while (!(await custom.listNamespacedCustomObject(place).catch(() => null))) {
            assert.ok(Date.now() < deadline, 'the kind is not served');
        }
        const gizmo = { apiVersion: 'js.example.com/v1', kind: 'Gizmo', metadata: { name: 'g', namespace }, spec: { n: 1 } };
        await objects.create(gizmo);
        assert.equal((await objects.read(gizmo)).spec.n, 1);
        const changed = { ...gizmo, spec: { n: 2 } };
        const patched = await objects.patch(changed, undefined, undefined, 'script', true, PatchStrategy.ServerSideApply);
        assert.equal(patched.spec.n, 2);
        const bad = await refused(422, objects.create({ ...gizmo, metadata: { name: 'h', namespace }, spec: { n: 'x' } }));
        assert.match(bad.message, /spec\.n: Invalid value: "string": spec\.n in body must be of type integer: "string"/);
        const found = await objects.list('js.example.com/v1', 'Gizmo', namespace);
        assert.deepEqual(found.items.map(({ metadata }) => metadata.name), ['g']);
        await objects.delete(gizmo);
        await objects.delete({ apiVersion: 'apiextensions.k8s.io/v1', kind: 'CustomResourceDefinition', metadata: { name: 'gizmos.js.example.com' } });
    },

    async whoAsksDecides() {
        const spec = { resourceAttributes: { verb: 'list', resource: 'secrets', namespace } };
        const authorization = config.makeApiClient(AuthorizationV1Api);
        assert.equal((await authorization.createSelfSubjectAccessReview({ body: { spec } })).status.allowed, true);
        const other = new KubeConfig();
        other.loadFromFile(process.env.KUBECONFIG);
        other.users = [{ ...other.users[0], impersonateUser: 'bob' }];
        const denied = await refused(403, other.makeApiClient(CoreV1Api).listNamespacedSecret({ namespace }));
        assert.match(denied.message, /^secrets is forbidden: User "bob" cannot list resource "secrets"/);
        const review = await config.makeApiClient(AuthenticationV1Api).createSelfSubjectReview({ body: {} });
        assert.ok(review.status.userInfo.groups.includes('system:masters'));
        assert.equal((await config.makeApiClient(VersionApi).getCode()).minor, '32');
    },
};

let failed = 0;
for (const [name, contract] of Object.entries(contracts)) {
    try {
        await contract();
        console.log(`ok ${name}`);
    } catch (error) {
        failed = 1;
        console.log(`broken ${name}`);
        console.error(error);
    }
}
process.exit(failed);
