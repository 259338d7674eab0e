/**
 * Coverage-guided fuzzing of both parsers (`make fuzz-coverage`), one after the other: it starts from generated traffic and
 * the vectors, and afterwards compares everything that reached new code with other readers: responses to node's client and
 * undici, requests to node's server.
 *
 * FUZZ_SEC   how long for each (default 60)
 * FUZZ_SEED  of the generated traffic and of the fuzzer (default: a new one, printed)
 * FUZZ_KIND  responses or requests only (default: both)
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VECTORS } from '../../upstream/vectors.ts';
import { compareParsed } from '../compare-parsed.ts';
import { compareResponse } from '../compare-responses.ts';
import { feedConnection } from '../fed-connection.ts';
import { editedCase } from '../generate-edits.ts';
import { pipelineCase } from '../generate-requests.ts';
import { responseCase } from '../generate-responses.ts';
import { Random, seedOf } from '../random.ts';
import { RequestReader } from '../request-reader.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const HERE = fileURLToPath(new URL('./', import.meta.url));
const GENERATED_COUNT = 300;
const SEED_MAX_BYTES = 900;
const INPUT_MAX_BYTES = 2000;
/** Bytes before the traffic: how to split it, and the method or the actions. */
const PREFIX = 'a\0';

const sec = Number(process.env.FUZZ_SEC ?? 60);
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000_000);
const reader = new RequestReader();

interface Kind {
  name: string;
  target: string;
  /** Compiled folders whose branches guide the fuzzer. */
  instrumented: string[];
  seeds(): string[];
  /** The undecided differences of one input. */
  undecidedOf(prefix: Buffer, text: string, random: Random): Promise<string[]>;
}

const KINDS: Kind[] = [
  {
    name: 'responses',
    target: 'target.mjs',
    instrumented: ['fuzz-build/src/upstream', 'fuzz-build/src/http1'],
    seeds: () => [...VECTORS.map(({ bytes }) => bytes), ...generated((random) => responseCase(random).text)],
    undecidedOf: async (prefix, text, random) => {
      const method = ((prefix[1] ?? 0) & 7) === 7 ? 'HEAD' : 'GET';
      return (await compareResponse({ text, method }, random)).undecided;
    },
  },
  {
    name: 'requests',
    target: 'request-target.mjs',
    instrumented: ['fuzz-build/src/worker', 'fuzz-build/src/http1'],
    seeds: () => [...generated(pipelineCase), ...generated(editedCase)],
    undecidedOf: async (prefix, text, random) => {
      const bytes = Buffer.from(text, 'latin1');
      const own = feedConnection(bytes, [bytes.length], { seed: prefix[1] ?? 0, random });
      return compareParsed(own, await reader.read([bytes]), text).failures;
    },
  },
];

function generated(make: (random: Random) => string): string[] {
  return Array.from({ length: GENERATED_COUNT }, (_, i) => make(new Random(seedOf(seed, i))));
}

/** Not deleted: a later run continues with these findings. */
function corpusOf({ name, seeds }: Kind): { folder: string; corpus: string } {
  const folder = join(ROOT, '.tmp/fuzz-coverage', name);
  const corpus = join(folder, 'corpus');
  mkdirSync(corpus, { recursive: true });
  const texts = seeds().filter((text) => text.length <= SEED_MAX_BYTES);
  for (const [i, text] of texts.entries())
    writeFileSync(join(corpus, `seed-${i}`), Buffer.from(PREFIX + text, 'latin1'));
  return { folder, corpus };
}

function runFuzzer({ target, instrumented }: Kind, { folder, corpus }: ReturnType<typeof corpusOf>): boolean {
  const cli = join(HERE, 'node_modules/@jazzer.js/core/dist/cli.js');
  const targetPath = join(HERE, target);
  const includes = instrumented.flatMap((part) => ['--includes', part]);
  const bounds = [
    `-max_total_time=${sec}`,
    `-max_len=${INPUT_MAX_BYTES}`,
    `-seed=${seed}`,
    '-print_final_stats=1',
    `-artifact_prefix=${folder}/`,
  ];
  const dictionary = `-dict=${join(HERE, 'http.dict')}`;
  const options = ['--sync', ...includes, '--', corpus, dictionary, ...bounds];
  const { status } = spawnSync(process.execPath, [cli, targetPath, ...options], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  return status === 0;
}

/** Compares the inputs that reached new code with the other readers. */
async function replay(kind: Kind, corpus: string): Promise<number> {
  const names = readdirSync(corpus);
  let failed = 0;
  for (const [i, name] of names.entries()) {
    const bytes = readFileSync(join(corpus, name));
    const text = bytes.toString('latin1', PREFIX.length);
    const undecided = await kind.undecidedOf(bytes, text, new Random(seedOf(seed, i)));
    if (undecided.length === 0) continue;
    failed++;
    console.log(`${name} ${JSON.stringify(text)}\n  ${undecided.join('\n  ')}`);
  }
  console.log(
    `${kind.name}: ${names.length} inputs shown to other readers, ${failed} undecided; FUZZ_SEED=${seed}`,
  );
  return failed;
}

let isSound = true;
for (const kind of KINDS) {
  if ((process.env.FUZZ_KIND ?? kind.name) !== kind.name) continue;
  const place = corpusOf(kind);
  const ran = runFuzzer(kind, place);
  const failed = await replay(kind, place.corpus);
  isSound &&= ran && failed === 0;
}
process.exitCode = isSound ? 0 : 1;
