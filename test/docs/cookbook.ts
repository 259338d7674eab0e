/** Pages of docs/cookbook, and the files that their configurations name. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Authority } from '../support/certificates.ts';

const BOOK = fileURLToPath(new URL('../../docs/cookbook/', import.meta.url));
const FOLDERS = ['/etc/sluice', '/etc/nginx', '/etc/haproxy'];

/** pageOf returns the text of a recipe. */
export function pageOf(name: string): string {
  return readFileSync(join(BOOK, `${name}.md`), 'utf8');
}

/** blocksOf returns the blocks of one language, in their order. */
export function blocksOf(page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(
    ([, block = '']) => block,
  );
}

/** filePlaces puts a folder in the place of those of the configurations. */
export function filePlaces(folder: string): [string, string][] {
  return FOLDERS.map((each) => [each, folder]);
}

let made: Authority | undefined;

function authorityOf(): Authority {
  made ??= new Authority();
  return made;
}

/** putCertificates writes the files of the recipes: of the server, of a client, of Sluice as a client of its backends, and their authority. */
export function putCertificates(folder: string): void {
  const put = (file: string, text: string) => writeFileSync(join(folder, file), text, { mode: 0o600 });
  for (const [file, name] of [
    ['tls', 'localhost'],
    ['alice', 'alice'],
    ['sluice', 'sluice'],
  ] as const) {
    const { cert, key } = authorityOf().issue([name]);
    put(`${file}.pem`, cert);
    put(`${file}.key`, key);
    put(`${file}-both.pem`, `${cert}${key}`);
  }
  for (const file of ['ca.pem', 'clients.pem', 'internal-ca.pem']) put(file, authorityOf().root.cert);
}

/** certificateFor is one of the authority in ca.pem, for backends of tests. */
export function certificateFor(name: string): { cert: string; key: string; ca: string } {
  return { ...authorityOf().issue([name]), ca: authorityOf().root.cert };
}
