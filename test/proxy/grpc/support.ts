/** A gRPC service of grpc-js without proto files, and its client. Messages are texts. */

import type { TestContext } from 'node:test';
import * as grpc from '@grpc/grpc-js';
import { type ProxyOptions, pool, startProxy, type TestProxy } from '../support.ts';

const text = {
  requestSerialize: (value: string) => Buffer.from(value),
  requestDeserialize: (bytes: Buffer) => bytes.toString(),
  responseSerialize: (value: string) => Buffer.from(value),
  responseDeserialize: (bytes: Buffer) => bytes.toString(),
};

function method(name: string, requestStream: boolean, responseStream: boolean) {
  return { path: `/test.Texts/${name}`, requestStream, responseStream, ...text };
}

const DEFINITION = {
  say: method('Say', false, false),
  list: method('List', false, true),
  join: method('Join', true, false),
  chat: method('Chat', true, true),
};

export type Handlers = grpc.UntypedServiceImplementation;

/** The service: it says, lists, joins and chats what it is told. */
export const ECHO: Handlers = {
  say: (call: grpc.ServerUnaryCall<string, string>, reply: grpc.sendUnaryData<string>) =>
    reply(null, call.request),
  list: (call: grpc.ServerWritableStream<string, string>) => {
    for (const word of call.request.split(' ')) call.write(word);
    call.end();
  },
  join: (call: grpc.ServerReadableStream<string, string>, reply: grpc.sendUnaryData<string>) => {
    const words: string[] = [];
    call.on('data', (word: string) => words.push(word));
    call.on('end', () => reply(null, words.join(' ')));
  },
  chat: (call: grpc.ServerDuplexStream<string, string>) => {
    call.on('data', (word: string) => call.write(`${word}!`));
    call.on('end', () => call.end());
  },
};

const bytes = {
  requestSerialize: (value: Buffer) => value,
  requestDeserialize: (value: Buffer) => value,
  responseSerialize: (value: Buffer) => value,
  responseDeserialize: (value: Buffer) => value,
};
const HEALTH = {
  check: { path: '/grpc.health.v1.Health/Check', requestStream: false, responseStream: false, ...bytes },
};

/**
 * startService starts a gRPC server. It ends with the test.
 * @param options health: gives the status that the health service answers; without it there is no such service
 */
export async function startService(
  t: TestContext,
  handlers: Handlers,
  { health }: { health?: () => number } = {},
): Promise<number> {
  const server = new grpc.Server();
  if (health !== undefined) {
    server.addService(HEALTH, {
      check: (_call: unknown, reply: grpc.sendUnaryData<Buffer>) => reply(null, Buffer.from([8, health()])),
    });
  }
  server.addService(DEFINITION, { ...ECHO, ...handlers });
  t.after(() => server.forceShutdown());
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error === null ? resolve(port) : reject(error),
    );
  });
}

const TextsClient = grpc.makeClientConstructor(DEFINITION, 'Texts');

/** startGrpcProxy starts a proxy in front of backends that speak HTTP/2. */
export function startGrpcProxy(
  t: TestContext,
  ports: number[],
  options: Omit<ProxyOptions, 'pools'> = {},
): Promise<TestProxy> {
  const timeouts = { connectMs: 5_000, responseMs: 10_000, idleMs: 10_000, ...options.poolTimeouts };
  const app = pool('app', ports, { protocol: 'h2', timeouts, ...options.app });
  return startProxy(t, { pools: [app], h2c: true, ...options });
}

/** clientOf makes a client of the proxy, without retries of its own. It ends with the test. */
export function clientOf(t: TestContext, proxy: { port: number }): grpc.Client {
  const client = new TextsClient(`127.0.0.1:${proxy.port}`, grpc.credentials.createInsecure(), {
    'grpc.enable_retries': 0,
  });
  t.after(() => client.close());
  return client;
}

export interface Outcome {
  answer: string | null;
  code: number;
  details: string;
  head: grpc.Metadata | null;
  trailers: grpc.Metadata;
}

/** say makes a unary call. */
export function say(
  client: grpc.Client,
  word: string,
  {
    path = '/test.Texts/Say',
    metadata = new grpc.Metadata(),
    ...options
  }: grpc.CallOptions & { path?: string; metadata?: grpc.Metadata } = {},
): Promise<Outcome> {
  return new Promise((resolve) => {
    const { requestSerialize, responseDeserialize } = text;
    let head: grpc.Metadata | null = null;
    let answer: string | null = null;
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      word,
      metadata,
      options,
      (_error, value) => {
        answer = value ?? null;
      },
    );
    call.on('metadata', (received) => {
      head = received;
    });
    call.on('status', ({ code, details, metadata: trailers }) =>
      setImmediate(() => resolve({ answer, code, details, head, trailers })),
    );
  });
}

/** chat opens a stream in both directions. */
export function chat(
  client: grpc.Client,
  options: grpc.CallOptions = {},
): grpc.ClientDuplexStream<string, string> {
  const { requestSerialize, responseDeserialize } = text;
  return client.makeBidiStreamRequest(
    '/test.Texts/Chat',
    requestSerialize,
    responseDeserialize,
    new grpc.Metadata(),
    options,
  );
}

export function list(client: grpc.Client, words: string): grpc.ClientReadableStream<string> {
  const { requestSerialize, responseDeserialize } = text;
  return client.makeServerStreamRequest('/test.Texts/List', requestSerialize, responseDeserialize, words);
}

export function join(
  client: grpc.Client,
  onEnd: (error: grpc.ServiceError | null, joined?: string) => void,
): grpc.ClientWritableStream<string> {
  const { requestSerialize, responseDeserialize } = text;
  return client.makeClientStreamRequest('/test.Texts/Join', requestSerialize, responseDeserialize, onEnd);
}
