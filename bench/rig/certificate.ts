/** A certificate for this machine, for the listeners of the bench. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Authority } from '../../test/support/certificates.ts';

export interface CertificateFiles {
  cert: string;
  key: string;
  /** Both in one file, as HAProxy wants them. */
  both: string;
}

/** makeCertificate writes a new ECDSA P-256 key and its certificate into `folder`, always under the same names. */
export function makeCertificate(folder: string): CertificateFiles {
  const { cert, key } = new Authority().issue(['localhost', '127.0.0.1']);
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return path;
  };
  return { cert: write('cert.pem', cert), key: write('key.pem', key), both: write('both.pem', cert + key) };
}
