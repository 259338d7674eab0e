/** A large request body. */
import type { Scenario } from './scenario.ts';

export const upload: Scenario = {
  name: 'upload-1mib',
  title: '1 MiB upload',
  work: { method: 'POST', path: '/upload', bodyBytes: 1_048_576, connections: 16 },
};
