/** A program in a pseudo-terminal, made by script(1) of util-linux: what it shows, keys, another size. */
import { execFileSync, spawn } from 'node:child_process';
import type { TestContext } from 'node:test';
import { waitFor } from './wait.ts';

export interface Terminal {
  /** All that was written to it so far. */
  shown(): string;
  /** The same without the sequences that move and colour, and without what a backspace takes away. */
  plain(): string;
  type(keys: string): void;
  resize(columns: number, rows: number): void;
  /** sees waits for a text in what is shown after the call before it returned. */
  sees(text: string): Promise<void>;
  /** The exit code, once it has ended. */
  readonly exited: Promise<number | null>;
}

/** startTerminal runs a shell command; it ends with the test. @param env added to the test's environment */
export function startTerminal(
  t: TestContext,
  command: string,
  {
    columns = 80,
    rows = 24,
    env = {},
    cwd,
  }: { columns?: number; rows?: number; env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Terminal {
  const inner = `stty cols ${columns} rows ${rows}; tty; exec ${command}`;
  const child = spawn('script', ['-qec', inner, '/dev/null'], {
    cwd,
    env: { ...process.env, TERM: 'xterm-256color', NODE_TEST_CONTEXT: undefined, ...env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(() => child.kill('SIGKILL'));
  let shown = '';
  let seen = 0;
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    shown += text;
  });
  // Keys that nobody reads any more.
  child.stdin.on('error', () => undefined);
  return {
    shown: () => shown,
    plain: () => plainOf(shown),
    type: (keys) => void child.stdin.write(keys),
    resize: (width, height) => {
      const [, device = ''] = /(\/dev\/pts\/\d+)/.exec(shown) ?? [];
      execFileSync('stty', ['-F', device, 'cols', String(width), 'rows', String(height)]);
    },
    sees: async (text) => {
      await waitFor(`"${text}" in the terminal`, () => plainOf(shown.slice(seen)).includes(text));
      seen = shown.length;
    },
    exited: new Promise((resolve) => child.on('close', (code) => resolve(code))),
  };
}

function plainOf(text: string): string {
  return text.replace(/\u001b(\[[0-9;?]*[A-Za-z]|\][^\u0007]*\u0007|[=>78])/g, '').replace(/.\u0008/g, '');
}
