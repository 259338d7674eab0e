/** The certificates of listeners after a load: their names, when they expire, what is odd about them, and reading them again. */
import type { X509Certificate } from 'node:crypto';
import { canonicalAddress } from '../contract/addresses.ts';
import type { ListenSettings, ListenTlsSettings } from '../contract/settings.ts';
import {
  certificatesIn,
  certificateWarnings,
  checkCertificates,
  checkServerPair,
  keyWarnings,
  PemFiles,
  type Tolerates,
} from './pem-files.ts';
import { type Finding, pathText } from './problems.ts';
import { isHostName } from './schema/addresses.ts';

const ALTERNATIVE = /(DNS|IP Address):("(?:[^"\\]|\\.)*"|[^,]*)/g;

/** The certificate itself, the first in its file. */
function leafOf(pem: string): X509Certificate | undefined {
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

/**
 * listenerWarnings finds certificates and authorities of clients that end soon or are not valid yet, keys that everybody can read, and names
 * that have two certificates.
 */
export function* listenerWarnings(listen: readonly ListenSettings[]): Generator<Finding> {
  for (const [index, { tls }] of listen.entries()) {
    if (tls === null) continue;
    const path = ['listen', index, 'tls'];
    const byAcme = (name: string) =>
      `${name} is in tls.acme too: once a certificate is fetched, it is used for it in place of this one`;
    const others = new Map(tls.acme.map((name) => [name, byAcme(name)]));
    for (const [at, { cert, key }] of tls.certificates.entries()) {
      const pair = [...path, 'certificates', at];
      yield* certificateWarnings([...pair, 'cert'], cert);
      yield* keyWarnings([...pair, 'key'], key);
      const leaf = leafOf(cert.pem);
      const names = leaf === undefined ? [] : namesOf(leaf);
      if (names.length === 0)
        yield { path: [...pair, 'cert'], message: `the certificate is for no name: ${cert.path}` };
      for (const name of names) {
        const message = others.get(name);
        if (message !== undefined) yield { path: [...pair, 'cert'], message };
        else others.set(name, `certificates[${at}] is for ${name} too, and is used for it`);
      }
    }
    yield* certificateWarnings([...path, 'clientCa'], tls.clientCa);
  }
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
    if (tls?.clientCa) findings.push(...checkCertificates([...path, 'clientCa'], tls.clientCa.path, files));
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
