/**
 * Executes the Dockerfile in plain folders: a stage is a folder, COPY copies (except what .dockerignore excludes), RUN runs
 * here. The base image is this machine with the pinned Node.js.
 */
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { runToEnd } from '../support/child.ts';

interface Instruction {
  word: string;
  rest: string;
}

export interface Stage {
  /** The folder that is the stage's `/`. */
  root: string;
  workDir: string;
  user: string;
  env: Record<string, string>;
  command: string[];
  healthCommand: string[];
}

/** buildStages runs all instructions and returns the stages by name. `toolPath` is the PATH for RUN. */
export async function buildStages(
  contextFolder: string,
  { into, toolPath }: { into: string; toolPath: string },
): Promise<Map<string, Stage>> {
  const stages = new Map<string, Stage>();
  let stage: Stage | undefined;
  for (const { word, rest } of parseDockerfile(readFileSync(join(contextFolder, 'Dockerfile'), 'utf8'))) {
    if (word === 'FROM') {
      stage = startStage(rest, stages, into);
      continue;
    }
    assert.ok(stage, `${word} before FROM`);
    if (word === 'RUN') await runIn(stage, rest, toolPath);
    else if (word === 'COPY') await copyInto(stage, rest, { stages, contextFolder });
    else setIn(stage, word, rest);
  }
  return stages;
}

function parseDockerfile(text: string): Instruction[] {
  const lines = text.replace(/\\\n\s*/g, ' ').split('\n');
  return lines
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, word = '', rest = ''] = /^([A-Z]+) +(.*)$/.exec(line) ?? [];
      assert.notEqual(word, '', `not an instruction: ${line}`);
      return { word, rest };
    });
}

function startStage(rest: string, stages: Map<string, Stage>, into: string): Stage {
  const [, from = '', name = ''] = /^(\S+) AS (\S+)$/.exec(rest) ?? [];
  assert.notEqual(name, '', `a stage without a name: ${rest}`);
  const root = join(into, name);
  mkdirSync(root, { recursive: true });
  const base = stages.get(from);
  if (base === undefined) assert.match(from, /^(node:|scratch$)/, `${from} is neither a stage nor an image`);
  else cpSync(base.root, root, { recursive: true });
  const stage = {
    root,
    workDir: base?.workDir ?? '/',
    user: base?.user ?? 'root',
    env: { ...base?.env },
    command: [],
    healthCommand: [],
  };
  stages.set(name, stage);
  return stage;
}

async function runIn(stage: Stage, command: string, toolPath: string): Promise<void> {
  const ran = await runToEnd('sh', ['-c', command], {
    cwd: join(stage.root, stage.workDir),
    env: { ...stage.env, PATH: toolPath, npm_config_prefer_offline: 'true' },
    timeoutMs: 120_000,
  });
  assert.equal(ran.code, 0, `RUN ${command}\n${[...ran.stdout, ...ran.stderr].join('\n')}`);
}

async function copyInto(
  stage: Stage,
  rest: string,
  { stages, contextFolder }: { stages: Map<string, Stage>; contextFolder: string },
): Promise<void> {
  const words = rest.split(/\s+/);
  const options = new Map<string, string>();
  while (words[0]?.startsWith('--')) {
    const [name = '', value = ''] = words.shift()!.split('=');
    options.set(name, value);
  }
  const fromStage = stages.get(options.get('--from') ?? '');
  const target = words.pop() ?? '';
  const targetPath = join(stage.root, posix.resolve(stage.workDir, target));
  for (const source of words) {
    if (fromStage === undefined)
      assert.ok(isInContext(contextFolder, source), `.dockerignore keeps ${source} out`);
    const sourcePath = join(fromStage?.root ?? contextFolder, source);
    assert.ok(existsSync(sourcePath), `COPY ${source}: not there`);
    // Of a folder the contents are copied, whatever the target is.
    const goesInto = !statSync(sourcePath).isDirectory() && (words.length > 1 || target.endsWith('/'));
    const to = goesInto ? join(targetPath, posix.basename(source)) : targetPath;
    mkdirSync(dirname(to), { recursive: true });
    if (fromStage === undefined) cpSync(sourcePath, to, { recursive: true, verbatimSymlinks: true });
    // Links: a stage that others copy from is complete, and copying its packages takes 6 s of CPU time.
    else await runInShell('cp -alT "$1" "$2"', sourcePath, to);
    const owner = options.get('--chown');
    if (owner !== undefined && process.getuid?.() === 0) await runInShell('chown -R "$2" "$1"', to, owner);
  }
}

async function runInShell(script: string, ...args: string[]): Promise<void> {
  const ran = await runToEnd('sh', ['-c', script, 'sh', ...args]);
  assert.equal(ran.code, 0, `${script} ${args.join(' ')}\n${ran.stderr.join('\n')}`);
}

/** Our .dockerignore is `*`, then exceptions. */
function isInContext(contextFolder: string, source: string): boolean {
  const [first, ...rules] = readFileSync(join(contextFolder, '.dockerignore'), 'utf8').trim().split('\n');
  assert.equal(first, '*');
  return rules.includes(`!${source.replace(/^\.\//, '').split('/')[0]}`);
}

function setIn(stage: Stage, word: string, rest: string): void {
  if (word === 'WORKDIR') {
    stage.workDir = posix.resolve(stage.workDir, rest);
    mkdirSync(join(stage.root, stage.workDir), { recursive: true });
  } else if (word === 'ENV') {
    const [, name = '', value = ''] = /^(\w+)=(\S+)$/.exec(rest) ?? [];
    assert.notEqual(name, '', `ENV ${rest}`);
    stage.env[name] = value;
  } else if (word === 'USER') stage.user = rest;
  else if (word === 'CMD') stage.command = JSON.parse(rest) as string[];
  else if (word === 'HEALTHCHECK')
    stage.healthCommand = JSON.parse(rest.slice(rest.indexOf('['))) as string[];
  else assert.equal(word, 'EXPOSE', `an instruction that this reader does not know: ${word}`);
}
