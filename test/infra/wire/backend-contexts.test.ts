/** The contexts of TLS towards backends, which are dear where an authority's file is a whole bundle. */
import assert from 'node:assert/strict';
import { syncBuiltinESMExports } from 'node:module';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { BackendTls } from '../../../src/infra/wire/backend-tls.ts';
import { Authority } from '../../support/certificates.ts';
import { backendTlsSettings } from '../../support/settings.ts';

const [authority, other] = [new Authority(), new Authority('other')];

/** Counts the contexts that are made from here on. */
function countContexts(t: TestContext): () => number {
  const made = t.mock.method(tls, 'createSecureContext');
  syncBuiltinESMExports();
  t.after(() => {
    made.mock.restore();
    syncBuiltinESMExports();
  });
  return () => made.mock.callCount();
}

test('backends of a pool share one TLS context, and a reload that leaves the files alone makes no other', (t) => {
  const count = countContexts(t);
  const own = authority.issue(['sluice']);
  const reload = (settings: Parameters<typeof backendTlsSettings>[0]) => {
    // As after a message to a worker: equal texts, not the same.
    const read = structuredClone(backendTlsSettings(settings));
    return ['a.example', 'b.example'].map((host) => new BackendTls(host, read));
  };
  const kept = [reload({ ca: authority.root, own })];
  assert.equal(count(), 1);
  kept.push(reload({ ca: authority.root, own, serverName: 'c.example', verify: false }));
  assert.equal(count(), 1, 'name and verification are no part of it');
  kept.push(reload({ ca: other.root, own }));
  kept.push(reload({ ca: authority.root }));
  kept.push(reload({ ca: authority.root, own: authority.issue(['sluice']) }));
  assert.equal(count(), 4, 'other files make other ones');
  kept.push(reload({ ca: authority.root, own }));
  assert.equal(count(), 4);
  assert.equal(kept.flat().length, 12);
});
