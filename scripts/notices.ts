/**
 * Writes the licences of all packages that ship: those that the product installs, and those that are built into the dashboard.
 * Their texts are read from node_modules.
 *
 *   node scripts/notices.ts [file]   default: dist/NOTICES.txt
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Lock, lockedPackages, nameOf } from './sbom.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const DASHBOARD = join(ROOT, 'src/dashboard');
const LICENCE_FILE = /^(licen[cs]e|copying|notice)([.-].*)?$/i;
/** The value imports of a source: its first group is what is imported, unless that is a file of ours. */
const IMPORT = /^(?:import|export)\s+(?!type\b)(?:[^'"]*\sfrom\s+)?['"]([^.'"][^'"]*)['"]/gm;

/** noticesOf makes the text. Packages with the same licence text share it. Those for other machines are not installed, and left out. */
function noticesOf(packages: Lock): string {
  const shipped = Object.keys(packages).filter((path) => path !== '' && packages[path]?.dev !== true);
  const paths = [...new Set([...shipped, ...builtIn(packages)])].filter((path) => {
    if (existsSync(join(ROOT, path))) return true;
    if (packages[path]?.optional !== true) throw new Error(`${path} is not installed`);
    return false;
  });
  const byText = Map.groupBy(paths.sort(), licenceTextOf);
  const parts = [...byText].map(([text, users]) => {
    const names = users.map((path) => {
      const { version, license = 'see below' } = packages[path]!;
      return `${nameOf(path)} ${version} (${license})`;
    });
    return `${[...new Set(names)].join('\n')}\n\n${text}`;
  });
  const rule = `\n\n${'-'.repeat(80)}\n\n`;
  return `Sluice contains or installs these packages.${rule}${parts.join(rule)}\n`;
}

/** A package without a file has only the name of its licence, in package.json. */
function licenceTextOf(path: string): string {
  const files = readdirSync(join(ROOT, path), { withFileTypes: true })
    .filter((entry) => entry.isFile() && LICENCE_FILE.test(entry.name))
    .map(({ name }) => name)
    .sort();
  return files.map((name) => readFileSync(join(ROOT, path, name), 'utf8').trim()).join('\n\n');
}

/** What Vite copies into the dashboard: the packages that its sources import, with what those depend on. */
function builtIn(packages: Lock): string[] {
  if (!existsSync(DASHBOARD)) return [];
  const sources = readdirSync(DASHBOARD, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.tsx?$/.test(name),
  );
  const found = new Set<string>();
  const add = (name: string): void => {
    const path = `node_modules/${name}`;
    const locked = packages[path];
    if (locked === undefined || found.has(path)) return;
    found.add(path);
    Object.keys(locked.dependencies ?? {}).forEach(add);
  };
  for (const source of sources)
    for (const [, from = ''] of readFileSync(join(DASHBOARD, source), 'utf8').matchAll(IMPORT))
      add(from.split('/', from.startsWith('@') ? 2 : 1).join('/'));
  return [...found];
}

if (import.meta.main) {
  const target = process.argv[2] ?? join(ROOT, 'dist/NOTICES.txt');
  mkdirSync(dirname(target), { recursive: true });
  writeFileSync(target, noticesOf(lockedPackages()));
}
