/** The peers whose word about a client is believed, and the walk through X-Forwarded-For to that client (B26). */
import { BlockList, isIP } from 'node:net';
import { canonicalAddress, UNIX_PEER } from '../../contract/addresses.ts';
import { GenerationMap } from '../bucket/generation-map.ts';

/** Hops read from the right; an honest chain is not longer. */
const MAX_HOPS = 32;
const MAX_CACHED_ADDRESSES = 20_000;

/** TrustedProxies is made with each plan; the identifier, the proxy and the cap on connections ask it. */
export class TrustedProxies {
  readonly #list = new BlockList();
  readonly #trustsUnixPeers: boolean;
  readonly #isEmpty: boolean;
  /** BlockList.check is a call out of JavaScript. */
  readonly #known = new GenerationMap<boolean>(MAX_CACHED_ADDRESSES);

  /** @param trusted the setting `trustedProxies`: addresses, CIDRs and `unix:`, checked by config/ */
  constructor(trusted: readonly string[]) {
    const ranges = trusted.filter((each) => each !== UNIX_PEER);
    this.#trustsUnixPeers = ranges.length < trusted.length;
    this.#isEmpty = ranges.length === 0;
    for (const range of ranges) {
      const [address = '', prefix] = range.split('/');
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
      this.#list.addSubnet(address, Number(prefix ?? (family === 'ipv6' ? 128 : 32)), family);
    }
  }

  /** trusts takes any spelling of an address, or UNIX_PEER; it trusts no other text. */
  trusts(peer: string): boolean {
    if (peer === UNIX_PEER) return this.#trustsUnixPeers;
    if (this.#isEmpty) return false;
    const known = this.#known.get(peer);
    if (known !== undefined) return known;
    const canonical = canonicalAddress(peer);
    const family = canonical !== null && isIP(canonical) === 6 ? 'ipv6' : 'ipv4';
    const found = canonical !== null && this.#list.check(canonical, family);
    this.#known.set(peer, found);
    return found;
  }

  /**
   * clientBehind walks from a trusted peer to the left while the hops are trusted. The client is the first untrusted hop, the
   * leftmost one where all are trusted, and the last readable one before an item that is no address.
   */
  clientBehind(peer: string, forwardedFor: string): string {
    let client = peer;
    let end = forwardedFor.length;
    for (let hop = 0; hop < MAX_HOPS && end > 0; hop++) {
      const comma = forwardedFor.lastIndexOf(',', end - 1);
      const address = parseHop(forwardedFor.slice(comma + 1, end).trim());
      if (address === null) break;
      client = address;
      if (!this.trusts(address)) break;
      end = comma;
    }
    return client;
  }
}

const BRACKETED_HOP = /^\[([^\]]+)\](?::\d{1,5})?$/;
const IPV4_HOP_WITH_PORT = /^([\d.]+):\d{1,5}$/;

/** parseHop reads `1.2.3.4`, `1.2.3.4:5`, `v6`, `[v6]` or `[v6]:5`; null for anything else. */
function parseHop(text: string): string | null {
  const inner = BRACKETED_HOP.exec(text)?.[1];
  if (inner !== undefined) return inner.includes(':') ? canonicalAddress(inner) : null;
  return canonicalAddress(IPV4_HOP_WITH_PORT.exec(text)?.[1] ?? text);
}
