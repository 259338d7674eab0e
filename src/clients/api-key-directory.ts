/**
 * Verifies API keys in a worker, against the digests in its ClientDirectory.
 *
 * No comparison takes a time that tells anything about a key. The worker looks up the HMAC of what the caller sent, under a
 * secret that callers do not know. How far two digests agree says nothing about how far two keys agree. The limiter's memory of
 * accepted keys is a map by the sent text, and V8 compares only texts whose seeded hashes are equal.
 */
import { createSecretKey, type KeyObject } from 'node:crypto';
import type { ApiKeyLookup, ApiKeyRefusal, ClientRecord, VerifiedKey } from '../contract/clients.ts';
import { digestOf, isApiKey } from './api-key.ts';
import type { ClientDirectory } from './client-directory.ts';

type Clients = Pick<ClientDirectory, 'generation' | 'byName' | 'byDigest'>;

export class ApiKeyDirectory implements ApiKeyLookup {
  readonly clients: Clients;
  #secret: KeyObject | null = null;

  /** Made once per worker. */
  constructor(clients: Clients) {
    this.clients = clients;
  }

  get secret(): KeyObject | null {
    return this.#secret;
  }

  /** useSecret takes what digests are made with; null: this machine has no secret and accepts no key. */
  useSecret(text: string | null): void {
    this.#secret = text === null ? null : createSecretKey(text, 'utf8');
  }

  /** verify costs an HMAC (about 2 µs) for what looks like a key, and next to nothing for anything else. */
  verify(text: string): VerifiedKey | ApiKeyRefusal {
    if (!isApiKey(text)) return 'malformed';
    if (this.#secret === null) return 'unknown';
    const digest = digestOf(this.#secret, text);
    const clientId = this.clients.byDigest(digest);
    return clientId === null ? 'unknown' : new FoundKey(this, digest, clientId);
  }

  /** A key whose client this worker does not know proves nothing. */
  clientOf({ clientId }: VerifiedKey): ClientRecord | null {
    return this.clients.byName(clientId);
  }
}

class FoundKey implements VerifiedKey {
  readonly clientId: string;
  readonly #directory: ApiKeyDirectory;
  readonly #digest: Buffer;
  readonly #secret: KeyObject | null;
  /** The last generation of the directory in which the key was there. */
  #generation: number;

  constructor(directory: ApiKeyDirectory, digest: Buffer, clientId: string) {
    this.clientId = clientId;
    this.#directory = directory;
    this.#digest = digest;
    this.#secret = directory.secret;
    this.#generation = directory.clients.generation;
  }

  /** Also where the key is another client's now, and where the secret is another. Looked up once per generation. */
  get revoked(): boolean {
    const { clients, secret } = this.#directory;
    if (secret !== this.#secret) return true;
    if (this.#generation === clients.generation) return false;
    if (clients.byDigest(this.#digest) !== this.clientId) return true;
    this.#generation = clients.generation;
    return false;
  }
}
