/**
 * Answers that do not end: server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). A reader that does not
 * read is cut once MAX_UNREAD_BYTES wait for it, so that it costs this much and no more.
 */
import type { OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';
import * as z from 'zod';
import type { AdminApp } from './app.ts';
import { HttpProblem } from './problems.ts';

const MAX_UNREAD_BYTES = 1_048_576;
/** Proxies and clients cut connections that are silent for a minute. */
const HEARTBEAT_MS = 15_000;
/** Of the places, for callers who may only read: they cannot keep out those who may write. */
const READER_SHARE = 0.8;
const HEARTBEAT = Buffer.from(': \n\n');

const HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  // A proxy must not gather what it carries.
  'x-accel-buffering': 'no',
  // The close of the port would wait for a connection that may have another request.
  connection: 'close',
};

/** eventText is one event. JSON has no line ends, whatever names are in it. */
export function eventText(event: string, data: unknown, id?: number): string {
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
}

/** streamResponse describes the answer of a call with a stream. */
export function streamResponse(description: string) {
  return { 200: { description, content: { 'text/event-stream': { schema: z.string() } } } };
}

/** EventStream is one reader. */
export class EventStream {
  readonly #response: ServerResponse;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  /** write sends text, or cuts a reader for whom too much waits. After the end it does nothing. */
  write(text: string | Uint8Array): void {
    const response = this.#response;
    if (response.destroyed || response.writableEnded) return;
    if (response.writableLength > MAX_UNREAD_BYTES) response.destroy();
    else response.write(text);
  }

  /** end ends the stream behind what was written. */
  end(): void {
    this.#response.end();
  }

  /** cut ends the stream at once; what has not been read by then is lost. */
  cut(): void {
    if (this.#response.writableLength > 0) this.#response.destroy();
    else this.#response.end();
  }
}

/** EventStreams are the readers of one call. They end at once when the admin port closes, also for another primary. */
export class EventStreams {
  readonly #max: number;
  readonly #open = new Set<EventStream>();
  #heartbeat: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param max streams, a multiple of 5; further ones are refused, of callers who may only read a fifth earlier */
  constructor(app: AdminApp, max: number) {
    this.#max = max;
    app.addHook('preClose', async () => this.#close());
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * open makes the answer a stream, which the caller writes to. Throws HttpProblem 503 where there are too many,
   * or nobody can read it.
   * @param onClosed called once, when the reader has gone or was cut
   */
  open(reply: FastifyReply, onClosed: () => void = () => undefined): EventStream {
    if (this.#closed) throw new HttpProblem(503, 'the admin port closes');
    const { raw } = reply;
    // Neither would have its `close` heard, and its place would never be given back.
    if (raw.req.socket.destroyed || raw.socket === null)
      throw new HttpProblem(503, 'the reader has left, or has not read an earlier answer');
    const max = reply.request.access === 'write' ? this.#max : this.#max * READER_SHARE;
    if (this.#open.size >= max) throw new HttpProblem(503, `${this.#open.size} others read this already`);
    reply.hijack();
    const stream = new EventStream(raw);
    this.#open.add(stream);
    this.#heartbeat ??= setInterval(() => this.send(HEARTBEAT), HEARTBEAT_MS).unref();
    raw.once('close', () => {
      this.#open.delete(stream);
      if (this.#open.size === 0) this.#stopHeartbeat();
      onClosed();
    });
    raw.writeHead(200, { ...(reply.getHeaders() as OutgoingHttpHeaders), ...HEADERS });
    raw.flushHeaders();
    return stream;
  }

  /** send sends the same to all. */
  send(text: string | Uint8Array): void {
    for (const stream of this.#open) stream.write(text);
  }

  #stopHeartbeat(): void {
    clearInterval(this.#heartbeat);
    this.#heartbeat = undefined;
  }

  #close(): void {
    this.#closed = true;
    this.#stopHeartbeat();
    for (const stream of this.#open) stream.cut();
  }
}
