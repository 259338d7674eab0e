/**
 * Builds the dashboard, src/dashboard. Beside each file lies what the admin port sends of it where it can:
 * the same compressed by gzip and by brotli.
 *
 *   node scripts/build-dashboard.ts [folder]   default: dist/dashboard
 */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { build } from 'vite';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const target = resolve(process.argv[2] ?? join(ROOT, 'dist/dashboard'));
/** Those that know light-dark(), with which the colours are written. */
const BROWSERS = ['chrome123', 'firefox121', 'safari17.5'];

const draft = `${target}.${process.pid}.new`;
await build({
  root: join(ROOT, 'src/dashboard'),
  configFile: false,
  logLevel: 'warn',
  build: {
    outDir: draft,
    emptyOutDir: true,
    target: BROWSERS,
    modulePreload: false,
    reportCompressedSize: false,
  },
});
for (const entry of readdirSync(draft, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile()) continue;
  const path = join(entry.parentPath, entry.name);
  const bytes = readFileSync(path);
  writeFileSync(`${path}.br`, brotliCompressSync(bytes));
  writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
}
rmSync(target, { recursive: true, force: true });
renameSync(draft, target);
