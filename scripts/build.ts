/**
 * Makes what ships: JavaScript, the dashboard, the data that a new embedded database begins with, the lists of packages and of their licences.
 * `make build`, the image and the tests of the packages call it.
 *
 *   node scripts/build.ts [folder] [data]   default: dist; data that prepare-data.ts has made already
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, cpSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const [folder = join(ROOT, 'dist'), data] = process.argv.slice(2).map((path) => resolve(path));

function run(program: string, ...args: string[]): void {
  execFileSync(program, args, { cwd: ROOT, stdio: 'inherit' });
}

rmSync(folder, { recursive: true, force: true });
// It checks no types: `make build` runs `make types` before.
run(process.execPath, 'scripts/bundle.ts', folder);
// The image has no shell: there it is the command itself.
chmodSync(join(folder, 'cli.js'), 0o755);
const embedded = join(folder, 'embedded-data');
if (data === undefined) run(process.execPath, 'scripts/prepare-data.ts', embedded);
else cpSync(data, embedded, { recursive: true });
run(process.execPath, 'scripts/build-dashboard.ts', join(folder, 'dashboard'));
run(process.execPath, 'scripts/sbom.ts', join(folder, 'sbom.cdx.json'));
run(process.execPath, 'scripts/notices.ts', join(folder, 'NOTICES.txt'));
