/**
 * Requests to a certificate authority, for acme-client in place of axios' own adapter: each with a deadline and a largest
 * answer, over https alone, without redirects and without retries; the manager tries a whole order again.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { Agent, request } from 'node:https';
import type { axios } from 'acme-client';
import { sluiceVersion } from '../../infra/build-info.ts';

type Adapter = Exclude<NonNullable<(typeof axios)['defaults']['adapter']>, string | unknown[]>;
type AdapterConfig = Parameters<Adapter>[0];

interface BoundedRequestsOptions {
  /** PEM of the certificates that the authority's own certificate is checked against; null: those that Node.js trusts. */
  ca: string | null;
  /** Ends all requests. */
  signal: AbortSignal;
  /** For one request, its answer included. */
  timeoutMs: number;
}

/** acme-client has one adapter for all orders, which run side by side. */
const current = new AsyncLocalStorage<BoundedRequests>();

/** sendAsOrder is what axios calls for a request: it goes out with the requests of the order that makes it. */
export const sendAsOrder: Adapter = async (config) => {
  const requests = current.getStore();
  if (requests === undefined) throw new Error('a request to the authority belongs to no order');
  return requests.send(config);
};

/** A chain of ten certificates takes 20 KiB. */
const MAX_ANSWER_BYTES = 262_144;
const MAX_SOCKETS = 2;

/** BoundedRequests is made for each order. */
export class BoundedRequests {
  readonly #options: BoundedRequestsOptions;
  readonly #agent: Agent;
  /** Seconds that the authority asked to wait, in its last answer; 0: it did not. */
  retryAfterSec = 0;
  /** What problemOf finds in its last answer. */
  problem: string | null = null;

  constructor(options: BoundedRequestsOptions) {
    this.#options = options;
    const ca = options.ca === null ? {} : { ca: options.ca };
    this.#agent = new Agent({ ...ca, keepAlive: true, maxSockets: MAX_SOCKETS });
  }

  /** close ends the connections. */
  close(): void {
    this.#agent.destroy();
  }

  /** during runs an order: sendAsOrder sends its requests by this object. */
  during<T>(order: () => Promise<T>): Promise<T> {
    return current.run(this, order);
  }

  /** send is called by sendAsOrder. */
  async send(config: AdapterConfig): ReturnType<Adapter> {
    const url = URL.parse(config.url ?? '');
    if (url?.protocol !== 'https:')
      throw new Error('the certificate authority names an address that is not https://');
    const { signal, timeoutMs } = this.#options;
    this.problem = null;
    const deadline = AbortSignal.timeout(timeoutMs);
    try {
      return await this.#send(url, config, AbortSignal.any([signal, deadline]));
    } catch (thrown) {
      if (!deadline.aborted) throw thrown;
      throw new Error(`${url.host} did not answer within ${timeoutMs} ms`, { cause: thrown });
    }
  }

  #send(url: URL, config: AdapterConfig, signal: AbortSignal): ReturnType<Adapter> {
    const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<Adapter>>>();
    const headers = { ...config.headers.toJSON(), 'User-Agent': `sluice/${sluiceVersion()}` };
    const method = config.method?.toUpperCase() ?? 'GET';
    const sent = request(url, { agent: this.#agent, method, headers, signal }, (answer) => {
      this.retryAfterSec = secondsOf(answer.headers['retry-after']);
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > MAX_ANSWER_BYTES)
          sent.destroy(new Error(`${url.host} answered with more than ${MAX_ANSWER_BYTES} bytes`));
      });
      answer.on('error', reject);
      answer.on('end', () => {
        const { statusCode: status = 0, statusMessage: statusText = '' } = answer;
        const data = Buffer.concat(chunks).toString();
        if (status >= 400) this.problem = problemOf(data);
        resolve({
          data,
          status,
          statusText,
          headers: { ...answer.headers } as Record<string, string>,
          config,
        });
      });
    });
    sent.on('error', reject);
    sent.end(config.data);
    return promise;
  }
}

/** problemOf finds the type of an error (RFC 8555 §6.7) in its JSON, such as `rateLimited`; null: there is none. */
export function problemOf(json: string): string | null {
  return /"type"\s*:\s*"urn:ietf:params:acme:error:(\w{1,64})"/.exec(json)?.[1] ?? null;
}

/** RFC 9110 §10.2.3: seconds, or a date. */
function secondsOf(text: string | undefined): number {
  if (text === undefined) return 0;
  const seconds = /^\d+$/.test(text) ? Number(text) : (Date.parse(text) - Date.now()) / 1000;
  return seconds > 0 ? seconds : 0;
}
