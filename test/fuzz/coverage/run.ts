/**
 * Coverage-guided fuzzing of the response parser (`make fuzz-coverage`): starts from generated responses and the vectors,
 * and afterwards shows everything that reached new code to node's client and undici too.
 *
 * FUZZ_SEC   how long (default 60)
 * FUZZ_SEED  of the generated responses and of the fuzzer (default: a new one, printed)
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { VECTORS } from '../../upstream/vectors.ts';
import { compareResponse } from '../compare-responses.ts';
import { responseCase } from '../generate-responses.ts';
import { Random, seedOf } from '../random.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const HERE = fileURLToPath(new URL('./', import.meta.url));
const GENERATED_COUNT = 300;
const SEED_MAX_BYTES = 600;
/** Bytes in front of the response: how to cut it, what was asked. */
const PREFIX = 'a\0';

const sec = Number(process.env.FUZZ_SEC ?? 60);
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 1_000_000_000);
/** Kept: a later run goes on from what this one has found. */
const folder = join(ROOT, '.tmp/fuzz-coverage');
const corpus = join(folder, 'corpus');

function writeSeeds(): void {
  mkdirSync(corpus, { recursive: true });
  const generated = Array.from(
    { length: GENERATED_COUNT },
    (_, i) => responseCase(new Random(seedOf(seed, i))).text,
  );
  const texts = [...VECTORS.map(({ bytes }) => bytes), ...generated].filter(
    (text) => text.length <= SEED_MAX_BYTES,
  );
  for (const [i, text] of texts.entries())
    writeFileSync(join(corpus, `seed-${i}`), Buffer.from(PREFIX + text, 'latin1'));
}

function runFuzzer(): boolean {
  const cli = join(HERE, 'node_modules/@jazzer.js/core/dist/cli.js');
  const dictionary = `-dict=${join(HERE, 'http.dict')}`;
  const bounds = [
    `-max_total_time=${sec}`,
    '-max_len=2000',
    `-seed=${seed}`,
    '-print_final_stats=1',
    `-artifact_prefix=${folder}/`,
  ];
  const options = ['--sync', '--includes', 'fuzz-build/upstream', '--', corpus, dictionary, ...bounds];
  const { status } = spawnSync(process.execPath, [cli, join(HERE, 'target.mjs'), ...options], {
    cwd: ROOT,
    stdio: 'inherit',
  });
  return status === 0;
}

/** Shows what the fuzzer found interesting to the other readers. */
async function replay(): Promise<number> {
  const names = readdirSync(corpus);
  let failed = 0;
  for (const [i, name] of names.entries()) {
    const bytes = readFileSync(join(corpus, name));
    const method = ((bytes[1] ?? 0) & 7) === 7 ? 'HEAD' : 'GET';
    const text = bytes.toString('latin1', PREFIX.length);
    const { undecided } = await compareResponse({ text, method }, new Random(seedOf(seed, i)));
    if (undecided.length === 0) continue;
    failed++;
    console.log(`${name} ${method} ${JSON.stringify(text)}\n  ${undecided.join('\n  ')}`);
  }
  console.log(
    `${names.length} inputs shown to node's client and undici, ${failed} undecided; FUZZ_SEED=${seed}`,
  );
  return failed;
}

writeSeeds();
const isSound = runFuzzer();
process.exitCode = (await replay()) === 0 && isSound ? 0 : 1;
