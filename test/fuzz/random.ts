/** A seeded random generator. Every case has its own, so that a single case can be repeated. */

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number of 32 bits (splitmix32). */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let z = this.#state;
    z = Math.imul(z ^ (z >>> 16), 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  }

  /** 0…bound-1. */
  below(bound: number): number {
    return bound <= 0 ? 0 : this.next() % bound;
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(list: readonly T[]): T {
    const found = list[this.below(list.length)];
    if (found === undefined) throw new Error('nothing to pick from');
    return found;
  }

  /** 0…most items. */
  some(most: number, make: () => string): string[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  /** Text of latin1 characters; ASCII letters mostly. */
  text(mostBytes: number): string {
    const length = this.below(mostBytes + 1);
    let text = '';
    for (let i = 0; i < length; i++)
      text += String.fromCharCode(this.oneIn(8) ? this.below(256) : 97 + this.below(26));
    return text;
  }
}

/** seedOf mixes a run's seed with the number of a case. */
export function seedOf(seed: number, index: number): number {
  return (Math.imul(seed ^ 0x5bd1e995, 0x85ebca6b) + Math.imul(index + 1, 0xc2b2ae35)) >>> 0;
}

const PIECES = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  '\n\n',
  ' ',
  '\t',
  ':',
  ';',
  ',',
  '"',
  '=',
  '0',
  '1',
  'f',
  'a',
  '\0',
  '\x01',
  '\x0b',
  '\x7f',
  '\x80',
  '\xff',
  '-',
  '+',
  '_',
  '#',
  '/',
  '0\r\n\r\n',
  'X: y\r\n',
  'Content-Length: 1\r\n',
  'Transfer-Encoding: chunked\r\n',
];

/** edited changes a text at a few places, line ends as often as any other place. */
export function edited(random: Random, text: string): string {
  let result = text;
  for (let left = 1 + random.below(3); left > 0; left--) result = edit(random, result);
  return result;
}

function edit(random: Random, text: string): string {
  const at = random.oneIn(2) ? random.below(text.length) : placeOf(random, text, /[\r\n:;, ]/g);
  const rest = text.slice(at);
  switch (random.below(6)) {
    case 0:
      return text.slice(0, at) + random.pick(PIECES) + rest;
    case 1:
      return text.slice(0, at) + rest.slice(1 + random.below(2));
    case 2:
      return text.slice(0, at) + random.pick(PIECES) + rest.slice(1);
    case 3: {
      const copied = text.slice(at, at + 1 + random.below(20));
      return text.slice(0, at) + copied + rest;
    }
    case 4:
      return (
        text.slice(0, at) +
        String.fromCharCode((rest.charCodeAt(0) || 0) ^ (1 << random.below(8))) +
        rest.slice(1)
      );
    default:
      return text.slice(0, at) + rest.replace('\r\n', random.pick(['\n', '\r', '\r\r\n', '\n\r\n', ' \r\n']));
  }
}

function placeOf(random: Random, text: string, pattern: RegExp): number {
  const places = [...text.matchAll(pattern)];
  return places.length === 0 ? 0 : random.pick(places).index;
}

/** segmentsOf splits a text at random places and at the given ones. */
export function segmentsOf(random: Random, text: string, also: readonly number[] = []): Buffer[] {
  const whole = Buffer.from(text, 'latin1');
  const places = new Set(also.filter((at) => at > 0 && at < whole.length));
  if (whole.length < 40 && random.oneIn(4)) for (let at = 1; at < whole.length; at++) places.add(at);
  for (let left = random.below(5); left > 0; left--) places.add(1 + random.below(whole.length));
  const at = [0, ...[...places].filter((place) => place < whole.length).sort((a, b) => a - b), whole.length];
  return at.slice(1).map((end, i) => whole.subarray(at[i], end));
}
