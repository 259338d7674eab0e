/** B13: the time of a connection's first head counts from the accept, whatever comes before the head. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { RawClient } from '../../support/raw-http.ts';
import { localTls, secureSocket } from '../../support/tls.ts';
import { waitFor, within } from '../../support/wait.ts';
import { startProxy, type TestProxy } from '../support.ts';

const LATE = 'HTTP/1.1 408 ';

/** A connection that has not begun after three quarters of its 2 s. @returns when it was opened */
async function lateConnection(proxy: TestProxy): Promise<{ client: RawClient; startMs: number }> {
  const startMs = performance.now();
  const client = await proxy.connect();
  await waitFor('three quarters of the time', () => performance.now() - startMs > 1_500, { everyMs: 50 });
  return { client, startMs };
}

function assertInTime(startMs: number): void {
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs >= 1_990 && tookMs < 3_300, `${tookMs} ms`);
}

test('B13: a PROXY header and the first bytes take their part of the time for the first head', async (t) => {
  const more = { h2c: true, proxyProtocol: ['127.0.0.1/32'], timeouts: { headersMs: 2_000 } };
  const proxy = await startProxy(t, { backends: [{ port: 1 }], ...more });
  for (const begun of ['PRI', 'GET / HTTP/1.1\r\n']) {
    const { client, startMs } = await lateConnection(proxy);
    client.write(`PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n${begun}`);
    await client.waitForBytes(LATE);
    assertInTime(startMs);
    client.close();
  }
});

test('B13: a TLS handshake takes its part of the time for the first head', async (t) => {
  const timeouts = { headersMs: 2_000 };
  const proxy = await startProxy(t, { backends: [{ port: 1 }], tls: localTls().tls, timeouts });
  const http1 = await lateConnection(proxy);
  const client = new RawClient((await secureSocket({ socket: http1.client.socket })) as Socket);
  client.write('GET / HTTP/1.1\r\n');
  await client.waitForBytes(LATE);
  assertInTime(http1.startMs);
  client.close();
  const http2 = await lateConnection(proxy);
  const secure = await secureSocket({ socket: http2.client.socket, ALPNProtocols: ['h2'] });
  const session = connectHttp2('https://localhost', { createConnection: () => secure });
  t.after(() => session.destroy());
  await within(once(session, 'goaway'), 10_000, 'the end');
  assertInTime(http2.startMs);
});
