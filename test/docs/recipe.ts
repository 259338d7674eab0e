/** Recipes of docs/cookbook: their configurations are loaded and served, and what they say of other programs is checked. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { findProgram } from '../../bench/rig/tools.ts';
import { loadConfig } from '../../src/config/load.ts';
import { askJson } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { Authority } from '../support/certificates.ts';
import { runToEnd } from '../support/child.ts';
import { consoleSteps, hereOf, runConsole } from '../support/doc-console.ts';
import { freePort } from '../support/free-port.ts';
import { type SluiceConfig, type SluiceProcess, startSluice } from '../support/sluice.ts';
import { sluiceCommand } from '../support/sluice-command.ts';
import { tempFolder } from '../support/temp-folder.ts';

const BOOK = fileURLToPath(new URL('../../docs/cookbook/', import.meta.url));
const FOLDERS = ['/etc/sluice', '/etc/nginx', '/etc/haproxy'];
/** Of Sluice in the recipes; the last is that of the admin port. */
const PORTS = ['8080', '8443', '9900'];

export interface RecipeOptions {
  /** Backends by their addresses in the recipe that do not answer `ADDRESS METHOD PATH`; null: it does not run. */
  backends?: Record<string, RequestListener | { url: string } | null>;
  /** Further pairs of what the recipe says and what is so here. */
  places?: [string, string][];
  /** What `check` warns about; default: nothing. */
  warnings?: string[];
  /** The embedded database exists already. */
  data?: 'made';
}

/** serveRecipe loads the configuration of a recipe without a warning, serves it, and runs the sessions of the page. */
export async function serveRecipe(t: TestContext, name: string, options: RecipeOptions = {}): Promise<void> {
  const page = readFileSync(join(BOOK, `${name}.md`), 'utf8');
  const [config = ''] = blocksOf(page, 'yaml');
  const folder = tempFolder(t);
  if (page.includes('.pem')) putCertificates(folder);
  const backends = await placesOfBackends(t, config, options.backends ?? {});
  ports ??= await freePorts();
  const here = /^rateLimit:/m.test(config) ? await freePorts() : ports;
  // Longer texts first: an address before the port in it.
  const places = [...(options.places ?? []), ...backends, ...filePlaces(folder), ...here];
  const text = hereOf(config, places);
  const path = join(folder, 'recipe.yaml');
  writeFileSync(path, text);
  const loaded = loadConfig(path, {});
  const remarks = 'warnings' in loaded ? loaded.warnings : loaded.problems;
  const messages = remarks.map(({ message }) => message);
  assert.deepEqual(messages, options.warnings ?? [], name);
  const sluice = await serve(t, { ...parse(text), admin: { address: `127.0.0.1${here[2]?.[1]}` } }, options);
  const env = { ...sluiceCommand(t), CONFIG_PATH: sluice.configPath };
  await runConsole(consoleSteps(page), { env, cwd: folder, places });
}

/** Those that a page says, each with one that is free. */
async function freePorts(): Promise<[string, string][]> {
  return Promise.all(
    PORTS.map(async (port): Promise<[string, string]> => [`:${port}`, `:${await freePort()}`]),
  );
}

/** Of the shared Sluice. */
let ports: [string, string][] | undefined;
let shared: SluiceProcess | undefined;
after(() => shared?.stop());

/** The recipes of a file share a Sluice, which reloads. One with limits has its own, with full buckets. */
async function serve(t: TestContext, config: SluiceConfig, { data }: RecipeOptions): Promise<SluiceProcess> {
  if (config.rateLimit !== undefined) {
    const own = await startSluice({ config, data });
    t.after(() => own.stop());
    return own;
  }
  if (shared === undefined) {
    shared = await startSluice({ config });
    return shared;
  }
  shared.configure(config);
  const { status, body } = await askJson(`${shared.adminUrl}/api/v1/reload`, { method: 'POST' });
  assert.equal(status, 200, JSON.stringify(body));
  return shared;
}

async function placesOfBackends(
  t: TestContext,
  config: string,
  known: NonNullable<RecipeOptions['backends']>,
): Promise<[string, string][]> {
  const addresses = new Set(
    [...config.matchAll(/https?:\/\/([\w.]+:\d+)/g)].map(([, address = '']) => address),
  );
  const places: [string, string][] = [];
  for (const address of addresses) {
    const answer = known[address] ?? answerOf(address);
    if (known[address] === null) places.push([address, `127.0.0.1:${await freePort()}`]);
    else if ('url' in answer) places.push([address, new URL(answer.url).host]);
    else {
      const backend = await startBackend(answer);
      t.after(() => backend.close());
      places.push([address, new URL(backend.url).host]);
    }
  }
  return places;
}

/** answerOf is what the backends of the cookbook do: `ADDRESS METHOD PATH`, at /slow two seconds later. */
export function answerOf(address: string): RequestListener {
  return (request, response) => {
    const answer = () => response.end(`${address} ${request.method} ${request.url}\n`);
    const timer = setTimeout(answer, request.url?.startsWith('/slow') ? 2_000 : 0);
    response.on('close', () => clearTimeout(timer));
  };
}

/** checkOthers parses what a recipe says of nginx, HAProxy and Traefik, the first two by themselves. */
export async function checkOthers(t: TestContext, name: string): Promise<void> {
  const page = readFileSync(join(BOOK, `${name}.md`), 'utf8');
  const frame = readFileSync(join(BOOK, 'README.md'), 'utf8');
  const folder = tempFolder(t);
  if (page.includes('.pem')) putCertificates(folder);
  const place = (text: string) => hereOf(text, filePlaces(folder));
  const [nginx, haproxy, traefik] = ['nginx', 'haproxy', 'yaml'].map((kind) => blocksOf(page, kind));
  assert.ok((nginx?.length ?? 0) > 0 && (haproxy?.length ?? 0) > 0 && (traefik?.length ?? 0) > 1, name);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${folder}/t;`,
  );
  const http = `${temporary.join(' ')}\n${nginx?.join('\n')}`.replaceAll(
    /listen (\d+)/g,
    'listen unix:$1.sock',
  );
  writeFileSync(
    join(folder, 'nginx.conf'),
    place(`pid nginx.pid;\nevents {}\nhttp { ${http.replaceAll('unix:', `unix:${folder}/`)} }\n`),
  );
  await pass('nginx', ['-t', '-q', '-p', folder, '-c', 'nginx.conf', '-e', 'stderr']);
  const [defaults = ''] = blocksOf(frame, 'haproxy');
  writeFileSync(join(folder, 'haproxy.cfg'), place([defaults, ...(haproxy ?? [])].join('\n')));
  await pass('haproxy', ['-c', '-q', '-f', join(folder, 'haproxy.cfg')]);
  for (const text of traefik?.slice(1) ?? []) checkTraefik(parse(text) as Traefik, name);
}

async function pass(program: string, words: string[]): Promise<void> {
  const path = findProgram(program);
  assert.ok(path !== null, `${program} is not installed: scripts/services.sh`);
  const { code, stdout, stderr } = await runToEnd(path, words);
  assert.equal(code, 0, [...stdout, ...stderr].join('\n'));
}

interface Traefik {
  http?: Record<'routers' | 'services' | 'middlewares', Record<string, Record<string, unknown>>>;
}

/** Traefik is not among the programs of the tests: its names must fit to each other, no more. */
function checkTraefik({ http }: Traefik, name: string): void {
  if (http === undefined) return;
  for (const router of Object.values(http.routers ?? {})) {
    const {
      rule,
      service,
      middlewares = [],
    } = router as { rule?: string; service?: string; middlewares?: string[] };
    assert.ok(rule !== undefined && service !== undefined, `${name}: a router without rule or service`);
    assert.ok(service === 'noop@internal' || service in (http.services ?? {}), `${name}: ${service}`);
    for (const each of middlewares) assert.ok(each in (http.middlewares ?? {}), `${name}: ${each}`);
  }
}

function blocksOf(page: string, language: string): string[] {
  return [...page.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map(
    ([, block = '']) => block,
  );
}

function filePlaces(folder: string): [string, string][] {
  return FOLDERS.map((each) => [each, folder]);
}

let made: Authority | undefined;

function authorityOf(): Authority {
  made ??= new Authority();
  return made;
}

/** The files of the recipes: of the server, of a client, of Sluice as a client of its backends, and their authority. */
function putCertificates(folder: string): void {
  const put = (file: string, text: string) => writeFileSync(join(folder, file), text, { mode: 0o600 });
  for (const [file, name] of [
    ['tls', 'localhost'],
    ['alice', 'alice'],
    ['sluice', 'sluice'],
  ] as const) {
    const { cert, key } = authorityOf().issue([name]);
    put(`${file}.pem`, cert);
    put(`${file}.key`, key);
    put(`${file}-both.pem`, `${cert}${key}`);
  }
  for (const file of ['ca.pem', 'clients.pem', 'internal-ca.pem']) put(file, authorityOf().root.cert);
}

/** certificateFor is one of the authority in ca.pem, for backends of tests. */
export function certificateFor(name: string): { cert: string; key: string; ca: string } {
  return { ...authorityOf().issue([name]), ca: authorityOf().root.cert };
}
