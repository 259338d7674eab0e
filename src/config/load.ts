/** Loads a configuration file; `check`, `serve`, `migrate` and every reload go through loadConfig. */
import { isDeepStrictEqual } from 'node:util';
import type { FileProblem } from '../contract/config-file-view.ts';
import type { AdminSettings, Settings } from '../contract/settings.ts';
import { checkDraft } from './checks.ts';
import { compileAdmin, compileSettings } from './compile.ts';
import { checkPemFiles, PemFiles, type Tolerates } from './pem-files.ts';
import { type Finding, pathText, sortProblems } from './problems.ts';
import { digestOf, readText } from './read-file.ts';
import type { Parsed } from './schema/addresses.ts';
import { adminSchema, configSchema } from './schema/schema.ts';
import { findingsOf, isMapping, salvage } from './schema/schema-walk.ts';
import { warningsOf } from './warnings.ts';
import { type Environment, parseYaml, unreadable, type YamlSource } from './yaml-source.ts';

/** LoadResult: a configuration with warnings can be used, one with problems cannot. */
export type LoadResult = LoadedConfig | { problems: FileProblem[] };

export interface LoadedConfig {
  settings: Settings;
  warnings: FileProblem[];
  /** Of the file's text; see digestOf. */
  digest: string;
}

/**
 * loadConfig reads, parses and checks a file; never throws. Returns deep-frozen Settings, or all problems, sorted by line.
 * @param tolerates which certificates of listeners may have expired; default: none
 * @param env for `${VAR}`, REDIS_URL, DATABASE_URL and SLUICE_KEY_SECRET
 */
export function loadConfig(path: string, env: Environment, tolerates: Tolerates = () => false): LoadResult {
  const text = readText(path);
  const source = sourceOf(text, env);
  if (source.value === undefined) return { problems: sortProblems(source.problems) };
  if (source.value === null && source.problems.length === 0)
    return { problems: unreadable('the file is empty').problems };
  const { raw, variables } = withEnvironment(source.value, env);
  const parsed = configSchema.safeParse(raw);
  const findings = parsed.success ? [] : findingsOf(parsed.error.issues);
  const draft = salvage(configSchema, raw) ?? {};
  const files = new PemFiles();
  findings.push(...checkDraft(draft, raw), ...checkPemFiles(draft, files, tolerates));
  const located = (each: Finding): FileProblem => locate(each, source, variables);
  const problems = [...findings.filter(({ path }) => !source.failed(path)).map(located), ...source.problems];
  if (!parsed.success || problems.length > 0) return { problems: sortProblems(problems) };
  const settings = compileSettings(parsed.data, files);
  const digest = 'value' in text ? digestOf(text.value) : '';
  return { settings, warnings: sortProblems([...warningsOf(settings)].map(located)), digest };
}

/**
 * loadAdmin reads of the block `admin` what a command needs to call the port: mistakes in other blocks, and variables that only the
 * server has, as that of `readToken`, do not matter there.
 * @param token used in place of that of the file, which is then not read; null: admin.token
 */
export function loadAdmin(
  path: string,
  env: Environment,
  token: string | null,
): { admin: AdminSettings } | { problems: FileProblem[] } {
  const source = sourceOf(readText(path), env);
  const { admin = {} } = isMapping(source.value) ? source.value : {};
  const replaced = { readToken: undefined, ...(token !== null && { token }) };
  const parsed = adminSchema.safeParse(isMapping(admin) ? { ...admin, ...replaced } : admin);
  // A problem without a path is one of the whole file.
  const problems = source.problems.filter(
    (each) =>
      /^admin\b|^$/.test(each.path ?? '') &&
      !Object.keys(replaced).some((key) => each.path === `admin.${key}`),
  );
  if (parsed.success && problems.length === 0) return { admin: compileAdmin(parsed.data) };
  const findings = parsed.success ? [] : findingsOf(parsed.error.issues, ['admin']);
  const wrong = findings.filter((each) => !source.failed(each.path));
  return { problems: sortProblems([...wrong.map((each) => locate(each, source)), ...problems]) };
}

/** Only a restart can change these. */
const RESTART_KEYS = ['accept', 'admin'] as const;

/** changedRestartKeys names the keys that a reload must refuse to change. */
export function changedRestartKeys(before: Settings, after: Settings): string[] {
  const changed: string[] = RESTART_KEYS.filter((key) => !isDeepStrictEqual(before[key], after[key]));
  // Its folder also has what is kept of health, of the secret of API keys, and for a successor.
  const isEmbedded = before.database.url === null || after.database.url === null;
  if (isEmbedded && !isDeepStrictEqual(before.database, after.database)) changed.push('database');
  // A worker's own socket would close with it, and reset who waits there.
  if (after.accept === 'reuse_port' && before.workers !== after.workers) changed.push('workers');
  return changed;
}

function sourceOf(text: Parsed<string>, env: Environment): YamlSource {
  return 'message' in text ? unreadable(text.message) : parseYaml(text.value, env);
}

const VARIABLES = [
  ['redis', 'url', 'REDIS_URL'],
  ['database', 'url', 'DATABASE_URL'],
  ['secrets', 'apiKeys', 'SLUICE_KEY_SECRET'],
] as const;

/** Adds what the environment says and the file does not. variables: the names of such variables, by path of the value. */
function withEnvironment(value: unknown, env: Environment): { raw: unknown; variables: Map<string, string> } {
  const variables = new Map<string, string>();
  if (!isMapping(value)) return { raw: value, variables };
  const raw = { ...value };
  for (const [block, key, variable] of VARIABLES) {
    const given = env[variable];
    const written = block in raw ? raw[block] : {};
    if (given === undefined || given === '' || !isMapping(written) || key in written) continue;
    // A Cluster or Sentinel in the file replaces the URL.
    if (block === 'redis' && ('cluster' in written || 'sentinel' in written)) continue;
    raw[block] = { ...written, [key]: given };
    variables.set(pathText([block, key]), variable);
  }
  return { raw, variables };
}

function locate(
  { path, message }: Finding,
  source: YamlSource,
  variables: ReadonlyMap<string, string> = new Map(),
): FileProblem {
  const text = pathText(path);
  const variable = variables.get(text);
  return {
    line: source.lineOf(path),
    path: text === '' ? null : text,
    message: variable === undefined ? message : `${message} (from the environment variable ${variable})`,
  };
}
