/** How a client's connection continues and ends, at exact bytes and moments, which sockets cannot do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Downstream } from '../../../../src/contract/downstream.ts';
import { PENDING_MAX_BYTES } from '../../../../src/memory/pending-bytes.ts';
import { LINGER_IDLE_MS, LINGER_MAX_MS } from '../../../../src/worker/inbound/lingering-connection.ts';
import {
  answerAtOnce,
  assertIdle,
  get,
  listener,
  OK,
  post,
  Scene,
  uploadScene,
} from '../../../support/client-scene.ts';
import { TICK_MS } from '../../../support/fake-time.ts';
import { HEADERS_MS } from '../../../support/lone-connection.ts';
import { waitFor } from '../../../support/wait.ts';

class OverloadScene extends Scene {
  overloads = 0;

  override onOverload(): void {
    this.overloads += 1;
  }
}

test('in a drain, all requests of one read are answered, and only the last answer says close', () => {
  const scene = new Scene(answerAtOnce);
  scene.draining = true;
  scene.read(get('/1') + get('/2') + get('/3'));
  assert.deepEqual(scene.targets, ['/1', '/2', '/3']);
  assert.deepEqual(scene.closings, [false, false, true]);
  assert.equal(scene.closedCount, 1);
  assert.equal(scene.timer.size, 0);
});

test('in a drain, all requests behind a slow one are answered, and only the last answer says close', () => {
  const served: Downstream[] = [];
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    served.push(downstream);
  });
  scene.read(get('/1') + get('/2'));
  scene.draining = true;
  served[0]?.complete(OK, '');
  assert.deepEqual(scene.targets, ['/1', '/2']);
  served[1]?.complete(OK, '');
  assert.deepEqual(scene.closings, [false, true]);
  assert.equal(scene.closedCount, 1);
});

test('while a body is discarded after its answer, the idle timeout runs', () => {
  const scene = new Scene(answerAtOnce);
  scene.read(post('abc'));
  assert.deepEqual(scene.closings, [false]);
  assertIdle(scene);
});

test('in a drain, the request in the packet of a discarded body’s last bytes is served', () => {
  const scene = new Scene(answerAtOnce);
  scene.read('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na');
  scene.draining = true;
  scene.read(`bc${get('/next')}`);
  assert.deepEqual(scene.targets, ['/', '/next']);
  assert.deepEqual(scene.closings, [false, true]);
});

test('a client that keeps sending after its refusal is cut at the linger deadline', () => {
  const scene = new Scene(answerAtOnce);
  scene.read('nonsense\r\n\r\n');
  assert.deepEqual([scene.refusals, scene.wire.ended], [[400], true]);
  const endMs = scene.nowMs + LINGER_MAX_MS;
  for (; scene.nowMs < endMs; scene.pass(LINGER_IDLE_MS / 2)) {
    assert.equal(scene.closedCount, 0, `after ${scene.nowMs} ms`);
    scene.read('more');
  }
  for (let i = 0; i < 5 && scene.closedCount === 0; i++) {
    scene.read('more');
    scene.pass(LINGER_IDLE_MS / 2);
  }
  assert.equal(scene.closedCount, 1);
});

test('a FIN behind a request does not cancel an answer that is already written', () => {
  const scene = new Scene(answerAtOnce);
  scene.wire.stuck = true;
  scene.read(get('/1'));
  scene.connection.onEnd();
  assert.equal(scene.closedCount, 0);
  scene.wire.drain();
  assert.deepEqual(scene.closings, [false]);
});

test('half a head in the packet of the previous request counts as begun and has the headers timeout', () => {
  const scene = new Scene(answerAtOnce);
  scene.read(`${get('/1')}GET /2 HTTP/1.1\r\nHo`);
  assert.ok(scene.connection.idle && scene.connection.receiving, 'a drain would cut it');
  scene.pass(HEADERS_MS + 10 * TICK_MS);
  assert.deepEqual(scene.refusals, [408]);
});

test('empty lines on an idle connection do not lead to a 408', () => {
  const scene = new Scene(answerAtOnce);
  scene.read(get('/1'));
  scene.read('\r\n');
  scene.pass(HEADERS_MS + 10 * TICK_MS);
  assert.deepEqual([scene.refusals, scene.closedCount], [[], 1]);
});

test('a closed connection leaves nothing in the timer, even with an unsent answer', () => {
  const scene = new Scene(answerAtOnce);
  scene.wire.stuck = true;
  scene.read(get('/1'));
  assert.ok(scene.timer.size > 0);
  scene.connection.onBroken();
  assert.equal(scene.timer.size, 0);
});

test('in a drain, a connection whose answer had begun still serves the request sent meanwhile', () => {
  const served: Downstream[] = [];
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    served.push(downstream);
  });
  scene.read(get('/1'));
  served[0]?.start({ ...OK, contentLength: 3, hasBody: true });
  scene.draining = true;
  served[0]?.write(Buffer.from('abc'));
  served[0]?.end([]);
  assert.deepEqual([scene.closings, scene.closedCount, scene.connection.idle], [[false], 0, true]);
  scene.read(get('/2'));
  served[1]?.complete(OK, '');
  assert.deepEqual([scene.targets, scene.closedCount], [['/1', '/2'], 1]);
  assert.match(scene.wire.text, /abcHTTP\/1\.1 200 OK\r\nConnection: close\r\n/);
});

test('a close-delimited answer cut by the end of a drain ends in a reset, so that it does not look complete', () => {
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    downstream.start({ ...OK, contentLength: -1, hasBody: true });
    downstream.write(Buffer.from('abc'));
  });
  let resets = 0;
  scene.wire.reset = () => resets++;
  scene.read('GET / HTTP/1.0\r\nHost: a\r\n\r\n');
  scene.connection.destroy();
  assert.deepEqual([resets, scene.closedCount], [1, 1]);
});

test('thousands of pipelined requests answered at once let other connections have their turn, and all are answered', async () => {
  const scene = new Scene(answerAtOnce);
  scene.read(get('/').repeat(200));
  const inOneTurn = scene.targets.length;
  assert.ok(inOneTurn < 100, `${inOneTurn} in one turn`);
  scene.connection.onEnd();
  assert.equal(scene.closedCount, 0, 'a FIN behind them takes none of them away');
  await waitFor('all answers', () => scene.targets.length === 200);
  await waitFor('the FIN to be heeded', () => scene.closedCount === 1);
  assert.equal(scene.timer.size, 0);
});

test('pipelined requests answered by settled promises let other connections have their turn too', async () => {
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    queueMicrotask(() => downstream.complete(OK, ''));
  });
  scene.read(get('/').repeat(200));
  const inOneTurn = await new Promise<number>((resolve) => {
    setImmediate(() => resolve(scene.targets.length));
  });
  assert.ok(inOneTurn < 100, `${inOneTurn} in one turn`);
  await waitFor('all answers', () => scene.targets.length === 200);
});

test('a client that is too far ahead is watched for resets during each of its requests', () => {
  const served: Downstream[] = [];
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    served.push(downstream);
  });
  let probes = 0;
  scene.wire.probe = () => {
    probes++;
  };
  scene.read(get('/').repeat(1_500));
  assert.equal(scene.wire.paused, true);
  scene.pass(2 * TICK_MS);
  assert.ok(probes > 0, 'during the first');
  served[0]?.complete(OK, '');
  assert.deepEqual([served.length, scene.wire.paused], [2, true]);
  probes = 0;
  scene.pass(2 * TICK_MS);
  assert.ok(probes > 0, 'during the second');
});

test('empty lines behind a request do not begin the next one: the idle timeout runs', () => {
  for (const behind of ['\r\n', '\n', '\r\n\n']) {
    const scene = new Scene(answerAtOnce);
    scene.read(get('/') + behind);
    assert.equal(scene.connection.receiving, false);
    scene.pass(2 * HEADERS_MS);
    assert.equal(scene.closedCount, 0, JSON.stringify(behind));
    scene.draining = true;
    scene.read(get('/') + behind);
    assert.deepEqual(scene.closings, [false, true]);
  }
});

test('bytes behind the last request are read and discarded, so that no RST destroys its answer', () => {
  const scene = new Scene(answerAtOnce);
  scene.read(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n${get('/2')}`);
  assert.deepEqual([scene.targets, scene.closings], [['/'], [true]]);
  assert.deepEqual([scene.wire.ended, scene.wire.closed], [true, false]);
  scene.pass(LINGER_IDLE_MS + 10 * TICK_MS);
  assert.equal(scene.wire.closed, true);
});

test('a blocked piece is reported once, when it was written, and an answer counts as sent with its last byte', () => {
  const heard: string[] = [];
  const served: Downstream[] = [];
  const scene = new Scene((downstream) => {
    const onFlushed = () => void heard.push('flushed');
    downstream.listen(listener({ onFlushed, onSent: () => void heard.push('sent') }));
    served.push(downstream);
  });
  scene.read(get('/1'));
  const [first] = served;
  assert.ok(first);
  first.start({ ...OK, contentLength: 6, hasBody: true });
  scene.wire.stuck = true;
  assert.equal(first.write(Buffer.from('abc')), false);
  scene.wire.drain();
  assert.deepEqual(heard, ['flushed']);
  assert.equal(first.write(Buffer.from('de')), true);
  scene.connection.onDrain();
  assert.deepEqual(heard, ['flushed'], 'nothing was waited for');
  scene.wire.stuck = true;
  assert.equal(first.write(Buffer.from('f')), false);
  assert.equal(first.end([]), false);
  assert.deepEqual([heard, scene.connection.idle], [['flushed'], false]);
  scene.wire.drain();
  assert.deepEqual([heard, scene.connection.idle], [['flushed', 'sent'], true]);
});

test('100 Continue is sent once, and never after the head of an answer', () => {
  const served: Downstream[] = [];
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    served.push(downstream);
  });
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n';
  scene.read(head);
  served[0]?.continueBody();
  served[0]?.continueBody();
  assert.equal(scene.wire.text, 'HTTP/1.1 100 Continue\r\n\r\n');
  served[0]?.start({ ...OK, contentLength: 1, hasBody: true });
  served[0]?.write(Buffer.from('x'));
  const { length } = scene.wire.text;
  served[0]?.continueBody();
  assert.equal(scene.wire.text.length, length);
  served[0]?.end([]);
  scene.read(`x${head}`);
  served[1]?.start({ ...OK, contentLength: 1, hasBody: true });
  served[1]?.continueBody();
  served[1]?.write(Buffer.from('x'));
  assert.equal(scene.wire.text.split('100 Continue').length, 2);
});

test('when all clients of a worker wait with too many bytes, those with many are cut and counted, those with few are not', () => {
  const makeScene = (): OverloadScene => new OverloadScene((downstream) => downstream.listen(listener()));
  for (const [aheadRequests, overloads] of [
    [1_000, 1],
    [50, 0],
  ] as const) {
    const scene = makeScene();
    scene.pendingMemory.bytes = PENDING_MAX_BYTES;
    scene.read(get('/'));
    scene.read(get('/').repeat(aheadRequests));
    assert.deepEqual([scene.overloads, scene.closedCount], [overloads, overloads]);
    scene.connection.destroy();
    assert.equal(scene.pendingMemory.bytes, PENDING_MAX_BYTES, 'what it kept is given back');
  }
});

test('a client that is far ahead is read once per tick, up to a bound, so that a FIN is noticed', () => {
  const scene = new Scene((downstream) => downstream.listen(listener()));
  let readBytes = 0;
  const piece = get('/').repeat(1_500);
  for (let i = 0; i < 100; i++) {
    if (!scene.wire.paused) {
      scene.read(piece);
      readBytes += piece.length;
    }
    scene.pass(TICK_MS);
  }
  assert.ok(readBytes > 200_000 && readBytes < 400_000, `${readBytes} bytes`);
  scene.connection.destroy();
  assert.equal(scene.timer.size, 0);
});

test('a GET that expects 100-continue and has no body leaves the connection open', () => {
  const scene = new Scene(answerAtOnce);
  scene.read('GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n');
  scene.read('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n');
  assert.deepEqual(scene.closings, [false, true]);
});

test('nothing is kept of what comes with or behind a refused head', () => {
  const scene = new Scene(answerAtOnce);
  for (const text of [`GET / HTTP/1.1\r\nBad name: x\r\n\r\n${get('/')}`, get('/')]) {
    scene.read(text);
    assert.deepEqual([scene.refusals, scene.targets, scene.pendingMemory.bytes], [[400], [], 0]);
  }
  scene.connection.destroy();
});

test('a trailer line that has come in part counts as pending bytes until the connection ends', () => {
  const { scene } = uploadScene();
  scene.read('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n');
  assert.equal(scene.pendingMemory.bytes, 0);
  scene.read(`X: ${'y'.repeat(10_000)}`);
  assert.equal(scene.pendingMemory.bytes, 16_384);
  scene.connection.destroy();
  assert.equal(scene.pendingMemory.bytes, 0);
});
