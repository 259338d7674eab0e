/** Every scenario of `make bench`. */
import { accessLog } from './access-log.ts';
import { download } from './download.ts';
import { limiterCrowd } from './limiter-crowd.ts';
import { limiterHot } from './limiter-hot.ts';
import { newConnection } from './new-connection.ts';
import type { Scenario } from './scenario.ts';
import { tenKib } from './ten-kib.ts';
import { tinyGet } from './tiny.ts';
import { upload } from './upload.ts';

export const SCENARIOS: readonly Scenario[] = [
  ...[tinyGet, accessLog, tenKib, download, upload, newConnection, limiterHot, limiterCrowd],
];
