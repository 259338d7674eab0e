/** The manifests of config/kubernetes: valid for the API, safe, and in time with the configuration that they carry. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { runToEnd } from '../support/child.ts';
import { docCommands } from '../support/doc-example.ts';
import { runSluice } from '../support/run-sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { hasTool } from '../support/tools.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const FOLDER = join(ROOT, 'config/kubernetes');
/** kustomize's own file, of which the API knows nothing. */
const KUSTOMIZATION = 'kustomization.yaml';

interface Probe {
  httpGet: { path: string; port: string };
  periodSeconds: number;
  failureThreshold: number;
}

interface Container {
  name: string;
  image: string;
  command: string[];
  env: { name: string; value: string }[];
  envFrom: { secretRef: { name: string } }[];
  resources: { requests: Record<string, string>; limits: Record<string, string> };
  securityContext: object;
  volumeMounts: { name: string; mountPath: string }[];
  ports?: { name: string; containerPort: number }[];
  readinessProbe: Probe;
  livenessProbe: Probe;
  lifecycle: { preStop: { sleep: { seconds: number } } };
}

interface PodSpec {
  terminationGracePeriodSeconds: number;
  securityContext: object;
  automountServiceAccountToken: boolean;
  initContainers: Container[];
  containers: [Container];
  volumes: { name: string; configMap?: { name: string } }[];
}

interface NetworkPolicySpec {
  podSelector: object;
  policyTypes: string[];
  ingress: { ports: { port: string }[]; from?: { podSelector?: object; namespaceSelector?: object }[] }[];
}

interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; labels: Record<string, string> };
}

interface ScrapeJob {
  job_name: string;
  authorization: { credentials_file: string };
  kubernetes_sd_configs: [{ selectors: object[] }];
  relabel_configs: { regex?: string; action?: string }[];
}

interface PodMonitor {
  selector: object;
  jobLabel: string;
  podMetricsEndpoints: [{ port: string; authorization: object }];
}

const names = readdirSync(FOLDER).filter((name) => name !== KUSTOMIZATION);
const read = <T>(name: string): T => parse(readFileSync(join(FOLDER, name), 'utf8')) as T;
const deployment = read<{
  spec: { template: { metadata: { labels: Record<string, string> }; spec: PodSpec }; selector: object };
}>('deployment.yaml');
const pod = deployment.spec.template.spec;
const [sluice] = pod.containers;
const [configText = ''] = Object.values(read<{ data: Record<string, string> }>('configmap.yaml').data);
/** What the Secret has, by the command of the documentation. */
const secrets = docCommands('deploy.md', 'Kubernetes')[0]!.matchAll(/--from-literal=(\w+)=/g);
const variables = [...secrets].map(([, name = '']) => name);

function settingsOf(t: Parameters<typeof tempFolder>[0]) {
  const path = join(tempFolder(t), 'sluice.yaml');
  writeFileSync(path, configText);
  const values = { REDIS_URL: 'redis://redis', DATABASE_URL: 'postgres://postgres/sluice' };
  const env = Object.fromEntries(variables.map((name) => [name, `a-secret-of-48-letters-${name}`]));
  const loaded = loadConfig(path, { ...env, ...values });
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  assert.deepEqual(loaded.warnings, []);
  return { settings: loaded.settings, path, env: { ...env, ...values } };
}

/** Where kubernetes-types, made of the API's published OpenAPI document, has each kind. */
const TYPES: Record<string, string> = {
  ConfigMap: 'core/v1',
  Deployment: 'apps/v1',
  Service: 'core/v1',
  PodDisruptionBudget: 'policy/v1',
  HorizontalPodAutoscaler: 'autoscaling/v2',
  NetworkPolicy: 'networking/v1',
};

/** The mistakes that tsc finds in manifests written as values of their types: wrong and missing fields, and unknown ones. */
async function mistakesIn(t: Parameters<typeof tempFolder>[0], manifests: Manifest[]): Promise<string[]> {
  const folder = tempFolder(t);
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const lines = manifests.map((manifest, index) => {
    const type = `import('kubernetes-types/${TYPES[manifest.kind]}').${manifest.kind}`;
    return `export const m${index}: ${type} = ${JSON.stringify(manifest)};`;
  });
  writeFileSync(join(folder, 'manifests.ts'), lines.join('\n'));
  const flags = ['--ignoreConfig', '--noEmit', '--strict', '--types', '', '--module', 'esnext'];
  const words = [...flags, '--moduleResolution', 'bundler', 'manifests.ts'];
  return (await runToEnd(join(ROOT, 'node_modules/.bin/tsc'), words, { cwd: folder })).stdout;
}

test('the manifests are valid for the API', async (t) => {
  assert.deepEqual(
    await mistakesIn(
      t,
      names.map((name) => read<Manifest>(name)),
    ),
    [],
  );
  const misspelt = readFileSync(join(FOLDER, 'deployment.yaml'), 'utf8').replace(
    'readinessProbe',
    'readynessProbe',
  );
  const wrong = readFileSync(join(FOLDER, 'service.yaml'), 'utf8').replace('port: 80', 'port: http');
  const found = await mistakesIn(t, [parse(misspelt) as Manifest, parse(wrong) as Manifest]);
  assert.match(found.join('\n'), /readynessProbe[\s\S]*'string' is not assignable to type 'number'/);
});

test('kustomize is given every manifest, and the image by its name', () => {
  const { resources, images } = read<{ resources: string[]; images: { name: string }[] }>(KUSTOMIZATION);
  assert.deepEqual(resources.toSorted(), names.toSorted());
  for (const { image } of [...pod.containers, ...pod.initContainers])
    assert.deepEqual(
      images.map(({ name }) => name),
      [image],
    );
});

test('the manifests name each other rightly', () => {
  const all = names.map((name) => read<Manifest>(name));
  const label = { 'app.kubernetes.io/name': 'sluice' };
  for (const { kind, metadata } of all) assert.deepEqual(metadata, { name: 'sluice', labels: label }, kind);
  assert.deepEqual(deployment.spec.selector, { matchLabels: label });
  assert.deepEqual(deployment.spec.template.metadata, { labels: label });
  const service = read<{ spec: { selector: object; ports: { targetPort: string }[] } }>('service.yaml').spec;
  assert.deepEqual(service.selector, label);
  const ports = sluice.ports?.map(({ name }) => name) ?? [];
  for (const { targetPort } of service.ports) assert.ok(ports.includes(targetPort), targetPort);
  const { spec } = read<{ spec: { selector: object } }>('disruption-budget.yaml');
  assert.deepEqual(spec.selector, { matchLabels: label });
  const target = read<{ spec: { scaleTargetRef: object } }>('autoscaler.yaml').spec.scaleTargetRef;
  assert.deepEqual(target, { apiVersion: 'apps/v1', kind: 'Deployment', name: 'sluice' });
});

test('the containers have no rights, no writable file system, and the secrets of the documentation', () => {
  assert.equal(pod.automountServiceAccountToken, false);
  assert.deepEqual(pod.securityContext, {
    ...{ runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000 },
    seccompProfile: { type: 'RuntimeDefault' },
  });
  for (const each of [sluice, ...pod.initContainers]) {
    assert.deepEqual(each.securityContext, {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    });
    assert.deepEqual(each.envFrom, [{ secretRef: { name: 'sluice' } }]);
    assert.equal(each.resources.limits.cpu, undefined, 'throttling stops a worker in the middle of requests');
    assert.deepEqual(
      each.volumeMounts.map(({ name }) => name).toSorted(),
      pod.volumes.map(({ name }) => name).toSorted(),
    );
  }
  const used = [...configText.matchAll(/\$\{(\w+)\}/g)].map(([, name]) => name);
  assert.deepEqual(used.toSorted(), variables.toSorted());
});

test('the configuration of the ConfigMap passes sluice check, and has the ports and workers of the container', async (t) => {
  const { settings, path, env } = settingsOf(t);
  const { code, out } = await runSluice(t, ['check', '--config', path], { env });
  assert.deepEqual([code, out.split('\n').at(-1)], [0, 'ok'], out);
  const portOf = (name: string) => sluice.ports?.find((port) => port.name === name)?.containerPort;
  assert.match(configText, new RegExp(`^ +- address: ":${portOf('http')}"$`, 'm'));
  assert.match(configText, new RegExp(`^ +address: ":${portOf('admin')}"$`, 'm'));
  assert.equal(String(settings.workers), sluice.resources.requests.cpu);
  assert.match(configText, /^watch: true/m, 'a change of the ConfigMap is a reload');
  const [{ value: configPath } = { value: '' }] = sluice.env;
  const mount = sluice.volumeMounts.find(({ name }) => name === 'config')?.mountPath;
  assert.equal(configPath, `${mount}/sluice.yaml`);
});

test('a pod lives until its requests are done, and gets no new ones by then', (t) => {
  const { settings } = settingsOf(t);
  const { drainGraceMs, drainMs } = settings.timeouts;
  const { seconds } = sluice.lifecycle.preStop.sleep;
  assert.equal(pod.terminationGracePeriodSeconds * 1000, seconds * 1000 + drainGraceMs + drainMs + 5_000);
  // The pod is ready until its balancer has noticed that the node has none that goes on: three checks, every 10 s.
  const { spec } = read<{ spec: { externalTrafficPolicy: string } }>('service.yaml');
  assert.deepEqual([spec.externalTrafficPolicy, seconds], ['Local', 30]);
  const { httpGet, periodSeconds, failureThreshold } = sluice.readinessProbe;
  assert.deepEqual(httpGet, { path: '/readyz', port: 'admin' });
  assert.deepEqual(sluice.livenessProbe.httpGet, { path: '/livez', port: 'admin' });
  // The endpoint goes when the pod begins to end; the probe is for those who look at nothing else.
  assert.ok(2 * periodSeconds * failureThreshold * 1000 < drainGraceMs);
});

test('each pod that starts while Redis is away takes its part of a limit: `instances` is the most that the autoscaler starts', (t) => {
  const { spec } = read<{ spec: { maxReplicas: number } }>('autoscaler.yaml');
  assert.equal(settingsOf(t).settings.rateLimit.instances, spec.maxReplicas);
});

test('the traffic port is open to everybody, the admin port to Prometheus alone', () => {
  const { podSelector, policyTypes, ingress } = read<{ spec: NetworkPolicySpec }>('network-policy.yaml').spec;
  assert.deepEqual([podSelector, policyTypes], [deployment.spec.selector, ['Ingress']]);
  const ports = ingress.map((rule) => rule.ports.map(({ port }) => port));
  assert.deepEqual(
    ports,
    sluice.ports?.map(({ name }) => [name]),
  );
  const [http, admin] = ingress;
  assert.equal(http?.from, undefined);
  const prometheusPods = { matchLabels: { 'app.kubernetes.io/name': 'prometheus' } };
  const namespaceSelector = { matchLabels: { 'kubernetes.io/metadata.name': 'monitoring' } };
  assert.deepEqual(admin?.from, [
    { podSelector: prometheusPods },
    { namespaceSelector, podSelector: prometheusPods },
  ]);
});

test('Prometheus finds the pods, by its own discovery and by the operator, and has their token', async (t) => {
  const path = join(tempFolder(t), 'prometheus.yml');
  const text = readFileSync(join(ROOT, 'config/prometheus-kubernetes.yml'), 'utf8');
  const [job] = (parse(text) as { scrape_configs: [ScrapeJob] }).scrape_configs;
  assert.equal(job.job_name, 'sluice', 'which the alerts ask for');
  const [{ selectors }] = job.kubernetes_sd_configs;
  assert.deepEqual(selectors, [{ role: 'pod', label: 'app.kubernetes.io/name=sluice' }]);
  const token = basename(job.authorization.credentials_file);
  assert.ok(variables.includes(token), token);
  assert.match(configText, new RegExp(`readToken: "\\$\\{${token}\\}"`), 'it may only read');
  const ports = job.relabel_configs.filter(({ action }) => action === 'keep').map(({ regex }) => regex);
  const { kind, spec } = parse(readFileSync(join(ROOT, 'config/prometheus-operator.yaml'), 'utf8')) as {
    kind: string;
    spec: PodMonitor;
  };
  const [endpoint] = spec.podMetricsEndpoints;
  assert.deepEqual([kind, spec.selector], ['PodMonitor', deployment.spec.selector]);
  assert.equal(deployment.spec.template.metadata.labels[spec.jobLabel], 'sluice');
  assert.deepEqual(endpoint.authorization, { credentials: { name: 'sluice', key: token } });
  for (const port of [...ports, endpoint.port])
    assert.ok(
      sluice.ports?.some(({ name }) => name === port),
      String(port),
    );
  if (!hasTool(t, 'promtool')) return;
  writeFileSync(path, text.replace('/run/secrets/sluice/SLUICE_READ_TOKEN', path));
  const checked = await runToEnd('promtool', ['check', 'config', path]);
  assert.equal(checked.code, 0, [...checked.stdout, ...checked.stderr].join('\n'));
});
