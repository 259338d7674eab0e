/** A Sluice with two backends, which cut their answers to `/cut`, both tokens and a limit, for the tests of the dashboard. */
import type { TestContext } from 'node:test';
import { startBackend } from '../support/backend.ts';
import { type SluiceConfig, type SluiceProcess, startSluice } from '../support/sluice.ts';

export const TOKEN = 'a-token-that-may-write';
export const READ_TOKEN = 'a-token-that-may-read';

/** startScene starts it with clients of its own; all of it ends with the test. @param more replaces blocks of the configuration */
export async function startScene(t: TestContext, more: SluiceConfig = {}): Promise<SluiceProcess> {
  const backends = await Promise.all(
    ['one', 'two'].map(() =>
      startBackend(({ url }, response) => {
        if (url !== '/cut') response.end('ok');
        else response.writeHead(200, { 'content-length': 9 }).write('cut', () => response.destroy());
      }),
    ),
  );
  t.after(() => Promise.all(backends.map((backend) => backend.close())));
  const sluice = await startSluice({
    data: 'made',
    config: {
      admin: { address: '127.0.0.1:0', token: TOKEN, readToken: READ_TOKEN },
      trustedProxies: ['127.0.0.0/8'],
      pools: {
        app: {
          backends: backends.map(({ url }, index) => ({ url, id: index === 0 ? 'one' : 'two' })),
          healthCheck: { path: '/', interval: '500ms', timeout: '400ms' },
        },
      },
      routes: [{ name: 'all', pool: 'app', rateLimit: { policy: 'default' } }],
      rateLimit: {
        policies: {
          default: { capacity: 100, refillPerSecond: 0.01 },
          trial: { capacity: 5, refillPerSecond: 1, shadow: true },
        },
      },
      ...more,
    },
  });
  t.after(() => sluice.stop());
  return sluice;
}
