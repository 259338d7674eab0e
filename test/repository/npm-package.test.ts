/** The package for npm: packed, installed in an empty folder, and served from. */
import assert from 'node:assert/strict';
import {
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ask, startNamed } from '../cluster/support.ts';
import { runToEnd, spawnChild } from '../support/child.ts';
import { docCommands } from '../support/doc-example.ts';
import { builtDist } from '../support/made-once.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MB = 1e6;
/** Without the Node.js of this machine. */
const ENV = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', CONFIG_PATH: undefined, DATABASE_URL: undefined };
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };

let dist = '';

before(async () => {
  dist = await builtDist();
});

test('the licences of all that ships are listed with their texts', () => {
  const notices = readFileSync(join(dist, 'NOTICES.txt'), 'utf8');
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  for (const name of Object.keys(dependencies))
    assert.match(notices, new RegExp(`^${name} \\d\\S+ \\(`, 'm'));
  assert.match(notices, /^node-linux-\S+ \d/m);
  for (const text of ['Permission is hereby granted, free of charge', 'Apache License', 'OpenSSL'])
    assert.ok(notices.includes(text), text);
  assert.equal(/^(typescript|@biomejs\/biome) /m.test(notices), false);
});

test('a worker of the build loads few files, and what a Node.js that is too old has to read is one', () => {
  const filesOf = (path: string, seen = new Set<string>()): Set<string> => {
    if (seen.has(path)) return seen;
    seen.add(path);
    const imports = readFileSync(path, 'utf8').matchAll(/^(?:import|export)\b.*?"(\.[^"]+)";$/gm);
    for (const [, to = ''] of imports) filesOf(join(dirname(path), to), seen);
    return seen;
  };
  const ofWorker = filesOf(join(dist, 'worker/main.js')).size;
  assert.ok(ofWorker > 1 && ofWorker <= 40, `${ofWorker} files, of 250 in src/`);
  assert.equal(filesOf(join(dist, 'cli.js')).size, 1);
});

test('npm pack makes a package that npm installs in an empty folder, with Node.js, and that serves', async (t) => {
  const checkout = tempFolder(t);
  for (const path of ['package.json', 'README.md', 'CHANGELOG.md', 'SECURITY.md', 'LICENSE', '.gitignore'])
    cpSync(join(ROOT, path), join(checkout, path));
  for (const path of ['bin', 'lua', 'migrations', 'config', 'docs', 'test_backs'])
    cpSync(join(ROOT, path), join(checkout, path), { recursive: true });
  cpSync(dist, join(checkout, 'dist'), { recursive: true });
  for (const path of ['src', 'data', '.secrets']) mkdirSync(join(checkout, path));
  for (const path of ['src/cli.ts', '.env', 'data/secret', '.secrets/read-token'])
    writeFileSync(join(checkout, path), '');
  // prepack, which --ignore-scripts leaves out, is `make build`.
  const packed = await runToEnd('npm', ['pack', '--json', '--ignore-scripts'], { cwd: checkout });
  assert.equal(packed.code, 0, packed.stderr.join('\n'));
  const [{ filename, size, unpackedSize, files }] = JSON.parse(packed.stdout.join('\n')) as [
    { filename: string; size: number; unpackedSize: number; files: { path: string }[] },
  ];
  assert.deepEqual([...new Set(files.map(({ path }) => path.split('/')[0]))].sort(), [
    ...['CHANGELOG.md', 'LICENSE', 'README.md', 'SECURITY.md'],
    ...['bin', 'config', 'dist', 'docs', 'lua', 'migrations', 'package.json'],
  ]);
  const paths = files.map(({ path }) => path);
  for (const page of paths.filter((path) => path.endsWith('.md')))
    for (const [, image = ''] of readFileSync(join(checkout, page), 'utf8').matchAll(
      /!\[[^\]]*\]\(([^):]+)\)/g,
    ))
      assert.ok(
        paths.includes(join(dirname(page), image)),
        `${page} shows ${image}, which is to be in "files"`,
      );
  t.diagnostic(`${filename}: ${size} bytes, ${unpackedSize} unpacked`);
  assert.ok(size < 7 * MB && unpackedSize < 50 * MB, `${size} bytes, ${unpackedSize} unpacked`);

  const place = tempFolder(t);
  cpSync(join(checkout, filename), join(place, filename));
  const [install = '', init = '', check = '', serve = ''] = docCommands('deploy.md', 'npm').map((line) =>
    line.replace('VERSION', version),
  );
  const quick = { npm_config_prefer_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false' };
  const installed = await runToEnd('sh', ['-c', install], { cwd: place, env: quick, timeoutMs: 120_000 });
  assert.equal(installed.code, 0, installed.stderr.join('\n'));
  const run = (line: string) => runToEnd('sh', ['-c', line], { cwd: place, env: ENV });
  const said = await run('node_modules/.bin/sluice version');
  assert.deepEqual([said.stdout, said.stderr], [[version], []]);

  const backend = await startNamed('a');
  t.after(() => backend.close());
  const made = await run(`${init.replace('http://127.0.0.1:8080', backend.url)} --listen 127.0.0.1:0`);
  assert.equal(made.code, 0, made.stderr.join('\n'));
  const config = join(place, 'sluice.yaml');
  writeFileSync(config, readFileSync(config, 'utf8').replace('127.0.0.1:9900', '127.0.0.1:0'));
  assert.equal((await run(check)).stdout.at(-1), 'ok');
  const migrate = (action: string) => run(check.replace('check', `migrate ${action}`));
  assert.deepEqual((await migrate('status')).stdout, ['no database yet']);
  const up = await migrate('up');
  assert.deepEqual([up.code, up.stdout, up.stderr], [0, ['up to date'], []], 'the prepared data is shipped');
  const steps = (await migrate('status')).stdout;
  assert.equal(
    steps.length,
    readdirSync(join(ROOT, 'migrations')).filter((name) => name.endsWith('.sql')).length,
  );
  const child = spawnChild('sh', ['-c', `exec ${serve}`], { cwd: place, env: ENV });
  t.after(() => child.kill());
  const { addresses } = JSON.parse(await child.waitForLine('"msg":"ready"')) as {
    addresses: string[];
  };
  assert.equal((await ask(addresses[0] ?? '')).text, 'a');
  assert.ok(readlinkSync(`/proc/${child.pid}/exe`).startsWith(place), 'the Node.js that came with it');
  assert.deepEqual(await child.stop('SIGINT', 15_000), { code: 0, signal: null });
});

test('without a Node.js the installed command says which one is needed', async (t) => {
  const folder = tempFolder(t);
  const place = join(folder, 'node_modules/sluice');
  for (const path of ['bin', 'package.json'])
    cpSync(join(ROOT, path), join(place, path), { recursive: true });
  for (const tool of ['dirname', 'sed']) symlinkSync(`/usr/bin/${tool}`, join(folder, tool));
  const env = { PATH: folder };
  const { code, stderr } = await runToEnd('/bin/sh', [join(place, 'bin/sluice'), 'version'], { env });
  assert.equal(code, 1);
  assert.match(
    stderr.join(),
    /^sluice: no Node\.js found: .* put Node\.js >=24\.18\.1 <25 \|\| >=26\.5\.1 on the PATH$/,
  );
});
