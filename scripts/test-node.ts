/**
 * `make test-node`: runs the tests of the data path on other versions of Node.js than the pinned one. Each version runs them
 * first with its default wire (the socket wire, unless HANDLE_WIRE_VERSIONS has the version) and then with the handle wire. At
 * the end it prints which versions may be added to HANDLE_WIRE_VERSIONS in src/infra/wire/wire-choice.ts.
 *
 *   node scripts/test-node.ts [--versions="24.18.1 26.5.1"] [--setting=socket|handle] [--suites="test/proxy …"] [--get]
 *
 * `--versions` also takes `ends` (the default: the lowest and the highest version of every line that `engines` in package.json
 * allows), `lowest` (the lowest of all) and `all`. Versions come from npm and are kept in .tmp/node-versions; `--get` only
 * fetches them.
 * Exit 1 if a test failed on the socket wire, or on the handle wire of a version in HANDLE_WIRE_VERSIONS, or if a version
 * could not be installed.
 */
import { spawn } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { HANDLE_WIRE_VERSIONS } from '../src/infra/wire/wire-choice.ts';
import { filesUnder } from '../test/support/imports.ts';
import { chooseVersions, installRelease, type NodeRelease, publishedVersions } from './node-releases.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const FOLDER = '.tmp/node-versions';
const SUITES = 'test/infra/wire test/upstream test/proxy test/http2 test/serve test/cluster';
/** Not run: these repeat other tests on other data paths, and this script runs every test on both wires anyway. */
const LEFT_OUT = /\/data-path-/;
const SETTINGS = ['socket', 'handle'] as const;
type Setting = (typeof SETTINGS)[number];

interface Outcome {
  release: NodeRelease;
  setting: Setting;
  /** The last line of run-tests.ts, or how it ended. */
  says: string;
  passed: boolean;
}

function isListed({ version }: NodeRelease): boolean {
  return HANDLE_WIRE_VERSIONS.includes(`v${version}`);
}

function environmentOf(release: NodeRelease, setting: Setting): NodeJS.ProcessEnv {
  const { SLUICE_WIRE: _, SLUICE_UNTESTED_WIRE: __, SLUICE_ENGINE: ___, ...env } = process.env;
  const wire =
    setting === 'handle'
      ? { SLUICE_WIRE: 'handle', SLUICE_UNTESTED_WIRE: '1' }
      : isListed(release) && { SLUICE_WIRE: 'socket' };
  return {
    ...env,
    ...wire,
    // For tests that start the product by npm or make.
    PATH: `${join(ROOT, dirname(release.binary))}:${env.PATH}`,
    MAKEFLAGS: `NODE=${release.binary}`,
    npm_config_script_shell: release.shell,
  };
}

/** run-tests.ts starts everything with the Node.js that runs it. */
async function runTests(release: NodeRelease, setting: Setting, files: string[]): Promise<Outcome> {
  console.log(`\n══ Node.js ${release.version}, ${setting} wire`);
  const child = spawn(join(ROOT, release.binary), ['scripts/run-tests.ts', ...files], {
    cwd: ROOT,
    env: environmentOf(release, setting),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const passOn = (signal: NodeJS.Signals) => child.kill(signal);
  process.on('SIGINT', passOn).on('SIGTERM', passOn);
  let last = '';
  createInterface({ input: child.stdout }).on('line', (line) => {
    console.log(line);
    last = line;
  });
  const end = await new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal }));
  });
  process.off('SIGINT', passOn).off('SIGTERM', passOn);
  // If a signal ended the tests, end this program by the same signal.
  if (end.signal === 'SIGINT' || end.signal === 'SIGTERM') process.kill(process.pid, end.signal);
  const says = /^\d+ passed, \d+ failed$/.test(last) ? last : `ended with ${end.signal ?? end.code}`;
  return { release, setting, says, passed: end.code === 0 };
}

function table(releases: NodeRelease[], outcomes: Outcome[]): string {
  const cells = releases.map((release) => [
    release.version,
    ...SETTINGS.map((setting) => {
      const found = outcomes.find((outcome) => outcome.release === release && outcome.setting === setting);
      return found?.says ?? 'not run';
    }),
    isListed(release) ? 'yes' : 'no',
  ]);
  return [['Node.js', 'socket wire', 'handle wire', 'in the list'], ...cells]
    .map((row) =>
      row
        .map((cell, index) => cell.padEnd(index === 0 ? 9 : 24))
        .join(' ')
        .trimEnd(),
    )
    .join('\n');
}

function summarize(releases: NodeRelease[], outcomes: Outcome[], isWhole: boolean): number {
  console.log(`\n${table(releases, outcomes)}\n`);
  const bad = outcomes.filter(({ passed }) => !passed);
  for (const { release, setting } of bad) console.log(`failed: Node.js ${release.version}, ${setting} wire`);
  const good = outcomes.filter(
    ({ passed, setting, release }) => passed && setting === 'handle' && !isListed(release),
  );
  const names = good.map(({ release }) => `v${release.version}`);
  if (isWhole) console.log(`may be added to HANDLE_WIRE_VERSIONS: ${names.join(', ') || 'none'}`);
  else if (names.length > 0)
    console.log('only a part of the tests ran, so no version may be added to HANDLE_WIRE_VERSIONS');
  return bad.some(({ setting, release }) => setting === 'socket' || isListed(release)) ? 1 : 0;
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word !== '');
}

async function main(): Promise<number> {
  // make passes empty values for defaults.
  const text = { type: 'string', default: '' } as const;
  const { values } = parseArgs({
    options: { versions: text, setting: text, suites: text, get: { type: 'boolean' } },
  });
  const settings = SETTINGS.filter((setting) => values.setting === '' || values.setting === setting);
  if (settings.length === 0)
    throw new Error(`--setting must be ${SETTINGS.join(' or ')}, not ${values.setting}`);
  const files = wordsOf(values.suites || SUITES)
    .flatMap((path) =>
      statSync(join(ROOT, path)).isDirectory() ? filesUnder(ROOT, path, '.test.ts') : [path],
    )
    .filter((path) => !LEFT_OUT.test(path));
  const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    engines: { node: string };
  };
  const words = wordsOf(values.versions || 'ends');
  const releases: NodeRelease[] = [];
  const notHad: string[] = [];
  for (const version of chooseVersions(words, engines.node, await publishedVersions())) {
    try {
      releases.push(await installRelease(ROOT, FOLDER, version));
    } catch (error) {
      notHad.push((error as Error).message);
      console.error(notHad.at(-1));
    }
  }
  if (values.get) return notHad.length === 0 ? 0 : 1;
  const outcomes: Outcome[] = [];
  for (const release of releases)
    for (const setting of settings) outcomes.push(await runTests(release, setting, files));
  const code = summarize(releases, outcomes, values.suites === '');
  for (const problem of notHad) console.log(`not run: ${problem}`);
  return notHad.length === 0 ? code : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = 1;
}
