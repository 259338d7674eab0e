import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pino } from 'pino';
import { SystemdNotifier } from '../../../src/primary/systemd/notifier.ts';

test('another process can take the place of this one where systemd can be told of it, and not as the first one of a container', () => {
  const logger = pino({ level: 'silent' });
  for (const [env, pid, expected] of [
    [{}, 100, false],
    [{ NOTIFY_SOCKET: '/run/notify' }, 100, true],
    [{ NOTIFY_SOCKET: '/run/notify' }, 1, false],
  ] as const) {
    assert.equal(new SystemdNotifier(env, logger, pid).canNameAnother, expected, JSON.stringify([env, pid]));
  }
});
