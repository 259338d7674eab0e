/**
 * Looks up the names of backends, so that an outage of the resolver is not an outage of the backends. Every look-up asks the
 * resolver; if that fails or is slow, the last good answer serves. One look-up per name runs at a time, because a resolver that
 * hangs would otherwise take all threads of libuv's pool.
 */
import type { LookupAddress } from 'node:dns';
import { lookup as resolveName } from 'node:dns/promises';
import { isIP, type LookupFunction } from 'node:net';
import { toError } from '../contract/errors.ts';
import { withDeadline } from './with-deadline.ts';

/** Names come from the configuration alone; the bound is for a process that sees many reloads. */
const MAX_NAMES = 10_000;
/** Of a name; each connection tries them one after the other. A resolver that is wrong, or lies, may send thousands. */
const MAX_ADDRESSES = 32;

interface ResolveOptions {
  /** How long to wait for the resolver if there is an earlier answer; default 500. */
  patienceMs?: number;
  /** Called when an earlier answer has to serve. */
  onOutage?: (error: Error) => void;
}

type Resolve = (name: string) => Promise<LookupAddress[]>;

export class BackendNames {
  readonly #resolve: Resolve;
  /** The last good answer of each name. */
  readonly #answers = new Map<string, LookupAddress[]>();
  readonly #running = new Map<string, Promise<LookupAddress[]>>();

  constructor(resolve: Resolve = (name) => resolveName(name, { all: true })) {
    this.#resolve = resolve;
  }

  /** lookup is the option `lookup` of net.connect. */
  readonly lookup = this.lookupWith({});

  /** lookupWith is `lookup` with options. */
  lookupWith(resolveOptions: ResolveOptions): LookupFunction {
    return (name, options, callback) => {
      this.#lookUp(name, resolveOptions).then(
        (addresses) => {
          if (options.all === true) callback(null, addresses);
          else callback(null, addresses[0]!.address, addresses[0]!.family);
        },
        (error: NodeJS.ErrnoException) => callback(error, '', 0),
      );
    };
  }

  /** knows tells whether there is an address for a host: it is an IP address, or a name that resolved once. */
  knows(host: string): boolean {
    return isIP(host) !== 0 || this.#answers.has(host);
  }

  /** Rejects with the resolver's error only where the name never resolved. */
  async #lookUp(name: string, { patienceMs = 500, onOutage }: ResolveOptions): Promise<LookupAddress[]> {
    const running = this.#ask(name);
    const known = this.#answers.get(name);
    if (known === undefined) return running;
    try {
      return await withDeadline(running, patienceMs, `looking up ${name}`);
    } catch (thrown) {
      onOutage?.(toError(thrown));
      return known;
    }
  }

  #ask(name: string): Promise<LookupAddress[]> {
    const running = this.#running.get(name);
    if (running !== undefined) return running;
    const asked = this.#resolve(name)
      .then((addresses) => this.#keep(name, addresses))
      .finally(() => this.#running.delete(name));
    // Nobody may wait for it any more: an earlier answer has served.
    asked.catch(() => undefined);
    this.#running.set(name, asked);
    return asked;
  }

  #keep(name: string, addresses: LookupAddress[]): LookupAddress[] {
    if (addresses.length === 0) throw Object.assign(new Error('no address'), { code: 'ENOTFOUND' });
    if (!this.#answers.has(name) && this.#answers.size >= MAX_NAMES) {
      const [oldest] = this.#answers.keys();
      if (oldest !== undefined) this.#answers.delete(oldest);
    }
    const some = addresses.slice(0, MAX_ADDRESSES);
    this.#answers.set(name, some);
    return some;
  }
}

/** One per process. */
export const backendNames = new BackendNames();
