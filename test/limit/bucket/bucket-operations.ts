/** Random sequences of takes, to compare a bucket with the model. */
import fc from 'fast-check';

export interface Operation {
  /** µs from the operation before; negative: the clock steps back. */
  stepUs: number;
  capacity: number;
  rateMicro: number;
  /** Added to the highest version so far; 0 or less: an equal or older version. */
  versionStep: number;
  need: number;
  partial: boolean;
  ahead: number;
  /** Settles a lease, if there is one: which, the part that was spent, and how much more than that is reported. */
  settle: { index: number; spentPart: number; excess: number } | null;
  /** Gives back the grant of a take: which. */
  undo: number | null;
}

const capacities = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(1, 2, 3, 5, 10, 100, 1_000, 9_000) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 1_000_000_000 }) },
);
const rates = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(1, 277, 16_667, 1_666_666, 5_000_000, 100_000_000, 1_000_000_000) },
  { weight: 1, arbitrary: fc.integer({ min: 1, max: 1_000_000_000_000_000 }) },
);
const steps = fc.oneof(
  { weight: 10, arbitrary: fc.integer({ min: 0, max: 3_000 }) },
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 300_000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 20_000_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 3_000_000_000_000 }) },
  { weight: 1, arbitrary: fc.integer({ min: -1_000_000, max: 0 }) },
  { weight: 1, arbitrary: fc.integer({ min: -5_000_000, max: -1_000_001 }) },
);
const limits = fc.record({ capacity: capacities, rateMicro: rates });

/** Limits change rarely, so that a random sequence tests each of them for a while. */
export const operations = fc
  .tuple(
    limits,
    fc.array(
      fc.record({
        stepUs: steps,
        change: fc.option(fc.record({ limits, versionStep: fc.constantFrom(-1, 0, 0, 1, 1, 1, 5) }), {
          freq: 12,
        }),
        need: fc.oneof(fc.constant(1), fc.integer({ min: 0, max: 60 })),
        partial: fc.boolean(),
        ahead: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 300 })),
        settle: fc.option(
          fc.record({
            index: fc.nat(),
            spentPart: fc.constantFrom(0, 0.5, 1),
            excess: fc.constantFrom(0, 0, 0, 0, 1, -1),
          }),
          { freq: 3 },
        ),
        undo: fc.option(fc.nat(), { freq: 3 }),
      }),
      { minLength: 40, maxLength: 60, size: 'max' },
    ),
  )
  .map(([first, list]) => {
    let current = first;
    return list.map(({ change, ...rest }): Operation => {
      const asked = change === null ? current : change.limits;
      if (change !== null && change.versionStep >= 0) current = change.limits;
      return { ...rest, ...asked, versionStep: change?.versionStep ?? 0 };
    });
  });
