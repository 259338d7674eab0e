import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { ACCESS_LINES, LineWriter } from '../../../src/infra/logging/line-writer.ts';
import { ProcessLog } from '../../../src/infra/logging/process-log.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';

const BASE = { level: 'info', format: 'json' } as const;

function makeLog(t: TestContext, file: string): { log: ProcessLog; access: LineWriter } {
  const access = new LineWriter(ACCESS_LINES);
  const log = new ProcessLog({ access });
  log.configure({ ...BASE, file });
  t.after(() => {
    log.application.flushSync();
    access.flushSync();
    log.configure({ ...BASE, file: null });
  });
  return { log, access };
}

const textOf = (path: string): string => (existsSync(path) ? readFileSync(path, 'utf8') : '');
const openCount = (): number => readdirSync('/proc/self/fd').length;

test('both logs go to the file, which its user and its group may read', async (t) => {
  const file = join(tempFolder(t), 'sluice.log');
  const { log, access } = makeLog(t, file);
  log.logger.info('an event');
  access.write('{"a":1}\n');
  await waitFor('both lines', () => /an event/.test(textOf(file)) && /"a":1/.test(textOf(file)));
  assert.equal(statSync(file).mode & 0o777, 0o640 & ~process.umask());
});

test('after a move every line is in one of both files, also those that waited or were being written', async (t) => {
  const folder = tempFolder(t);
  const file = join(folder, 'sluice.log');
  const { log, access } = makeLog(t, file);
  let count = 0;
  const write = (lines: number) => {
    for (const end = count + lines; count < end; count++) access.write(`${count} ${'x'.repeat(100)}\n`);
  };
  for (let moved = 0; moved < 10; moved++) {
    write(3_000);
    // One batch is with the thread pool now.
    await new Promise((resolve) => setImmediate(resolve));
    renameSync(file, `${file}.${moved}`);
    log.reopen();
    write(10);
  }
  access.flushSync();
  assert.equal(access.droppedCount, 0);
  await waitFor('all lines', () => {
    const texts = readdirSync(folder).map((name) => textOf(join(folder, name)));
    const seen = new Set(texts.flatMap((text) => text.split('\n')).map((line) => line.split(' ')[0]));
    return Array.from({ length: count }, (_, i) => String(i)).every((number) => seen.has(number));
  });
});

test('reopening leaves no descriptor open, and a file that cannot be opened leaves the open one in use', async (t) => {
  const folder = tempFolder(t);
  const file = join(folder, 'sluice.log');
  const { log, access } = makeLog(t, file);
  const before = openCount();
  for (let i = 0; i < 50; i++) log.reopen();
  await waitFor('the descriptors of before to be closed', () => openCount() <= before);
  renameSync(file, `${file}.1`);
  execFileSync('mkfifo', [file]);
  log.reopen();
  access.write('still here\n');
  await waitFor('the line in the open file', () => textOf(`${file}.1`).includes('still here'));
  assert.match(
    textOf(`${file}.1`),
    /the log file is not reopened.*ENXIO|ENXIO.*the log file is not reopened/,
  );
  assert.throws(() => log.configure({ ...BASE, file: join(folder, 'no', 'folder') }), {
    code: 'log_file_failed',
    message: /cannot open the log file .*no\/folder: ENOENT/,
  });
  access.write('and here\n');
  await waitFor('the next line there', () => textOf(`${file}.1`).includes('and here'));
});

test('a FIFO that has a reader is a log file, and lines nobody reads are bounded', async (t) => {
  const fifo = join(tempFolder(t), 'log');
  execFileSync('mkfifo', [fifo]);
  chmodSync(fifo, 0o600);
  const { openSync, closeSync, readSync, constants } = await import('node:fs');
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(reader));
  const { access } = makeLog(t, fifo);
  const line = `${'y'.repeat(3_000)}\n`;
  for (let i = 0; i < 3_000; i++) access.write(line);
  assert.ok(access.droppedCount > 1_000, `${access.droppedCount}`);
  const buffer = Buffer.alloc(65_536);
  assert.ok(readSync(reader, buffer) >= line.length);
  assert.equal(buffer.toString('latin1', 0, line.length), line);
});

test('the form of both logs changes with the next line', async (t) => {
  const file = join(tempFolder(t), 'sluice.log');
  const { log } = makeLog(t, file);
  log.logger.info('one');
  log.configure({ ...BASE, format: 'pretty', file });
  log.logger.info('two');
  log.configure({ level: 'warn', format: 'json', file });
  log.logger.info('silent');
  log.logger.warn('three');
  await waitFor('three lines', () => textOf(file).split('\n').length === 4);
  const [one, two, three] = textOf(file).split('\n');
  assert.match(one ?? '', /"msg":"one"/);
  assert.match(two ?? '', /^\[[\d:.]+\] INFO: two/);
  assert.match(three ?? '', /"msg":"three"/);
});

test('a log file of which only one of two descriptors can be opened leaves none open', () => {
  const source = (name: string) => new URL(`../../../src/infra/logging/${name}`, import.meta.url).href;
  const script = `
    import { closeSync, openSync } from 'node:fs';
    import { ProcessLog } from '${source('process-log.ts')}';
    import { ACCESS_LINES, LineWriter } from '${source('line-writer.ts')}';
    const log = new ProcessLog({ access: new LineWriter(ACCESS_LINES) });
    const open = () => {
      try {
        return openSync('/dev/null');
      } catch {
        return null;
      }
    };
    let [last, fd] = [null, open()];
    for (; fd !== null; fd = open()) last = fd;
    closeSync(last);
    try {
      log.configure({ level: 'info', format: 'json', file: '/dev/null' });
      process.exit(2);
    } catch (error) {
      if (error.code !== 'log_file_failed') throw error;
    }
    // The close is asynchronous.
    setInterval(() => open() !== null && process.exit(0), 10);
    setTimeout(() => process.exit(3), 5_000);`;
  const run = ['-c', 'ulimit -n 64; exec "$0" --input-type=module -e "$1"', process.execPath, script];
  execFileSync('/bin/sh', run, { timeout: 30_000 });
});
