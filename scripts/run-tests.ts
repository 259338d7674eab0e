/**
 * Runs test files on the pinned Node.js, each in its own process with a deadline, and ends with the line `N passed, N
 * failed`.
 *
 *   node scripts/run-tests.ts                      every test/**\/*.test.ts
 *   node scripts/run-tests.ts --without-services   files that start no Redis, no PostgreSQL, no browser and no Sluice
 *   node scripts/run-tests.ts test/limit …         files or folders
 *
 * A skipped test, a file without a test, a file that does not exit by itself and a run without files count as failures.
 * Exit 0 only if nothing failed. (run() of node:test has no deadline for a file that never exits.)
 */
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type Child, runToEnd, spawnChild } from '../test/support/child.ts';
import { filesUnder, importsOf } from '../test/support/imports.ts';
import { makeTempFolder } from '../test/support/temp-folder.ts';
import { within } from '../test/support/wait.ts';
import type { TestLine } from './test-reporter.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
/** Deadline of one file, for those that hang. The slowest takes a minute alone, and three beside others. */
const TIMEOUT_MS = Number(process.env.TEST_FILE_TIMEOUT_MS ?? 360_000);
const SLOWEST_COUNT = 5;
const OUTPUT_LINES = 80;
/** Tests of whole clusters under load. On busy cores they would miss deadlines: others run beside one only while cores are idle. */
const CLUSTERS = 'test/cluster/';
/** The files that take longest, so that none of them is the last to run. The order alone depends on this list. */
const LONGEST = [
  'proxy/data-path-node-socket',
  'proxy/data-path-socket',
  'serve/primary-succession',
  'repository/image',
  'repository/npm-package',
  'repository/debian',
  'serve/tls',
  'dashboard/accessible',
  'dashboard/clients',
  'dashboard/callers',
  'proxy/h2/flow',
  'serve/stuck-output',
  'serve/acme',
  'serve/primary-replaced',
  'postgres/embedded-postgres',
  'proxy/data-path-node',
  'serve/start',
  'config/cli',
  'primary/acme/manager',
  'proxy/h2/floods',
  'postgres/embedded-postgres-failures',
  'config/hostile',
  'primary/acme/sharing',
  'bench/protocol-peers',
  'bench/smoke',
  'redis/deployments',
  'redis/cluster',
  'config/anything',
  'upstream/data-path-socket',
  'serve/reload-redis',
  'infra/wire/wire-ends',
  'infra/wire/wire-writes',
  'cluster/chaos-load',
  'cluster/chaos-backends',
  'cluster/worker-stuck',
  'cluster/chaos-processes',
  'cluster/drain',
  'cluster/redis-chaos',
  'cluster/primary-stopped',
  'cluster/rolling-replacement',
].map((name) => `test/${name}.test.ts`);
/** A test file that imports one of these needs a server or a browser, or starts the product. */
const SERVICE_MODULES = [
  'redis.ts',
  'postgres.ts',
  'pebble.ts',
  'sluice.ts',
  'sluice-command.ts',
  'browser.ts',
].map((name) => `test/support/${name}`);
const SERVICE_FOLDERS = ['test/redis/', 'test/postgres/', CLUSTERS];

/** Holds what all files share: compiled code and a ready-made database. Removed after the run. */
const RUN_FOLDER = makeTempFolder('sluice-tests-');
const ENV: Record<string, string> = {
  NODE_COMPILE_CACHE: join(RUN_FOLDER, 'compile-cache'),
  TEST_RUN_FOLDER: RUN_FOLDER,
};
/** Making what ships takes as much as what twenty starts of it save. */
const BUNDLED_FROM = 20;

interface FileResult {
  path: string;
  passed: number;
  failures: string[];
  /** What was not tried, and why: this machine lacks a program or a right. */
  notTried: string[];
  output: string[];
  durationMs: number;
  cpuMs: number;
}

/** Whether a file, or a helper that it imports, needs a service. */
function needsServices(path: string, seen = new Set<string>()): boolean {
  if (seen.has(path)) return false;
  seen.add(path);
  if (SERVICE_MODULES.includes(path) || SERVICE_FOLDERS.some((folder) => path.startsWith(folder)))
    return true;
  const targets = importsOf(path, readFileSync(join(ROOT, path), 'utf8'));
  const helpers = targets.filter((target) => target.startsWith('test/') && existsSync(join(ROOT, target)));
  return helpers.some((helper) => needsServices(helper, seen));
}

/**
 * Makes what ships, for the tests that start the product (test/support/product.ts). A new embedded database is a copy there, which
 * takes 4 s of CPU time less than making one; of the dashboard, what its tests build is used.
 */
async function makeProduct(): Promise<void> {
  const product = join(RUN_FOLDER, 'product');
  const dist = join(product, 'dist');
  mkdirSync(dist, { recursive: true });
  for (const name of ['package.json', 'node_modules', 'lua', 'migrations'])
    symlinkSync(join(ROOT, name), join(product, name));
  // By its name test/support/made-once.ts finds it.
  const data = join(RUN_FOLDER, 'prepared-data');
  for (const made of await Promise.all([
    runToEnd(process.execPath, ['scripts/bundle.ts', dist], { cwd: ROOT, env: ENV }),
    runToEnd(process.execPath, ['scripts/prepare-data.ts', data], { cwd: ROOT, env: ENV }),
  ]))
    if (made.code !== 0) throw new Error(`cannot make the product:\n${made.stderr.join('\n')}`);
  symlinkSync(join(ROOT, 'dist/dashboard'), join(dist, 'dashboard'));
  symlinkSync(data, join(dist, 'embedded-data'));
  ENV.TEST_CLI = join(dist, 'cli.js');
}

function chooseFiles(words: string[]): string[] {
  const paths = words.filter((word) => !word.startsWith('--'));
  const chosen =
    paths.length === 0
      ? filesUnder(ROOT, 'test', '.test.ts')
      : paths.flatMap((path) => (statSync(path).isDirectory() ? filesUnder(ROOT, path, '.test.ts') : [path]));
  return words.includes('--without-services') ? chosen.filter((path) => !needsServices(path)) : chosen;
}

async function runFile(path: string): Promise<FileResult> {
  const startMs = performance.now();
  const report = join(makeTempFolder('sluice-report-'), 'events');
  const reporter = ['--test-reporter', './scripts/test-reporter.ts', '--test-reporter-destination', report];
  // A test that hangs fails by itself before its file does, so that it is named.
  const flags = [...reporter, `--test-timeout=${TIMEOUT_MS / 2}`];
  const child = spawnChild(process.execPath, [...flags, path], { cwd: ROOT, env: ENV });
  const inTime = await exitsInTime(child);
  const result = resultOf(path, readReport(report));
  const { exitStatus } = child;
  if (!inTime)
    result.failures.push(`✖ did not exit within ${TIMEOUT_MS / 1000} s: something hangs or is still open`);
  else if (result.failures.length === 0) {
    if (exitStatus?.code !== 0) result.failures.push(`✖ exited with ${JSON.stringify(exitStatus)}`);
    else if (result.passed === 0) result.failures.push('✖ contains no test');
  }
  result.output = [...child.stdout, ...child.stderr].slice(-OUTPUT_LINES);
  result.durationMs = performance.now() - startMs;
  result.cpuMs = cpuMsOfEnded();
  const verdict = result.failures.length === 0 ? 'ok  ' : 'FAIL';
  console.log(`${verdict} ${path}  ${result.passed} passed, ${costOf(result)}`);
  return result;
}

const costOf = ({ durationMs, cpuMs }: FileResult) =>
  `${(durationMs / 1000).toFixed(1)} s, ${(cpuMs / 1000).toFixed(1)} s of CPU`;

let endedCpuMs = 0;

/** CPU time of the file that ended last, with its processes that ended before it. Only Linux tells; elsewhere 0. */
function cpuMsOfEnded(): number {
  if (!existsSync('/proc/self/stat')) return 0;
  // proc_pid_stat(5): cutime and cstime, in 1/100 s; the name before them may have blanks.
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? [];
  const before = endedCpuMs;
  endedCpuMs = (Number(fields[13]) + Number(fields[14])) * 10;
  return endedCpuMs - before;
}

/** On SIGTERM a test file ends the servers that it started (test/support/child.ts); SIGKILL comes only after that. */
async function exitsInTime(child: Child): Promise<boolean> {
  try {
    await within(child.exited, TIMEOUT_MS, 'exit');
    return true;
  } catch {
    await child.stop('SIGTERM', 5_000).catch(() => child.kill());
    return false;
  } finally {
    await child.kill();
  }
}

function readReport(path: string): TestLine[] {
  if (!existsSync(path)) return [];
  const whole = readFileSync(path, 'utf8').split('\n').slice(0, -1);
  return whole.map((line) => JSON.parse(line) as TestLine);
}

function resultOf(path: string, lines: TestLine[]): FileResult {
  const result: FileResult = {
    path,
    passed: 0,
    failures: [],
    notTried: [],
    output: [],
    durationMs: 0,
    cpuMs: 0,
  };
  for (const { name, passed, skipped, suite, line, failure, notTried } of lines) {
    if (notTried !== '') result.notTried.push(`${path}:${line}: ${notTried}`);
    else if (skipped) result.failures.push(`✖ ${name}\n  at ${path}:${line}\n  skipped`);
    else if (failure !== '') {
      result.failures.push(`✖ ${name}\n  at ${path}:${line}\n${failure.replace(/^/gm, '  ')}`);
    } else if (passed && !suite) result.passed += 1;
  }
  return result;
}

/** How many files run at once: `fewest`, and up to `most` while cores are idle. */
interface Lanes {
  fewest: number;
  most: number;
}

async function runFiles(files: string[], lanes: Lanes): Promise<FileResult[]> {
  const results: FileResult[] = [];
  const running = new Set<Promise<void>>();
  for (const path of files.toSorted((a, b) => rank(a) - rank(b))) {
    await roomAmong(running, lanes);
    const run = runFile(path).then((result) => {
      results.push(result);
      running.delete(run);
    });
    running.add(run);
  }
  await Promise.all(running);
  return results;
}

function rank(path: string): number {
  const place = LONGEST.indexOf(path);
  return place === -1 ? LONGEST.length : place;
}

/** Resolves when another file may start. */
async function roomAmong(running: ReadonlySet<Promise<void>>, { fewest, most }: Lanes): Promise<void> {
  while (running.size >= fewest) {
    await Promise.race([...running, sleep(IDLE_WINDOW_MS)]);
    if (idleShare() > IDLE_SHARE && running.size < most) return;
  }
}

let measuredAt = { ms: performance.now(), idleMs: idleMs() };

/**
 * The idle share of the cores since the last measurement; 0 before a window is over. Files that end meanwhile begin no new window:
 * where they are short, none would ever be over.
 */
function idleShare(): number {
  const [before, now] = [measuredAt, { ms: performance.now(), idleMs: idleMs() }];
  const tookMs = now.ms - before.ms;
  if (tookMs < IDLE_WINDOW_MS) return 0;
  measuredAt = now;
  return (now.idleMs - before.idleMs) / tookMs / cpus().length;
}

/** The time for which cores of this machine were idle, all together. */
function idleMs(): number {
  return cpus().reduce((sum, { times }) => sum + times.idle, 0);
}

function summarize(results: FileResult[]): number {
  for (const { path, failures, output } of results) {
    if (failures.length === 0) continue;
    console.log(`\n── ${path}`);
    for (const failure of failures) console.log(failure);
    if (output.length > 0) console.log(`── end of its output\n${output.join('\n')}`);
  }
  for (const line of results.flatMap(({ notTried }) => notTried)) console.log(line);
  const slowest = results.toSorted((a, b) => b.durationMs - a.durationMs).slice(0, SLOWEST_COUNT);
  console.log('\nslowest files:');
  for (const result of slowest) console.log(`  ${costOf(result)}  ${result.path}`);
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const failed = results.reduce((sum, result) => sum + result.failures.length, 0);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0 ? 0 : 1;
}

/** Test files spend half of their time waiting, some nearly all of it. */
const FEWEST = Math.min(6, availableParallelism() + 2);
const IDLE_SHARE = 0.15;
/** A file that has begun needs some of it to load the cores. */
const IDLE_WINDOW_MS = 500;

const files = chooseFiles(process.argv.slice(2));
if (files.filter((path) => needsServices(path)).length >= BUNDLED_FROM) await makeProduct();
const clusters = files.filter((path) => path.startsWith(CLUSTERS));
const others = files.filter((path) => !clusters.includes(path));
const results = await runFiles(others, { fewest: FEWEST, most: FEWEST + 4 });
process.exitCode = summarize([...results, ...(await runFiles(clusters, { fewest: 1, most: 3 }))]);
