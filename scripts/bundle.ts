/**
 * Makes JavaScript of src/, for production: a file per process or thread, and one per group of modules that several share or that is loaded on
 * demand. A process that loads a module per file of src/ takes 10 MiB and 100 ms of CPU time more. Packages stay outside.
 *
 *   node scripts/bundle.ts folder
 */
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
/** What a process or a thread starts with; src/infra/product-files.ts finds them. */
const ENTRIES = [
  'cli',
  'worker/main',
  'worker/give-sockets',
  'worker/loop-watch-thread',
  'infra/postgres/embedded-postgres-thread',
];

await build({
  root: ROOT,
  configFile: false,
  logLevel: 'warn',
  publicDir: false,
  build: {
    ssr: true,
    target: 'node24',
    outDir: resolve(process.argv[2] ?? join(ROOT, 'dist')),
    emptyOutDir: true,
    minify: false,
    sourcemap: true,
    rolldownOptions: {
      input: Object.fromEntries(ENTRIES.map((name) => [name, join(ROOT, 'src', `${name}.ts`)])),
      output: {
        entryFileNames: '[name].js',
        chunkFileNames: 'shared/[name].js',
        // The comments are in src/. With other than ASCII characters, a source takes two bytes for each.
        comments: false,
        charset: 'ascii',
        // A running primary may load a file of a newer build: the names that both know still fit.
        minifyInternalExports: false,
        // V8 knows constants only by `const`.
        topLevelVar: false,
      },
    },
  },
});
