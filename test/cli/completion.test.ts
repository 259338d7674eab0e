/** Completion in real shells: the script is sourced, a line is typed, TAB is pressed by the shell's own means. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startAdmin } from '../primary/admin/harness.ts';
import { runToEnd } from '../support/child.ts';
import { runSluice } from '../support/run-sluice.ts';
import { sluiceCommand } from '../support/sluice-command.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { startTerminal } from '../support/terminal.ts';
import { hasTool } from '../support/tools.ts';

/** The candidates of `sluice complete`, without their descriptions. */
async function candidates(t: TestContext, ...words: string[]): Promise<string[]> {
  const { code, out, err } = await runSluice(t, ['complete', '--', ...words]);
  assert.deepEqual([code, err], [0, '']);
  return out === '' ? [] : out.split('\n').map((line) => line.split('\t')[0] ?? '');
}

test('commands, options, choices and files are completed from the tree of commands', async (t) => {
  const cases: [string[], string[]][] = [
    [['re'], ['reload', 'restart']],
    [
      ['config', ''],
      ['show', 'diff', 'help'],
    ],
    [
      ['clients', 'set', 'acme', '--mode', ''],
      ['limit', 'unlimited', 'blocked'],
    ],
    [['clients', 'set', 'acme', '--mode=un'], ['--mode=unlimited']],
    [
      ['migrate', ''],
      ['up', 'down', 'status'],
    ],
    [['check', '--config', ''], [':files']],
    [['clients', 'list', '--ad'], ['--admin']],
    [['comp'], ['completion']],
  ];
  const seen = await Promise.all(cases.map(([words]) => candidates(t, ...words)));
  assert.deepEqual(
    seen,
    cases.map(([, expected]) => expected),
  );
});

test('names of pools, backends and clients come from a running Sluice, and nothing where there is none', async (t) => {
  const { url, parts } = await startAdmin(t, { settings: { token: 'tok' } });
  const input = { mode: 'limit', capacity: null, refillPerSecond: null, limits: {} } as const;
  for (const id of ['acme', 'acorn', 'zeta']) parts.clients.rows.set(id, input);
  const at = ['--admin', url, '--token', 'tok'];
  assert.deepEqual(
    await Promise.all([
      candidates(t, 'drain', ...at, ''),
      candidates(t, 'drain', 'app', ...at, ''),
      candidates(t, 'clients', ...at, 'get', 'ac'),
      candidates(t, 'drain', '--admin', url, ''),
      candidates(t, 'drain', '--admin', 'http://127.0.0.1:1', ''),
    ]),
    [['app', 'bare'], ['one', '[::1]:8082'], ['acme', 'acorn'], [], []],
  );
});

test('bash completes words, also those with a colon', async (t) => {
  if (!hasTool(t, 'bash')) return;
  const { url } = await startAdmin(t);
  const script = `source <(sluice completion bash)
    for COMP_LINE; do
      COMP_POINT=\${#COMP_LINE}
      _sluice
      echo "\${COMPREPLY[@]}"
    done`;
  const lines = ['config sh', `enable --admin ${url} app [::1]:80`, 'clients set a --mode=bl'];
  const typed = lines.map((words) => `sluice ${words}`);
  const options = { env: sluiceCommand(t) };
  const { stdout, stderr } = await runToEnd('bash', ['-c', script, 'bash', ...typed], options);
  assert.deepEqual([stdout, stderr], [['show', '8082', 'blocked'], []]);
});

// scripts/services.sh installs these two for CI alone.
test('fish completes words with their descriptions', async (t) => {
  if (!hasTool(t, 'fish')) return;
  const { url } = await startAdmin(t);
  const folder = tempFolder(t, 'sluice-fish-');
  const press = async (words: string): Promise<string[]> => {
    const script = `sluice completion fish | source; complete -C "sluice ${words}"`;
    // Fish keeps files below its home.
    const env = { ...sluiceCommand(t), HOME: folder };
    const { code, stdout, stderr } = await runToEnd('fish', ['--no-config', '-c', script], { env });
    assert.deepEqual([code, stderr], [0, []]);
    return stdout;
  };
  assert.deepEqual(await press('config sh'), [
    'show\tprint the running configuration, defaults too, without secrets',
  ]);
  assert.deepEqual(await press(`enable --admin ${url} app [::1]:80`), ['[::1]:8082\tunknown']);
});

test('zsh completes words in a terminal', async (t) => {
  if (!hasTool(t, 'zsh')) return;
  const { url } = await startAdmin(t);
  const env = sluiceCommand(t);
  const terminal = startTerminal(t, "env PS1='next> ' zsh -f -i", { columns: 200, env });
  await terminal.sees('next> ');
  terminal.type(
    'autoload -U compinit && compinit -D -u && source <(sluice completion zsh) && echo re"ady"\r',
  );
  await terminal.sees('ready');
  terminal.type('sluice config sh\t--json');
  await terminal.sees('sluice config show --json');
  terminal.type(`\u0015sluice enable --admin ${url} app on\t`);
  await terminal.sees('app one ');
  terminal.type('\u0015exit\r');
  await terminal.exited;
});
