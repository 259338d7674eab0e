/** The PROXY protocol with programs that others use: nginx behind the product, HAProxy and curl in front of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse } from 'yaml';
import { ask, askJson } from '../cluster/support.ts';
import { docExample } from '../support/doc-example.ts';
import { startNginx } from '../support/neighbour.ts';
import { completeConfig, startSluice } from '../support/sluice.ts';
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
