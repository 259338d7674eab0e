/** How a client's connection goes on and ends, at bytes and times that no socket can cut so. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Downstream } from '../../../../src/contract/downstream.ts';
import { LINGER_IDLE_MS, LINGER_MAX_MS } from '../../../../src/worker/inbound/base-connection.ts';
import { WORKER_PENDING_MAX_BYTES } from '../../../../src/worker/inbound/wire/client-input.ts';
import { answerAtOnce, assertIdle, get, listener, OK, post, Scene } from '../../../support/client-scene.ts';
import { TICK_MS } from '../../../support/fake-time.ts';
import { HEADERS_MS } from '../../../support/lone-connection.ts';
import { waitFor } from '../../../support/wait.ts';

class OverloadScene extends Scene {
  overloads = 0;

  override onOverload(): void {
    this.overloads += 1;
  }
}

test('requests of one read that are answered at once are all answered in a drain, and only the last answer says so', () => {
  const scene = new Scene(answerAtOnce);
  scene.draining = true;
  scene.read(get('/1') + get('/2') + get('/3'));
  assert.deepEqual(scene.targets, ['/1', '/2', '/3']);
  assert.deepEqual(scene.closings, [false, false, true]);
  assert.equal(scene.closedCount, 1);
  assert.equal(scene.timer.size, 0);
});

test('requests that wait for a slow one are all answered in a drain, and only the last answer says so', () => {
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

test('a body that is read into nothing is nothing behind it: the time of an idle connection runs', () => {
  const scene = new Scene(answerAtOnce);
  scene.read(post('abc'));
  assert.deepEqual(scene.closings, [false]);
  assertIdle(scene);
});

test('a request that comes with the last of a body that is read into nothing is served in a drain', () => {
  const scene = new Scene(answerAtOnce);
  scene.read('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na');
  scene.draining = true;
  scene.read(`bc${get('/next')}`);
  assert.deepEqual(scene.targets, ['/', '/next']);
  assert.deepEqual(scene.closings, [false, true]);
});

test('a client that sends on and on behind its refusal is cut off after the longest lingering', () => {
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

test('a FIN behind a request whose answer is under way as a whole does not take the answer with it', () => {
  const scene = new Scene(answerAtOnce);
  scene.wire.stuck = true;
  scene.read(get('/1'));
  scene.connection.onEnd();
  assert.equal(scene.closedCount, 0);
  scene.wire.drain();
  assert.deepEqual(scene.closings, [false]);
});

test('the half of a head that came with the request before it counts as received, and has the time of a head', () => {
  const scene = new Scene(answerAtOnce);
  scene.read(`${get('/1')}GET /2 HTTP/1.1\r\nHo`);
  assert.ok(scene.connection.idle && scene.connection.receiving, 'a drain would cut it');
  scene.pass(HEADERS_MS + 10 * TICK_MS);
  assert.deepEqual(scene.refusals, [408]);
});

test('empty lines on an idle connection are no head that came too late', () => {
  const scene = new Scene(answerAtOnce);
  scene.read(get('/1'));
  scene.read('\r\n');
  scene.pass(HEADERS_MS + 10 * TICK_MS);
  assert.deepEqual([scene.refusals, scene.closedCount], [[], 1]);
});

test('a connection that is gone leaves nothing in the timer, also while its answer waits to leave', () => {
  const scene = new Scene(answerAtOnce);
  scene.wire.stuck = true;
  scene.read(get('/1'));
  assert.ok(scene.timer.size > 0);
  scene.connection.onBroken();
  assert.equal(scene.timer.size, 0);
});

test('a connection whose answer began before the drain stays for the request that its client has sent meanwhile', () => {
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

test('an answer without a length that the end of a drain cuts ends in a reset, so that it does not look complete', () => {
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

test('a heap of requests that are answered at once leaves other connections their turn, and all are answered in the end', async () => {
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

test('requests that are answered by promises kept long ago leave others their turn as well', async () => {
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

test('a client that is too far ahead is looked after for resets during each of its requests', () => {
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

test('empty lines behind a request are no next one: the time of an idle connection runs', () => {
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

test('bytes behind the last request are read into nothing, so that no RST takes its answer', () => {
  const scene = new Scene(answerAtOnce);
  scene.read(`GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n${get('/2')}`);
  assert.deepEqual([scene.targets, scene.closings], [['/'], [true]]);
  assert.deepEqual([scene.wire.ended, scene.wire.closed], [true, false]);
  scene.pass(LINGER_IDLE_MS + 10 * TICK_MS);
  assert.equal(scene.wire.closed, true);
});

test('a piece that has to wait is told of once, when it has left, and an answer is sent with its last byte', () => {
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

test('100 Continue is told once, and never behind the head of an answer', () => {
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

test('a client that is far ahead is cut and counted where all clients of the worker keep too much, one that waits with little is not', () => {
  const makeScene = (): OverloadScene => new OverloadScene((downstream) => downstream.listen(listener()));
  for (const [aheadRequests, overloads] of [
    [1_000, 1],
    [50, 0],
  ] as const) {
    const scene = makeScene();
    scene.pendingOfWorker.bytes = WORKER_PENDING_MAX_BYTES;
    scene.read(get('/'));
    scene.read(get('/').repeat(aheadRequests));
    assert.deepEqual([scene.overloads, scene.closedCount], [overloads, overloads]);
    scene.connection.destroy();
    assert.equal(scene.pendingOfWorker.bytes, WORKER_PENDING_MAX_BYTES, 'what it kept is given back');
  }
});

test('a client that is far ahead is read on once per tick, up to a bound, so that a FIN is seen', () => {
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
