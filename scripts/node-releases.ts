/** Lists the releases of Node.js for this machine, tells which of them the product allows, and installs one into its own folder. */
import { execFile } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** The npm package with bin/node for this machine; it has no install scripts. */
const PACKAGE = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`;
const LIST_TIMEOUT_MS = 60_000;
/** For a download of 60 MB. */
const INSTALL_TIMEOUT_MS = 300_000;

export interface NodeRelease {
  version: string;
  /** Path of the program, relative to the root. */
  binary: string;
  /** Path of a shell for `npm run` that puts this Node.js first on PATH. */
  shell: string;
}

/** chooseVersions turns words (`lowest`, `ends`, `all`, or a version) into versions. */
export function chooseVersions(words: readonly string[], engines: string, published: string[]): string[] {
  const lines = allowedLines(engines, published);
  const chosen = words.flatMap((word) => {
    if (word === 'lowest') return lines.flat().slice(0, 1);
    if (word === 'ends') return lines.flatMap((line) => [line[0], line.at(-1)]);
    if (word === 'all') return lines.flat();
    if (lines.flat().includes(word)) return [word];
    throw new Error(`${word} is not a published Node.js that engines allows (${engines})`);
  });
  return [...new Set(chosen.filter((version) => version !== undefined))];
}

/** allowedLines returns one list for each part of `engines` between `||`: the releases that it allows, lowest first. */
export function allowedLines(engines: string, published: readonly string[]): string[][] {
  const releases = published.filter((version) => /^\d+\.\d+\.\d+$/.test(version)).toSorted(compare);
  return engines.split('||').map((part) => {
    const comparators = part
      .trim()
      .split(/\s+/)
      .map((text) => {
        const [, sign, bound] = /^(>=|<)([\d.]+)$/.exec(text) ?? [];
        if (bound === undefined) throw new Error(`engines in package.json: do not know ${text}`);
        return (version: string) => compare(version, bound) >= 0 === (sign === '>=');
      });
    return releases.filter((version) => comparators.every((fits) => fits(version)));
  });
}

function compare(left: string, right: string): number {
  const [leftParts, rightParts] = [left.split('.'), right.split('.')];
  for (let i = 0; i < 3; i++) {
    const difference = Number(leftParts[i] ?? 0) - Number(rightParts[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** publishedVersions asks npm for all versions. */
export async function publishedVersions(): Promise<string[]> {
  try {
    const { stdout } = await run('npm', ['view', PACKAGE, 'versions', '--json'], {
      timeout: LIST_TIMEOUT_MS,
    });
    return JSON.parse(stdout) as string[];
  } catch (error) {
    throw new Error(`cannot ask npm for the versions of ${PACKAGE}: ${reasonOf(error)}`);
  }
}

/**
 * installRelease installs a release, unless an earlier run did, and checks its version.
 * @param folder holds all releases, relative to the root; it is kept
 */
export async function installRelease(root: string, folder: string, version: string): Promise<NodeRelease> {
  const prefix = join(folder, version);
  const binary = join(prefix, 'node_modules', PACKAGE, 'bin/node');
  if ((await versionOf(join(root, binary))) !== `v${version}`) {
    console.log(`getting Node.js ${version} into ${prefix}`);
    rmSync(join(root, prefix), { recursive: true, force: true });
    mkdirSync(join(root, prefix), { recursive: true });
    const words = ['install', '--prefix', prefix, '--no-save', '--no-audit', '--no-fund', '--ignore-scripts'];
    try {
      await run('npm', [...words, '--loglevel=error', `${PACKAGE}@${version}`], {
        cwd: root,
        timeout: INSTALL_TIMEOUT_MS,
      });
    } catch (error) {
      throw new Error(`cannot get Node.js ${version} (${PACKAGE} on npm): ${reasonOf(error)}`);
    }
    const got = await versionOf(join(root, binary));
    if (got !== `v${version}`)
      throw new Error(
        `${binary} should be Node.js ${version} and ${got === null ? 'does not run' : `is ${got}`}`,
      );
  }
  return { version, binary, shell: writeShell(root, prefix, dirname(join(root, binary))) };
}

/** npm puts node_modules/.bin with the pinned Node.js first on PATH. This shell, which npm starts, puts the tested one before it. */
function writeShell(root: string, prefix: string, binFolder: string): string {
  const path = join(root, prefix, 'shell');
  writeFileSync(path, `#!/bin/sh\nPATH='${binFolder}':"$PATH" exec /bin/sh "$@"\n`);
  chmodSync(path, 0o755);
  return path;
}

async function versionOf(binary: string): Promise<string | null> {
  if (!existsSync(binary)) return null;
  try {
    return (await run(binary, ['--version'])).stdout.trim();
  } catch {
    return null; // half a download, or another machine's
  }
}

function reasonOf(error: unknown): string {
  const { killed, stderr, message } = error as Error & { killed?: boolean; stderr?: string };
  if (killed) return 'it took too long';
  return stderr?.trim() || message;
}
