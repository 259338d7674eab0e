/** Field names as encoders know them, made once for all of them. */
import { STATIC_COUNT, STATIC_NAMES } from './static-table.ts';

/** Whoever can add fields to a connection and see how long blocks are must not find out these values by trying (RFC 7541 §7.1.3). */
const SECRETS = new Set(['authorization', 'proxy-authorization', 'cookie', 'set-cookie', 'x-api-key']);

/** Slots in an encoder for what it remembers of names. Two names may share a slot; the only harm is that they get into the table less often. */
export const PLACES = 64;
/** When there are more, all are forgotten: names by the thousand are made up. */
const NAMES_MAX_COUNT = 512;
/** Longer ones are made each time. */
const KNOWN_NAME_MAX_BYTES = 64;

/** Name is what encoders know of a field name. */
export interface Name {
  /** In any case. */
  readonly given: string;
  readonly lower: string;
  /** Its entries in the static table; staticFrom is 0 where there is none. */
  readonly staticFrom: number;
  readonly staticTo: number;
  /** No table may have its values, at the next hops neither. */
  readonly isSecret: boolean;
  /** 0…PLACES-1. */
  readonly place: number;
}

const STATIC_FROM = new Map<string, number>();
for (let index = STATIC_COUNT; index > 0; index--) STATIC_FROM.set(STATIC_NAMES[index]!, index);

/** By the name as it is given. */
const names = new Map<string, Name>();
let nextPlace = 0;
/** Names of late, by a few of their characters. */
const RECENT_PLACES = 256;
const recentNames: Name[] = new Array(RECENT_PLACES).fill(makeName(''));

/** nameOf finds a name. A map alone would take 4 times as long, because it reads every character of a text that was just cut from a head. */
export function nameOf(given: string): Name {
  const last = given.length - 1;
  const characters = 3 * given.charCodeAt(0) + 5 * given.charCodeAt(last >> 1) + 7 * given.charCodeAt(last);
  const place = (last + characters) & (RECENT_PLACES - 1);
  const recent = recentNames[place]!;
  if (recent.given === given) return recent;
  const name = names.get(given) ?? makeName(given);
  if (given.length <= KNOWN_NAME_MAX_BYTES) recentNames[place] = name;
  return name;
}

function makeName(given: string): Name {
  const lower = given.toLowerCase();
  const staticFrom = STATIC_FROM.get(lower) ?? 0;
  let staticTo = staticFrom;
  while (STATIC_NAMES[staticTo + 1] === lower) staticTo++;
  const name: Name = {
    given: copyOf(given),
    lower: copyOf(lower),
    staticFrom,
    staticTo,
    isSecret: SECRETS.has(lower),
    place: given === lower ? nextPlace++ % PLACES : nameOf(lower).place,
  };
  if (given.length <= KNOWN_NAME_MAX_BYTES) {
    if (names.size >= NAMES_MAX_COUNT) names.clear();
    names.set(name.given, name);
  }
  return name;
}

/** copyOf copies a text that may be a slice of another: a slice keeps the whole of it in memory. */
export function copyOf(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
