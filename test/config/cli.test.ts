import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { openSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NODE_RANGE, nodeProblem } from '../../src/config/node-version.ts';
import { lockFolder } from '../../src/infra/postgres/folder-lock.ts';
import { CLI } from '../support/product.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { EXPECTED_PROBLEMS } from './expected-problems.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LOCAL = join(ROOT, 'config/local.yaml');
const RUN_MS = 60_000;
const { PATH, HOME, NODE_COMPILE_CACHE } = process.env;

interface Run {
  code: number | null;
  stdout: string;
  stderr: string;
}

interface RunOptions {
  env?: Record<string, string>;
  cwd?: string;
  nodeFlags?: string[];
}

function sluice(words: string[], { env = {}, cwd = ROOT, nodeFlags = [] }: RunOptions = {}): Run {
  const child = spawnSync(process.execPath, [...nodeFlags, CLI, ...words], {
    cwd,
    encoding: 'utf8',
    timeout: RUN_MS,
    env: { PATH, HOME, NODE_COMPILE_CACHE, ...env },
  });
  return { code: child.status, stdout: child.stdout, stderr: child.stderr };
}

test('check of a valid file prints ok with counts and exits 0', () => {
  const stdout = '1 pool, 3 backends, 1 route\nok\n';
  assert.deepEqual(sluice(['check', '--config', LOCAL]), { code: 0, stdout, stderr: '' });
});

test('check prints warnings with file and line, and accepts the configuration', (t) => {
  const cwd = tempFolder(t);
  const pool = '{ backends: [{ url: "http://127.0.0.1:1" }] }';
  writeFileSync(join(cwd, 'a.yaml'), `routes: [{ name: r, pool: a }]\npools:\n  a: ${pool}\n  b: ${pool}\n`);
  const stdout =
    'a.yaml:4: warning: pools.b: no route leads to this pool\n2 pools, 2 backends, 1 route\nok\n';
  assert.deepEqual(sluice(['check', '--config', 'a.yaml'], { cwd }), { code: 0, stdout, stderr: '' });
});

test('check refuses a data path that the environment asks for and this Node.js cannot have', () => {
  for (const [name, value] of [
    ['SLUICE_WIRE', 'rope'],
    ['SLUICE_ENGINE', 'steam'],
  ] as const) {
    const { code, stdout } = sluice(['check', '--config', LOCAL], { env: { [name]: value } });
    assert.equal(code, 2);
    assert.match(stdout, new RegExp(`^${name} is .* not "${value}"\n$`));
  }
});

test('the example of the README passes check', (t) => {
  const cwd = tempFolder(t);
  const [, example = ''] =
    /```yaml\n(listen:[\s\S]*?)```/.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
  writeFileSync(join(cwd, 'sluice.yaml'), example);
  const stdout = '2 pools, 3 backends, 3 routes\nok\n';
  assert.deepEqual(sluice(['check', '--config', 'sluice.yaml'], { cwd }), { code: 0, stdout, stderr: '' });
});

for (const name of [
  'many.yaml',
  'syntax-error.yaml',
  'empty.yaml',
  'not-supported-pool.yaml',
  'unset-variable.yaml',
]) {
  const path = `test/config/bad/${name}`;
  const expected = (EXPECTED_PROBLEMS[name] ?? []).map((rest) => `${path}${rest}\n`).join('');

  test(`B37: check prints every problem of ${name} with file, key and line to standard output and exits 2`, () => {
    assert.deepEqual(sluice(['check', '--config', path]), { code: 2, stdout: expected, stderr: '' });
  });

  test(`serve prints every problem of ${name} to standard error and exits 2`, () => {
    assert.deepEqual(sluice(['serve', '--config', path]), { code: 2, stdout: '', stderr: expected });
  });
}

test('a missing file is named by check, serve and migrate', () => {
  const said = 'none.yaml: the file does not exist\n';
  assert.deepEqual(sluice(['check', '--config', 'none.yaml']), { code: 2, stdout: said, stderr: '' });
  assert.deepEqual(sluice(['serve', '--config=none.yaml']), { code: 2, stdout: '', stderr: said });
  assert.deepEqual(sluice(['migrate', '--config=none.yaml']), { code: 2, stdout: '', stderr: said });
});

test('--config wins over CONFIG_PATH, which wins over ./config/local.yaml', (t) => {
  const env = { CONFIG_PATH: 'from-env.yaml' };
  assert.match(sluice(['check', '--config', 'flag.yaml'], { env }).stdout, /^flag\.yaml: /);
  assert.match(sluice(['check'], { env }).stdout, /^from-env\.yaml: /);
  const cwd = tempFolder(t);
  assert.match(sluice(['check'], { cwd }).stdout, /^\.\/config\/local\.yaml: /);
  assert.match(sluice(['check'], { cwd, env: { CONFIG_PATH: '' } }).stdout, /^\.\/config\/local\.yaml: /);
});

test('a wrong command line gets a message and a hint on standard error, and exit 2', () => {
  const cases: [string[], string][] = [
    [['start'], "unknown command 'start'"],
    [['serv'], "unknown command 'serv'\n(Did you mean serve?)"],
    [['deploy', '--help'], "unknown command 'deploy'"],
    [['help', 'deploy'], "unknown command 'deploy'"],
    [['check', '--port', '1'], "unknown option '--port'"],
    [['check', 'config.yaml'], "too many arguments for 'check'"],
    [['check', '--config'], "option '--config <file>' argument missing"],
    [['check', '--config='], "option '--config <file>' argument '' is invalid. It needs a file."],
    [
      ['migrate', 'sideways'],
      "command-argument value 'sideways' is invalid for argument 'action'. Allowed choices are up, down, status.",
    ],
    [['migrate', 'up', 'down'], "too many arguments for 'migrate'"],
  ];
  for (const [words, sentence] of cases) {
    const { code, stdout, stderr } = sluice(words);
    assert.deepEqual({ code, stdout }, { code: 2, stdout: '' }, stderr);
    assert.ok(stderr.startsWith(`sluice: ${sentence}`), stderr);
    assert.match(stderr, /\nTry: sluice( \w+)? --help\n$/);
  }
  const nothing = sluice([]);
  assert.deepEqual([nothing.code, nothing.stdout], [2, '']);
  assert.match(nothing.stderr, /^Usage: sluice /);
});

test('version prints the version of package.json', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
  assert.deepEqual(sluice(['version']), { code: 0, stdout: `${version}\n`, stderr: '' });
  for (const word of ['--version', '-v']) {
    assert.deepEqual(sluice([word]), { code: 0, stdout: `${version}\n`, stderr: '' }, word);
  }
});

test('--help, -h and help print the usage to standard output, for each command too', () => {
  for (const word of ['--help', '-h', 'help']) {
    const { code, stdout, stderr } = sluice([word]);
    assert.deepEqual([code, stderr], [0, ''], word);
    assert.match(stdout, /^Usage: sluice /);
  }
  for (const words of [
    ['migrate', '--help'],
    ['help', 'migrate'],
  ]) {
    assert.match(sluice(words).stdout, /^Usage: sluice migrate [\s\S]*--config <file>/);
  }
});

test('a Node.js that is too old gets one message before any modern syntax is parsed', () => {
  const pretend = (version: string) =>
    `data:text/javascript,Object.defineProperty(process,'versions',{value:{...process.versions,node:'${version}'}})`;
  assert.deepEqual(sluice(['serve'], { nodeFlags: ['--import', pretend('20.20.2')] }), {
    code: 1,
    stdout: '',
    stderr: 'Sluice needs Node.js >=24.18.1 <25 || >=26.5.1, this is 20.20.2.\n',
  });
  const source = readFileSync(join(ROOT, 'src/cli.ts'), 'utf8');
  const imported = [...source.matchAll(/^import (?!type\b)[^;]* from '([^']+)'/gm)].map((match) => match[1]);
  assert.deepEqual(imported, ['./config/node-version.ts']);
  assert.doesNotMatch(readFileSync(join(ROOT, 'src/config/node-version.ts'), 'utf8'), /^import /m);
});

test('the accepted range of Node.js is that of package.json', () => {
  assert.equal(JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).engines.node, NODE_RANGE);
  for (const version of ['24.18.1', '24.18.2', '24.19.0', '26.5.1', '26.6.0', '27.0.0', '26.10.0']) {
    assert.equal(nodeProblem(version), null, version);
  }
  for (const version of ['18.20.0', '22.99.9', '24.18.0', '24.9.9', '25.9.9', '26.5.0', '26.4.9']) {
    assert.match(nodeProblem(version) ?? '', /needs Node\.js/, version);
  }
});

test('migrate up, status and down work on the embedded database', (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'a.yaml'), 'pools: { app: { backends: [{ url: "http://127.0.0.1:1" }] } }\n');
  const migrate = (...words: string[]) => sluice(['migrate', ...words, '--config', 'a.yaml'], { cwd });
  for (const words of [['status'], ['down'], ['down', '--yes']])
    assert.deepEqual(migrate(...words), { code: 0, stdout: 'no database yet\n', stderr: '' });
  assert.deepEqual(readdirSync(cwd), ['a.yaml'], 'a look made something');
  const up = migrate();
  assert.deepEqual([up.code, up.stderr], [0, '']);
  // The database of what ships is a copy in which all steps are applied.
  assert.match(up.stdout, /^((applied \d{4}_\w+\n)+|up to date\n)$/);
  assert.deepEqual(migrate('up'), { code: 0, stdout: 'up to date\n', stderr: '' });
  assert.match(migrate('status').stdout, /^(\d{4}_\w+: applied \d{4}-\S+Z\n)+$/);
  const refused = migrate('down');
  assert.deepEqual([refused.code, refused.stdout], [2, '']);
  assert.match(
    refused.stderr,
    /undoes 0006_audit_grpc_status and drops what its tables hold for good: The status of gRPC.*--yes --step 0006_audit_grpc_status/s,
  );
  assert.equal(migrate('up').stdout, 'up to date\n', 'nothing was undone');
  const named = ['down', '--yes', '--step', '0006_audit_grpc_status'];
  assert.equal(migrate(...named).stdout, 'undone 0006_audit_grpc_status\n');
  const again = migrate(...named);
  assert.equal(again.code, 1);
  assert.match(
    again.stderr,
    /the last step is 0005_audit_requests, not 0006_audit_grpc_status: nothing was undone/,
  );
  assert.match(migrate('status').stdout, /\d{4}_\w+: pending\n$/);
  assert.equal(migrate('up').stdout, 'applied 0006_audit_grpc_status\n');
});

test('migrate takes --step with down only', () => {
  for (const action of ['up', 'status']) {
    const { code, stdout, stderr } = sluice(['migrate', action, '--step', '0001_clients']);
    assert.deepEqual([code, stdout], [2, '']);
    assert.equal(stderr, 'sluice: --step goes with down only\nTry: sluice migrate --help\n');
  }
});

test('migrate on a folder in use, or without the server, prints the reason and exits 1', async (t) => {
  const cwd = tempFolder(t);
  writeFileSync(join(cwd, 'a.yaml'), 'pools: { app: { backends: [{ url: "http://127.0.0.1:1" }] } }\n');
  const unlock = lockFolder(join(cwd, 'data/postgres'), 'sluice serve');
  t.after(unlock);
  const locked = sluice(['migrate', '--config', 'a.yaml'], { cwd });
  assert.deepEqual([locked.code, locked.stdout], [1, '']);
  assert.match(locked.stderr, /^sluice: .*sluice serve.*\n$/);
  const away = sluice(['migrate', '--config', 'a.yaml'], {
    cwd,
    env: { DATABASE_URL: 'postgres://127.0.0.1:1/x' },
  });
  assert.deepEqual([away.code, away.stdout], [1, '']);
  assert.match(away.stderr, /^sluice: .*ECONNREFUSED/);
});

test('migrate status and down on a database folder that cannot be looked at print the reason and exit 1', (t) => {
  const cwd = tempFolder(t);
  symlinkSync('loop', join(cwd, 'loop'));
  writeFileSync(
    join(cwd, 'a.yaml'),
    'pools: { app: { backends: [{ url: "http://127.0.0.1:1" }] } }\ndatabase: { embeddedPath: loop }\n',
  );
  for (const action of ['status', 'down']) {
    const { code, stdout, stderr } = sluice(['migrate', action, '--config', 'a.yaml'], { cwd });
    assert.deepEqual([code, stdout], [1, ''], stderr);
    assert.match(stderr, /^sluice: cannot lock the folder .*ELOOP.*\n$/);
  }
});

test('on a standard output that is full each command says so in one sentence and exits 1', () => {
  const full = openSync('/dev/full', 'w');
  for (const words of [
    ['check', '--config', LOCAL],
    ['version'],
    ['--version'],
    ['--help'],
    ['migrate', '-h'],
  ]) {
    const { status, stderr } = spawnSync(process.execPath, [CLI, ...words], {
      cwd: ROOT,
      encoding: 'utf8',
      timeout: RUN_MS,
      env: { PATH, HOME, NODE_COMPILE_CACHE },
      stdio: ['ignore', full, 'pipe'],
    });
    assert.equal(status, 1, words.join(' '));
    assert.match(stderr, /^sluice: cannot write to standard output: ENOSPC: [^\n]*\n$/);
  }
});

test('a command whose reader has closed the pipe ends without a word', () => {
  // The reader ends before the command begins.
  const script = '{ sleep 0.3; "$@"; echo "code $?" >&2; } | true';
  for (const words of [['check', '--config', LOCAL], ['version'], ['--help']]) {
    const { stdout, stderr } = spawnSync('/bin/sh', ['-c', script, 'sh', process.execPath, CLI, ...words], {
      cwd: ROOT,
      encoding: 'utf8',
      timeout: RUN_MS,
      env: { PATH, HOME, NODE_COMPILE_CACHE },
    });
    assert.deepEqual({ stdout, stderr }, { stdout: '', stderr: 'code 0\n' }, words.join(' '));
  }
});
