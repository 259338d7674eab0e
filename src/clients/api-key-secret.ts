/**
 * The secret behind API keys on this machine: the one of the settings, else one that is made with the first key and kept in a
 * file beside the database. The file is looked for when there is a key to issue or to verify, never before.
 */
import { randomBytes } from 'node:crypto';
import { linkSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { LbError, systemCodeOf, toError } from '../contract/errors.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { placeFile } from '../infra/replace-file.ts';
import { makeSigningSecret, type SigningSecret } from './api-key.ts';

interface ApiKeySecretOptions {
  /** The setting `secrets.apiKeys`; null: unset. */
  configured: string | null;
  /** File of the secret that is used where none is set. */
  path: string;
  /** Where earlier versions kept the file: copied to `path` where that is missing. Default: `path`. */
  formerPath?: string;
  logger: Pick<Logger, 'error'>;
}

const SECRET_BYTES = 32;
const SECRET = /^[A-Za-z0-9_-]{43}$/;

export class ApiKeySecret {
  readonly #options: ApiKeySecretOptions;
  readonly #path: string;
  readonly #listeners = new Set<() => void>();
  #configured: string | null;
  #current: SigningSecret | null = null;

  /** Made once, in the primary. */
  constructor(options: ApiKeySecretOptions) {
    this.#options = options;
    this.#path = resolve(options.path);
    this.#configured = options.configured;
    if (options.configured !== null) this.#current = makeSigningSecret(options.configured);
  }

  /** null: there is none yet, its file was not needed yet, or it cannot be read. */
  get current(): SigningSecret | null {
    return this.#current;
  }

  /** Where it comes from: the name of the setting, or the path of the file. */
  get source(): string {
    return this.#configured === null ? this.#path : 'secrets.apiKeys';
  }

  /** onChange calls back when `current` has become another; returns how to stop. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** configure takes the setting of a new revision. */
  configure(configured: string | null): void {
    if (configured === this.#configured) return;
    this.#configured = configured;
    this.refresh();
  }

  /** refresh reads the file again where no secret is set: another process may have made it. Returns whether the secret changed. */
  refresh(): boolean {
    const text = this.#configured ?? this.#read();
    if (text === (this.#current?.text ?? null)) return false;
    this.#become(text === null ? null : makeSigningSecret(text));
    return true;
  }

  /**
   * ensure returns the secret to issue a key under, made now where there is none. Throws LbError secret_missing where none can
   * be made, or must not be.
   *
   * @param hasKeys whether the database holds keys: their secret is on another machine; with two, each would refuse the other's keys
   */
  async ensure(hasKeys: () => Promise<boolean>): Promise<SigningSecret> {
    if (this.#current === null && !this.refresh() && (await hasKeys())) {
      throw new LbError(
        'secret_missing',
        'the API keys in the database were issued under a secret that is not on this machine: set secrets.apiKeys to the same ' +
          `on all machines, or copy the file of the machine that issued them to ${this.#path}`,
      );
    }
    return this.#current ?? this.#make();
  }

  #make(): SigningSecret {
    try {
      const fresh = randomBytes(SECRET_BYTES).toString('base64url');
      const made = makeSigningSecret(readSecretFile(this.#path) ?? placeSecret(this.#path, fresh));
      this.#become(made);
      return made;
    } catch (thrown) {
      throw new LbError(
        'secret_missing',
        `no secret for API keys can be made in ${this.#path}: set secrets.apiKeys (${toError(thrown).message})`,
        { cause: thrown },
      );
    }
  }

  /** Without it Sluice serves all the same: callers with keys are limited by their addresses. */
  #read(): string | null {
    try {
      const text = readSecretFile(this.#path);
      if (text !== null) return text;
      const former = readSecretFile(this.#options.formerPath ?? this.#path);
      return former === null ? null : placeSecret(this.#path, former);
    } catch (thrown) {
      this.#options.logger.error(
        { err: toError(thrown), path: this.#path },
        'the secret of the API keys cannot be read; no key is accepted',
      );
      return null;
    }
  }

  #become(secret: SigningSecret | null): void {
    this.#current = secret;
    for (const listener of this.#listeners) listener();
  }
}

/** null: there is no such file. Throws what the file system throws, as placeSecret does. */
function readSecretFile(path: string): string | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (thrown) {
    if (systemCodeOf(thrown) === 'ENOENT') return null;
    throw thrown;
  }
  if (!SECRET.test(text)) throw new Error(`${path} does not hold a secret that Sluice made`);
  return text;
}

/**
 * Makes the file (0600) and its folder (0700). Processes that do so at once all return the same secret: the one that is in the file
 * afterwards.
 */
function placeSecret(path: string, secret: string): string {
  try {
    // A rename would replace another process's file.
    placeFile(path, `${secret}\n`, linkSync);
    return secret;
  } catch (thrown) {
    if (systemCodeOf(thrown) !== 'EEXIST') throw thrown;
    const placed = readSecretFile(path);
    if (placed === null) throw new Error(`${path} is a link to a file that does not exist`);
    return placed;
  }
}
