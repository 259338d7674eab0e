/** Certificates of a throw-away authority, made by openssl. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeTempFolder } from './temp-folder.ts';

/** Certificate is a certificate with its private key, as files and as their contents (PEM). */
export interface Certificate {
  certPath: string;
  keyPath: string;
  cert: string;
  key: string;
}

export interface IssueOptions {
  /** Default: the first name. */
  subject?: string;
  /** Default: yesterday and tomorrow. */
  notBefore?: Date;
  notAfter?: Date;
  /** The size of an RSA key; default: an EC key. OpenSSL refuses keys of less than 2,048 bits. */
  rsaBits?: number;
}

const DAY_MS = 24 * 3_600_000;
const EC_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
/** OpenSSL refuses it in a chain. */
const WEAK_KEY = ['-newkey', 'rsa:1024', '-nodes'];

/** Authority signs certificates. Its own certificate is `root`. */
export class Authority {
  readonly folder = makeTempFolder();
  readonly root: Certificate;
  #count = 0;

  constructor(name = 'Sluice test authority', { isWeak = false } = {}) {
    const paths = this.#paths('root');
    const key = isWeak ? WEAK_KEY : EC_KEY;
    const subject = ['-subj', `/CN=${name}`, '-days', '2', '-addext', 'keyUsage=keyCertSign,cRLSign'];
    openssl(['req', '-x509', ...key, ...subject, '-keyout', paths.keyPath, '-out', paths.certPath]);
    this.root = withContents(paths);
    writeFileSync(join(this.folder, 'index.txt'), '');
    writeFileSync(join(this.folder, 'index.txt.attr'), 'unique_subject = no\n');
  }

  /** issue makes a certificate for host names, IP addresses and URIs. */
  issue(names: readonly string[], options: IssueOptions = {}): Certificate {
    const { subject = `/CN=${names[0]}`, notBefore, notAfter, rsaBits } = options;
    const newKey = rsaBits === undefined ? EC_KEY : ['-newkey', `rsa:${rsaBits}`, '-nodes'];
    const paths = this.#paths(`issued-${++this.#count}`);
    const request = join(this.folder, `${this.#count}.csr`);
    const config = join(this.folder, `${this.#count}.cnf`);
    writeFileSync(config, this.#configOf(names));
    openssl(['req', '-new', ...newKey, '-subj', subject, '-keyout', paths.keyPath, '-out', request]);
    const dates = [
      ...['-startdate', timeOf(notBefore ?? new Date(Date.now() - DAY_MS))],
      ...['-enddate', timeOf(notAfter ?? new Date(Date.now() + DAY_MS))],
    ];
    openssl(['ca', '-batch', '-notext', '-config', config, ...dates, '-in', request, '-out', paths.certPath]);
    return withContents(paths);
  }

  #paths(name: string): { certPath: string; keyPath: string } {
    return { certPath: join(this.folder, `${name}.pem`), keyPath: join(this.folder, `${name}.key`) };
  }

  #configOf(names: readonly string[]): string {
    const alternatives = names.map((name) => `${kindOf(name)}:${name}`);
    return `[ca]
default_ca = it
[it]
database = ${this.folder}/index.txt
new_certs_dir = ${this.folder}
certificate = ${this.root.certPath}
private_key = ${this.root.keyPath}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = leaf
[any]
countryName = optional
organizationName = optional
commonName = optional
[leaf]
basicConstraints = CA:FALSE
subjectAltName = ${alternatives.join(',')}
`;
  }
}

function kindOf(name: string): string {
  if (name.includes('://')) return 'URI';
  return /^[\d.]+$|:/.test(name) ? 'IP' : 'DNS';
}

function withContents(paths: { certPath: string; keyPath: string }): Certificate {
  const { certPath, keyPath } = paths;
  return { certPath, keyPath, cert: readFileSync(certPath, 'utf8'), key: readFileSync(keyPath, 'utf8') };
}

/** As `openssl ca` reads it: YYYYMMDDHHMMSSZ. */
function timeOf(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace(/[-:T]/g, '')}Z`;
}

function openssl(args: readonly string[]): void {
  execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}
