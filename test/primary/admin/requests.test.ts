/** `GET /api/v1/requests`: filters, mistakes, the end of a viewer, and one that does not read. */
import assert from 'node:assert/strict';
import { get, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { test } from 'node:test';
import type { PrimaryMessage } from '../../../src/contract/messages.ts';
import { RequestWatch } from '../../../src/primary/workers/request-watch.ts';
import { waitFor } from '../../support/wait.ts';
import { assertProblem, startAdmin } from './harness.ts';

const PATH = '/api/v1/requests';

async function startScene(t: Parameters<typeof startAdmin>[0]) {
  const admin = await startAdmin(t);
  const sent: PrimaryMessage[] = [];
  const watch = new RequestWatch((message) => sent.push(message));
  admin.parts.requestWatch.open = (filter, onRequests) => watch.open(filter, onRequests);
  const tell = (id: number, lines: string[], dropped = 0) =>
    watch.receive(0, { type: 'watched-requests', id, lines, dropped });
  const open = (query = ''): Promise<{ response: IncomingMessage; text: () => string }> =>
    new Promise((resolve, reject) => {
      const request = get(`${admin.url}${PATH}${query}`, { agent: false }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('error', () => undefined);
        resolve({ response, text: () => text });
      });
      request.on('error', reject);
      t.after(() => request.destroy());
    });
  return { ...admin, sent, tell, open };
}

test('a viewer gets lines and counts as events; its filter goes to the workers; its end is told', async (t) => {
  const { open, tell, sent } = await startScene(t);
  const { response, text } = await open('?client=::ffff:192.0.2.1&route=api&status=5xx&slowerThanMs=20');
  assert.deepEqual(
    [response.statusCode, response.headers['content-type']],
    [200, 'text/event-stream; charset=utf-8'],
  );
  assert.deepEqual(sent, [
    {
      type: 'watch-requests',
      id: 1,
      filter: { client: '192.0.2.1', route: 'api', status: { from: 500, to: 599 }, slowerThanMs: 20 },
    },
  ]);
  const paths = ['/</script><script>alert(1)</script>', '/a\u2028b\u0085', '/"\\\n\ndata: x'];
  const hostile = paths.map((path) => JSON.stringify({ path }));
  tell(1, hostile, 7);
  await waitFor('the events', () => text().includes('event: dropped'));
  const data = text()
    .split('\n')
    .filter((line) => line.startsWith('data: ') && line.includes('path'))
    .map((line) => JSON.parse(line.slice('data: '.length)).path);
  assert.deepEqual(data, paths);
  assert.match(text(), /event: dropped\ndata: \{"worker":0,"count":7\}\n\n$/);
  response.destroy();
  await waitFor('the end to be told', () => sent.at(-1)?.type === 'unwatch-requests');
  await open('?client=2001:DB8:0:0::9/64');
  const last = sent.at(-1);
  assert.equal(last?.type === 'watch-requests' && last.filter.client, '2001:db8::/64');
});

test('with a limit the stream ends after so many requests, none of which is lost', async (t) => {
  const { open, tell, sent } = await startScene(t);
  const { response, text } = await open('?limit=3&status=429');
  const lines = Array.from({ length: 5 }, (_, i) => JSON.stringify({ i, more: 'x'.repeat(1_000) }));
  tell(1, lines.slice(0, 2));
  tell(1, lines.slice(2));
  assert.equal(sent.at(-1)?.type, 'unwatch-requests', 'whatever the reader does with the end');
  await waitFor('the end', () => response.complete);
  assert.equal(text().match(/event: request/g)?.length, 3);
});

test('wrong filters are named, and an eleventh viewer gets 503', async (t) => {
  const { call, open } = await startScene(t);
  const wrong = [
    'status=6xx',
    'status=42',
    'slowerThanMs=fast',
    'slowerThanMs=-1',
    'limit=0',
    'route=',
    'more=1',
  ];
  for (const query of wrong)
    assertProblem(await call({ path: `${PATH}?${query}` }), 422, [query.split('=')[0]!]);
  for (let i = 0; i < 10; i++) await open();
  assertProblem(await call({ path: PATH }), 503);
});

test('a viewer that does not read is cut, and the port closes although viewers are there', async (t) => {
  const { port, tell, sent, open, close } = await startScene(t);
  const socket = connect({ port, host: '127.0.0.1' });
  t.after(() => socket.destroy());
  socket.on('error', () => undefined);
  socket.write(`GET ${PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
  socket.pause();
  await waitFor('the viewer', () => sent.length === 1);
  const line = JSON.stringify({ path: 'x'.repeat(3_000) });
  const batch = Array.from({ length: 50 }, () => line);
  await waitFor('the end to be told', () => {
    tell(1, batch);
    return sent.at(-1)?.type === 'unwatch-requests';
  });
  const { response } = await open();
  const startMs = performance.now();
  await close();
  assert.ok(performance.now() - startMs < 1_000, 'the stream did not hold the port up');
  await waitFor('the end of the stream', () => response.closed || response.complete);
});
