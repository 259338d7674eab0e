/** The text that `sluice init` writes: what was asked for, and the keys that are looked for first as comments. */

/** InitAnswers: null and []: not wanted. `names` and `files` (a certificate and its key) are two ways to TLS. */
export interface InitAnswers {
  backends: string[];
  listen: string;
  names: string[];
  files: string[];
  limit: { capacity: number; refillPerSecond: number } | null;
  redis: string | null;
  postgres: string | null;
}

/** initText is the whole file; for init.ts. */
export function initText(answers: InitAnswers): string {
  const blocks = [
    HEAD,
    listen(answers),
    ADMIN,
    pools(answers),
    routes(answers),
    limits(answers),
    stores(answers),
  ];
  return `${blocks.join('\n\n')}\n\n${TAIL}\n`;
}

/** isPassword: whether a URL holds one, so that the file is for its owner alone. */
export function isPassword(url: string | undefined): boolean {
  return (URL.parse(url ?? '')?.password ?? '') !== '';
}

const HEAD = `# Written by \`sluice init\`. Every key, with its default and range: docs/configuration.md.
# \`sluice check\` lists all mistakes; \`\${NAME}\` and \`\${NAME:-default}\` are replaced from the environment.`;

const ADMIN = `admin:                          # the admin API, the dashboard and /metrics
  address: 127.0.0.1:9900       # another address than loopback needs a token:
  # token: "\${SLUICE_ADMIN_TOKEN}"

# trustedProxies: [10.0.0.0/8]  # proxies in front, whose X-Forwarded-For counts; nobody by default`;

const TAIL = `# timeouts: { drainGrace: 5s, drain: 30s }   # a stop: serve on for the grace, then finish what is in flight
# log: { format: pretty }       # for people; default: JSON
# watch: true                   # reload when this file changes; else SIGHUP or \`sluice reload\``;

function listen({ listen: address, names, files: [cert = '', key = ''] }: InitAnswers): string {
  const lines = ['listen:'];
  if (names.length > 0)
    lines.push('  - address: ":80"              # asked for proofs, and sends requests to https');
  lines.push(`  - address: ${quoted(address)}`);
  if (cert !== '')
    lines.push('    tls:', `      certificates: [{ cert: ${quoted(cert)}, key: ${quoted(key)} }]`);
  if (names.length > 0)
    lines.push(
      '    tls:',
      `      acme: [${names.map(quoted).join(', ')}]   # they must lead to this machine`,
      '',
      'acme:                           # certificates are fetched and renewed (docs/tls.md)',
      '  directory: https://acme-v02.api.letsencrypt.org/directory',
      '  agreeToTerms: true            # to the terms of service of the authority',
      '  # email: ops@example.com',
    );
  return lines.join('\n');
}

function pools({ backends }: InitAnswers): string {
  return [
    'pools:',
    '  app:',
    '    balance: round_robin        # by weight; or least_requests',
    '    backends:',
    ...backends.map((url) => `      - url: ${quoted(url)}`),
    '    healthCheck: { type: tcp }  # a connection; better a path that answers 200: { path: /health }',
    '    # retry: { attempts: 1 }    # after resets and time-outs; failed connections are replaced anyway (docs/retries.md)',
  ].join('\n');
}

function routes({ names }: InitAnswers): string {
  const lines =
    names.length > 0
      ? [
          'routes:                         # the first match wins',
          '  - { name: to-https, redirect: {} }   # requests without TLS',
          '  - { name: app, pool: app }',
        ]
      : [
          '# routes:                       # the first match wins; without routes everything goes to the only pool',
          '#   - { name: app, match: { host: example.com, path: /api/ }, pool: app }',
        ];
  return lines.join('\n');
}

function limits({ limit }: InitAnswers): string {
  const [mark, { capacity, refillPerSecond }] = limit
    ? ['', limit]
    : ['# ', { capacity: 100, refillPerSecond: 50 }];
  return [
    'rateLimit:                      # one bucket per client: its API key or address',
    '  policies:',
    `    default: { capacity: ${capacity}, refillPerSecond: ${refillPerSecond} }   # a burst, then a rate`,
  ]
    .map((line) => mark + line)
    .join('\n');
}

function stores({ redis, postgres }: InitAnswers): string {
  return [
    redis === null
      ? '# redis: { url: "redis://127.0.0.1:6379" }   # shares the limits with other machines'
      : `redis: { url: ${quoted(redis)} }   # shares the limits with other machines`,
    postgres === null
      ? '# database: { url: "postgres://sluice@127.0.0.1/sluice" }   # else one of its own, in ./data'
      : `database: { url: ${quoted(postgres)} }   # run \`sluice migrate up\` first`,
  ].join('\n');
}

/** JSON is YAML. A literal `${` is written `$${`. */
function quoted(text: string): string {
  return JSON.stringify(text.replace(/\$(?=\{)/g, '$$$$'));
}
