/** What workers are told about TLS. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TlsMaterial } from '../../../src/contract/tls.ts';
import { makeLogger } from '../../../src/infra/logging/logger.ts';
import { TlsKeeper } from '../../../src/primary/tls/tls-keeper.ts';
import { Authority } from '../../support/certificates.ts';
import { parseConfig } from '../../support/parse-config.ts';

const authority = new Authority();

function start(tls: object | null) {
  const listen = [{ address: ':8080' }, ...(tls === null ? [] : [{ address: ':8443', tls }])];
  const text = JSON.stringify({ listen, pools: { app: { backends: [{ url: 'http://127.0.0.1:1' }] } } });
  const loaded = parseConfig(text, {});
  assert.ok('settings' in loaded, JSON.stringify(loaded));
  const told: TlsMaterial[] = [];
  const logger = makeLogger({ level: 'fatal', format: 'json' });
  const keeper = new TlsKeeper({
    settings: loaded.settings,
    logger,
    tell: (material) => told.push(material),
  });
  keeper.start();
  return { keeper, told };
}

test('workers get certificates with their names, and 48 bytes of ticket keys that a rotation replaces', (t) => {
  const own = authority.issue(['a.test', 'b.test']);
  const { keeper, told } = start({ certificates: [{ cert: own.certPath, key: own.keyPath }] });
  t.after(() => keeper.close());
  const [first] = told;
  assert.equal(first?.addresses[0]?.address, 1);
  assert.deepEqual(first?.addresses[0]?.certificates, [
    { cert: own.cert, key: own.key, names: ['a.test', 'b.test'] },
  ]);
  assert.equal(Buffer.from(first?.ticketKeys ?? '', 'base64').length, 48);
  keeper.rotate();
  assert.notEqual(told[1]?.ticketKeys, first?.ticketKeys);
  assert.deepEqual(told[1]?.addresses, first?.addresses);
});

test('of two certificates with one first name the shorter time counts', (t) => {
  const day = 24 * 3_600_000;
  const pairs = [2, 1].map((days) =>
    authority.issue(['a.test'], { notAfter: new Date(Date.now() + days * day) }),
  );
  const { keeper } = start({
    certificates: pairs.map(({ certPath: cert, keyPath: key }) => ({ cert, key })),
  });
  t.after(() => keeper.close());
  const [[name, seconds] = ['', 0], ...more] = keeper.expiries();
  assert.deepEqual([name, more], ['a.test', []]);
  assert.ok(seconds > 86_000 && seconds <= 86_400, `${seconds}`);
});

test('without TLS nobody is told anything', () => {
  const { told } = start(null);
  assert.deepEqual(told, []);
});
