import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const writer = `
  import { LineWriter } from ${JSON.stringify(new URL('../../src/infra/logger.ts', import.meta.url).href)};
  const name = process.argv[1];
  const out = new LineWriter();
  let left = 400;
  const more = () => {
    for (let i = 0; i < 20 && left > 0; i++, left--) {
      out.write(JSON.stringify({ name, left, fill: name.repeat(1 + ((left * 37) % 3900)) }) + '\\n');
    }
    if (left > 0) setImmediate(more);
    else out.flushSync();
  };
  more();
`;

test('access lines of several processes on one pipe never interleave and none is lost', {
  timeout: 30_000,
}, async (t) => {
  // One pipe for all: the shell's, as under a supervisor that reads a service's output.
  const node = JSON.stringify(process.execPath);
  const start = (name: string): string => `${node} --input-type=module -e "$WRITER" ${name} &`;
  const shell = spawn('sh', ['-c', `${['a', 'b', 'c'].map(start).join(' ')} wait`], {
    env: { ...process.env, WRITER: writer },
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: fileURLToPath(new URL('../..', import.meta.url)),
  });
  t.after(() => shell.kill());
  let text = '';
  shell.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
  });
  await once(shell, 'close');
  const lines = text.split('\n').slice(0, -1);
  assert.equal(lines.length, 3 * 400);
  for (const line of lines) {
    const { name, fill }: { name: string; fill: string } = JSON.parse(line);
    assert.equal(fill, name.repeat(fill.length));
  }
});
