import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ACCESS_LINES, LineWriter } from '../../../src/infra/logging/line-writer.ts';
import { tempFolder } from '../../support/temp-folder.ts';
import { waitFor } from '../../support/wait.ts';

const writer = `
  import { ACCESS_LINES, LineWriter } from ${JSON.stringify(new URL('../../../src/infra/logging/line-writer.ts', import.meta.url).href)};
  const name = process.argv[1];
  const out = new LineWriter(ACCESS_LINES);
  let left = 400;
  const more = () => {
    for (let i = 0; i < 20 && left > 0; i++, left--) {
      out.write(JSON.stringify({ name, left, fill: name.repeat(1 + ((left * 37) % 3900)) }) + '\\n');
    }
    if (left > 0) setImmediate(more);
    else {
      out.flushSync();
      process.exit(0);
    }
  };
  more();
`;

// A shell, because node gives its child processes a socket instead of a pipe.
for (const [output, redirection] of [
  ['socket', ''],
  ['pipe', '| cat'],
  ['file', '> "$FILE"; cat "$FILE"'],
] as const) {
  test(`access lines of several processes on one ${output} never interleave and none is lost`, {
    timeout: 30_000,
  }, async (t) => {
    const node = JSON.stringify(process.execPath);
    const start = (name: string): string => `${node} --input-type=module -e "$WRITER" ${name} &`;
    const script = `{ ${['a', 'b', 'c'].map(start).join(' ')} wait; } ${redirection}`;
    const shell = spawn('sh', ['-c', script], {
      env: { ...process.env, WRITER: writer, FILE: join(tempFolder(t), 'log') },
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: fileURLToPath(new URL('../../..', import.meta.url)),
    });
    t.after(() => shell.kill());
    let text = '';
    shell.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    await once(shell, 'close');
    const seen = new Set<string>();
    for (const line of text.split('\n').slice(0, -1)) {
      const { name, left, fill }: { name: string; left: number; fill: string } = JSON.parse(line);
      assert.equal(fill, name.repeat(1 + ((left * 37) % 3900)));
      seen.add(`${name}${left}`);
    }
    assert.equal(seen.size, 3 * 400);
  });
}

interface Pipe {
  readFd: number;
  writeFd: number;
  openAgain(): number;
}

function makePipe(t: TestContext): Pipe {
  const path = join(tempFolder(t), 'pipe');
  execFileSync('mkfifo', [path]);
  const openAgain = () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const readFd = openAgain();
  const writeFd = openSync(path, constants.O_WRONLY);
  t.after(() => closeSync(writeFd));
  return { readFd, writeFd, openAgain };
}

/** linesOf reads from now on and returns the numbers of the lines so far. */
function linesOf(t: TestContext, fd: number): number[] {
  const reader = new Socket({ fd, readable: true, writable: false });
  t.after(() => reader.destroy());
  const numbers: number[] = [];
  let rest = '';
  reader.setEncoding('utf8').on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) numbers.push(JSON.parse(line).number);
  });
  return numbers;
}

const lineOf = (number: number, fillBytes: number) =>
  `${JSON.stringify({ number, fill: 'é'.repeat(fillBytes / 2) })}\n`;

test('for a stalled reader 4 MiB of lines are kept and whole lines dropped; the rest arrives when it reads again', async (t) => {
  const { readFd, writeFd } = makePipe(t);
  const out = new LineWriter(ACCESS_LINES, writeFd);
  const written = 1_600;
  for (let number = 0; number < written; number++) out.write(lineOf(number, 3_960));
  const kept = written - out.droppedCount;
  assert.ok(kept * 4_000 <= 4 * 1024 * 1024 + 64 * 1024, `${kept} lines kept`);
  assert.ok(kept * 4_000 > 3.5 * 1024 * 1024, `${kept} lines kept`);
  const numbers = linesOf(t, readFd);
  await waitFor('every line that was kept', () => numbers.length === kept);
  assert.deepEqual(
    numbers,
    Array.from({ length: kept }, (_, number) => number),
  );
  out.write(lineOf(written, 10));
  await waitFor('a line after the stall', () => numbers.at(-1) === written);
});

test('a pipe that cannot be opened again still gets its lines', async (t) => {
  const { readFd, writeFd, openAgain } = makePipe(t);
  // Without a reader opening it again fails (ENXIO), as for another user's pipe (EACCES).
  closeSync(readFd);
  const out = new LineWriter(ACCESS_LINES, writeFd);
  const numbers = linesOf(t, openAgain());
  for (let number = 0; number < 100; number++) out.write(lineOf(number, 3_000));
  await waitFor('all lines', () => numbers.length === 100);
  assert.equal(out.droppedCount, 0);
});

test('lines are dropped and counted when the reader is gone', async (t) => {
  const { readFd, writeFd } = makePipe(t);
  const out = new LineWriter(ACCESS_LINES, writeFd);
  closeSync(readFd);
  for (let number = 0; number < 30; number++) out.write(lineOf(number, 2_000));
  await waitFor('all to be counted', () => out.droppedCount === 30);
});

test('a single line is written without waiting for more, and a too long line is dropped', async (t) => {
  const path = join(tempFolder(t), 'log');
  const fd = openSync(path, 'w');
  t.after(() => closeSync(fd));
  const out = new LineWriter(ACCESS_LINES, fd);
  out.write(lineOf(1, 4_096));
  out.write(lineOf(2, 10));
  assert.equal(out.droppedCount, 1);
  await waitFor('the line', () => readFileSync(path, 'utf8') === lineOf(2, 10));
});

test('at exit a process gives up lines for a full disk in time', async (t) => {
  const fd = openSync('/dev/full', 'w');
  t.after(() => closeSync(fd));
  const out = new LineWriter(ACCESS_LINES, fd);
  for (let number = 0; number < 40; number++) out.write(lineOf(number, 3_000));
  const startMs = performance.now();
  out.flushSync();
  assert.ok(performance.now() - startMs < 1_900, 'a worker that takes 2 s to exit is killed');
  assert.ok(out.droppedCount > 0);
});

test('lost lines are reported when the output accepts lines again', async (t) => {
  const { readFd, writeFd } = makePipe(t);
  const out = new LineWriter(ACCESS_LINES, writeFd);
  let told = 0;
  out.onDropsOver = (lines) => {
    told += lines;
  };
  for (let number = 0; number < 1_600; number++) out.write(lineOf(number, 3_960));
  assert.ok(out.droppedCount > 0);
  assert.equal(told, 0);
  linesOf(t, readFd);
  await waitFor('the number', () => told === out.droppedCount);
});
