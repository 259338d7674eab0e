import assert from 'node:assert/strict';
import type { ClientHttp2Stream } from 'node:http2';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import type { H2Connection } from '../../../src/upstream/h2/h2-connection.ts';
import { hook, type StreamEvents } from '../../../src/upstream/h2/hooked-stream.ts';

function ownerOf(calls: string[]): StreamEvents {
  const noting = (name: string) => () => void calls.push(name);
  return {
    onFields: noting('fields'),
    onInterim: noting('interim'),
    onTrailers: noting('trailers'),
    onPiece: () => calls.push('piece') > 0,
    onEnded: noting('ended'),
    onDrain: noting('drain'),
    onClosed: noting('closed'),
  };
}

test('a closed stream lets its owner go', () => {
  const calls: string[] = [];
  const owner = ownerOf(calls);
  const session = { heard: false, leave: () => calls.push('left') } as unknown as H2Connection;
  const stream = hook(new Duplex() as ClientHttp2Stream, owner, session);
  stream.emit('drain');
  stream.emit('close');
  assert.deepEqual(calls, ['drain', 'left', 'closed']);
  const held = Object.getOwnPropertySymbols(stream).map((symbol) => Reflect.get(stream, symbol));
  assert.equal(held.includes(owner), false);
  stream.emit('drain');
  assert.equal(stream.push(Buffer.from('late')), false);
  assert.deepEqual(calls, ['drain', 'left', 'closed']);
});
