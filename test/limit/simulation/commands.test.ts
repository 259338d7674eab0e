/**
 * fast-check drives a small fleet with random commands and shrinks a failure to a few of them. Every take of the store is
 * compared with the BigInt model of the script. SIM_SEED repeats a run.
 */
import { test } from 'node:test';
import fc from 'fast-check';
import type { Weather } from './link.ts';
import { MAX_STALL_MS } from './scenario.ts';
import { World, type WorldOptions } from './world.ts';

const RUNS = Number(process.env.SIM_COUNT ?? 150);
const MAX_WORKERS = 4;

/** State that the commands need to make sense. */
interface Model {
  frozen: boolean;
  /** Workers that were cut off. */
  cutOff: Set<number>;
}

class Step implements fc.AsyncCommand<Model, World> {
  readonly #text: string;
  readonly #act: (world: World, model: Model) => void;
  readonly #passMs: number;
  readonly #makesSense: (model: Model) => boolean;

  constructor(
    text: string,
    act: (world: World, model: Model) => void,
    { passMs = 0, makesSense = () => true }: { passMs?: number; makesSense?: (model: Model) => boolean } = {},
  ) {
    this.#text = text;
    this.#act = act;
    this.#passMs = passMs;
    this.#makesSense = makesSense;
  }

  check(model: Readonly<Model>): boolean {
    return this.#makesSense(model);
  }

  async run(model: Model, world: World): Promise<void> {
    this.#act(world, model);
    await world.pass(this.#passMs);
  }

  toString(): string {
    return this.#text;
  }
}

const worker = fc.nat({ max: MAX_WORKERS - 1 });
const someMs = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 12 }) },
  { weight: 3, arbitrary: fc.integer({ min: 5, max: 120 }) },
  { weight: 1, arbitrary: fc.integer({ min: 200, max: 2_500 }) },
);
const sizes = fc.constantFrom(
  { capacity: 1, refillPerSecond: 1 },
  { capacity: 5, refillPerSecond: 50 },
  { capacity: 40, refillPerSecond: 400 },
  { capacity: 100, refillPerSecond: 0.001 },
  { capacity: 200, refillPerSecond: 5_000 },
);
const badWeather = fc.constantFrom<Partial<Weather>>(
  { lostRequests: 30 },
  { lostReplies: 30 },
  { slow: 50, slowMs: 15 },
  { slow: 50, slowMs: 40, inOrder: false },
);

const asking = fc
  .record({
    index: worker,
    caller: fc.constantFrom(0, 0, 0, 1),
    cost: fc.constantFrom(1, 1, 1, 3),
    times: fc.integer({ min: 1, max: 30 }),
    passMs: fc.nat({ max: 4 }),
  })
  .map(
    ({ index, passMs, ...asked }) =>
      new Step(`ask(${index}, ${JSON.stringify(asked)})`, (world) => world.ask(index, asked), { passMs }),
  );
/** Enough demand for leases. */
const askingOften = fc
  .record({ index: worker, times: fc.integer({ min: 5, max: 60 }), gapMs: fc.integer({ min: 1, max: 4 }) })
  .map(
    ({ index, times, gapMs }) =>
      new Step(
        `askOften(${index}, ${times} × every ${gapMs} ms)`,
        (world) => {
          for (let i = 0; i < times; i++) {
            world.time.after(i * gapMs, () => world.ask(index, { caller: 0, cost: 1, times: 2 }));
          }
        },
        { passMs: times * gapMs },
      ),
  );
const passing = someMs.map((ms) => new Step(`pass(${ms} ms)`, () => undefined, { passMs: ms }));

const faults = [
  worker.map((index) => new Step(`crash(${index})`, (world) => world.fleet.crash(index))),
  worker.map((index) => new Step(`drain(${index})`, (world) => world.fleet.drain(index))),
  fc
    .record({ index: worker, ms: fc.integer({ min: 1, max: MAX_STALL_MS }) })
    .map(
      ({ index, ms }) =>
        new Step(`stall(${index}, ${ms} ms)`, (world) => world.fleet.worker(index).stall(ms)),
    ),
  fc
    .record({ index: worker, ms: fc.integer({ min: 1, max: 300 }) })
    .map(
      ({ index, ms }) =>
        new Step(`cut(${index}, ${ms} ms)`, (world) => world.fleet.worker(index).link.cut(ms)),
    ),
  fc.record({ index: worker, keeps: fc.boolean() }).map(
    ({ index, keeps }) =>
      new Step(
        `partition(${index}, ${keeps ? 'keeps' : 'loses'})`,
        (world, model) => {
          model.cutOff.add(index);
          world.fleet.worker(index).link.partition(keeps);
        },
        { makesSense: ({ cutOff }) => !cutOff.has(index) },
      ),
  ),
  worker.map(
    (index) =>
      new Step(
        `heal(${index})`,
        (world, model) => {
          model.cutOff.delete(index);
          world.fleet.worker(index).link.heal();
        },
        { makesSense: ({ cutOff }) => cutOff.has(index) },
      ),
  ),
  fc.constant(new Step('restartEmpty()', (world) => world.fleet.restartEmpty())),
  fc.integer({ min: 1, max: 200 }).map((ms) => new Step(`failOver(${ms} ms)`, (world) => world.failOver(ms))),
  fc
    .constantFrom(-5_000, -900, -30, 20, 60, 700, 5_000)
    .map((ms) => new Step(`stepClock(${ms} ms)`, (world) => world.fleet.stepClock(ms))),
  fc
    .record({ size: sizes, spreadMs: fc.constantFrom(0, 5, 80) })
    .map(
      ({ size, spreadMs }) =>
        new Step(`changeLimits(${JSON.stringify(size)}, ${spreadMs} ms)`, (world) =>
          world.changeLimits(size, spreadMs),
        ),
    ),
  fc.constantFrom(0, 1).map((caller) => new Step(`reset(${caller})`, (world) => world.reset(caller))),
  fc
    .record({ weather: badWeather, ms: fc.integer({ min: 5, max: 200 }) })
    .map(
      ({ weather, ms }) =>
        new Step(`weather(${JSON.stringify(weather)}, ${ms} ms)`, (world) =>
          world.fleet.changeWeather(weather, ms),
        ),
    ),
  fc.constant(
    new Step(
      'freeze()',
      (world, model) => {
        model.frozen = true;
        world.fleet.store.freeze();
      },
      { makesSense: ({ frozen }) => !frozen },
    ),
  ),
  fc.constant(
    new Step(
      'thaw()',
      (world, model) => {
        model.frozen = false;
        world.fleet.store.thaw();
      },
      { makesSense: ({ frozen }) => frozen },
    ),
  ),
];

/** Half of the commands are traffic, so that faults hit busy fleets. */
const steps = fc.commands(
  [asking, asking, asking, asking, askingOften, askingOften, passing, passing, ...faults],
  {
    maxCommands: 60,
    size: 'max',
  },
);
const worlds: fc.Arbitrary<WorldOptions> = fc.record({
  seed: fc.nat(),
  size: sizes,
  second: fc.option(sizes, { freq: 4 }),
  workers: fc.integer({ min: 1, max: MAX_WORKERS }),
  leases: fc.constantFrom(true, true, false),
});

test(`B30: the limiter keeps every promise in ${RUNS} random sequences of requests and faults`, async (t) => {
  const seed = Number(process.env.SIM_SEED ?? Date.now() & 0x7fffffff);
  t.diagnostic(`seed ${seed}`);
  await fc.assert(
    fc.asyncProperty(worlds, steps, async (options, list) => {
      const world = new World(options);
      await fc.asyncModelRun(
        () => ({ model: { frozen: false, cutOff: new Set<number>() }, real: world }),
        list,
      );
      await world.expectCalm();
    }),
    { seed, numRuns: RUNS },
  );
});
