/** How a session ends where its wire fails, or where its owner cuts it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { headers, TYPES } from '../support/h2-frames.ts';
import { RawSession } from './raw-session.ts';
import { requestOf, turns } from './session-scene.ts';

const ANSWER = headers(1, [[':status', '200']]);

function clientWith(log: string[]): RawSession {
  const session = new RawSession({ isServer: false }).begin();
  session.host.onAny = (event) => log.push(event);
  return session;
}

test('after a failed write no stream may begin, and an answer that came before is delivered', async () => {
  const log: string[] = [];
  const session = clientWith(log);
  const [answered, lost] = [session.host.open(), session.host.open(requestOf('POST'), false)];
  const error = new Error('EPIPE');
  session.host.session.onWriteError(error);
  assert.deepEqual([log, session.host.goaways], [['unwritable'], []]);
  session.send(ANSWER);
  assert.deepEqual(answered.log, ['fields, the last', 'end', 'closed']);
  await turns(3);
  assert.deepEqual([lost.log, session.host.closedBy], [['closed'], error]);
  assert.deepEqual(log, ['unwritable', 'stream closed', 'stream closed', 'closed']);
});

test('a failed write ends a session at once that waits for nothing', () => {
  for (const isServer of [true, false]) {
    const log: string[] = [];
    const session = new RawSession({ isServer }).begin();
    session.host.onAny = (event) => log.push(event);
    const error = new Error('EPIPE');
    session.host.session.onWriteError(error);
    assert.deepEqual([log, session.host.closedBy, session.wire.closed], [['closed'], error, true]);
  }
});

test('cut closes the streams and the wire, and tells the peer nothing', () => {
  const session = clientWith([]);
  const owner = session.host.open();
  session.written();
  const error = new Error('no answer to a PING');
  session.host.session.cut(error);
  assert.deepEqual([owner.log, owner.stream.isWhole, session.host.closedBy], [['closed'], false, error]);
  assert.deepEqual([session.wire.closed, session.wire.ended, session.host.isWireClosed], [true, false, true]);
  assert.ok(session.written().every(({ type }) => type !== TYPES.goaway));
});
