/** README.md and docs/first-steps.md: the walk through the demo shows what the pages say. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { spawnChild } from '../support/child.ts';
import { consoleSteps, hereOf, runConsole } from '../support/doc-console.ts';
import { freePort } from '../support/free-port.ts';
import { copyMadeDatabase } from '../support/made-database.ts';
import { spawnSluice } from '../support/sluice.ts';
import { sluiceCommand } from '../support/sluice-command.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8');

test('the first steps lead through the demo', async (t) => {
  // In the order of the ports of the page, for `sort`.
  const free = await Promise.all(Array.from({ length: 5 }, freePort));
  free.sort((one, other) => one - other);
  const places = ['8081', '8082', '8083', '8080', '9900'].map((port, index): [string, string] => [
    port,
    String(free[index]),
  ]);
  const three = places.slice(0, 3).map(([, port]) => port);
  const words = ['scripts/demo.ts', '--backends-only', `--ports=${three}`];
  const backends = spawnChild(process.execPath, words, { cwd: ROOT });
  t.after(() => backends.stop());
  for (const port of three) await backends.waitForLine(`backend ${port} listening`);

  const folder = tempFolder(t);
  mkdirSync(join(folder, 'config'));
  const config = textOf('config/local.yaml').replace('format: pretty', 'format: json');
  writeFileSync(join(folder, 'config/local.yaml'), hereOf(config, places));
  await copyMadeDatabase(folder);
  const sluice = spawnSluice(['serve'], { folder });
  t.after(() => sluice.stop());
  await sluice.waitForLine('"msg":"ready"');
  // Any of the three may be the first.
  const steps = consoleSteps(textOf('README.md').replace('X-Backend: 8082', 'X-Backend: 808…'));
  assert.equal(steps.length, 1);
  steps.push(...consoleSteps(textOf('docs/first-steps.md')));
  await runConsole(steps, { env: sluiceCommand(t), cwd: folder, places });
});
