/** The whole product in front of backends that speak HTTP/2: the examples of docs/protocols.md, health, reloads, the end. */
import assert from 'node:assert/strict';
import { createSecureServer, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { parse } from 'yaml';
import { ask, askJson } from '../cluster/support.ts';
import { chat, clientOf, say, startService } from '../proxy/grpc/support.ts';
import { Authority } from '../support/certificates.ts';
import { docExample } from '../support/doc-example.ts';
import { startH2Backend } from '../support/h2-backends.ts';
import { type SluiceConfig, type SluiceProcess, startSluice } from '../support/sluice.ts';
import { waitFor } from '../support/wait.ts';

function exampleOf(heading: string, places: Record<string, string>): SluiceConfig {
  let text = docExample('protocols.md', heading);
  for (const [from, to] of Object.entries(places)) {
    assert.ok(text.includes(from), `the example names ${from}`);
    text = text.replaceAll(from, to);
  }
  return parse(text);
}

/** The example, on a free port, with a service in place of its backend. */
async function startExample(t: TestContext, port: number): Promise<SluiceProcess> {
  const config = exampleOf('gRPC', { ':8080': '127.0.0.1:0', '127.0.0.1:50051': `127.0.0.1:${port}` });
  const sluice = await startSluice({ config: { ...config, workers: 2 } });
  t.after(() => sluice.stop());
  return sluice;
}

const portOf = ({ proxyUrl }: SluiceProcess): { port: number } => ({ port: Number(new URL(proxyUrl).port) });

test('the example for gRPC in docs/protocols.md works, and a service that is not serving takes its backend down', async (t) => {
  let status = 1;
  const service = await startService(t, {}, { health: () => status });
  const sluice = await startExample(t, service);
  const client = clientOf(t, portOf(sluice));
  assert.equal((await say(client, 'hello')).answer, 'hello');
  const [line] = await waitFor('the access line', () => {
    const lines = sluice.jsonLines(({ path }) => path === '/test.Texts/Say');
    return lines.length > 0 && lines;
  });
  assert.deepEqual([line?.grpcStatus, line?.protocol, line?.status], [0, 'h2', 200]);
  status = 2;
  const pools = () => askJson(`${sluice.adminUrl}/api/v1/pools`);
  await waitFor('the backend to be down', async () =>
    JSON.stringify((await pools()).body).includes('NOT_SERVING'),
  );
  // A worker reports its counts once a second.
  await waitFor('the call to be counted', async () =>
    (await ask(`${sluice.adminUrl}/metrics`)).text.includes(
      'sluice_requests_total{route="default",method="POST",code="grpc_0"} 1',
    ),
  );
});

test('a reload and a drain drop no call', async (t) => {
  const sluice = await startExample(t, await startService(t, {}, { health: () => 1 }));
  const client = clientOf(t, portOf(sluice));
  const calls = Array.from({ length: 8 }, () => chat(client));
  const words: string[][] = calls.map(() => []);
  const statuses = calls.map(
    (call, i) =>
      new Promise<grpc.StatusObject>((resolve) => {
        call.on('data', (word: string) => words[i]?.push(word));
        call.on('error', () => undefined);
        call.on('status', resolve);
      }),
  );
  const talk = async (word: string): Promise<void> => {
    for (const call of calls) call.write(word);
    await waitFor(`the answers to ${word}`, () => words.every((each) => each.at(-1) === `${word}!`));
  };
  await talk('before');
  assert.equal((await askJson(`${sluice.adminUrl}/api/v1/reload`, { method: 'POST' })).status, 200);
  await talk('after');
  assert.equal((await say(client, 'new')).answer, 'new');
  sluice.signal('SIGTERM');
  await talk('draining');
  for (const call of calls) call.end();
  for (const { code, details } of await Promise.all(statuses)) assert.equal(code, grpc.status.OK, details);
});

test('the example for HTTP/2 to backends works, without TLS and with it', async (t) => {
  const plain = await startH2Backend(t, (stream, { ':scheme': scheme }) => answer(stream, scheme));
  const authority = new Authority();
  const secure = createSecureServer(authority.issue(['localhost']));
  secure.on('stream', (stream: ServerHttp2Stream, { ':scheme': scheme }) => answer(stream, scheme));
  await new Promise<void>((resolve) => void secure.listen(0, 'localhost', resolve));
  t.after(() => secure.close());
  const { port } = secure.address() as AddressInfo;
  const example = exampleOf('HTTP/2 to backends', {
    '127.0.0.1:8081': `127.0.0.1:${plain.port}`,
    'app.internal:8443': `localhost:${port}`,
  });
  const { app } = example.pools as Record<string, object>;
  const sluice = await startSluice({
    config: { pools: { app: { ...app, tls: { ca: authority.root.certPath } } } },
  });
  t.after(() => sluice.stop());
  const answers = new Set<string>();
  for (let i = 0; i < 4; i++) answers.add((await ask(sluice.proxyUrl)).text);
  assert.deepEqual([...answers].sort(), ['http', 'https']);
});

function answer(stream: ServerHttp2Stream, scheme: unknown): void {
  stream.respond({ ':status': 200 });
  stream.end(String(scheme));
}
