/** What becomes of a client's body and of its memory, at bytes that no socket can cut so. */
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

test('the rest of an unwanted body is worth the connection up to 64 KiB, not a byte more', () => {
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

test('of chunks that nobody wants 64 KiB are read into nothing, and a byte more ends the connection', () => {
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

test('unwanted bodies of one connection do not add up', () => {
  const scene = new Scene(answerAtOnce);
  for (let i = 0; i < 4; i++) {
    scene.read('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n');
    for (let n = 0; n < 32; n++) scene.read(`400\r\n${'x'.repeat(KIB)}\r\n`);
    scene.read('0\r\n\r\n');
  }
  assert.equal(scene.wire.ended, false);
  assert.equal(scene.targets.length, 4);
});

test('memory of its own is given back when the client is gone in the middle of a body', () => {
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

test('memory of its own is given back with the end of a body, while the answer is still awaited', () => {
  const scene = new Scene((downstream) => {
    downstream.listen(listener());
    downstream.readBody();
  });
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${96 * KIB}\r\n\r\n`);
  for (let i = 0; i < 2; i++) scene.read('x'.repeat(48 * KIB));
  assert.equal(scene.buffers.pooledCount, 1);
});

test('a body that was paused and resumed goes on in memory of its own, until nobody wants it', () => {
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

test('a piece that was paused at stays as it is behind the end of its body, and in the next request', () => {
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

test('chunks that flow when their answer begins cost the connection', () => {
  const { scene, uploads } = uploadScene();
  scene.read('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  uploads[0]?.downstream.complete(OK, '');
  assert.deepEqual(scene.closings, [true]);
  assert.equal(scene.wire.ended, true);
});

test('unwanted chunks that break their framing end the connection at once', () => {
  const scene = new Scene(answerAtOnce);
  scene.read('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
  assert.deepEqual([scene.closings, scene.wire.ended], [[false], false]);
  scene.read(`nonsense\r\n${get('/evil')}`);
  assert.equal(scene.wire.ended, true);
  assert.deepEqual(scene.targets, ['/']);
});

test('a client whose body nobody wants any more is read on at once', () => {
  const { scene, uploads } = uploadScene(({ downstream }) => downstream.pauseBody());
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1 << 20}\r\n\r\n${'x'.repeat(2 * KIB)}`);
  // On its way when the wire was paused.
  scene.read('x'.repeat(2 * KIB));
  assert.equal(scene.wire.paused, true);
  uploads[0]?.downstream.stopBody();
  assert.equal(scene.wire.paused, false);
  assert.equal(uploads[0]?.pieces.length, 1);
});

test('a body that fills what it reads into gets more of it, and gives the first memory back', () => {
  const { scene } = uploadScene();
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1 << 20}\r\n\r\n`);
  scene.read('x'.repeat(64 * KIB));
  scene.read('x'.repeat(64 * KIB));
  assert.deepEqual([scene.buffers.largeLiveCount, scene.buffers.pooledCount], [1, 1]);
  scene.connection.onBroken();
  assert.deepEqual([scene.buffers.largeLiveCount, scene.buffers.pooledCount], [0, 2]);
});

test('a body that nobody wanted any more leaves the next one the memory that it needs', () => {
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

test('a request answered from within the end of its body, with nothing behind it, is the last one in a drain', () => {
  const scene = new Scene(answerBehindBody);
  scene.draining = true;
  scene.read(post('abc'));
  assert.deepEqual(scene.closings, [true]);
  assert.equal(scene.closedCount, 1);
});

test('behind a request answered from within the end of its body the time of an idle connection runs', () => {
  const scene = new Scene(answerBehindBody);
  scene.read(post('abc'));
  assert.deepEqual(scene.closings, [false]);
  assertIdle(scene);
});

test('a client that is no longer read because of its body is read again once its last answer is out', () => {
  const { scene, uploads } = uploadScene(({ downstream }) => downstream.pauseBody());
  scene.read(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${1 << 20}\r\n\r\n${'x'.repeat(2 * KIB)}`);
  assert.equal(scene.wire.paused, true);
  uploads[0]?.downstream.complete({ ...OK, status: 413 }, '');
  assert.deepEqual([scene.closings, scene.wire.ended, scene.wire.paused], [[true], true, false]);
});
