/** The calls that show and change the level of the application log while Sluice runs. */
import * as z from 'zod';
import { LOG_LEVELS } from '../../contract/settings.ts';
import { type AdminApp, call } from './app.ts';
import type { AdminParts } from './parts.ts';

const PATH = '/api/v1/log-level';
const TAG = 'configuration';
const view = z.strictObject({
  level: z.enum(LOG_LEVELS).meta({ description: 'Least severe line that is written' }),
});

/** registerLogLevel adds the routes. */
export function registerLogLevel(app: AdminApp, { reloader }: AdminParts): void {
  const response = { 200: view };
  app.get(PATH, call(TAG, 'Show the level of the application log', [], { response }), async () => ({
    level: reloader.current.settings.log.level,
  }));
  app.put(
    PATH,
    call(TAG, 'Change the level of the application log in all processes, until the next reload', [], {
      body: view,
      response,
    }),
    async (request) => {
      const { id, ip, body } = request;
      const before = { level: reloader.current.settings.log.level };
      reloader.setLogLevel(body.level, { requestId: id, peer: ip });
      const text = `the log level was set to ${body.level} until the next reload`;
      request.changed({ text, subject: 'log level', before, after: body });
      return body;
    },
  );
}
