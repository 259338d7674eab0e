/**
 * Longest prefix match over ranges of addresses: one hash map per family and prefix length that is in use, asked from
 * the longest to the shortest. A handful of lengths means a handful of look-ups; the limiter caches the outcome.
 */
import ipaddr from 'ipaddr.js';

type Bytes = readonly number[];

export class NetworkIndex<T> {
  readonly #families = new Map<string, FamilyIndex<T>>();

  /** @param range canonical `address/prefix`; anything else is not taken (false): it is no range */
  set(range: string, value: T): boolean {
    const parsed = parseRange(range);
    if (parsed === null) return false;
    let family = this.#families.get(parsed.kind);
    if (family === undefined) {
      family = new FamilyIndex();
      this.#families.set(parsed.kind, family);
    }
    family.set(parsed.bytes, parsed.prefixBits, value);
    return true;
  }

  delete(range: string): void {
    const parsed = parseRange(range);
    if (parsed !== null) this.#families.get(parsed.kind)?.delete(parsed.bytes, parsed.prefixBits);
  }

  /** find returns the value of the longest range that holds the address; null: none, or not an address. */
  find(address: string): T | null {
    if (this.#families.size === 0) return null;
    const parsed = parseAddress(address);
    if (parsed === null) return null;
    return this.#families.get(parsed.kind())?.find(parsed.toByteArray()) ?? null;
  }
}

class FamilyIndex<T> {
  readonly #byPrefix = new Map<number, Map<string, T>>();
  /** Prefix lengths in use, longest first. */
  #lengths: number[] = [];

  set(bytes: Bytes, prefixBits: number, value: T): void {
    let networks = this.#byPrefix.get(prefixBits);
    if (networks === undefined) {
      networks = new Map();
      this.#byPrefix.set(prefixBits, networks);
      this.#lengths = [...this.#byPrefix.keys()].sort((a, b) => b - a);
    }
    networks.set(keyOf(bytes, prefixBits), value);
  }

  delete(bytes: Bytes, prefixBits: number): void {
    const networks = this.#byPrefix.get(prefixBits);
    if (!networks?.delete(keyOf(bytes, prefixBits)) || networks.size > 0) return;
    this.#byPrefix.delete(prefixBits);
    this.#lengths = this.#lengths.filter((length) => length !== prefixBits);
  }

  find(bytes: Bytes): T | null {
    for (const prefixBits of this.#lengths) {
      const value = this.#byPrefix.get(prefixBits)?.get(keyOf(bytes, prefixBits));
      if (value !== undefined) return value;
    }
    return null;
  }
}

/** The first prefixBits bits as text of one character per byte. */
function keyOf(bytes: Bytes, prefixBits: number): string {
  const whole = prefixBits >> 3;
  const rest = prefixBits & 7;
  const key = String.fromCharCode(...bytes.slice(0, whole));
  if (rest === 0) return key;
  return key + String.fromCharCode((bytes[whole] ?? 0) & (0xff00 >> rest) & 0xff);
}

function parseRange(range: string): { kind: string; bytes: Bytes; prefixBits: number } | null {
  const slash = range.indexOf('/');
  const address = slash > 0 ? parseAddress(range.slice(0, slash)) : null;
  if (address === null) return null;
  return { kind: address.kind(), bytes: address.toByteArray(), prefixBits: Number(range.slice(slash + 1)) };
}

function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  return ipaddr.isValid(text) ? ipaddr.parse(text) : null;
}
