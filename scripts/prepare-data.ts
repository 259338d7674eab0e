/**
 * Makes the data of a new embedded database, migrated, for dist/: a copy takes 0.1 s where making it takes 3.
 *
 *   node scripts/prepare-data.ts [folder, for tests]
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { EmbeddedPostgres, PLACEHOLDER } from '../src/infra/postgres/embedded-postgres.ts';

const target = process.argv[2] ?? fileURLToPath(new URL('../dist/embedded-data', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'sluice-data-'));
try {
  const embedded = new EmbeddedPostgres({
    folder,
    purpose: 'prepare-data',
    logger: pino({ level: 'warn' }),
  });
  await embedded.ready;
  await embedded.close();
  const draft = `${target}.new`;
  for (const old of [draft, target]) rmSync(old, { recursive: true, force: true });
  cpSync(join(folder, 'data'), draft, { recursive: true });
  for (const entry of readdirSync(draft, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isDirectory() && readdirSync(path).length === 0) writeFileSync(join(path, PLACEHOLDER), '');
  }
  // It holds no secret, and Sluice may run as another user than the one who builds it. PGlite lets everybody write.
  execFileSync('chmod', ['-R', 'a=rX,u+w', draft]);
  renameSync(draft, target);
} finally {
  rmSync(folder, { recursive: true });
}
