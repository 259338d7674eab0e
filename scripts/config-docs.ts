/**
 * Writes docs/configuration.md from the schema of the configuration, docs/admin-api.md from the admin port's routes, and
 * docs/metrics.md from the table of metrics.
 *
 * usage: node scripts/config-docs.ts [--check]   (--check: exit 1 when a page is not what would be written)
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type FieldInfo, fieldInfo, LATER } from '../src/config/schema/fields.ts';
import { configSchema } from '../src/config/schema/schema.ts';
import { unwrapped } from '../src/config/schema/schema-walk.ts';
import { adminApiPage } from './admin-api-page.ts';
import { metricsPage } from './metrics-page.ts';

const INTRODUCTION = `<!-- Made from the schema by \`node_modules/.bin/node scripts/config-docs.ts\`; edit src/config/schema instead. -->
# Configuration

Sluice reads one YAML file: \`--config FILE\`, else the environment variable \`CONFIG_PATH\`, else \`./config/local.yaml\`.
\`sluice check --config FILE\` prints every problem of it as \`FILE:LINE: path.to.key: sentence\`. [config/local.yaml](../config/local.yaml)
is the demo, [config/example.yaml](../config/example.yaml) shows every key with its default.

- **Unknown keys are errors**, and so are the keys and values of features to come (listed at the end).
- **Variables.** \`\${NAME}\` and \`\${NAME:-default}\` inside a value are replaced from the environment; the default also stands in
  for an empty variable. Without a default, a variable that is not set is an error. A default cannot contain a variable, and
  \`$\${\` stands for a literal \`\${\`. An unquoted value gets its type after the replacement: \`workers: \${N}\` is a number,
  \`token: "\${T}"\` is always text. Inside \`{ … }\` and \`[ … ]\` YAML needs the quotes.
- **Warnings** of \`check\` (\`FILE:LINE: warning: …\`) name what is allowed but probably not meant: a pool or a policy that no route
  uses, a route that another one hides, a redirect without an address with TLS, a secret of API keys where no key is read, a trusted proxy
  range that covers every address, \`rateLimit.instances\` above 1 without a Redis or a database that they share, \`localhost\` beside its
  own address in a pool, a pool whose backends all have weight 0 or are all backups, keys that have no effect beside others (\`perTry\`,
  \`onStatus\`, \`outlier\`, \`tls\` without a backend with \`https://\`), a certificate that ends soon or whose name another one has too,
  a key that every user can read, backends that are not verified, \`proxyProtocol\` from everywhere, a log file that cannot be opened, and an
  \`acme\` block without names, without a plain port, without a database that instances share, or with a folder that cannot be written.
  The exit code stays 0. \`serve\` and reloads write them to the log at level \`warn\`.
- **\`REDIS_URL\`, \`DATABASE_URL\` and \`SLUICE_KEY_SECRET\`**, when set, are the defaults of \`redis.url\`, \`database.url\` and
  \`secrets.apiKeys\`.
- **The environment chooses how a worker serves**, not the file: with \`SLUICE_WIRE=socket\` all connections use only documented
  API of Node.js; with \`SLUICE_ENGINE=node\` raw node:http serves the clients of HTTP/1.1. The \`ready\` line shows both.
- **Durations** are written \`250ms\`, \`2s\`, \`1m\`, \`1h\`; **sizes** \`16KiB\`, \`1MiB\`, \`1GiB\` or a number of bytes.
- Relative paths start at the working directory. YAML anchors and aliases may be used; merge keys (\`<<\`) may not.
- A reload (SIGHUP, \`POST /api/v1/reload\`) applies all changes at once. It refuses a change of \`accept\`
  or \`admin\`: these need a restart. So does one of \`workers\` with \`accept: reuse_port\`, and one from or to the embedded database.
`;

/** Of keys of which nothing says another. */
const FIRST_VERSION = '0.1';

interface Row {
  path: string;
  info: FieldInfo;
  since: string;
  fallback: string;
}

function infoOf(schema: z.core.$ZodType): FieldInfo | undefined {
  const own = fieldInfo.get(schema);
  if (own !== undefined) return own;
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable) return infoOf(schema.unwrap());
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault) return infoOf(schema.unwrap());
  return undefined;
}

function fallbackOf(schema: z.core.$ZodType, info: FieldInfo): string {
  if (info.fallback !== undefined) return info.fallback;
  if (schema instanceof z.ZodPrefault || schema instanceof z.ZodDefault) {
    const value: unknown = schema.def.defaultValue;
    return typeof value === 'object' ? 'as below' : `\`${String(value)}\``;
  }
  return schema instanceof z.ZodOptional ? 'absent' : '**required**';
}

/** A row for the key and for every key below it. @param above the version of the key above, for a key that says none */
function rowsOf(schema: z.core.$ZodType, path: string, above: string): Row[] {
  const inner = unwrapped(schema);
  const info = infoOf(schema);
  const since = info?.since ?? above;
  const below = rowsBelow(inner, path, since);
  // All keys of the block are of later versions.
  if (inner instanceof z.ZodObject && below.every(isLater)) return below;
  return info === undefined ? below : [{ path, info, since, fallback: fallbackOf(schema, info) }, ...below];
}

function rowsBelow(inner: z.core.$ZodType, path: string, above: string): Row[] {
  if (inner instanceof z.ZodRecord) return rowsBelow(unwrapped(inner.valueType), `${path}.*`, above);
  if (inner instanceof z.ZodArray) return rowsBelow(unwrapped(inner.element), `${path}[]`, above);
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries<z.core.$ZodType>(inner.shape).flatMap(([key, child]) =>
    rowsOf(child, path === '' ? key : `${path}.${key}`, above),
  );
}

function isLater({ info }: Row): boolean {
  return info.type === LATER;
}

function page(): string {
  const rows = rowsBelow(configSchema, '', FIRST_VERSION);
  const supported = rows.filter((row) => !isLater(row));
  const sections = Map.groupBy(supported, ({ path }) => path.replace(/[.[].*/, ''));
  const parts = [...sections].map(([name, each]) => section(name, each));
  return [INTRODUCTION, ...parts, unsupportedSection(rows)].join('\n');
}

function section(name: string, rows: Row[]): string {
  const lines = rows.map(({ path, info, since, fallback }) =>
    tableRow([code(path), info.type, fallback, info.range ?? '', info.meaning, since]),
  );
  return [
    `## ${name}\n`,
    tableRow(['key', 'type', 'default', 'accepts', 'meaning', 'since']),
    tableRow(Array.from({ length: 6 }, () => '---')),
    ...lines,
    '',
  ].join('\n');
}

function unsupportedSection(all: Row[]): string {
  const values = all.flatMap(({ path, info: { coming = [] } }) =>
    coming.map((value) => `${code(path)}: ${code(String(value))}`),
  );
  const rows = [
    ...all
      .filter(isLater)
      .map(({ path, info: { meaning, range } }) => [
        code(path),
        meaning,
        range ? range.split(', ').map(code).join(', ') : '',
      ]),
    ...values.map((what) => [what, '', '']),
    ['`routes[].match.path`: `~…`', 'A regular expression', ''],
  ];
  return [
    '## Not supported in this version\n',
    'Sluice refuses these, except for the accepted values, which ask for what it does anyway.\n',
    tableRow(['key or value', 'meaning', 'accepted values']),
    tableRow(Array.from({ length: 3 }, () => '---')),
    ...rows.map(tableRow),
    '',
  ].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}

function tableRow(cells: string[]): string {
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}

const PAGES = [
  { path: 'docs/configuration.md', text: page() },
  { path: 'docs/admin-api.md', text: await adminApiPage() },
  { path: 'docs/metrics.md', text: metricsPage() },
];

for (const { path, text } of PAGES) {
  const file = fileURLToPath(new URL(`../${path}`, import.meta.url));
  if (!process.argv.includes('--check')) {
    writeFileSync(file, text);
  } else if (!existsSync(file) || readFileSync(file, 'utf8') !== text) {
    console.error(`${path} is out of date: run \`node_modules/.bin/node scripts/config-docs.ts\``);
    process.exitCode = 1;
  }
}
