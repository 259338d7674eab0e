/** The PROXY protocol with programs that others use: nginx behind the product, HAProxy and curl in front of it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { proxyHeader } from '../../src/infra/proxy-protocol/proxy-header.ts';
import { ask, askJson, metricOf } from '../cluster/support.ts';
import { startBackend } from '../support/backend.ts';
import { runToEnd } from '../support/child.ts';
import { docExample } from '../support/doc-example.ts';
import { startHaproxy, startNginx } from '../support/neighbour.ts';
import { connectRaw } from '../support/raw-http.ts';
import { completeConfig, startSluice } from '../support/sluice.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { waitFor } from '../support/wait.ts';

test('the example for backends in docs/protocols.md works with nginx, whose health checks name nobody', async (t) => {
  const port = await startNginx(
    t,
    `listen 127.0.0.1:PORT proxy_protocol;
    location / { return 200 "from $proxy_protocol_addr to $proxy_protocol_server_port"; }`,
  );
  const text = docExample('protocols.md', 'PROXY protocol to backends');
  assert.match(text, /proxyProtocol: v2/);
  for (const version of ['v2', 'v1']) {
    const here = text
      .replace('http://10.0.0.5:8080', `http://127.0.0.1:${port}`)
      .replace(': v2', `: ${version}`);
    const sluice = await startSluice({ config: completeConfig(parse(here)) });
    t.after(() => sluice.stop());
    const answer = await ask(sluice.proxyUrl);
    assert.equal(answer.text, `from 127.0.0.1 to ${new URL(sluice.proxyUrl).port}`);
    await waitFor('the backend to be up', async () => {
      const { body } = await askJson(`${sluice.adminUrl}/api/v1/pools`);
      return /"state":"up","reason":"first probe passed: status 200"/.test(JSON.stringify(body));
    });
    await sluice.stop();
  }
});

test('the example for listeners in docs/protocols.md works behind HAProxy with both versions and a checksum, and with curl', async (t) => {
  const backend = await startBackend((request, response) => {
    response.end(String(request.headers['x-forwarded-for']));
  });
  t.after(() => backend.close());
  const text = docExample('protocols.md', 'Behind a balancer that forwards TCP');
  assert.match(text, /from: \[10\.0\.0\.0\/8, fd00::\/8\]/);
  const here = text
    .replace(':8080', '127.0.0.1:0')
    .replace('fd00::/8', '127.0.0.1')
    .replace('http://127.0.0.1:8081', backend.url);
  const sluice = await startSluice({ config: completeConfig(parse(here)) });
  t.after(() => sluice.stop());
  const port = Number(new URL(sluice.proxyUrl).port);
  for (const options of ['send-proxy', 'send-proxy-v2', 'send-proxy-v2 proxy-v2-options crc32c,unique-id']) {
    const front = await startHaproxy(t, port, options);
    assert.equal((await ask(`http://127.0.0.1:${front}/`)).text, '127.0.0.1', options);
  }
  const curl = await runToEnd('curl', [
    '-sS',
    '--haproxy-protocol',
    '--haproxy-clientip',
    '192.0.2.44',
    sluice.proxyUrl,
  ]);
  assert.deepEqual([curl.code, curl.stdout], [0, ['192.0.2.44']]);
  const plain = await runToEnd('curl', ['-sS', sluice.proxyUrl]);
  assert.notEqual(plain.code, 0);
  await waitFor(
    'the count',
    async () => (await metricOf(sluice.adminUrl, 'sluice_proxy_protocol_errors_total')) === 1,
  );
  const [line] = sluice.jsonLines((entry) => entry.msg === 'a connection without a valid PROXY header');
  assert.deepEqual([line?.reason, line?.peer], ['malformed', '127.0.0.1']);
});

test('connections that the primary deals have headers too: accept: round_robin, and Unix sockets in every mode', async (t) => {
  const backend = await startBackend((request, response) => {
    response.end(String(request.headers['x-forwarded-for']));
  });
  t.after(() => backend.close());
  const path = join(tempFolder(t), 'front.sock');
  const proxyProtocol = { from: ['127.0.0.1', 'unix:'] };
  const listen = [
    { address: '127.0.0.1:0', proxyProtocol },
    { address: `unix:${path}`, proxyProtocol },
  ];
  const pools = { app: { backends: [{ url: backend.url }] } };
  const sluice = await startSluice({ config: { listen, pools, accept: 'round_robin', workers: 2 } });
  t.after(() => sluice.stop());
  const ends = { remoteAddress: '192.0.2.9', remotePort: 1, localAddress: '192.0.2.1', localPort: 2 };
  for (const target of [sluice.proxyUrl, sluice.proxyUrl, { path }, { path }]) {
    const client = await connectRaw(target);
    t.after(() => client.close());
    client.write(`${proxyHeader('v2', ends)}GET / HTTP/1.1\r\nHost: a\r\n\r\n`);
    assert.equal((await client.readResponse()).body.toString(), '192.0.2.9');
  }
});
