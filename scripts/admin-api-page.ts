/** Makes the text of docs/admin-api.md from the OpenAPI description that a running admin port gives. */
import { pino } from 'pino';
import type { AdminParts } from '../src/primary/admin/parts.ts';
import { startAdminServer } from '../src/primary/admin/server.ts';
import { adminSettings } from '../test/support/settings.ts';

interface Schema {
  type?: string | string[];
  description?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  anyOf?: Schema[];
  items?: Schema;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  required?: string[];
}

const PROBLEM = 'application/problem+json';

type Content = Record<string, { schema: Schema }>;

interface Operation {
  tags: string[];
  summary: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema: Schema }[];
  requestBody?: { required?: boolean; content: Content };
  responses: Record<string, { description: string; content?: Content }>;
}

const INTRODUCTION = `<!-- Made from the routes of the admin port by \`node_modules/.bin/node scripts/config-docs.ts\`; edit src/primary/admin instead. -->
# Admin API

The admin port (\`admin.address\`, by default \`127.0.0.1:9900\`) describes itself at \`/openapi.json\` (OpenAPI 3.1), and has
the [dashboard](dashboard.md) at \`/\`. This page is made from that description. \`sluice\` makes most of the calls from the command line ([commands](operating.md#commands)).

- **Token.** With \`admin.token\`, every call except \`/livez\`, \`/readyz\` and the files of the dashboard needs \`Authorization: Bearer TOKEN\`, else 401. With
  \`admin.publicMetrics\`, \`/metrics\` needs none either. \`admin.readToken\` allows every GET, \`POST /api/v1/explain\` and \`POST /api/v1/config/check\`; other calls with it answer 403.
- **Wrong tokens.** After five of one address (IPv6: of one /64) within a minute its further wrong tokens get 429 with \`Retry-After\`, for ten seconds at first, twice as long each time, ten
  minutes at most. The right token is answered all the while, so that nobody can lock you out, and calls without a token are plain 401s. The beginning of each period is logged.
- **Names.** \`Host\` and \`Origin\` must be an IP address, a loopback name, the name of \`admin.address\` or listed in \`admin.hosts\`. The \`Origin\` of a write must be the
  admin port itself or listed. Else the answer is 403. \`/livez\`, \`/readyz\` and \`/metrics\` accept any name.
- **Bodies** are JSON with \`Content-Type: application/json\` (else 415) of at most 64 KiB (else 413).
- **Refusals** are \`application/problem+json\` (RFC 9457); a 422 has one entry in \`errors\` for each wrong field.
- **Lists** come in pages: \`next\` is the \`after\` of the following page, \`null\` on the last.
- **Writes** of clients and keys are answered once every worker of this machine knows them, a second later at most. Other machines follow within a second. One that PostgreSQL has not answered gets 503 with \`code\` \`database_unanswered\`:
  it may have taken effect, so read before you repeat it.
- **Edits at the same time.** \`GET /api/v1/clients/{clientId}\` answers the version of the client as a strong \`ETag\`, and so do its POST and PATCH. PUT, PATCH and DELETE with it in \`If-Match\` write only while the client has this version, else they answer
  412 with \`code\` \`client_changed\`: read it again. With \`If-Match: *\` a PUT creates no client. \`lastSeenAt\` is no part of the version. A proxy that compresses may make \`W/"1"\` or \`"1-gzip"\` of \`"1"\`, and neither matches: send \`"1"\`.
- **Bounds.** Wait for each answer: a connection with more than eight unanswered requests is closed. Where many answers are under way, a client that does not read its own loses its connection, and a call gets 503
  with \`Retry-After\`. At 512 connections an idle one, or one that does not read its answer, makes room for the next. Calls with each token, scrapes, and the files of the dashboard are counted apart; \`/livez\` and \`/readyz\` are always answered.
- **Records.** Sluice logs each write and each refused caller (one line per address (IPv6: per /64), status and second, 100 a second at most), and \`GET /api/v1/events\` tells of writes as they happen, with what they changed; \`sluice_admin_requests_total{route,code}\` counts all answers.
`;

/** adminApiPage starts an admin port on a free loopback port, asks it for its description, and returns the page. */
export async function adminApiPage(): Promise<string> {
  const nothing = { countAdminRequest: () => undefined };
  const parts = { logger: pino({ level: 'silent' }), gauges: nothing, directory: {} };
  const server = await startAdminServer(adminSettings(), parts as unknown as AdminParts);
  try {
    const answer = await fetch(`${server.url}/openapi.json`);
    const { paths } = (await answer.json()) as { paths: Record<string, Record<string, Operation>> };
    const calls = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        call: `${method.toUpperCase()} ${path}`,
        operation,
      })),
    );
    const sections = [...Map.groupBy(calls, ({ operation }) => operation.tags[0] ?? '')].map(
      ([tag, each]) =>
        `## ${tag}\n\n${each.map(({ call, operation }) => operationText(call, operation)).join('\n')}`,
    );
    return [INTRODUCTION, ...sections].join('\n');
  } finally {
    await server.close();
  }
}

function operationText(
  call: string,
  { summary, parameters = [], requestBody, responses }: Operation,
): string {
  const lines = [`### ${call}`, '', `${summary}.`, ''];
  for (const { name, in: place, required, description, schema } of parameters) {
    const need = required ? '' : ', optional';
    lines.push(`- \`${name}\` (${place}${need}): ${shapeOf(schema)}${description ? `. ${description}` : ''}`);
  }
  const body = requestBody?.content['application/json']?.schema;
  if (body) lines.push(`- body${requestBody?.required ? '' : ' (optional)'}:`, ...fieldLines(body, '  '));
  const answers = Object.entries(responses).filter(([, { content }]) => content?.[PROBLEM] === undefined);
  const texts = answers.map(([status, answer]) => ({ status, text: answerText(answer) }));
  for (const [text, same] of Map.groupBy(texts, (each) => each.text))
    lines.push(`- ${same.map(({ status }) => status).join(', ')}:${text}`);
  const refused = Object.keys(responses).filter((status) => responses[status]?.content?.[PROBLEM]);
  if (refused.length > 0) lines.push(`- refused: ${refused.join(', ')}`);
  return `${lines.map((line) => line.trimEnd()).join('\n')}\n`;
}

function answerText({ description, content = {} }: Operation['responses'][string]): string {
  const [{ schema = {} } = {}] = Object.values(content);
  const text = description === 'Default Response' ? '' : ` ${description}`;
  return [text, ...fieldLines(schema, '  ')].join('\n');
}

/** One line per field. Fields of nested objects have dotted names, items of lists `[]`. */
function fieldLines(schema: Schema, indent: string, prefix = ''): string[] {
  const inner = innerOf(schema);
  const list = inner.items && innerOf(inner.items);
  const { additionalProperties: named } = inner;
  if (typeof named === 'object' && named.properties) return fieldLines(named, indent, `${prefix}*.`);
  if (list?.properties) return fieldLines(list, indent, `${prefix}[].`);
  return Object.entries(inner.properties ?? {}).flatMap(([name, field]) => {
    const path = `${prefix}${name}`.replace('.[]', '[]');
    const nested = fieldLines(field, indent, `${path}.`);
    const need = inner.required?.includes(name) === false ? 'optional' : '';
    const fallback = field.default === undefined ? '' : `default ${JSON.stringify(field.default)}`;
    const facts = [shapeOf(field), fallback || need].filter((text) => text !== '').join(', ');
    return [`${indent}- \`${path}\`: ${facts}${descriptionOf(field)}`, ...nested].map((line) =>
      line.replaceAll('.[]', '[]'),
    );
  });
}

function descriptionOf({ description }: Schema): string {
  return description === undefined ? '' : `. ${description}`;
}

/** The part of a schema besides null. */
function innerOf(schema: Schema): Schema {
  return schema.anyOf?.find(({ type }) => type !== 'null') ?? schema;
}

function shapeOf(schema: Schema): string {
  const inner = innerOf(schema);
  const orNull = inner === schema ? '' : ' or null';
  if (inner.const !== undefined) return `\`${String(inner.const)}\`${orNull}`;
  if (inner.enum) return `${inner.enum.map((value) => `\`${String(value)}\``).join(', ')}${orNull}`;
  if (inner.format === 'date-time') return `time in UTC (RFC 3339)${orNull}`;
  if (inner.type === 'array') return `list${orNull}`;
  if (inner.type === 'object') return `${inner.properties ? 'object' : 'object by name'}${orNull}`;
  const noun = [inner.type ?? 'any value'].flat().join(' or ').replace('string', 'text');
  const { minimum: min, maximum: max } = inner;
  // Zod gives integers without a maximum that of safe integers.
  const isBounded = min !== undefined && max !== undefined && max < Number.MAX_SAFE_INTEGER;
  const range = isBounded ? ` ${min} … ${max}` : '';
  return `${noun}${range}${inner.pattern ? ` like \`${inner.pattern}\`` : ''}${orNull}`;
}
