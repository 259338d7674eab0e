import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { LbError } from '../../../src/contract/errors.ts';
import type { LogSettings } from '../../../src/contract/settings.ts';
import { APPLICATION_LINES, LineWriter } from '../../../src/infra/logging/line-writer.ts';
import { type Logger, makeLogger, warnInto } from '../../../src/infra/logging/logger.ts';
import { prettyLine } from '../../../src/infra/logging/pretty.ts';
import { accessLine } from '../../../src/proxy/access-log.ts';
import { waitFor } from '../../support/wait.ts';

function makeLog(format: LogSettings['format']): { logger: Logger; lines: string[] } {
  const lines: string[] = [];
  const out = { write: (line: string) => void lines.push(line) };
  return { logger: makeLogger({ level: 'info', format }, { out, fields: { worker: 3 } }), lines };
}

const TIME = /^\[\d\d:\d\d:\d\d\.\d{3}\] /;

test('pretty: one line per event, with its level and fields as key=value', () => {
  const { logger, lines } = makeLog('pretty');
  logger.warn(
    { pool: 'app', reason: 'three in a row', addresses: ['a', 'b'], cause: null },
    'backend state changed',
  );
  logger.error({ err: new TypeError('a fault') }, 'failed');
  assert.equal(lines.length, 2);
  assert.match(lines[0] ?? '', TIME);
  assert.equal(
    lines[0]?.replace(TIME, ''),
    'WARN: backend state changed worker=3 pool=app reason="three in a row" addresses=a,b cause=null\n',
  );
  assert.match(lines[1] ?? '', / ERROR: failed worker=3 err="TypeError: a fault \| at .+"\n$/);
  assert.equal(lines[1]?.split('\n').length, 2);
});

test('pretty: control characters are escaped', () => {
  const { logger, lines } = makeLog('pretty');
  logger.info({ name: 'a\u001b[2J' }, 'b\u001b[2Jc\nd');
  assert.equal(lines[0]?.replace(TIME, ''), 'INFO: b [2Jc d worker=3 name="a\\u001b[2J"\n');
});

test('pretty: access lines have the same form', () => {
  const line = accessLine({
    time: '2026-11-29T12:00:00.000Z',
    requestId: 'r-1',
    traceId: null,
    clientIp: '127.0.0.1',
    clientId: null,
    method: 'GET',
    protocol: 'http/1.1',
    host: 'localhost',
    path: '/a b',
    status: 502,
    grpcStatus: null,
    reason: 'connect_failed',
    bytesIn: 0,
    bytesOut: 10,
    totalMs: 1.5,
    upstreamMs: null,
    queueMs: null,
    limiterMs: null,
    backend: 'b:1',
    attempts: 1,
    route: 'api',
    policies: ['default', 'daily'],
    userAgent: 'curl',
  });
  assert.equal(
    prettyLine(line, false).replace(TIME, ''),
    'INFO: GET localhost/a b 502 1.5ms reason=connect_failed clientIp=127.0.0.1 backend=b:1 route=api policies=default,daily requestId=r-1\n',
  );
});

test('expected errors are logged without a stack, faults with it', () => {
  const { logger, lines } = makeLog('json');
  const refused = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  logger.error({ err: refused }, 'a');
  logger.error({ err: new LbError('database_unavailable', 'away') }, 'b');
  logger.error({ err: new TypeError('a fault') }, 'c');
  const stacks = lines.map((line) => JSON.parse(line).err.stack);
  assert.deepEqual(stacks.slice(0, 2), [undefined, undefined]);
  assert.match(String(stacks[2]), /TypeError: a fault\n/);
});

test('the reason of an error is logged once, and a fault keeps its stack', () => {
  const { logger, lines } = makeLog('json');
  const cause = new Error('no space left');
  const held = new LbError('database_unavailable', 'it does not start: no space left', { cause });
  for (const err of [held, new LbError('database_unavailable', `away: ${held.message}`, { cause: held })])
    logger.error({ err }, 'a');
  logger.error({ err: new LbError('client_exists', 'there already', { cause }) }, 'a');
  logger.error({ err: new LbError('internal_error', 'a statement failed: no space left', { cause }) }, 'a');
  const logged = lines.map((line) => JSON.parse(line).err);
  assert.deepEqual(
    logged.map(({ message }) => message),
    [
      held.message,
      `away: ${held.message}`,
      'there already: no space left',
      'a statement failed: no space left',
    ],
  );
  assert.match(logged[3].stack, /logger\.test\.ts/);
});

test('a long log line is cut to the size that pipes write atomically', () => {
  for (const format of ['json', 'pretty'] as const) {
    const { logger, lines } = makeLog(format);
    const fault = new TypeError('é'.repeat(3_000));
    logger.error({ err: fault, problems: Array.from({ length: 500 }, (_, i) => `problem ${i}`) }, 'failed');
    logger.info({ text: 'a'.repeat(3_700) }, 'short enough');
    assert.ok(Buffer.byteLength(lines[0] ?? '') <= 4_000, `${lines[0]}`);
    assert.match(lines[0] ?? '', /failed/);
    assert.match(lines[0] ?? '', /TypeError/);
    assert.match(lines[0] ?? '', /problem 0\W+problem 1\W/);
    assert.ok(lines[1]?.includes('a'.repeat(3_700)), 'a line that fits stays as it is');
  }
});

test('a warning of node goes to the log instead of standard error', async (t) => {
  const listeners = process.listeners('warning');
  t.after(() => {
    process.removeAllListeners('warning');
    for (const listener of listeners) process.on('warning', listener);
  });
  const { logger, lines } = makeLog('json');
  warnInto(logger);
  assert.equal(process.listenerCount('warning'), 1, 'the listener that writes to standard error is gone');
  process.emitWarning('look here');
  await waitFor('the warning', () => lines.some((line) => line.includes('look here')));
});

test('a fatal line does not block: the process may have requests in flight', (t) => {
  const fd = openSync('/dev/full', 'w');
  t.after(() => closeSync(fd));
  const out = new LineWriter(APPLICATION_LINES, fd);
  const startMs = performance.now();
  makeLogger({ level: 'info', format: 'json' }, { out }).fatal('the end');
  assert.ok(performance.now() - startMs < 400);
  out.flushSync();
  assert.ok(performance.now() - startMs < 1_900, 'at the exit it does, with a deadline');
  assert.equal(out.droppedCount, 1);
});

test('ecs: names of the Elastic Common Schema, and all others below `sluice`', () => {
  const { logger, lines } = makeLog('ecs');
  logger.warn({ pool: 'app', host: 'a', requestId: 'r-1', peer: '::1' }, 'backend state changed');
  logger.error({ err: new TypeError('a fault') }, 'failed');
  logger.error({ err: new LbError('listen_failed', 'no port'), stack: 'x'.repeat(9_000) }, 'cannot serve');
  const [changed, failed, expected] = lines.map((line) => JSON.parse(line));
  assert.deepEqual(Object.keys(changed).slice(0, 3), ['@timestamp', 'log.level', 'message']);
  assert.match(changed['@timestamp'], /^\d{4}-\d\d-\d\dT.+Z$/);
  const { '@timestamp': _, ...rest } = changed;
  assert.deepEqual(rest, {
    'log.level': 'warn',
    message: 'backend state changed',
    'ecs.version': '8.17.0',
    'service.name': 'sluice',
    'event.dataset': 'sluice.log',
    'process.pid': process.pid,
    'http.request.id': 'r-1',
    'client.address': '::1',
    sluice: { worker: 3, pool: 'app', host: 'a' },
  });
  assert.deepEqual([failed['error.type'], failed['error.message']], ['TypeError', 'a fault']);
  assert.match(failed['error.stack_trace'], /TypeError: a fault\n +at /);
  assert.deepEqual([expected['error.code'], expected['error.stack_trace']], ['listen_failed', undefined]);
  assert.ok(lines.every((line) => Buffer.byteLength(line) <= 4_001));
});
