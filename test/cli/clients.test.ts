// biome-ignore-all lint/suspicious/noTemplateCurlyInString: references to variables are what is tested
/** `sluice clients` in its own process, against a real admin port with clients in memory. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { appendFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { callAdmin } from '../../src/cli/admin-client.ts';
import { findTarget } from '../../src/cli/session.ts';
import { LbError } from '../../src/contract/errors.ts';
import { startAdmin } from '../primary/admin/harness.ts';
import { runToEnd } from '../support/child.ts';
import { CLI } from '../support/product.ts';
import { type Run, runSluice as sluice } from '../support/run-sluice.ts';
import { makeTempFolder, tempFolder } from '../support/temp-folder.ts';

/** A folder with a configuration for the given admin port. */
function configFor(t: TestContext, port: number, token: string): string {
  const folder = tempFolder(t, 'sluice-clients-');
  const path = join(folder, 'sluice.yaml');
  writeFileSync(
    path,
    `admin: { address: "127.0.0.1:${port}", token: "${token}" }\npools: { app: { backends: [{ url: "http://127.0.0.1:1" }] } }\n`,
  );
  return path;
}

test('clients are set, listed, read and deleted with the address and the token of the configuration', async (t) => {
  const admin = await startAdmin(t, { settings: { token: 'tok' } });
  const config = configFor(t, admin.port, 'tok');
  const clients = (...words: string[]) => sluice(t, ['clients', ...words, '--config', config]);
  const made = await clients('set', '10.1.2.3/8', '--capacity', '100', '--refill-per-second', '2.5');
  assert.deepEqual(made, {
    code: 0,
    out: 'client           10.0.0.0/8\nmode             limit\ncapacity         100\nrefillPerSecond  2.5',
    err: '',
  });
  await Promise.all([
    clients('set', 'acme', '--mode', 'blocked', '--policy-limit', 'gold=1000/50'),
    clients('set', '10.0.0.0/8', '--mode', 'unlimited'),
  ]);
  admin.parts.seen.set('10.0.0.0/8', '2026-12-01T06:00:00Z');
  const [listed, json, one, nothing, network] = await Promise.all([
    clients('list'),
    clients('list', '--json'),
    sluice(t, ['--config', config, 'clients', 'get', 'acme', '--json']),
    clients('list-keys', 'acme', '--json'),
    clients('get', '10.0.0.0/8'),
  ]);
  assert.equal(network.out.split('\n').at(-1), 'last seen        2026-12-01T06:00:00Z');
  assert.deepEqual(listed.out.split('\n'), [
    'CLIENT      MODE       CAPACITY  REFILL/S  LAST SEEN             LIMITS OF OTHER POLICIES',
    '10.0.0.0/8  unlimited  100       2.5       2026-12-01T06:00:00Z',
    'acme        blocked    -         -         -                     gold=1000/50',
  ]);
  const acme = {
    clientId: 'acme',
    mode: 'blocked',
    capacity: null,
    refillPerSecond: null,
    limits: { gold: { capacity: 1000, refillPerSecond: 50 } },
  };
  assert.deepEqual(JSON.parse(one.out), acme);
  assert.deepEqual(JSON.parse(json.out).slice(1), [acme]);
  assert.deepEqual([nothing.code, nothing.out], [0, '[]']);
  const bare = await clients('set', 'acme', '--no-limits', '--mode', 'limit', '--json');
  assert.deepEqual(JSON.parse(bare.out), { ...acme, mode: 'limit', limits: {} });
  assert.deepEqual(await clients('delete', 'acme'), { code: 0, out: 'deleted acme', err: '' });
  assert.equal(admin.parts.clients.rows.size, 1);
});

test('set does not replace a client that somebody else makes at the same time', async (t) => {
  const admin = await startAdmin(t);
  const { clients } = admin.parts;
  const theirs = { mode: 'blocked', capacity: null, refillPerSecond: null, limits: {} } as const;
  clients.patch = () => {
    clients.rows.set('acme', theirs);
    return Promise.reject(new LbError('client_not_found', 'a moment ago'));
  };
  const { code, err } = await sluice(t, [
    'clients',
    'set',
    'acme',
    '--mode',
    'unlimited',
    '--admin',
    admin.url,
  ]);
  assert.deepEqual([code, err], [1, 'sluice: a client with this clientId exists already (409)']);
  assert.deepEqual(clients.rows.get('acme'), theirs);
});

test('a list continues over all pages', async (t) => {
  const admin = await startAdmin(t);
  const input = { mode: 'limit', capacity: null, refillPerSecond: null, limits: {} } as const;
  for (let i = 0; i < 1001; i++) admin.parts.clients.rows.set(`client-${i}`, input);
  const { out } = await sluice(t, ['clients', 'list', '--json', '--admin', admin.url]);
  assert.equal(JSON.parse(out).length, 1001);
  const words = ['clients', 'list', '--prefix', 'client-99', '--limit', '3', '--admin', admin.url];
  const some = await sluice(t, words);
  assert.deepEqual(some.out.match(/^client-\S+/gm), ['client-99', 'client-990', 'client-991']);
  assert.equal(some.err, 'sluice: there are more clients');
});

test('a key is issued on standard output alone, listed and revoked', async (t) => {
  const admin = await startAdmin(t, { settings: { token: 'tok' } });
  const env = { SLUICE_ADMIN_TOKEN: 'tok' };
  const clients = (...words: string[]) => sluice(t, ['clients', ...words, '--admin', admin.url], { env });
  const input = { mode: 'limit', capacity: null, refillPerSecond: null, limits: {} } as const;
  admin.parts.clients.rows.set('acme', input);
  const issued = await clients('issue-key', 'acme', '--name', 'ci');
  assert.deepEqual(issued, { code: 0, out: 'secret-1-key', err: 'sluice: key k1 of acme, shown this once' });
  const second = await clients('issue-key', 'acme', '--json');
  assert.equal(JSON.parse(second.out).key, 'secret-2-key');
  const [revoked, unknown] = await Promise.all([
    clients('revoke-key', 'acme', 'k2'),
    clients('revoke-key', 'acme', 'k9'),
  ]);
  assert.deepEqual([revoked.code, revoked.out], [0, 'revoked k2']);
  assert.deepEqual(unknown, { code: 1, out: '', err: 'sluice: the client has no key with this keyId (404)' });
  assert.deepEqual((await clients('list-keys', 'acme')).out.split('\n'), [
    'KEY ID  CREATED                   NAME',
    'k1      1970-01-01T00:00:00.001Z  ci',
  ]);
});

test('a new key that cannot be written is reported as lost, with its id, and exits 1', async (t) => {
  const admin = await startAdmin(t);
  const input = { mode: 'limit', capacity: null, refillPerSecond: null, limits: {} } as const;
  admin.parts.clients.rows.set('acme', input);
  const words = [CLI, 'clients', 'issue-key', 'acme', '--admin', admin.url];
  const lost = /^sluice: key k\d of acme could not be written and is lost: revoke it .*revoke-key/;
  for (const [script, last] of [
    ['"$@" >/dev/full', /ENOSPC/],
    ['"$@" --json >/dev/full', /ENOSPC/],
    // The reader ends before the command begins.
    ['{ sleep 0.3; "$@"; echo "code $?" >&2; } | true', /^code 1$/],
  ] as const) {
    const run = await runToEnd('/bin/sh', ['-c', script, 'sh', process.execPath, ...words]);
    assert.match(run.stderr[0] ?? '', lost);
    assert.match(run.stderr[1] ?? '', last);
    assert.equal(run.stderr.length, 2, run.stderr.join('\n'));
    if (last.source === 'ENOSPC') assert.equal(run.code, 1);
  }
});

test('the name of a key neither steers the terminal nor breaks the list', async (t) => {
  const admin = await startAdmin(t);
  const input = { mode: 'limit', capacity: null, refillPerSecond: null, limits: {} } as const;
  admin.parts.clients.rows.set('acme', input);
  const body = { name: '\u001b]0;mine\u0007\nk9 \u202egnol\u009b' };
  await admin.call({ method: 'POST', path: '/api/v1/clients/acme/keys', body });
  const { out } = await sluice(t, ['clients', 'list-keys', 'acme', '--admin', admin.url]);
  assert.equal(out.split('Z  ')[1], String.raw`\u{1b}]0;mine\u{7}\u{a}k9 \u{202e}gnol\u{9b}`);
  const { out: json } = await sluice(t, ['clients', 'list-keys', 'acme', '--json', '--admin', admin.url]);
  assert.match(json, /gnol\\u009b"/);
});

test('the token of the environment goes before that of the file, and a file that cannot be read is no dead end', async (t) => {
  const admin = await startAdmin(t, { settings: { token: 'tok' } });
  const words = ['clients', 'list', '--config', configFor(t, admin.port, 'changed')];
  const [refused, taken, missing] = await Promise.all([
    sluice(t, words),
    sluice(t, words, { env: { SLUICE_ADMIN_TOKEN: 'tok' } }),
    sluice(t, ['status', '--config', '/nowhere/sluice.yaml']),
  ]);
  assert.match(refused.err, /refuses the token: .*; a change of admin\.token needs a restart of the process/);
  assert.deepEqual([taken.code, taken.err], [0, '']);
  assert.deepEqual([missing.code, missing.out], [2, '']);
  assert.match(missing.err, /sluice\.yaml: .*\ngive --admin URL to ask a running Sluice/);
});

test('a token that is none is named by where it was given, never by the file', async (t) => {
  const port = 9911;
  const env = { SLUICE_ADMIN_TOKEN: 'a b c' };
  const rule = 'must be at most 512 visible ASCII characters without spaces\nTry: sluice status --help';
  for (const target of [
    ['--config', configFor(t, port, 'of-the-file')],
    ['--admin', `http://127.0.0.1:${port}`],
  ]) {
    const [ofVariable, ofOption] = await Promise.all([
      sluice(t, ['status', ...target], { env }),
      sluice(t, ['status', '--token', 'ä', ...target], { env }),
    ]);
    assert.deepEqual([ofVariable.code, ofVariable.err], [2, `sluice: SLUICE_ADMIN_TOKEN ${rule}`]);
    assert.deepEqual([ofOption.code, ofOption.err], [2, `sluice: --token ${rule}`]);
  }
});

test('an admin port on every address is called at 127.0.0.1', async () => {
  const text = 'admin: { address: ":9911", token: a-token-of-24-characters }\n';
  for (const address of [':9911', '[::]:9911', '0.0.0.0:9911']) {
    const folder = makeTempFolder();
    writeFileSync(join(folder, 'a.yaml'), text.replace(':9911', address));
    const target = await findTarget({}, join(folder, 'a.yaml'));
    assert.ok('url' in target, JSON.stringify(target));
    assert.equal(target.url, 'http://127.0.0.1:9911');
  }
});

test('refusals of the admin port, and a port without one, end with a message and exit 1', async (t) => {
  const admin = await startAdmin(t, { settings: { token: 'tok' } });
  const stranger = createServer((_request, response) => response.end('hello')).listen(0, '127.0.0.1');
  await once(stranger, 'listening');
  t.after(() => stranger.close());
  const at = (url: string, ...words: string[]) => sluice(t, ['clients', ...words, '--admin', url]);
  const cases: [Promise<Run>, RegExp][] = [
    [at(admin.url, 'list'), /^sluice: the admin port at http:\S+ wants a token: see .*SLUICE_ADMIN_TOKEN/],
    [
      at(admin.url, 'get', 'nobody', '--token', 'tok'),
      /^sluice: there is no client with this clientId \(404\)$/,
    ],
    [at('http://127.0.0.1:1', 'list'), /cannot be reached: nothing listens there \(ECONNREFUSED\)$/],
  ];
  for (const [run, sentence] of cases) {
    const { code, out, err } = await run;
    assert.deepEqual([code, out], [1, ''], err);
    assert.match(err, sentence);
  }
  const call = { method: 'PATCH', path: '/api/v1/clients/a', body: { capacity: 0 } } as const;
  const refused = (url: string, token: string | null) => callAdmin({ url, token }, call);
  await assert.rejects(refused(admin.url, 'x'), { status: 401, message: /refuses the token/ });
  await assert.rejects(refused(admin.url, 'tok'), { status: 422, message: /^capacity: .* \(422\)$/ });
  const port = (stranger.address() as AddressInfo).port;
  await assert.rejects(
    refused(`http://127.0.0.1:${port}`, null),
    /did not answer with JSON: is it the admin port\?$/,
  );
});

test('wrong arguments get a message, a hint and exit 2', async (t) => {
  const cases: [string[], string][] = [
    [['get'], "missing required argument 'client'"],
    [['get', ''], "command-argument value '' is invalid for argument 'client'"],
    [['revoke-key', 'acme'], "missing required argument 'key-id'"],
    [['list', 'acme'], "too many arguments for 'list'"],
    [['get', 'acme', '--capacity', '1'], "unknown option '--capacity'"],
    [
      ['set', 'acme', '--capacity', 'many'],
      "option '--capacity <n>' argument 'many' is invalid. It must be a number.",
    ],
    [['set', 'acme', '--mode', 'open'], "option '--mode <mode>' argument 'open' is invalid"],
    [['set', 'acme', '--no-limits', '--capacity', '1'], '--no-limits cannot be combined with limits'],
    [['list', '--colour'], "unknown option '--colour'"],
    [['create'], "unknown command 'create'"],
    [['lst'], "unknown command 'lst'\n(Did you mean list?)"],
    ...['gold', 'gold=1', '=1/1', 'gold=/1', 'gold=1/x'].map((limit): [string[], string] => [
      ['set', 'acme', '--policy-limit', limit],
      `option '--policy-limit <policy=n/r>' argument '${limit}' is invalid`,
    ]),
  ];
  const runs = await Promise.all(cases.map(([words]) => sluice(t, ['clients', ...words])));
  for (const [at, { code, out, err }] of runs.entries()) {
    assert.deepEqual([code, out], [2, ''], err);
    assert.ok(err.startsWith(`sluice: ${cases[at]?.[1]}`), err);
    assert.match(err, /\nTry: sluice clients( [a-z-]+)? --help$/);
  }
});

test('a wrong command line or configuration exits 2, and --help exits 0', async (t) => {
  const [url, config, help, word, helpWord, inner, helpInner, nothing] = await Promise.all([
    sluice(t, ['clients', 'list', '--admin', '127.0.0.1:9900']),
    sluice(t, ['clients', 'list', '--config', 'none.yaml']),
    sluice(t, ['clients', '--help']),
    sluice(t, ['clients', 'help']),
    sluice(t, ['help', 'clients']),
    sluice(t, ['clients', 'set', '--help']),
    sluice(t, ['help', 'clients', 'set']),
    sluice(t, ['clients']),
  ]);
  assert.deepEqual([url?.code, config?.code, help?.code, inner?.code, nothing?.code], [2, 2, 0, 0, 2]);
  assert.deepEqual([word?.code, word?.out], [0, help?.out]);
  assert.deepEqual([helpWord?.code, helpWord?.out], [0, help?.out]);
  assert.deepEqual([helpInner?.code, helpInner?.out], [0, inner?.out]);
  assert.match(url?.err ?? '', /^sluice: --admin must be a URL like/);
  assert.match(config?.err ?? '', /^none\.yaml: the file does not exist\n/);
  assert.match(help?.out ?? '', /^Usage: sluice clients .*\n[\s\S]*\n {2}bucket /);
  assert.match(inner?.out ?? '', /^Usage: sluice clients set [\s\S]*--no-limits[\s\S]*--config <file>/);
});

test('a configuration that is not YAML is exit 2, not a call to the default address', async (t) => {
  const path = configFor(t, 1, 'tok');
  appendFileSync(path, 'routes: [\n');
  const { code, err } = await sluice(t, ['clients', 'list', '--config', path]);
  assert.equal(code, 2, err);
  assert.match(err, /sluice\.yaml:\d+: not valid YAML: /);
});

test('empty lists print that they are empty', async (t) => {
  const admin = await startAdmin(t);
  assert.equal((await sluice(t, ['clients', 'list', '--admin', admin.url])).out, 'no clients');
});

test('clients reads only the admin section of the configuration, and of its environment variables those of the address and the token', async (t) => {
  const admin = await startAdmin(t, { settings: { token: 'tok' } });
  const path = configFor(t, admin.port, '${SLUICE_TEST_TOKEN}", readToken: "${SLUICE_TEST_UNSET}');
  appendFileSync(path, 'redis: { url: "${SLUICE_TEST_UNSET}" }\nroutes: nonsense\n');
  const list = (words: string[], env: Record<string, string> = {}) =>
    sluice(t, ['clients', 'list', '--config', path, ...words], { env });
  const [given, asked, unset] = await Promise.all([
    list([], { SLUICE_TEST_TOKEN: 'tok' }),
    list(['--token', 'tok']),
    list([]),
  ]);
  assert.deepEqual(given, { code: 0, out: 'no clients', err: '' });
  assert.deepEqual(asked, given);
  assert.equal(unset?.code, 2);
  assert.match(unset?.err ?? '', /:1: admin\.token: the environment variable SLUICE_TEST_TOKEN is not set/);
});
