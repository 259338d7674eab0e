/** The smallest request there is: a GET without a body, a few bytes back, on a route without a limit. */

export interface Scenario {
  /** Path and query of the request. */
  target: string;
  /** Of Sluice, given the backends' URLs; listen, admin and timeouts are added by the runner. */
  config(backendUrls: string[]): Record<string, unknown>;
}

export const tinyGet: Scenario = {
  target: '/bytes?n=2',
  config: (backendUrls) => ({
    workers: 'auto',
    pools: { app: { backends: backendUrls.map((url) => ({ url })) } },
    routes: [{ name: 'bench', match: { path: '/' }, pool: 'app', rateLimit: 'off' }],
    // Measures the data path, not the pipe of whoever started the bench.
    log: { level: 'warn', access: { enabled: false } },
  }),
};
