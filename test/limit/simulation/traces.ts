/** Traffic to measure how much a limiter refuses in excess: arrivals in ms, for buckets of a given rate. */
import type { Random } from '../../fuzz/random.ts';

export interface Trace {
  name: string;
  arrivalsMs: number[];
}

/** steadyAndBursts: 70 % of the rate for 1.5 s, then twenty times the rate for 0.2 s, repeated. */
export function steadyAndBursts(random: Random, ratePerSec: number, times: number): Trace {
  const arrivalsMs: number[] = [];
  for (let i = 0; i < times; i++) {
    arrive(random, arrivalsMs, { fromMs: i * 1_700, forMs: 1_500, perSec: ratePerSec * 0.7 });
    arrive(random, arrivalsMs, { fromMs: i * 1_700 + 1_500, forMs: 200, perSec: ratePerSec * 20 });
  }
  return { name: '70 % and bursts of 20 ×', arrivalsMs };
}

/** onAndOff: bursts of 10…310 ms at up to three times the rate, with pauses up to 400 ms; on average 70 % of the rate. */
export function onAndOff(random: Random, ratePerSec: number, forMs: number): Trace {
  const spells: { fromMs: number; forMs: number; weight: number }[] = [];
  let atMs = 0;
  while (atMs < forMs) {
    const spell = { fromMs: atMs, forMs: 10 + random.below(300), weight: random.below(1_000) / 1_000 };
    spells.push(spell);
    atMs += spell.forMs + random.below(400);
  }
  const weights = spells.reduce((sum, spell) => sum + spell.forMs * spell.weight, 0);
  const perWeight = (ratePerSec * 0.7 * atMs) / weights;
  const arrivalsMs: number[] = [];
  for (const { weight, ...spell } of spells)
    arrive(random, arrivalsMs, { ...spell, perSec: perWeight * weight });
  return { name: 'on and off, 70 % on the whole', arrivalsMs };
}

/** overload: three times the rate. */
export function overload(random: Random, ratePerSec: number, forMs: number): Trace {
  const arrivalsMs: number[] = [];
  arrive(random, arrivalsMs, { fromMs: 0, forMs, perSec: ratePerSec * 3 });
  return { name: 'overload of 3 ×', arrivalsMs };
}

/** steady: half the rate. */
export function steady(random: Random, ratePerSec: number, forMs: number): Trace {
  const arrivalsMs: number[] = [];
  arrive(random, arrivalsMs, { fromMs: 0, forMs, perSec: ratePerSec * 0.5 });
  return { name: 'steady 50 %', arrivalsMs };
}

function arrive(
  random: Random,
  arrivalsMs: number[],
  { fromMs, forMs, perSec }: { fromMs: number; forMs: number; perSec: number },
): void {
  let atMs = fromMs;
  for (;;) {
    atMs += (-Math.log(1 - random.next() / 2 ** 32) / perSec) * 1_000;
    if (atMs >= fromMs + forMs) return;
    arrivalsMs.push(atMs);
  }
}
