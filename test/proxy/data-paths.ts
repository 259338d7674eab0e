/**
 * The tests of the proxy once more, on another data path than the default: node's documented API below our own connections,
 * node:http in place of them, or both. Whatever they say of one path must hold on each.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';

const HERE = fileURLToPath(new URL('./', import.meta.url));
const UPSTREAM = fileURLToPath(new URL('../upstream/', import.meta.url));

/** Less than a file has (scripts/run-tests.ts). */
const TIMEOUT_MS = Number(process.env.TEST_FILE_TIMEOUT_MS ?? 150_000) - 10_000;

/** Connections to backends: what flows through a wire there, and how it ends. No engine has a part in it. */
const UPSTREAM_SUITES = [
  'connection-failures',
  'connection-pool',
  'streaming',
  'uploads',
  'uploads-blocked',
  'response-vectors',
];

/** What these say is decided above the wire: they need node's engine once, and another wire below the same engine changes nothing. */
const ABOVE_WIRE = [
  'api-keys',
  'body-limit',
  'both-engines',
  'crowded',
  'dribbled-heads',
  'forwarding',
  'framing',
  'hostile-input',
  'limits',
  'limits-policies',
  'listen',
  'observability',
  'oversized-heads',
  'reload',
  'request-vectors',
  'retries',
  'routing',
];
/** It makes both engines itself. */
const TWIN_ENGINES = 'twin-engines';
/** Of the others, those that also run between node's engine and the handles of connections to backends. */
const BODIES = ['aborts', 'large-uploads', 'streaming'];

/** Every file of this folder that starts a proxy by itself. A new one runs on both engines above SocketWire. */
function proxySuites(): string[] {
  return readdirSync(HERE)
    .filter((name) => name.endsWith('.test.ts') && readFileSync(HERE + name, 'utf8').includes('startProxy('))
    .map((name) => name.slice(0, -'.test.ts'.length))
    .filter((name) => name !== TWIN_ENGINES);
}

function filesFor({ SLUICE_ENGINE, SLUICE_WIRE }: Record<string, string>): string[] {
  const suites = proxySuites();
  const unknown = [...ABOVE_WIRE, ...BODIES].filter((name) => !suites.includes(name));
  assert.deepEqual(unknown, [], 'no such suites');
  const runs = (name: string) =>
    SLUICE_WIRE === 'socket'
      ? !ABOVE_WIRE.includes(name)
      : ABOVE_WIRE.includes(name) || BODIES.includes(name);
  const upstream = SLUICE_ENGINE === undefined ? UPSTREAM_SUITES : [];
  return [...suites.filter(runs).map((name) => HERE + name), ...upstream.map((name) => UPSTREAM + name)].map(
    (path) => `${path}.test.ts`,
  );
}

/** testDataPath defines the one test of a file: a file per data path, so that each has the deadline of a file. */
export function testDataPath(dataPath: Record<string, string>): void {
  const told = Object.entries(dataPath).map((pair) => pair.join('='));
  test(`what the tests of the proxy say holds with ${told.join(' and ')} too`, async () => {
    const files = filesFor(dataPath);
    const env = {
      SLUICE_ENGINE: undefined,
      SLUICE_WIRE: undefined,
      ...dataPath,
      NODE_TEST_CONTEXT: undefined,
    };
    // In one process, one after the other: other files run beside this one already, and some of these have deadlines of a
    // tenth of a second.
    const flags = ['--test', '--test-isolation=none', '--test-reporter=tap'];
    const { code, stdout } = await runToEnd(process.execPath, [...flags, ...files], {
      timeoutMs: TIMEOUT_MS,
      env,
    });
    const failedAt = stdout.findIndex((line) => line.trimStart().startsWith('not ok'));
    assert.equal(failedAt, -1, stdout.slice(failedAt, failedAt + 40).join('\n'));
    assert.equal(code, 0, stdout.slice(-40).join('\n'));
  });
}
