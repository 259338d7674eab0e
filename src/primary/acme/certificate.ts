/**
 * A certificate that an authority has issued, with its private key, as one PEM text: the key, the certificate, its chain.
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { refusalOf } from '../../config/pem-files.ts';
import { type Validity, validityOf } from '../../config/validity.ts';

export interface IssuedCertificate extends Validity {
  name: string;
  /** All of it, as it is kept in files and in the database. */
  pem: string;
  keyPem: string;
  /** The certificate and the chain below the root. */
  chainPem: string;
  /** Of another authority than `acme.directory`: served until that one has issued another. */
  isForeign: boolean;
}

const MAX_PEM_CHARS = 65_536;
const MAX_CHAIN_LENGTH = 10;
const BLOCK = /-----BEGIN ([A-Z ]{1,32})-----[^-]+-----END \1-----/g;

/**
 * readCertificate checks that key, certificate, chain and name belong together, and that TLS can use them. It does not look
 * at the clock. Throws an Error that says what is wrong.
 */
export function readCertificate(pem: string, name: string): IssuedCertificate {
  if (pem.length > MAX_PEM_CHARS) throw new Error(`is longer than ${MAX_PEM_CHARS} characters`);
  const blocks = [...pem.matchAll(BLOCK)];
  const keyPem = blocks.find(([, kind]) => kind?.endsWith('PRIVATE KEY'))?.[0];
  const chain = blocks.filter(([, kind]) => kind === 'CERTIFICATE').map(([text]) => text);
  if (keyPem === undefined) throw new Error('has no private key');
  if (chain.length > MAX_CHAIN_LENGTH) throw new Error(`has a chain of more than ${MAX_CHAIN_LENGTH}`);
  const [leaf, ...issuers] = chain.map((text) => new X509Certificate(text));
  if (leaf === undefined) throw new Error('has no certificate');
  if (!leaf.checkPrivateKey(createPrivateKey(keyPem))) throw new Error('belongs to another private key');
  if (leaf.checkHost(name, { subject: 'never' }) === undefined) throw new Error(`is not for ${name}`);
  let issued = leaf;
  for (const issuer of issuers) {
    if (!issued.checkIssued(issuer) || !issued.verify(issuer.publicKey))
      throw new Error('has a chain in which one certificate did not sign the one before');
    issued = issuer;
  }
  const chainPem = chain.join('\n');
  const refusal = refusalOf({ cert: chainPem, key: keyPem });
  if (refusal !== null) throw new Error(`cannot be used by TLS: OpenSSL says ${refusal}`);
  return { name, pem, keyPem, chainPem, ...validityOf(leaf), isForeign: false };
}

/** The clocks of an authority and of this machine may differ by this much. */
const CLOCK_SKEW_MS = 3_600_000;

/** assertValidAt throws where a certificate that has just been issued is not valid now. */
export function assertValidAt({ notBeforeMs, notAfterMs }: IssuedCertificate, nowMs: number): void {
  if (notAfterMs <= nowMs) throw new Error(`has expired on ${new Date(notAfterMs).toISOString()}`);
  if (notBeforeMs > nowMs + CLOCK_SKEW_MS)
    throw new Error(`is not valid before ${new Date(notBeforeMs).toISOString()}`);
}

/**
 * replaces says whether machines serve a certificate in place of another: a valid one in place of an expired one, else the
 * one that was issued later. Every machine must choose the same, or they would publish in turn for ever.
 */
export function replaces(next: IssuedCertificate, held: IssuedCertificate, nowMs: number): boolean {
  const [isNextValid, isHeldValid] = [next.notAfterMs > nowMs, held.notAfterMs > nowMs];
  return isNextValid === isHeldValid ? next.notBeforeMs >= held.notBeforeMs : isNextValid;
}

/** A third of the lifetime is left then. */
const RENEWAL_POINT = 2 / 3;
/**
 * Certificates are renewed up to this part of their lifetime earlier: those of one day do not all come in the same minute.
 */
const MAX_JITTER = 1 / 30;

/** renewalMs is when to renew a certificate, in milliseconds since the epoch; the same on every machine. */
export function renewalMs({ pem, notBeforeMs, notAfterMs }: IssuedCertificate): number {
  const jitter = (createHash('sha256').update(pem).digest().readUInt16BE() / 0xffff) * MAX_JITTER;
  return notBeforeMs + (notAfterMs - notBeforeMs) * (RENEWAL_POINT - jitter);
}
