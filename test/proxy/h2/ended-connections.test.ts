import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test } from 'node:test';
import { makeLogger } from '../../../src/infra/logging/logger.ts';
import { connectFrames, frame, number32, PREFACE, settings, TYPES } from '../../support/h2-frames.ts';
import { waitFor } from '../../support/wait.ts';
import { startCapturingBackend } from '../capturing-backend.ts';
import { startProxy } from '../support.ts';

test('why a connection was ended is logged, each kind once per second', async (t) => {
  const lines: { kind: string; clientIp: string; msg: string }[] = [];
  const out = { write: (line: string) => lines.push(JSON.parse(line)) };
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, {
    backends: [backend],
    h2c: true,
    logger: makeLogger({ level: 'info', format: 'json' }, { out }),
  });
  const pings = Buffer.concat(Array.from({ length: 300 }, () => frame(TYPES.ping, 0, 0, Buffer.alloc(8))));
  const wrong = frame(TYPES.window, 0, 0, number32(0));
  for (const bytes of [wrong, wrong, pings]) {
    const client = await connectFrames(proxy.url);
    t.after(() => client.close());
    client.send(bytes);
    await client.raw.waitForClose();
  }
  const said = lines.filter(({ msg }) => msg === 'HTTP/2 connection ended for what its client sent');
  assert.deepEqual(
    said.map(({ kind, clientIp }) => [kind, clientIp]),
    [
      ['WINDOW_UPDATE by 0', '127.0.0.1'],
      ['flood: ping', '127.0.0.1'],
    ],
  );
});

test('a connection that was ended counts until its socket is closed, two seconds at most', async (t) => {
  const backend = await startCapturingBackend(t);
  const proxy = await startProxy(t, { backends: [backend], h2c: true });
  // It closes its side only when it is told to.
  const holder = connect({ port: Number(new URL(proxy.url).port), host: '127.0.0.1', allowHalfOpen: true });
  t.after(() => holder.destroy());
  holder.write(Buffer.concat([Buffer.from(PREFACE), settings(), frame(TYPES.window, 0, 0, number32(0))]));
  holder.resume();
  await once(holder, 'end');
  assert.equal(proxy.server.connectionCount, 1);
  await waitFor('the end of the socket', () => proxy.server.connectionCount === 0);
});
