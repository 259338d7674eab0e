/**
 * Makes the Debian package of dist/, with dpkg-deb: Sluice in /usr/lib/sluice with its packages and the pinned Node.js (no Debian
 * has one that is new enough), the command in /usr/bin, the configuration in /etc/sluice, and the units of config/systemd.
 *
 *   node scripts/deb.ts [--dist=dist] [--into=packages] [--compression=xz]   prints the path
 */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { lockedPackages } from './sbom.ts';

const ROOT = fileURLToPath(new URL('../', import.meta.url));
const HOME = 'usr/lib/sluice';
const DOC = 'usr/share/doc/sluice';
const UNITS = 'usr/lib/systemd/system';
const CONFIG = 'etc/sluice/sluice.yaml';

const { values } = parseArgs({
  options: {
    dist: { type: 'string', default: join(ROOT, 'dist') },
    into: { type: 'string', default: join(ROOT, 'packages') },
    compression: { type: 'string', default: 'xz' },
  },
});
const textOf = (path: string): string => readFileSync(join(ROOT, path), 'utf8');
const { version } = JSON.parse(textOf('package.json')) as { version: string };
const architecture = execFileSync('dpkg', ['--print-architecture'], { encoding: 'utf8' }).trim();

/** A file of the package; everybody may read it. */
function put(folder: string, path: string, content: string | Buffer, mode = 0o644): void {
  const to = join(folder, path);
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, content);
  chmodSync(to, mode);
}

function fillHome(home: string): void {
  for (const path of ['package.json', 'bin', 'lua', 'migrations'])
    cpSync(join(ROOT, path), join(home, path), { recursive: true });
  cpSync(resolve(values.dist), join(home, 'dist'), { recursive: true });
  // As npm would install them; optional ones are Node.js for several machines, and a package for another runtime.
  for (const [path, { dev, optional }] of Object.entries(lockedPackages()))
    if (path.startsWith('node_modules/') && !path.includes('/node_modules/') && !dev && !optional)
      cpSync(join(ROOT, path), join(home, path), { recursive: true });
  const node = `node-linux-${architecture === 'amd64' ? 'x64' : architecture}`;
  for (const path of ['bin/node', 'LICENSE', 'package.json'])
    cpSync(join(ROOT, 'node_modules', node, path), join(home, 'node_modules', node, path));
  mkdirSync(join(home, 'node_modules/.bin'));
  symlinkSync(`../${node}/bin/node`, join(home, 'node_modules/.bin/node'));
}

function fillSystem(folder: string): void {
  put(folder, CONFIG, textOf('scripts/debian/sluice.yaml'));
  put(folder, 'usr/bin/sluice', textOf('scripts/debian/sluice.sh'), 0o755);
  put(folder, 'usr/lib/sysusers.d/sluice.conf', textOf('scripts/debian/sysusers.conf'));
  put(folder, 'usr/lib/tmpfiles.d/sluice.conf', textOf('scripts/debian/tmpfiles.conf'));
  const unit = textOf('config/systemd/sluice.service');
  put(folder, `${UNITS}/sluice.service`, unit.replace('/opt/sluice/bin/sluice', '/usr/bin/sluice'));
  put(folder, `${UNITS}/sluice.socket`, textOf('config/systemd/sluice.socket'));
  const licence = textOf('LICENSE').trim().replace(/^$/gm, '.').replace(/^/gm, ' ');
  put(folder, `${DOC}/copyright`, textOf('scripts/debian/copyright').replace('@LICENSE@', licence));
  put(folder, `${DOC}/changelog.gz`, gzipSync(textOf('CHANGELOG.md'), { level: 9 }));
  put(folder, `${DOC}/example.yaml`, textOf('config/example.yaml'));
  const pages = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' });
  for (const name of pages.filter((each) => each.endsWith('.md')).map((each) => `docs/${each}`)) {
    const text = textOf(name);
    put(folder, `${DOC}/${name}`, text);
    for (const [, image = ''] of text.matchAll(/!\[[^\]]*\]\(([^):]+)\)/g)) {
      const path = join(dirname(name), image);
      put(folder, `${DOC}/${path}`, readFileSync(join(ROOT, path)));
    }
  }
}

/** Where Debian's shells look for completions. */
const COMPLETIONS = {
  bash: 'usr/share/bash-completion/completions/sluice',
  zsh: 'usr/share/zsh/vendor-completions/_sluice',
  fish: 'usr/share/fish/vendor_completions.d/sluice.fish',
};

function fillCompletions(folder: string): void {
  const cli = join(folder, HOME, 'dist/cli.js');
  for (const [shell, path] of Object.entries(COMPLETIONS))
    put(folder, path, execFileSync(process.execPath, [cli, 'completion', shell]));
}

function fillControl(folder: string): void {
  const [kib = ''] = execFileSync('du', ['-sk', folder], { encoding: 'utf8' }).split('\t');
  const control = textOf('scripts/debian/control')
    .replace('@VERSION@', version)
    .replace('@ARCHITECTURE@', architecture)
    .replace('@INSTALLED_KIB@', kib);
  put(folder, 'DEBIAN/control', control);
  put(folder, 'DEBIAN/conffiles', `/${CONFIG}\n`);
  for (const script of ['postinst', 'prerm', 'postrm'])
    put(folder, `DEBIAN/${script}`, textOf(`scripts/debian/${script}`), 0o755);
}

if (!existsSync(join(values.dist, 'cli.js'))) throw new Error(`${values.dist} is not built: make build`);
const folder = mkdtempSync(join(tmpdir(), 'sluice-deb-'));
try {
  chmodSync(folder, 0o755);
  fillHome(join(folder, HOME));
  fillSystem(folder);
  fillCompletions(folder);
  execFileSync('chmod', ['-R', 'u=rwX,go=rX', folder]);
  fillControl(folder);
  mkdirSync(values.into, { recursive: true });
  const file = join(resolve(values.into), `sluice_${version}_${architecture}.deb`);
  // The files belong to root, whoever makes the package.
  const words = ['--root-owner-group', `-Z${values.compression}`, '--build', folder, file];
  execFileSync('dpkg-deb', words, { stdio: ['ignore', 'ignore', 'inherit'] });
  console.log(file);
} finally {
  rmSync(folder, { recursive: true });
}
