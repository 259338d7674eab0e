/** A collector of OpenTelemetry: it takes OTLP over HTTP with protobuf, as real ones do, and keeps the spans. */
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface CollectedSpan {
  traceId: string;
  spanId: string;
  parentId: string;
  traceState: string;
  name: string;
  /** 2: server, 3: client. */
  kind: number;
  startMs: number;
  endMs: number;
  attributes: Record<string, string | number>;
  /** 0: unset, 2: error. */
  status: number;
  resource: Record<string, string | number>;
}

export interface Collector {
  /** Base URL, as in `tracing.endpoint`. */
  readonly url: string;
  readonly port: number;
  readonly spans: CollectedSpan[];
  /** Header fields of the requests so far. */
  readonly headers: Record<string, unknown>[];
  /** The status of its answers; 0: it answers nothing, -1: 200 and a body without an end. */
  status: number;
  /** The body of its answers: an ExportTraceServiceResponse. */
  body: Buffer;
  /** Answers without an end that are under way. */
  dripping: number;
  close(): Promise<void>;
}

/** startCollector starts one; put `t.after(() => collector.close())` on the next line. */
export async function startCollector(port = 0): Promise<Collector> {
  const server = createServer((req, res) => {
    const pieces: Buffer[] = [];
    req.on('data', (piece: Buffer) => pieces.push(piece));
    req.on('end', () => {
      collector.headers.push(req.headers);
      if (collector.status === 0) return;
      if (collector.status === -1) return drip(res, collector);
      if (collector.status === 200 && req.url === '/v1/traces')
        collector.spans.push(...spansOf(Buffer.concat(pieces)));
      res.writeHead(req.url === '/v1/traces' ? collector.status : 404).end(collector.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  const bound = (server.address() as AddressInfo).port;
  const collector: Collector = {
    url: `http://127.0.0.1:${bound}`,
    port: bound,
    spans: [],
    headers: [],
    status: 200,
    body: Buffer.alloc(0),
    dripping: 0,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return collector;
}

function drip(res: ServerResponse, collector: Collector): void {
  const timer = setInterval(() => res.write('\0'), 10);
  collector.dripping += 1;
  res.on('close', () => {
    clearInterval(timer);
    collector.dripping -= 1;
  });
  res.writeHead(200).write('\0');
}

/** Fields of a message by their numbers, as the protocol buffers' encoding has them. */
type Message = Map<number, (bigint | Buffer)[]>;

function messageOf(bytes: Buffer): Message {
  const fields: Message = new Map();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++] ?? 0;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const taken = (length: number): Buffer => {
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = Number(varint());
    const type = tag & 7;
    const value =
      type === 0 ? varint() : type === 1 ? taken(8) : type === 5 ? taken(4) : taken(Number(varint()));
    fields.set(tag >> 3, [...(fields.get(tag >> 3) ?? []), value]);
  }
  return fields;
}

const bytesIn = (message: Message, field: number): Buffer[] => (message.get(field) ?? []) as Buffer[];
const messagesIn = (message: Message, field: number) => bytesIn(message, field).map(messageOf);
const textIn = (message: Message, field: number) => bytesIn(message, field)[0]?.toString() ?? '';
const hexIn = (message: Message, field: number) => bytesIn(message, field)[0]?.toString('hex') ?? '';
const numberIn = (message: Message, field: number) => Number(message.get(field)?.[0] ?? 0);
const msIn = (message: Message, field: number) =>
  Number(bytesIn(message, field)[0]?.readBigUInt64LE() ?? 0n) / 1e6;

/** Numbers are those of opentelemetry-proto's trace.proto and common.proto. */
function spansOf(body: Buffer): CollectedSpan[] {
  return messagesIn(messageOf(body), 1).flatMap((ofResource) => {
    const [resource = new Map()] = messagesIn(ofResource, 1);
    const spans = messagesIn(ofResource, 2).flatMap((ofScope) => messagesIn(ofScope, 2));
    return spans.map((span) => ({
      traceId: hexIn(span, 1),
      spanId: hexIn(span, 2),
      traceState: textIn(span, 3),
      parentId: hexIn(span, 4),
      name: textIn(span, 5),
      kind: numberIn(span, 6),
      startMs: msIn(span, 7),
      endMs: msIn(span, 8),
      attributes: attributesIn(span, 9),
      status: numberIn(messagesIn(span, 15)[0] ?? new Map(), 3),
      resource: attributesIn(resource, 1),
    }));
  });
}

function attributesIn(message: Message, field: number): Record<string, string | number> {
  return Object.fromEntries(
    messagesIn(message, field).map((pair) => {
      const [value = new Map()] = messagesIn(pair, 2);
      return [textIn(pair, 1), value.has(1) ? textIn(value, 1) : numberIn(value, 3)];
    }),
  );
}
