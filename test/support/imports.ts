/** Reads the import graph of TypeScript sources and the layers of src. Paths are relative to the root, with slashes. */
import { existsSync, readdirSync } from 'node:fs';
import { posix } from 'node:path';

/** A folder of src may import from itself and from folders with a smaller number. */
const LAYERS: Record<string, number> = {
  contract: 0,
  memory: 0,
  infra: 1,
  config: 1,
  http1: 1,
  http2: 2,
  upstream: 3,
  balance: 3,
  limit: 3,
  clients: 3,
  proxy: 4,
  primary: 5,
  worker: 5,
  cli: 5,
  'cli.ts': 6,
  // A program of its own, for browsers. See problemsOfArrow.
  dashboard: 6,
};

/** All that `contract` may import from packages and node: parsers, but nothing that does I/O. */
const CONTRACT_PACKAGES = ['zod', 'ipaddr.js', 'node:net'];
/** All that `dashboard` may import: what runs in a browser. Of `contract` it gets types alone; its own tsconfig has no node. */
const DASHBOARD_PACKAGES = ['preact', 'preact/hooks', 'uplot'];

/** filesUnder lists the files below a folder, without node_modules, that end in `ending`; sorted. [] if the folder is absent. */
export function filesUnder(root: string, folder: string, ending: string): string[] {
  if (!existsSync(posix.join(root, folder))) return [];
  return readdirSync(posix.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(ending))
    .map((entry) => posix.relative(root, posix.join(entry.parentPath, entry.name)))
    .filter((path) => !path.includes('/node_modules/'))
    .sort();
}

/** importsOf lists what a file imports, types and dynamic imports too: relative imports as paths, others as written. */
export function importsOf(path: string, text: string): string[] {
  const code = text.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '');
  const found = [
    ...code.matchAll(/^[ \t]*(?:import|export)\s(?:[^'";]*?\sfrom\s*)?['"]([^'"]+)['"]/gm),
    ...code.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g),
  ];
  return found.map(([, target = '']) =>
    target.startsWith('.') ? posix.normalize(posix.join(posix.dirname(path), target)) : target,
  );
}

/** problemsOfArrow returns a message for each rule that an import of `target` breaks. @param from a file of src */
export function problemsOfArrow(from: string, target: string): string[] {
  const [fromFolder, targetFolder] = [folderOf(from), folderOf(target)];
  const fromLayer = LAYERS[fromFolder];
  if (fromLayer === undefined) return [`${from}: the folder ${fromFolder} has no layer`];
  if (/^(test|test_backs|bench|scripts)\//.test(target))
    return [`${from} imports ${target}: not the product`];
  if (fromFolder === 'dashboard') return problemsOfBrowserArrow(from, target);
  if (!target.startsWith('src/')) {
    if (fromFolder !== 'contract' || CONTRACT_PACKAGES.includes(target)) return [];
    return [`${from} imports ${target}: contract knows only ${CONTRACT_PACKAGES.join(', ')}`];
  }
  const targetLayer = LAYERS[targetFolder];
  if (targetLayer === undefined) return [`${from} imports ${target}: its folder has no layer`];
  if (fromFolder === targetFolder || targetLayer < fromLayer) return [];
  return [`${from} (layer ${fromLayer}) imports ${target} (layer ${targetLayer})`];
}

function problemsOfBrowserArrow(from: string, target: string): string[] {
  const isOwn = /^src\/(dashboard|contract)\//.test(target) || DASHBOARD_PACKAGES.includes(target);
  return isOwn ? [] : [`${from} imports ${target}: not for a browser`];
}

function folderOf(path: string): string {
  return path.split('/')[1] ?? '';
}

/** cyclesIn returns one line for every import that closes a cycle. */
export function cyclesIn(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const cycles: string[] = [];
  const done = new Set<string>();
  const visit = (path: string, trail: string[]) => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      cycles.push([...trail.slice(start), path].join(' → '));
      return;
    }
    if (done.has(path)) return;
    for (const target of graph.get(path) ?? []) visit(target, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  return cycles;
}
