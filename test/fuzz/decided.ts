/**
 * All accepted differences between our parser and the others: the name, why our reading is right, and how to recognize it
 * in the bytes. Any other difference fails the fuzzing.
 */
import type { Outcome } from '../upstream/parse-segments.ts';
import { passingHeaders, passingTrailers } from './passing-fields.ts';
import type { ReaderName, Reading } from './response-readers.ts';

export type Kind =
  | 'we refuse'
  | 'we accept'
  | 'status'
  | 'body'
  | 'interims'
  | 'headers'
  | 'trailers'
  | 'end'
  | 'reuse';

export interface Disagreement {
  text: string;
  method: string;
  ours: Outcome;
  theirs: Reading;
  reader: ReaderName;
  /** Offset of the end by our reading; 0: we refuse it. */
  endBytes: number;
}

interface Decision {
  name: string;
  why: string;
  kind: Kind;
  /** Default: both. */
  reader?: ReaderName;
  applies(heads: Heads, found: Disagreement): boolean;
}

interface Heads {
  /** The final head; lines end with CRLF. */
  final: string;
  interims: string[];
  /** All heads, interim ones included. */
  all: string;
  /** All bytes after the final head. */
  rest: string;
}

function headsOf(text: string): Heads {
  const interims: string[] = [];
  let rest = text;
  for (;;) {
    const end = rest.indexOf('\r\n\r\n');
    const head = end < 0 ? rest : rest.slice(0, end + 2);
    if (end < 0 || !/^HTTP\/1\.[01] 1(?!01)\d\d/.test(head)) {
      return {
        final: head,
        interims,
        all: interims.join('') + head,
        rest: end < 0 ? '' : rest.slice(end + 4),
      };
    }
    interims.push(head);
    rest = rest.slice(end + 4);
  }
}

const INTERIMS_MAX = 16;
const HEADERS_MAX = 200;
const HEAD_MAX_BYTES = 65_536;

const WE_REFUSE: readonly Omit<Decision, 'kind'>[] = [
  {
    name: 'CR or LF before the status line',
    why: 'RFC 9112 §2.2 lets servers skip an empty line before a request; nobody may send one before a response',
    applies: ({ final, interims }) => [...interims, final].some((head) => /^[\r\n]/.test(head)),
  },
  {
    name: 'status outside 100…599',
    why: 'RFC 9110 §15: such a status has no class, so nobody knows whether a body follows',
    applies: ({ final }) => !/^HTTP\/1\.[01] [1-5]\d\d(?: |\r)/.test(final),
  },
  {
    name: 'another protocol or version',
    why: 'RFC 9112 §2.3: framing is known of HTTP/1.0 and HTTP/1.1 only',
    applies: ({ final }) => !/^HTTP\/1\.[01] /.test(final),
  },
  {
    name: 'unsolicited 101',
    why: 'RFC 9110 §15.2.2: no protocol may be switched that was not asked for',
    applies: ({ final }) => /^HTTP\/1\.[01] 101/.test(final),
  },
  {
    name: 'Transfer-Encoding in HTTP/1.0',
    why: 'RFC 9112 §6.1: the framing of such a message is faulty',
    applies: ({ final, interims }) =>
      [...interims, final].some((head) => /^HTTP\/1\.0/.test(head) && /^transfer-encoding:/im.test(head)),
  },
  {
    name: 'Transfer-Encoding other than sole chunked',
    why: 'RFC 9112 §6.3: readers differ in where such a body ends; interim answers are held to it too',
    applies: ({ final, interims }) =>
      [...interims, final].some((head) => {
        const all = [...head.matchAll(/^transfer-encoding:[ \t]*(.*?)[ \t]*\r$/gim)].map((found) => found[1]);
        return all.length > 1 || all.some((value) => value?.toLowerCase() !== 'chunked');
      }),
  },
  {
    name: 'interim answer with a faulty length',
    why: 'heads are read by one grammar, and a backend that gets lengths wrong in one will in the next',
    applies: ({ interims }) =>
      interims.some((head) => {
        const all = [...head.matchAll(/^content-length:[ \t]*(.*?)[ \t]*\r$/gim)].map(
          (found) => found[1] ?? '',
        );
        const isFramedTwice = all.length > 0 && /^transfer-encoding:/im.test(head);
        return (
          isFramedTwice ||
          all.length > 1 ||
          all.some((value) => !/^\d{1,16}$/.test(value) || !Number.isSafeInteger(Number(value)))
        );
      }),
  },
  {
    name: 'Content-Length of more than 16 digits',
    why: 'readers differ in how many leading zeros they count; no backend writes them',
    applies: ({ all }) => /^content-length:[ \t]*\d{17,}/im.test(all),
  },
  {
    name: 'Content-Length of 2^53 and more',
    why: 'cannot be counted exactly here',
    applies: ({ all }) => {
      const found = /^content-length:[ \t]*(\d{16,})/im.exec(all);
      return found !== null && !Number.isSafeInteger(Number(found[1]));
    },
  },
  {
    name: 'undici takes CR CR LF for the end of a status line',
    why: 'RFC 9112 §2.2: a bare CR ends no line',
    reader: 'undici',
    applies: ({ final, interims }) =>
      [...interims, final].some((head) => /^HTTP\/1\.[01] \d{3}[^\r\n]*\r\r/.test(head)),
  },
  {
    name: 'chunk size of more than 16 digits',
    why: 'zeros without end in front of a size are an attack on whoever counts them',
    applies: ({ rest }) => /(?:^|\r\n)[0-9a-f]{17,}/i.test(rest),
  },
  {
    name: 'more than 200 header lines',
    why: 'bound of memory',
    applies: ({ final, rest }) =>
      final.split('\r\n').length - 2 > HEADERS_MAX || rest.split('\r\n').length - 2 > HEADERS_MAX,
  },
  {
    name: 'head of more than 64 KiB',
    why: 'bound of memory',
    applies: ({ final }) => final.length > HEAD_MAX_BYTES,
  },
  {
    name: 'more than 16 interim answers',
    why: 'bound of work: each is passed on',
    applies: ({ interims }) => interims.length > INTERIMS_MAX,
  },
];

const WE_ACCEPT: readonly Omit<Decision, 'kind'>[] = [
  {
    name: 'chunk extensions of any printable text',
    why: 'they are dropped and never passed on; their end, CRLF, is held to strictly',
    applies: ({ rest }, { theirs }) =>
      /[0-9a-f];[^\r\n]*\r/i.test(rest) &&
      /HPE_(?:STRICT|INVALID_CHUNK_SIZE)|chunk extensions/.test(theirs.error),
  },
  {
    name: 'framing names in trailers',
    why: 'they are dropped and never passed on',
    applies: ({ rest }, { theirs }) =>
      /\r\n(?:content-length|transfer-encoding):/i.test(rest) &&
      /HPE_INVALID_(?:CONTENT_LENGTH|TRANSFER_ENCODING)|HPE_UNEXPECTED_CONTENT_LENGTH|Content-Length|Transfer-Encoding/.test(
        theirs.error,
      ),
  },
  {
    name: 'Connection: close or HTTP/1.0 on an interim answer',
    why: 'RFC 9110 §15.2: the final answer is still to come; the connection is only closed after that',
    applies: ({ interims }, { theirs }) =>
      interims.some(
        (head) => /^HTTP\/1\.0/.test(head) || /^(?:proxy-)?connection:[^\r]*close/im.test(head),
      ) && /HPE_CLOSED_CONNECTION|Data after `Connection: close`/.test(theirs.error),
  },
  {
    name: 'undici takes 100 Continue without an expectation for a fault',
    why: 'RFC 9110 §15.2: a client must be able to read 1xx answers that it did not ask for',
    reader: 'undici',
    applies: ({ interims }, { theirs }) =>
      interims.some((head) => /^HTTP\/1\.[01] 100/.test(head)) && theirs.error === 'UND_ERR_SOCKET',
  },
  {
    name: 'undici counts blanks after Content-Length as digits',
    why: 'RFC 9110 §5.5: blanks around a value are no part of it',
    reader: 'undici',
    applies: ({ final }, { theirs }) =>
      /^content-length:[ \t]*\d+[ \t]+\r$/im.test(final) &&
      theirs.error === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH',
  },
];

const blanksAside = (texts: readonly string[]): string =>
  texts.map((text) => text.replace(/[ \t]+$/, '')).join('\n');

const WE_DIFFER: readonly Decision[] = [
  {
    name: 'undici keeps blanks after values',
    why: 'RFC 9110 §5.5: blanks around a value are no part of it',
    kind: 'headers',
    reader: 'undici',
    applies: (_heads, { ours, theirs }) =>
      blanksAside(ours.headers) === blanksAside(passingHeaders(theirs.headers)),
  },
  {
    name: 'undici keeps blanks after values',
    why: 'RFC 9110 §5.5: blanks around a value are no part of it',
    kind: 'trailers',
    reader: 'undici',
    applies: (_heads, { ours, theirs }) =>
      blanksAside(ours.trailers) === blanksAside(passingTrailers(theirs.trailers)),
  },
];

/** RFC 9110 §5.5: a tab is whitespace like a space. The other reader's error does no harm, because we frame the response anew. */
const TAB_AFTER_CHUNKED: readonly Decision[] = (
  ['we refuse', 'body', 'trailers', 'end', 'reuse'] as const
).map(
  (kind): Decision => ({
    name: 'llhttp takes a tab after chunked for another coding',
    why: 'RFC 9110 §5.5: blanks around a value are no part of it',
    kind,
    applies: ({ final }) => /^transfer-encoding:[ \t]*chunked *\t[ \t]*\r$/im.test(final),
  }),
);

const WE_REUSE: readonly Omit<Decision, 'kind'>[] = [
  {
    name: 'undici closes a connection after HEAD',
    why: 'RFC 9112 §6.3: no body follows; we keep it only where the backend announced none',
    reader: 'undici',
    applies: (_heads, { method }) => method === 'HEAD',
  },
  {
    name: 'undici closes a connection after a 304 that says how long the body would be',
    why: 'RFC 9110 §15.4.5, §8.6; RFC 9112 §6.1: a 304 may, and has no body',
    reader: 'undici',
    applies: (_heads, { ours }) => ours.status === 304,
  },
  {
    name: 'Keep-Alive: timeout=0',
    why: 'not the parser but the pool goes by the time that the backend grants',
    reader: 'undici',
    applies: ({ all }) => /^keep-alive:[^\r]*timeout[ \t]*=[ \t]*0/im.test(all),
  },
  {
    name: 'Proxy-Connection: close',
    why: 'RFC 9112 appendix C.2.2: no field of HTTP; only Connection says whether a connection lasts',
    reader: 'undici',
    applies: ({ all }) => /^proxy-connection:[^\r]*close/im.test(all),
  },
];

const DECISIONS: readonly Decision[] = [
  ...WE_REFUSE.map((decision): Decision => ({ ...decision, kind: 'we refuse' })),
  ...WE_ACCEPT.map((decision): Decision => ({ ...decision, kind: 'we accept' })),
  ...WE_DIFFER,
  ...TAB_AFTER_CHUNKED,
  ...WE_REUSE.map((decision): Decision => ({ ...decision, kind: 'reuse' })),
];

/** decisionFor names the rule that accepts a difference; null: none does. */
export function decisionFor(found: Disagreement, kind: Kind): string | null {
  const heads = headsOf(found.text);
  const decision = DECISIONS.find(
    ({ kind: of, reader, applies }) =>
      of === kind && (reader ?? found.reader) === found.reader && applies(heads, found),
  );
  return decision?.name ?? null;
}
