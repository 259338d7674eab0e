/** Clients that close their connection with many pipelined requests unread. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRawBackend } from '../../support/backend.ts';
import { waitFor } from '../../support/wait.ts';
import { dataPath, startProxy } from '../support.ts';

const TINY = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const KIB = 1024;

// node:http parses pipelined requests at once and stops reading at a fixed number of them, so it does not see the FIN.
if (dataPath.engine === 'wire') {
  for (const aheadBytes of [33 * KIB, 100 * KIB, 200 * KIB]) {
    test(`a FIN behind ${aheadBytes / KIB} KiB of pipelined requests ends the request that is served`, async (t) => {
      let ended = false;
      let asked = false;
      const backend = await startRawBackend((socket) => {
        socket.once('data', () => {
          asked = true;
        });
        socket.on('close', () => {
          ended = true;
        });
      });
      t.after(() => backend.close());
      const proxy = await startProxy(t, { backends: [backend] });
      const client = await proxy.connect();
      client.write(TINY);
      await waitFor('the backend to be asked', () => asked);
      client.write(TINY.repeat(aheadBytes / TINY.length));
      client.end();
      await waitFor('the request to the backend to be ended', () => ended);
      await waitFor('the access line', () => proxy.lines.length === 1);
      assert.equal(proxy.lines[0]?.reason, 'client_abort');
    });
  }
}
