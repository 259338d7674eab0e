/**
 * Writes the list of all packages that the product installs (CycloneDX 1.5), from package-lock.json alone: the same lock file
 * gives the same bytes, without a network. `npm sbom --omit=dev` leaves out packages that a development tool needs too.
 *
 *   node scripts/sbom.ts [file]   default: dist/sbom.cdx.json
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = new URL('../', import.meta.url);
const FOLDER = 'node_modules/';

interface Locked {
  name?: string;
  version: string;
  integrity?: string;
  license?: string;
  dev?: boolean;
  optional?: boolean;
  devOptional?: boolean;
  dependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
  peerDependencies?: Record<string, string>;
}

/** `packages` of the lock file, by folder; the product itself is ''. */
export type Lock = Record<string, Locked>;

/** sbomOf makes the document of a lock file. */
export function sbomOf(packages: Lock): object {
  const { '': product = { version: '' } } = packages;
  const paths = Object.keys(packages).filter((path) => path !== '' && packages[path]?.dev !== true);
  // A version may lie in several folders; it is one component, with what any of the copies depends on.
  const byRef = Map.groupBy(paths, (path) => refOf(path, packages[path]!));
  const refs = [...byRef.keys()].sort();
  const name = product.name ?? 'sluice';
  const root = `${name}@${product.version}`;
  return {
    $schema: 'http://cyclonedx.org/schema/bom-1.5.schema.json',
    ...{ bomFormat: 'CycloneDX', specVersion: '1.5', version: 1 },
    metadata: { component: componentOf(root, 'application', name, product) },
    components: refs.map((ref) => {
      const path = byRef.get(ref)![0]!;
      return componentOf(ref, 'library', nameOf(path), packages[path]!);
    }),
    dependencies: [
      { ref: root, dependsOn: dependsOn('', packages) },
      ...refs.map((ref) => {
        const all = byRef.get(ref)!.flatMap((path) => dependsOn(path, packages));
        return { ref, dependsOn: [...new Set(all)].sort() };
      }),
    ],
  };
}

/** lockedPackages reads the lock file. */
export function lockedPackages(): Lock {
  const { packages } = JSON.parse(readFileSync(new URL('package-lock.json', ROOT), 'utf8')) as {
    packages: Lock;
  };
  return packages;
}

/** nameOf is the name of the package in a folder of the lock file. */
export function nameOf(path: string): string {
  return path.slice(path.lastIndexOf(FOLDER) + FOLDER.length);
}

function refOf(path: string, { version }: Locked): string {
  return `${nameOf(path)}@${version}`;
}

function componentOf(ref: string, type: 'application' | 'library', name: string, locked: Locked): object {
  const { version, license, integrity } = locked;
  const scope = locked.optional === true || locked.devOptional === true ? 'optional' : 'required';
  return {
    ...{ type, 'bom-ref': ref, name, version, scope },
    purl: `pkg:npm/${name.replace(/^@/, '%40')}@${version}`,
    ...(integrity === undefined ? {} : { hashes: hashesOf(integrity) }),
    ...(license === undefined ? {} : { licenses: [licenseOf(license)] }),
  };
}

/** A lock file may name several digests (Subresource Integrity), each in base64. */
function hashesOf(integrity: string): object[] {
  return integrity.split(' ').map((each) => {
    const [, bits = '', base64 = ''] = /^sha(\d+)-(.*)$/.exec(each) ?? [];
    return { alg: `SHA-${bits}`, content: Buffer.from(base64, 'base64').toString('hex') };
  });
}

function licenseOf(text: string): object {
  return /[ ()]/.test(text) ? { expression: text } : { license: { id: text } };
}

/** The packages that one finds as Node.js does: in its own folder first, then in those above. */
function dependsOn(path: string, packages: Lock): string[] {
  const { dependencies, optionalDependencies, peerDependencies } = packages[path] ?? {};
  const names = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
  const found = names.flatMap((name) => {
    for (let folder = path; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf(`/${FOLDER}`)))) {
      const at = `${folder === '' ? '' : `${folder}/`}${FOLDER}${name}`;
      const locked = packages[at];
      if (locked !== undefined) return locked.dev === true ? [] : [refOf(at, locked)];
      if (folder === '') return []; // an optional peer that is not installed
    }
  });
  return [...new Set(found)].sort();
}

if (import.meta.main) {
  const target = process.argv[2] ?? fileURLToPath(new URL('dist/sbom.cdx.json', ROOT));
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, `${JSON.stringify(sbomOf(lockedPackages()), null, 1)}\n`);
}
