/** The Debian package: installed by dpkg in a copy of this machine, served from, updated and removed. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ask, startNamed } from '../cluster/support.ts';
import { runToEnd, spawnChild } from '../support/child.ts';
import { docCommands } from '../support/doc-example.ts';
import { COPY_OF_MACHINE, canJail, Jail } from '../support/jail.ts';
import { builtDist } from '../support/made-once.ts';
import { makeTempFolder, tempFolder } from '../support/temp-folder.ts';
import { hasTool } from '../support/tools.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
/** Of Debian; that of the tests may be another one. */
const USUAL_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

let deb = '';

before(async () => {
  if (!existsSync('/usr/bin/dpkg-deb')) return;
  const into = makeTempFolder('sluice-debian-');
  // Uncompressed: xz takes a minute.
  const words = [`--dist=${await builtDist()}`, `--into=${into}`, '--compression=none'];
  const made = await runToEnd(process.execPath, [join(ROOT, 'scripts/deb.ts'), ...words]);
  assert.equal(made.code, 0, made.stderr.join('\n'));
  deb = made.stdout[0] ?? '';
});

/** A copy of this machine in which a systemd seems to run: its calls are written down, and the policy forbids each start. */
async function machine(t: TestContext) {
  const folder = tempFolder(t);
  mkdirSync(join(folder, 'jail'));
  const jail = await Jail.make(t, COPY_OF_MACHINE, [join(folder, 'jail')]);
  const run = async (line: string, user?: number) => {
    const ran = await runToEnd(...jail.command(['sh', '-euc', line], user), {
      env: { CONFIG_PATH: undefined, PATH: USUAL_PATH },
    });
    assert.equal(ran.code, 0, `${line}\n${[...ran.stdout, ...ran.stderr].join('\n')}`);
    return ran.stdout;
  };
  await run(`
    mkdir -p /run/systemd/system /usr/local/bin
    printf '#!/bin/sh\\ncase "$*" in *MainPID*) exec cat /main-pid;; esac\\necho "$@" >> /asked-systemd\\n' > /usr/local/bin/systemctl
    printf '#!/bin/sh\\necho "$@" >> /asked-policy; exit 101\\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/local/bin/systemctl /usr/sbin/policy-rc.d; : > /asked-systemd; : > /asked-policy`);
  return { jail, run, asked: () => run('cat /asked-systemd; : > /asked-systemd') };
}

const QUESTION = /^(is-active|is-enabled|show|daemon-reload)\b/;

test('the package has what it needs, its configuration as a conffile, and belongs to root', async (t) => {
  if (!hasTool(t, 'dpkg-deb')) return;
  const listed = (await runToEnd('dpkg-deb', ['--contents', deb])).stdout;
  const modes = new Map(
    listed.map((line) => {
      const [mode = '', owner = '', , , , path = ''] = line.split(/\s+/);
      return [path, `${mode} ${owner}`];
    }),
  );
  assert.deepEqual(
    [...modes].filter(([, mode]) => !/^([-d]rw[-x]r-[-x]r-[-x]|lrwxrwxrwx) root\/root$/.test(mode)),
    [],
  );
  for (const path of [
    ...['usr/bin/sluice', 'usr/lib/sluice/node_modules/.bin/node', 'etc/sluice/sluice.yaml'],
    ...['usr/share/bash-completion/completions/sluice', 'usr/share/zsh/vendor-completions/_sluice'],
  ])
    assert.ok(modes.has(`./${path}`), path);
  for (const path of ['usr/lib/sluice/src/', 'usr/lib/sluice/node_modules/typescript/', 'var/'])
    assert.equal(modes.has(`./${path}`), false, path);
  for (const path of ['docs/runbook.md', 'docs/images/overview-light.png', 'docs/benchmarks.svg'])
    assert.ok(modes.has(`./usr/share/doc/sluice/${path}`), path);
  const [conffiles] = (await runToEnd('dpkg-deb', ['--info', deb, 'conffiles'])).stdout;
  assert.equal(conffiles, '/etc/sluice/sluice.yaml');
});

test('Node.js needs no library beyond those of the packages that this one depends on', async (t) => {
  if (!hasTool(t, 'dpkg-deb')) return;
  const linked = (await runToEnd('ldd', [process.execPath])).stdout;
  const names = linked.map((line) => /(?:^|\/)((?:lib|ld-)[a-z_+-]+)/.exec(line.trim())?.[1]);
  const C = ['libc', 'libdl', 'libm', 'libpthread', 'ld-linux-x', 'ld-linux-aarch'];
  const known = [...C, 'libstdc++', 'libgcc_s', 'libatomic', undefined];
  assert.deepEqual(
    names.filter((name) => !known.includes(name)),
    [],
  );
});

test('dpkg installs it without starting anything, it serves as its own user, and an update keeps the configuration', async (t) => {
  if (!hasTool(t, 'dpkg-deb') || !hasTool(t, 'systemd-analyze') || !canJail(t)) return;
  const { jail, run, asked } = await machine(t);
  const [install = '', check = '', enable = ''] = docCommands('deploy.md', 'Debian and Ubuntu').map((line) =>
    line.replace('./sluice_VERSION_ARCHITECTURE.deb', deb),
  );
  await run(install);
  assert.deepEqual(
    (await asked()).filter((call) => !QUESTION.test(call)),
    [],
  );
  const [user = ''] = await run('id -u sluice');
  assert.ok(Number(user) > 0 && Number(user) < 1000, 'a system user');
  assert.deepEqual(await run('stat -c %U:%G:%a /var/lib/sluice'), ['sluice:sluice:700']);
  await run(
    'systemd-analyze verify --man=no /usr/lib/systemd/system/sluice.service /usr/lib/systemd/system/sluice.socket',
  );

  const backend = await startNamed('a');
  t.after(() => backend.close());
  await run(
    `sed -i 's|":80"|"127.0.0.1:0"|; s|127.0.0.1:9900|127.0.0.1:0|; s|http://127.0.0.1:8080|${backend.url}|' /etc/sluice/sluice.yaml`,
  );
  assert.deepEqual(await run('sluice version', Number(user)), [version]);
  await run('bash -n /usr/share/bash-completion/completions/sluice');
  assert.equal((await run(check, Number(user))).at(-1), 'ok');
  await run(enable);
  assert.deepEqual(await asked(), ['enable --now sluice']);
  assert.deepEqual(await run('cd /var/lib/sluice && sluice migrate status', Number(user)), [
    'no database yet',
  ]);
  const start = 'cd /var/lib/sluice && exec sluice serve --config /etc/sluice/sluice.yaml';
  const child = spawnChild(...jail.command(['sh', '-c', start], Number(user)), { env: { PATH: USUAL_PATH } });
  t.after(() => child.kill());
  const { addresses } = JSON.parse(await child.waitForLine('"msg":"ready"')) as {
    addresses: string[];
  };
  assert.equal((await ask(addresses[0] ?? '')).text, 'a');
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8');
  assert.match(status, new RegExp(`^Uid:\\t${user}\\t`, 'm'));
  assert.match(status, /^NoNewPrivs:\t1$/m);
  assert.deepEqual(await child.stop('SIGINT', 15_000), { code: 0, signal: null });

  await asked();
  await run(`dpkg -i ${deb}`);
  assert.deepEqual(
    (await asked()).filter((call) => !QUESTION.test(call)),
    [],
    'the policy forbids it',
  );
  assert.deepEqual(await run('cat /asked-policy'), ['sluice restart']);
  await run('rm /usr/sbin/policy-rc.d');
  const configure = `/var/lib/dpkg/info/sluice.postinst configure ${version} 2>&1`;
  const told = /goes on with the old version.*: systemctl restart sluice$/;
  assert.match((await run(`echo 0 > /main-pid; ${configure}`)).join('\n'), told, 'between two processes');
  const service = spawnChild('sh', [
    '-c',
    'trap "echo told; exit" USR2; echo up; while :; do sleep 0.1; done',
  ]);
  t.after(() => service.kill());
  await service.waitForLine('up');
  assert.deepEqual(await run(`echo ${service.pid} > /main-pid; ${configure}`), []);
  await service.waitForLine('told');
  assert.equal((await run('grep -c 127.0.0.1:0 /etc/sluice/sluice.yaml'))[0], '2');

  await run('dpkg -r sluice');
  assert.match((await asked()).join('\n'), /^stop sluice\.socket sluice\.service$/m);
  assert.deepEqual(await run('ls /etc/sluice /usr/lib/sluice 2>/dev/null || true'), [
    '/etc/sluice:',
    'sluice.yaml',
  ]);
  await run('touch /etc/sluice/sluice.env; dpkg -P sluice');
  assert.deepEqual(
    await run('ls -d /etc/sluice /var/lib/sluice /usr/lib/sluice /usr/bin/sluice 2>/dev/null || true'),
    [],
  );
});
