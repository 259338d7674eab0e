/** Certificates of one machine, beside its folder and the table of all machines. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { AcmeFiles } from '../../../src/primary/acme/files.ts';
import { HeldCertificates } from '../../../src/primary/acme/held-certificates.ts';
import { Authority } from '../../support/certificates.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { keepLog } from '../workers/fixtures/harness.ts';

const NAME = 'one.example';
const authority = new Authority();

/** One machine; the table is what `publish` was last given. */
function makeMachine(t: TestContext, table: { pem: string }) {
  const { logger, lines } = keepLog();
  const files = new AcmeFiles(tempFolder(t), 'https://ca.example/dir');
  const publish = async (_: string, pem: string) => {
    table.pem = pem;
  };
  const held = new HeldCertificates({ files, store: { publish }, onChange: () => undefined, logger });
  const look = async () => {
    held.adopt(NAME, table.pem);
    await held.publishNewer();
  };
  return { held, files, lines, look, pem: () => held.get(NAME)?.pem };
}

test('a certificate that TLS refuses replaces none, neither from the table nor from the folder', async (t) => {
  const { cert, key } = authority.issue([NAME]);
  const table = { pem: key + cert };
  const machine = makeMachine(t, table);
  await machine.look();
  const weak = new Authority('weak', { isWeak: true });
  const refused = weak.issue([NAME], { notAfter: new Date(Date.now() + 7 * 86_400_000) });
  const pem = refused.key + refused.cert + weak.root.cert;
  table.pem = pem;
  await machine.look();
  assert.equal(machine.pem(), key + cert);
  assert.equal(machine.files.certificatePem(NAME), key + cert);
  assert.equal(table.pem, key + cert, 'the other machines get the sound one back');
  assert.match(JSON.stringify(machine.lines), /cannot be used by TLS: OpenSSL says ca key too small/);
  machine.files.saveCertificate(NAME, pem);
  const again = new HeldCertificates({
    files: machine.files,
    store: { publish: async () => undefined },
    onChange: () => undefined,
    logger: keepLog().logger,
  });
  again.load(NAME);
  assert.deepEqual(again.all, []);
});
