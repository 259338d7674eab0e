/** `sluice init`: writes a configuration for the case at hand, with the answers of whoever sits at the terminal or with options. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import type { Command } from 'commander';
import { loadConfig } from '../config/load.ts';
import { formatProblems } from '../config/problems.ts';
import { systemCodeOf } from '../contract/errors.ts';
import { type InitAnswers, initText, isPassword } from './init-text.ts';
import { refuse } from './refuse.ts';

const DEFAULT_FILE = 'sluice.yaml';
const DEFAULT_LIMIT = '100/50';

interface InitOptions {
  backend?: string[];
  listen?: string;
  limit?: string;
  redis?: string;
  postgres?: string;
  tls?: string;
  agreeToTerms?: boolean;
}

/** addInit gives the command `init` its options and its action; for cli.ts. */
export function addInit(command: Command): void {
  command
    .argument('[file]', `where to write it (default: that of --config, $CONFIG_PATH, then ${DEFAULT_FILE})`)
    .option('--backend <url...>', 'where requests go; several share them')
    .option('--listen <address>', 'where to accept requests (default: :8080, with --tls :443)')
    .option('--limit <n/s>', 'limit of each client: a burst of n requests, then s per second')
    .option('--redis <url>', 'shares the limits with other machines')
    .option('--postgres <url>', 'keeps the clients (default: a database of its own in ./data)')
    .option('--tls <names|cert,key>', "host names, for Let's Encrypt; or two PEM files")
    .option('--agree-to-terms', "you agree to the terms of service of Let's Encrypt")
    .action(async (given: string | undefined, options: InitOptions) => {
      const { config } = command.optsWithGlobals<{ config?: string }>();
      if (given !== undefined && config !== undefined)
        return refuse('sluice: where to write it was given twice: as FILE, and by --config');
      const isAsking = options.backend === undefined && process.stdin.isTTY && process.stdout.isTTY;
      const file = given ?? config ?? (process.env.CONFIG_PATH || DEFAULT_FILE);
      const refusal = write(file, isAsking ? await ask(options) : options);
      if (refusal.length > 0) refuse(...refusal);
    });
}

/** An empty answer takes what is in brackets. */
async function ask(options: InitOptions): Promise<InitOptions> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout });
  // It keeps lines that are pasted before their question.
  const lines = terminal[Symbol.asyncIterator]();
  const answer = async (question: string, given?: string): Promise<string | undefined> => {
    if (given !== undefined) return given;
    terminal.setPrompt(`${question}: `);
    terminal.prompt();
    const { value, done } = await lines.next();
    if (done) throw new Error('not all questions were answered, so nothing was written');
    return value.trim() || undefined;
  };
  try {
    const backends = (await answer('Backends, URLs with spaces between them')) ?? '';
    const listen = await answer('Where to accept requests [:8080, with TLS :443]', options.listen);
    const limit = await answer(
      `Limit of each client, burst/per second, or off [${DEFAULT_LIMIT}]`,
      options.limit,
    );
    const redis = await answer('URL of a Redis that shares limits with other machines [none]', options.redis);
    const postgres = await answer('URL of a PostgreSQL for clients [none: one of its own]', options.postgres);
    const tls = await answer("TLS: host names for Let's Encrypt, or CERT,KEY [none]", options.tls);
    const isAgreed = tls === undefined || isFiles(tls) || options.agreeToTerms;
    const agreement =
      isAgreed || (await answer("You agree to the terms of service of Let's Encrypt? yes/[no]"));
    return {
      backend: backends.split(/[\s,]+/).filter((word) => word !== ''),
      ...{ listen, redis, postgres, tls },
      limit: limit === 'off' ? undefined : (limit ?? DEFAULT_LIMIT),
      agreeToTerms: agreement === true || /^y(es)?$/i.test(String(agreement)),
    };
  } finally {
    terminal.close();
  }
}

/** Names or files as people type them: with commas, blanks or both between. */
function wordsOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}

/** Two paths; a host name has no slash and does not end in the usual endings of such files. */
function isFiles(tls: string): boolean {
  const parts = wordsOf(tls);
  return parts.length === 2 && parts.every((part) => /\/|\.(pem|crt|cer|key)$/i.test(part));
}

/** Returns why nothing was written; empty: it was. */
function write(file: string, options: InitOptions): string[] {
  const { backend = [], listen, limit, redis, postgres, tls } = options;
  if (backend.length === 0) return ['sluice: where should requests go? give --backend URL'];
  if (limit !== undefined && !/^\d+\/\d+(\.\d+)?$/.test(limit))
    return [`sluice: the limit must be like ${DEFAULT_LIMIT}`];
  const isNamed = tls !== undefined && !isFiles(tls);
  if (isNamed && !options.agreeToTerms)
    return ["sluice: Let's Encrypt asks you to agree to its terms of service: add --agree-to-terms"];
  const [capacity, refillPerSecond] = (limit ?? '').split('/').map(Number);
  const answers: InitAnswers = {
    backends: backend.map((url) => (/^[a-z]+:\/\//i.test(url) ? url : `http://${url}`)),
    listen: listen ?? (tls === undefined ? ':8080' : ':443'),
    names: isNamed ? wordsOf(tls) : [],
    files: tls !== undefined && !isNamed ? wordsOf(tls) : [],
    limit: capacity === undefined || refillPerSecond === undefined ? null : { capacity, refillPerSecond },
    redis: redis ?? null,
    postgres: postgres ?? null,
  };
  return writeChecked(file, initText(answers), [redis, postgres].some(isPassword) ? 0o600 : 0o644);
}

/** A file that is there stays as it is. One that `sluice check` would refuse is removed again. */
function writeChecked(file: string, text: string, mode: number): string[] {
  try {
    writeFileSync(file, text, { flag: 'wx', mode });
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return [`sluice: ${file} exists already, and stays as it is`];
    throw error;
  }
  const loaded = loadConfig(file, process.env);
  if ('problems' in loaded) {
    // It is removed only if it is still what was written a moment ago.
    if (readFileSync(file, 'utf8') === text) rmSync(file);
    return [...formatProblems(file, loaded.problems), 'sluice: nothing was written'];
  }
  const lines = formatProblems(file, loaded.warnings, 'warning: ');
  const isReal = loaded.settings.database.url !== null;
  const next = `next: sluice ${isReal ? 'migrate up' : 'serve'} --config ${file}${isReal ? ', then serve' : ''}`;
  process.stdout.write(`${[...lines, `wrote ${file}`, next].join('\n')}\n`);
  return [];
}
