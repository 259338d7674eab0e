/**
 * A certificate authority for tests: Pebble behind a front that can answer in its place. All names resolve to 127.0.0.1. Its
 * challenges are asked for at `httpPort`.
 */
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { createServer, request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { runToEnd, spawnChild } from './child.ts';
import { freePort } from './free-port.ts';
import { tempFolder } from './temp-folder.ts';
import { waitFor } from './wait.ts';

/** Answer: what the front sends in place of Pebble's answer. `headers` are added to Pebble's. */
export interface Answer {
  status?: number;
  headers?: Record<string, string>;
  body?: string;
}

/** Gets a request and Pebble's answer to it; null or nothing passes that on, 'never' leaves the client waiting. */
export type Intercept = (path: string, answer: Required<Answer>) => Answer | 'never' | null;

export interface Authority {
  /** URL of the directory. */
  directory: string;
  /** Path of the PEM file with the certificate of the directory. */
  ca: string;
  /** Of the requests so far: `POST /sign-me-up`. */
  requests: string[];
  intercept: Intercept;
  /** PEM of the root that its certificates end at. */
  root(): Promise<string>;
  /** close ends the front: the authority is away. */
  close(): void;
}

interface AuthorityOptions {
  /** Where challenges are asked for. */
  httpPort: number;
  /** Lifetime of certificates; default: 90 days. */
  validitySec?: number;
  /** Percentage of requests that are refused with badNonce; default: 0. */
  badNonces?: number;
}

/** startAuthority starts one that ends with the test. */
export async function startAuthority(t: TestContext, options: AuthorityOptions): Promise<Authority> {
  const folder = tempFolder(t);
  const [port, managementPort, dnsPort] = [await freePort(), await freePort(), await freePort()];
  const [certificate, privateKey] = await makeOwnCertificate(folder);
  const config = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${managementPort}`,
    certificate,
    privateKey,
    httpPort: options.httpPort,
    tlsPort: 1,
    ocspResponderURL: '',
    externalAccountBindingRequired: false,
    certificateValidityPeriod: options.validitySec ?? 90 * 86_400,
  };
  writeFileSync(join(folder, 'pebble.json'), JSON.stringify({ pebble: config }));
  const none = [
    '-http01',
    '',
    '-https01',
    '',
    '-tlsalpn01',
    '',
    '-doh',
    '',
    '-management',
    '',
    '-defaultIPv6',
    '',
  ];
  const dns = spawnChild('pebble-challtestsrv', ['-dns01', `127.0.0.1:${dnsPort}`, ...none]);
  t.after(() => dns.stop('SIGKILL'));
  const env = {
    PEBBLE_VA_NOSLEEP: '1',
    PEBBLE_AUTHZREUSE: '0',
    PEBBLE_WFE_NONCEREJECT: String(options.badNonces ?? 0),
  };
  const args = ['-config', join(folder, 'pebble.json'), '-dnsserver', `127.0.0.1:${dnsPort}`];
  const pebble = spawnChild('pebble', args, { env });
  t.after(() => pebble.stop('SIGKILL'));
  const ca = readFileSync(certificate, 'utf8');
  await waitFor(`Pebble to answer at port ${port}`, () => ask(port, ca, { path: '/dir', method: 'GET' }));

  const authority = { requests: [] as string[], intercept: (() => null) as Intercept };
  const server = createServer({ cert: ca, key: readFileSync(privateKey) });
  server.on('request', (incoming, outgoing) => {
    authority.requests.push(`${incoming.method} ${incoming.url}`);
    void relay(port, ca, incoming, outgoing, (...given) => authority.intercept(...given));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  t.after(close);
  return Object.assign(authority, {
    directory: `https://localhost:${(server.address() as AddressInfo).port}/dir`,
    ca: certificate,
    close,
    root: async () => (await ask(managementPort, ca, { path: '/roots/0', method: 'GET' })).body,
  });
}

async function relay(
  port: number,
  ca: string,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  intercept: Intercept,
): Promise<void> {
  try {
    const { method = '', url: path = '', headers } = incoming;
    const body = Buffer.concat(await incoming.toArray());
    const answer = await ask(port, ca, { path, method, headers, body });
    const own = intercept(path, answer);
    if (own === 'never') return;
    const { status, headers: lines, body: text } = { ...answer, ...own };
    const { 'content-length': _, ...rest } = { ...withoutPauses(answer.headers), ...lines };
    outgoing.writeHead(status, rest);
    outgoing.end(text);
  } catch (error) {
    outgoing.destroy(error as Error);
  }
}

/** Pebble asks clients to wait for seconds; a test that wants that says so. */
function withoutPauses({ 'retry-after': _, ...headers }: Record<string, string>): Record<string, string> {
  return headers;
}

interface Ask {
  path: string;
  method: string;
  headers?: IncomingHttpHeaders;
  body?: Buffer;
}

async function ask(port: number, ca: string, { body, ...options }: Ask): Promise<Required<Answer>> {
  const sent = request({ ...options, host: '127.0.0.1', servername: 'localhost', port, ca, agent: false });
  sent.end(body);
  const [answer] = (await once(sent, 'response')) as [IncomingMessage];
  const text = Buffer.concat(await answer.toArray()).toString();
  const { statusCode: status = 0, headers } = answer;
  return { status, headers: headers as Record<string, string>, body: text };
}

/** A certificate for `localhost` that is its own authority. @returns the paths of certificate and key */
async function makeOwnCertificate(folder: string): Promise<[certificate: string, key: string]> {
  const [cert, key] = [join(folder, 'own.pem'), join(folder, 'own.key')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const made = await runToEnd('openssl', [
    ...['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2'],
    ...[...subject, '-keyout', key, '-out', cert],
  ]);
  if (made.code !== 0) throw new Error(`openssl failed:\n${made.stderr.join('\n')}`);
  return [cert, key];
}
