/** Whoever closes a connection first by a FIN keeps its port for a minute. Sluice waits for the backend to do it, or resets. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { ConnectionPool } from '../../src/upstream/connection-pool.ts';
import type { ConnectionSettings } from '../../src/upstream/connection-settings.ts';
import { startRawBackend } from '../support/backend.ts';
import { waitFor } from '../support/wait.ts';
import { OK } from './pool-backends.ts';
import { get, makePool, RecordingSink, send } from './support.ts';

interface Ending {
  /** Ends the title: a connection is reset, or closed by a FIN, after this. */
  after: string;
  request?: Partial<ReturnType<typeof get>>;
  /** What is sent of the body; a body of another length than announced stays unfinished. */
  body?: string;
  /** The backend sends it when the request, as far as it is sent, has arrived. */
  answer?: string;
  settings?: Partial<ConnectionSettings>;
  /** What happens once the backend has the request, and its answer has come where it is a whole one. */
  act?: (scene: { sink: RecordingSink; pool: ConnectionPool; socket: Socket }) => void;
}

class BodySink extends RecordingSink {
  readonly #ending: Ending;

  constructor(ending: Ending) {
    super();
    this.#ending = ending;
  }

  override onConnected(): void {
    const { body = '', request } = this.#ending;
    this.exchange?.writeBody(Buffer.from(body));
    if (body.length === request?.bodyLength) this.exchange?.endBody([]);
  }
}

/** @returns the backend's view of the end of the only connection */
async function endOf(t: TestContext, ending: Ending): Promise<(string | undefined)[]> {
  const { request, body = '', answer = '', settings, act } = ending;
  const ends: (string | undefined)[] = [];
  let received = '';
  const sockets: Socket[] = [];
  const backend = await startRawBackend((socket) => {
    sockets.push(socket);
    socket.on('error', (error: NodeJS.ErrnoException) => ends.push(error.code));
    socket.on('end', () => ends.push('FIN'));
    socket.on('data', (bytes) => {
      received += bytes.toString('latin1');
      if (received.endsWith(`\r\n\r\n${body}`)) socket.write(answer);
    });
  });
  t.after(() => backend.close());
  const pool = makePool(t, { port: backend.port, ...settings });
  const sink = send(pool, get('/', request), new BodySink(ending));
  await waitFor('the request at the backend', () => received.endsWith(`\r\n\r\n${body}`));
  if (answer !== '' || act === undefined) await sink.finished();
  act?.({ sink, pool, socket: sockets[0]! });
  await waitFor('the end of the connection', () => ends.length > 0);
  return ends;
}

const CLOSING = OK.replace('\r\n', '\r\nConnection: close\r\n');
const HINTING = OK.replace('\r\n', '\r\nKeep-Alive: timeout=1\r\n');

const RESETS: Ending[] = [
  { after: 'an answer to HEAD', request: { method: 'HEAD' }, answer: OK.replace('ok', '') },
  { after: 'a GET with a body', request: { bodyLength: 1 }, body: 'x', answer: OK },
  { after: 'a 204 that announces a body', answer: 'HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n' },
  { after: 'an answer with bytes behind it', answer: `${OK}junk` },
  { after: 'bytes that come while it is idle', answer: OK, act: ({ socket }) => socket.write('junk') },
  { after: 'an invalid answer', answer: 'HTTP/2 200\r\n\r\n' },
  {
    after: 'an early answer to an unfinished upload',
    request: { method: 'POST', bodyLength: 10 },
    body: 'x',
    answer: OK,
  },
  {
    after: 'an early answer with `Connection: close` to an unfinished upload',
    request: { method: 'POST', bodyLength: 10 },
    body: 'x',
    answer: CLOSING,
  },
  { after: 'an answer with `Connection: close`, where the backend does not close', answer: CLOSING },
  { after: 'an answer that leaves no time in the pool', answer: HINTING },
  { after: 'an answer when the pool is full', answer: OK, settings: { maxParked: 0 } },
  { after: 'a request without an answer in time', settings: { responseMs: 50 } },
  { after: 'an answer that stops half-way', answer: OK.replace('ok', 'o'), settings: { idleMs: 50 } },
  {
    after: 'a request whose client has left',
    act: ({ sink }) => sink.exchange?.destroy({ memoryIsFree: true }),
  },
];

for (const ending of RESETS) {
  test(`a connection is reset, so that its port is free at once, after ${ending.after}`, async (t) => {
    assert.deepEqual(await endOf(t, ending), ['ECONNRESET']);
  });
}

const FINS: Ending[] = [
  { after: 'its time in the pool', answer: OK, settings: { parkMs: 50 } },
  { after: 'the end of its pool', answer: OK, act: ({ pool }) => pool.close() },
  {
    after: 'a whole upload whose answer says `Connection: close`, where the backend does not close',
    request: { method: 'POST', bodyLength: 1 },
    body: 'x',
    answer: CLOSING,
  },
  {
    after: 'the FIN of the backend, for which it waits when the answer says `Connection: close`',
    answer: CLOSING,
    act: ({ pool, socket }) => {
      assert.equal(pool.openCount, 1);
      socket.end();
    },
  },
];

for (const ending of FINS) {
  test(`a connection is closed by a FIN after ${ending.after}`, async (t) => {
    assert.deepEqual(await endOf(t, ending), ['FIN']);
  });
}
