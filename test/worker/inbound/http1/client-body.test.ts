/** Bodies of clients and their memory, with splits at exact bytes, which sockets cannot do. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Downstream } from '../../../../src/contract/downstream.ts';
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

const KIB = 1024;

test('the rest of a discarded body is read up to 64 KiB; a byte more ends the connection', () => {
  for (const [bytes, closing] of [
    [64 * KIB, false],
    [64 * KIB + 1, true],
  ] as const) {
    const scene = new Scene(answerAtOnce);
    scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${bytes}\r\n\r\n`);
    assert.deepEqual(scene.closings, [closing], `${bytes}`);
    for (let left = bytes; left > 0; left -= KIB) scene.read('x'.repeat(Math.min(left, KIB)));
    scene.read(get('/next'));
    assert.deepEqual(scene.targets, closing ? ['/'] : ['/', '/next']);
  }
});

test('a discarded chunked body is read up to 64 KiB; a byte more ends the connection', () => {
  for (const more of [0, 1]) {
    const scene = new Scene(answerAtOnce);
    scene.read('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let i = 0; i < 64; i++) scene.read(`400\r\n${'x'.repeat(KIB)}\r\n`);
    if (more > 0) scene.read('1\r\nx\r\n');
    assert.equal(scene.wire.ended, more > 0);
    scene.read(`0\r\n\r\n${get('/next')}`);
    assert.deepEqual(scene.targets, more > 0 ? ['/'] : ['/', '/next']);
  }
});

test('the limit for discarded bodies is per body, not per connection', () => {
  const scene = new Scene(answerAtOnce);
  for (let i = 0; i < 4; i++) {
    scene.read('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let n = 0; n < 32; n++) scene.read(`400\r\n${'x'.repeat(KIB)}\r\n`);
    scene.read('0\r\n\r\n');
  }
  assert.equal(scene.wire.ended, false);
  assert.equal(scene.targets.length, 4);
});

test('a large buffer is given back when the client disconnects in the middle of a body', () => {
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    downstream.readBody();
  });
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1 << 20}\r\n\r\n`);
  for (let i = 0; i < 2; i++) scene.read('x'.repeat(48 * KIB));
  assert.equal(scene.buffers.pooledCount, 0);
  scene.connection.onBroken();
  assert.equal(scene.buffers.pooledCount, 1);
});

test('a large buffer is given back at the end of the body, before the answer', () => {
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    downstream.readBody();
  });
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${96 * KIB}\r\n\r\n`);
  for (let i = 0; i < 2; i++) scene.read('x'.repeat(48 * KIB));
  assert.equal(scene.buffers.pooledCount, 1);
});

test('a paused and resumed body keeps its large buffer until it is discarded', () => {
  const { scene, uploads } = uploadScene(({ downstream }) => downstream.pauseBody());
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${96 * KIB}\r\n\r\n`);
  scene.read('x'.repeat(48 * KIB));
  assert.equal(scene.wire.paused, true);
  uploads[0]?.downstream.resumeBody();
  assert.equal(scene.wire.paused, false);
  assert.notEqual(scene.connection.nextBuffer(), scene.buffers.shared);
  scene.read('x'.repeat(16 * KIB));
  uploads[0]?.downstream.resumeBody();
  uploads[0]?.downstream.stopBody();
  assert.equal(scene.connection.nextBuffer(), scene.buffers.shared);
});

test('a piece at a pause is not overwritten by bytes after its body, nor by the next request', () => {
  const { scene, uploads } = uploadScene(({ downstream }) => downstream.pauseBody());
  const bodies = ['a', 'b', 'c'].map((letter) => letter.repeat(2 * KIB));
  for (const [i, body] of bodies.entries()) {
    scene.read(post(body));
    assert.equal(uploads[i]?.complete, true);
    uploads[i]?.downstream.complete(OK, '');
  }
  assert.deepEqual(
    uploads.map(({ pieces }) => Buffer.concat(pieces).toString()),
    bodies,
  );
});

test('a chunked body still flowing when its answer begins ends the connection', () => {
  const { scene, uploads } = uploadScene();
  scene.read('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  uploads[0]?.downstream.complete(OK, '');
  assert.deepEqual(scene.closings, [true]);
  assert.equal(scene.wire.ended, true);
});

test('malformed chunks of a discarded body end the connection at once', () => {
  const scene = new Scene(answerAtOnce);
  scene.read('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  assert.deepEqual([scene.closings, scene.wire.ended], [[false], false]);
  scene.read(`nonsense\r\n${get('/evil')}`);
  assert.equal(scene.wire.ended, true);
  assert.deepEqual(scene.targets, ['/']);
});

test('when a body is discarded, the paused client is read again at once', () => {
  const { scene, uploads } = uploadScene(({ downstream }) => downstream.pauseBody());
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1 << 20}\r\n\r\n${'x'.repeat(2 * KIB)}`);
  // Already read when the wire was paused.
  scene.read('x'.repeat(2 * KIB));
  assert.equal(scene.wire.paused, true);
  uploads[0]?.downstream.stopBody();
  assert.equal(scene.wire.paused, false);
  assert.equal(uploads[0]?.pieces.length, 1);
});

test('a body that fills its read buffer gets a larger one and gives the first back', () => {
  const { scene } = uploadScene();
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1 << 20}\r\n\r\n`);
  scene.read('x'.repeat(64 * KIB));
  scene.read('x'.repeat(64 * KIB));
  assert.deepEqual([scene.buffers.largeLiveCount, scene.buffers.pooledCount], [1, 1]);
  scene.connection.onBroken();
  assert.deepEqual([scene.buffers.largeLiveCount, scene.buffers.pooledCount], [0, 2]);
});

test('after a discarded body the next one gets the buffer that it needs', () => {
  let pauses = true;
  const { scene, uploads } = uploadScene(({ downstream }) => {
    if (pauses) downstream.pauseBody();
  });
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${4 * KIB}\r\n\r\n${'x'.repeat(2 * KIB)}`);
  uploads[0]?.downstream.stopBody();
  uploads[0]?.downstream.complete(OK, '');
  scene.read('x'.repeat(2 * KIB));
  pauses = false;
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${96 * KIB}\r\n\r\n`);
  scene.read('x'.repeat(48 * KIB));
  assert.notEqual(scene.connection.nextBuffer(), scene.buffers.shared);
  scene.read('x'.repeat(48 * KIB));
  assert.equal(scene.buffers.pooledCount, 1);
});

const answerBehindBody = (downstream: Downstream): void => {
  downstream.listen(listener({ onRequestBodyEnd: () => downstream.complete(OK, '') }));
  downstream.readBody();
};

test('in a drain, a request answered inside its end-of-body event closes the connection', () => {
  const scene = new Scene(answerBehindBody);
  scene.draining = true;
  scene.read(post('abc'));
  assert.deepEqual(scene.closings, [true]);
  assert.equal(scene.closedCount, 1);
});

test('after a request answered inside its end-of-body event the idle timeout runs', () => {
  const scene = new Scene(answerBehindBody);
  scene.read(post('abc'));
  assert.deepEqual(scene.closings, [false]);
  assertIdle(scene);
});

test('a client paused for its body is read again after its last answer', () => {
  const { scene, uploads } = uploadScene(({ downstream }) => downstream.pauseBody());
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1 << 20}\r\n\r\n${'x'.repeat(2 * KIB)}`);
  assert.equal(scene.wire.paused, true);
  uploads[0]?.downstream.complete({ ...OK, status: 413 }, '');
  assert.deepEqual([scene.closings, scene.wire.ended, scene.wire.paused], [[true], true, false]);
});
