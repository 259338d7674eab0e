/** Recipes of docs/cookbook: their configurations are loaded and served, and their sessions are run. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { after, type TestContext } from 'node:test';
import { parse } from 'yaml';
import { loadConfig } from '../../src/config/load.ts';
import { askJson } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { consoleSteps, hereOf, runConsole } from '../support/doc-console.ts';
import { freePort } from '../support/free-port.ts';
import { type SluiceConfig, type SluiceProcess, startSluice } from '../support/sluice.ts';
import { sluiceCommand } from '../support/sluice-command.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { blocksOf, filePlaces, pageOf, putCertificates } from './cookbook.ts';

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
  const page = pageOf(name);
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
