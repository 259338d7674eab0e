/** What may become a tunnel, and what a backend may answer (B17). */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { runToEnd } from '../../support/child.ts';
import type { RawResponse } from '../../support/raw-http.ts';
import { waitFor } from '../../support/wait.ts';
import { ok, startCapturingBackend } from '../capturing-backend.ts';
import { accessLineOf, dataPath, policy, route, startProxy, type TestProxy } from '../support.ts';
import { ACCEPT, accepting, KEY, switching, switchOn, upgradeBackend, upgradeHead } from './support.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain';
const HOST = 'Host: example.com\r\n';
const WS = `Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n`;

async function exchange(
  t: TestContext,
  request: string,
  answer: (head: string, socket: Socket) => void,
  options: Parameters<typeof startProxy>[1] = {},
): Promise<{
  proxy: TestProxy;
  response: RawResponse;
  heads: string[];
  rest: () => string;
  closed: () => boolean;
}> {
  const backend = await upgradeBackend(t, answer);
  const proxy = await startProxy(t, { backends: [{ port: backend.port }], ...options });
  const client = await proxy.connect();
  client.write(request);
  const response = await client.readResponse();
  const rest = () => client.received.toString('latin1');
  return { proxy, response, heads: backend.heads, rest, closed: () => client.ended || client.closed };
}

const plainly = (_head: string, socket: Socket): void => void socket.write(OK);

test('B17: the backend gets Upgrade and Connection, and the client gets its 101', async (t) => {
  const { heads, response } = await exchange(t, upgradeHead({ path: '/a?b', more: 'X: y\r\n' }), accepting);
  const head = heads[0] ?? '';
  assert.match(head, /^GET \/a\?b HTTP\/1\.1\r\nHost: example\.com\r\n/);
  assert.equal(head.match(/^Connection: Upgrade\r$/gm)?.length, 1, head);
  assert.equal(head.match(/^Upgrade: websocket\r$/gm)?.length, 1, head);
  assert.match(head, new RegExp(`^Sec-WebSocket-Key: ${KEY}\r$`, 'm'));
  assert.match(head, /^X-Forwarded-For: 127\.0\.0\.1\r$/m);
  assert.deepEqual(
    [response.status, response.reason, response.header('connection'), response.header('upgrade')],
    [101, 'Switching Protocols', 'Upgrade', 'websocket'],
  );
  assert.equal(response.header('sec-websocket-accept'), ACCEPT);
  assert.ok(response.header('x-request-id'));
  assert.equal(response.header('content-length') ?? response.header('transfer-encoding'), null);
});

const REFUSED: [string, string][] = [
  [
    'a body with a length',
    `GET / HTTP/1.1\r\n${HOST}${WS}Sec-WebSocket-Key: ${KEY}\r\nContent-Length: 3\r\n\r\nabc`,
  ],
  [
    'a body in chunks',
    `GET / HTTP/1.1\r\n${HOST}${WS}Sec-WebSocket-Key: ${KEY}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  ['another method', `POST / HTTP/1.1\r\n${HOST}${WS}Sec-WebSocket-Key: ${KEY}\r\n\r\n`],
  ['no key', `GET / HTTP/1.1\r\n${HOST}${WS}\r\n`],
  ['two keys', `GET / HTTP/1.1\r\n${HOST}${WS}${`Sec-WebSocket-Key: ${KEY}\r\n`.repeat(2)}\r\n`],
  ['a key of 15 bytes', `GET / HTTP/1.1\r\n${HOST}${WS}Sec-WebSocket-Key: ${'A'.repeat(20)}\r\n\r\n`],
  [
    'a key that is not base64',
    `GET / HTTP/1.1\r\n${HOST}${WS}Sec-WebSocket-Key: ${'!'.repeat(22)}==\r\n\r\n`,
  ],
  [
    'a key that Connection removes',
    upgradeHead().replace('Connection: Upgrade', 'Connection: Upgrade, Sec-WebSocket-Key'),
  ],
];

for (const [name, request] of REFUSED) {
  test(`a WebSocket's upgrade with ${name} is 400, and nothing goes to a backend`, async (t) => {
    const { response, heads, closed } = await exchange(t, `${request}${upgradeHead()}`, accepting);
    assert.deepEqual([response.status, heads], [400, []]);
    await waitFor('the end of the connection', closed);
  });
}

const PLAIN: [string, string][] = [
  ['a protocol that the route does not name', upgradeHead({ token: 'tcp-x' })],
  ['h2c', upgradeHead({ token: 'h2c', more: 'HTTP2-Settings: AAMAAABkAAQAAP__\r\n' })],
  ['Upgrade without Connection', upgradeHead().replace('Connection: Upgrade\r\n', '')],
  ['Upgrade in HTTP/1.0', upgradeHead().replace('HTTP/1.1', 'HTTP/1.0')],
  ['Connection without Upgrade', upgradeHead().replace('Upgrade: websocket\r\n', '')],
  ['an empty Upgrade', upgradeHead().replace('Upgrade: websocket', 'Upgrade:')],
];

for (const [name, request] of PLAIN) {
  test(`${name} is a plain request, for which no 101 is valid`, async (t) => {
    const { response, heads } = await exchange(t, request, plainly);
    assert.deepEqual([response.status, String(response.body)], [200, 'plain']);
    assert.doesNotMatch(heads[0] ?? '', /^(?:upgrade|connection|http2-settings):/im);
    const second = await exchange(t, request, (head, socket) => socket.write(switching(head)));
    assert.equal(second.response.status, 502);
    const line = await accessLineOf(second.proxy, () => true);
    assert.deepEqual([line.reason, line.protocol?.slice(0, 4)], ['upstream_invalid', 'http']);
  });
}

test('curl asks for h2c with its upload, and gets the answer to a plain one', async (t) => {
  const backend = await startCapturingBackend(t, () => ok('plain'));
  const proxy = await startProxy(t, { backends: [backend] });
  const url = `http://127.0.0.1:${proxy.port}/`;
  const { code, stdout } = await runToEnd('curl', ['-sS', '--http2', '-m', '10', '-d', 'hello', url]);
  assert.deepEqual([code, stdout], [0, ['plain']]);
  assert.deepEqual(
    backend.requests.map(({ method, body }) => [method, body]),
    [['POST', 'hello']],
  );
});

test('of several protocols the first that the route names is asked for, as the client wrote it', async (t) => {
  const routes = [route('default', {}, { upgrade: ['tcp-x', 'websocket'] })];
  const request = upgradeHead().replace('Upgrade: websocket', 'Upgrade: h2c, TCP-X\r\nUpgrade: websocket');
  const { response, heads } = await exchange(t, request, accepting, { routes });
  assert.match(heads[0] ?? '', /^Upgrade: TCP-X\r$/m);
  assert.deepEqual([response.status, response.header('upgrade')], [101, 'TCP-X']);
});

test('a route with `upgrade: []` makes every upgrade a plain request', async (t) => {
  const routes = [route('default', {}, { upgrade: [] })];
  const { response, heads } = await exchange(t, upgradeHead(), plainly, { routes });
  assert.deepEqual([response.status, /upgrade/i.test(heads[0] ?? 'upgrade')], [200, false]);
});

const INVALID: [string, (head: string) => string][] = [
  ['without Upgrade', (head) => switching(head).replace('Upgrade: websocket\r\n', '')],
  ['with another protocol', (head) => switching(head).replace('Upgrade: websocket', 'Upgrade: tcp-x')],
  ['with two protocols', (head) => switching(head, 'Upgrade: websocket\r\n')],
  ['without Connection', (head) => switching(head).replace('Connection: Upgrade\r\n', '')],
  [
    'with a Connection that does not name Upgrade',
    (head) => switching(head).replace('Connection: Upgrade', 'Connection: close'),
  ],
  ['without the answer key', (head) => switching(head).replace(/Sec-WebSocket-Accept: .*\r\n/, '')],
  ['with a wrong answer key', (head) => switching(head).replace(ACCEPT, `${ACCEPT.slice(0, -2)}x=`)],
  ['with two answer keys', (head) => switching(head, `Sec-WebSocket-Accept: ${ACCEPT}\r\n`)],
  ['with a protocol that was not offered', (head) => switching(head, 'Sec-WebSocket-Protocol: c\r\n')],
  ['with two protocols of the WebSocket', (head) => switching(head, 'Sec-WebSocket-Protocol: a, b\r\n')],
  ['with an extension that was not offered', (head) => switching(head, 'Sec-WebSocket-Extensions: x-y\r\n')],
  ['with a length', (head) => switching(head, 'Content-Length: 3\r\n')],
  ['in chunks', (head) => switching(head, 'Transfer-Encoding: chunked\r\n')],
  ['in HTTP/1.0', (head) => switching(head).replace('HTTP/1.1', 'HTTP/1.0')],
];

for (const [name, answer] of INVALID) {
  test(`a 101 ${name} is 502, and its connection is closed`, async (t) => {
    const offer = 'Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: permessage-deflate\r\n';
    let backendSocket: Socket | null = null;
    const { response, proxy, rest } = await exchange(t, upgradeHead({ more: offer }), (head, socket) => {
      backendSocket = socket;
      socket.write(`${answer(head)}secret`);
    });
    assert.deepEqual([response.status, rest().includes('secret')], [502, false]);
    const line = await accessLineOf(proxy, () => true);
    assert.deepEqual([line.status, line.reason, line.protocol], [502, 'upstream_invalid', 'http/1.1']);
    await waitFor('the end of the backend connection', () => (backendSocket as Socket | null)?.destroyed);
    assert.equal(proxy.handler.tunnels.openCount, 0);
  });
}

test('a 101 with Content-Length: 0, after other 1xx, and with what was offered is valid', async (t) => {
  const offer = 'Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Extensions: x; p=1, permessage-deflate\r\n';
  const chosen =
    'Sec-WebSocket-Protocol: b\r\nSec-WebSocket-Extensions: permessage-deflate; a=1\r\nContent-Length: 0\r\n';
  const { response } = await exchange(t, upgradeHead({ more: offer }), (head, socket) => {
    socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
    socket.write(switching(head, chosen));
  });
  assert.deepEqual([response.status, response.header('sec-websocket-protocol')], [101, 'b']);
  assert.equal(response.header('content-length'), null);
  assert.deepEqual(
    response.interims.map(({ status }) => status),
    [103],
  );
});

test('an answer other than 101 is relayed, and what the client sent behind its request is never a request', async (t) => {
  const behind = `GET /smuggled HTTP/1.1\r\n${HOST}\r\n`;
  const { response, heads, rest, closed, proxy } = await exchange(
    t,
    upgradeHead() + behind,
    (_head, socket) =>
      socket.write(
        'HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nContent-Length: 2\r\n\r\nno',
      ),
  );
  assert.deepEqual(
    [
      response.status,
      String(response.body),
      response.header('connection'),
      response.header('sec-websocket-version'),
    ],
    [426, 'no', 'close', '13'],
  );
  await waitFor('the end of the connection', closed);
  assert.deepEqual([heads.length, rest()], [1, '']);
  assert.deepEqual(
    proxy.lines.map(({ status, protocol }) => [status, protocol]),
    [[426, 'http/1.1']],
  );
});

test('bytes before the 101 are delivered after it, empty lines included, and so are those behind the 101', async (t) => {
  const routes = [route('default', {}, { upgrade: ['tcp-x'] })];
  const early = `\r\n\r\n${'early'.repeat(20_000)}`;
  let answer: (() => void) | undefined;
  let got = '';
  const backend = await upgradeBackend(t, (head, socket) => {
    answer = () => socket.write(`${switching(head)}\r\nbehind`);
    socket.on('data', (chunk) => {
      got += chunk.toString('latin1');
    });
  });
  const proxy = await startProxy(t, { backends: [{ port: backend.port }], routes });
  const client = await proxy.connect();
  client.write(`${upgradeHead({ token: 'tcp-x' })}${early.slice(0, 10)}`);
  await waitFor('the request', () => answer);
  client.write(early.slice(10));
  await waitFor('the early bytes to be read', () => client.socket.writableLength === 0);
  assert.equal(got, '');
  answer?.();
  assert.equal((await client.readResponse()).status, 101);
  await client.waitForBytes('\r\nbehind');
  await waitFor('the early bytes', () => got.length === early.length);
  assert.ok(got === early);
  client.reset();
  const line = await accessLineOf(proxy, () => true);
  assert.deepEqual([line.protocol, line.bytesIn, line.bytesOut], ['http/1.1', early.length, 8]);
});

test('the limit charges the handshake, and a refused one never reaches the backend', async (t) => {
  const limited = {
    policies: [policy('p', 1, 0.001)],
    routes: [route('default', {}, { rateLimit: { policies: ['p'], cost: 1 } })],
  };
  const backend = await upgradeBackend(t, accepting);
  const proxy = await startProxy(t, { backends: [{ port: backend.port }], ...limited });
  await switchOn(await proxy.connect());
  const second = await proxy.connect();
  second.write(upgradeHead());
  assert.deepEqual([(await second.readResponse()).status, backend.heads.length], [429, 1]);
});

test('an upgrade pipelined behind another request is served in its turn', async (t) => {
  const backend = await upgradeBackend(t, (head, socket) => {
    if (head.startsWith('GET /first'))
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n1');
    else if (/^upgrade:/im.test(head)) accepting(head, socket);
    else socket.write(OK);
  });
  const proxy = await startProxy(t, { backends: [{ port: backend.port }] });
  const client = await proxy.connect();
  client.write(`GET /first HTTP/1.1\r\n${HOST}\r\n${upgradeHead()}`);
  assert.equal((await client.readResponse()).status, 200);
  // node:http has read it before anybody knows whether the connection is free: there it is a plain request.
  assert.equal((await client.readResponse()).status, dataPath.engine === 'node' ? 200 : 101);
});

test('a parked connection that is dead is replaced by a new one, as for any GET', async (t) => {
  let requests = 0;
  const backend = await upgradeBackend(t, (head, socket) => {
    requests += 1;
    if (requests > 1) {
      accepting(head, socket);
      return;
    }
    socket.write(OK);
    socket.once('data', () => socket.resetAndDestroy());
  });
  const proxy = await startProxy(t, { backends: [{ port: backend.port }] });
  const client = await proxy.connect();
  client.write(`GET / HTTP/1.1\r\n${HOST}\r\n`);
  await client.readResponse();
  await switchOn(client);
  assert.deepEqual([backend.sockets.length, proxy.metric('sluice_retries_total', 'reused_socket')], [2, 1]);
});
