/**
 * Who a request is counted for (B26, B33): the client whose API key it has, else the peer's address. If the peer is a trusted
 * proxy, it is the first untrusted address from the right of X-Forwarded-For. Nothing else from an untrusted party counts. A key
 * counts only once it is verified, so that invented keys create no buckets.
 */
import { canonicalAddress, groupOf, UNIX_PEER } from '../../contract/addresses.ts';
import type { ClientLookup, ClientMatch } from '../../contract/clients.ts';
import { AddressRanges } from '../../infra/address-ranges.ts';
import { GenerationMap } from '../bucket/generation-map.ts';
import type { ApiKeyClients } from './api-key-clients.ts';
import { type BucketOwner, ownerOf } from './bucket-owner.ts';

/** The most hops that are read, from the right; no real chain is longer. */
const MAX_HOPS = 32;
/** The most addresses, and the most values of X-Forwarded-For, that are remembered. */
const MAX_CACHED_ADDRESSES = 20_000;
/** Longer values of X-Forwarded-For are read, but not remembered. */
const MAX_CACHED_LENGTH = 512;

/** Caller is who a request is counted for; one object per caller until it changes. */
export interface Caller extends BucketOwner {
  /** The canonical address, or UNIX_PEER; for logs and X-Real-IP. */
  readonly clientIp: string;
  /** Of a client: the second in which `noteSeen` wrote it down last. */
  seenSec: number;
}

interface CallerIdentifierOptions {
  /** The setting `trustedProxies`: CIDRs, addresses and UNIX_PEER, checked by config/. */
  trustedProxies: readonly string[];
  /** Callers that are not clients share a bucket if this many leading bits of their addresses are equal. */
  ipv4Prefix: number;
  ipv6Prefix: number;
  lookup: ClientLookup;
  /** null: there are no API keys. */
  keys: ApiKeyClients | null;
}

/** KnownAddress is what a plan remembers about an address. */
export interface KnownAddress {
  /** Canonical, or UNIX_PEER. */
  readonly address: string;
  /** The address, or the range of addresses that share its bucket. */
  readonly grouped: string;
  /** A trusted proxy: its X-Forwarded-For is believed. */
  readonly isTrusted: boolean;
  /** The caller without a key, and the directory's generation of the look-up. */
  caller: Caller | null;
  generation: number;
  /** The last caller with a key at this address. */
  keyed: Caller | null;
}

/** CallerIdentifier is made with each plan and asked once per request. */
export class CallerIdentifier {
  readonly #options: CallerIdentifierOptions;
  readonly #trusted: AddressRanges;
  readonly #byForwarded = new GenerationMap<KnownAddress>(MAX_CACHED_ADDRESSES);
  readonly #byAddress = new GenerationMap<KnownAddress>(MAX_CACHED_ADDRESSES);

  constructor(options: CallerIdentifierOptions) {
    this.#options = options;
    this.#trusted = new AddressRanges(options.trustedProxies);
  }

  /** addressOf accepts any spelling of an address; any other text means a peer on a Unix socket. */
  addressOf(peerAddress: string): KnownAddress {
    return this.#byAddress.get(peerAddress) ?? this.#known(canonicalAddress(peerAddress) ?? UNIX_PEER);
  }

  /**
   * identify never throws.
   *
   * @param peer by addressOf
   * @param forwardedFor all values of X-Forwarded-For in order, joined by ', '; '' for none
   * @param apiKey all values of the API key field, joined likewise; '' for none
   */
  identify(peer: KnownAddress, forwardedFor: string, apiKey: string): Caller {
    const known = peer.isTrusted && forwardedFor !== '' ? this.#behind(peer, forwardedFor) : peer;
    const client = apiKey === '' ? null : (this.#options.keys?.clientOf(apiKey) ?? null);
    if (client === null) return this.#callerOf(known);
    // The bucket is the client's, whatever the address, which is for logs and the backend.
    if (known.keyed?.match !== client.match) known.keyed = callerAt(known, client);
    return known.keyed;
  }

  /** noteSeen writes down that a client has sent a request, once a second per caller: all others cost a comparison. */
  noteSeen(caller: Caller): void {
    const { lookup } = this.#options;
    const { nowSec } = lookup;
    if (caller.clientId === null || caller.seenSec === nowSec) return;
    caller.seenSec = nowSec;
    lookup.noteSeen(caller.clientId);
  }

  #behind(peer: KnownAddress, forwardedFor: string): KnownAddress {
    if (forwardedFor.length > MAX_CACHED_LENGTH) return this.#walk(peer, forwardedFor);
    const key = `${peer.address} ${forwardedFor}`;
    let behind = this.#byForwarded.get(key);
    if (behind === undefined) {
      behind = this.#walk(peer, forwardedFor);
      this.#byForwarded.set(key, behind);
    }
    return behind;
  }

  /** Reads hops from right to left while they are trusted; an unreadable hop ends the walk. */
  #walk(peer: KnownAddress, forwardedFor: string): KnownAddress {
    let client = peer;
    let end = forwardedFor.length;
    for (let hop = 0; client.isTrusted && hop < MAX_HOPS && end > 0; hop++) {
      const comma = forwardedFor.lastIndexOf(',', end - 1);
      const address = parseHop(forwardedFor.slice(comma + 1, end).trim());
      if (address === null) break;
      client = this.#known(address);
      end = comma;
    }
    return client;
  }

  /** @param address canonical, or UNIX_PEER */
  #known(address: string): KnownAddress {
    const cached = this.#byAddress.get(address);
    if (cached !== undefined) return cached;
    const { ipv4Prefix, ipv6Prefix } = this.#options;
    const isUnix = address === UNIX_PEER;
    const made: KnownAddress = {
      address,
      grouped: isUnix ? address : groupOf(address, ipv4Prefix, ipv6Prefix),
      isTrusted: this.#trusted.has(address),
      caller: null,
      generation: -1,
      keyed: null,
    };
    this.#byAddress.set(address, made);
    return made;
  }

  #callerOf(known: KnownAddress): Caller {
    const { lookup } = this.#options;
    const { generation } = lookup;
    const before = known.caller;
    if (before !== null && known.generation === generation) return before;
    known.generation = generation;
    const match = lookup.byAddress(known.address, known.grouped);
    if (before !== null && sameMatch(before.match, match)) return before;
    known.caller = callerAt(known, ownerOf(match));
    return known.caller;
  }
}

function callerAt({ address }: KnownAddress, { clientId, mode, match, bucketHash }: BucketOwner): Caller {
  return { clientIp: address, clientId, mode, match, bucketHash, seenSec: 0 };
}

function sameMatch(a: ClientMatch, b: ClientMatch): boolean {
  return a.client === b.client && a.bucketName === b.bucketName && a.tombstoneUs === b.tombstoneUs;
}

const BRACKETED_HOP = /^\[([^\]]+)\](?::\d{1,5})?$/;
const IPV4_HOP_WITH_PORT = /^([\d.]+):\d{1,5}$/;

/** parseHop reads `1.2.3.4`, `1.2.3.4:5`, `v6`, `[v6]` or `[v6]:5`; null: anything else. */
function parseHop(text: string): string | null {
  const inner = BRACKETED_HOP.exec(text)?.[1];
  if (inner !== undefined) return inner.includes(':') ? canonicalAddress(inner) : null;
  return canonicalAddress(IPV4_HOP_WITH_PORT.exec(text)?.[1] ?? text);
}
