/** A certificate for this machine, for the listeners of the bench. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface CertificateFiles {
  cert: string;
  key: string;
  /** Both in one file, as HAProxy wants them. */
  both: string;
}

/** makeCertificate writes an ECDSA P-256 key and a self-signed certificate into `folder`. */
export function makeCertificate(folder: string): CertificateFiles {
  const files = {
    cert: join(folder, 'cert.pem'),
    key: join(folder, 'key.pem'),
    both: join(folder, 'both.pem'),
  };
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  execFileSync('openssl', [...request, '-keyout', files.key, '-out', files.cert, '-days', '30', ...names], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  writeFileSync(files.both, readFileSync(files.cert, 'utf8') + readFileSync(files.key, 'utf8'), {
    mode: 0o600,
  });
  return files;
}
