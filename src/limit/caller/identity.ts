/**
 * Who a request is counted for (B26, B33): the client whose API key it carries, else the peer's address, or,
 * where the peer is a trusted proxy, the first untrusted address from the right of X-Forwarded-For. A key counts only once
 * it is verified, so that made-up ones make no buckets; nothing else that an untrusted party wrote is ever looked at.
 */
import { BlockList, isIP } from 'node:net';
import { canonicalAddress, groupOf } from '../../contract/addresses.ts';
import type { ClientLookup, ClientMatch, ClientMode } from '../../contract/clients.ts';
import { hashBucketName } from '../bucket/bucket-key.ts';
import { GenerationMap } from '../bucket/generation-map.ts';
import type { KeyedClient, KeyedClients } from './api-key-clients.ts';

/** Hops looked at, from the right; a longer chain is nobody's honest one. */
const MAX_HOPS = 32;
/** Results kept, by peer and by what it said. */
const MAX_CACHED_ADDRESSES = 20_000;
const MAX_CACHED_CALLERS = 20_000;
/** Longer values are read, but not kept. */
const MAX_CACHED_LENGTH = 512;
/** What a peer without an address is called: one that came over a Unix socket. */
const UNIX_PEER = 'unix:';

/** Caller is who a request is counted for; one object per caller while nothing about it changes. */
export interface Caller {
  /** Canonical address, for logs and X-Real-IP; `unix:` for a peer without one. */
  readonly clientIp: string;
  /** null: no client is configured for it. */
  readonly clientId: string | null;
  readonly mode: ClientMode;
  readonly match: ClientMatch;
  /** For bucketKey. */
  readonly bucketHash: string;
}

/** TrustedProxies are the peers that are believed about whom they speak for; also asked by the proxy for `X-Forwarded-*`. */
export class TrustedProxies {
  readonly #list = new BlockList();
  readonly #empty: boolean;
  /** Asked for every connection; a look into the list costs a call out of JavaScript. */
  readonly #known = new GenerationMap<boolean>(MAX_CACHED_ADDRESSES);

  /** @param cidrs the setting `trustedProxies`: CIDRs or addresses, checked by config/ */
  constructor(cidrs: readonly string[]) {
    this.#empty = cidrs.length === 0;
    for (const cidr of cidrs) {
      const [address = '', prefix] = cidr.split('/');
      const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
      const bits = family === 'ipv6' ? 128 : 32;
      this.#list.addSubnet(address, prefix === undefined ? bits : Number(prefix), family);
    }
  }

  /** trusts takes any spelling of an address; anything else is not trusted. */
  trusts(address: string): boolean {
    if (this.#empty) return false;
    const known = this.#known.get(address);
    if (known !== undefined) return known;
    const canonical = canonicalAddress(address);
    const family = canonical !== null && isIP(canonical) === 6 ? 'ipv6' : 'ipv4';
    const found = canonical !== null && this.#list.check(canonical, family);
    this.#known.set(address, found);
    return found;
  }
}

interface ClientIdentifierOptions {
  trusted: TrustedProxies;
  /** How many leading bits tell anonymous callers apart. */
  ipv4Prefix: number;
  ipv6Prefix: number;
  lookup: ClientLookup;
  /** Default: nobody is told apart by keys. */
  keys?: KeyedClients | null;
}

/** What is known of an address; the caller is made anew when the directory answers differently. */
interface Known {
  address: string;
  grouped: string;
  caller: Caller | null;
  /** The last one from there with a key. */
  keyed: Caller | null;
  /** Of the directory, when it was asked last. */
  generation: number;
}

interface Peer {
  known: Known;
  /** Whether it is believed about whom it speaks for. */
  isProxy: boolean;
}

export class ClientIdentifier {
  readonly #trusted: TrustedProxies;
  readonly #ipv4Prefix: number;
  readonly #ipv6Prefix: number;
  readonly #lookup: ClientLookup;
  readonly #keys: KeyedClients | null;
  readonly #byPeer = new GenerationMap<Peer>(MAX_CACHED_ADDRESSES);
  readonly #byForwarded = new GenerationMap<Known>(MAX_CACHED_ADDRESSES);
  readonly #byAddress = new GenerationMap<Known>(MAX_CACHED_CALLERS);

  constructor(options: ClientIdentifierOptions) {
    this.#trusted = options.trusted;
    this.#ipv4Prefix = options.ipv4Prefix;
    this.#ipv6Prefix = options.ipv6Prefix;
    this.#lookup = options.lookup;
    this.#keys = options.keys ?? null;
  }

  /**
   * identify never throws.
   *
   * @param peerAddress the socket's remote address; '' where it has none
   * @param forwardedFor all X-Forwarded-For values joined by ', ' in order; '' for none
   * @param apiKey all values of the field with the key, joined likewise; '' for none
   */
  identify(peerAddress: string, forwardedFor: string, apiKey = ''): Caller {
    const known = this.#addressOf(peerAddress, forwardedFor);
    if (apiKey === '' || this.#keys === null) return this.#callerOf(known);
    const client = this.#keys.clientOf(apiKey);
    return client === null ? this.#callerOf(known) : keyedCaller(known, client);
  }

  #addressOf(peerAddress: string, forwardedFor: string): Known {
    const peer = this.#ofPeer(peerAddress);
    if (!peer.isProxy || forwardedFor === '') return peer.known;
    const cacheable = forwardedFor.length <= MAX_CACHED_LENGTH;
    const key = cacheable ? `${peerAddress} ${forwardedFor}` : '';
    let behind = cacheable ? this.#byForwarded.get(key) : undefined;
    if (behind === undefined) {
      behind = this.#know(clientBehind(peerAddress, forwardedFor, this.#trusted));
      if (cacheable) this.#byForwarded.set(key, behind);
    }
    return behind;
  }

  #ofPeer(peerAddress: string): Peer {
    const cached = this.#byPeer.get(peerAddress);
    if (cached !== undefined) return cached;
    const known = this.#know(canonicalAddress(peerAddress) ?? UNIX_PEER);
    const made = { known, isProxy: this.#trusted.trusts(peerAddress) };
    this.#byPeer.set(peerAddress, made);
    return made;
  }

  #know(address: string): Known {
    const cached = this.#byAddress.get(address);
    if (cached !== undefined) return cached;
    const grouped = address === UNIX_PEER ? address : groupOf(address, this.#ipv4Prefix, this.#ipv6Prefix);
    const made: Known = { address, grouped, caller: null, keyed: null, generation: -1 };
    this.#byAddress.set(address, made);
    return made;
  }

  #callerOf(known: Known): Caller {
    // The directory changes under us.
    const { generation } = this.#lookup;
    const before = known.caller;
    if (before !== null && known.generation === generation) return before;
    known.generation = generation;
    const match = this.#lookup.byAddress(known.address, known.grouped);
    if (before !== null && sameMatch(before.match, match)) return before;
    const caller: Caller = {
      clientIp: known.address,
      clientId: match.client?.clientId ?? null,
      mode: match.client?.mode ?? 'limit',
      match,
      bucketHash: hashBucketName(match.bucketName),
    };
    known.caller = caller;
    return caller;
  }
}

/** The bucket is the client's, wherever it calls from; the address is for logs and for the backend. */
function keyedCaller(known: Known, { match, client, bucketHash }: KeyedClient): Caller {
  if (known.keyed !== null && known.keyed.match === match) return known.keyed;
  const { clientId, mode } = client;
  known.keyed = { clientIp: known.address, clientId, mode, match, bucketHash };
  return known.keyed;
}

function sameMatch(a: ClientMatch, b: ClientMatch): boolean {
  return (
    a === b || (a.client === b.client && a.bucketName === b.bucketName && a.tombstoneUs === b.tombstoneUs)
  );
}

/**
 * clientBehind walks from the peer to the left while the hops are trusted. An unreadable item ends the walk: the last good
 * address is the client; where every hop is trusted it is the leftmost.
 */
function clientBehind(peerAddress: string, forwardedFor: string, trusted: TrustedProxies): string {
  let client = canonicalAddress(peerAddress) ?? UNIX_PEER;
  let end = forwardedFor.length;
  for (let hop = 0; hop < MAX_HOPS && end > 0; hop++) {
    const comma = forwardedFor.lastIndexOf(',', end - 1);
    const address = parseHop(forwardedFor.slice(comma + 1, end).trim());
    if (address === null) break;
    client = address;
    if (!trusted.trusts(address)) break;
    end = comma;
  }
  return client;
}

const BRACKETED_HOP = /^\[([^\]]+)\](?::\d{1,5})?$/;
const IPV4_HOP_WITH_PORT = /^([\d.]+):\d{1,5}$/;

/** parseHop reads `1.2.3.4`, `1.2.3.4:5`, `v6`, `[v6]` or `[v6]:5`; null for anything else. */
function parseHop(text: string): string | null {
  const inner = BRACKETED_HOP.exec(text)?.[1];
  if (inner !== undefined) return inner.includes(':') ? canonicalAddress(inner) : null;
  return canonicalAddress(IPV4_HOP_WITH_PORT.exec(text)?.[1] ?? text);
}
