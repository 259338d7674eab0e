/**
 * Runs the tests of the proxy again on a data path that is not the default: over node's documented sockets, behind node:http,
 * or both. Every data path must behave the same.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';

const HERE = fileURLToPath(new URL('./', import.meta.url));
const UPSTREAM = fileURLToPath(new URL('../upstream/', import.meta.url));

/** Ends before the deadline of the file (scripts/run-tests.ts), so that the output is reported. */
const TIMEOUT_MS = Number(process.env.TEST_FILE_TIMEOUT_MS ?? 360_000) - 10_000;

/** Tests of connections to backends. They depend on the wire, not on the engine. */
export const UPSTREAM_SUITES = [
  'connection-failures',
  'connection-pool',
  'freed-ports',
  'h2/bodies',
  'h2/losses',
  'h2/pool',
  'h2/tls',
  'streaming',
  'uploads',
  'uploads-blocked',
  'response-vectors',
].map((name) => `${UPSTREAM}${name}.test.ts`);

/** Decided above the wire: these run once on node's engine, and need no second wire below our own. */
const ABOVE_WIRE = [
  'bodies/body-limit',
  'connections/crowded',
  'connections/listen',
  'forwarding/forwarding',
  'forwarding/routing',
  'limits/api-keys',
  'limits/limits',
  'limits/limits-policies',
  'operation/observability',
  'operation/reload',
  'requests/both-engines',
  'requests/dribbled-heads',
  'requests/framing',
  'requests/hostile-input',
  'requests/oversized-heads',
  'requests/request-vectors',
  'retries/lost-connections',
  'tunnels/browser',
  'tunnels/drain',
  'tunnels/extended-connect',
  'tunnels/handshake',
].map((name) => `${name}.test.ts`);
/** It starts both engines itself. */
const TWIN_ENGINES = 'requests/twin-engines.test.ts';
/** Clients with HTTP/2: our engine serves them in any case, and CI runs them over SocketWire (.ci/run). */
const H2_CLIENTS = 'h2/';
/** These also run with node's engine in front and the handle wire to the backends. */
const BODIES = ['connections/aborts', 'bodies/large-uploads', 'bodies/streaming'].map(
  (name) => `${name}.test.ts`,
);

/** The tests below this folder that start a proxy themselves. A new one runs on both engines over SocketWire. */
function proxySuites(): string[] {
  return readdirSync(HERE, { encoding: 'utf8', recursive: true })
    .filter((path) => path.endsWith('.test.ts') && path !== TWIN_ENGINES && !path.startsWith(H2_CLIENTS))
    .filter((path) => readFileSync(HERE + path, 'utf8').includes('startProxy('));
}

/** The suites on which this data path can have an effect. */
function suitesFor({ SLUICE_WIRE }: Record<string, string>): string[] {
  const suites = proxySuites();
  const unknown = [...ABOVE_WIRE, ...BODIES].filter((path) => !suites.includes(path));
  assert.deepEqual(unknown, [], 'no such suites');
  const chosen =
    SLUICE_WIRE === 'socket'
      ? suites.filter((path) => !ABOVE_WIRE.includes(path))
      : [...ABOVE_WIRE, ...BODIES];
  return chosen.map((path) => HERE + path);
}

/** testDataPath defines one test. Each data path has its own file, because the deadline is per file. */
export function testDataPath(dataPath: Record<string, string>, files = suitesFor(dataPath)): void {
  const told = Object.entries(dataPath).map((pair) => pair.join('='));
  test(`the same tests pass with ${told.join(' and ')}`, { timeout: TIMEOUT_MS }, async () => {
    const env = {
      SLUICE_ENGINE: undefined,
      SLUICE_WIRE: undefined,
      ...dataPath,
    };
    // One after the other in one process: other test files use the machine already, and some of these tests have deadlines
    // of 100 ms. A test that hangs fails after its own minute, so that its name is reported.
    const flags = ['--test', '--test-isolation=none', '--test-reporter=tap', '--test-timeout=60000'];
    const { code, stdout } = await runToEnd(process.execPath, [...flags, ...files], {
      timeoutMs: TIMEOUT_MS,
      env,
    });
    const failedAt = stdout.findIndex((line) => line.trimStart().startsWith('not ok'));
    assert.equal(failedAt, -1, stdout.slice(failedAt, failedAt + 40).join('\n'));
    assert.equal(code, 0, stdout.slice(-40).join('\n'));
  });
}
