/** The certificates of listeners after a load: their names, when they expire, what is odd about them, and reading them again. */
import type { X509Certificate } from 'node:crypto';
import { canonicalAddress } from '../contract/addresses.ts';
import type { ListenSettings, ListenTlsSettings } from '../contract/settings.ts';
import { certificatesIn, checkServerPair, isPublic, PemFiles, type Tolerates } from './pem-files.ts';
import { type Finding, pathText } from './problems.ts';
import { isHostName } from './schema/addresses.ts';

/** From this time before the end of a certificate on there are warnings. */
const WARN_BEFORE_MS = 14 * 24 * 3_600_000;
const ALTERNATIVE = /(DNS|IP Address):("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** leafOf is the certificate itself, the first in its file. */
export function leafOf(pem: string): X509Certificate | undefined {
  return certificatesIn(pem)?.[0];
}

/**
 * namesOf lists the names that a certificate is for, in lower case: host names, `*.` before one of them, addresses. Without a SAN it
 * is the common name.
 */
export function namesOf({ subject, subjectAltName }: X509Certificate): string[] {
  if (subjectAltName === undefined) return [/^CN=(.*)$/m.exec(subject)?.[1] ?? ''].flatMap(usableName);
  return [...subjectAltName.matchAll(ALTERNATIVE)].flatMap(([, kind, value = '']) =>
    kind === 'DNS' ? usableName(value) : (canonicalAddress(value) ?? []),
  );
}

function usableName(value: string): string[] {
  const name = value.toLowerCase();
  return isHostName(name.startsWith('*.') ? name.slice(2) : name) ? [name] : [];
}

/** expiryText says that a certificate has expired, or does so within 14 days; null: later. */
export function expiryText(notAfterMs: number, nowMs: number): string | null {
  const leftMs = notAfterMs - nowMs;
  if (leftMs > WARN_BEFORE_MS) return null;
  const at = new Date(notAfterMs).toISOString();
  return leftMs <= 0 ? `the certificate has expired on ${at}` : `the certificate expires on ${at}`;
}

/** listenerWarnings finds certificates that end soon or are not valid yet, keys that everybody can read, names given twice. */
export function* listenerWarnings(listen: readonly ListenSettings[]): Generator<Finding> {
  for (const [index, { tls }] of listen.entries()) {
    const seen = new Map<string, number>();
    for (const [at, pair] of (tls?.certificates ?? []).entries()) {
      const path = ['listen', index, 'tls', 'certificates', at];
      yield* pairWarnings(path, pair);
      const leaf = leafOf(pair.cert.pem);
      for (const name of leaf === undefined ? [] : namesOf(leaf)) {
        const first = seen.get(name);
        if (first === undefined) seen.set(name, at);
        else
          yield {
            path: [...path, 'cert'],
            message: `certificates[${first}] is for ${name} too, and is used for it`,
          };
      }
    }
  }
}

function* pairWarnings(
  path: Finding['path'],
  { cert, key }: ListenTlsSettings['certificates'][number],
): Generator<Finding> {
  const leaf = leafOf(cert.pem);
  const nowMs = Date.now();
  if (leaf !== undefined) {
    const ends = expiryText(leaf.validToDate.getTime(), nowMs);
    if (ends !== null) yield { path: [...path, 'cert'], message: `${ends}: ${cert.path}` };
    if (leaf.validFromDate.getTime() > nowMs)
      yield {
        path: [...path, 'cert'],
        message: `the certificate is not valid before ${leaf.validFrom}: ${cert.path}`,
      };
    if (namesOf(leaf).length === 0)
      yield { path: [...path, 'cert'], message: `the certificate is for no name: ${cert.path}` };
  }
  if (isPublic(key.path))
    yield { path: [...path, 'key'], message: `every user of this machine can read the key: ${key.path}` };
}

/**
 * readAgain reads the files of every listener again. Where one of them is wrong, or a certificate has expired that is not the one in
 * use, nothing is taken over.
 */
export function readAgain(
  listen: readonly ListenSettings[],
): { listen: ListenSettings[] } | { problems: string[] } {
  const files = new PemFiles();
  const findings: Finding[] = [];
  const tolerates = toleratesInUse(listen);
  for (const [index, { tls }] of listen.entries()) {
    const path = ['listen', index, 'tls'];
    for (const [at, { cert, key }] of (tls?.certificates ?? []).entries()) {
      const pair = { cert: cert.path, key: key.path };
      findings.push(...checkServerPair([...path, 'certificates', at], pair, { files, tolerates }));
    }
    const ca = tls?.clientCa ?? null;
    const text = ca === null ? null : files.read(ca.path);
    if (ca !== null && text !== null && ('message' in text || certificatesIn(text.value) === null))
      findings.push({
        path: [...path, 'clientCa'],
        message: `the file holds no certificate that can be read: ${ca.path}`,
      });
  }
  if (findings.length > 0)
    return { problems: findings.map(({ path, message }) => `${pathText(path)}: ${message}`) };
  return {
    listen: listen.map((address) => ({ ...address, tls: address.tls && readTls(address.tls, files) })),
  };
}

function readTls({ certificates, clientCa, ...rest }: ListenTlsSettings, files: PemFiles): ListenTlsSettings {
  return {
    ...rest,
    certificates: certificates.map(({ cert, key }) => ({
      cert: files.textOf(cert.path),
      key: files.textOf(key.path),
    })),
    clientCa: files.fileAt(clientCa?.path ?? null),
  };
}

/** toleratesInUse lets certificates pass that are in use, although they have expired: they must not hold up other changes. */
export function toleratesInUse(listen: readonly ListenSettings[]): Tolerates {
  const inUse = new Set(listen.flatMap(({ tls }) => tls?.certificates.map(({ cert }) => cert.pem) ?? []));
  return (pem) => inUse.has(pem);
}
