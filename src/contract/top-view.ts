/** What `GET /api/v1/top` answers. Apart from what workers send, because they do without zod. */
import * as z from 'zod';

const perSec = z.number().min(0);

export const topView = z.strictObject({
  windowSec: z
    .number()
    .meta({ description: 'The rates are means over this time, in which the newest second counts most' }),
  totalPerSec: perSec.meta({
    description: 'Requests of all callers; with by=limited those of them that were limited',
  }),
  errorBoundPerSec: perSec.meta({
    description:
      'A rate is never lower than shown, and higher by this at most, also that of a caller who is not shown. With by=limited this holds for limitedPerSec; requestsPerSec may be higher by any amount',
  }),
  silentWorkers: z
    .int()
    .min(0)
    .meta({ description: 'Workers that did not answer in time: their requests are missing' }),
  items: z.array(
    z.strictObject({
      client: z
        .string()
        .meta({ description: 'The id of a client, or the address or range of callers without a record' }),
      kind: z.enum(['client', 'address']),
      requestsPerSec: perSec,
      limitedPerSec: perSec,
      share: z.number().min(0).max(1).meta({ description: 'Of totalPerSec' }),
    }),
  ),
});
export type TopView = z.infer<typeof topView>;
