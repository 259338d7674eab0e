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
export const UPSTREAM_SUITES = [
  'connection-failures',
  'connection-pool',
  'streaming',
  'uploads',
  'uploads-blocked',
  'response-vectors',
].map((name) => `${UPSTREAM}${name}.test.ts`);

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
].map((name) => `${HERE}${name}.test.ts`);
/** It makes both engines itself. */
const TWIN_ENGINES = `${HERE}twin-engines.test.ts`;
/** Of the others, those that also run between node's engine and the handles of connections to backends. */
const BODIES = ['aborts', 'large-uploads', 'streaming'].map((name) => `${HERE}${name}.test.ts`);

/** Every file of this folder that starts a proxy by itself. A new one runs on both engines above SocketWire. */
function proxySuites(): string[] {
  return readdirSync(HERE)
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => HERE + name)
    .filter((path) => path !== TWIN_ENGINES && readFileSync(path, 'utf8').includes('startProxy('));
}

/** The suites of this folder in which a data path can make a difference. */
function suitesFor({ SLUICE_WIRE }: Record<string, string>): string[] {
  const suites = proxySuites();
  const unknown = [...ABOVE_WIRE, ...BODIES].filter((path) => !suites.includes(path));
  assert.deepEqual(unknown, [], 'no such suites');
  if (SLUICE_WIRE === 'socket') return suites.filter((path) => !ABOVE_WIRE.includes(path));
  return [...ABOVE_WIRE, ...BODIES];
}

/** testDataPath defines the one test of a file: a file per data path, so that each has the deadline of a file. */
export function testDataPath(dataPath: Record<string, string>, files = suitesFor(dataPath)): void {
  const told = Object.entries(dataPath).map((pair) => pair.join('='));
  test(`what these tests say holds with ${told.join(' and ')} too`, async () => {
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
