/**
 * What workers are told about TLS with clients: the certificates of files and of ACME, and the keys of session tickets. It reads the files
 * again when they change, gives out new ticket keys twice a day, and warns of certificates that end soon or are not valid.
 */
import { randomBytes, X509Certificate } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import { namesOf, readAgain, toleratesInUse } from '../../config/listener-certificates.ts';
import { certificateWarnings, type Tolerates } from '../../config/pem-files.ts';
import { type Validity, validityOf, validityText, WARN_EVERY_MS } from '../../config/validity.ts';
import { addressesByKey } from '../../contract/addresses.ts';
import { systemClock } from '../../contract/clock.ts';
import { toError } from '../../contract/errors.ts';
import type { ListenSettings, ListenTlsSettings, Settings } from '../../contract/settings.ts';
import type { TlsAddress, TlsMaterial } from '../../contract/tls.ts';
import type { IssuedCertificate } from '../acme/certificate.ts';
import type { EventLog } from '../events/event-log.ts';
import { problemsText } from '../status/problems.ts';

/** node takes one set of keys: a session whose ticket is older than the last change begins anew. */
const ROTATE_EVERY_MS = 12 * 3_600_000;
const TICKET_KEY_BYTES = 48;
const LOOK_EVERY_MS = 2_000;

/** A certificate that an address serves. */
interface ServedCertificate extends Validity {
  /** Its first name, in metrics and the log; for one without names its file. */
  label: string;
  names: string[];
  /** PEM. */
  cert: string;
  key: string;
}

interface TlsKeeperOptions {
  settings: Settings;
  events: Pick<EventLog, 'record'>;
  /** Called with everything after each change. */
  tell: (material: TlsMaterial) => void;
  /** For tests. */
  lookEveryMs?: number;
}

/** TlsKeeper is made once by PrimaryParts. */
export class TlsKeeper {
  readonly #options: TlsKeeperOptions;
  #listen: readonly ListenSettings[];
  #issued: readonly IssuedCertificate[] = [];
  #ticketKeys = randomBytes(TICKET_KEY_BYTES);
  /** What the files looked like when they were read, and at the last look. */
  #readState: string | null = null;
  #seenState: string | null = null;
  #looking = false;
  /** When the next certificate in force ends, in milliseconds since the epoch. */
  #nextEndMs = Number.POSITIVE_INFINITY;
  readonly #timers: NodeJS.Timeout[] = [];
  /** Why the files as they are now are not in force; null: they are. */
  fault: string | null = null;

  constructor(options: TlsKeeperOptions) {
    this.#options = options;
    this.#listen = options.settings.listen;
  }

  /** start tells the workers, and begins to watch. Without TLS it does nothing. */
  start(): void {
    if (!this.#listen.some(({ tls }) => tls !== null)) return;
    this.#tell();
    const every = (ms: number, act: () => void): void => void this.#timers.push(setInterval(act, ms).unref());
    every(this.#options.lookEveryMs ?? LOOK_EVERY_MS, () => void this.#look());
    every(WARN_EVERY_MS, () => this.#warn());
    every(ROTATE_EVERY_MS, () => this.rotate());
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }

  /** configure takes the settings of a new revision, whose files were just read. */
  configure({ listen }: Settings): void {
    this.#listen = listen;
    this.#readState = null;
    this.fault = null;
    // The files are among the warnings of the configuration.
    this.#warnOf(this.#issued);
    // An address may be the first with TLS.
    if (this.#timers.length === 0) this.start();
    else this.#tell();
  }

  /** tolerates is for a reload: the certificates that are in force, also those that were taken over since the last one. */
  get tolerates(): Tolerates {
    return toleratesInUse(this.#listen);
  }

  /** useIssued takes all certificates that ACME has. */
  readonly useIssued = (issued: readonly IssuedCertificate[]): void => {
    const known = new Set(this.#issued.map(({ pem }) => pem));
    this.#issued = issued;
    this.#warnOf(issued.filter(({ pem }) => !known.has(pem)));
    this.#tell();
  };

  /** rotate replaces the keys of session tickets. */
  rotate(): void {
    this.#ticketKeys = randomBytes(TICKET_KEY_BYTES);
    this.#tell();
  }

  /** validities are those of the certificates in force, by their first names; of two with one name the one that ends first. */
  validities(): [name: string, validity: Validity][] {
    return [...this.#inForce()];
  }

  /** By first name; of two with one name the one that ends first. */
  #inForce(): Map<string, ServedCertificate> {
    const byName = new Map<string, ServedCertificate>();
    for (const served of this.#served()) {
      const { label } = served;
      if (served.notAfterMs < (byName.get(label)?.notAfterMs ?? Number.POSITIVE_INFINITY))
        byName.set(label, served);
    }
    return byName;
  }

  #served(): ServedCertificate[] {
    return this.#listen.flatMap(({ tls }) => (tls === null ? [] : this.#servedAt(tls)));
  }

  #tell(): void {
    const addresses = [...addressesByKey(this.#listen)].flatMap(([key, { tls }]) =>
      tls === null ? [] : [this.#tlsOf(tls, key)],
    );
    const nowMs = systemClock.wallMs();
    const ends = this.#served().map(({ notAfterMs }) => notAfterMs);
    this.#nextEndMs = Math.min(...ends.filter((endMs) => endMs > nowMs));
    if (addresses.length > 0)
      this.#options.tell({ ticketKeys: this.#ticketKeys.toString('base64'), addresses });
  }

  #tlsOf(tls: ListenTlsSettings, address: string): TlsAddress {
    const { unknownNames, minVersion, clientAuth, clientCa } = tls;
    const certificates = this.#servedAt(tls).map(({ names, cert, key }) => ({ names, cert, key }));
    return { address, certificates, unknownNames, minVersion, clientAuth, clientCa: clientCa?.pem ?? null };
  }

  /**
   * A name in `acme` has its certificate from there once the authority has issued a valid one, and from a file until then. A
   * foreign certificate may be one that clients do not trust: a valid file goes before it. An expired file keeps only names for
   * which nothing else is valid.
   */
  #servedAt({ certificates, acme }: ListenTlsSettings): ServedCertificate[] {
    const nowMs = systemClock.wallMs();
    const isValid = ({ notAfterMs }: Validity): boolean => notAfterMs > nowMs;
    const files = certificates.map(servedFile);
    const hasFile = (name: string): boolean => files.some((file) => isValid(file) && isFor(file, name));
    // In the order of the names: the first is the default.
    const issued = acme
      .flatMap((wanted) => this.#issued.filter(({ name }) => name === wanted))
      .filter((each) => (isValid(each) && !each.isForeign) || !hasFile(each.name))
      .map(servedIssued);
    const valid = new Set(issued.filter(isValid).map(({ label }) => label));
    const placed = files.flatMap((file) => {
      const names = file.names.filter((name) => !valid.has(name) && (isValid(file) || !hasFile(name)));
      if (names.length > 0 || file.names.length === 0)
        return { ...file, names, label: names[0] ?? file.label };
      // As the default certificate it would be served when it has expired, because nobody renews it any more.
      return issued.filter(({ label }) => file.names.includes(label));
    });
    return [...new Set([...placed, ...issued])];
  }

  /** Looks whether a file has changed. It is read once it has looked the same twice: a pair is not replaced in one step. */
  async #look(): Promise<void> {
    // Another one may be for its names, and valid.
    if (systemClock.wallMs() >= this.#nextEndMs) this.#tell();
    if (this.#looking) return;
    this.#looking = true;
    const listen = this.#listen;
    const state = await stateOf(listen);
    this.#looking = false;
    const isCalm = state === this.#seenState;
    this.#seenState = state;
    if (!isCalm || state === this.#readState || listen !== this.#listen) return;
    const isFirst = this.#readState === null;
    this.#readState = state;
    // After a load the files are known, but may have changed before the first look: they are compared.
    this.#readFiles(isFirst);
  }

  #readFiles(isFirst: boolean): void {
    const { events } = this.#options;
    const read = readAgain(this.#listen);
    this.fault = null;
    if ('problems' in read) {
      const { problems } = read;
      const line = 'changed certificates cannot be used, the old ones stay';
      this.fault = problemsText(problems.map((message) => ({ line: null, path: null, message })));
      const text = `${line}: ${this.fault}`;
      const data = { problems: problems.length, first: problems[0] ?? null };
      events.record({ kind: 'certificate', severity: 'error', text, data }, { line, facts: { problems } });
      return;
    }
    if (isFirst && isDeepStrictEqual(read.listen, this.#listen)) return;
    this.#listen = read.listen;
    events.record({ kind: 'certificate', severity: 'info', text: 'certificates were read again' });
    this.#warn();
    this.#tell();
  }

  /** Warns of these, where they are in force. @param issued null: of all certificates */
  #warnOf(issued: readonly IssuedCertificate[] | null): void {
    const nowMs = systemClock.wallMs();
    for (const [name, served] of this.#inForce()) {
      const text = validityText(served, nowMs);
      if (text === null || issued?.every(({ chainPem }) => chainPem !== served.cert)) continue;
      const about = { kind: 'certificate', severity: 'warning', subject: name, data: { name } } as const;
      this.#options.events.record({ ...about, text: `${name}: ${text}` }, { line: text });
    }
  }

  #warn(): void {
    this.#warnOf(null);
    for (const { tls } of this.#listen) {
      for (const { message: text } of certificateWarnings([], tls?.clientCa ?? null)) {
        const data = { clientCa: tls?.clientCa?.path ?? null };
        this.#options.events.record({ kind: 'certificate', severity: 'warning', text, data });
      }
    }
  }
}

function servedFile({ cert, key }: ListenTlsSettings['certificates'][number]): ServedCertificate {
  const leaf = new X509Certificate(cert.pem);
  const names = namesOf(leaf);
  return { label: names[0] ?? cert.path, names, cert: cert.pem, key: key.pem, ...validityOf(leaf) };
}

function servedIssued(issued: IssuedCertificate): ServedCertificate {
  const { name, chainPem, keyPem, notBeforeMs, notAfterMs } = issued;
  return { label: name, names: [name], cert: chainPem, key: keyPem, notBeforeMs, notAfterMs };
}

/** Whether the certificate is for the name, by itself or by a wildcard. */
function isFor({ names }: ServedCertificate, name: string): boolean {
  return names.includes(name) || names.includes(`*${name.slice(name.indexOf('.'))}`);
}

/** What tells that a file is another one, or was written: also behind links that were swapped. */
async function stateOf(listen: readonly ListenSettings[]): Promise<string> {
  const pairs = listen.flatMap(({ tls }) => [
    ...(tls?.certificates ?? []),
    ...(tls?.clientCa ? [{ ca: tls.clientCa }] : []),
  ]);
  const paths = pairs.flatMap((pair) => Object.values(pair).map(({ path }) => path));
  const states = await Promise.all(
    paths.map(async (path) => {
      try {
        const { dev, ino, size, mtimeMs, ctimeMs } = await stat(path);
        return [dev, ino, size, mtimeMs, ctimeMs].join(' ');
      } catch (thrown) {
        return toError(thrown).message;
      }
    }),
  );
  return states.join('\n');
}
