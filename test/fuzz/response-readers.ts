/** Reads a response with node's client and with undici. */
import { request } from 'node:http';
import type { Duplex } from 'node:stream';
import { Client } from 'undici';
import { MemorySocket, turn } from './memory-socket.ts';

export interface Reading {
  /** The response is complete. */
  accepted: boolean;
  upgraded: boolean;
  status: number | null;
  headers: string[];
  body: string;
  trailers: string[];
  interims: number[];
  /** Number of bytes after which it was complete; 0: at the FIN. */
  endAtBytes: number;
  /** Whether the reader kept the connection for another request; undefined: not known. */
  reused?: boolean;
  error: string;
}

export const READERS = ['node', 'undici'] as const;
export type ReaderName = (typeof READERS)[number];

const MAX_HEADER_BYTES = 131_072;
/** Turns of the event loop to wait for a reader after the FIN. */
const TURNS_AFTER_END = 10;

/** Line is one connection to a backend, in memory or over a real socket. */
export interface Line {
  socket: Duplex;
  /** Where the request goes. */
  path: string;
  /** Sends the response after the request was written. */
  feed(reading: Reading, watch: { isComplete: () => boolean; giveUp: () => void }): void;
}

/** memoryLine feeds each segment in one read, then a FIN. */
export function memoryLine(segments: readonly Buffer[]): Line {
  const socket = new MemorySocket();
  return { socket, path: '/', feed: (reading, watch) => feedAll(socket, segments, reading, watch) };
}

/** readAs reads a response with one reader. */
export function readAs(reader: ReaderName, line: Line, method: string): Promise<Reading> {
  return reader === 'node' ? askNode(line, method) : askUndici(line, method);
}

function newReading(): Reading {
  return {
    accepted: false,
    upgraded: false,
    status: null,
    headers: [],
    body: '',
    trailers: [],
    interims: [],
    endAtBytes: 0,
    error: '',
  };
}

/** Feeds the response after the request was written, and notes after which bytes it was complete. */
function feedAll(
  socket: MemorySocket,
  segments: readonly Buffer[],
  reading: Reading,
  { isComplete, giveUp }: { isComplete: () => boolean; giveUp: () => void },
): void {
  socket.onWritten = () => {
    socket.onWritten = null;
    void feed();
  };
  async function feed(): Promise<void> {
    let fedBytes = 0;
    await turn();
    for (const segment of segments) {
      socket.feed(segment);
      fedBytes += segment.length;
      await turn();
      if (reading.endAtBytes === 0 && isComplete()) reading.endAtBytes = fedBytes;
    }
    socket.finish();
    for (let left = TURNS_AFTER_END; left > 0; left--) await turn();
    if (!reading.accepted) reading.error ||= 'no verdict';
    giveUp();
  }
}

function askNode({ socket, path, feed }: Line, method: string): Promise<Reading> {
  const reading = newReading();
  let complete = () => false;
  return new Promise((resolve) => {
    feed(reading, { isComplete: () => complete(), giveUp: () => resolve(reading) });
    const asked = request({
      host: 'a',
      path,
      method,
      maxHeaderSize: MAX_HEADER_BYTES,
      createConnection: () => socket,
    });
    const failed = (error: Error): void => {
      reading.error ||= codeOf(error);
    };
    // Bytes after a response cause an error before the body is delivered.
    asked.on('close', () => setImmediate(resolve, reading));
    asked.on('information', (info) => reading.interims.push(info.statusCode));
    asked.on('upgrade', (_answer, upgraded) => {
      reading.upgraded = true;
      upgraded.destroy();
    });
    asked.on('error', failed);
    asked.on('response', (answer) => {
      reading.status = answer.statusCode ?? null;
      reading.headers = answer.rawHeaders;
      complete = () => answer.complete;
      answer.on('data', (data: Buffer) => {
        reading.body += data.toString('latin1');
      });
      answer.on('end', () => {
        reading.accepted = answer.complete;
        reading.trailers = answer.rawTrailers;
      });
      answer.on('error', failed);
    });
    asked.end();
  });
}

function askUndici({ socket, path, feed }: Line, method: string): Promise<Reading> {
  const reading = newReading();
  const options = {
    // undici needs the callback after its own call has returned.
    connect: (_options: object, callback: (...args: [null, Duplex]) => void) =>
      queueMicrotask(() => callback(null, socket)),
    headersTimeout: 0,
    bodyTimeout: 0,
    maxHeaderSize: MAX_HEADER_BYTES,
    allowH2: false,
  };
  // Its types allow only sockets of node:net.
  const client: Client = Reflect.construct(Client, ['http://a', options]);
  return new Promise((resolve) => {
    let over = false;
    const done = (): void => {
      if (over) return;
      over = true;
      setImmediate(() => {
        resolve(reading);
        void client.destroy();
        socket.destroy();
      });
    };
    feed(reading, { isComplete: () => reading.accepted, giveUp: done });
    client.dispatch(
      { path, method },
      {
        onRequestStart: () => undefined,
        onResponseStart: (controller, status) => {
          if (status < 200) {
            reading.interims.push(status);
            return;
          }
          reading.status = status;
          reading.headers = textsOf(controller.rawHeaders);
        },
        onResponseData: (_controller, chunk) => {
          reading.body += chunk.toString('latin1');
        },
        onResponseEnd: (controller) => {
          reading.accepted = true;
          reading.trailers = textsOf(controller.rawTrailers);
          process.nextTick(() => {
            reading.reused = !socket.destroyed;
          });
          done();
        },
        onResponseError: (_controller, error) => {
          reading.error ||= codeOf(error);
          done();
        },
      },
    );
  });
}

function textsOf(raw: unknown): string[] {
  if (!Array.isArray(raw)) return [];
  return raw.map((item) => (Buffer.isBuffer(item) ? item.toString('latin1') : String(item)));
}

function codeOf(error: Error): string {
  return ('code' in error && typeof error.code === 'string' ? error.code : '') || error.message;
}
