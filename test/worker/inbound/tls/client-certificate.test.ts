/** What a worker makes of the certificate of a client, where node's own checks would not be enough. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { clientSubject } from '../../../../src/worker/inbound/tls/client-certificate.ts';

const socketWith = (getPeerX509Certificate: () => unknown) =>
  ({ authorized: true, getPeerX509Certificate }) as unknown as TLSSocket;

test('a client without a certificate is refused where one is required, whatever node has let through', () => {
  const without = socketWith(() => undefined);
  assert.deepEqual(clientSubject(without, 'require'), { problem: 'no_client_certificate' });
  assert.deepEqual(clientSubject(without, 'optional'), { name: null });
});

test('a certificate that cannot be read fails the handshake, and does not throw', () => {
  const validToDate = new Date(Date.now() + 1_000);
  const cause = new Error('unreadable');
  const unreadable = [
    () => {
      throw cause;
    },
    () => ({ validToDate, subject: 1 }),
  ];
  const found = unreadable.map((read) => clientSubject(socketWith(read), 'optional'));
  for (const subject of found)
    assert.equal('problem' in subject && subject.problem, 'unreadable_certificate');
  assert.equal('problem' in found[0]! && found[0].cause, cause);
});

test('a subject that does not fit into a head fails the handshake', () => {
  const long = socketWith(() => ({
    validToDate: new Date(Date.now() + 1_000),
    subject: `CN=${'x'.repeat(3_000)}`,
  }));
  assert.deepEqual(clientSubject(long, 'require'), { problem: 'subject_too_long' });
});
