/** Refusals of what never became a request of the framework: bytes that cannot be parsed, and expectations. */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { systemCodeOf } from '../../contract/errors.ts';
import { HttpProblem, PROBLEM_TYPE, problemBody } from './problems.ts';

const PARSER_PROBLEMS: Readonly<Record<string, HttpProblem>> = {
  HPE_HEADER_OVERFLOW: new HttpProblem(431, 'the header is larger than 16 KiB'),
  ERR_HTTP_REQUEST_TIMEOUT: new HttpProblem(408, 'the request did not arrive in time'),
};

/** refuseUnparsable is node:http's `clientError` listener. */
export function refuseUnparsable(error: Error, socket: Duplex): void {
  const code = systemCodeOf(error);
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem = PARSER_PROBLEMS[code ?? ''] ?? new HttpProblem(400, 'the request is malformed');
  socket.end(rawResponse(problem), () => socket.destroy());
}

/** refuseExpectation answers 417 to an expectation other than 100-continue (RFC 9110 §10.1.1). */
export function refuseExpectation(_request: IncomingMessage, response: ServerResponse): void {
  const { socket } = response;
  if (socket === null) return;
  response.detachSocket(socket);
  socket.end(rawResponse(new HttpProblem(417, 'only 100-continue can be expected')));
}

function rawResponse(problem: HttpProblem): string {
  const content = problemBody(problem, randomUUID());
  const body = JSON.stringify(content);
  return [
    `HTTP/1.1 ${content.status} ${content.title}`,
    `Content-Type: ${PROBLEM_TYPE}`,
    `Content-Length: ${Buffer.byteLength(body)}`,
    `X-Request-Id: ${content.requestId}`,
    'Connection: close',
    '',
    body,
  ].join('\r\n');
}
