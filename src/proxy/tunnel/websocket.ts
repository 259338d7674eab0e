/** The opening handshake of a WebSocket (RFC 6455 §4), and the frame that says goodbye. */
import { createHash, randomBytes } from 'node:crypto';
import type { RequestHead } from '../../contract/request-head.ts';
import { fieldValues } from '../../http1/field-lines.ts';
import type { ResponseHead } from '../../upstream/upstream-request.ts';

const WEBSOCKET = 'websocket';
/** 16 bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;
const KEY_SUFFIX = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** A close frame with the code 1001, "going away". */
const GOING_AWAY = [0x03, 0xe9] as const;
const CLOSE_BYTE = 0x88;
const MASKED = 0x80;
const FIRST_NO_SUCCESS_STATUS = 300;

/** isWebSocket tells whether a token of Upgrade means a WebSocket. */
export function isWebSocket(token: string): boolean {
  return token.toLowerCase() === WEBSOCKET;
}

/** namedToken is the first protocol of an Upgrade field that the route names, as the client wrote it; '' for none. */
export function namedToken(upgrade: string, names: readonly string[]): string {
  if (names.length === 0) return '';
  const tokens = upgrade.split(',').map((token) => token.trim());
  return tokens.find((token) => names.includes(token.toLowerCase())) ?? '';
}

/** hasKey tells whether the lines of a request have one valid Sec-WebSocket-Key. */
export function hasKey(requestLines: string): boolean {
  const keys = fieldValues(requestLines, 'sec-websocket-key');
  return keys.length === 1 && KEY.test(keys[0] ?? '');
}

/** looksSwitched: whether a client would take an answer without a 101 for a switch: over HTTP/2 any 2xx says that (RFC 8441 §5). */
export function looksSwitched(
  { upgrade, head }: { upgrade: string; head: RequestHead },
  status: number,
): boolean {
  return upgrade !== '' && head.httpVersion === 20 && status < FIRST_NO_SUCCESS_STATUS;
}

/** switchProblem says why a 101 is no answer to the request that asked for `token`; null where it is one. */
export function switchProblem(token: string, requestLines: string, answer: ResponseHead): string | null {
  if (answer.upgrade.toLowerCase() !== token.toLowerCase()) return `101 switches to '${answer.upgrade}'`;
  if (!isWebSocket(token)) return null;
  const [key = ''] = fieldValues(requestLines, 'sec-websocket-key');
  const accepts = fieldValues(answer.lines, 'sec-websocket-accept');
  if (accepts.length !== 1 || accepts[0] !== acceptOf(key)) return 'wrong Sec-WebSocket-Accept';
  const protocols = fieldValues(answer.lines, 'sec-websocket-protocol');
  const offered = listOf(requestLines, 'sec-websocket-protocol');
  if (protocols.length > 1 || protocols.some((protocol) => !offered.includes(protocol)))
    return 'Sec-WebSocket-Protocol that was not offered';
  const extensions = listOf(requestLines, 'sec-websocket-extensions').map(nameOf);
  const chosen = listOf(answer.lines, 'sec-websocket-extensions').map(nameOf);
  return chosen.every((name) => extensions.includes(name))
    ? null
    : 'Sec-WebSocket-Extensions that were not offered';
}

/** The Sec-WebSocket-Accept for a key. */
function acceptOf(key: string): string {
  return createHash('sha1').update(`${key}${KEY_SUFFIX}`).digest('base64');
}

/** closeFrame is a whole frame as latin1. @param masked towards the backend, whose client Sluice is (RFC 6455 §5.3) */
export function closeFrame(masked: boolean): string {
  const mask = masked ? [...randomBytes(4)] : [];
  const payload = GOING_AWAY.map((byte, i) => byte ^ (mask[i] ?? 0));
  const length = payload.length | (masked ? MASKED : 0);
  return String.fromCharCode(CLOSE_BYTE, length, ...mask, ...payload);
}

function listOf(lines: string, name: string): string[] {
  const values = fieldValues(lines, name).flatMap((value) => value.split(','));
  return values.map((value) => value.trim()).filter((value) => value !== '');
}

/** The name of an extension, without its parameters. */
function nameOf(extension: string): string {
  return (extension.split(';')[0] ?? '').trim();
}
