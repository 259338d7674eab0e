import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeLogger } from '../../src/infra/logging/logger.ts';
import { startCapturingBackend } from '../proxy/capturing-backend.ts';
import { startProxy } from '../proxy/support.ts';
import { connectFrames, frame, number32, TYPES } from '../support/h2-frames.ts';

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
