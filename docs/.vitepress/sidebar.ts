/** The order of the pages. A test holds it against the files. */
import type { DefaultTheme } from 'vitepress';

type Item = DefaultTheme.SidebarItem;

function page(text: string, link: string): Item {
  return { text, link };
}

export const sidebar: Item[] = [
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
