/** The way from a path to Settings; `check`, `serve`, `migrate` and every reload go through loadConfig. */
import { closeSync, openSync, readSync } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { systemCodeOf, toError } from '../contract/errors.ts';
import type { AdminSettings, Settings } from '../contract/settings.ts';
import { checkDraft } from './checks.ts';
import { compileAdmin, compileSettings } from './compile.ts';
import { type Problem, pathText, sortProblems } from './problems.ts';
import { adminSchema, configSchema, type FileConfig } from './schema/schema.ts';
import { type Finding, findingsOf } from './schema/schema-issues.ts';
import { isMapping, salvage } from './schema/schema-walk.ts';
import type { Environment } from './substitution.ts';
import { parseYaml, type YamlSource } from './yaml-source.ts';

export type LoadResult = { settings: Settings } | { problems: Problem[] };

/** Above any hand-written file; bounds what a wrong path can cost. */
const MAX_FILE_BYTES = 1024 * 1024;

/**
 * loadConfig reads, parses and checks a file; never throws. Gives deep-frozen Settings, or every problem at once, sorted
 * by line.
 *
 * @param env where `${VAR}`, REDIS_URL, DATABASE_URL and SLUICE_KEY_SECRET come from
 */
export function loadConfig(path: string, env: Environment): LoadResult {
  const read = readText(path);
  return 'message' in read ? ofFile(read.message) : parseConfig(read.text, env);
}

/** parseConfig is loadConfig for a text at hand. */
export function parseConfig(text: string, env: Environment): LoadResult {
  const source = parseYaml(text, env);
  if (source.value === undefined) return { problems: sortProblems(source.problems) };
  if (source.value === null && source.problems.length === 0) return ofFile('the file is empty');
  const { raw, variables } = withEnvironment(source.value, env);
  const parsed = configSchema.safeParse(raw);
  const findings = parsed.success ? [] : findingsOf(configSchema, parsed.error.issues);
  findings.push(...checkDraft(salvage(configSchema, raw) ?? {}, isMapping(raw) && 'rateLimit' in raw));
  const problems = findings
    .filter(({ path }) => !source.failed(path))
    .map((finding) => locate(finding, source, variables));
  problems.push(...source.problems);
  if (parsed.success && problems.length === 0) return settingsOf(parsed.data);
  return { problems: sortProblems(problems) };
}

/**
 * loadAdmin reads only the block `admin`, for `sluice clients`: other mistakes in the file, and variables that only the
 * server has, do not matter there.
 *
 * @param token in place of admin.token, which is then not read; null: admin.token
 */
export function loadAdmin(
  path: string,
  env: Environment,
  token: string | null,
): { admin: AdminSettings } | { problems: Problem[] } {
  const read = readText(path);
  if ('message' in read) return ofFile(read.message);
  const source = parseYaml(read.text, env);
  const { admin = {} } = isMapping(source.value) ? source.value : {};
  const written = token !== null && isMapping(admin) ? { ...admin, token } : admin;
  const problems = source.problems.filter(
    ({ path: at }) => at === null || (/^admin\b/.test(at) && !(at === 'admin.token' && token !== null)),
  );
  const parsed = adminSchema.safeParse(written);
  if (parsed.success && problems.length === 0) return { admin: compileAdmin(parsed.data) };
  const findings = parsed.success ? [] : findingsOf(adminSchema, parsed.error.issues);
  const located = findings.map(({ path: at, message }) =>
    locate({ path: ['admin', ...at], message }, source, new Map()),
  );
  return {
    problems: sortProblems([
      ...located.filter(({ path: at }) => !problems.some((each) => each.path === at)),
      ...problems,
    ]),
  };
}

function settingsOf(config: FileConfig): LoadResult {
  return { settings: compileSettings(config) };
}

/** Keys whose change only a restart applies. */
const RESTART_KEYS = ['listen', 'accept', 'workers', 'admin', 'redis', 'database'] as const;

/** changedRestartKeys names the keys that differ and may not in a reload; for the reloader's 422. */
export function changedRestartKeys(before: Settings, after: Settings): string[] {
  return RESTART_KEYS.filter((key) => !isDeepStrictEqual(before[key], after[key]));
}

function ofFile(message: string): { problems: Problem[] } {
  return { problems: [{ line: null, path: null, message }] };
}

function readText(path: string): { text: string } | { message: string } {
  try {
    const bytes = readBounded(path);
    if (bytes.length > MAX_FILE_BYTES) return { message: `the file is larger than ${MAX_FILE_BYTES} bytes` };
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes) };
  } catch (thrown) {
    return { message: readFailure(thrown) };
  }
}

/** Not readFileSync: a pipe is welcome and has no size, /dev/zero has no end. */
function readBounded(path: string): Buffer {
  const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
  const file = openSync(path, 'r');
  try {
    let length = 0;
    while (length < buffer.length) {
      const count = readSync(file, buffer, length, buffer.length - length, null);
      if (count === 0) break;
      length += count;
    }
    return buffer.subarray(0, length);
  } finally {
    closeSync(file);
  }
}

function readFailure(thrown: unknown): string {
  switch (systemCodeOf(thrown)) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'the file does not exist';
    case 'EISDIR':
      return 'is a folder, not a file';
    case 'EACCES':
    case 'EPERM':
      return 'the file may not be read by this user';
    case 'ERR_ENCODING_INVALID_ENCODED_DATA':
      return 'the file is not UTF-8 text';
    default:
      return `the file cannot be read: ${toError(thrown).message}`;
  }
}

const VARIABLES = [
  ['redis', 'url', 'REDIS_URL'],
  ['database', 'url', 'DATABASE_URL'],
  ['secrets', 'apiKeys', 'SLUICE_KEY_SECRET'],
] as const;

/** Puts the values of the environment where the file says nothing about them; `variables` maps such a path to the name. */
function withEnvironment(value: unknown, env: Environment): { raw: unknown; variables: Map<string, string> } {
  const variables = new Map<string, string>();
  if (!isMapping(value)) return { raw: value, variables };
  const raw = { ...value };
  for (const [block, key, variable] of VARIABLES) {
    const given = env[variable];
    const written = block in raw ? raw[block] : {};
    if (given === undefined || given === '' || !isMapping(written) || key in written) continue;
    // Who names a Cluster or sentinels means those.
    if (block === 'redis' && ('cluster' in written || 'sentinel' in written)) continue;
    raw[block] = { ...written, [key]: given };
    variables.set(pathText([block, key]), variable);
  }
  return { raw, variables };
}

function locate({ path, message }: Finding, source: YamlSource, variables: Map<string, string>): Problem {
  const text = pathText(path);
  const variable = variables.get(text);
  return {
    line: source.lineOf(path),
    path: text === '' ? null : text,
    message: variable === undefined ? message : `${message} (from the environment variable ${variable})`,
  };
}
