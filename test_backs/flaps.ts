/**
 * A backend whose /health changes: 200 for `every` probes, then 503 for as many, and so on. A test may also set it. All
 * other paths answer 200 with the number of requests served.
 */
import { createServer } from 'node:http';
import { type ListenOptions, listen, runAsScript, type TestBackend } from './server.ts';

export interface FlapsOptions extends ListenOptions {
  /** Number of probes between two changes; default 3. 0: only setHealthy changes it. */
  every?: number;
}

export interface FlappingBackend extends TestBackend {
  /** Requests for /health so far. */
  readonly probeCount: number;
  /** All other requests so far. */
  readonly requestCount: number;
  setHealthy(healthy: boolean): void;
}

/** startFlaps runs one until close(); it begins healthy. */
export async function startFlaps(options: FlapsOptions = {}): Promise<FlappingBackend> {
  const { every = 3 } = options;
  let healthy = true;
  let probeCount = 0;
  let requestCount = 0;
  const server = createServer((request, response) => {
    if (request.url === '/health') {
      response.statusCode = healthy ? 200 : 503;
      response.end(healthy ? 'ok' : 'unwell');
      probeCount += 1;
      if (every > 0 && probeCount % every === 0) healthy = !healthy;
      return;
    }
    requestCount += 1;
    request.resume();
    response.end(String(requestCount));
  });
  const backend = await listen(server, options);
  return Object.defineProperties(backend, {
    probeCount: { get: () => probeCount },
    requestCount: { get: () => requestCount },
    setHealthy: {
      value: (value: boolean) => {
        healthy = value;
      },
    },
  }) as FlappingBackend;
}

if (import.meta.main) {
  await runAsScript(['every'], (options, all) => startFlaps({ ...options, every: Number(all.every ?? 3) }));
}
