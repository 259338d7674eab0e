/** docs/quickstart.md: its commands, in their order, show what the page says. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runToEnd, spawnChild } from '../support/child.ts';
import { buildDashboard } from '../support/dashboard.ts';
import { consoleSteps, hereOf, runConsole } from '../support/doc-console.ts';
import { docCommands } from '../support/doc-example.ts';
import { freePort } from '../support/free-port.ts';
import { copyMadeDatabase } from '../support/made-database.ts';
import { sluiceCommand } from '../support/sluice-command.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor, within } from '../support/wait.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

test('the quickstart leads from a checkout to a service with limits', async (t) => {
  const page = readFileSync(join(ROOT, 'docs/quickstart.md'), 'utf8');
  const [backends = ''] = docCommands('quickstart.md', '1. Something to balance');
  // As if the dashboard were older than its sources.
  const asked = ['-n', '-W', 'scripts/build-dashboard.ts', ...backends.split(' ').slice(1)];
  const made = await runToEnd('make', ['--no-print-directory', ...asked], { cwd: ROOT });
  const [built = '', started = ''] = made.stdout.slice(-2);
  assert.match(built, /scripts\/build-dashboard\.ts$/);
  assert.match(started, /scripts\/demo\.ts --backends-only$/);
  await buildDashboard();

  const folder = tempFolder(t);
  await copyMadeDatabase(folder);
  const ports: [string, string][] = [];
  for (const said of ['8081', '8082', '8083', '8080', '9900']) ports.push([said, String(await freePort())]);
  const three = ports.slice(0, 3).map(([, port]) => port);
  const demo = spawnChild(process.execPath, ['scripts/demo.ts', '--backends-only', `--ports=${three}`], {
    cwd: ROOT,
  });
  t.after(() => demo.stop());
  for (const port of three) await demo.waitForLine(`backend ${port} listening`);

  const [before = '', after = ''] = page.split('\n## 3. Serve\n');
  const env = sluiceCommand(t);
  const run = (text: string) => runConsole(consoleSteps(text), { env, cwd: folder, places: ports });
  await run(before);
  const file = join(folder, 'sluice.yaml');
  // The file of `init` has the default addresses, and a stop of the defaults takes seconds.
  const text = readFileSync(file, 'utf8').replace(
    '# timeouts: { drainGrace: 5s',
    'timeouts: { drainGrace: 0s',
  );
  writeFileSync(
    file,
    ports.slice(3).reduce((all, [said, real]) => all.replace(`:${said}`, `:${real}`), text),
  );
  const [serve, stop] = ['3. Serve', '6. Stop'].map((step) => docCommands('quickstart.md', step).join('\n'));
  const shell = spawnChild(
    'bash',
    ['-c', `${serve}\nuntil [ -e stop ]; do sleep 0.1; done\n${stop}\nwait %1`],
    { cwd: folder, env: { ...env, CONFIG_PATH: 'sluice.yaml' } },
  );
  t.after(() => shell.kill());
  const log = join(folder, 'sluice.log');
  await waitFor('ready', () => readFileSync(log, 'utf8').includes('"msg":"ready"'));
  const [dashboard = ''] = page.match(/http:[^>\s]+:9900\//) ?? [];
  const shown = await fetch(hereOf(dashboard, ports));
  assert.match(await shown.text(), /<title>Sluice/, `${dashboard} of the page: ${shown.status}`);
  await run(`\`\`\`console\n$ export CONFIG_PATH=sluice.yaml\n\`\`\`\n${after}`);
  writeFileSync(join(folder, 'stop'), '');
  assert.equal((await within(shell.exited, 15_000, 'the last step to stop Sluice')).code, 0);
});
