/** The list of packages of a release has all that is installed with it, and is the same for the same lock file. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { sbomOf } from '../../scripts/sbom.ts';
import { runToEnd } from '../support/child.ts';
import { builtDist } from '../support/made-once.ts';
import { tempFolder } from '../support/temp-folder.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

interface Document {
  metadata: { component: { name: string; version: string } };
  components: {
    'bom-ref': string;
    name: string;
    version: string;
    hashes: { alg: string; content: string }[];
  }[];
  dependencies: { ref: string; dependsOn: string[] }[];
}

interface LockFile {
  packages: Record<string, { version: string; dev?: boolean; integrity: string }>;
}

const lockFile = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as LockFile;

async function made(t: Parameters<typeof tempFolder>[0]): Promise<string> {
  const file = join(tempFolder(t), 'new', 'sbom.cdx.json');
  const { code, stderr } = await runToEnd(process.execPath, [join(ROOT, 'scripts/sbom.ts'), file]);
  assert.equal(code, 0, stderr.join('\n'));
  return readFileSync(file, 'utf8');
}

test('make sbom lists every package that the product installs, with its digest, and none of the tools', async (t) => {
  const text = await made(t);
  const { metadata, components } = JSON.parse(text) as Document;
  const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    version: string;
    dependencies: Record<string, string>;
    optionalDependencies: Record<string, string>;
  };
  assert.deepEqual([metadata.component.name, metadata.component.version], ['sluice', manifest.version]);
  const listed = new Map(components.map((each) => [each['bom-ref'], each]));
  assert.equal(listed.size, components.length);
  const wanted = new Set<string>();
  for (const [path, { version, dev, integrity }] of Object.entries(lockFile.packages)) {
    if (path === '' || dev === true) continue;
    const ref = `${path.split('node_modules/').at(-1)}@${version}`;
    wanted.add(ref);
    const [{ alg, content } = { alg: '', content: '' }] = listed.get(ref)?.hashes ?? [];
    assert.equal(
      `${alg.replace('SHA-', 'sha')}-${Buffer.from(content, 'hex').toString('base64')}`,
      integrity,
      ref,
    );
  }
  assert.deepEqual([...listed.keys()].sort(), [...wanted].sort());
  for (const name of Object.keys({ ...manifest.dependencies, ...manifest.optionalDependencies }))
    assert.ok(
      components.some((each) => each.name === name),
      name,
    );
  assert.ok(!components.some(({ name }) => ['typescript', 'fast-check', 'knip'].includes(name)));
  assert.deepEqual(
    [...text.matchAll(/https?:\/\/([^/"]+)/g)].map(([, host]) => host),
    ['cyclonedx.org'],
  );
});

test('every package is reached from the product, and every reference is listed', async (t) => {
  const { metadata, components, dependencies } = JSON.parse(await made(t)) as Document;
  const edges = new Map(dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
  const reached = new Set<string>();
  const visit = (ref: string) => {
    if (reached.has(ref)) return;
    reached.add(ref);
    for (const next of edges.get(ref) ?? assert.fail(`${ref} is not listed`)) visit(next);
  };
  visit(`sluice@${metadata.component.version}`);
  const unreached = components.map((each) => each['bom-ref']).filter((ref) => !reached.has(ref));
  assert.deepEqual(unreached, []);
});

test('the same lock file gives the same bytes, and of two versions in the tree each is found from its own folder', async (t) => {
  assert.equal(await made(t), await made(t));
  const integrity = 'sha512-AAAA';
  const document = sbomOf({
    '': { name: 'sluice', version: '1.0.0', dependencies: { a: '1', b: '1' } } as never,
    'node_modules/a': { version: '1.0.0', integrity, dependencies: { b: '2' } },
    'node_modules/a/node_modules/b': { version: '2.0.0', integrity, dependencies: { c: '1' } },
    'node_modules/b': { version: '1.0.0', integrity, peerDependencies: { absent: '1' } },
    'node_modules/c': { version: '1.0.0', integrity, license: '(MIT OR X)' },
    'node_modules/d': { version: '1.0.0', integrity, dev: true },
  }) as Document;
  assert.deepEqual(
    document.dependencies.map(({ ref, dependsOn }) => [ref, ...dependsOn]),
    [
      ['sluice@1.0.0', 'a@1.0.0', 'b@1.0.0'],
      ['a@1.0.0', 'b@2.0.0'],
      ['b@1.0.0'],
      ['b@2.0.0', 'c@1.0.0'],
      ['c@1.0.0'],
    ],
  );
});

test('a build has the list beside the program', async () => {
  const { stdout } = await runToEnd('make', ['--no-print-directory', '-Bn', 'build'], { cwd: ROOT });
  assert.match(stdout.at(-1) ?? '', /scripts\/build\.ts$/);
  assert.match(readFileSync(join(ROOT, 'Dockerfile'), 'utf8'), /node scripts\/build\.ts/);
  assert.ok(existsSync(join(await builtDist(), 'sbom.cdx.json')));
});
