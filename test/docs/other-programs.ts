/** What the cookbook says of nginx and HAProxy passes their own checks; that of Traefik is parsed. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { parse } from 'yaml';
import { findProgram } from '../../bench/rig/tools.ts';
import { runToEnd } from '../support/child.ts';
import { hereOf } from '../support/doc-console.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { blocksOf, filePlaces, pageOf, putCertificates } from './cookbook.ts';

/** checkOthers parses what a recipe says of nginx, HAProxy and Traefik, the first two by themselves. */
export async function checkOthers(t: TestContext, name: string): Promise<void> {
  const page = pageOf(name);
  const frame = pageOf('README');
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
  http?: Record<'routers' | 'services' | 'middlewares' | 'serversTransports', Record<string, TraefikPart>>;
}

interface TraefikPart {
  rule?: string;
  service?: string;
  middlewares?: string[];
  weighted?: { services: { name: string }[] };
  failover?: { service: string; fallback: string };
  loadBalancer?: { serversTransport?: string };
}

/** Traefik is not among the programs of the tests: its names must fit to each other, no more. */
function checkTraefik({ http }: Traefik, name: string): void {
  assert.ok(http !== undefined, name);
  const { routers, services, middlewares = {}, serversTransports = {} } = http;
  const parts = [...Object.values(routers), ...Object.values(services)];
  const named = parts.flatMap(({ service, weighted, failover }) => [
    ...[service, failover?.service, failover?.fallback].filter((each) => each !== undefined),
    ...(weighted?.services ?? []).map((each) => each.name),
  ]);
  for (const each of named) assert.ok(each in services, `${name}: no service ${each}`);
  for (const { rule, service, middlewares: passed = [] } of Object.values(routers)) {
    assert.ok(rule !== undefined && service !== undefined, `${name}: a router without rule or service`);
    for (const each of passed) assert.ok(each in middlewares, `${name}: no middleware ${each}`);
  }
  for (const { serversTransport } of parts.map(({ loadBalancer }) => loadBalancer ?? {}))
    assert.ok((serversTransport ?? '') in { '': 0, ...serversTransports }, `${name}: ${serversTransport}`);
}
