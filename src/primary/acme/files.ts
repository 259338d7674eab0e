/**
 * The folder `acme.storage`, with a folder of its own for each authority: the key of the account, one PEM file per name
 * (private key, certificate, chain), and the attempts of LocalStore. Folders 0700, files 0600; a file is replaced as a
 * whole.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { systemCodeOf } from '../../contract/errors.ts';
import { DRAFT_END, placeFile } from '../../infra/replace-file.ts';

const HASH_CHARS = 8;
const FOLDER = /-[0-9a-f]{8}$/;
/** Not there, or below something that is no folder. */
const ABSENT = ['ENOENT', 'ENOTDIR'];

/** AcmeFiles throws what the file system throws. */
export class AcmeFiles {
  readonly folder: string;
  readonly #storage: string;

  /**
   * @param directory URL of the authority; a certificate of another authority, such as a test one, does not count as its own
   */
  constructor(storage: string, directory: string) {
    const hash = createHash('sha256').update(directory).digest('hex').slice(0, HASH_CHARS);
    this.folder = join(storage, `${new URL(directory).hostname}-${hash}`);
    this.#storage = storage;
  }

  /** null: there is none. */
  get accountKeyPem(): string | null {
    return readOrNull(join(this.folder, 'account.key'));
  }

  saveAccountKey(pem: string): void {
    placeFile(join(this.folder, 'account.key'), pem);
  }

  /** The folders of other authorities. */
  get otherFolders(): string[] {
    const names = namesIn(this.#storage).filter((name) => FOLDER.test(name));
    const paths = names.map((name) => join(this.#storage, name));
    return paths.filter((path) => path !== this.folder);
  }

  /** As in IssuedCertificate.pem, not checked; null: there is none. */
  certificatePem(name: string, folder = this.folder): string | null {
    return readOrNull(join(folder, `${name}.pem`));
  }

  saveCertificate(name: string, pem: string): void {
    placeFile(join(this.folder, `${name}.pem`), pem);
  }

  get attemptsJson(): string | null {
    return readOrNull(join(this.folder, 'attempts.json'));
  }

  saveAttempts(json: string): void {
    placeFile(join(this.folder, 'attempts.json'), json);
  }

  /** removeDrafts removes what a process left behind that was killed while it wrote: there may be a private key in it. */
  removeDrafts(): void {
    for (const name of namesIn(this.folder)) if (DRAFT_END.test(name)) rmSync(join(this.folder, name));
  }
}

function readOrNull(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    if (ABSENT.includes(systemCodeOf(thrown) ?? '')) return null;
    throw thrown;
  }
}

/** Of a folder that cannot be listed: none. Whoever reads or writes a file in it says why. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
