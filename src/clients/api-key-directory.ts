/**
 * The keys that a worker accepts, in its memory: filled by the primary's messages, asked once per key that the limiter
 * does not remember. A full set is gathered aside and takes over with its last part.
 *
 * No comparison of secrets happens here whose time could tell anything about a key. What is looked up is the HMAC of what
 * the caller sent under a secret that callers do not know: how far two digests agree, and where a map looks for one, says
 * nothing about how far two keys agree, and nobody can aim at a digest. The limiter's memory of accepted keys is a map
 * over the sent text; V8 compares texts only whose seeded hashes over all of it are equal.
 */
import { createSecretKey, type KeyObject } from 'node:crypto';
import type { ApiKeyLookup, ApiKeyRefusal, ClientRecord, VerifiedKey } from '../contract/clients.ts';
import type { PrimaryMessage } from '../contract/messages.ts';
import { digestOf, isApiKey } from './api-key.ts';
import { DigestMap } from './digest-map.ts';

export type ApiKeysMessage = Extract<PrimaryMessage, { type: 'api-keys' }>;

interface LiveKey extends VerifiedKey {
  revoked: boolean;
}

type Keys = DigestMap<LiveKey>;

export class ApiKeyDirectory implements ApiKeyLookup {
  readonly #clients: { byName(clientId: string): ClientRecord | null };
  #keys: Keys = new DigestMap();
  /** A full set under way. */
  #draft: Keys | null = null;
  #secret: KeyObject | null = null;

  /** @param clients the worker's client directory */
  constructor(clients: { byName(clientId: string): ClientRecord | null }) {
    this.#clients = clients;
  }

  get keyCount(): number {
    return this.#keys.size;
  }

  /**
   * apply takes one message. A part of a full set goes into the draft, and one that lost its beginning is ignored; a change is
   * merged at once, and into a draft as well, which may have been read before it.
   */
  apply(message: ApiKeysMessage): void {
    if (message.full && message.first) this.#draft = new DigestMap();
    if (!message.full) merge(this.#keys, message);
    if (this.#draft !== null) merge(this.#draft, message);
    if (!message.full || !message.last || this.#draft === null) return;
    for (const key of this.#keys.values()) revoke(key);
    this.#keys = this.#draft;
    this.#draft = null;
    this.#secret = message.secret === null ? null : createSecretKey(message.secret, 'utf8');
  }

  /** verify costs an HMAC (about 2 µs) for what looks like a key, and next to nothing for anything else. */
  verify(text: string): VerifiedKey | ApiKeyRefusal {
    if (!isApiKey(text)) return 'malformed';
    if (this.#secret === null) return 'unknown';
    return this.#keys.get(digestOf(this.#secret, text)) ?? 'unknown';
  }

  /** A key whose client this worker has not heard of yet, or not any more, proves nothing. */
  clientOf({ clientId }: VerifiedKey): ClientRecord | null {
    return this.#clients.byName(clientId);
  }
}

function revoke(key: LiveKey | undefined): void {
  if (key !== undefined) key.revoked = true;
}

function merge(keys: Keys, { upserts, removed }: ApiKeysMessage): void {
  for (const digest of removed) {
    revoke(keys.get(digest));
    keys.delete(digest);
  }
  for (const { digest, clientId } of upserts) {
    // Whoever remembers the old object must ask again: the key may be another client's now.
    revoke(keys.get(digest));
    keys.set(digest, { clientId, revoked: false });
  }
}
