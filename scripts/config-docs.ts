/**
 * Writes docs/configuration.md from the schema of the configuration, docs/admin-api.md from the admin port's routes, and
 * docs/metrics.md from the table of metrics.
 *
 * usage: node scripts/config-docs.ts [--check]   (--check: exit 1 when a page is not what would be written)
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { type FieldInfo, fieldInfo } from '../src/config/schema/fields.ts';
import { configSchema } from '../src/config/schema/schema.ts';
import { unwrapped } from '../src/config/schema/schema-walk.ts';
import { adminApiPage } from './admin-api-page.ts';
import { metricsPage } from './metrics-page.ts';

const INTRODUCTION = `<!-- Made from the schema by \`node scripts/config-docs.ts\`; edit src/config/schema*.ts instead. -->
# Configuration

Sluice reads one YAML file: \`--config FILE\`, else the environment variable \`CONFIG_PATH\`, else \`./config/local.yaml\`.
\`sluice check --config FILE\` prints every problem of it as \`FILE:LINE: path.to.key: sentence\`. [config/local.yaml](../config/local.yaml)
is the demo, [config/example.yaml](../config/example.yaml) shows every key with its default.

- **Unknown keys are errors**, and so are keys and values of features that this version does not have (listed at the end).
- **Variables.** \`\${NAME}\` and \`\${NAME:-default}\` inside a value are replaced from the environment; the default also stands in
  for an empty variable; without one, a variable that is not set is an error. Defaults cannot be nested, and \`$\${\` stands for
  a literal \`\${\`. What replaces an unquoted value is typed again: \`workers: \${N}\` is a number, \`token: "\${T}"\` always text.
  Inside \`{ … }\` and \`[ … ]\` YAML wants the quotes.
- **Warnings** of \`check\` (\`FILE:LINE: warning: …\`) name what is allowed and probably not meant: a pool or a policy that no route uses,
  a route that another one hides, a trusted proxy range that covers every address. The exit code stays 0.
- **\`REDIS_URL\`, \`DATABASE_URL\` and \`SLUICE_KEY_SECRET\`**, when set, are the defaults of \`redis.url\`, \`database.url\` and
  \`secrets.apiKeys\`.
- **How a worker serves is chosen by the environment**, not by the file: \`SLUICE_WIRE=socket\` keeps all connections
  to documented API of Node.js, \`SLUICE_ENGINE=node\` besides serves clients by raw node:http. The \`ready\` line tells both.
- **Durations** are written \`250ms\`, \`2s\`, \`1m\`, \`1h\`; **sizes** \`16KiB\`, \`1MiB\`, \`1GiB\` or a number of bytes.
- Relative paths start at the working directory. YAML anchors and aliases may be used; merge keys (\`<<\`) may not.
- A reload (SIGHUP, \`POST /api/v1/reload\`) applies everything at once but for \`listen\`, \`accept\`, \`workers\`, \`admin\`, \`redis\` and
  \`database\` and \`log.format\`, whose change is refused: they need a restart.
`;

interface Row {
  path: string;
  info: FieldInfo;
  fallback: string;
}

/** What the walk finds, sorted by where it goes on the page. */
interface Found {
  supported: Row[];
  unsupported: { what: string; since: string; meaning: string; accepted: string }[];
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

function walk(schema: z.core.$ZodType, path: string, found: Found): void {
  const info = infoOf(schema);
  const inner = unwrapped(schema);
  if (path !== '' && info !== undefined) {
    if (isLater(inner)) {
      found.unsupported.push({
        what: `\`${path}\``,
        since: info.since,
        meaning: info.meaning,
        accepted: info.range === '' ? '' : `\`${info.range.replaceAll(', ', '`, `')}\``,
      });
      return;
    }
    if (!onlyLater(inner)) found.supported.push({ path, info, fallback: fallbackOf(schema, info) });
    for (const value of info.laterValues ?? []) {
      const what = `\`${path}\`: ${/[` ]/.test(value) ? value : `\`${value}\``}`;
      found.unsupported.push({ what, since: 'later', meaning: '', accepted: '' });
    }
  }
  walkInside(inner, path, found);
}

function walkInside(inner: z.core.$ZodType, path: string, found: Found): void {
  if (inner instanceof z.ZodObject) {
    for (const [key, child] of Object.entries<z.core.$ZodType>(inner.shape)) {
      walk(child, path === '' ? key : `${path}.${key}`, found);
    }
  } else if (inner instanceof z.ZodRecord) {
    walkInside(unwrapped(inner.valueType), `${path}.*`, found);
  } else if (inner instanceof z.ZodArray) {
    walkInside(unwrapped(inner.element), `${path}[]`, found);
  }
}

function isLater(inner: z.core.$ZodType): boolean {
  return inner instanceof z.ZodUnknown;
}

/** A block of which no key is supported yet. */
function onlyLater(inner: z.core.$ZodType): boolean {
  return (
    inner instanceof z.ZodObject &&
    Object.values<z.core.$ZodType>(inner.shape).every((child) => isLater(unwrapped(child)))
  );
}

function page(): string {
  const found: Found = { supported: [], unsupported: [] };
  walk(configSchema, '', found);
  const sections = Map.groupBy(found.supported, ({ path }) => path.replace(/[.[].*/, ''));
  const parts = [INTRODUCTION];
  for (const [name, rows] of sections) parts.push(section(name, rows));
  parts.push(unsupportedSection(found));
  return `${parts.join('\n')}`;
}

function section(name: string, rows: Row[]): string {
  const lines = rows.map(({ path, info, fallback }) =>
    tableRow([`\`${path}\``, info.type, fallback, info.range, info.meaning, info.since]),
  );
  return [
    `## ${name}\n`,
    tableRow(['key', 'type', 'default', 'accepts', 'meaning', 'since']),
    tableRow(Array.from({ length: 6 }, () => '---')),
    ...lines,
    '',
  ].join('\n');
}

function unsupportedSection({ unsupported }: Found): string {
  const lines = unsupported.map(({ what, since, meaning, accepted }) =>
    tableRow([what, meaning, accepted, since]),
  );
  return [
    '## Not supported in this version\n',
    'Refused with that sentence, but for values that ask for what the version does anyway.\n',
    tableRow(['key or value', 'meaning', 'accepted values', 'planned for']),
    tableRow(Array.from({ length: 4 }, () => '---')),
    ...lines,
    '',
  ].join('\n');
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
    console.error(`${path} is out of date: run \`node scripts/config-docs.ts\``);
    process.exitCode = 1;
  }
}
