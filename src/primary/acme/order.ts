/**
 * One order of a certificate (RFC 8555 §7.4). It waits only for requests, challenges and pauses that `signal` ends, so
 * nothing of it goes on after its deadline.
 */
import { generateKeyPair } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Client, Order } from 'acme-client';
import { toError } from '../../contract/errors.ts';
import type { AcmeChallenge } from '../../contract/messages.ts';
import { BoundedRequests, problemOf, sendAsOrder } from './bounded-requests.ts';

interface OrderOptions {
  /** URL of the authority's directory. */
  directory: string;
  /** null: the authority is told no address. */
  email: string | null;
  /** As in BoundedRequests. */
  ca: string | null;
  accountKeyPem: string;
  name: string;
  /** Gives the order up. */
  signal: AbortSignal;
  /** For all of it, and for one request. */
  orderMs: number;
  requestMs: number;
  /** Resolves once every worker of every machine answers the challenge, or rejects once the signal ends the order. */
  openChallenge: (challenge: AcmeChallenge, signal: AbortSignal) => Promise<void>;
  /** Never rejects: the certificate may be there already. */
  closeChallenge: (token: string) => Promise<void>;
}

/** OrderFailure says why there is no certificate, in the authority's words where it gave any. */
export class OrderFailure extends Error {
  /** How long the authority wants to be left alone; 0: it did not say. */
  readonly retryAfterMs: number;

  constructor(cause: unknown, retryAfterMs: number) {
    super(toError(cause).message, { cause });
    this.name = 'OrderFailure';
    this.retryAfterMs = retryAfterMs;
  }
}

const generate = promisify(generateKeyPair);

/** makeKeyPem makes an ECDSA P-256 private key (PKCS #8). */
export async function makeKeyPem(): Promise<string> {
  const { privateKey } = await generate('ec', { namedCurve: 'P-256' });
  return privateKey.export({ type: 'pkcs8', format: 'pem' });
}

/** orderCertificate makes a key and gets a certificate for it; the caller checks what comes. Throws OrderFailure. */
export async function orderCertificate(options: OrderOptions): Promise<string> {
  const { ca, orderMs, requestMs } = options;
  const deadline = AbortSignal.timeout(orderMs);
  const signal = AbortSignal.any([options.signal, deadline]);
  const requests = new BoundedRequests({ ca, signal, timeoutMs: requestMs });
  try {
    const order = new CertificateOrder({ ...options, signal }, requests);
    return await requests.during(() => order.run());
  } catch (thrown) {
    const late = new Error(`the authority did not complete the order within ${orderMs} ms`, {
      cause: thrown,
    });
    const said = withProblem(requests.problem, toError(thrown).message);
    const cause = requests.problem === null ? thrown : new Error(said, { cause: thrown });
    throw new OrderFailure(deadline.aborted ? late : cause, requests.retryAfterSec * 1000);
  } finally {
    requests.close();
  }
}

/** acme-client tells the detail of an error alone; the page for operators is ordered by types. */
function withProblem(problem: string | null, detail: string): string {
  return problem === null ? detail : `${problem}: ${detail}`;
}

/** Between two looks at an order, where the authority asks for no longer pause. */
const FIRST_PAUSE_MS = 250;
const MAX_PAUSE_MS = 10_000;
/** RFC 8555 §8.3: base64url of at least 128 bits. */
const TOKEN = /^[A-Za-z0-9_-]{16,256}$/;

class CertificateOrder {
  readonly #options: OrderOptions;
  readonly #requests: BoundedRequests;
  readonly #opened: string[] = [];

  constructor(options: OrderOptions, requests: BoundedRequests) {
    this.#options = options;
    this.#requests = requests;
  }

  async run(): Promise<string> {
    const { directory, email, accountKeyPem, name } = this.#options;
    // Loaded with the first order: it takes 40 MiB.
    const { Client, axios, crypto } = await import('acme-client');
    axios.defaults.adapter = sendAsOrder;
    const client = new Client({ directoryUrl: directory, accountKey: accountKeyPem });
    const contact = email === null ? {} : { contact: [`mailto:${email}`] };
    // The account is the one of the key; it is made where there is none.
    await client.createAccount({ termsOfServiceAgreed: true, ...contact });
    const order = await client.createOrder({ identifiers: [{ type: 'dns', value: name }] });
    try {
      await this.#prove(client, order);
      const ready = await this.#statusOf(client, order, ['ready', 'valid']);
      const keyPem = await makeKeyPem();
      const [, csr] = await crypto.createCsr({ altNames: [name] }, keyPem);
      const finalized = await client.finalizeOrder(ready, csr);
      const valid = await this.#statusOf(client, finalized, ['valid']);
      return `${keyPem.trim()}\n${String(await client.getCertificate(valid)).trim()}\n`;
    } finally {
      for (const token of this.#opened) await this.#options.closeChallenge(token);
    }
  }

  /** Opens a challenge for each authorization, and tells the authority to look. */
  async #prove(client: Client, order: Order): Promise<void> {
    const { openChallenge, signal } = this.#options;
    for (const { status, identifier, challenges } of await client.getAuthorizations(order)) {
      if (status === 'valid') continue;
      if (identifier.value !== this.#options.name)
        throw new Error(`the authority wants a proof for ${identifier.value}`);
      const challenge = challenges.find(({ type }) => type === 'http-01');
      if (challenge === undefined) throw new Error('the authority offers no challenge http-01');
      const { token } = challenge;
      if (!TOKEN.test(token)) throw new Error('the authority names a token that is none');
      const keyAuthorization = await client.getChallengeKeyAuthorization(challenge);
      this.#opened.push(token);
      await openChallenge({ token, keyAuthorization }, signal);
      await client.completeChallenge(challenge);
    }
  }

  /** Waits until the order has one of these states. */
  async #statusOf(client: Client, before: Order, wanted: Order['status'][]): Promise<Order> {
    let order = before;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      if (wanted.includes(order.status)) return order;
      if (order.status === 'invalid') throw new Error(await this.#reasonOf(client, order));
      const askedMs = Math.min(this.#requests.retryAfterSec * 1000, MAX_PAUSE_MS);
      await sleep(Math.max(pauseMs, askedMs), undefined, { signal: this.#options.signal });
      order = await client.getOrder(order);
    }
  }

  async #reasonOf(client: Client, order: Order): Promise<string> {
    const authorizations = await client.getAuthorizations(order);
    const errors = [
      order.error,
      ...authorizations.flatMap(({ challenges }) => challenges.map(({ error }) => error)),
    ];
    const details = errors.flatMap((error) =>
      error && 'detail' in error ? withProblem(problemOf(JSON.stringify(error)), String(error.detail)) : [],
    );
    return `the authority refuses the order: ${details[0] ?? 'it does not say why'}`.slice(0, 500);
  }
}
