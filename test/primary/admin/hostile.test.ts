/** Long texts of hostile characters in every part of an admin call never block the event loop of the primary. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertCheap, hostileTexts } from '../../support/hostile-texts.ts';
import { type Call, startAdmin } from './harness.ts';

const ONE = '/api/v1/clients/acme';
/** Fits into a body of 64 KiB with each character escaped as six. */
const BODY_BYTES = 10 * 1024;
/** Fits into a request head of 16 KiB, percent-encoded where necessary. */
const HEAD_BYTES = 4 * 1024;
/** This thread handles a call three times: as client, server and client again. */
const CALL_MS = 40;

const BODIES: Readonly<Record<string, (text: string) => Call>> = {
  clientId: (text) => ({ method: 'POST', path: '/api/v1/clients', body: { clientId: text } }),
  mode: (text) => ({ method: 'PUT', path: ONE, body: { mode: text } }),
  capacity: (text) => ({ method: 'PUT', path: ONE, body: { capacity: text } }),
  'name of a policy': (text) => ({ method: 'PUT', path: ONE, body: { limits: { [text]: {} } } }),
  'unknown field': (text) => ({ method: 'PATCH', path: ONE, body: { [text]: 1 } }),
  'name of a key': (text) => ({ method: 'POST', path: `${ONE}/keys`, body: { name: text } }),
  'no JSON': (text) => ({
    method: 'PUT',
    path: ONE,
    headers: { 'content-type': 'application/json' },
    body: Buffer.from(text),
  }),
};

const HEADS: Readonly<Record<string, (text: string) => Call>> = {
  path: (text) => ({ path: `/api/v1/clients/${encodeURIComponent(text)}` }),
  'unknown path': (text) => ({ path: encodeURI(`/${text}`) }),
  limit: (text) => ({ path: `/api/v1/clients?limit=${encodeURIComponent(text)}` }),
  after: (text) => ({ path: `/api/v1/clients?after=${encodeURIComponent(text)}` }),
  Host: (text) => ({ path: '/', headers: { host: inField(text) } }),
  Origin: (text) => ({ path: '/', headers: { origin: `http://${inField(text)}` } }),
  Authorization: (text) => ({ path: '/', headers: { authorization: `Bearer ${inField(text)}` } }),
  'Content-Type': (text) => ({
    method: 'PUT',
    path: ONE,
    headers: { 'content-type': inField(text) },
    body: '{}',
  }),
};

/** Line ends are not possible in a header field. */
const inField = (text: string) => text.replaceAll(/[\r\n]/g, ' ');

for (const [calls, bytes] of [
  [BODIES, BODY_BYTES],
  [HEADS, HEAD_BYTES],
] as const) {
  for (const [part, callWith] of Object.entries(calls)) {
    test(`no long text as ${part} of an admin call blocks the loop`, async (t) => {
      const { call } = await startAdmin(t, {
        settings: { token: part === 'Authorization' ? 'secret' : null },
      });
      for (const text of hostileTexts('', bytes)) {
        const sent = callWith(text);
        let status = 0;
        const run = async () => {
          ({ status } = await call(sent));
        };
        await assertCheap(JSON.stringify(sent), run, CALL_MS);
        assert.ok(status >= 200 && status < 500, `${status} for ${JSON.stringify(sent).slice(0, 80)}`);
      }
    });
  }
}
