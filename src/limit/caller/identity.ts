/**
 * Who a request is charged to (B26, B33): the client of its verified API key, else the address of the peer or, behind a trusted
 * proxy, the address that the proxy names. An invalid key makes no bucket of its own.
 */
import { canonicalAddress, groupOf, UNIX_PEER } from '../../contract/addresses.ts';
import type { ClientLookup, ClientMatch, ClientMode } from '../../contract/clients.ts';
import { hashBucketName } from '../bucket/bucket-key.ts';
import { GenerationMap } from '../bucket/generation-map.ts';
import type { KeyedClient, KeyedClients } from './api-key-clients.ts';
import type { TrustedProxies } from './trusted-proxies.ts';

const MAX_CACHED = 20_000;
/** A longer X-Forwarded-For is read, but not cached. */
const MAX_CACHED_LENGTH = 512;

/** Caller is who a request is charged to; one object per caller until something about it changes. */
export interface Caller {
  /** Canonical address, for logs and X-Real-IP; UNIX_PEER for a peer without one. */
  readonly clientIp: string;
  /** null where no client is configured. */
  readonly clientId: string | null;
  readonly mode: ClientMode;
  readonly match: ClientMatch;
  /** For bucketKey. */
  readonly bucketHash: string;
}

interface ClientIdentifierOptions {
  trusted: TrustedProxies;
  /** Leading bits by which callers without a client are told apart. */
  ipv4Prefix: number;
  ipv6Prefix: number;
  lookup: ClientLookup;
  /** null: API keys are not looked at. */
  keys: KeyedClients | null;
}

/** What is known of an address. */
interface KnownAddress {
  address: string;
  grouped: string;
  caller: Caller | null;
  /** The last caller with a key from this address. */
  keyed: Caller | null;
  /** The directory's generation when `caller` was looked up. */
  generation: number;
}

interface Peer {
  known: KnownAddress;
  isProxy: boolean;
}

/** ClientIdentifier is made with each plan and asked once per request. */
export class ClientIdentifier {
  readonly #options: ClientIdentifierOptions;
  readonly #byPeer = new GenerationMap<Peer>(MAX_CACHED);
  readonly #byForwarded = new GenerationMap<KnownAddress>(MAX_CACHED);
  readonly #byAddress = new GenerationMap<KnownAddress>(MAX_CACHED);

  constructor(options: ClientIdentifierOptions) {
    this.#options = options;
  }

  /**
   * identify never throws.
   *
   * @param peerAddress the address of the peer, or UNIX_PEER
   * @param forwardedFor all X-Forwarded-For values in order, joined by ', '; '' for none
   * @param apiKey all values of the API key field, joined likewise; '' for none
   */
  identify(peerAddress: string, forwardedFor: string, apiKey = ''): Caller {
    const known = this.#addressOf(peerAddress, forwardedFor);
    const { keys } = this.#options;
    const client = apiKey === '' || keys === null ? null : keys.clientOf(apiKey);
    return client === null ? this.#callerOf(known) : keyedCaller(known, client);
  }

  #addressOf(peerAddress: string, forwardedFor: string): KnownAddress {
    const peer = this.#peerOf(peerAddress);
    if (!peer.isProxy || forwardedFor === '') return peer.known;
    const key = forwardedFor.length <= MAX_CACHED_LENGTH ? `${peerAddress} ${forwardedFor}` : null;
    const cached = key === null ? undefined : this.#byForwarded.get(key);
    if (cached !== undefined) return cached;
    const behind = this.#know(this.#options.trusted.clientBehind(peer.known.address, forwardedFor));
    if (key !== null) this.#byForwarded.set(key, behind);
    return behind;
  }

  #peerOf(peerAddress: string): Peer {
    const cached = this.#byPeer.get(peerAddress);
    if (cached !== undefined) return cached;
    const known = this.#know(canonicalAddress(peerAddress) ?? UNIX_PEER);
    const made = { known, isProxy: this.#options.trusted.trusts(known.address) };
    this.#byPeer.set(peerAddress, made);
    return made;
  }

  #know(address: string): KnownAddress {
    const cached = this.#byAddress.get(address);
    if (cached !== undefined) return cached;
    const { ipv4Prefix, ipv6Prefix } = this.#options;
    const grouped = address === UNIX_PEER ? address : groupOf(address, ipv4Prefix, ipv6Prefix);
    const made: KnownAddress = { address, grouped, caller: null, keyed: null, generation: -1 };
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
    known.caller = {
      clientIp: known.address,
      clientId: match.client?.clientId ?? null,
      mode: match.client?.mode ?? 'limit',
      match,
      bucketHash: hashBucketName('client', match.bucketName),
    };
    return known.caller;
  }
}

/** The bucket belongs to the client, wherever it calls from; the address is for logs and the backend. */
function keyedCaller(known: KnownAddress, { match, client, bucketHash }: KeyedClient): Caller {
  if (known.keyed !== null && known.keyed.match === match) return known.keyed;
  const { clientId, mode } = client;
  known.keyed = { clientIp: known.address, clientId, mode, match, bucketHash };
  return known.keyed;
}

function sameMatch(a: ClientMatch, b: ClientMatch): boolean {
  return a.client === b.client && a.bucketName === b.bucketName && a.tombstoneUs === b.tombstoneUs;
}
