/** Files of certificates and keys that the configuration names: reading them, and what can be wrong with them. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { createSecureContext } from 'node:tls';
import { toError } from '../contract/errors.ts';
import type { PemFile } from '../contract/pool-settings.ts';
import type { Finding, KeyPath } from './problems.ts';
import { readText } from './read-file.ts';
import type { Parsed } from './schema/addresses.ts';
import type { FileConfig } from './schema/schema.ts';
import type { Draft } from './schema/schema-walk.ts';
import { validityOf, validityText } from './validity.ts';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;
const OTHERS_READ = 0o004;

/** PemFiles reads each file once per load, so that the checks and the settings have the same bytes. */
export class PemFiles {
  readonly #texts = new Map<string, Parsed<string>>();

  /** read returns the text, or says why there is none. */
  read(path: string): Parsed<string> {
    const text = this.#texts.get(path) ?? readText(path);
    this.#texts.set(path, text);
    return text;
  }

  /** fileAt is the file for the settings, after all checks have passed; null for none. */
  fileAt(path: string | null): PemFile | null {
    return path === null ? null : this.textOf(path);
  }

  /** textOf is fileAt of a file that must be there. */
  textOf(path: string): PemFile {
    const text = this.read(path);
    if ('message' in text) throw new Error(`${path}: ${text.message}`);
    return { path, pem: text.value };
  }
}

/** certificatesIn reads all certificates of a PEM text; null where there is none, or one that cannot be read. */
export function certificatesIn(pem: string): X509Certificate[] | null {
  try {
    const certificates = (pem.match(CERTIFICATE) ?? []).map((text) => new X509Certificate(text));
    return certificates.length === 0 ? null : certificates;
  } catch {
    return null;
  }
}

/** certificateWarnings finds the first certificate of a file that has expired, expires soon or is not valid yet. */
export function* certificateWarnings(path: KeyPath, file: PemFile | null): Generator<Finding> {
  for (const [index, certificate] of (certificatesIn(file?.pem ?? '') ?? []).entries()) {
    const which = index === 0 ? 'the certificate' : `certificate ${index + 1} of the file`;
    const text = validityText(validityOf(certificate), Date.now(), which);
    if (text === null) continue;
    yield { path, message: `${text}: ${file?.path}` };
    return;
  }
}

/** keyWarnings finds a key that every user of the machine may read. */
export function* keyWarnings(path: KeyPath, key: PemFile | null): Generator<Finding> {
  if (key === null || ((statSync(key.path, { throwIfNoEntry: false })?.mode ?? 0) & OTHERS_READ) === 0)
    return;
  yield { path, message: `every user of this machine can read the key: ${key.path}` };
}

/** Tolerates says whether a certificate of a listener, as PEM, may be used although it has expired. */
export type Tolerates = (pem: string) => boolean;

/** checkPemFiles finds files that cannot be read or used. */
export function* checkPemFiles(
  { pools = {}, listen = [], acme }: Draft<FileConfig>,
  files: PemFiles,
  tolerates: Tolerates,
): Generator<Finding, void> {
  for (const [index, { tls } = {}] of listen.entries()) {
    const path = ['listen', index, 'tls'];
    for (const [at, pair] of tls?.certificates?.entries() ?? [])
      yield* checkServerPair([...path, 'certificates', at], pair ?? {}, { files, tolerates });
    if (tls?.clientCa) yield* checkCertificates([...path, 'clientCa'], tls.clientCa, files);
  }
  if (acme?.ca) yield* checkCertificates(['acme', 'ca'], acme.ca, files);
  for (const [name, { tls } = {}] of Object.entries(pools)) {
    const path = ['pools', name, 'tls'];
    if (tls?.ca) yield* checkCertificates([...path, 'ca'], tls.ca, files);
    if (tls) yield* checkKeyPair(path, { cert: tls.cert ?? null, key: tls.key ?? null }, files);
  }
}

/** checkServerPair checks a certificate that clients get, and its key. @param path of the block with both */
export function* checkServerPair(
  path: KeyPath,
  { cert, key }: { cert?: string | undefined; key?: string | undefined },
  { files, tolerates }: { files: PemFiles; tolerates: Tolerates },
): Generator<Finding, void> {
  if (cert === undefined || key === undefined) return;
  let isSound = true;
  for (const finding of checkKeyPair(path, { cert, key }, files)) {
    isSound = false;
    yield finding;
  }
  if (!isSound) return;
  const { pem } = files.textOf(cert);
  const [leaf] = certificatesIn(pem) ?? [];
  if (leaf === undefined || leaf.validToDate.getTime() > Date.now() || tolerates(pem)) return;
  const expired = validityText(validityOf(leaf), Date.now());
  yield { path: [...path, 'cert'], message: `${expired}: ${cert}` };
}

/**
 * checkKeyPair checks a certificate and its private key; both or none.
 * @param path of the block with the keys `cert` and `key`
 */
function* checkKeyPair(
  path: KeyPath,
  { cert, key }: { cert: string | null; key: string | null },
  files: PemFiles,
): Generator<Finding, void> {
  if (cert !== null && key === null)
    yield { path: [...path, 'key'], message: 'is needed with a certificate' };
  if (key !== null && cert === null) yield { path: [...path, 'cert'], message: 'is needed with a key' };
  const certificates = cert === null ? null : yield* checkCertificates([...path, 'cert'], cert, files);
  if (key === null) return;
  const text = files.read(key);
  const problem = 'message' in text ? text.message : keyProblem(text.value, certificates?.[0]);
  if (problem !== null) yield { path: [...path, 'key'], message: `${problem}: ${resolve(key)}` };
  else if (cert !== null && certificates !== null) {
    const refusal = refusalOf({ cert: files.textOf(cert).pem, key: files.textOf(key).pem });
    if (refusal !== null)
      yield { path: [...path, 'cert'], message: `OpenSSL refuses it (${refusal}): ${cert}` };
  }
}

/** refusalOf says why TLS cannot use a pair (PEM), such as `ee key too small`; workers would fail on it. null: it can. */
export function refusalOf(pair: { cert: string; key: string }): string | null {
  try {
    createSecureContext(pair);
    return null;
  } catch (thrown) {
    const { reason } = thrown as { reason?: unknown };
    return typeof reason === 'string' ? reason : toError(thrown).message;
  }
}

/** checkCertificates reads the certificates of a file. */
export function* checkCertificates(
  path: KeyPath,
  file: string,
  files: PemFiles,
): Generator<Finding, X509Certificate[] | null> {
  const text = files.read(file);
  const certificates = 'message' in text ? null : certificatesIn(text.value);
  const problem = 'message' in text ? text.message : 'the file holds no certificate that can be read (PEM)';
  // Whole, so that one sees at once where a relative path begins.
  if (certificates === null) yield { path, message: `${problem}: ${resolve(file)}` };
  return certificates;
}

/** @param leaf whose key it should be */
function keyProblem(pem: string, leaf: X509Certificate | undefined): string | null {
  if (/ENCRYPTED/.test(pem)) return 'the key is encrypted, and Sluice asks nobody for a password';
  try {
    const key = createPrivateKey(pem);
    return leaf === undefined || leaf.checkPrivateKey(key) ? null : 'the key is not that of the certificate';
  } catch {
    return 'the file holds no private key that can be read (PEM)';
  }
}
