/**
 * The folder `acme.storage`, with a folder of its own for each authority: the key of the account, one PEM file per name (private key,
 * certificate, chain), and when failed orders may be tried again. Folders 0700, files 0600; a file is replaced as a whole.
 */
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { systemClock } from '../../contract/clock.ts';
import { systemCodeOf } from '../../contract/errors.ts';
import { makeFolder } from '../../infra/make-folder.ts';
import type { Claim } from './tables.ts';

const attemptsSchema = z.record(z.string(), z.object({ failures: z.int().min(0), notBeforeMs: z.number() }));

/** Failed orders in a row, and the time before which no other is tried (milliseconds since the epoch). */
type Attempts = z.output<typeof attemptsSchema>[string];

const DRAFT_BYTES = 6;
const HASH_CHARS = 8;
const MAX_WAIT_MS = 86_400_000;

/** AcmeFiles throws what the file system throws. */
export class AcmeFiles {
  readonly folder: string;

  /** @param directory URL of the authority; certificates of another authority, such as a test one, are not taken for its */
  constructor(storage: string, directory: string) {
    const hash = createHash('sha256').update(directory).digest('hex').slice(0, HASH_CHARS);
    this.folder = join(storage, `${new URL(directory).hostname}-${hash}`);
  }

  /** null: there is none. */
  get accountKeyPem(): string | null {
    return this.#read('account.key');
  }

  saveAccountKey(pem: string): void {
    this.#write('account.key', pem);
  }

  /** As in IssuedCertificate.pem, not checked; null: there is none. */
  certificatePem(name: string): string | null {
    return this.#read(`${name}.pem`);
  }

  saveCertificate(name: string, pem: string): void {
    this.#write(`${name}.pem`, pem);
  }

  /** accountKey and the next three do what AcmeTables does, for a machine that is alone. */
  accountKey(ownPem: string): Promise<string> {
    return Promise.resolve(ownPem);
  }

  async claim(name: string, known: string | null, holdMs: (failures: number) => number): Promise<Claim> {
    const { failures = 0, notBeforeMs = 0 } = this.#attempts[name] ?? {};
    // A clock that was set back must not stop the renewal for longer than an authority may.
    const waitMs = Math.min(Math.max(notBeforeMs - systemClock.wallMs(), 0), MAX_WAIT_MS);
    if (waitMs > 0) return { pem: known, failures: null, waitMs };
    this.#note(name, failures + 1, holdMs(failures + 1));
    return { pem: known, failures: failures + 1, waitMs };
  }

  async postpone(name: string, waitMs: number): Promise<void> {
    this.#note(name, this.#attempts[name]?.failures ?? 0, waitMs);
  }

  async publish(name: string): Promise<void> {
    this.#note(name, 0, 0);
  }

  #note(name: string, failures: number, waitMs: number): void {
    const attempts = { ...this.#attempts, [name]: { failures, notBeforeMs: systemClock.wallMs() + waitMs } };
    this.#write('attempts.json', JSON.stringify(attempts));
  }

  /** Without the file, or with a broken one, nothing has failed yet. */
  get #attempts(): Record<string, Attempts> {
    try {
      return attemptsSchema.parse(JSON.parse(this.#read('attempts.json') ?? '{}'));
    } catch (thrown) {
      if (thrown instanceof z.ZodError || thrown instanceof SyntaxError) return {};
      throw thrown;
    }
  }

  #read(file: string): string | null {
    try {
      return readFileSync(join(this.folder, file), 'utf8');
    } catch (thrown) {
      if (systemCodeOf(thrown) === 'ENOENT') return null;
      throw thrown;
    }
  }

  #write(file: string, text: string): void {
    makeFolder(this.folder);
    const path = join(this.folder, file);
    const draft = `${path}.${randomBytes(DRAFT_BYTES).toString('hex')}`;
    try {
      writeFileSync(draft, text, { mode: 0o600, flag: 'wx', flush: true });
      renameSync(draft, path);
    } finally {
      rmSync(draft, { force: true });
    }
  }
}
