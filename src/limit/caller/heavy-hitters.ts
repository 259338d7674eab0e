/**
 * Who sends most: the Space-Saving sketch (Metwally, Agrawal, El Abbadi 2005) of a worker's callers, of a fixed size. Each caller has a set of
 * WAYS places by its hash, and by numbers that nobody outside knows: who could choose WAYS + 1 addresses of one set would have each of them
 * take over the place of another for ever, and no address would be shown. One without a place takes over the one with the lowest count, and that count, as its error: it may have been
 * counted there before. So what is shown, count less error, is never too high, and too low by the lowest count of the set at most.
 *
 * Counts fade: one that is FADE_SEC old is worth 1/e. In place of fading all counts, new ones weigh more.
 */
import { TOP_WINDOW_SEC } from '../../contract/top-callers.ts';
import type { BucketOwner } from './bucket-owner.ts';

const WAYS = 8;
const WAYS_LOG2 = 3;
/** The mean age of what is shown, as in a window of TOP_WINDOW_SEC. */
const FADE_SEC = TOP_WINDOW_SEC / 2;
/** Some hours after the start, and before any sum leaves the range of doubles. */
const MAX_WEIGHT = 1e150;

interface HeavyHitter {
  /** ClientMatch.bucketName. */
  name: string;
  /** For `rateOf`. */
  hash: string;
  isClient: boolean;
  perSec: number;
}

/** HeavyHitters is made twice per worker: for all requests, and for those that the limiter refuses. */
export class HeavyHitters {
  readonly #mask: number;
  /** Of a product, the upper bits choose the set: they depend on all bits of the factors. */
  readonly #shift: number;
  /** Odd. */
  readonly #factors = crypto.getRandomValues(new Int32Array(2)).map((random) => random | 1);
  readonly #tags: Int32Array;
  readonly #counts: Float64Array;
  readonly #errors: Float64Array;
  readonly #hashes: string[];
  readonly #names: string[];
  readonly #areClients: Uint8Array;
  /** Of a count now. */
  #weight = 1;
  #sinceMs: number;
  /** The seconds that are counted, with the weight of their counts. */
  #weightedSec = 0;

  /** @param size places: a power of 2; 100 bytes each, with the texts */
  constructor(size: number, nowMs: number) {
    this.#mask = size / WAYS - 1;
    this.#shift = Math.clz32(this.#mask);
    this.#tags = new Int32Array(size);
    this.#counts = new Float64Array(size);
    this.#errors = new Float64Array(size);
    this.#hashes = new Array<string>(size).fill('');
    this.#names = new Array<string>(size).fill('');
    this.#areClients = new Uint8Array(size);
    this.#sinceMs = nowMs;
  }

  /** count adds a request of a caller. It allocates nothing. */
  count(owner: BucketOwner): void {
    const { bucketHash } = owner;
    const counts = this.#counts;
    const tag = tagOf(bucketHash);
    const from = this.#setOf(bucketHash, tag);
    let lowest = from;
    for (let i = from; i < from + WAYS; i++) {
      if (this.#tags[i] === tag && this.#hashes[i] === bucketHash) {
        counts[i]! += this.#weight;
        // A caller may become a client, and the other way round, under the same name.
        this.#areClients[i] = owner.clientId === null ? 0 : 1;
        return;
      }
      if (counts[i]! < counts[lowest]!) lowest = i;
    }
    this.#takeOver(lowest, tag, owner);
  }

  #takeOver(place: number, tag: number, { bucketHash, match, clientId }: BucketOwner): void {
    this.#tags[place] = tag;
    this.#hashes[place] = bucketHash;
    this.#names[place] = match.bucketName;
    this.#areClients[place] = clientId === null ? 0 : 1;
    this.#errors[place] = this.#counts[place]!;
    this.#counts[place]! += this.#weight;
  }

  /** advance lets the counts so far fade; called once a second. @param nowMs monotonic */
  advance(nowMs: number): void {
    const sec = Math.max(0, nowMs - this.#sinceMs) / 1000;
    this.#sinceMs = nowMs;
    this.#weightedSec += this.#weight * sec;
    this.#weight *= Math.exp(sec / FADE_SEC);
    if (this.#weight < MAX_WEIGHT) return;
    const scale = 1 / this.#weight;
    for (let i = 0; i < this.#counts.length; i++) {
      this.#counts[i]! *= scale;
      this.#errors[i]! *= scale;
    }
    this.#weightedSec *= scale;
    this.#weight = 1;
  }

  /** rateOf is the rate of a caller per second. @param hash see BucketOwner.bucketHash */
  rateOf(hash: string): number {
    const from = this.#setOf(hash, tagOf(hash));
    for (let i = from; i < from + WAYS; i++)
      if (this.#hashes[i] === hash) return this.#perSec(this.#counts[i]! - this.#errors[i]!);
    return 0;
  }

  /**
   * top lists the callers with the highest rates, the highest first; it takes 0.7 ms with 4,096 callers, and ten the first time. totalPerSec: of all callers.
   * errorPerSec: by so much a rate may be higher than shown, here or by not being here, at most.
   */
  top(limit: number): { items: HeavyHitter[]; totalPerSec: number; errorPerSec: number } {
    const sure = this.#counts.map((count, i) => count - this.#errors[i]!);
    const floor = limit < sure.length ? sure.toSorted()[sure.length - limit]! : 0;
    const places: number[] = [];
    for (let i = 0; i < sure.length; i++) if (sure[i]! > 0 && sure[i]! >= floor) places.push(i);
    places.sort((a, b) => sure[b]! - sure[a]!);
    const total = this.#counts.reduce((sum, count) => sum + count, 0);
    const items = places.slice(0, limit).map((i) => ({
      name: this.#names[i]!,
      hash: this.#hashes[i]!,
      isClient: this.#areClients[i] === 1,
      perSec: this.#perSec(sure[i]!),
    }));
    const cut = this.#perSec(floor);
    return { items, totalPerSec: this.#perSec(total), errorPerSec: this.rateErrorPerSec + cut };
  }

  /** By so much a rate may be higher than rateOf says, at most: what a caller without a place may have, or one with a place may have had before. */
  get rateErrorPerSec(): number {
    let highest = 0;
    for (let from = 0; from < this.#counts.length; from += WAYS) {
      let lowest = this.#counts[from]!;
      for (let i = from + 1; i < from + WAYS; i++) lowest = Math.min(lowest, this.#counts[i]!);
      highest = Math.max(highest, lowest);
    }
    return this.#perSec(highest);
  }

  /** The first place of the set of a hash. */
  #setOf(hash: string, tag: number): number {
    const [a, b] = this.#factors;
    const mixed = Math.imul(headOf(hash), a!) + Math.imul(tag, b!);
    return ((mixed >>> this.#shift) & this.#mask) << WAYS_LOG2;
  }

  #perSec(weighted: number): number {
    return this.#weightedSec === 0 ? 0 : weighted / this.#weightedSec;
  }
}

/** Of a hash in base64url: any characters will do. */
function headOf(hash: string): number {
  let head = 0;
  for (let i = 0; i < 4; i++) head = Math.imul(head, 67) + hash.charCodeAt(i);
  return head;
}

/** From the next characters. */
function tagOf(hash: string): number {
  let tag = 1;
  for (let i = 4; i < 9; i++) tag = (Math.imul(tag, 67) + hash.charCodeAt(i)) | 0;
  return tag;
}
