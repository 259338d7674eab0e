/** The order of the pages. Those of docs/ that have no place here come last, by the titles in them. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DefaultTheme } from 'vitepress';

type Item = DefaultTheme.SidebarItem;

function page(text: string, link: string): Item {
  return { text, link };
}

const placed: Item[] = [
  {
    text: 'Start',
    items: [
      page('Sluice', '/'),
      page('Quickstart', '/quickstart'),
      page('First steps', '/first-steps'),
      page('Deploy', '/deploy'),
      page('Dashboard', '/dashboard'),
    ],
  },
  {
    text: 'Cookbook',
    link: '/cookbook/',
    items: [
      {
        text: 'Balancing',
        collapsed: true,
        items: [
          page('Several servers behind one address', '/cookbook/load-balance'),
          page('A new version for a tenth of the traffic', '/cookbook/weights'),
          page('Requests of very different length', '/cookbook/least-requests'),
          page('Several sites at one address', '/cookbook/hosts-and-paths'),
          page('Reads to replicas, writes to one server', '/cookbook/reads-and-writes'),
        ],
      },
      {
        text: 'Failures',
        collapsed: true,
        items: [
          page('A check that notices more than an open port', '/cookbook/health-checks'),
          page('Another try at another server', '/cookbook/retries'),
          page('A server that is up and fails', '/cookbook/ejections'),
          page('A page for when all servers are down', '/cookbook/backup'),
          page('Take a server out for a repair', '/cookbook/drain'),
          page('No more requests at once than a server can do', '/cookbook/queue'),
          page('Deadlines for slow servers', '/cookbook/timeouts'),
        ],
      },
      {
        text: 'Limits',
        collapsed: true,
        items: [
          page('A limit for each client', '/cookbook/limit-by-address'),
          page('Limits of single clients, by API key', '/cookbook/api-keys'),
          page('Slow down who guesses passwords', '/cookbook/login'),
          page('A quota per day, and requests that cost more', '/cookbook/quotas'),
          page('Try a limit before it refuses anybody', '/cookbook/shadow'),
          page('One limit over several machines', '/cookbook/shared-limits'),
          page('Large and slow uploads', '/cookbook/uploads'),
        ],
      },
      {
        text: 'Clients and protocols',
        collapsed: true,
        items: [
          page('The address of the client behind another proxy', '/cookbook/client-address'),
          page('HTTPS, and a redirect to it', '/cookbook/https'),
          page('Clients that show a certificate', '/cookbook/client-certificates'),
          page('TLS on the way to the backends too', '/cookbook/tls-to-backends'),
          page('WebSockets', '/cookbook/websocket'),
          page('gRPC', '/cookbook/grpc'),
        ],
      },
    ],
  },
  {
    text: 'Use',
    items: [
      page('Configuration', '/configuration'),
      page('Rate limits', '/rate-limiting'),
      page('TLS', '/tls'),
      page('Protocols', '/protocols'),
      page('Health of backends', '/health'),
      page('Retries, queues', '/retries'),
    ],
  },
  {
    text: 'Operate',
    items: [
      page('Operating', '/operating'),
      page('Runbook', '/runbook'),
      page('Scaling', '/scaling'),
      page('Metrics', '/metrics'),
      page('Traces', '/tracing'),
      page('Admin API', '/admin-api'),
      page('Security', '/security'),
      page('Reporting a flaw', '/reporting'),
    ],
  },
  {
    text: 'Figures',
    items: [
      page('Benchmarks', '/benchmarks'),
      page('Performance', '/performance'),
      page('Resilience', '/resilience'),
    ],
  },
  {
    text: 'Inside',
    items: [
      page('Behaviours', '/behaviours'),
      page('Architecture', '/architecture'),
      page('Fuzzing', '/fuzzing'),
      page('Glossary', '/glossary'),
      page('Contributing', '/contributing'),
      page('Changelog', '/changelog'),
    ],
  },
];

const DOCS = fileURLToPath(new URL('../', import.meta.url));

function isPlaced(link: string, items = placed): boolean {
  return items.some((item) => item.link === link || isPlaced(link, item.items ?? []));
}

const others = readdirSync(DOCS)
  .filter((name) => name.endsWith('.md') && !isPlaced(`/${basename(name, '.md')}`))
  .map((name) => {
    const [, title = name] = /^# (.*)/m.exec(readFileSync(`${DOCS}${name}`, 'utf8')) ?? [];
    return page(title, `/${basename(name, '.md')}`);
  });

export const sidebar: Item[] = others.length === 0 ? placed : [...placed, { text: 'More', items: others }];
