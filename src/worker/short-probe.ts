/** Whether the light messages of short-messages.ts do what node's own do, on the Node.js that runs. */
import { Server } from 'node:http';
import { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { InboundRequest } from './inbound-request.ts';
import type { InboundResponse } from './inbound-response.ts';
import { type AnswerHead, headText } from './response-heads.ts';
import { type MessageClasses, PUBLIC_MESSAGES, SHORT_MESSAGES } from './short-messages.ts';

type Handle = (request: InboundRequest, response: InboundResponse) => void;

/** Reads are calls of its feed, so that what node may throw ends there. */
class ProbeConnection {
  readonly socket = new Socket();
  written = '';
  ended = false;

  constructor(messages: MessageClasses, handle: Handle) {
    const { socket } = this;
    socket._write = (chunk: Buffer, _encoding, done) => {
      this.written += chunk.toString('latin1');
      done();
    };
    socket.destroySoon = () => {
      this.ended = true;
    };
    const server = new Server({
      ...messages,
      keepAliveTimeout: 0,
      optimizeEmptyRequests: true,
      requireHostHeader: false,
    });
    server.on('request', handle);
    server.on('checkContinue', handle);
    // node would destroy the socket with an error that nobody catches.
    server.on('clientError', (error) => {
      throw error;
    });
    server.emit('connection', socket);
  }

  /** feed is what a read brought. */
  feed(text: string): void {
    this.socket.emit('data', Buffer.from(text, 'latin1'));
  }

  close(): void {
    // A failure must not come back once the probe is over.
    this.socket.removeAllListeners();
    this.socket.destroy();
  }
}

const BODY = 'caf\xe9';
/** Of the event loop, after each read. */
const TURNS = 6;

function answerTo(request: InboundRequest): AnswerHead {
  const closing = request.rawHeaders.includes('close');
  return { status: 200, reason: 'Fine', lines: `Via: ${request.url}\r\n`, chunked: false, closing };
}

/** Requests without a body on one connection, one of them in two reads, and two of them in one. */
const KEPT = ['GET /1 HTTP/1.1\r\nHost: a\r\nX-', 'Y: z\r\n\r\n', 'HEAD /2 HTTP/1.1\r\n\r\n'];
const LAST = 'DELETE /3 HTTP/1.1\r\nAccept: */*\r\n\r\nGET /4 HTTP/1.0\r\nConnection: close\r\n\r\n';

function answersWhole(): boolean {
  let expected = '';
  const sent: (string | undefined)[] = [];
  const connection = new ProbeConnection(SHORT_MESSAGES, (request, response) => {
    const head = answerTo(request);
    expected += headText(head) + (request.method === 'HEAD' ? '' : BODY);
    response.sendWhole(
      head,
      BODY,
      { sent: () => sent.push(request.url), blocked: () => sent.push('blocked') },
      true,
    );
  });
  try {
    for (const text of KEPT) connection.feed(text);
    if (connection.ended) return false;
    connection.feed(LAST);
    return connection.ended && connection.written === expected && sent.join('') === '/1/2/3/4';
  } finally {
    connection.close();
  }
}

/** The client goes away before it has its answer. */
function outlivesClient(): boolean {
  let begun = 0;
  const connection = new ProbeConnection(SHORT_MESSAGES, () => (begun += 1));
  try {
    connection.feed('GET /5 HTTP/1.1\r\n\r\nGET /6 HTTP/1.1\r\n\r\n');
    connection.socket.emit('close');
    return begun === 2;
  } finally {
    connection.close();
  }
}

/** Bodies in several reads, with and without a length, with trailers, read late, stopped, not read at all, and what is behind. */
const WITH_BODIES = [
  ['POST /a HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc', 'de', 'fGET /b HTTP/1.1\r\n\r\n'],
  ['PUT /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n', '1\r\nc\r\n0\r\nX-T: u\r\n\r\n'],
  ['POST /unread HTTP/1.1\r\nContent-Length: 4\r\n\r\nab', 'cd'],
  ['POST /late HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /d HTTP/1.1\r\n\r\n'],
  ['POST /held HTTP/1.1\r\nContent-Length: 4\r\n\r\nab', 'c', 'dGET /e HTTP/1.1\r\n\r\n'],
  [
    'POST /unread HTTP/1.1\r\nContent-Length: 4\r\n\r\nab',
    'cdGET /f HTTP/1.1\r\n\r\n',
    'GET /g HTTP/1.1\r\n\r\n',
  ],
];

/** What becomes of them, as text to compare. */
async function bodies(texts: readonly string[], messages: MessageClasses): Promise<string> {
  const seen: unknown[] = [];
  let release: (() => void) | null = null;
  const connection = new ProbeConnection(messages, (request, response) => {
    const { url, rawHeaders } = request;
    seen.push(url, rawHeaders, request.complete);
    const answer = (): void => {
      response.unfold();
      response.writeHead(200, ['Content-Length', '4']);
      response.end(BODY, 'latin1');
    };
    const read = (): void =>
      request.flowInto({
        onPiece(chunk) {
          seen.push(String(chunk), request.bodyFlows);
          if (url !== '/held') return;
          if (release !== null) return;
          request.holdBody();
          seen.push(request.bodyFlows);
          release = () => request.releaseBody();
        },
        onEnd() {
          seen.push('end', request.rawTrailers, request.complete, request.readableEnded);
          answer();
        },
      });
    if (url === '/late') setImmediate(read);
    else if (rawHeaders.length > 0 && url !== '/unread') read();
    else {
      answer();
      setImmediate(() => request.dropBody());
    }
  });
  try {
    for (const text of [...texts, '']) {
      if (text !== '') connection.feed(text);
      else if (release !== null) (release as () => void)();
      for (let turn = 0; turn < TURNS; turn++) await nextTurn();
      seen.push(`next, the parser ${hasIncoming(connection.socket) ? 'keeps one' : 'is free'}`);
    }
    return JSON.stringify([seen, connection.written.replace(/Date: .*/g, '')]);
  } finally {
    connection.close();
  }
}

/** Whether node's parser still holds on to a request. */
function hasIncoming(socket: Socket): boolean {
  const { parser } = socket as Socket & { parser?: { incoming?: unknown } | null };
  return parser?.incoming != null;
}

/** What node throws in a tick of its own, where no caller catches it, is an answer like any other. */
async function readsBodies(): Promise<boolean> {
  let threw = false;
  process.setUncaughtExceptionCaptureCallback(() => {
    threw = true;
  });
  try {
    const equal = await Promise.all(
      WITH_BODIES.map(
        async (texts) => (await bodies(texts, SHORT_MESSAGES)) === (await bodies(texts, PUBLIC_MESSAGES)),
      ),
    );
    return !threw && equal.every((same) => same);
  } finally {
    process.setUncaughtExceptionCaptureCallback(null);
  }
}

/** What has more to it than the light messages can tell; by request. */
const UNFOLDING = [
  'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
  'HEAD /?b HTTP/1.1\r\nConnection: close\r\n\r\n',
  'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n',
  'POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n',
];

/** What node's messages are when the server hands them out, and what an answer through them looks like. */
function unfolded(text: string, messages: MessageClasses): string {
  let found = '';
  const connection = new ProbeConnection(messages, (request, response) => {
    response.unfold();
    found = `${describe(response)}\n`;
    if (request.rawHeaders.includes('Expect')) found += describe(request);
    response.writeHead(200, ['Content-Length', '4']);
    response.end(BODY, 'latin1');
  });
  try {
    connection.feed(text);
    return found + connection.written;
  } finally {
    connection.close();
  }
}

/** All of a message's own fields but what hangs on them. */
function describe(message: object): string {
  const told: string[] = [];
  for (const key of Reflect.ownKeys(message)) {
    const value: unknown = Reflect.get(message, key);
    const plain = value === null || (typeof value !== 'object' && typeof value !== 'function');
    told.push(`${String(key)} ${plain || Array.isArray(value) ? JSON.stringify(value) : typeof value}`);
  }
  return [message.constructor.name, ...told.sort()].join('\n');
}

/**
 * probeShortMessages tells whether this Node.js serves the light messages as its own: answers of one piece leave and their
 * connections go on, bodies come as they do from node's, and what is unfolded is what node would have made. Some 40 ms, without a socket of the system.
 */
export async function probeShortMessages(): Promise<boolean> {
  try {
    const same =
      answersWhole() &&
      outlivesClient() &&
      UNFOLDING.every((text) => unfolded(text, SHORT_MESSAGES) === unfolded(text, PUBLIC_MESSAGES));
    return same && (await readsBodies());
  } catch {
    // A Node.js that calls something else on them: its own it is.
    return false;
  }
}
